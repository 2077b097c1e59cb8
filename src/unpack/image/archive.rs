//! A tar as a store of files: an index of where each begins, made once. The blobs themselves are
//! then read where they lie, in any order.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::blobs::Blob;
use crate::error::{Call, Context, Error, Result};
use crate::unpack::extract::header::{BLOCK, Header};
use crate::unpack::extract::pax::Records;

/// Of an archive of images: a blob is one entry, so that this is a thousand images.
const MAX_ENTRIES: usize = 200_000;
/// Of the name of an entry, and of a header that carries one, in bytes.
const MAX_NAME: u64 = 64 * 1024;
/// As many links from one name to the next as the kernel would follow (path_resolution(7)).
const MAX_LINKS: usize = 40;

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
        let mut next = Next::default();
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
            let is_of_next = matches!(header.kind(), b'x' | b'g' | b'L' | b'K');
            let own = header.size().context(place)?;
            let size = if is_of_next { own } else { next.records.size.unwrap_or(own) };
            let start = at + BLOCK as u64;
            let end = start.checked_add(size).filter(|end| *end <= length);
            let end = end.ok_or_else(|| {
                Error::new(format!("{}: {size} bytes, and the archive ends before", place()))
            })?;
            if is_of_next {
                let data = archive.name(start, size).context(place)?;
                next.take(header.kind(), data).context(place)?;
            } else {
                archive.add(&header, std::mem::take(&mut next), start, size)?;
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

    fn add(&mut self, header: &Header<'_>, next: Next, start: u64, size: u64) -> Result<()> {
        let sparse = &next.records.sparse;
        let is_sparse = sparse.major.is_some() || sparse.size.is_some() || !sparse.map.is_empty();
        let name = next.records.path.or(next.name).unwrap_or_else(|| header.name());
        let link = next.records.link.or(next.link).unwrap_or_else(|| header.link().to_vec());
        let name = normal(&name, b"");
        let entry = match header.kind() {
            b'0' | 0 | b'7' if !is_sparse => Entry::File { start, size },
            // From the archive's root (pax, "linkname"), from the link's directory.
            b'1' => Entry::Link(normal(&link, b"")),
            b'2' => Entry::Link(normal(&link, parent(&name))),
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
    fn name(&self, start: u64, size: u64) -> Result<Vec<u8>> {
        if size > MAX_NAME {
            return Err(Error::new(format!("a name of {size} bytes, at most {MAX_NAME}")));
        }
        let mut data = vec![0; usize::try_from(size).unwrap_or_default()];
        self.file.read_exact_at(&mut data, start).call(|| format!("pread({size}, {start})"))?;
        Ok(data)
    }
}

/// What headers before it say of the next entry.
#[derive(Default)]
struct Next {
    records: Records,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Next {
    fn take(&mut self, kind: u8, mut data: Vec<u8>) -> Result<()> {
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        match kind {
            b'x' => return self.records.read(&data),
            b'L' | b'K' => data.truncate(end),
            // A header for all that follow: times and comments.
            _ => return Ok(()),
        }
        if kind == b'L' {
            self.name = Some(data)
        } else {
            self.link = Some(data)
        }
        Ok(())
    }
}

/// A name from the archive's root: no `.`, no `..`, no slash twice. What would lead out stays in.
fn normal(name: &[u8], directory: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    let directory = if name.starts_with(b"/") { b"" } else { directory };
    for part in directory.split(|byte| *byte == b'/').chain(name.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn parent(name: &[u8]) -> &[u8] {
    name.iter().rposition(|byte| *byte == b'/').map_or(b"", |slash| &name[..slash])
}

/// `docker save | gzip` is common, and cannot be read in any order.
fn refuse_compressed(block: &[u8; BLOCK]) -> Result<()> {
    let known: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gunzip"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"\xfd7zXZ\0", "unxz"),
        (b"BZh", "bunzip2"),
    ];
    match known.iter().find(|(magic, _)| block.starts_with(magic)) {
        None => Ok(()),
        Some((_, program)) => Err(Error::new(format!(
            "the whole archive is compressed: {program} it first, its layers may stay compressed"
        ))),
    }
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
