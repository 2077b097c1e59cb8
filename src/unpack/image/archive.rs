//! A tar as a store of files: an index of where each begins, made once. The blobs themselves are
//! then read where they lie, in any order.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::blobs::Blob;
use super::compression::Compression;
use crate::error::{Call, Context, Error, Result};
use crate::sys::path::MAX_LINKS;
use crate::unpack::extract::described::{Described, Meant};
use crate::unpack::extract::header::{BLOCK, Header};
use crate::unpack::extract::name;

/// Of an archive of images: a blob is one entry, so that this is a thousand images.
const MAX_ENTRIES: usize = 200_000;
/// Of the name of an entry, and of a header that carries one, in bytes.
const MAX_NAME: u64 = 64 * 1024;

/// The files of a tar.
#[derive(Debug)]
pub struct Archive {
    file: Arc<File>,
    entries: HashMap<Vec<u8>, Entry>,
}

#[derive(Clone, Debug, PartialEq)]
enum Entry {
    File {
        start: u64,
        size: u64,
    },
    /// To another entry of the archive.
    Link(Vec<u8>),
    /// What holds no bytes of its own.
    Other,
}

impl Archive {
    /// Reads the headers of a tar of `length` bytes.
    ///
    /// # Errors
    /// That it is no tar, or a compressed one; that it is cut short; that two files of it have the
    /// same name: readers would disagree which is meant.
    pub fn index(file: Arc<File>, length: u64) -> Result<Self> {
        let mut archive = Self { file, entries: HashMap::new() };
        let mut at = 0;
        let mut described = Described::default();
        while at + BLOCK as u64 <= length {
            let block = archive.block(at)?;
            let header = Header(&block);
            if header.is_zero() {
                break;
            }
            if at == 0 {
                refuse_compressed(&block)?;
            }
            let place = || format!("the header at byte {at}");
            header.check_sum().context(place)?;
            let is_description = Described::is_by(header.kind());
            let meant = (!is_description).then(|| described.meant(&header)).transpose();
            let meant = meant.context(place)?;
            let size = match (header.kind(), meant.as_ref().and_then(|meant| meant.records.size)) {
                // Whatever size links, devices, directories and FIFOs give, no data follows.
                (b'1'..=b'6', _) => 0,
                (_, Some(size)) => size,
                (_, None) => header.size().context(place)?,
            };
            let start = at + BLOCK as u64;
            let end = start.checked_add(size).filter(|end| *end <= length);
            let end = end.ok_or_else(|| {
                Error::new(format!("{}: {size} bytes, and the archive ends before", place()))
            })?;
            match meant {
                Some(meant) => archive.add(header.kind(), meant, start, size)?,
                None => {
                    let data = archive.description(start, size).context(place)?;
                    described.take(header.kind(), data).context(place)?;
                }
            }
            // No overflow: `end` is within the file.
            at = end.next_multiple_of(BLOCK as u64);
        }
        Ok(archive)
    }

    /// The file of this name, if there is one; a link leads to what it names in the archive.
    ///
    /// # Errors
    /// That it is no regular file, or that links lead nowhere.
    pub fn file(&self, name: &str) -> Result<Option<Blob>> {
        let mut name = normal(name.as_bytes(), b"");
        for _ in 0..MAX_LINKS {
            match self.entries.get(&name) {
                None => return Ok(None),
                Some(Entry::File { start, size }) => {
                    return Ok(Some(Blob::part(Arc::clone(&self.file), *start, *size)));
                }
                Some(Entry::Link(target)) => name = target.clone(),
                Some(Entry::Other) => {
                    let name = name.escape_ascii();
                    return Err(Error::new(format!("\"{name}\" is no regular file")));
                }
            }
        }
        Err(Error::new(format!("\"{}\" is a link that leads nowhere", name.escape_ascii())))
    }

    fn add(&mut self, kind: u8, meant: Meant, start: u64, size: u64) -> Result<()> {
        let sparse = &meant.records.sparse;
        let is_sparse = sparse.major.is_some() || sparse.size.is_some() || !sparse.map.is_empty();
        let name = normal(&meant.name, b"");
        let entry = match kind {
            b'0' | 0 | b'7' if !is_sparse => Entry::File { start, size },
            // From the archive's root (pax, "linkname"), from the link's directory.
            b'1' => Entry::Link(normal(&meant.link, b"")),
            b'2' => Entry::Link(normal(&meant.link, name::split(&name).0)),
            b'5' => return Ok(()),
            _ => Entry::Other,
        };
        let text = name.escape_ascii().to_string();
        if self.entries.insert(name, entry).is_some() {
            return Err(Error::new(format!("two entries are named \"{text}\"")));
        }
        if self.entries.len() > MAX_ENTRIES {
            return Err(Error::new(format!("more than {MAX_ENTRIES} entries")));
        }
        Ok(())
    }

    fn block(&self, at: u64) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.file.read_exact_at(&mut block, at).call(|| format!("pread({BLOCK}, {at})"))?;
        Ok(block)
    }

    /// The data of a header that describes the next entry.
    fn description(&self, start: u64, size: u64) -> Result<Vec<u8>> {
        if size > MAX_NAME {
            return Err(Error::new(format!("a name of {size} bytes, at most {MAX_NAME}")));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        self.file.read_exact_at(&mut data, start).call(|| format!("pread({size}, {start})"))?;
        Ok(data)
    }
}

/// A name from the archive's root: no `.`, no `..`, no slash twice. What would lead out stays in.
fn normal(path: &[u8], directory: &[u8]) -> Vec<u8> {
    let mut clean = if path.starts_with(b"/") { Vec::new() } else { directory.to_vec() };
    name::walk(&mut clean, path);
    clean
}

/// `docker save | gzip` is common, and cannot be read in any order.
fn refuse_compressed(block: &[u8; BLOCK]) -> Result<()> {
    let program = match Compression::detect(block).context(|| "the whole archive")? {
        Compression::Plain => return Ok(()),
        Compression::Gzip => "gunzip",
        Compression::Zstd => "unzstd",
    };
    Err(Error::new(format!(
        "the whole archive is compressed: {program} it first, its layers may stay compressed"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_the_archive() {
        for (name, directory, expected) in [
            ("a/b", "", "a/b"),
            ("./a//b/.", "", "a/b"),
            ("/a", "x", "a"),
            ("../b/layer.tar", "a", "b/layer.tar"),
            ("../../../b", "a", "b"),
            ("..", "", ""),
        ] {
            let normal = normal(name.as_bytes(), directory.as_bytes());
            assert_eq!(normal, expected.as_bytes(), "{name} in {directory}");
        }
    }
}
