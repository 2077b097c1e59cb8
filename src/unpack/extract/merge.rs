//! Layers that a store has become one tree: what overlayfs would show of them (overlayfs.rst, "whiteouts
//! and opaque directories") is copied, content by reference where the filesystem can.
//!
//! It is the tree that the layers make when they are extracted into it, but for this: as with overlayfs,
//! a file of which a layer has a hard link is another one than its other names in the layers below; and
//! what is neither a directory nor a regular file has no extended attributes, which could only be read by
//! opening it, or by name (xattr(7)).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::{FileStat, SFlag};
use nix::unistd::linkat;

use super::directories::{LIST, Place};
use super::link::stat_of;
use super::lowers::{Lowers, attributes_of_stat};
use super::name::{self, LONGEST, join, shown};
use super::removal::names;
use super::tree::Tree;
use crate::error::{Call, Context, Result};
use crate::sys::path::kind_of;

/// A directory of the tree, on the way to what is copied now.
struct Step {
    /// Its clean name.
    path: Rc<[u8]>,
    /// Directories in it that are still to be copied: the name, and the layers that have it, the topmost
    /// first.
    left: Vec<(Vec<u8>, Vec<usize>)>,
}

/// By device and inode number: what was copied first of a file that has more names.
type Links = HashMap<(u64, u64), Link>;

struct Link {
    directory: Rc<[u8]>,
    name: Vec<u8>,
    /// How many names may still come.
    left: u64,
}

/// A copy that is being made.
struct Merging<'a> {
    tree: &'a mut Tree,
    layers: &'a Lowers,
    links: Links,
    /// Told of names and of bytes, before they are copied or soon after; an error of it is the end.
    count: &'a mut dyn FnMut(u64, u64) -> Result<()>,
}

impl Tree {
    /// Copies what the layers show into a tree that is empty. `count` is told of each name, and of the
    /// bytes that were copied; an error of it is the end.
    pub fn merge(
        &mut self,
        layers: &Lowers,
        count: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let all: Vec<usize> = (0..layers.directories.len()).collect();
        let mut merging = Merging { tree: self, layers, links: Links::new(), count };
        let mut way = vec![merging.directory(b"", &all)?];
        while let Some(step) = way.last_mut() {
            let Some((name, numbers)) = step.left.pop() else {
                way.pop();
                continue;
            };
            let path = join(&step.path, &name);
            way.push(merging.directory(&path, &numbers)?);
        }
        Ok(())
    }
}

impl Merging<'_> {
    /// Copies a directory with all in it but its directories. `numbers`: the layers that have something
    /// of its name, of which the topmost has a directory.
    fn directory(&mut self, path: &[u8], numbers: &[usize]) -> Result<Step> {
        let layers = self.layers;
        let shown_in = layers.shown_in(numbers, path);
        let (top, numbers) = shown_in.context(|| layers.said(numbers[0], path))?;
        let path: Rc<[u8]> = path.into();
        self.make(&path, &top).context(|| layers.said(numbers[0], &path))?;
        drop(top);
        // With the layers that have it: a directory. Else what hides others of its name.
        let mut seen: HashMap<Vec<u8>, Option<Vec<usize>>> = HashMap::new();
        for number in numbers {
            // One after the other: a process may not have as many open as there can be layers.
            let part = layers.open(number, &path)?;
            let part = part.call(|| format!("openat2({:?})", shown(&path)))?;
            for name in names(part.as_fd())? {
                match seen.entry(name) {
                    Entry::Occupied(mut seen) => {
                        seen.get_mut().iter_mut().for_each(|directory| directory.push(number));
                    }
                    Entry::Vacant(new) => {
                        let copied = self.name(&part, &path, new.key());
                        let is_directory =
                            copied.context(|| layers.said(number, &join(&path, new.key())))?;
                        new.insert(is_directory.then(|| vec![number]));
                    }
                }
            }
        }
        let left = seen.into_iter().filter_map(|(name, numbers)| Some((name, numbers?))).collect();
        Ok(Step { path, left })
    }

    /// An empty directory with the attributes of a layer's; the root is there.
    fn make(&mut self, path: &[u8], of: &OwnedFd) -> Result<()> {
        let attributes = self.tree.attributes_in(of, self.layers.prefix)?;
        if path.is_empty() {
            let root = self.tree.open(b"")?;
            return self.tree.change_directory(&root, attributes);
        }
        let (above, name) = name::split(path);
        let parent = self.tree.open(above)?;
        self.tree.make_directory(&parent, name, attributes).map(drop)
    }

    /// Copies what a layer has under a name, unless it is a whiteout. A directory is left for later: whether
    /// it is one.
    fn name(&mut self, part: &OwnedFd, path: &[u8], name: &[u8]) -> Result<bool> {
        (self.count)(1, 0)?;
        let stat = stat_of(part, name)?;
        if kind_of(&stat) == SFlag::S_IFDIR {
            return Ok(true);
        }
        if self.layers.is_whiteout(part.as_fd(), name)? {
            return Ok(false);
        }
        // Open again: what is opened for links may have closed it.
        let place = self.tree.open(path)?;
        if stat.st_nlink > 1 && self.link_to_copy(&stat, &place, name)? {
            return Ok(false);
        }
        if kind_of(&stat) == SFlag::S_IFLNK {
            let target =
                readlinkat(part, name).call(|| format!("readlinkat({:?})", shown(name)))?;
            self.tree.symlink(&place, name, &attributes_of_stat(&stat), target.as_bytes())?;
        } else {
            let count = &mut *self.count;
            let prefix = self.layers.prefix;
            self.tree.copy_file(part, &place, name, prefix, &mut |bytes| count(0, bytes))?;
        }
        Ok(false)
    }

    /// Makes it a link to what was copied under another of its names: whether something was. If not, this one is
    /// kept in mind.
    fn link_to_copy(&mut self, stat: &FileStat, place: &Place, name: &[u8]) -> Result<bool> {
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            Entry::Vacant(first) => {
                let (directory, name) = (Rc::clone(&place.path), name.to_vec());
                first.insert(Link { directory, name, left: stat.st_nlink - 1 });
                Ok(false)
            }
            Entry::Occupied(mut entry) => {
                let first = entry.get_mut();
                let directory = self.tree.open(&first.directory)?;
                linkat(&directory, first.name.as_slice(), place, name, AtFlags::empty())
                    .call(|| format!("linkat({:?}, {:?})", shown(&first.name), shown(name)))?;
                first.left -= 1;
                if first.left == 0 {
                    entry.remove();
                }
                Ok(true)
            }
        }
    }
}

impl Lowers {
    /// A layer, counted from the lowest, and a name in it.
    fn said(&self, layer: usize, path: &[u8]) -> String {
        let all = self.directories.len();
        format!("layer {} of {all}: {:?}", all - layer, shown(path))
    }

    /// A directory of one layer by its clean name, not through symbolic links.
    fn open(&self, layer: usize, path: &[u8]) -> Result<nix::Result<OwnedFd>> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV;
        let (mut here, mut path) = (None, if path.is_empty() { b"." } else { path });
        loop {
            // A layer may have a directory that is deeper than a path is long.
            let end = match path.get(..=LONGEST) {
                None => path.len(),
                Some(start) => start.iter().rposition(|byte| *byte == b'/').unwrap_or(LONGEST),
            };
            let start = here.as_ref().map_or(self.directories[layer].as_fd(), OwnedFd::as_fd);
            match openat2(start, &path[..end], OpenHow::new().flags(LIST).resolve(resolve)) {
                Ok(fd) if end == path.len() => return Ok(Ok(fd)),
                Ok(fd) => (here, path) = (Some(fd), &path[end + 1..]),
                Err(errno @ (Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)) => {
                    return Ok(Err(errno));
                }
                Err(errno) => {
                    return Err(errno).call(|| format!("openat2({:?}, {resolve:?})", shown(path)));
                }
            }
        }
    }

    /// Of a directory that the first of these layers has: it, and the layers that show something in it,
    /// down to the first that hides those below.
    fn shown_in(&self, numbers: &[usize], path: &[u8]) -> Result<(OwnedFd, Vec<usize>)> {
        let (mut top, mut layers) = (None, Vec::new());
        for number in numbers {
            // A file or a whiteout hides what is below it.
            let Ok(directory) = self.open(*number, path)? else { break };
            layers.push(*number);
            let is_last = self.is_opaque(directory.as_fd())?;
            top.get_or_insert(directory);
            if is_last {
                break;
            }
        }
        let top = top.ok_or(Errno::ENOENT).call(|| format!("openat2({:?})", shown(path)))?;
        Ok((top, layers))
    }
}
