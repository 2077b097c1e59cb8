//! exec.fifo: by which `start` lets init go on, and init says what became of it.
//!
//! Init waits on the reading end; it takes one byte, and executes the program, which closes that
//! end. So the writing end tells all: it cannot be opened when nobody waits, and poll(2) reports an
//! error on it when the program was executed.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, mkfifoat, read, unlinkat, write};

use super::Directory;
use crate::error::{Call, Error, Result};
use crate::sync::failure;

pub(super) const FIFO: &str = "exec.fifo";

/// Init's side.
pub struct Wait(OwnedFd);

/// The side of `start`.
pub struct Start<'a> {
    fd: OwnedFd,
    directory: &'a Directory,
}

/// What became of an init that was let go on.
pub enum Outcome {
    /// It has executed the program.
    Executed,
    /// It has ended, or will; what went wrong, if it said so.
    Failed(Option<String>),
}

impl Wait {
    /// Makes the fifo and opens it for reading and writing, which waits for nobody (fifo(7)).
    ///
    /// # Errors
    /// ENOSPC and the like.
    pub fn make(directory: &Directory) -> Result<Self> {
        let path = || format!("{}/{FIFO}", directory.path);
        mkfifoat(directory, FIFO, Mode::from_bits_truncate(0o600))
            .call(|| format!("mkfifo({:?})", path()))?;
        openat(directory, FIFO, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map(Self)
            .call(|| format!("open({:?}, O_RDWR)", path()))
    }

    /// Takes one byte, the one of the `start` that wins; others find theirs still there.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn wait(&self) -> Result<()> {
        let mut byte = [0];
        loop {
            match read(&self.0, &mut byte) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop).call(|| "read(exec.fifo)"),
            }
        }
    }

    /// Says that the program is executed next. Without this `start` knows that init ended before.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn executes(&self) -> Result<()> {
        write(&self.0, b"X").map(drop).call(|| "write(exec.fifo)")
    }

    /// Says what went wrong. Nobody reads it before `start`, and it fits into any pipe.
    pub fn fail(&self, error: &Error) {
        write(&self.0, &failure(error)).ok();
    }
}

impl<'a> Start<'a> {
    /// Opens the writing end without waiting. `None`: nobody has the fifo open for reading; init has
    /// executed the program, or has ended.
    ///
    /// # Errors
    /// Those of open(2) other than ENXIO and ENOENT.
    pub fn open(directory: &'a Directory) -> Result<Option<Self>> {
        let fd = open(directory, OFlag::O_WRONLY)?;
        Ok(fd.map(|fd| Self { fd, directory }))
    }

    /// Lets init go on; false if it ended since.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn go(&self) -> Result<bool> {
        match write(&self.fd, b"G") {
            Err(Errno::EPIPE) => Ok(false),
            other => other.map(|_| true).call(|| "write(exec.fifo)"),
        }
    }

    /// Waits until init has no reading end any more. What is left in the pipe tells the rest.
    ///
    /// # Errors
    /// Those of poll(2) and read(2).
    pub fn wait_executed(&self) -> Result<Outcome> {
        loop {
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::empty())];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                other => break other.map(drop).call(|| "poll(exec.fifo)")?,
            }
        }
        let mut left = vec![0; crate::sys::socket::LONGEST];
        let length = match open(self.directory, OFlag::O_RDONLY)? {
            Some(reader) => match read(&reader, &mut left) {
                Err(Errno::EAGAIN) => 0,
                other => other.call(|| "read(exec.fifo)")?,
            },
            // Deleted by force meanwhile.
            None => 0,
        };
        let left = String::from_utf8_lossy(&left[..length]);
        // "X", it was about to execute the program; "E" and a text, an error before or after it. A "G"
        // is of a `start` behind one that was killed when it had let init go on.
        let words = left.trim_start_matches(['G', 'X']);
        if words.is_empty() && left.contains('X') {
            return Ok(Outcome::Executed);
        }
        let words = words.strip_prefix('E');
        Ok(Outcome::Failed(words.map(str::to_owned)))
    }

    /// Removes the fifo when the program was executed.
    pub fn remove(self) {
        // Without a reader it means the same as if it were not there.
        unlinkat(self.directory, FIFO, UnlinkatFlags::NoRemoveDir).ok();
    }
}

fn open(directory: &Directory, side: OFlag) -> Result<Option<OwnedFd>> {
    let flags = side | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    match openat(directory, FIFO, flags, Mode::empty()) {
        Err(Errno::ENXIO | Errno::ENOENT) => Ok(None),
        other => other.map(Some).call(|| format!("open(\"{}/{FIFO}\")", directory.path)),
    }
}
