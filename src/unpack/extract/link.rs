//! Hard links, also to files of layers below. A link is a name and nothing else: what the entry says
//! of owner or mode would be given to whatever it is a link to (CVE-2021-32760).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, copy_file_range, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, ftruncate, linkat, lseek64};

use super::Prefix;
use super::directories::Place;
use super::lowers::{Found, READ, attributes_of_stat};
use super::name::{self, Subject, join, shown};
use super::tree::Tree;
use crate::error::{Call, Error, Result};
use crate::sys::path::kind_of;

impl Tree {
    /// Gives a name to what has another one, which is not yet clean. A symbolic link is not
    /// followed, but for those on the way to it.
    pub fn link(&mut self, parent: &Place, name: &[u8], target: &[u8]) -> Result<()> {
        let nothing =
            || Error::new(format!("a hard link to {:?}, which is not there", shown(target)));
        let clean = name::clean(target)?;
        if name::subject(&clean)? != Subject::File {
            return Err(nothing());
        }
        let (directory, old) = name::split(&clean);
        let from = self.find(directory)?.ok_or_else(nothing)?;
        if self.overlay.is_some() && !self.is_shown(&from, old)? && !self.copy_up(&from, old)? {
            return Err(nothing());
        }
        let link = || linkat(&from, old, parent, name, AtFlags::empty());
        let call = || format!("linkat({:?}, {:?})", shown(old), shown(name));
        match link() {
            Err(Errno::ENOENT) => return Err(nothing()),
            Err(Errno::EEXIST) => {}
            other => return other.call(call),
        }
        // A link to itself, or one that is there already: to remove it first could lose the file.
        let (there, here) = (stat_of(&from, old)?, stat_of(parent, name)?);
        if kind_of(&there) == SFlag::S_IFDIR {
            return Err(Errno::EPERM).call(call);
        }
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino) {
            return Ok(());
        }
        self.displace(parent, name)?;
        link().call(call)
    }

    /// Whether something has that name, and is no whiteout.
    fn is_shown(&self, directory: &Place, name: &[u8]) -> Result<bool> {
        match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => {}
            Err(Errno::ENOENT) => return Ok(false),
            Err(errno) => return Err(errno).call(|| format!("fstatat({:?})", shown(name))),
        }
        match &self.overlay {
            Some(overlay) => overlay.lowers.is_whiteout(directory.as_fd(), name).map(|is| !is),
            None => Ok(true),
        }
    }

    /// For overlayfs: what a layer below has under that name becomes a file of this one, as overlayfs
    /// itself does before it makes a link.
    fn copy_up(&mut self, directory: &Place, name: &[u8]) -> Result<bool> {
        let Some(prefix) = self.overlay.as_ref().map(|overlay| overlay.lowers.prefix) else {
            return Ok(false);
        };
        let path = join(&directory.path, name);
        match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {}
            // A whiteout.
            _ => return Ok(false),
        }
        match self.below(&path)? {
            Found::File(below) => {
                let mut copied = 0;
                self.copy_file(&below, directory, name, prefix, &mut |bytes| {
                    copied += bytes;
                    Ok(())
                })?;
                self.copied += copied;
            }
            Found::Symlink(below, target) => {
                let stat = stat_of(&below, name)?;
                self.symlink(directory, name, &attributes_of_stat(&stat), &target)?;
            }
            Found::Nothing | Found::Directory(_) => return Ok(false),
        }
        // No entry is for it: a whiteout that follows hides it.
        self.note(&path, false);
        Ok(true)
    }

    /// What is neither a directory nor a symbolic link has the same name in a layer. Extended attributes are
    /// those of regular files; a device's could only be read by opening it. `count` is told of the bytes
    /// that are copied, and may end it.
    pub fn copy_file(
        &mut self,
        below: &OwnedFd,
        directory: &Place,
        name: &[u8],
        prefix: Prefix,
        count: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let stat = stat_of(below, name)?;
        let kind = kind_of(&stat);
        if kind != SFlag::S_IFREG {
            return self.node(directory, name, &attributes_of_stat(&stat), kind, stat.st_rdev);
        }
        let from = openat(below, name, READ, Mode::empty())
            .call(|| format!("openat({:?})", shown(name)))?;
        let attributes = self.attributes_in(&from, prefix)?;
        let to = self.new_file(directory, name, attributes.mode_of_new_file())?;
        copy_data(from.as_fd(), to.as_fd(), stat.st_size, count)?;
        self.give_to_file(to.as_fd(), directory, &attributes)
    }
}

/// What has that name, a symbolic link too.
pub fn stat_of(directory: impl AsFd, name: &[u8]) -> Result<FileStat> {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .call(|| format!("fstatat({:?})", shown(name)))
}

/// Copies what is no hole: the size of a sparse file costs nothing here either. By reference, where
/// the filesystem can (copy_file_range(2)). `count` is told of the bytes, at least every [`MOST`].
fn copy_data(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    size: i64,
    count: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    ftruncate(to, size).call(|| format!("ftruncate({size})"))?;
    let mut end = 0;
    loop {
        let start = match lseek64(from, end, Whence::SeekData) {
            Err(Errno::ENXIO) => return Ok(()),
            start => start.call(|| "lseek(SEEK_DATA)")?,
        };
        end = lseek64(from, start, Whence::SeekHole).call(|| "lseek(SEEK_HOLE)")?;
        let (mut input, mut output) = (start, start);
        while input < end {
            let left = usize::try_from(end - input).unwrap_or(MOST).min(MOST);
            let length = match copy_file_range(from, Some(&mut input), to, Some(&mut output), left)
            {
                // The store may be on another filesystem than the bundle, or on one that has no such call.
                Err(Errno::EXDEV | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => {
                    let length = copy_piece(from, to, input, left.min(PIECE))?;
                    input += length as i64;
                    output = input;
                    length
                }
                length => length.call(|| format!("copy_file_range({left} bytes)"))?,
            };
            if length == 0 {
                return Err(Error::new("a file of a layer below became shorter"));
            }
            count(length as u64)?;
        }
    }
}

/// Of one call, in bytes: a signal waits for no more.
const MOST: usize = 64 << 20;
/// Of one read, in bytes.
const PIECE: usize = 256 * 1024;

/// Copies bytes from one place to the same one, and returns how many: less at the end of the file.
fn copy_piece(from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: i64, most: usize) -> Result<usize> {
    let mut bytes = vec![0; most];
    let length =
        pread(from, &mut bytes, offset).call(|| format!("pread({most} bytes, {offset})"))?;
    let mut written = 0;
    while written < length {
        let at = offset + written as i64;
        written += pwrite(to, &bytes[written..length], at)
            .call(|| format!("pwrite({} bytes, {at})", length - written))?;
    }
    Ok(length)
}
