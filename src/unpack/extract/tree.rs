//! The tree that is made, and the way to a name in it: through symbolic links, which are read and
//! followed here and never by the kernel, as a container with this root would (path_resolution(7)).

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, getegid, geteuid, unlinkat};

use super::attributes::DEFAULT_ACL;
use super::directories::{Closing, Directories, LIST, Place};
use super::lowers::{Found, Lowers, attributes_of};
use super::metadata::{Attributes, EPOCH};
use super::name::{self, Key, Keys, LONGEST, join, shown};
use super::{Options, Whiteouts, removal};
use crate::error::{Call, Error, Result};
use crate::sys::path::{Rest, kind_of};
use crate::unpack::owners::Owners;

/// Of a directory that no layer has an entry for.
const IMPLICIT: u32 = 0o755;

/// The tree.
pub struct Tree {
    pub directories: Directories,
    pub owners: Owners,
    /// For the form that overlayfs reads.
    pub overlay: Option<Overlay>,
    /// Of clean names without symbolic links.
    pub keys: Keys,
    /// What this layer made, and the directories on the way; whether it has an entry for it. Of the
    /// first layer nothing need be known.
    pub made: Option<HashMap<Key, bool>>,
    /// Directories in which nothing is but what this layer made.
    pub pruned: HashSet<Key>,
    /// User and group of this process.
    pub own: (u32, u32),
    /// Bytes that were copied from layers below.
    pub copied: u64,
    /// Directories that were made without an entry.
    pub implied: u64,
    pub warnings: BTreeSet<String>,
}

/// What the form that overlayfs reads needs to know.
pub struct Overlay {
    pub lowers: Lowers,
    /// Directories of this layer that hide those below them.
    pub opaque: HashSet<Key>,
}

/// What is in the way of a directory.
enum Obstacle {
    Nothing,
    Symlink(Vec<u8>),
    /// A directory that its owner may not open.
    Locked,
    File,
}

impl Tree {
    /// An empty tree.
    pub fn new(root: OwnedFd, options: Options) -> Result<Self> {
        let overlay = match options.whiteouts {
            Whiteouts::Apply => None,
            Whiteouts::Overlay { prefix, lowers } => Some(Overlay {
                lowers: Lowers { prefix, directories: lowers },
                opaque: HashSet::new(),
            }),
        };
        let mut tree = Self {
            directories: Directories::new(root)?,
            owners: options.owners,
            overlay,
            keys: Keys::default(),
            made: None,
            pruned: HashSet::new(),
            own: (geteuid().as_raw(), getegid().as_raw()),
            copied: 0,
            implied: 0,
            warnings: BTreeSet::new(),
        };
        if tree.overlay.as_ref().is_some_and(|overlay| !overlay.lowers.directories.is_empty()) {
            tree.made = Some(HashMap::new());
        }
        let attributes = tree.implicit_attributes(b"")?;
        let root = tree.open(b"")?;
        tree.change_directory(&root, attributes)?;
        Ok(tree)
    }

    /// A layer ends, and another one may come.
    pub fn end_layer(&mut self) -> Result<()> {
        self.made = Some(HashMap::new());
        self.pruned.clear();
        self.directories.close()
    }

    /// The directory with this clean name; what is missing on the way is made, and what is no
    /// directory is replaced.
    pub fn make(&mut self, path: &[u8]) -> Result<Place> {
        let place = self.walk(path, true)?;
        place.ok_or_else(|| Error::from_call(format!("make {:?}", shown(path)), Errno::ENOENT))
    }

    /// The directory with this clean name, if it is there. For overlayfs it is made if a layer below
    /// has it.
    pub fn find(&mut self, path: &[u8]) -> Result<Option<Place>> {
        self.walk(path, false)
    }

    /// A directory that is there, without symbolic links on the way.
    pub fn open(&mut self, path: &[u8]) -> Result<Place> {
        self.directories.open(path)?.call(|| format!("openat2({:?})", shown(path)))
    }

    fn walk(&mut self, path: &[u8], make: bool) -> Result<Option<Place>> {
        if let Ok(place) = self.directories.open(path)? {
            return Ok(Some(place));
        }
        let mut rest = Rest::of(path);
        let mut here = Vec::new();
        while let Some(name) = rest.pop() {
            if name == b".." {
                here.truncate(name::split(&here).0.len());
                continue;
            }
            let next = join(&here, &name);
            if next.len() > LONGEST {
                return Err(Error::from_call(
                    format!("follow {:?}", shown(path)),
                    Errno::ENAMETOOLONG,
                ));
            }
            if self.directories.open(&next)?.is_ok() {
                here = next;
                continue;
            }
            let parent = self.open(&here)?;
            match self.obstacle(&parent, &name)? {
                Obstacle::Symlink(target) => {
                    if rest.follow(&target).call(|| format!("follow {:?}", shown(path)))? {
                        here.clear();
                    }
                    continue;
                }
                Obstacle::Locked => drop(self.directories.unlock(&parent, &name)?),
                Obstacle::Nothing if make || self.below_is_directory(&next)? => {
                    let attributes = self.implicit_attributes(&next)?;
                    self.make_directory(&parent, &name, attributes)?;
                    self.implied += 1;
                    self.note(&next, false);
                }
                Obstacle::File if make => {
                    self.displace(&parent, &name)?;
                    let attributes = self.default_attributes()?;
                    let place = self.make_directory(&parent, &name, attributes)?;
                    self.hide_below(&place)?;
                    self.implied += 1;
                    self.note(&next, false);
                }
                Obstacle::Nothing | Obstacle::File => return Ok(None),
            }
            here = next;
        }
        self.open(&here).map(Some)
    }

    fn obstacle(&mut self, parent: &Place, name: &[u8]) -> Result<Obstacle> {
        match readlinkat(parent, name) {
            Ok(target) => return Ok(Obstacle::Symlink(target.as_bytes().to_vec())),
            Err(Errno::ENOENT) => {}
            // It is no symbolic link.
            Err(Errno::EINVAL) => {
                let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                    .call(|| format!("fstatat({:?})", shown(name)))?;
                let is_directory = kind_of(&stat) == SFlag::S_IFDIR;
                return Ok(if is_directory { Obstacle::Locked } else { Obstacle::File });
            }
            Err(errno) => return Err(errno).call(|| format!("readlinkat({:?})", shown(name))),
        }
        let path = join(&parent.path, name);
        Ok(match self.below(&path)? {
            Found::Symlink(_, target) => Obstacle::Symlink(target),
            _ => Obstacle::Nothing,
        })
    }

    /// What layers below show where this one has nothing.
    pub fn below(&self, path: &[u8]) -> Result<Found> {
        let Some(overlay) = &self.overlay else {
            return Ok(Found::Nothing);
        };
        let mut above = self.keys.on_the_way(name::split(path).0);
        if !overlay.opaque.is_empty() && above.any(|key| overlay.opaque.contains(&key)) {
            return Ok(Found::Nothing);
        }
        overlay.lowers.look(path)
    }

    fn below_is_directory(&self, path: &[u8]) -> Result<bool> {
        self.below(path).map(|found| matches!(found, Found::Directory(_)))
    }

    /// Of a directory that this layer has no entry for: as below, or the default.
    fn implicit_attributes(&mut self, path: &[u8]) -> Result<Attributes> {
        match (self.below(path)?, &self.overlay) {
            (Found::Directory(directory), Some(overlay)) => {
                attributes_of(&directory, overlay.lowers.prefix)
            }
            _ => self.default_attributes(),
        }
    }

    /// Root's, accessible for all, and of the epoch, so that the same image makes the same tree.
    pub fn default_attributes(&self) -> Result<Attributes> {
        let (uid, gid) = (self.owners.uid(0)?, self.owners.gid(0)?);
        Ok(Attributes { uid, gid, mode: IMPLICIT, mtime: EPOCH, extended: Vec::new() })
    }

    /// Makes a directory where nothing is.
    pub fn make_directory(
        &mut self,
        parent: &Place,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<Place> {
        // Whatever its mode is to be, what is in it is still to be made.
        let mode = attributes.mode & 0o777 | 0o700;
        mkdirat(parent, name, Mode::from_bits_truncate(mode))
            .call(|| format!("mkdirat({:?}, {mode:o})", shown(name)))?;
        let fd = openat(parent, name, LIST, Mode::empty())
            .call(|| format!("openat({:?}, O_DIRECTORY)", shown(name)))?;
        self.give_owner(fd.as_fd(), parent.gid, &attributes)?;
        self.give_extended(fd.as_fd(), &attributes, &[DEFAULT_ACL])?;
        let closing = Closing {
            atime: attributes.mtime,
            mtime: attributes.mtime,
            mode: (mode != attributes.mode).then_some(attributes.mode),
            default_acl: attributes.extended(DEFAULT_ACL).map(<[u8]>::to_vec),
        };
        let path = join(&parent.path, name);
        self.directories.insert(&path, fd, attributes.gid, closing)
    }

    /// Removes whatever has the name.
    pub fn displace(&mut self, parent: &Place, name: &[u8]) -> Result<()> {
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            // Of a directory EISDIR; POSIX has EPERM.
            Err(Errno::EISDIR | Errno::EPERM) => {
                self.directories.forget(&join(&parent.path, name));
                removal::remove_directory(parent.as_fd(), name)
            }
            other => other.call(|| format!("unlinkat({:?})", shown(name))),
        }
    }

    /// Notes that this layer made it.
    pub fn note(&mut self, path: &[u8], has_entry: bool) {
        let Some(made) = &mut self.made else { return };
        // What overlayfs reads is what this layer made; only what has no entry is to be known.
        if self.overlay.is_some() {
            if has_entry {
                made.remove(&self.keys.of(path));
            } else {
                made.insert(self.keys.of(path), false);
            }
            return;
        }
        if has_entry {
            made.insert(self.keys.of(path), true);
        }
        let mut above = if has_entry { name::split(path).0 } else { path };
        while !above.is_empty() {
            match made.entry(self.keys.of(above)) {
                Entry::Occupied(_) => return,
                Entry::Vacant(vacant) => vacant.insert(false),
            };
            above = name::split(above).0;
        }
    }

    /// Whether this layer has no entry for a directory that it needed, or for a file that it has a link to.
    pub fn is_implicit(&self, path: &[u8]) -> bool {
        self.made.as_ref().is_some_and(|made| made.get(&self.keys.of(path)) == Some(&false))
    }
}
