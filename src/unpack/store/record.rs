//! How a store knows its bundles: `bundles/N` of the store and `layers.json` of the bundle are one
//! file with two names (hard links). So a bundle that is moved keeps its layers, and one that is
//! removed by whatever means gives them up. Where the bundle is on another filesystem, it has a copy,
//! and the path where it was made counts. A bundle that was copied, or moved to another filesystem, is
//! none of the store until it is mounted, which enters it again.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use serde::{Deserialize, Serialize};

use super::{LayerName, Store};
use crate::error::{Call, Context, Error, Result};
use crate::sys::path::{kind_of, real_path};
use crate::unpack::extract::Prefix;
use crate::unpack::extract::removal::names;

/// The name of the file in the bundle.
pub const FILE: &str = "layers.json";
/// Until it is the only one.
const NEW: &str = ".layers.json";
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
    /// What a bundle says; `None` if it is not of a store.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn of_bundle(bundle: BorrowedFd<'_>) -> Result<Option<Self>> {
        match open(bundle, FILE)? {
            Some((file, _)) => parse(&read(file)?).map_err(invalid).context(|| FILE).map(Some),
            None => Ok(None),
        }
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

fn parse(text: &[u8]) -> serde_json::Result<Record> {
    serde_json::from_slice(text)
}

fn invalid(error: serde_json::Error) -> Error {
    Error::new(error.to_string())
}

/// Opens a record, and nothing else that has its name: no symbolic link, and no FIFO, to open which
/// is to wait.
fn open(directory: BorrowedFd<'_>, name: &str) -> Result<Option<(OwnedFd, FileStat)>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO) => return Ok(None),
        other => other.call(|| format!("openat({name:?})"))?,
    };
    let stat = fstat(&file).call(|| format!("fstat({name:?})"))?;
    Ok((kind_of(&stat) == SFlag::S_IFREG).then_some((file, stat)))
}

fn read(file: OwnedFd) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::from(file).take(LONGEST).read_to_end(&mut text).call(|| "read()")?;
    Ok(text)
}

impl Store {
    /// Enters a bundle: a record in the store, and its second name in the bundle, in the place of an
    /// older record that is there.
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
        match unlinkat(directory, NEW, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).call(|| format!("unlinkat({NEW:?})")),
        }
        match linkat(&self.bundles, name.as_str(), directory, NEW, AtFlags::empty()) {
            // EPERM: a filesystem without hard links.
            Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK) => copy(directory, &text)?,
            other => other.call(|| format!("linkat({name:?}, {NEW:?})"))?,
        }
        renameat(directory, NEW, directory, FILE).call(|| format!("renameat({NEW:?}, {FILE:?})"))
    }

    /// Whether it is the bundle of this record that the store knows: by its second name, or by the path.
    ///
    /// # Errors
    /// Those of the calls.
    pub fn knows(&self, bundle: BorrowedFd<'_>, record: &Record) -> Result<bool> {
        let own = open(bundle, FILE)?;
        let ours = open(self.bundles.as_fd(), &record.record.to_string())?;
        let (Some((_, own)), Some((ours, stat))) = (own, ours) else { return Ok(false) };
        if (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(true);
        }
        let is_here = Path::new(&real_path(bundle)?) == record.bundle;
        Ok(is_here && parse(&read(ours)?).is_ok_and(|ours| ours == *record))
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
    /// Those of looking: what cannot be read is not gone. A record that was not written to its end is
    /// of no bundle, unless it has a second name.
    pub fn living(&self, number: u64) -> Result<Option<Record>> {
        let Some((file, stat)) = open(self.bundles.as_fd(), &number.to_string())? else {
            return Ok(None);
        };
        let text = read(file)?;
        // Its own name, and that in the bundle.
        let is_linked = stat.st_nlink > 1;
        let record = match parse(&text) {
            Err(error) if error.is_eof() && !is_linked => return Ok(None),
            other => other.map_err(invalid)?,
        };
        if is_linked {
            return Ok(Some(record));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let bundle = match openat(AT_FDCWD, &record.bundle, flags, Mode::empty()) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            other => other.call(|| format!("open({:?}, O_PATH|O_DIRECTORY)", record.bundle))?,
        };
        let Some((copy, _)) = open(bundle.as_fd(), FILE)? else { return Ok(None) };
        // One that a power cut made shorter is still a copy.
        Ok(text.starts_with(&read(copy)?).then_some(record))
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
    let file = openat(directory, NEW, flags, Mode::S_IRUSR | Mode::S_IWUSR);
    let file = file.call(|| format!("openat({NEW:?}, O_CREAT|O_EXCL)"))?;
    std::fs::File::from(file).write_all(text.as_bytes()).call(|| format!("write({NEW:?})"))
}
