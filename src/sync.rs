//! What the runtime and init say to each other, over one seqpacket pair. Either side learns from
//! the end of the connection that the other one is gone; init's end closes when it executes.

use std::os::fd::{AsRawFd, OwnedFd};

use crate::error::{Error, Result};
use crate::sys::socket::{LONGEST, receive, send};

/// One end of the pair.
#[derive(Debug)]
pub struct Channel(pub OwnedFd);

/// What init says.
#[derive(Debug)]
pub enum FromInit {
    /// The mounts and the devices are there.
    Made,
    /// All is done but the program. With the terminal's master, if there is a terminal.
    Ready(Option<OwnedFd>),
    /// What went wrong. Init ends.
    Failed(Error),
    /// Nothing: init has executed the program, or has ended.
    Gone,
}

/// What init says of an error, over the connection or in exec.fifo: cut off where the smallest pipe
/// would make it wait.
#[must_use]
pub fn failure(error: &Error) -> Vec<u8> {
    let mut text = format!("E{error}");
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.into_bytes()
}

impl Channel {
    /// Init: the mounts and the devices are there.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn made(&self) -> Result<()> {
        send(&self.0, b"M", None)
    }

    /// Init: all is done but the program.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn ready(&self, terminal: Option<&OwnedFd>) -> Result<()> {
        send(&self.0, b"R", terminal.map(AsRawFd::as_raw_fd))
    }

    /// Init: waits for the runtime.
    ///
    /// # Errors
    /// Those of recvmsg(2); that the runtime is gone.
    pub fn wait_for_go(&self) -> Result<()> {
        let (bytes, _) = receive(&self.0)?;
        if bytes.is_empty() { Err(Error::new("the runtime is gone")) } else { Ok(()) }
    }

    /// Init: what went wrong.
    pub fn fail(&self, error: &Error) {
        // If the runtime is gone too, nobody is there to be told.
        send(&self.0, &failure(error), None).ok();
    }

    /// The runtime: init may go on.
    ///
    /// # Errors
    /// EPIPE if init has ended.
    pub fn go(&self) -> Result<()> {
        send(&self.0, b"G", None)
    }

    /// The runtime: what init says next.
    ///
    /// # Errors
    /// Those of recvmsg(2).
    pub fn receive(&self) -> Result<FromInit> {
        let (bytes, fd) = receive(&self.0)?;
        Ok(match bytes.split_first() {
            None => FromInit::Gone,
            Some((b'M', _)) => FromInit::Made,
            Some((b'R', _)) => FromInit::Ready(fd),
            Some((_, text)) => FromInit::Failed(Error::new(String::from_utf8_lossy(text))),
        })
    }
}
