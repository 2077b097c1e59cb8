//! Values for the interface files of a cgroup: one open, one write and one close each, relative to
//! its directory. Nothing is read before.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::plan::resources::{Missing, Setting};

/// Writes all of them into the cgroup, `path` of which is for errors.
///
/// # Errors
/// The place in the config, the file, the value and what the kernel says of them.
pub fn write_all(cgroup: BorrowedFd<'_>, path: &str, settings: &[Setting]) -> Result<()> {
    let mut refused = Vec::new();
    for setting in settings {
        match write(cgroup, &setting.file, &setting.value) {
            Ok(()) => {}
            // It may contradict an old value of a file that is written after it, as a burst does
            // that is above the old quota.
            Err(Errno::EINVAL) => refused.push(setting),
            Err(Errno::ENOENT) => write_instead(cgroup, path, setting)?,
            Err(errno) => return Err(wrong(path, setting, errno)),
        }
    }
    for setting in refused {
        write(cgroup, &setting.file, &setting.value).map_err(|it| wrong(path, setting, it))?;
    }
    Ok(())
}

fn write_instead(cgroup: BorrowedFd<'_>, path: &str, setting: &Setting) -> Result<()> {
    match &setting.missing {
        Missing::Skip => Ok(()),
        Missing::Refuse => Err(wrong(path, setting, Errno::ENOENT)),
        Missing::Instead(file, value) => write(cgroup, file, value).map_err(|errno| {
            let (file, value) = ((*file).to_owned(), value.clone());
            wrong(path, &Setting { file, value, ..setting.clone() }, errno)
        }),
    }
}

fn wrong(path: &str, setting: &Setting, errno: Errno) -> Error {
    let Setting { origin, file, value, .. } = setting;
    let error = Error::from_call(format!("write(\"{path}/{file}\", {value:?})"), errno);
    let hint = match errno {
        Errno::ENOENT => "this kernel has no such file in a cgroup: ",
        _ => "",
    };
    error.context(format!("{hint}config.json: {origin}"))
}

/// Writes one value: the kernel takes it whole or not at all.
pub(super) fn write(cgroup: BorrowedFd<'_>, file: &str, value: &str) -> nix::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    let opened = openat(cgroup, file, flags, Mode::empty())?;
    loop {
        match nix::unistd::write(&opened, value.as_bytes()) {
            // It was taking memory away, and a signal came.
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}
