//! The directories of the tree that are open, so that a file costs no walk from the root.
//!
//! Making something in a directory changes its times, so a directory gets its times when it is
//! closed. While it is open it has neither a set-group-ID bit nor a default access list, which
//! would be handed on to what is made in it (inode(7), acl(5)), and its owner may write to it.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstat, futimens};
use nix::sys::time::TimeSpec;

use super::attributes::DEFAULT_ACL;
use super::name::{self, is_below, shown};
use crate::error::{Call, Context, Result};
use crate::sys::xattr::{fgetxattr, fremovexattr, fsetxattr};

/// How many are open at most: a fraction of the 1024 files that a process commonly may open.
const MOST: usize = 128;

/// To list, to change by descriptor, and never through a symbolic link.
pub const LIST: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// Set-user-ID, set-group-ID, sticky and permissions.
const MODE: u32 = 0o7777;
const SET_GROUP_ID: u32 = 0o2000;
/// What its owner needs to work in a directory.
const USABLE: u32 = 0o700;

/// An open directory.
#[derive(Clone)]
pub struct Place {
    /// Its clean name, without symbolic links.
    pub path: Rc<[u8]>,
    fd: Rc<OwnedFd>,
    /// Its group, which some filesystems give to what is made in it (mount(8), `grpid`).
    pub gid: u32,
}

/// What a directory gets when it is closed.
pub struct Closing {
    pub atime: TimeSpec,
    pub mtime: TimeSpec,
    /// If it is not what it has.
    pub mode: Option<u32>,
    pub default_acl: Option<Vec<u8>>,
}

struct Slot {
    fd: Rc<OwnedFd>,
    gid: u32,
    last_use: u64,
    closing: Closing,
}

/// The open directories. The root is always one of them.
pub struct Directories {
    slots: HashMap<Rc<[u8]>, Slot>,
    uses: u64,
}

impl Directories {
    /// Starts with the root alone.
    pub fn new(root: OwnedFd) -> Result<Self> {
        let mut directories = Self { slots: HashMap::new(), uses: 0 };
        directories.adopt(b"", root)?;
        Ok(directories)
    }

    /// The directory with this clean name. An error number if it is none, or on the way to it is
    /// something else, a symbolic link too.
    pub fn open(&mut self, path: &[u8]) -> Result<std::result::Result<Place, Errno>> {
        if let Some(place) = self.get(path) {
            return Ok(Ok(place));
        }
        let mut above = name::split(path).0;
        let start = loop {
            match self.get(above) {
                Some(place) => break place,
                None => above = name::split(above).0,
            }
        };
        let rest = if above.is_empty() { path } else { &path[above.len() + 1..] };
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV;
        match openat2(&start, rest, OpenHow::new().flags(LIST).resolve(resolve)) {
            Ok(fd) => self.adopt(path, fd).map(Ok),
            Err(errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES)) => {
                Ok(Err(errno))
            }
            Err(errno) => Err(errno).call(|| format!("openat2({:?}, {resolve:?})", shown(rest))),
        }
    }

    /// Opens a directory that its own owner may not open, by letting him.
    pub fn unlock(&mut self, parent: &Place, name: &[u8]) -> Result<Place> {
        let path = name::join(&parent.path, name);
        let open = |flags| {
            openat(parent, name, LIST | flags, Mode::empty())
                .call(|| format!("openat({:?}, O_DIRECTORY)", shown(name)))
        };
        let mode = fstat(open(OFlag::O_PATH)?).call(|| "fstat()")?.st_mode & MODE;
        fchmodat(parent, name, usable(mode), FchmodatFlags::NoFollowSymlink).call(|| {
            format!("fchmodat({:?}, {:o}, AT_SYMLINK_NOFOLLOW)", shown(name), usable(mode))
        })?;
        let place = self.adopt(&path, open(OFlag::empty())?)?;
        self.closing(&path).mode = Some(mode);
        Ok(place)
    }

    /// Takes a directory that was there before.
    fn adopt(&mut self, path: &[u8], fd: OwnedFd) -> Result<Place> {
        let stat = fstat(&fd).call(|| "fstat()")?;
        let default_acl = fgetxattr(fd.as_fd(), DEFAULT_ACL)?;
        if default_acl.is_some() {
            fremovexattr(fd.as_fd(), DEFAULT_ACL)?;
        }
        let mode = stat.st_mode & MODE;
        let changes = Mode::from_bits_truncate(mode) != usable(mode);
        if changes {
            fchmod(&fd, usable(mode)).call(|| format!("fchmod({:o})", usable(mode)))?;
        }
        let closing = Closing {
            atime: TimeSpec::new(stat.st_atime, stat.st_atime_nsec),
            mtime: TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec),
            mode: changes.then_some(mode),
            default_acl,
        };
        self.insert(path, fd, stat.st_gid, closing)
    }

    /// Takes a directory that was just made.
    pub fn insert(
        &mut self,
        path: &[u8],
        fd: OwnedFd,
        gid: u32,
        closing: Closing,
    ) -> Result<Place> {
        if self.slots.len() >= MOST {
            self.close_oldest()?;
        }
        self.uses += 1;
        let place = Place { path: path.into(), fd: Rc::new(fd), gid };
        let slot = Slot { fd: place.fd.clone(), gid, last_use: self.uses, closing };
        self.slots.insert(place.path.clone(), slot);
        Ok(place)
    }

    /// What an open directory gets when it is closed.
    ///
    /// # Panics
    /// If it is not open.
    pub fn closing(&mut self, path: &[u8]) -> &mut Closing {
        &mut self.slots.get_mut(path).expect("the directory is open").closing
    }

    /// It has another group now.
    pub fn set_group(&mut self, path: &[u8], gid: u32) {
        if let Some(slot) = self.slots.get_mut(path) {
            slot.gid = gid;
        }
    }

    /// A directory is removed, with all below it.
    pub fn forget(&mut self, path: &[u8]) {
        self.slots.retain(|open, _| !is_below(open, path));
    }

    /// Closes all but the root, which then is as the tree shall have it.
    pub fn close(&mut self) -> Result<()> {
        let root = self.get(b"").map(|root| root.fd.try_clone()).transpose().call(|| "dup()")?;
        for (path, slot) in self.slots.drain() {
            close(&path, &slot)?;
        }
        root.map(|root| self.adopt(b"", root)).transpose().map(drop)
    }

    /// Closes all.
    pub fn finish(mut self) -> Result<()> {
        self.slots.drain().try_for_each(|(path, slot)| close(&path, &slot))
    }

    fn get(&mut self, path: &[u8]) -> Option<Place> {
        let (path, slot) = self.slots.get_key_value(path)?;
        let place = Place { path: path.clone(), fd: slot.fd.clone(), gid: slot.gid };
        self.uses += 1;
        let uses = self.uses;
        self.slots.entry(place.path.clone()).and_modify(|slot| slot.last_use = uses);
        Some(place)
    }

    fn close_oldest(&mut self) -> Result<()> {
        let others = self.slots.iter().filter(|(path, _)| !path.is_empty());
        let oldest = others.min_by_key(|(_, slot)| slot.last_use).map(|(path, _)| path.clone());
        match oldest.and_then(|path| self.slots.remove_entry(&path)) {
            Some((path, slot)) => close(&path, &slot),
            None => Ok(()),
        }
    }
}

fn usable(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & !SET_GROUP_ID | USABLE)
}

/// The times last: the others change one of them.
fn close(path: &[u8], slot: &Slot) -> Result<()> {
    let give = || {
        let closing = &slot.closing;
        if let Some(list) = &closing.default_acl {
            fsetxattr(slot.fd.as_fd(), DEFAULT_ACL, list)?;
        }
        if let Some(mode) = closing.mode {
            let mode = Mode::from_bits_truncate(mode);
            fchmod(&slot.fd, mode).call(|| format!("fchmod({:o})", mode.bits()))?;
        }
        futimens(&slot.fd, &closing.atime, &closing.mtime).call(|| "futimens()")
    };
    give().context(|| format!("directory {:?}", shown(path)))
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
