//! A tar as entries: POSIX's pax and ustar, GNU's, and what came before (tar(5)).
//!
//! A reader of our own. Crates that read tars have been wrong where readers must agree, about which
//! of two sizes counts (CVE-2025-62518, CVE-2026-33055); none bounds what it keeps of a hostile
//! header, and none reads the sparse files of pax. Where tools differ, this one reads as the
//! engines do, which is as Go's archive/tar, and refuses what has two meanings.

use std::io::BufRead;

use nix::sys::time::TimeSpec;

use super::Limits;
use super::described::{Described, Meant};
use super::header::{BLOCK, Header};
use super::name::shown;
use super::sparse::{Lines, Map, Old};
use crate::error::{Call, Context, Error, Result};

/// The most bytes of a header that only describes another one, or of a sparse file's map.
const LONGEST_DESCRIPTION: u64 = 1024 * 1024;

/// One entry of a tar.
#[derive(Debug)]
pub struct Entry {
    /// Not yet clean.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// Permission bits, set-id bits and the sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: TimeSpec,
    /// Extended attributes, each name once.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What an entry is.
#[derive(Debug)]
pub enum Kind {
    /// A regular file; where its data goes, if it is sparse.
    File(Option<Map>),
    Directory,
    Symlink(Vec<u8>),
    /// A hard link to what has this name, which is not yet clean.
    Link(Vec<u8>),
    Fifo,
    /// Major and minor number.
    Character(u32, u32),
    Block(u32, u32),
}

/// What was read so far, of all layers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    entries: u64,
    bytes: u64,
}

/// Reads one tar.
pub struct Reader<'a, R> {
    stream: &'a mut R,
    limits: Limits,
    spent: &'a mut Spent,
    /// Of this tar, for messages.
    position: u64,
    /// Unread data of the present entry, and what fills up its last block.
    data: u64,
    padding: u64,
    described: Described,
}

impl<'a, R: BufRead> Reader<'a, R> {
    pub fn new(stream: &'a mut R, limits: Limits, spent: &'a mut Spent) -> Self {
        let described = Described::default();
        Self { stream, limits, spent, position: 0, data: 0, padding: 0, described }
    }

    /// The next entry; what was not read of the last one's data is passed over.
    ///
    /// # Errors
    /// A header that is none, or of a kind that is not known; a limit; an end in the middle.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        self.pass_over()?;
        loop {
            let position = self.position;
            let Some(block) = self.block()? else {
                return if self.described.is_empty() {
                    Ok(None)
                } else {
                    Err(ends_in_the_middle())
                };
            };
            let header = Header(&block);
            if header.is_zero() {
                return if self.described.is_empty() {
                    self.end()
                } else {
                    Err(ends_in_the_middle())
                };
            }
            self.spent.add_entries(1, &self.limits)?;
            let entry = self.header(&header);
            match entry.context(|| format!("header at byte {position}"))? {
                Some(entry) => return Ok(Some(entry)),
                None => self.pass_over()?,
            }
        }
    }

    /// Reads what trails the archive.
    ///
    /// # Errors
    /// Those of the stream; a limit.
    pub fn drain(&mut self) -> Result<()> {
        loop {
            let length = self.fill()?.len();
            if length == 0 {
                return Ok(());
            }
            self.consume(length)?;
        }
    }

    /// The next data of the entry as the stream has it; empty at the end. [`Self::done`] follows.
    ///
    /// # Errors
    /// Those of the stream, and that it has ended.
    pub fn data(&mut self) -> Result<&[u8]> {
        let left = self.data;
        if left == 0 {
            return Ok(&[]);
        }
        let buffer = self.fill()?;
        if buffer.is_empty() {
            return Err(ends_in_the_middle());
        }
        Ok(&buffer[..buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX))])
    }

    /// So much of the data was used.
    ///
    /// # Errors
    /// The limit of bytes.
    pub fn done(&mut self, length: usize) -> Result<()> {
        self.data -= length as u64;
        self.consume(length)
    }

    /// So many directories were made without an entry, each of which counts as one.
    ///
    /// # Errors
    /// The limit of entries.
    pub fn implied(&mut self, count: u64) -> Result<()> {
        self.spent.add_entries(count, &self.limits)
    }

    /// Bytes were copied from a layer below, which count as those of this one do.
    ///
    /// # Errors
    /// The limit of bytes.
    pub fn copied(&mut self, length: u64) -> Result<()> {
        self.spent.add_bytes(length, &self.limits)
    }

    /// Takes one header: the entry, or nothing if it only describes the next one.
    fn header(&mut self, header: &Header<'_>) -> Result<Option<Entry>> {
        header.check_sum()?;
        match header.kind() {
            kind if Described::is_by(kind) => {
                let data = self.description(header)?;
                self.described.take(kind, data)?;
            }
            // The label of a volume.
            b'V' => self.expect_data(header.size()?),
            kind => return self.entry(kind, header).map(Some),
        }
        Ok(None)
    }

    fn entry(&mut self, kind: u8, header: &Header<'_>) -> Result<Entry> {
        let Meant { name, link, records: pax } = self.described.meant(header)?;
        let (uid, gid) =
            (pax.uid.map_or_else(|| header.uid(), Ok), pax.gid.map_or_else(|| header.gid(), Ok));
        let mtime =
            pax.mtime.map_or_else(|| header.mtime().map(|mtime| TimeSpec::new(mtime, 0)), Ok);
        let size = || pax.size.map_or_else(|| header.size(), Ok);
        let kind = match kind {
            // Before POSIX, directories had no kind of their own.
            0 if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => {
                self.expect_data(size()?);
                let segments =
                    if pax.sparse.is_1_0() { Some(self.lines()?) } else { pax.sparse.map()? };
                let map = segments.map(|segments| {
                    let size =
                        pax.sparse.size.ok_or_else(|| Error::new("a sparse file without a size"));
                    Map::new(size?, segments, self.data)
                });
                Kind::File(map.transpose()?)
            }
            b'S' => {
                let segments = self.blocks(header)?;
                self.expect_data(size()?);
                let size = header.length("size of the sparse file", 483..495)?;
                Kind::File(Some(Map::new(size, segments, self.data)?))
            }
            // Whatever size these give, no data follows.
            b'1' => Kind::Link(link),
            b'2' => Kind::Symlink(link),
            b'3' => header.device().map(|(major, minor)| Kind::Character(major, minor))?,
            b'4' => header.device().map(|(major, minor)| Kind::Block(major, minor))?,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            // Of GNU's incremental backups: the names in the directory follow.
            b'D' => {
                self.expect_data(size()?);
                Kind::Directory
            }
            _ => {
                let kind = kind.escape_ascii();
                return Err(Error::new(format!(
                    "{:?} is of the unknown kind '{kind}'",
                    shown(&name)
                )));
            }
        };
        let (mode, uid, gid, mtime) = (header.mode()?, uid?, gid?, mtime?);
        Ok(Entry {
            name,
            kind,
            mode,
            uid,
            gid,
            mtime,
            attributes: pax.attributes.into_iter().collect(),
        })
    }

    /// The map before the data of a sparse file of version 1.0.
    fn lines(&mut self) -> Result<Vec<super::sparse::Segment>> {
        let mut lines = Lines::default();
        for _ in 0..LONGEST_DESCRIPTION / BLOCK as u64 {
            self.data = self.data.checked_sub(BLOCK as u64).ok_or_else(ends_in_the_middle)?;
            let block = self.block()?.ok_or_else(ends_in_the_middle)?;
            if let Some(segments) = lines.add(&block)? {
                return Ok(segments);
            }
        }
        Err(Error::new(format!(
            "a sparse file with a map of more than {LONGEST_DESCRIPTION} bytes"
        )))
    }

    /// The map of an old sparse file, which may go on in blocks behind the header.
    fn blocks(&mut self, header: &Header<'_>) -> Result<Vec<super::sparse::Segment>> {
        let mut old = Old::of_header(header)?;
        for _ in 0..LONGEST_DESCRIPTION / BLOCK as u64 {
            if !old.continues {
                return Ok(old.segments);
            }
            old.add(&self.block()?.ok_or_else(ends_in_the_middle)?)?;
        }
        Err(Error::new(format!(
            "a sparse file with a map of more than {LONGEST_DESCRIPTION} bytes"
        )))
    }

    /// The data of a header that describes another one.
    fn description(&mut self, header: &Header<'_>) -> Result<Vec<u8>> {
        let size = header.size()?;
        if size > LONGEST_DESCRIPTION {
            return Err(Error::new(format!(
                "a description of {size} bytes, of {LONGEST_DESCRIPTION} at most"
            )));
        }
        self.expect_data(size);
        let mut text = Vec::with_capacity(size as usize);
        while self.data > 0 {
            let chunk = self.data()?;
            text.extend_from_slice(chunk);
            let length = chunk.len();
            self.done(length)?;
        }
        Ok(text)
    }

    fn expect_data(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn pass_over(&mut self) -> Result<()> {
        while self.data > 0 {
            let length = self.data()?.len();
            self.done(length)?;
        }
        while self.padding > 0 {
            let length = self.fill()?.len() as u64;
            let length = length.min(self.padding);
            // An archive that ends here has lost nothing.
            self.padding = if length == 0 { 0 } else { self.padding - length };
            self.consume(length as usize)?;
        }
        Ok(())
    }

    /// After a block of zeros: another one ends the archive, and so does the end of the stream.
    fn end(&mut self) -> Result<Option<Entry>> {
        match self.block()? {
            Some(block) if !Header(&block).is_zero() => Err(Error::new(format!(
                "a block of zeros before byte {}",
                self.position - BLOCK as u64
            ))),
            _ => Ok(None),
        }
    }

    /// A whole block; nothing at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let buffer = self.fill()?;
            let length = buffer.len().min(BLOCK - have);
            block[have..have + length].copy_from_slice(&buffer[..length]);
            match (length, have) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(ends_in_the_middle()),
                _ => have += length,
            }
            self.consume(length)?;
        }
        Ok(Some(block))
    }

    fn fill(&mut self) -> Result<&[u8]> {
        // Asked twice: the borrow of what is returned would else last through the loop.
        while let Err(error) = self.stream.fill_buf() {
            if error.kind() != std::io::ErrorKind::Interrupted {
                return Err(error).call(|| "read");
            }
        }
        self.stream.fill_buf().call(|| "read")
    }

    fn consume(&mut self, length: usize) -> Result<()> {
        self.stream.consume(length);
        self.position += length as u64;
        self.spent.add_bytes(length as u64, &self.limits)
    }
}

impl Spent {
    /// Counts entries, or what else becomes a file.
    ///
    /// # Errors
    /// The limit.
    pub fn add_entries(&mut self, count: u64, limits: &Limits) -> Result<()> {
        self.entries += count;
        if self.entries > limits.entries {
            return Err(Error::new(format!("more than {} entries", limits.entries)));
        }
        Ok(())
    }

    /// Counts bytes that were read, or copied from a layer below.
    ///
    /// # Errors
    /// The limit.
    pub fn add_bytes(&mut self, length: u64, limits: &Limits) -> Result<()> {
        self.bytes = self.bytes.saturating_add(length);
        if self.bytes > limits.size {
            return Err(Error::new(format!("more than {} bytes", limits.size)));
        }
        Ok(())
    }
}

fn ends_in_the_middle() -> Error {
    Error::new("the tar ends in the middle")
}
