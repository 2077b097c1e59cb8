//! An entry becomes a file, by what it is. What is there under its name goes first, but for a
//! directory that stays one (image-spec, layer.md, "Applying Changesets").

use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, makedev, mknodat};
use nix::sys::uio::pwrite;
use nix::unistd::{ftruncate, symlinkat, write};

use super::directories::Place;
use super::metadata::Attributes;
use super::name::{self, join, shown};
use super::sparse::Map;
use super::tar::{Entry, Kind, Reader};
use super::tree::Tree;
use crate::error::{Call, Error, Result};

/// To write a new file, and nothing that is there.
pub const NEW: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Tree {
    /// Makes what the entry says, at a clean name.
    pub fn enter<R: BufRead>(
        &mut self,
        path: &[u8],
        entry: &mut Entry,
        reader: &mut Reader<'_, R>,
    ) -> Result<()> {
        let attributes = self.attributes(entry)?;
        if path.is_empty() {
            // CVE-2021-29136: layers after it would follow what the root has become.
            return match entry.kind {
                Kind::Directory => {
                    self.open(b"").and_then(|root| self.change_directory(&root, attributes))
                }
                _ => Err(Error::new("the root is a directory and stays one")),
            };
        }
        let (directory, name) = name::split(path);
        let parent = self.make(directory)?;
        match &entry.kind {
            Kind::File(map) => self.file(&parent, name, &attributes, map.as_ref(), reader)?,
            Kind::Directory => self.directory(&parent, name, attributes)?,
            Kind::Symlink(target) => self.symlink(&parent, name, &attributes, target)?,
            Kind::Link(target) => self.link(&parent, name, target)?,
            Kind::Fifo => self.node(&parent, name, &attributes, SFlag::S_IFIFO, 0)?,
            Kind::Character(0, 0) if self.overlay.is_some() => {
                return Err(Error::new("the device 0:0 is what a whiteout is to overlayfs"));
            }
            Kind::Character(major, minor) => {
                let device = makedev((*major).into(), (*minor).into());
                self.node(&parent, name, &attributes, SFlag::S_IFCHR, device)?;
            }
            Kind::Block(major, minor) => {
                let device = makedev((*major).into(), (*minor).into());
                self.node(&parent, name, &attributes, SFlag::S_IFBLK, device)?;
            }
        }
        if self.made.is_some() {
            self.note(&join(&parent.path, name), true);
        }
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        parent: &Place,
        name: &[u8],
        attributes: &Attributes,
        map: Option<&Map>,
        reader: &mut Reader<'_, R>,
    ) -> Result<()> {
        let file = self.new_file(parent, name, attributes.mode_of_new_file())?;
        match map {
            None => loop {
                let data = reader.data()?;
                if data.is_empty() {
                    break;
                }
                let written = write(&file, data).call(|| format!("write({} bytes)", data.len()))?;
                reader.done(written)?;
            },
            Some(map) => write_sparse(file.as_fd(), map, reader)?,
        }
        self.give_to_file(file.as_fd(), parent, attributes)
    }

    /// An empty file with that mode, in place of what was there.
    pub fn new_file(&mut self, parent: &Place, name: &[u8], mode: u32) -> Result<OwnedFd> {
        self.in_place(parent, name, || openat(parent, name, NEW, Mode::from_bits_truncate(mode)))?
            .call(|| format!("openat({:?}, O_CREAT|O_EXCL, {mode:o})", shown(name)))
    }

    fn directory(&mut self, parent: &Place, name: &[u8], attributes: Attributes) -> Result<()> {
        match self.make_directory(parent, name, attributes.clone()) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => {}
            other => return other.map(drop),
        }
        let path = join(&parent.path, name);
        let there = match self.directories.open(&path)? {
            Ok(place) => place,
            Err(Errno::EACCES) => self.directories.unlock(parent, name)?,
            Err(_) => {
                self.displace(parent, name)?;
                let place = self.make_directory(parent, name, attributes)?;
                return self.hide_below(&place);
            }
        };
        self.change_directory(&there, attributes)
    }

    /// A symbolic link with any text.
    pub fn symlink(
        &mut self,
        parent: &Place,
        name: &[u8],
        attributes: &Attributes,
        target: &[u8],
    ) -> Result<()> {
        self.in_place(parent, name, || symlinkat(target, parent, name))?
            .call(|| format!("symlinkat({:?}, {:?})", shown(target), shown(name)))?;
        self.give_to_name(parent, name, attributes, true)
    }

    /// A FIFO or a device. In a bundle for a user namespace a device becomes an empty file that nobody
    /// may open: whether it could be made or not, it would be a device of the host that belongs to a
    /// user without privileges.
    pub fn node(
        &mut self,
        parent: &Place,
        name: &[u8],
        attributes: &Attributes,
        kind: SFlag,
        device: u64,
    ) -> Result<()> {
        if kind != SFlag::S_IFIFO && self.owners.mappings().is_some() {
            self.warn("devices are empty files: a user namespace has none of its own".to_owned());
            let attributes = Attributes { mode: 0, ..attributes.clone() };
            let file = self.new_file(parent, name, attributes.mode_of_new_file())?;
            return self.give_to_file(file.as_fd(), parent, &attributes);
        }
        let mode = Mode::from_bits_truncate(attributes.mode);
        self.in_place(parent, name, || mknodat(parent, name, kind, mode, device))?
            .call(|| format!("mknodat({:?}, {kind:?}, {device:#x})", shown(name)))?;
        self.give_to_name(parent, name, attributes, false)
    }

    /// Makes something new; if something is there, that is removed, and it is made again. Nothing
    /// is asked beforehand: mostly nothing is there.
    pub fn in_place<T>(
        &mut self,
        parent: &Place,
        name: &[u8],
        make: impl Fn() -> nix::Result<T>,
    ) -> Result<nix::Result<T>> {
        match make() {
            Err(Errno::EEXIST) => {
                self.displace(parent, name)?;
                Ok(make())
            }
            other => Ok(other),
        }
    }
}

/// Data where the map says, and holes between.
fn write_sparse<R: BufRead>(
    file: BorrowedFd<'_>,
    map: &Map,
    reader: &mut Reader<'_, R>,
) -> Result<()> {
    // Sizes are within off_t: see Map::new.
    ftruncate(file, map.size.cast_signed()).call(|| format!("ftruncate({})", map.size))?;
    for segment in &map.segments {
        let (mut offset, mut left) = (segment.offset, segment.length);
        while left > 0 {
            let data = reader.data()?;
            let data = &data[..data.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            let written = pwrite(file, data, offset.cast_signed())
                .call(|| format!("pwrite({} bytes, {offset})", data.len()))?;
            reader.done(written)?;
            offset += written as u64;
            left -= written as u64;
        }
    }
    Ok(())
}
