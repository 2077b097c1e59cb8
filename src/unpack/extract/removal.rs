//! A directory and all below it is removed, however deep it is: with two descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directories::LIST;
use super::name::shown;
use crate::error::{Call, Result};

const OWNER_ONLY: Mode = Mode::S_IRWXU;

/// Removes a directory that has this name.
pub fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    if remove_empty(parent, name)? {
        return Ok(());
    }
    let mut here = enter(parent, name)?;
    // The way to here, and what is left at each step of it.
    let mut way = vec![(name.to_vec(), names(here.as_fd())?)];
    while let Some((name, left)) = way.last_mut() {
        let Some(child) = left.pop() else {
            let name = std::mem::take(name);
            way.pop();
            let above = if way.is_empty() { None } else { Some(up(here.as_fd())?) };
            let directory = above.as_ref().map_or(parent, AsFd::as_fd);
            unlinkat(directory, name.as_slice(), UnlinkatFlags::RemoveDir)
                .call(|| format!("unlinkat({:?}, AT_REMOVEDIR)", shown(&name)))?;
            here = above.unwrap_or(here);
            continue;
        };
        match unlinkat(&here, child.as_slice(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => continue,
            // Of a directory EISDIR; POSIX has EPERM.
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(errno).call(|| format!("unlinkat({:?})", shown(&child))),
        }
        if !remove_empty(here.as_fd(), &child)? {
            here = enter(here.as_fd(), &child)?;
            way.push((child, names(here.as_fd())?));
        }
    }
    Ok(())
}

/// What a directory holds.
pub fn names(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut open = Dir::openat(directory, ".", LIST, Mode::empty()).call(|| "openat(\".\")")?;
    let mut names = Vec::new();
    for entry in open.iter() {
        let entry = entry.call(|| "getdents64()")?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn remove_empty(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
    match unlinkat(parent, name, UnlinkatFlags::RemoveDir) {
        Ok(()) => Ok(true),
        Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
        Err(errno) => Err(errno).call(|| format!("unlinkat({:?}, AT_REMOVEDIR)", shown(name))),
    }
}

/// Opens a directory, and lets its owner remove what is in it.
fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let open = || openat(parent, name, LIST, Mode::empty());
    let fd = match open() {
        Err(Errno::EACCES) => {
            fchmodat(parent, name, OWNER_ONLY, FchmodatFlags::FollowSymlink)
                .call(|| format!("fchmodat({:?}, 700)", shown(name)))?;
            open()
        }
        other => other,
    };
    let fd = fd.call(|| format!("openat({:?}, O_DIRECTORY|O_NOFOLLOW)", shown(name)))?;
    let mode = Mode::from_bits_truncate(fstat(&fd).call(|| "fstat()")?.st_mode);
    if !mode.contains(OWNER_ONLY) {
        fchmod(&fd, OWNER_ONLY).call(|| "fchmod(700)")?;
    }
    Ok(fd)
}

/// Nobody moves a directory here, so ".." is where it was entered from.
fn up(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    openat(directory, "..", LIST, Mode::empty()).call(|| "openat(\"..\")")
}
