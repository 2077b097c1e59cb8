//! Masked and read-only paths: config-linux.md, "Masked Paths", "Readonly Paths".
//! A missing path is skipped: the default lists name files that many kernels do not have.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat, makedev};

use crate::error::{Call, Context, Error, Result};
use crate::sys::mount::{MountAttr, attribute, clone_fd, fsopen, mount_setattr, move_mount};
use crate::sys::path::{InRoot, open_path};

/// Makes every path show nothing: a directory is empty, a file is /dev/null. Done before the root
/// changes, because it is the host's /dev/null: the container's could be made to be another file
/// (CVE-2025-31133).
///
/// # Errors
/// Those of the mounts, with the path.
pub fn mask(root: &InRoot, paths: &[String]) -> Result<()> {
    let mut empty = None;
    let mut null = None;
    for (index, path) in paths.iter().enumerate() {
        let Some(target) = open_if_there(root, path)? else { continue };
        let mode = fstat(&target).call(|| format!("fstat({path:?})"))?.st_mode;
        let is_directory = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        let cover = if is_directory { empty_directory(&mut empty) } else { null_file(&mut null) };
        cover
            .and_then(|cover| move_mount(cover.as_fd(), target.as_fd()))
            .context(|| format!("config.json: /linux/maskedPaths/{index} {path:?}"))?;
    }
    Ok(())
}

/// Makes every path, and what is mounted below it, read-only.
///
/// # Errors
/// Those of the mounts, with the path.
pub fn make_read_only(root: &InRoot, paths: &[String]) -> Result<()> {
    for (index, path) in paths.iter().enumerate() {
        let Some(target) = open_if_there(root, path)? else { continue };
        clone_fd(target.as_fd(), true)
            .and_then(|tree| {
                mount_setattr(tree.as_fd(), &MountAttr::new(attribute::RDONLY, 0), true)?;
                move_mount(tree.as_fd(), target.as_fd())
            })
            .context(|| format!("config.json: /linux/readonlyPaths/{index} {path:?}"))?;
    }
    Ok(())
}

fn open_if_there(root: &InRoot, path: &str) -> Result<Option<OwnedFd>> {
    match root.open(path, OFlag::O_PATH) {
        // ENOTDIR: a part of the path is a file, so there is nothing of this name either.
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => Ok(None),
        other => other.map(Some),
    }
}

/// One read-only tmpfs for all: the first is new, each further one a copy of that mount, which
/// must be attached before it can be copied (until 6.15).
fn empty_directory(first: &mut Option<OwnedFd>) -> Result<OwnedFd> {
    if let Some(first) = first {
        return clone_fd(first.as_fd(), false);
    }
    let context = fsopen("tmpfs")?;
    context.set("ro", None)?;
    context.set("mode", Some("0755"))?;
    let secure = attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let mount = context.mount(attribute::RDONLY | secure)?;
    *first = Some(mount.try_clone().call(|| "dup()")?);
    Ok(mount)
}

fn null_file(first: &mut Option<OwnedFd>) -> Result<OwnedFd> {
    let null = match first {
        Some(null) => null,
        None => first.insert(open_null()?),
    };
    clone_fd(null.as_fd(), false)
}

fn open_null() -> Result<OwnedFd> {
    let null = open_path("/dev/null", OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = fstat(&null).call(|| "fstat(\"/dev/null\")")?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
        return Err(Error::new("/dev/null of the host is not the null device (1:3)"));
    }
    Ok(null)
}
