//! A tree as text, path by path, and a folder for each test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hull::error::Result;
use hull::unpack::extract::{Extractor, Limits, Options, Prefix, Whiteouts};
use hull::unpack::owners::Owners;

/// What is enough for every test that is about something else.
pub const LIMITS: Limits = Limits { entries: 100_000, size: 1 << 30 };

/// A folder that goes when the test ends.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hull-unpack-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("create the folder of a test");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A new directory in it.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).expect("create a directory");
        path
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("write a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_ok() {
            return;
        }
        // rm goes deeper than a path may be long, and opens what its owner locked.
        std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&self.0).output().ok();
        std::process::Command::new("rm").arg("-rf").arg(&self.0).status().ok();
    }
}

pub fn open(path: &Path) -> OwnedFd {
    File::open(path).expect("open a directory").into()
}

/// Each id is itself, or, without privileges, all are one's own.
pub fn owners() -> Owners {
    if rustix::process::geteuid().is_root() {
        return Owners::default();
    }
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Owners::own(uid.as_raw(), gid.as_raw())
}

/// Extracts layers into a new directory of the scratch, as one tree.
pub fn apply(scratch: &Scratch, layers: &[Vec<u8>]) -> Result<PathBuf> {
    apply_with(scratch, layers, owners(), LIMITS)
}

pub fn apply_with(
    scratch: &Scratch,
    layers: &[Vec<u8>],
    owners: Owners,
    limits: Limits,
) -> Result<PathBuf> {
    let root = scratch.directory("root");
    let mut extractor = extractor_with(&root, owners, limits);
    for layer in layers {
        extractor.layer(&mut layer.as_slice())?;
    }
    extractor.finish()?;
    Ok(root)
}

/// For one tree that holds all layers.
pub fn extractor(root: &Path, owners: Owners) -> Extractor {
    extractor_with(root, owners, LIMITS)
}

pub fn extractor_with(root: &Path, owners: Owners, limits: Limits) -> Extractor {
    let options = Options { owners, whiteouts: Whiteouts::Apply, limits };
    rustix::process::umask(rustix::fs::Mode::empty());
    Extractor::new(open(root), options).expect("give the root its attributes")
}

/// Extracts each layer into a directory of its own, for overlayfs. The topmost is the last.
pub fn stack(scratch: &Scratch, layers: &[Vec<u8>], prefix: Prefix) -> Result<Vec<PathBuf>> {
    let mut made: Vec<PathBuf> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let root = scratch.directory(&format!("layer-{number}"));
        extract_for_overlay(&root, &made, layer, prefix)?;
        made.push(root);
    }
    Ok(made)
}

/// Extracts a layer on those below it, the topmost last.
pub fn extract_for_overlay(
    root: &Path,
    below: &[PathBuf],
    layer: &[u8],
    prefix: Prefix,
) -> Result<()> {
    let lowers = below.iter().rev().map(|path| open(path).into()).collect();
    let whiteouts = Whiteouts::Overlay { prefix, lowers };
    let options = Options { owners: owners(), whiteouts, limits: LIMITS };
    rustix::process::umask(rustix::fs::Mode::empty());
    let mut extractor = Extractor::new(open(root), options)?;
    extractor.layer(&mut &*layer)?;
    extractor.finish().map(drop)
}

/// All that can be told of each path, one line each.
pub fn lines(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut groups: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    visit(root, b"", &mut found, &mut groups);
    found
}

fn visit(
    path: &Path,
    name: &[u8],
    found: &mut BTreeMap<Vec<u8>, String>,
    groups: &mut BTreeMap<u64, Vec<u8>>,
) {
    let stat = fs::symlink_metadata(path).expect("lstat");
    let kind = stat.file_type();
    let mut line = format!(
        "{:o} {}:{} {}.{:09} {:x}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.mtime(),
        stat.mtime_nsec(),
        stat.rdev()
    );
    if !kind.is_dir() && stat.nlink() > 1 {
        let first = groups.entry(stat.ino()).or_insert_with(|| name.to_vec());
        line += &format!(" ={}x{}", first.escape_ascii(), stat.nlink());
    }
    if kind.is_symlink() {
        line += &format!(" -> {:?}", fs::read_link(path).expect("readlink"));
    }
    if kind.is_file() {
        let content = fs::read(path).expect("read a file");
        line += &format!(" {} {:016x}", content.len(), hash(&content));
    }
    for (attribute, value) in attributes(path) {
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        line += &format!(" {attribute}={digits}");
    }
    found.insert(name.to_vec(), line);
    if kind.is_dir() {
        let entries = fs::read_dir(path).expect("list a directory");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("list").file_name()).collect();
        names.sort();
        for below in names {
            let mut name = name.to_vec();
            name.push(b'/');
            name.extend_from_slice(below.as_bytes());
            visit(&path.join(below), &name, found, groups);
        }
    }
}

/// Names and values, sorted.
pub fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let name = String::from_utf8_lossy(name).into_owned();
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, &name, &mut value).expect("lgetxattr");
            value.truncate(length);
            (name, value)
        })
        .collect()
}

/// FNV-1a: to tell contents apart in a line.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Complains of each path that differs.
pub fn assert_same(ours: &BTreeMap<Vec<u8>, String>, theirs: &BTreeMap<Vec<u8>, String>) {
    let mut complaints = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (one, other) = (ours.get(path), theirs.get(path));
        if one != other {
            complaints.push(format!(
                "{:?}\n   ours {}\n theirs {}",
                path.escape_ascii().to_string(),
                one.map_or("-", String::as_str),
                other.map_or("-", String::as_str)
            ));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
