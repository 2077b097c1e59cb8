//! The root directory changes: config.md, "Root"; config-linux.md, "Rootfs Mount Propagation";
//! pivot_root(2), mount_namespaces(7).

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::error::{Call, Context, Result};
use crate::plan::rootfs::{Place, Rootfs};
use crate::sys::mount::{
    MountAttr, attribute, change_root, clone_path, is_mount_root, mount_id, mount_setattr,
    move_mount, move_root, pivot_root, set_propagation,
};
use crate::sys::path::{InRoot, open_directory};
use crate::sys::proc::Procfs;

/// MS_SHARED.
const SHARED: u64 = 1 << 20;
/// MS_PRIVATE.
const PRIVATE: u64 = 1 << 18;

/// Whether mounts of the container are to be seen by the host.
fn is_shared(rootfs: &Rootfs) -> bool {
    rootfs.propagation.is_some_and(|(kind, _)| kind == SHARED)
}

/// Makes the rootfs a mount of its own in the new mount namespace, and opens it. `opened`: the
/// runtime has cloned it already.
///
/// # Errors
/// Those of mount(2), open_tree(2) and move_mount(2).
pub fn attach(rootfs: &Rootfs, opened: Option<OwnedFd>) -> Result<InRoot> {
    let path = rootfs.path.as_str();
    // Nothing that is mounted from here on reaches the host, unless the config says "shared":
    // then binds must stay peers of the host's mounts, and only the mount that the rootfs is
    // attached to is made private, which pivot_root wants.
    if is_shared(rootfs) {
        set_propagation("/", MsFlags::MS_SHARED | MsFlags::MS_REC)?;
        let parent = mount_point_of(path)?;
        set_propagation(&parent, MsFlags::MS_PRIVATE)?;
    } else {
        set_propagation("/", MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    }
    if let Some(tree) = opened {
        // On top of the old root: the way to the rootfs may be closed to the root of a user namespace.
        move_mount(tree.as_fd(), open_directory("/")?.as_fd())?;
        return Ok(InRoot::new(tree));
    }
    let tree = clone_path(path, true)?;
    if is_shared(rootfs) {
        // pivot_root(2) takes no shared mount; it becomes one afterwards.
        mount_setattr(tree.as_fd(), &MountAttr::propagation(PRIVATE), false)?;
    }
    move_mount(tree.as_fd(), open_directory(path)?.as_fd())?;
    Ok(InRoot::new(tree))
}

/// What a container without a mount namespace of its own gets, and before it joins one: the rootfs as
/// it is, or a copy of its mount that [`cover`] will attach.
///
/// # Errors
/// Those of open(2), open_tree(2) and mount_setattr(2).
pub fn open(rootfs: &Rootfs) -> Result<Option<InRoot>> {
    match rootfs.place {
        Place::Own => Ok(None),
        Place::Nowhere => open_directory(&rootfs.path).map(InRoot::new).map(Some),
        Place::Beside => {
            let tree = clone_path(&rootfs.path, true)?;
            // What is mounted on it is seen in this namespace alone.
            mount_setattr(tree.as_fd(), &MountAttr::propagation(PRIVATE), true)?;
            Ok(Some(InRoot::new(tree)))
        }
    }
}

/// Mounts the rootfs over itself, in a namespace that others are in. [`uncover`] undoes it, and takes
/// along what is mounted on it.
///
/// # Errors
/// Those of open(2) and move_mount(2).
pub fn cover(root: &InRoot, rootfs: &Rootfs) -> Result<()> {
    if rootfs.place != Place::Beside {
        return Ok(());
    }
    move_mount(root.as_fd(), open_directory(&rootfs.path)?.as_fd())
}

/// The mount of the runtime namespace that the rootfs is in.
///
/// # Errors
/// Those of open(2) and statx(2).
pub fn below(rootfs: &Rootfs) -> Result<u64> {
    mount_id(open_directory(&rootfs.path)?)
}

/// Unmounts the rootfs, if it is another mount now than the one that it was in before.
///
/// # Errors
/// Those of open(2), statx(2) and umount2(2).
pub fn uncover(path: &str, before: u64) -> Result<()> {
    let root = match open_directory(path) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    if !is_mount_root(&root)? || mount_id(&root)? == before {
        return Ok(());
    }
    let magic = format!("/proc/self/fd/{}", root.as_raw_fd());
    umount2(magic.as_str(), MntFlags::MNT_DETACH).call(|| format!("umount2({path:?}, MNT_DETACH)"))
}

fn mount_point_of(path: &str) -> Result<String> {
    let mut path = Path::new(path);
    while !is_mount_root(open_directory(&path.to_string_lossy())?)? {
        // "/" is the root of a mount, or of a chroot, in which pivot_root will say what is wrong.
        match path.parent() {
            Some(parent) => path = parent,
            None => break,
        }
    }
    Ok(path.to_string_lossy().into_owned())
}

/// The last changes of mounts: those that had to be writable until now.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn finish(root: &InRoot, rootfs: &Rootfs, read_only: &[OwnedFd]) -> Result<()> {
    let attr = MountAttr::new(attribute::RDONLY, 0);
    for mount in read_only {
        mount_setattr(mount.as_fd(), &attr, false)?;
    }
    if rootfs.readonly {
        mount_setattr(root.as_fd(), &attr, false).context(|| "config.json: /root/readonly")?;
    }
    Ok(())
}

/// Gives the root the propagation of the config.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn propagate(root: &InRoot, rootfs: &Rootfs) -> Result<()> {
    let Some((kind, recursive)) = rootfs.propagation else { return Ok(()) };
    mount_setattr(root.as_fd(), &MountAttr::propagation(kind), recursive)
        .context(|| "config.json: /linux/rootfsPropagation")
}

/// In `exec`: enters the root of an init that has no mounts of its own.
///
/// # Errors
/// Those of fchdir(2) and chroot(2).
pub fn enter_root_of_init(root: OwnedFd) -> Result<()> {
    nix::unistd::fchdir(root.as_fd()).call(|| "fchdir(the root of init)")?;
    change_root()
}

/// Enters the rootfs.
///
/// # Errors
/// Those of pivot_root(2) and chroot(2).
pub fn enter(root: &InRoot, rootfs: &Rootfs) -> Result<()> {
    if rootfs.place != Place::Own {
        nix::unistd::fchdir(root.as_fd()).call(|| "fchdir(rootfs)")?;
        return change_root();
    }
    if rootfs.pivot {
        return pivot_root(root.as_fd(), is_shared(rootfs));
    }
    hide_mounts_of_host(rootfs)?;
    move_root(root.as_fd())
}

/// Without pivot_root(2) the host's mounts stay in this namespace, out of reach. But where one of
/// them shows procfs or sysfs whole, the kernel lets whoever makes a user namespace mount another one
/// that is whole (mount_namespaces(7), "Restrictions on mount namespaces"), and no masked path is
/// masked in that.
fn hide_mounts_of_host(rootfs: &Rootfs) -> Result<()> {
    let mountinfo = Procfs::open()?.read("self/mountinfo")?;
    for line in mountinfo.lines().rev() {
        let Some((fields, filesystem)) = line.split_once(" - ") else { continue };
        let point = unescape(fields.split(' ').nth(4).unwrap_or_default());
        let is_whole = ["proc ", "sysfs "].iter().any(|kind| filesystem.starts_with(kind));
        if !is_whole || point.starts_with(&rootfs.path) {
            continue;
        }
        if is_shared(rootfs) {
            let above = point.parent().unwrap_or(&point);
            set_propagation(&mount_point_of(&above.to_string_lossy())?, MsFlags::MS_SLAVE)?;
        }
        match umount2(&point, MntFlags::MNT_DETACH) {
            // Locked by another user namespace: covered, it shows nothing either.
            Err(Errno::EINVAL | Errno::EPERM) => {
                mount(None::<&str>, &point, Some("tmpfs"), MsFlags::MS_RDONLY, None::<&str>)
                    .call(|| format!("mount(NULL, {point:?}, \"tmpfs\")"))?;
            }
            other => other.call(|| format!("umount2({point:?}, MNT_DETACH)"))?,
        }
    }
    Ok(())
}

/// A path of mountinfo: "\\040" is a space (proc_pid_mountinfo(5)).
fn unescape(path: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut parts = path.split('\\');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let (code, rest) = part.split_at_checked(3).unwrap_or((part, ""));
        bytes.extend(u8::from_str_radix(code, 8));
        bytes.extend(rest.bytes());
    }
    PathBuf::from(OsString::from_vec(bytes))
}
