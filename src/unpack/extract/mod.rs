//! Extraction: the bytes of a layer's tar become files (image-spec, layer.md).
//!
//! Nobody else writes to the tree while it is made (a staging directory with mode 0700), but
//! everything in it comes from a hostile image: each name is found by descriptors of directories,
//! and no symbolic link is followed but by hand, inside the root.

mod attributes;
pub(super) mod described;
mod directories;
mod entry;
pub(super) mod header;
mod link;
pub mod lowers;
mod merge;
mod metadata;
pub(super) mod name;
mod pax;
pub(super) mod removal;
mod sparse;
mod tar;
mod tree;
mod whiteout;

use std::io::BufRead;
use std::os::fd::OwnedFd;
use std::rc::Rc;

pub(super) use self::directories::LIST;
use self::lowers::Lowers;
use self::name::{Subject, shown};
pub use self::tar::Spent;
use self::tar::{Entry, Reader};
use self::tree::Tree;
use super::owners::Owners;
use crate::error::{Context, Result};

/// What becomes of layers.
pub struct Options {
    /// Whose file becomes whose.
    pub owners: Owners,
    /// What becomes of whiteouts.
    pub whiteouts: Whiteouts,
    /// What an image may not exceed.
    pub limits: Limits,
}

/// What a whiteout becomes.
pub enum Whiteouts {
    /// One tree holds all layers: a whiteout removes what layers before it made.
    Apply,
    /// The tree holds one layer, for overlayfs.
    Overlay {
        /// The namespace of overlayfs's attributes.
        prefix: Prefix,
        /// The directories of the layers below, the topmost first (O_PATH will do). They say what a
        /// whiteout hides, where the layer's names lead, whose attributes a directory has that the
        /// layer has no entry for, and what a hard link to a file of theirs is a link to.
        lowers: Vec<Rc<OwnedFd>>,
    },
}

/// The namespace of overlayfs's attributes (overlayfs.rst, "User xattr").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// `trusted.overlay.`: needs CAP_SYS_ADMIN in the first user namespace.
    Trusted,
    /// `user.overlay.`: for a mount with `userxattr`, since Linux 5.11.
    User,
}

/// What all layers of an image together may not exceed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Headers of tar entries, those that only describe the next one included, and directories that
    /// no entry is for.
    pub entries: u64,
    /// Bytes of tar.
    pub size: u64,
}

/// Makes the files of one image, or of one layer of it.
pub struct Extractor {
    tree: Tree,
    limits: Limits,
    /// What was taken of the limits so far. To be set to what layers took that others extracted.
    pub spent: Spent,
}

impl Extractor {
    /// Takes an empty directory for the root. The umask of the process is to be 0.
    ///
    /// # Errors
    /// Those of the calls that give the root its first attributes: root's, mode 0755, of the epoch;
    /// or those of the layer below.
    pub fn new(root: OwnedFd, options: Options) -> Result<Self> {
        let limits = options.limits;
        Ok(Self { tree: Tree::new(root, options)?, limits, spent: Spent::default() })
    }

    /// Extracts the next layer, and reads the stream to its end. In the form for overlayfs once
    /// only.
    ///
    /// # Errors
    /// What is wrong in the tar, or the call that failed, each with the name of the entry; those of
    /// the stream.
    pub fn layer(&mut self, stream: &mut impl BufRead) -> Result<()> {
        let mut reader = Reader::new(stream, self.limits, &mut self.spent);
        let mut number = 0_u64;
        // 1. The entries, in the order of the tar: of two with one name the later one counts.
        loop {
            number += 1;
            let entry = reader.next().context(|| format!("entry {number}"))?;
            let Some(mut entry) = entry else { break };
            let extracted = extract(&mut self.tree, &mut entry, &mut reader);
            extracted.context(|| format!("entry {number}: {:?}", shown(&entry.name)))?;
        }
        // 2. What trails the tar is part of what the stream is verified by.
        reader.drain()?;
        // 3. The directories get their times.
        self.tree.end_layer()
    }

    /// Copies what layers show that a store has, content by reference where the filesystem can; instead of
    /// [`Extractor::layer`], for one tree that holds all layers. `check` is asked again and again
    /// whether to go on.
    ///
    /// # Errors
    /// Those of the calls, with the name of the file; a limit; those of `check`.
    pub fn merge(&mut self, layers: &Lowers, check: &dyn Fn() -> Result<()>) -> Result<()> {
        let Self { tree, limits, spent } = self;
        tree.merge(layers, &mut |names, bytes| {
            check()?;
            spent.add_entries(names, limits)?;
            spent.add_bytes(bytes, limits)
        })
    }

    /// Gives the root its times. What was left out, such as attributes that the filesystem does not
    /// have, is told in sentences.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn finish(self) -> Result<Vec<String>> {
        self.tree.directories.finish()?;
        Ok(self.tree.warnings.into_iter().collect())
    }
}

/// An entry is a file or says what layers below do not have.
fn extract<R: BufRead>(
    tree: &mut Tree,
    entry: &mut Entry,
    reader: &mut Reader<'_, R>,
) -> Result<()> {
    let path = name::clean(&entry.name)?;
    match name::subject(&path)? {
        Subject::File => tree.enter(&path, entry, reader)?,
        Subject::Whiteout(hidden) => tree.hide(name::split(&path).0, hidden)?,
        Subject::Opaque => tree.hide_all(name::split(&path).0)?,
        Subject::Aufs => {}
    }
    reader.implied(std::mem::take(&mut tree.implied))?;
    reader.copied(std::mem::take(&mut tree.copied))
}
