//! Bytes on their way from one thread to the next, in buffers that come back to where they were filled.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};

/// Of a buffer, in bytes. It fits into a processor's second cache, beside what decompresses into it.
pub const PIECE: usize = 256 * 1024;

/// Bytes; none at the end, when all was as promised.
pub type Piece = Result<Option<Vec<u8>>>;

/// Where a thread puts what it made.
pub struct Outlet {
    pieces: SyncSender<Piece>,
    returned: Receiver<Vec<u8>>,
    /// How many buffers may still be had beside those that come back.
    left: usize,
    spare: Spare,
}

impl Outlet {
    /// With so many buffers, and where they come back by.
    pub fn new(pieces: SyncSender<Piece>, left: usize, spare: &Spare) -> (Self, Return) {
        let (sender, returned) = channel();
        let back = Return { to: sender, spare: spare.clone() };
        (Self { pieces, returned, left, spare: spare.clone() }, back)
    }

    /// An empty buffer of a piece's length; none if nobody wants more. One that came back is taken
    /// before a new one is made: it is in the cache.
    pub fn buffer(&mut self) -> Option<Vec<u8>> {
        let mut buffer = match self.returned.try_recv() {
            Ok(buffer) => buffer,
            Err(TryRecvError::Empty) if self.left > 0 => {
                self.left -= 1;
                self.spare.take()
            }
            Err(TryRecvError::Empty) => self.returned.recv().ok()?,
            Err(TryRecvError::Disconnected) => return None,
        };
        buffer.resize(PIECE, 0);
        Some(buffer)
    }

    /// If nobody wants more, the next buffer says so.
    pub fn send(&self, piece: Vec<u8>) {
        self.pieces.send(Ok(Some(piece))).ok();
    }

    pub fn end(self, result: Result<()>) {
        // Nobody may want to know.
        self.pieces.send(result.map(|()| None)).ok();
        self.returned.try_iter().for_each(|piece| self.spare.keep(piece));
    }
}

/// The way back of a buffer.
pub struct Return {
    to: Sender<Vec<u8>>,
    spare: Spare,
}

impl Return {
    /// A reader begins with a piece that nobody allocated.
    pub fn give_back(&self, piece: Vec<u8>) {
        if piece.capacity() > 0
            && let Err(error) = self.to.send(piece)
        {
            // Who would fill it again has reached the end.
            self.spare.keep(error.0);
        }
    }
}

/// Buffers that no layer has.
#[derive(Clone, Default)]
pub struct Spare(Arc<Mutex<Vec<Vec<u8>>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(PIECE))
    }

    fn keep(&self, piece: Vec<u8>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
    }
}

/// Where a thread takes what another made.
pub struct Inlet {
    pieces: Receiver<Piece>,
    free: Return,
    piece: Vec<u8>,
    used: usize,
    is_ended: bool,
}

impl Inlet {
    /// Of these pieces, which go back when they are used.
    pub fn new(pieces: Receiver<Piece>, free: Return) -> Self {
        Self { pieces, free, piece: Vec::new(), used: 0, is_ended: false }
    }

    /// The next bytes, at least `count` of them if there are as many.
    ///
    /// # Errors
    /// Those of where they come from.
    pub fn peek(&mut self, count: usize) -> Result<&[u8]> {
        while self.piece.len() - self.used < count && !self.is_ended {
            match self.pieces.recv() {
                Ok(Ok(Some(mut piece))) => {
                    // A few bytes at most: a magic number that lies across the border.
                    piece.splice(..0, self.piece.drain(self.used..));
                    let emptied = std::mem::replace(&mut self.piece, piece);
                    self.used = 0;
                    self.free.give_back(emptied);
                }
                Ok(Ok(None)) => self.is_ended = true,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::new("a thread ended early")),
            }
        }
        Ok(&self.piece[self.used..])
    }

    /// So many of them were used.
    pub fn consume(&mut self, count: usize) {
        self.used += count;
    }
}
