//! A layer as plain bytes that were verified. Three threads work on each, two on one that is plain,
//! and hand on what they are done with:
//!
//! ```text
//!   blob ── pread, digest ──▶ decompress ──▶ diff id ──▶ LayerStream (whoever reads it)
//! ```
//!
//! Layers are independent until they are applied: while one is read, those behind it are already
//! worked on, as far as their buffers go. Buffers return to where they were filled, so that memory
//! is bounded whatever a layer's size, and a reader that stops makes the others stop. What a layer
//! leaves the next one takes: new memory would cost a fault for each page.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, Builder};
use std::time::Duration;

use super::Layer;
use super::blobs::{Blob, check_digest};
use super::compression::{Compression, Decoder};
use super::digest::{Digest, Hasher};
use super::pieces::{Inlet, Outlet, PIECE, Piece, Return, Spare};
use super::turn::{End, Turn};
use crate::error::{Call, Context, Error, Result};

/// Of the buffers of all layers that are worked on at once, in bytes.
const MEMORY: usize = 48 * 1024 * 1024;
/// How many layers are worked on at once: more need more processors than write.
const MOST_LAYERS: usize = 4;
/// Buffers of compressed bytes for each of them.
const COMPRESSED_PIECES: usize = 4;

/// Layers in their order. Those ahead of the one that is read are being decompressed already.
pub struct Streams {
    waiting: std::vec::IntoIter<Layer>,
    ahead: VecDeque<Result<LayerStream>>,
    most: usize,
    /// Of the last layer that is ahead.
    turn: Option<End>,
    spare: Spare,
}

impl Streams {
    /// Of some layers; nothing is read before the first is asked for.
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Self {
        let processors = thread::available_parallelism().map_or(2, usize::from);
        let most = processors.clamp(2, MOST_LAYERS);
        let (waiting, spare) = (layers.into_iter(), Spare::default());
        Self { waiting, ahead: VecDeque::new(), most, turn: None, spare }
    }
}

impl Iterator for Streams {
    type Item = Result<LayerStream>;

    fn next(&mut self) -> Option<Self::Item> {
        let pieces = MEMORY / PIECE / self.most - COMPRESSED_PIECES;
        while self.ahead.len() < self.most
            && let Some(layer) = self.waiting.next()
        {
            let (turn, end) = Turn::after(self.turn.take());
            self.turn = Some(end);
            self.ahead.push_back(LayerStream::start(&layer, pieces, turn, &self.spare));
        }
        self.ahead.pop_front()
    }
}

/// The plain bytes of a layer. A read that gives none has seen size, digest and diff id verified;
/// before it, no byte is to be trusted. What fails says neither image nor layer.
pub struct LayerStream {
    pieces: Receiver<Piece>,
    free: Return,
    piece: Vec<u8>,
    used: usize,
    /// Once there is no further piece: why.
    ended: Option<std::result::Result<(), String>>,
    position: Arc<AtomicU64>,
}

impl LayerStream {
    /// Starts the threads. `most`: buffers of plain bytes.
    fn start(layer: &Layer, most: usize, turn: Turn, spare: &Spare) -> Result<Self> {
        let mut start = [0; 512];
        let length = layer.blob.read_at(&mut start, 0).call(|| "pread")?;
        let compression = Compression::detect(&start[..length])?;
        let position = Arc::new(AtomicU64::new(0));
        let reader = Reader {
            blob: layer.blob.clone(),
            digest: layer.digest.clone(),
            position: Arc::clone(&position),
        };
        let (to_hash, plain) = sync_channel(most);
        let (outlet, free) = Outlet::new(to_hash, most, spare);
        if compression == Compression::Plain {
            let reader = reader.without_second_hash(&layer.diff_id)?;
            let work = move || {
                reader.run(outlet);
                turn.end();
            };
            spawn("blob", work)?;
        } else {
            let (to_decoder, compressed) = sync_channel(COMPRESSED_PIECES);
            let (from, back) = Outlet::new(to_decoder, COMPRESSED_PIECES, spare);
            spawn("blob", move || reader.run(from))?;
            let inlet = Inlet::new(compressed, back);
            spawn("decompress", move || decompress(compression, turn, inlet, outlet))?;
        }
        let (to_reader, pieces) = sync_channel(most);
        let diff_id = layer.diff_id.clone();
        spawn("diff id", move || hash(&diff_id, &plain, &to_reader))?;
        Ok(Self { pieces, free, piece: Vec::new(), used: 0, ended: None, position })
    }

    /// Whether the next read needs another piece.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.used == self.piece.len()
    }

    /// How many bytes of the blob were read so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Waits for another piece if all of this one is consumed, so long at most. Whether the next read
    /// need not wait.
    pub fn wait(&mut self, most: Duration) -> bool {
        if self.is_used_up() && self.ended.is_none() {
            self.free.give_back(std::mem::take(&mut self.piece));
            self.used = 0;
            match self.pieces.recv_timeout(most) {
                Ok(Ok(Some(piece))) => self.piece = piece,
                Ok(Ok(None)) => self.ended = Some(Ok(())),
                Ok(Err(error)) => self.ended = Some(Err(error.to_string())),
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended = Some(Err("a thread ended early".to_owned()));
                }
            }
        }
        true
    }

    /// Bytes that were not consumed yet; waits for them if there are none. None at the end.
    ///
    /// # Errors
    /// What is wrong with the layer.
    pub fn fill(&mut self) -> io::Result<&[u8]> {
        while !self.wait(Duration::MAX) {}
        match &self.ended {
            Some(Err(message)) => Err(io::Error::other(message.clone())),
            _ => Ok(&self.piece[self.used..]),
        }
    }

    /// So many of them are done with.
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.piece.len());
    }
}

/// Reads a blob to its end, and computes its digest.
struct Reader {
    blob: Blob,
    digest: Option<Digest>,
    position: Arc<AtomicU64>,
}

impl Reader {
    /// A layer that is not compressed has the same digest as blob and as layer, which is computed
    /// once, as its diff id.
    fn without_second_hash(mut self, diff_id: &Digest) -> Result<Self> {
        if let Some(digest) = self.digest.take_if(|one| one.algorithm() == diff_id.algorithm())
            && digest != *diff_id
        {
            let is = "it is not compressed, so that its digest is its diff id, but";
            return Err(Error::new(format!("{is} {digest} is not {diff_id}")));
        }
        Ok(self)
    }

    fn run(self, mut to: Outlet) {
        let result = self.read(&mut to);
        to.end(result);
    }

    fn read(&self, to: &mut Outlet) -> Result<()> {
        let mut hasher = self.digest.as_ref().map(|digest| Hasher::new(digest.algorithm()));
        let mut offset = 0;
        while offset < self.blob.size() {
            let Some(mut piece) = to.buffer() else { return Ok(()) };
            let length =
                self.blob.read_at(&mut piece, offset).call(|| format!("pread({offset})"))?;
            if length == 0 {
                let size = self.blob.size();
                return Err(Error::new(format!("ends after {offset} bytes of {size}")));
            }
            piece.truncate(length);
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            offset += length as u64;
            self.position.store(offset, Ordering::Relaxed);
            to.send(piece);
        }
        match (hasher, &self.digest) {
            (Some(hasher), Some(digest)) => check_digest(&hasher.finish(), digest),
            _ => Ok(()),
        }
    }
}

fn decompress(compression: Compression, turn: Turn, mut from: Inlet, mut to: Outlet) {
    match Decoder::new(compression, turn) {
        Err(error) => to.end(Err(error)),
        Ok(mut decoder) => {
            let result = decompress_all(&mut decoder, &mut from, &mut to);
            to.end(result);
            decoder.end();
        }
    }
}

fn decompress_all(decoder: &mut Decoder, from: &mut Inlet, to: &mut Outlet) -> Result<()> {
    loop {
        let Some(mut piece) = to.buffer() else { return Ok(()) };
        let length = decoder.fill(from, &mut piece)?;
        if length == 0 {
            break;
        }
        piece.truncate(length);
        to.send(piece);
    }
    // gzip(1) passes over a padding of zeros. Anything else is refused, as umoci does: who reads on
    // behind it sees another layer.
    loop {
        let rest = from.peek(1)?;
        if rest.iter().any(|byte| *byte != 0) {
            let what = "its last member is followed by what is neither another nor zeros";
            return Err(Error::new(format!("{}: {what}", decoder.name())));
        }
        match rest.len() {
            0 => return Ok(()),
            length => from.consume(length),
        }
    }
}

/// Passes on what the diff id is computed of.
fn hash(diff_id: &Digest, from: &Receiver<Piece>, to: &SyncSender<Piece>) {
    let mut hasher = Hasher::new(diff_id.algorithm());
    while let Ok(piece) = from.recv() {
        let (piece, is_last) = match piece {
            Ok(Some(bytes)) => {
                hasher.update(&bytes);
                (Ok(Some(bytes)), false)
            }
            Ok(None) => {
                let computed = std::mem::replace(&mut hasher, Hasher::new(diff_id.algorithm()));
                let checked = check_digest(&computed.finish(), diff_id);
                (checked.context(|| "uncompressed").map(|()| None), true)
            }
            Err(error) => (Err(error), true),
        };
        // The reader may have stopped.
        if to.send(piece).is_err() || is_last {
            return;
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    // It ends when what it reads from or writes to is gone, which its stream takes with it.
    Builder::new().name(name.to_owned()).spawn(work).map(drop).call(|| "clone3(CLONE_THREAD)")
}
