//! How a store knows its bundles: `bundles/N` of the store and `layers.json` of the bundle are one
//! file with two names (hard links). So a bundle that is moved keeps its layers, and one that is
//! removed by whatever means gives them up. Where the bundle is on another filesystem, it has a copy,
//! and the path where it was made counts.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use serde::{Deserialize, Serialize};

use super::{LayerName, Store};
use crate::error::{Call, Context, Error, Result};
use crate::unpack::extract::Prefix;
use crate::unpack::extract::removal::names;

/// The name of the file in the bundle.
pub const FILE: &str = "layers.json";
/// 500 layers have names of 80 bytes.
const LONGEST: u64 = 256 * 1024;

/// What a bundle is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The absolute path of the store.
    pub store: PathBuf,
    /// The name in the store's `bundles`.
    pub record: u64,
    /// The absolute path where the bundle was made.
    pub bundle: PathBuf,
    /// Whether overlayfs's attributes are `user.overlay.*`.
    pub user_attributes: bool,
    /// `KIND/LAYER`, the topmost first.
    pub layers: Vec<String>,
}

impl Record {
    /// What a bundle says.
    ///
    /// # Errors
    /// That the bundle has none, and so is not of a store; those of reading.
    pub fn of_bundle(bundle: &Path) -> Result<Self> {
        let path = bundle.join(FILE);
        match std::fs::File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::new(format!("{bundle:?} is no bundle with shared layers")))
            }
            other => parse(other.call(|| format!("open({path:?})"))?),
        }
        .context(|| format!("{FILE:?}"))
    }

    /// The names of the layers, the topmost first.
    ///
    /// # Errors
    /// That one is no name.
    pub fn layers(&self) -> Result<Vec<LayerName>> {
        self.layers.iter().map(|name| LayerName::parse(name)).collect()
    }

    /// The namespace of overlayfs's attributes.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        if self.user_attributes { Prefix::User } else { Prefix::Trusted }
    }
}

fn parse(file: std::fs::File) -> Result<Record> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text).call(|| "read()")?;
    serde_json::from_slice(&text).map_err(|error| Error::new(error.to_string()))
}

impl Store {
    /// Enters a bundle that is being made: a record in the store, and its second name in the bundle.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn enter(
        &self,
        directory: BorrowedFd<'_>,
        bundle: &Path,
        prefix: Prefix,
        layers: &[LayerName],
    ) -> Result<()> {
        let mut number = self.records()?.last().map_or(1, |last| last + 1);
        let file = loop {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            match openat(&self.bundles, number.to_string().as_str(), flags, mode) {
                // Another one who unpacks.
                Err(Errno::EEXIST) => number += 1,
                other => break other.call(|| format!("openat(\"{number}\", O_CREAT|O_EXCL)"))?,
            }
        };
        let record = Record {
            store: PathBuf::from(&self.path),
            record: number,
            bundle: bundle.to_owned(),
            user_attributes: prefix == Prefix::User,
            layers: layers.iter().map(ToString::to_string).collect(),
        };
        let text = serde_json::to_string_pretty(&record).expect("a record is JSON") + "\n";
        std::fs::File::from(file).write_all(text.as_bytes()).call(|| "write(the record)")?;
        let name = number.to_string();
        match linkat(&self.bundles, name.as_str(), directory, FILE, AtFlags::empty()) {
            // EPERM: a filesystem without hard links.
            Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK) => copy(directory, &text),
            other => other.call(|| format!("linkat({name:?}, {FILE:?})")),
        }
    }

    /// The numbers of all records, in their order.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn records(&self) -> Result<Vec<u64>> {
        let names = names(self.bundles.as_fd())?;
        let number = |name: &Vec<u8>| std::str::from_utf8(name).ok()?.parse().ok();
        let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The record of this number if its bundle exists; `None` if the bundle is gone.
    ///
    /// # Errors
    /// Those of reading it. A record that was not written to its end is of no bundle.
    pub fn living(&self, number: u64) -> Result<Option<Record>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&self.bundles, number.to_string().as_str(), flags, Mode::empty());
        let file = file.call(|| format!("openat(\"{number}\")"))?;
        let links = fstat(&file).call(|| "fstat()")?.st_nlink;
        let Ok(record) = parse(file.into()) else {
            return Ok(None);
        };
        // Its own name, and that in the bundle.
        if links > 1 {
            return Ok(Some(record));
        }
        let is_there = Record::of_bundle(&record.bundle).is_ok_and(|copy| copy == record);
        Ok(is_there.then_some(record))
    }

    /// Forgets a bundle.
    ///
    /// # Errors
    /// Those of unlinkat(2); one that is forgotten already is no error.
    pub fn forget(&self, number: u64) -> Result<()> {
        match unlinkat(&self.bundles, number.to_string().as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno).call(|| format!("unlinkat(\"{number}\")")),
        }
    }
}

/// For a bundle that is on another filesystem than its store.
fn copy(directory: BorrowedFd<'_>, text: &str) -> Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let file = openat(directory, FILE, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let file = file.call(|| format!("openat({FILE:?}, O_CREAT|O_EXCL)"))?;
    std::fs::File::from(file).write_all(text.as_bytes()).call(|| format!("write({FILE:?})"))
}
