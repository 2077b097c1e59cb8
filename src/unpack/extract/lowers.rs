//! The layers below one that is extracted for overlayfs, seen as overlayfs shows them
//! (overlayfs.rst, "whiteouts and opaque directories").

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::sys::time::TimeSpec;

use super::Prefix;
use super::attributes::is_forbidden;
use super::directories::LIST;
use super::metadata::Attributes;
use super::name::shown;
use crate::error::{Call, Result};
use crate::sys::path::kind_of;
use crate::sys::xattr::{fgetxattr, flistxattr};

/// To read a regular file, and never through a symbolic link.
pub const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// The layers below.
pub struct Lowers {
    /// The namespace of overlayfs's attributes.
    pub prefix: Prefix,
    /// The topmost first.
    pub directories: Vec<Rc<OwnedFd>>,
}

/// What layers show at a name.
pub enum Found {
    /// Nothing, or a whiteout.
    Nothing,
    /// It, open.
    Directory(OwnedFd),
    /// The directory that it is in, and its text.
    Symlink(OwnedFd, Vec<u8>),
    /// Neither of both: the directory that it is in.
    File(OwnedFd),
}

/// What one layer says.
enum Said {
    Found(Found),
    /// Ask the next one.
    Nothing,
    /// The next ones are hidden.
    Hidden,
}

impl Lowers {
    /// What they show at a clean name whose directories are no symbolic links.
    pub fn look(&self, path: &[u8]) -> Result<Found> {
        for layer in &self.directories {
            match self.look_in(layer.as_fd(), path)? {
                Said::Found(found) => return Ok(found),
                Said::Nothing => {}
                Said::Hidden => break,
            }
        }
        Ok(Found::Nothing)
    }

    fn look_in(&self, layer: BorrowedFd<'_>, path: &[u8]) -> Result<Said> {
        let mut here = openat(layer, ".", LIST, Mode::empty()).call(|| "openat(\".\")")?;
        let mut names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).peekable();
        let mut is_opaque = self.is_opaque(here.as_fd())?;
        while let Some(name) = names.next() {
            match openat(&here, name, LIST, Mode::empty()) {
                Ok(fd) => here = fd,
                Err(Errno::ENOENT) => {
                    return Ok(if is_opaque { Said::Hidden } else { Said::Nothing });
                }
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let is_last = names.peek().is_none();
                    if !is_last || self.is_whiteout(here.as_fd(), name)? {
                        return Ok(Said::Hidden);
                    }
                    return Ok(Said::Found(match readlinkat(&here, name) {
                        Ok(target) => Found::Symlink(here, target.as_bytes().to_vec()),
                        // It is none.
                        Err(_) => Found::File(here),
                    }));
                }
                Err(errno) => return Err(errno).call(|| format!("openat({:?})", shown(name))),
            }
            is_opaque |= self.is_opaque(here.as_fd())?;
        }
        Ok(Said::Found(Found::Directory(here)))
    }

    /// Whether a directory hides those below it.
    pub fn is_opaque(&self, directory: BorrowedFd<'_>) -> Result<bool> {
        Ok(fgetxattr(directory, &self.prefix.name("opaque"))?.is_some_and(|value| value == b"y"))
    }

    /// Whether it is a device 0:0, or an empty file with the attribute (since Linux 6.7).
    pub fn is_whiteout(&self, directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .call(|| format!("fstatat({:?})", shown(name)))?;
        Ok(match kind_of(&stat) {
            SFlag::S_IFCHR => stat.st_rdev == 0,
            SFlag::S_IFREG if stat.st_size == 0 => {
                // Whom the owner locks out has no attribute of ours.
                match openat(directory, name, READ, Mode::empty()) {
                    Err(Errno::EACCES) => false,
                    file => {
                        let file = file.call(|| format!("openat({:?})", shown(name)))?;
                        fgetxattr(file.as_fd(), &self.prefix.name("whiteout"))?.is_some()
                    }
                }
            }
            _ => false,
        })
    }
}

/// What an open file or directory of a layer has.
pub fn attributes_of(file: &OwnedFd, prefix: Prefix) -> Result<Attributes> {
    let mut attributes = attributes_of_stat(&fstat(file).call(|| "fstat()")?);
    for name in flistxattr(file.as_fd())? {
        if !prefix.is_own(&name)
            && !is_forbidden(&name)
            && let Some(value) = fgetxattr(file.as_fd(), &name)?
        {
            attributes.extended.push((name, value));
        }
    }
    Ok(attributes)
}

/// What a file has but for its extended attributes.
pub fn attributes_of_stat(stat: &FileStat) -> Attributes {
    Attributes {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode & 0o7777,
        mtime: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
        extended: Vec::new(),
    }
}
