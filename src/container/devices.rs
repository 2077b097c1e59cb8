//! Makes device files and links: config-linux.md, "Devices"; runtime-linux.md, "Dev symbolic
//! links". All of it below the descriptor of a /dev that is no symbolic link (CVE-2026-41579).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, makedev, mknodat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};

use crate::error::{Call, Context, Error, Result};
use crate::plan::devices::{Devices, LINKS, Node};
use crate::sys::mount::{clone_fd, move_mount};
use crate::sys::path::{InRoot, Leaf, kind_of, open_path};

/// Fills /dev.
///
/// # Errors
/// Those of mknod(2), or that another file is in the place of a device.
pub fn make(root: &InRoot, devices: &Devices) -> Result<()> {
    let dev = open_dev(root)?;
    for node in &devices.nodes {
        make_node(root, dev.as_fd(), node)
            .context(|| format!("{} {:?}", node.origin, node.path))?;
    }
    for (name, target) in LINKS {
        // runtime-linux.md: a link only if its source exists; /proc/kcore is an option of the kernel.
        if name != "core" || std::fs::exists(target).unwrap_or(false) {
            make_link(dev.as_fd(), name, target)?;
        }
    }
    // Its own devpts: "/dev/ptmx" of the host would be that of the host's (devpts in the kernel's
    // documentation).
    make_link(dev.as_fd(), "ptmx", "pts/ptmx")
}

/// /dev of the container, if no part of it is a symbolic link.
///
/// # Errors
/// ENOTDIR, ELOOP.
pub fn open_dev(root: &InRoot) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    match root.open_no_symlinks("dev", flags) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => {
            root.make("dev", Leaf::Directory)?;
            root.open_no_symlinks("dev", flags)
        }
        Err(error) if error.errno() == Some(Errno::ELOOP) => {
            Err(Error::new("\"/dev\" in the rootfs is a symbolic link, must be a directory"))
        }
        other => other,
    }
}

/// Init's umask is 0 now, so that mknod(2) alone gives the mode.
fn make_node(root: &InRoot, dev: BorrowedFd<'_>, node: &Node) -> Result<()> {
    let (parent, name) = node.path.rsplit_once('/').expect("the plan made it absolute");
    let opened;
    let directory = if parent == "/dev" {
        dev
    } else {
        opened = root.make(parent, Leaf::Directory)?;
        opened.as_fd()
    };
    let device = makedev(node.major, node.minor);
    let mode = Mode::from_bits_truncate(node.mode);
    match mknodat(directory, name, node.kind, mode, device) {
        Err(Errno::EEXIST) => check_existing(directory, name, node, device)?,
        // In a user namespace nobody makes devices (user_namespaces(7)). Loses: the mode and the owner
        // of the config, because the file is the host's.
        Err(Errno::EPERM) if node.kind != SFlag::S_IFIFO => {
            return bind_node(directory, name, node, device);
        }
        other => other
            .call(|| format!("mknod({name:?}, {:?}, {}:{})", node.kind, node.major, node.minor))?,
    }
    if node.uid != 0 || node.gid != 0 {
        let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
        let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(directory, name, Some(uid), Some(gid), nofollow)
            .call(|| format!("chown({name:?}, {}, {})", node.uid, node.gid))?;
    }
    Ok(())
}

/// Mounts the device of the host that has the same path.
fn bind_node(directory: BorrowedFd<'_>, name: &str, node: &Node, device: u64) -> Result<()> {
    let file = open_path(&node.path, OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = fstat(&file).call(|| format!("fstat({:?})", node.path))?;
    let kind = kind_of(&stat);
    if kind != node.kind || stat.st_rdev != device {
        let Node { path, major, minor, .. } = node;
        return Err(Error::new(format!("{path:?} of the host is not {major}:{minor}")));
    }
    let nofollow = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let create = nofollow | OFlag::O_CREAT | OFlag::O_EXCL;
    match openat(directory, name, create, Mode::empty()) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Error::from_call(format!("create {name:?}"), errno)),
    }
    let target = openat(directory, name, nofollow | OFlag::O_PATH, Mode::empty())
        .call(|| format!("open({name:?}, O_PATH|O_NOFOLLOW)"))?;
    move_mount(clone_fd(file.as_fd(), false)?.as_fd(), target.as_fd())
}

/// config-linux.md, "Devices": a file that is there and is not this device is an error.
fn check_existing(directory: BorrowedFd<'_>, name: &str, node: &Node, device: u64) -> Result<()> {
    let stat: FileStat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .call(|| format!("stat({name:?})"))?;
    let kind = kind_of(&stat);
    if kind == node.kind && (kind == SFlag::S_IFIFO || stat.st_rdev == device) {
        return Ok(());
    }
    Err(Error::new("a file that is another one is there already"))
}

/// What is there is left, if it is the same link; if it is something else it is replaced, because
/// programs write to /dev/stdout without looking.
fn make_link(dev: BorrowedFd<'_>, name: &str, target: &str) -> Result<()> {
    match symlinkat(target, dev, name) {
        Err(Errno::EEXIST) => {}
        other => return other.call(|| format!("symlink({target:?}, \"/dev/{name}\")")),
    }
    if readlinkat(dev, name).is_ok_and(|there| there == target) {
        return Ok(());
    }
    unlinkat(dev, name, UnlinkatFlags::NoRemoveDir).call(|| format!("unlink(\"/dev/{name}\")"))?;
    symlinkat(target, dev, name).call(|| format!("symlink({target:?}, \"/dev/{name}\")"))
}
