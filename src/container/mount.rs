//! Makes the mounts of the config: each detached and complete first, then attached to the
//! descriptor of its destination (CVE-2021-30465).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::copy_up;
use crate::error::{Call, Context, Error, Result};
use crate::plan::Plan;
use crate::plan::mounts::{Mount, Source};
use crate::plan::namespaces::USER;
use crate::plan::user::User;
use crate::sys;
use crate::sys::mount::{
    FilesystemContext, LONGEST_OPTION, MountAttr, clone_path, filesystem_magic, fsopen, fspick,
    mount_at, mount_setattr, move_mount,
};
use crate::sys::path::{InRoot, Leaf, kind_of};
use crate::sys::proc::PROC_MAGIC;

/// Mounts of the runtime namespace, cloned by the runtime: the root of a user namespace need not be
/// able to go where they are.
#[derive(Debug, Default)]
pub struct Opened {
    /// The rootfs.
    pub rootfs: Option<OwnedFd>,
    /// The source of each mount that is a bind mount.
    sources: Vec<Option<OwnedFd>>,
}

/// Clones the sources of those bind mounts that only the runtime can make: id-mapped ones, and, for a
/// user namespace, all, with the rootfs.
///
/// # Errors
/// Those of open_tree(2), with the place in the config.
pub fn open_sources(plan: &Plan) -> Result<Opened> {
    let all =
        plan.is_privileged && plan.namespaces.is_own(USER) && plan.namespaces.has_own_mounts();
    // In the new mount namespace they would be slaves of what they are cloned from, too.
    let open = |path: &str, recursive| {
        let tree = clone_path(path, recursive)?;
        mount_setattr(tree.as_fd(), &MountAttr::propagation(SLAVE), recursive)?;
        Ok(tree)
    };
    let source = |mount: &Mount| match &mount.source {
        Source::Bind { path, recursive } if all || mount.idmap.is_some() => {
            open(path, *recursive).map(Some).context(|| place(mount))
        }
        _ => Ok(None),
    };
    let rootfs = all.then(|| open(&plan.rootfs.path, true)).transpose();
    Ok(Opened {
        rootfs: rootfs.context(|| "config.json: /root/path")?,
        sources: plan.mounts.iter().map(source).collect::<Result<_>>()?,
    })
}

/// Gives the files of id-mapped mounts to others. `user`: the user namespace of given ids; with
/// `None`, the container's.
///
/// # Errors
/// Those of mount_setattr(2), with the place in the config.
pub fn map_ids(
    opened: &Opened,
    mounts: &[Mount],
    user: impl Fn(Option<&User>) -> Result<OwnedFd>,
) -> Result<()> {
    // A namespace costs a process: mounts that follow one another mostly have the same ids.
    let mut last: Option<(Option<&User>, OwnedFd)> = None;
    for (source, mount) in opened.sources.iter().zip(mounts) {
        let (Some(source), Some(idmap)) = (source, &mount.idmap) else { continue };
        let ids = idmap.ids.as_ref();
        let namespace = match last.take().filter(|(of, _)| *of == ids) {
            Some((_, namespace)) => namespace,
            None => user(ids).context(|| place(mount))?,
        };
        sys::mount::map_ids(source.as_fd(), namespace.as_fd(), idmap.recursive)
            .context(|| place(mount))?;
        last = Some((ids, namespace));
    }
    Ok(())
}

/// MS_SLAVE.
const SLAVE: u64 = 1 << 19;

fn place(mount: &Mount) -> String {
    format!("config.json: /mounts/{} at {:?}", mount.index, mount.destination)
}

/// Makes all mounts, in their order. Returns those that become read-only at last.
///
/// # Errors
/// Those of the mount, with its place in the config and its destination.
pub fn mount_all(root: &InRoot, mounts: &[Mount], mut opened: Opened) -> Result<Vec<OwnedFd>> {
    let mut read_only_at_last = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let source = opened.sources.get_mut(index).and_then(Option::take);
        let done = mount_one(root, mount, source).context(|| place(mount))?;
        if let (Some(mounted), true) = (done, mount.read_only_at_last) {
            read_only_at_last.push(mounted);
        }
    }
    Ok(read_only_at_last)
}

fn mount_one(root: &InRoot, mount: &Mount, source: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
    let mounted = match &mount.source {
        Source::Existing { options } => {
            change_existing(root, mount, options)?;
            return Ok(None);
        }
        Source::Filesystem { kind, options, .. } if has_long_option(options) => {
            return mount_by_data(root, mount, kind, options).map(Some);
        }
        Source::Filesystem { kind, options, .. } => {
            let context = fsopen(kind)?;
            set_all(&context, options)?;
            if kind == "tmpfs"
                && !has_mode(&mount.source)
                && let Some(mode) = mode_of_directory(root, &mount.destination)?
            {
                context.set("mode", Some(&format!("{mode:o}")))?;
            }
            context.mount(mount.attr.set)?
        }
        Source::Bind { path, recursive } => {
            let tree = match source {
                Some(tree) => tree,
                None => clone_path(path, *recursive)?,
            };
            if !mount.attr.is_empty() {
                mount_setattr(tree.as_fd(), &mount.attr, false)?;
            }
            tree
        }
    };
    change(mounted.as_fd(), mount)?;
    let copies = matches!(mount.source, Source::Filesystem { copy_up: true, .. });
    let is_there = copies && root.open(&mount.destination, OFlag::O_PATH).is_ok();
    let target = target(root, mount, leaf_of(mounted.as_fd())?)?;
    if is_there {
        copy_up::copy(target.as_fd(), mounted.as_fd(), has_mode(&mount.source))?;
    }
    move_mount(mounted.as_fd(), target.as_fd())?;
    Ok(Some(mounted))
}

fn has_long_option(options: &[(String, Option<String>)]) -> bool {
    options
        .iter()
        .any(|(_, value)| value.as_ref().is_some_and(|value| value.len() > LONGEST_OPTION))
}

/// By mount(2), for a layered filesystem with a long list of layers. Loses: that the mount is
/// configured before it is attached, and the filesystem's own words when it refuses.
fn mount_by_data(
    root: &InRoot,
    mount: &Mount,
    kind: &str,
    options: &[(String, Option<String>)],
) -> Result<OwnedFd> {
    let (mut source, mut words) = (None, Vec::new());
    for (key, value) in options {
        match value {
            Some(value) if key == "source" => source = Some(value.as_str()),
            Some(value) => words.push(format!("{key}={value}")),
            None => words.push(key.clone()),
        }
    }
    let target = target(root, mount, Leaf::Directory)?;
    // What protects comes with the mount; only the access times are left for afterwards.
    mount_at(target.as_fd(), source, kind, mount.attr.set, &words.join(","))?;
    let mounted = root.open(&mount.destination, OFlag::O_PATH)?;
    if !mount.attr.is_empty() {
        mount_setattr(mounted.as_fd(), &mount.attr, false)?;
    }
    change(mounted.as_fd(), mount)?;
    Ok(mounted)
}

fn set_all(context: &FilesystemContext, options: &[(String, Option<String>)]) -> Result<()> {
    options.iter().try_for_each(|(key, value)| context.set(key, value.as_deref()))
}

/// What fsmount(2) and open_tree(2) do not do themselves.
fn change(mounted: BorrowedFd<'_>, mount: &Mount) -> Result<()> {
    if !mount.recursive_attr.is_empty() {
        mount_setattr(mounted, &mount.recursive_attr, true)?;
    }
    if let Some((kind, recursive)) = mount.propagation {
        mount_setattr(mounted, &MountAttr::propagation(kind), recursive)?;
    }
    Ok(())
}

/// Whether the config gives the filesystem's root a mode of its own.
fn has_mode(source: &Source) -> bool {
    matches!(source, Source::Filesystem { options, .. } if options.iter().any(|(key, _)| key == "mode"))
}

/// The permissions of a directory that is there already: as with runc, a tmpfs on it has the same.
fn mode_of_directory(root: &InRoot, path: &str) -> Result<Option<u32>> {
    let Ok(directory) = root.open(path, OFlag::O_PATH | OFlag::O_DIRECTORY) else {
        return Ok(None);
    };
    let mode = fstat(&directory).call(|| format!("fstat({path:?})"))?.st_mode;
    Ok(Some(mode & 0o7777))
}

fn leaf_of(file: BorrowedFd<'_>) -> Result<Leaf> {
    let kind = kind_of(&fstat(file).call(|| "fstat()")?);
    Ok(if kind == SFlag::S_IFDIR { Leaf::Directory } else { Leaf::File })
}

/// Opens the destination, which must be of the same kind as what is mounted there, and makes it if
/// it is not there.
fn target(root: &InRoot, mount: &Mount, leaf: Leaf) -> Result<OwnedFd> {
    let target = open_or_make(root, mount, leaf)?;
    // The destination may be a link that the image made (CVE-2019-16884).
    if !mount.covers_proc && filesystem_magic(&target)? == PROC_MAGIC {
        let destination = &mount.destination;
        let message = format!("{destination:?} cannot be mounted because it is inside /proc");
        return Err(Error::new(message));
    }
    if leaf_of(target.as_fd())? != leaf {
        // Said here, because move_mount(2) answers EINVAL. In the words of mount(2)'s ENOTDIR, which
        // docker answers with a hint.
        let (is, has) = match leaf {
            Leaf::Directory => ("a directory", "none"),
            Leaf::File => ("a file", "a directory"),
        };
        return Err(Error::new(format!(
            "not a directory: the source is {is}, the destination {has}"
        )));
    }
    Ok(target)
}

fn open_or_make(root: &InRoot, mount: &Mount, leaf: Leaf) -> Result<OwnedFd> {
    let path = mount.destination.as_str();
    if !mount.no_symlinks {
        return root.make(path, leaf);
    }
    match root.open_no_symlinks(path, OFlag::O_PATH) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => {
            root.make(path, leaf)?;
            root.open_no_symlinks(path, OFlag::O_PATH)
        }
        Err(error) if error.errno() == Some(Errno::ELOOP) => {
            let what = "is a symbolic link, must be a directory";
            Err(Error::new(format!("{path:?} in the rootfs {what}")))
        }
        other => other,
    }
}

fn change_existing(
    root: &InRoot,
    mount: &Mount,
    options: &[(String, Option<String>)],
) -> Result<()> {
    let target = root.open(&mount.destination, OFlag::O_PATH)?;
    if !options.is_empty() {
        let context = fspick(target.as_fd())?;
        set_all(&context, options)?;
        context.reconfigure()?;
    }
    if !mount.attr.is_empty() {
        mount_setattr(target.as_fd(), &mount.attr, false)?;
    }
    change(target.as_fd(), mount)
}
