//! Whiteouts: image-spec, layer.md, "Whiteouts". They hide what layers below have, and nothing that
//! their own layer has, wherever in it they stand. So that their place does not matter, a directory
//! that they hide and that the layer has no entry for gets what a new one would have.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat, mknodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::directories::Place;
use super::entry::NEW;
use super::lowers::Found;
use super::name::{self, join, shown};
use super::removal::names;
use super::tree::Tree;
use crate::error::{Call, Result};
use crate::sys::path::kind_of;
use crate::sys::xattr::{fgetxattr, fsetxattr};

impl Tree {
    /// Layers below have nothing with that name in a directory.
    pub fn hide(&mut self, directory: &[u8], name: &[u8]) -> Result<()> {
        // The first layer has none below it.
        if self.made.is_none() {
            return Ok(());
        }
        let Some(parent) = self.find(directory)? else {
            return Ok(());
        };
        let path = join(&parent.path, name);
        if self.overlay.is_some() {
            return self.hide_for_overlay(&parent, name, &path);
        }
        if !self.is_made(&path) {
            return self.displace_if_there(&parent, name);
        }
        if let Ok(place) = self.directories.open(&path)? {
            if self.is_implicit(&path) {
                self.forget_below(&place)?;
            }
            self.prune(place)?;
        }
        Ok(())
    }

    /// Layers below have nothing in a directory.
    pub fn hide_all(&mut self, directory: &[u8]) -> Result<()> {
        if self.made.is_none() {
            return Ok(());
        }
        match self.find(directory)? {
            None => Ok(()),
            Some(place) if self.overlay.is_some() && place.path.is_empty() => self.hide_root(),
            Some(place) if self.overlay.is_some() => {
                let below = self.below(&place.path)?;
                if matches!(below, Found::Directory(_)) { self.hide_below(&place) } else { Ok(()) }
            }
            Some(place) => self.prune(place),
        }
    }

    /// Removes what layers before this one made in a directory. Once for each: what is made there
    /// later is of this layer.
    fn prune(&mut self, directory: Place) -> Result<()> {
        if self.keys.on_the_way(&directory.path).any(|key| self.pruned.contains(&key)) {
            return Ok(());
        }
        let mut left = vec![directory.path.clone()];
        while let Some(path) = left.pop() {
            if !self.pruned.insert(self.keys.of(&path)) {
                continue;
            }
            let directory = self.open(&path)?;
            let (made, old): (Vec<_>, Vec<_>) = names(directory.as_fd())?
                .into_iter()
                .partition(|name| self.is_made(&join(&path, name)));
            // As long as it is open: it gets its times when it is closed, as others are opened.
            for name in old {
                self.displace_if_there(&directory, &name)?;
            }
            for name in made {
                let path = join(&path, &name);
                if let Ok(place) = self.directories.open(&path)? {
                    if self.is_implicit(&path) {
                        self.forget_below(&place)?;
                    }
                    left.push(place.path);
                }
            }
        }
        Ok(())
    }

    fn is_made(&self, path: &[u8]) -> bool {
        self.made.as_ref().is_some_and(|made| made.contains_key(&self.keys.of(path)))
    }

    fn displace_if_there(&mut self, parent: &Place, name: &[u8]) -> Result<()> {
        match self.displace(parent, name) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// A directory that was only needed on the way has nothing of the one that is hidden.
    fn forget_below(&mut self, place: &Place) -> Result<()> {
        let attributes = self.default_attributes()?;
        self.change_directory(place, attributes)
    }

    fn hide_for_overlay(&mut self, parent: &Place, name: &[u8], path: &[u8]) -> Result<()> {
        if self.is_copy(parent, name) {
            self.displace(parent, name)?;
            self.note(path, true);
        }
        match self.directories.open(path)? {
            Ok(place) => {
                let is_implicit = self.is_implicit(path);
                if is_implicit {
                    self.forget_below(&place)?;
                }
                self.hide_below(&place)?;
                // It was there for its whiteouts alone.
                if is_implicit && self.remove_if_empty(path)? {
                    return self.make_whiteout(parent, name);
                }
                Ok(())
            }
            Err(Errno::ENOENT) => match self.below(path)? {
                // A whiteout of nothing would be shown where overlayfs has nothing to merge.
                Found::Nothing => Ok(()),
                _ => self.make_whiteout(parent, name),
            },
            // This layer's own file hides it, or there is a whiteout already.
            Err(_) => Ok(()),
        }
    }

    /// Whether it is a file of a layer below, which this one has for the sake of links to it: what hides
    /// the one hides the other.
    fn is_copy(&self, directory: &Place, name: &[u8]) -> bool {
        self.is_implicit(&join(&directory.path, name))
            && fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| kind_of(&stat) != SFlag::S_IFDIR)
    }

    /// A directory hides the one below it; for overlayfs alone, elsewhere there is none below. What
    /// whiteouts it has are removed, with the directories that were made for them: overlayfs would
    /// show them, having nothing to merge. So are copies of files below.
    pub fn hide_below(&mut self, directory: &Place) -> Result<()> {
        let Some(overlay) = &mut self.overlay else {
            return Ok(());
        };
        if overlay.lowers.directories.is_empty() {
            return Ok(());
        }
        overlay.opaque.insert(self.keys.of(&directory.path));
        // Once for each: no whiteout is made later in what hides all.
        let opaque = overlay.lowers.prefix.name("opaque");
        if fgetxattr(directory.as_fd(), &opaque)?.is_some_and(|value| value == b"y") {
            return Ok(());
        }
        fsetxattr(directory.as_fd(), &opaque, b"y")?;
        let mut left = vec![directory.path.clone()];
        let mut implicit = Vec::new();
        while let Some(path) = left.pop() {
            let directory = self.open(&path)?;
            let mut others = Vec::new();
            // As long as it is open: it gets its times when it is closed, as others are opened.
            for name in names(directory.as_fd())? {
                if self.is_whiteout(&directory, &name)? || self.is_copy(&directory, &name) {
                    self.displace(&directory, &name)?;
                } else {
                    others.push(join(&path, &name));
                }
            }
            for path in others {
                if let Ok(place) = self.directories.open(&path)? {
                    if self.is_implicit(&path) {
                        self.forget_below(&place)?;
                        implicit.push(path);
                    }
                    left.push(place.path);
                }
            }
        }
        // What is in a directory was found after it.
        implicit.iter().rev().try_for_each(|path| self.remove_if_empty(path).map(drop))
    }

    /// Removes a directory of this layer, if nothing is in it.
    fn remove_if_empty(&mut self, path: &[u8]) -> Result<bool> {
        let (above, name) = name::split(path);
        let parent = self.open(above)?;
        match unlinkat(&parent, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOTEMPTY | Errno::EEXIST) => return Ok(false),
            Err(errno) => {
                return Err(errno).call(|| format!("unlinkat({:?}, AT_REMOVEDIR)", shown(name)));
            }
        }
        self.directories.forget(path);
        if let Some(overlay) = &mut self.overlay {
            overlay.opaque.remove(&self.keys.of(path));
        }
        self.note(path, true);
        Ok(true)
    }

    /// Overlayfs merges the roots of layers whatever their attributes say: each name there is hidden.
    fn hide_root(&mut self) -> Result<()> {
        // Once: what is hidden stays so.
        if !self.pruned.insert(self.keys.of(b"")) {
            return Ok(());
        }
        let mut hidden = BTreeSet::new();
        for layer in self.overlay.iter().flat_map(|overlay| &overlay.lowers.directories) {
            hidden.extend(names(layer.as_fd())?);
        }
        hidden.iter().try_for_each(|name| self.hide(b"", name))
    }

    fn is_whiteout(&self, directory: &Place, name: &[u8]) -> Result<bool> {
        let overlay = self.overlay.as_ref();
        overlay.map_or(Ok(false), |overlay| overlay.lowers.is_whiteout(directory.as_fd(), name))
    }

    /// A device 0:0, which everybody may make since Linux 5.8; where the filesystem is itself an
    /// overlay, which keeps those for itself, an empty file with an attribute (since Linux 6.7).
    fn make_whiteout(&mut self, parent: &Place, name: &[u8]) -> Result<()> {
        match mknodat(parent, name, SFlag::S_IFCHR, Mode::empty(), 0) {
            Err(Errno::EPERM) => self.make_whiteout_by_attribute(parent, name),
            result => result.call(|| format!("mknodat({:?}, S_IFCHR, 0)", shown(name))),
        }
    }

    fn make_whiteout_by_attribute(&mut self, parent: &Place, name: &[u8]) -> Result<()> {
        let Some(prefix) = self.overlay.as_ref().map(|overlay| overlay.lowers.prefix) else {
            return Ok(());
        };
        let mode = Mode::from_bits_truncate(0o600);
        let file = nix::fcntl::openat(parent, name, NEW, mode)
            .call(|| format!("openat({:?}, O_CREAT|O_EXCL)", shown(name)))?;
        fsetxattr(file.as_fd(), &prefix.name("whiteout"), b"y")?;
        // Says that there may be such files; a directory that is opaque has none.
        let opaque = prefix.name("opaque");
        match fgetxattr(parent.as_fd(), &opaque)? {
            Some(_) => Ok(()),
            None => fsetxattr(parent.as_fd(), &opaque, b"x"),
        }
    }
}
