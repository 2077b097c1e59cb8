//! Layers that a store has become one tree: what overlayfs would show of them (overlayfs.rst, "whiteouts
//! and opaque directories") is copied, content by reference where the filesystem can. As with overlayfs,
//! a file of which a layer has a hard link is another one than its other names in the layers below. Of what
//! is neither a directory nor a regular file extended attributes are left out: those that it can have are
//! only to be read by opening it, or by name (xattr(7)).

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OpenHow, ResolveFlag, openat2, readlinkat};
use nix::sys::stat::SFlag;
use nix::unistd::linkat;

use super::directories::{LIST, Place};
use super::link::stat_of;
use super::lowers::{Lowers, attributes_of_stat};
use super::name::{self, join, shown};
use super::removal::names;
use super::tree::Tree;
use crate::error::{Call, Context, Result};
use crate::sys::path::kind_of;

/// A directory that layers show, by its clean name.
struct Merged {
    path: Vec<u8>,
    /// The layers that show something in it, the topmost first.
    layers: Vec<usize>,
}

/// By layer and inode number: the clean name of what was copied first.
type Links = HashMap<(usize, u64), Vec<u8>>;

impl Tree {
    /// Copies what the layers show into a tree that is empty. After each file `go_on` is told how many bytes
    /// were copied.
    pub fn merge(
        &mut self,
        layers: &Lowers,
        go_on: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        let all = Merged { path: Vec::new(), layers: (0..layers.directories.len()).collect() };
        let top = layers.open(0, b"")?.call(|| "openat2(\".\", O_DIRECTORY)")?;
        let (root, attributes) = (self.open(b"")?, self.attributes_in(&top, layers.prefix)?);
        self.change_directory(&root, attributes)?;
        let (mut links, mut left) = (Links::new(), vec![all]);
        while let Some(directory) = left.pop() {
            let mut seen = HashSet::new();
            for (number, layer) in directory.layers.iter().enumerate() {
                // One after the other: a process may not have as many open as there can be layers.
                let part = layers.open(*layer, &directory.path)?;
                let part = part.call(|| format!("openat2({:?})", shown(&directory.path)))?;
                for name in names(part.as_fd())? {
                    if !seen.insert(name.clone()) {
                        continue;
                    }
                    let path = join(&directory.path, &name);
                    let copied =
                        self.copy(&part, &directory.layers[number..], &path, layers, &mut links);
                    left.extend(copied.context(|| format!("{:?}", shown(&path)))?);
                    go_on(std::mem::take(&mut self.copied))?;
                }
            }
        }
        Ok(())
    }

    /// Copies what a layer's directory has under the last name of a path, if it is no whiteout. `numbers`:
    /// that layer, and those below it that show something in the directory. Of a directory: what is to be
    /// copied into it.
    fn copy(
        &mut self,
        part: &OwnedFd,
        numbers: &[usize],
        path: &[u8],
        layers: &Lowers,
        links: &mut Links,
    ) -> Result<Option<Merged>> {
        let (above, name) = name::split(path);
        let place = self.open(above)?;
        let stat = stat_of(part, name)?;
        match kind_of(&stat) {
            SFlag::S_IFDIR => {
                let (top, numbers) = layers.shown_below(numbers, path)?;
                let attributes = self.attributes_in(&top, layers.prefix)?;
                self.make_directory(&place, name, attributes)?;
                return Ok(Some(Merged { path: path.to_vec(), layers: numbers }));
            }
            _ if layers.is_whiteout(part.as_fd(), name)? => return Ok(None),
            _ if stat.st_nlink > 1 => match links.entry((numbers[0], stat.st_ino)) {
                Entry::Occupied(first) => {
                    self.link_to_copy(first.get(), &place, name)?;
                    return Ok(None);
                }
                Entry::Vacant(first) => drop(first.insert(path.to_vec())),
            },
            _ => {}
        }
        if kind_of(&stat) == SFlag::S_IFLNK {
            let target =
                readlinkat(part, name).call(|| format!("readlinkat({:?})", shown(name)))?;
            self.symlink(&place, name, &attributes_of_stat(&stat), target.as_bytes())?;
        } else {
            self.copy_file(part, &place, name, layers.prefix)?;
        }
        Ok(None)
    }

    fn link_to_copy(&mut self, first: &[u8], place: &Place, name: &[u8]) -> Result<()> {
        let (directory, old) = name::split(first);
        linkat(&self.open(directory)?, old, place, name, AtFlags::empty())
            .call(|| format!("linkat({:?}, {:?})", shown(first), shown(name)))
    }
}

impl Lowers {
    /// A directory of one layer by its clean name, not through symbolic links.
    fn open(&self, layer: usize, path: &[u8]) -> Result<nix::Result<OwnedFd>> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(LIST).resolve(resolve);
        let path = if path.is_empty() { b"." } else { path };
        match openat2(&self.directories[layer], path, how) {
            result @ (Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP)) => Ok(result),
            Err(errno) => Err(errno).call(|| format!("openat2({:?}, {resolve:?})", shown(path))),
        }
    }

    /// Of a directory that the first of these layers has: it, and the layers that show something in it,
    /// down to the first that hides those below.
    fn shown_below(&self, numbers: &[usize], path: &[u8]) -> Result<(OwnedFd, Vec<usize>)> {
        let (mut top, mut shown) = (None, Vec::new());
        for number in numbers {
            match self.open(*number, path)? {
                Ok(directory) => {
                    shown.push(*number);
                    let is_last = self.is_opaque(directory.as_fd())?;
                    top.get_or_insert(directory);
                    if is_last {
                        break;
                    }
                }
                Err(Errno::ENOENT) => {}
                // A file or a whiteout, which hides what is below it.
                Err(_) => break,
            }
        }
        let top = top.ok_or(Errno::ENOENT).call(|| format!("openat2({:?})", name::shown(path)))?;
        Ok((top, shown))
    }
}
