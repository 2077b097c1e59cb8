//! The interface files of a cgroup: one open, one read or write, one close. A cgroup may go at any
//! moment, by the hand of systemd, of the container, of another `delete`: ENOENT before its files are
//! open, ENODEV then (kernfs), and neither is an error where it is as well if there is none.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};

/// Whether it is for want of the cgroup, or of such a file in it.
pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENODEV)
}

/// Writes one value: the kernel takes it whole or not at all. `path` is relative to the directory.
pub(super) fn write(directory: impl AsFd, path: &str, value: &str) -> nix::Result<()> {
    let file = openat(directory, path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    loop {
        match nix::unistd::write(&file, value.as_bytes()) {
            // It was taking memory away, and a signal came.
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// The same by an absolute path; nothing, if the cgroup is gone.
pub(super) fn write_if_there(path: &str, value: &str) -> Result<()> {
    match write(AT_FDCWD, path, value) {
        Err(errno) if is_gone(errno) => Ok(()),
        other => {
            other.map_err(|errno| Error::from_call(format!("write({path:?}, {value:?})"), errno))
        }
    }
}

/// The text of a file. Without the questions about size and position that the standard library asks
/// first: an interface file has neither.
pub(super) fn read(directory: impl AsFd, path: &str) -> nix::Result<String> {
    let file = openat(directory, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        // Less than was asked for is not the end: a line is not divided (seq_file).
        match nix::unistd::read(&file, &mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
}

/// The same; `None` if the cgroup is gone, if it lacks the file, where a container may have made a
/// cgroup of this name (EISDIR), or if the file has nothing to say of this cgroup (EOPNOTSUPP: processes
/// of a threaded one, pressure that the command line of the kernel has turned off).
pub(super) fn read_if_there(directory: impl AsFd, path: &str) -> nix::Result<Option<String>> {
    match read(directory, path) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::EOPNOTSUPP | Errno::EISDIR) => Ok(None),
        Err(errno) if is_gone(errno) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The same by an absolute path.
pub(super) fn read_path(path: &str) -> Result<Option<String>> {
    read_if_there(AT_FDCWD, path)
        .map_err(|errno| Error::from_call(format!("read({path:?})"), errno))
}
