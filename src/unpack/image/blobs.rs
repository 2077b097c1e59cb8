//! Where the blobs of an image lie: in a directory (image-layout.md) or in a tar of one. Both may
//! be hostile, so that nothing is opened but regular files below, and nothing read past its end.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use base64::Engine;
use nix::errno::Errno;
use nix::fcntl::{OFlag, ResolveFlag};

use super::archive::Archive;
use super::digest::{Digest, Hasher};
use super::document::{Descriptor, MAX_JSON};
use crate::error::{Call, Context, Error, Result};
use crate::sys::path::{open_beneath, open_path};

/// Bytes at rest: a file, a part of an archive, or what a descriptor carries itself.
#[derive(Clone, Debug)]
pub struct Blob {
    source: Source,
    size: u64,
}

#[derive(Clone, Debug)]
enum Source {
    /// From this offset on.
    File(Arc<File>, u64),
    Memory(Arc<[u8]>),
}

/// A store of files.
#[derive(Debug)]
pub enum Blobs {
    /// An open directory.
    Directory(OwnedFd),
    /// A tar.
    Archive(Archive),
}

impl Blobs {
    /// Opens a directory or a tar, whichever `path` is.
    ///
    /// # Errors
    /// Those of open(2); that it is neither.
    pub fn open(path: &str) -> Result<Self> {
        // O_NONBLOCK: a FIFO would never open.
        let open = open_path(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)?;
        let file = File::from(open);
        let metadata = file.metadata().call(|| format!("fstat({path:?})"))?;
        if metadata.is_dir() {
            return Ok(Self::Directory(file.into()));
        }
        if !metadata.is_file() {
            return Err(Error::new("is neither a directory nor a regular file"));
        }
        Archive::index(Arc::new(file), metadata.len()).map(Self::Archive)
    }

    /// The file of this name, if there is one.
    ///
    /// # Errors
    /// Those of openat2(2); that it is no regular file, or lies elsewhere.
    pub fn file(&self, name: &str) -> Result<Option<Blob>> {
        match self {
            Self::Archive(archive) => archive.file(name),
            Self::Directory(directory) => {
                // A symbolic link may lead to another place of the layout, as tools that share
                // blobs write them: what is there is known by its digest. One that leads out would
                // have us read a file of the host for whoever wrote the image.
                let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
                // A FIFO or a device opens at once, and is refused below.
                let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
                let file = match open_beneath(directory.as_fd(), name, flags, resolve) {
                    Ok(file) => File::from(file),
                    Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let metadata = file.metadata().call(|| format!("fstat({name:?})"))?;
                if !metadata.is_file() {
                    return Err(Error::new(format!("{name:?} is no regular file")));
                }
                Ok(Some(Blob::part(Arc::new(file), 0, metadata.len())))
            }
        }
    }

    /// The bytes of a document that has no descriptor.
    ///
    /// # Errors
    /// Those of [`Blobs::file`]; that it is too large.
    pub fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.file(name)? else { return Ok(None) };
        blob.bytes().context(|| format!("{name:?}")).map(Some)
    }

    /// The blob of a descriptor, if it is here. Its size is the descriptor's; its digest is not
    /// computed.
    ///
    /// # Errors
    /// Those of [`Blobs::file`]; another size.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Option<Blob>> {
        let blob = match &descriptor.data {
            Some(data) => Some(Blob::embedded(data)?),
            None => self.file(&path(&descriptor.digest))?,
        };
        match &blob {
            Some(blob) if blob.size != descriptor.size => Err(Error::new(format!(
                "has {} bytes, and its descriptor says {}",
                blob.size, descriptor.size
            ))),
            _ => Ok(blob),
        }
    }

    /// The bytes of the document that a descriptor points to, if it is here, verified.
    ///
    /// # Errors
    /// Those of [`Blobs::blob`]; that it is too large, or of another digest.
    pub fn verified(&self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.blob(descriptor)? else { return Ok(None) };
        let bytes = blob.bytes()?;
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        hasher.update(&bytes);
        check_digest(&hasher.finish(), &descriptor.digest)?;
        Ok(Some(bytes))
    }
}

impl Blob {
    /// A part of a file.
    #[must_use]
    pub fn part(file: Arc<File>, start: u64, size: u64) -> Self {
        Self { source: Source::File(file, start), size }
    }

    fn embedded(data: &str) -> Result<Self> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data);
        let bytes = bytes.map_err(|error| Error::new(format!("/data: {error}")))?;
        Ok(Self { size: bytes.len() as u64, source: Source::Memory(bytes.into()) })
    }

    /// In bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads at an offset, nothing behind the blob's own end.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let buffer = &mut buffer[..length];
        match &self.source {
            Source::File(file, start) => file.read_at(buffer, start + offset),
            Source::Memory(bytes) => {
                // Not behind the end: `length` is 0 there.
                let start = usize::try_from(offset).unwrap_or(bytes.len()).min(bytes.len());
                buffer.copy_from_slice(&bytes[start..start + length]);
                Ok(length)
            }
        }
    }

    /// Reads it all, and computes its digest.
    ///
    /// # Errors
    /// Those of pread(2); that it ends early; another digest.
    pub fn verify(&self, promised: &Digest) -> Result<()> {
        let mut hasher = Hasher::new(promised.algorithm());
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        while offset < self.size {
            match self.read_at(&mut buffer, offset).call(|| format!("pread({offset})"))? {
                0 => return Err(Error::new(format!("ends after {offset} bytes"))),
                count => {
                    hasher.update(&buffer[..count]);
                    offset += count as u64;
                }
            }
        }
        check_digest(&hasher.finish(), promised)
    }

    /// All of a document.
    fn bytes(&self) -> Result<Vec<u8>> {
        if self.size > MAX_JSON {
            let size = self.size;
            return Err(Error::new(format!("has {size} bytes, at most {MAX_JSON} are read")));
        }
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or_default()];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_at(&mut bytes[filled..], filled as u64).call(|| "pread")? {
                0 => return Err(Error::new(format!("ends after {filled} bytes"))),
                count => filled += count,
            }
        }
        Ok(bytes)
    }
}

/// Where a layout keeps the blob of a digest.
#[must_use]
pub fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.encoded())
}

/// That what was computed is what was promised.
///
/// # Errors
/// That it is not.
pub fn check_digest(computed: &Digest, promised: &Digest) -> Result<()> {
    if computed == promised {
        return Ok(());
    }
    Err(Error::new(format!("its digest is {computed}, and not {promised}")))
}
