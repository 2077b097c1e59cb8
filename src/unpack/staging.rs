//! A directory that is whole or not there: it is made under another name, locked by who makes it, and
//! gets its own name by one rename(2). Who was killed leaves one that nobody has locked, and the next
//! one who wants the same removes it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};

use super::extract::LIST;
use super::extract::removal::remove_directory;
use super::interrupt::Interrupt;
use crate::error::{Call, Context, Error, Result};
use crate::sys::lock::try_lock;

/// What to do when another process makes the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// It is an error.
    Refuse,
    /// Wait for it.
    Await,
}

/// A directory in the making. Dropped before [`Staging::publish`] it is removed with all that is in it.
pub struct Staging {
    parent: OwnedFd,
    name: OsString,
    /// Locked as long as it is open.
    directory: OwnedFd,
    is_published: bool,
}

impl Staging {
    /// Makes the directory, empty, mode 0700 and locked.
    ///
    /// # Errors
    /// That another process is making or removing it, if that is not to be awaited; that what has the name is
    /// somebody else's; those of the calls; that a signal came.
    pub fn claim(
        parent: BorrowedFd<'_>,
        name: &OsStr,
        other: Other,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        loop {
            interrupt.check()?;
            let is_new = match mkdirat(parent, name, Mode::S_IRWXU) {
                Ok(()) => true,
                Err(Errno::EEXIST) => false,
                Err(errno) => return Err(errno).call(|| format!("mkdirat({name:?}, 700)")),
            };
            let directory = match openat(parent, name, LIST, Mode::empty()) {
                Err(Errno::ENOENT) => continue,
                other => other.call(|| format!("openat({name:?}, O_DIRECTORY|O_NOFOLLOW)"))?,
            };
            // In a directory that all may write, such as /tmp, somebody else may have made it.
            let stat = fstat(&directory).call(|| "fstat()")?;
            if stat.st_uid != nix::unistd::geteuid().as_raw() {
                return Err(Error::new(format!("{name:?} belongs to user {}", stat.st_uid)));
            }
            match other {
                Other::Await => interrupt.lock(directory.as_fd())?,
                Other::Refuse if try_lock(directory.as_fd())? => {}
                Other::Refuse => {
                    return Err(Error::new(format!(
                        "{name:?} is in use: another process makes or removes it"
                    )));
                }
            }
            // Whoever had the lock before has renamed or removed it.
            match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(now) if (now.st_dev, now.st_ino) == (stat.st_dev, stat.st_ino) => {}
                _ => continue,
            }
            if is_new {
                let parent = parent.try_clone_to_owned().call(|| "dup()")?;
                let name = name.to_owned();
                return Ok(Self { parent, name, directory, is_published: false });
            }
            remove_directory(parent, name.as_encoded_bytes())
                .context(|| format!("remove what an earlier run left, {name:?}"))?;
        }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Gives it its name. rename(2) takes the place of an empty directory and of nothing else.
    ///
    /// # Errors
    /// That something of this name exists; those of renameat(2).
    pub fn publish(mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        match renameat(&self.parent, self.name.as_os_str(), parent, name) {
            Ok(()) => {
                self.is_published = true;
                Ok(())
            }
            Err(Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR) => {
                Err(Error::new(format!("{name:?} exists already")))
            }
            Err(errno) => Err(errno).call(|| format!("renameat({:?}, {name:?})", self.name)),
        }
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// Those of removing.
    pub fn remove(mut self) -> Result<()> {
        self.is_published = true;
        remove_directory(self.parent.as_fd(), self.name.as_encoded_bytes())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_published {
            // The error that led here is the one to tell; the next run removes what is left.
            remove_directory(self.parent.as_fd(), self.name.as_encoded_bytes()).ok();
        }
    }
}
