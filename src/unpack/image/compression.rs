//! How a layer is compressed, and its bytes without that: gzip in members (RFC 1952), zstd in frames
//! (RFC 8878). eStargz and zstd:chunked are these, with an index that needs no reading.

use zlib_rs::{Inflate, InflateFlush, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::pieces::Inlet;
use super::turn::Turn;
use crate::error::{Error, Result};

/// What a layer is compressed with. The content tells, not the media type: some writers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// The largest window of a frame, as a power of two: 128 MiB, which is the most that zstd(1) writes
/// and takes without being told so.
const WINDOW_LOG: u32 = 27;
/// Windows that several layers may have at once, in bytes: what RFC 8878, 3.1.1.1.2, wants every
/// decoder to have.
const SMALL_WINDOW: u64 = 8 << 20;
/// Of a frame, before its first block (RFC 8878, 3.1.1.1).
const LONGEST_FRAME_HEADER: usize = 18;
/// Maximum window and gzip's header (zlib.h, inflateInit2).
const GZIP_WINDOW: u8 = 15 + 16;

impl Compression {
    /// By the first bytes of a layer.
    ///
    /// # Errors
    /// A compression that no layer may have.
    pub fn detect(start: &[u8]) -> Result<Self> {
        let others: [(&[u8], &str); 3] =
            [(b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x04\x22\x4d\x18", "lz4")];
        // A tar may begin with any name: it is one if it says so.
        let is_tar = start.get(257..262) == Some(b"ustar");
        if is_tar {
            return Ok(Self::Plain);
        }
        if let Some((_, name)) = others.iter().find(|(magic, _)| start.starts_with(magic)) {
            let known = "and a layer is a tar, plain or by gzip or zstd";
            return Err(Error::new(format!("is compressed by {name}, {known}")));
        }
        Ok(match start {
            _ if start.starts_with(GZIP) => Self::Gzip,
            _ if begins_zstd(start) => Self::Zstd,
            _ => Self::Plain,
        })
    }

    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The window of the frame that begins here, in bytes (RFC 8878, 3.1.1.1). A header that is cut off or
/// wrong is for the decoder to refuse.
fn window(frame: &[u8]) -> u64 {
    let Some(header) = frame.strip_prefix(ZSTD) else { return 0 };
    let Some((descriptor, rest)) = header.split_first() else { return 0 };
    if descriptor & 0x20 == 0 {
        let Some(window) = rest.first() else { return 0 };
        let base = 1_u64 << (10 + (window >> 3));
        return base + base / 8 * u64::from(window & 7);
    }
    // A single segment: the window is all that the frame has.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let (length, offset) = [(1, 0), (2, 256), (4, 0), (8, 0)][usize::from(descriptor >> 6)];
    let mut size = [0; 8];
    let Some(bytes) = rest.get(dictionary..dictionary + length) else { return 0 };
    size[..length].copy_from_slice(bytes);
    u64::from_le_bytes(size).saturating_add(offset)
}

/// A frame, or one that is to be skipped: 0x184D2A50 to 0x184D2A5F, in little-endian.
fn begins_zstd(bytes: &[u8]) -> bool {
    let is_skipped = matches!(bytes, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    is_skipped || bytes.starts_with(ZSTD)
}

/// Takes compressed bytes, gives plain ones.
pub struct Decoder {
    format: Format,
    /// Before a member or a frame.
    is_between: bool,
    /// When a large window may be had.
    turn: Turn,
}

enum Format {
    Gzip(Box<Inflate>),
    Zstd(DCtx<'static>),
}

/// What a step has read and written, and whether the member or the frame ended.
struct Step {
    read: usize,
    written: usize,
    ended: bool,
}

impl Decoder {
    /// For a layer that is compressed.
    ///
    /// # Errors
    /// No memory; that it is not compressed.
    pub fn new(compression: Compression, turn: Turn) -> Result<Self> {
        let format = match compression {
            Compression::Gzip => Format::Gzip(Box::new(Inflate::new(true, GZIP_WINDOW))),
            Compression::Zstd => {
                let mut context =
                    DCtx::try_create().ok_or_else(|| Error::new("zstd: no memory"))?;
                context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(zstd_error)?;
                Format::Zstd(context)
            }
            Compression::Plain => return Err(Error::new("nothing to decompress")),
        };
        Ok(Self { format, is_between: true, turn })
    }

    /// Fills `output`; less than its length only at the end, before what begins no other member or
    /// frame.
    ///
    /// # Errors
    /// What is wrong in the compressed bytes; those of the input.
    pub fn fill(&mut self, input: &mut Inlet, output: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < output.len() {
            if self.is_between && !self.begin(input.peek(LONGEST_FRAME_HEADER)?) {
                break;
            }
            self.is_between = false;
            // Without further input there may still be output.
            let bytes = input.peek(1)?;
            let is_last = bytes.is_empty();
            let step = self.step(bytes, &mut output[filled..])?;
            input.consume(step.read);
            filled += step.written;
            self.is_between = step.ended;
            if step.read == 0 && step.written == 0 && !step.ended {
                let what = if is_last { "ends in its middle" } else { "does not go on" };
                return Err(Error::new(format!("{}: {what}", self.name())));
            }
        }
        Ok(filled)
    }

    /// Whether these bytes begin another member or frame.
    fn begin(&mut self, bytes: &[u8]) -> bool {
        match &mut self.format {
            Format::Gzip(inflate) if bytes.starts_with(GZIP) => {
                if inflate.total_in() > 0 {
                    // Its reset would expect zlib's header.
                    **inflate = Inflate::new(true, GZIP_WINDOW);
                }
                true
            }
            Format::Gzip(_) => false,
            Format::Zstd(_) => {
                if window(bytes) > SMALL_WINDOW {
                    self.turn.wait();
                }
                begins_zstd(bytes)
            }
        }
    }

    /// There is nothing more to decompress: it is the next layer's turn when it is this one's. Waits
    /// for it, with no window any more.
    pub fn end(self) {
        let Self { format, turn, .. } = self;
        drop(format);
        turn.end();
    }

    fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step> {
        match &mut self.format {
            Format::Gzip(inflate) => {
                let before = (inflate.total_in(), inflate.total_out());
                let status =
                    inflate.decompress(input, output, InflateFlush::NoFlush).map_err(|error| {
                        let what = inflate.error_message().unwrap_or(error.as_str());
                        Error::new(format!("gzip: {what}"))
                    })?;
                // Both are at most the lengths of the slices.
                Ok(Step {
                    read: (inflate.total_in() - before.0) as usize,
                    written: (inflate.total_out() - before.1) as usize,
                    ended: status == Status::StreamEnd,
                })
            }
            Format::Zstd(context) => {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(output);
                let left = context.decompress_stream(&mut to, &mut from).map_err(zstd_error)?;
                Ok(Step { read: from.pos(), written: to.pos(), ended: left == 0 })
            }
        }
    }

    /// Of what it decompresses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.format {
            Format::Gzip(_) => "gzip",
            Format::Zstd(_) => "zstd",
        }
    }
}

fn zstd_error(code: usize) -> Error {
    Error::new(format!("zstd: {}", get_error_name(code)))
}
