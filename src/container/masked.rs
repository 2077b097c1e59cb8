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
    let (mut empty, mut null) = (Cover::default(), Cover::default());
    for (index, path) in paths.iter().enumerate() {
        let Some(target) = open_if_there(root, path)? else { continue };
        let mode = fstat(&target).call(|| format!("fstat({path:?})"))?.st_mode;
        let is_directory = SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
        let cover = if is_directory { empty.take(empty_directory) } else { null.take(null_file) };
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

/// What covers one kind of path. The first is new, each further one a copy of that mount with its
/// attributes; it must be attached before it can be copied (until 6.15).
#[derive(Default)]
struct Cover(Option<OwnedFd>);

impl Cover {
    fn take(&mut self, make: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
        if let Some(first) = &self.0 {
            return clone_fd(first.as_fd(), false);
        }
        let mount = make()?;
        self.0 = Some(mount.try_clone().call(|| "dup()")?);
        Ok(mount)
    }
}

/// An empty read-only tmpfs.
fn empty_directory() -> Result<OwnedFd> {
    let context = fsopen("tmpfs")?;
    context.set("ro", None)?;
    context.set("mode", Some("0755"))?;
    context.mount(READ_ONLY | attribute::NODEV)
}

/// The host's /dev/null. Read-only, so that nobody changes its mode, owner or times, which are the
/// host's too; the device can be read and written all the same.
fn null_file() -> Result<OwnedFd> {
    let null = clone_fd(open_null()?.as_fd(), false)?;
    mount_setattr(null.as_fd(), &MountAttr::new(READ_ONLY, 0), false)?;
    Ok(null)
}

const READ_ONLY: u64 = attribute::RDONLY | attribute::NOSUID | attribute::NOEXEC;

fn open_null() -> Result<OwnedFd> {
    let null = open_path("/dev/null", OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
    let stat = fstat(&null).call(|| "fstat(\"/dev/null\")")?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
        return Err(Error::new("/dev/null of the host is not the null device (1:3)"));
    }
    Ok(null)
}
