//! Extraction: the bytes of a layer's tar become files (image-spec, layer.md).
//!
//! Nobody else writes to the tree while it is made (a staging directory with mode 0700), but
//! everything in it comes from a hostile image: each name is found by descriptors of directories,
//! and no symbolic link is followed but by hand, inside the root.

use std::io::BufRead;
use std::os::fd::OwnedFd;

use super::owners::Owners;
use crate::error::{Error, Result};

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
        lowers: Vec<OwnedFd>,
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
    /// Headers of tar entries, those that only describe the next one included.
    pub entries: u64,
    /// Bytes of tar.
    pub size: u64,
}

/// Makes the files of one image, or of one layer of it.
pub struct Extractor {
    root: OwnedFd,
    options: Options,
}

impl Extractor {
    /// Takes an empty directory for the root. Sets the umask of the process to 0.
    ///
    /// # Errors
    /// Those of the calls that give the root its first attributes: root's, mode 0755, of the epoch.
    pub fn new(root: OwnedFd, options: Options) -> Result<Self> {
        Ok(Self { root, options })
    }

    /// Extracts the next layer, and reads the stream to its end. In the form for overlayfs once
    /// only.
    ///
    /// # Errors
    /// What is wrong in the tar, or the call that failed, each with the name of the entry; those of
    /// the stream.
    pub fn layer(&mut self, stream: &mut impl BufRead) -> Result<()> {
        let _ = (&self.root, &self.options, stream);
        Err(Error::new("layers are not extracted yet"))
    }

    /// Gives the directories their times. What was left out, such as attributes that the filesystem
    /// does not have, is told in sentences.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn finish(self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
