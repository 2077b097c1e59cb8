//! Values for the interface files of a cgroup. Nothing is read before.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::file::write;
use crate::error::{Error, Result};
use crate::plan::resources::{Missing, Setting};

/// Writes all of them into the cgroup, `path` of which is for errors.
///
/// # Errors
/// The place in the config, the file, the value and what the kernel says of them.
pub fn write_all(cgroup: BorrowedFd<'_>, path: &str, settings: &[Setting]) -> Result<()> {
    let document = "config.json: ";
    write_each(cgroup, settings, |_| ())
        .map_err(|(setting, errno)| wrong(document, path, &setting, errno))
}

/// The same; tells the index of each that was written, as soon as it was.
///
/// # Errors
/// The setting that was refused, with the file that was written instead if there is one.
pub(super) fn write_each(
    cgroup: BorrowedFd<'_>,
    settings: &[Setting],
    mut written: impl FnMut(usize),
) -> std::result::Result<(), (Setting, Errno)> {
    let mut refused = Vec::new();
    for (index, setting) in settings.iter().enumerate() {
        match write(cgroup, &setting.file, &setting.value) {
            Ok(()) => written(index),
            // It may contradict an old value of a file that is written after it, as a burst does
            // that is above the old quota.
            Err(Errno::EINVAL) => refused.push(index),
            Err(Errno::ENOENT) => {
                write_instead(cgroup, setting)?;
                written(index);
            }
            Err(errno) => return Err((setting.clone(), errno)),
        }
    }
    for index in refused {
        let setting = &settings[index];
        write(cgroup, &setting.file, &setting.value).map_err(|it| (setting.clone(), it))?;
        written(index);
    }
    Ok(())
}

fn write_instead(
    cgroup: BorrowedFd<'_>,
    setting: &Setting,
) -> std::result::Result<(), (Setting, Errno)> {
    match &setting.missing {
        Missing::Skip => Ok(()),
        Missing::Refuse => Err((setting.clone(), Errno::ENOENT)),
        Missing::Instead(file, value) => write(cgroup, file, value).map_err(|errno| {
            let (file, value) = ((*file).to_owned(), value.clone());
            (Setting { file, value, ..setting.clone() }, errno)
        }),
    }
}

pub(super) fn wrong(document: &str, path: &str, setting: &Setting, errno: Errno) -> Error {
    let Setting { origin, file, value, .. } = setting;
    let error = Error::from_call(format!("write(\"{path}/{file}\", {value:?})"), errno);
    let error = match errno {
        Errno::ENOENT => error.context("this kernel has no such file in a cgroup"),
        _ => error,
    };
    error.context(format!("{document}{origin}"))
}
