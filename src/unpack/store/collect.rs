//! `gc --store DIR`: removes what no bundle uses. It has the store for itself alone, so that nobody
//! who unpacks relies on a layer that goes.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Store;
use crate::error::{Call, Context, Error, Result};
use crate::unpack::extract::LIST;
use crate::unpack::extract::removal::{names, remove_directory};
use crate::unpack::interrupt::Interrupt;

/// What was removed, or would be.
#[derive(Debug, Default)]
pub struct Garbage {
    /// `KIND/LAYER`.
    pub layers: Vec<String>,
    /// The numbers of records whose bundle is gone.
    pub records: Vec<u64>,
    /// What processes that were killed left in the making.
    pub unfinished: Vec<String>,
}

impl fmt::Display for Garbage {
    /// A line for each thing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.layers.iter().try_for_each(|layer| writeln!(f, "layer {layer}"))?;
        self.unfinished.iter().try_for_each(|layer| writeln!(f, "unfinished {layer}"))?;
        self.records.iter().try_for_each(|record| writeln!(f, "record {record}"))
    }
}

/// Removes what no bundle uses; only looks if `dry_run`.
///
/// # Errors
/// That the directory is no store; those of the calls; that a signal came.
pub fn collect(directory: &Path, dry_run: bool, interrupt: &Interrupt) -> Result<Garbage> {
    let store = Store::open(directory)?;
    interrupt.lock(store.lock.as_fd())?;
    let mut garbage = Garbage::default();

    // 1. Which bundles are there, and what they use.
    let mut used = BTreeSet::new();
    for number in store.records()? {
        match store.living(number).context(|| format!("the record {number}"))? {
            Some(record) => used.extend(record.layers),
            None => garbage.records.push(number),
        }
    }
    // 2. What is left in the making: nobody makes anything now.
    garbage.unfinished = texts(names(store.staging.as_fd())?);
    // 3. The layers that none of them uses.
    for kind in texts(names(store.layers.as_fd())?) {
        let opened = openat(&store.layers, kind.as_str(), LIST, Mode::empty());
        let opened = opened.call(|| format!("openat({kind:?})"))?;
        let layers = texts(names(opened.as_fd())?).into_iter();
        let layers = layers.map(|layer| format!("{kind}/{layer}"));
        garbage.layers.extend(layers.filter(|layer| !used.contains(layer)));
    }
    garbage.layers.sort_unstable();
    if !dry_run {
        remove(&store, &garbage, interrupt)?;
    }
    Ok(garbage)
}

/// A layer that is in `layers` is complete, so it leaves there before it is taken apart.
fn remove(store: &Store, garbage: &Garbage, interrupt: &Interrupt) -> Result<()> {
    let take_apart = |name: &OsStr| {
        remove_directory(store.staging.as_fd(), name.as_encoded_bytes())
            .context(|| format!("remove {name:?}"))
    };
    for name in &garbage.unfinished {
        interrupt.check()?;
        take_apart(OsStr::new(name))?;
    }
    for layer in &garbage.layers {
        interrupt.check()?;
        let name = OsString::from(layer.replace('/', "."));
        renameat(&store.layers, layer.as_str(), &store.staging, name.as_os_str())
            .call(|| format!("renameat({layer:?}, {name:?})"))?;
        take_apart(&name)?;
        let kind = layer.split('/').next().unwrap_or_default();
        match unlinkat(&store.layers, kind, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
            Err(errno) => return Err(Error::from_call(format!("rmdir({kind:?})"), errno)),
        }
    }
    // Last: with its record goes the reason why a layer was kept.
    garbage.records.iter().try_for_each(|number| store.forget(*number))
}

fn texts(names: Vec<Vec<u8>>) -> Vec<String> {
    let text = |name| OsString::from_vec(name).to_string_lossy().into_owned();
    names.into_iter().map(text).collect()
}
