//! A directory and all below it is removed, however deep it is: with two descriptors.
//!
//! A container may still run in what `rm` removes, and moves what it likes. A name is only removed in
//! a directory that was entered by its own name below the first one, or found again by "..".

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directories::LIST;
use super::name::shown;
use crate::error::{Call, Error, Result};

const OWNER_ONLY: Mode = Mode::S_IRWXU;

/// A directory on the way from the first one to where names are removed.
struct Step {
    name: Vec<u8>,
    /// Device and inode number.
    id: (u64, u64),
    /// The names that are still in it.
    left: Vec<Vec<u8>>,
}

/// Removes a directory that has this name.
pub fn remove_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    if remove_empty(parent, name)? {
        return Ok(());
    }
    let mut here = enter(parent, name)?;
    let mut way = vec![Step::new(name, &here)?];
    while let Some(step) = way.last_mut() {
        let Some(child) = step.left.pop() else {
            let name = std::mem::take(&mut step.name);
            way.pop();
            let above = way.last().map(|above| up(here.as_fd(), above.id)).transpose()?;
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
            way.push(Step::new(&child, &here)?);
        }
    }
    Ok(())
}

impl Step {
    fn new(name: &[u8], directory: &OwnedFd) -> Result<Self> {
        let (id, left) = (id(directory)?, names(directory.as_fd())?);
        Ok(Self { name: name.to_vec(), id, left })
    }
}

fn id(directory: &OwnedFd) -> Result<(u64, u64)> {
    let stat = fstat(directory).call(|| "fstat()")?;
    Ok((stat.st_dev, stat.st_ino))
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
            // A container may have put a symbolic link in its place meanwhile.
            fchmodat(parent, name, OWNER_ONLY, FchmodatFlags::NoFollowSymlink)
                .call(|| format!("fchmodat({:?}, 700, AT_SYMLINK_NOFOLLOW)", shown(name)))?;
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

/// Where a directory was entered from. ".." is where it is now: of one that was moved, names that a
/// container chose would be removed there.
fn up(directory: BorrowedFd<'_>, from: (u64, u64)) -> Result<OwnedFd> {
    let above = openat(directory, "..", LIST, Mode::empty()).call(|| "openat(\"..\")")?;
    if id(&above)? == from {
        return Ok(above);
    }
    Err(Error::new("a directory was moved while what is in it was removed"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn from_a_directory_that_was_moved_there_is_no_way_up() {
        let scratch = std::env::temp_dir().join(format!("hull-removal-{}", std::process::id()));
        fs::create_dir_all(scratch.join("a/b/c")).unwrap();
        let open = |name: &[u8]| {
            let scratch = fs::File::open(&scratch).unwrap();
            enter(scratch.as_fd(), name).unwrap()
        };
        let (above, here) = (open(b"a/b"), open(b"a/b/c"));
        assert!(up(here.as_fd(), id(&above).unwrap()).is_ok());
        fs::rename(scratch.join("a/b/c"), scratch.join("c")).unwrap();
        let error = up(here.as_fd(), id(&above).unwrap()).unwrap_err().to_string();
        fs::remove_dir_all(&scratch).unwrap();
        assert_eq!(error, "a directory was moved while what is in it was removed");
    }
}
