//! Signals that ask this process to end (SIGINT, SIGTERM, SIGHUP). They are blocked and looked for
//! between two pieces of work, so that what was begun is removed by the way that removes it on an
//! error; then the process ends by the signal, as who sent it expects.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::error::{Call, Error, Result};
use crate::sys::lock::{lock_and_wait, lock_shared_and_wait, try_lock, try_lock_shared};
use crate::sys::process::is_ignored;

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Whether such a signal has come.
pub struct Interrupt {
    signals: SignalFd,
    came: Cell<Option<Signal>>,
}

impl Interrupt {
    /// Blocks the signals in this thread, and so in all that it starts. One that the caller ignores
    /// (nohup(1)) is left alone: a blocked one would be kept, and read here (signal(7)).
    ///
    /// # Errors
    /// Those of signalfd(2).
    pub fn new() -> Result<Self> {
        let mask: SigSet = SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)).collect();
        mask.thread_block().call(|| "pthread_sigmask(SIG_BLOCK)")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&mask, flags).call(|| "signalfd()")?;
        Ok(Self { signals, came: Cell::new(None) })
    }

    /// Looks whether one has come: a system call.
    ///
    /// # Errors
    /// That one has, now or before.
    pub fn check(&self) -> Result<()> {
        if self.came.get().is_none()
            && let Some(signal) = self.signals.read_signal().call(|| "read(signalfd)")?
        {
            self.came.set(Signal::try_from(signal.ssi_signo.cast_signed()).ok());
        }
        match self.came.get() {
            None => Ok(()),
            Some(signal) => Err(Error::new(format!("interrupted by {signal}"))),
        }
    }

    /// Locks a file for this process alone, as soon as nobody else has it locked.
    ///
    /// # Errors
    /// That a signal has come; those of flock(2).
    pub fn lock(&self, file: BorrowedFd<'_>) -> Result<()> {
        if try_lock(file)? { Ok(()) } else { self.wait_for(file, lock_and_wait) }
    }

    /// Locks a file together with others who do so, as soon as nobody has it for himself alone.
    ///
    /// # Errors
    /// That a signal has come; those of flock(2).
    pub fn lock_shared(&self, file: BorrowedFd<'_>) -> Result<()> {
        if try_lock_shared(file)? { Ok(()) } else { self.wait_for(file, lock_shared_and_wait) }
    }

    fn wait_for(&self, file: BorrowedFd<'_>, lock: fn(BorrowedFd<'_>) -> Result<()>) -> Result<()> {
        // flock(2) cannot wait for a signal too. A thread waits for the lock, and its end closes the
        // pipe; if a signal is first, the process ends and the thread with it.
        let own = file.try_clone_to_owned().call(|| "dup()")?;
        let (end, held) = std::io::pipe().call(|| "pipe2()")?;
        let thread = std::thread::spawn(move || {
            let result = lock(own.as_fd());
            drop(held);
            result
        });
        self.wait(OwnedFd::from(end).as_fd())?;
        thread.join().expect("the thread does not panic")
    }

    /// Waits until a descriptor has something to read, or its other end is closed.
    fn wait(&self, file: BorrowedFd<'_>) -> Result<()> {
        loop {
            self.check()?;
            let mut both = [
                PollFd::new(file, PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.call(|| "poll()")?,
            };
            if both[0].any() == Some(true) {
                return Ok(());
            }
        }
    }

    /// Whether one has come.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.came.get().is_some()
    }

    /// Ends the process by the signal that came; returns if none did.
    pub fn end(&self) {
        if let Some(signal) = self.came.get() {
            raise(signal).ok();
            // Pending until now.
            SigSet::from(signal).thread_unblock().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_an_error_of_the_next_look_and_of_all_after_it() {
        let interrupt = Interrupt::new().unwrap();
        interrupt.check().unwrap();
        raise(Signal::SIGTERM).unwrap();
        for _ in 0..2 {
            let error = interrupt.check().unwrap_err().to_string();
            assert_eq!(error, "interrupted by SIGTERM");
        }
    }

    #[test]
    fn a_wait_for_a_lock_ends_with_the_lock_or_with_a_signal() {
        let directory = std::env::temp_dir();
        let file = || std::fs::File::open(&directory).unwrap();
        let (first, second) = (file(), file());
        let interrupt = Interrupt::new().unwrap();
        interrupt.lock(first.as_fd()).unwrap();
        raise(Signal::SIGHUP).unwrap();
        assert!(interrupt.lock(second.as_fd()).is_err());
        drop(first);
    }
}
