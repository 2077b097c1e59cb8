//! The root directory changes: config.md, "Root"; config-linux.md, "Rootfs Mount Propagation";
//! pivot_root(2), mount_namespaces(7).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::mount::MsFlags;

use crate::error::{Call, Context, Result};
use crate::plan::rootfs::Rootfs;
use crate::sys::mount::{
    MountAttr, attribute, change_root, clone_path, is_mount_root, mount_setattr, move_mount,
    move_root, pivot_root, set_propagation,
};
use crate::sys::path::{InRoot, open_directory};

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

/// Opens the rootfs as it is: what a container without mounts of its own gets.
///
/// # Errors
/// Those of open(2).
pub fn open(rootfs: &Rootfs) -> Result<InRoot> {
    open_directory(&rootfs.path).map(InRoot::new)
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
pub fn enter(root: &InRoot, rootfs: &Rootfs, has_own_mounts: bool) -> Result<()> {
    if !has_own_mounts {
        nix::unistd::fchdir(root.as_fd()).call(|| "fchdir(rootfs)")?;
        return change_root();
    }
    if rootfs.pivot { pivot_root(root.as_fd(), is_shared(rootfs)) } else { move_root(root.as_fd()) }
}
