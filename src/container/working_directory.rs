//! The working directory of the program: config.md, "Process", cwd.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;

use crate::error::{Call, Context, Error, Result};
use crate::sys::path::{InRoot, Leaf};

/// Opens the directory. If it is missing it is made where `may_make` says so: as runc does, for the
/// container's first program and for no other. No magic link of procfs is followed:
/// /proc/self/fd/N could be a directory of the host (CVE-2024-21626).
///
/// # Errors
/// Those of openat2(2) and mkdir(2).
pub fn open(root: &InRoot, path: &str, may_make: bool) -> Result<OwnedFd> {
    let opened =
        if may_make { root.make(path, Leaf::Directory) } else { root.open(path, OFlag::O_PATH) };
    opened.context(|| "config.json: /process/cwd")
}

/// Goes there.
///
/// # Errors
/// EACCES, ENOTDIR.
pub fn enter(directory: &OwnedFd) -> Result<()> {
    nix::unistd::fchdir(directory.as_fd())
        .call(|| "chdir()")
        .context(|| "config.json: /process/cwd")
}

/// The kernel says "(unreachable)" of a directory that is not below the root (getcwd(2)).
///
/// # Errors
/// That it is outside of the container.
pub fn check(path: &str) -> Result<()> {
    match nix::unistd::getcwd() {
        Ok(directory) if directory.is_absolute() => Ok(()),
        _ => Err(Error::new(format!(
            "config.json: /process/cwd: {path:?} is outside of the container's root"
        ))),
    }
}
