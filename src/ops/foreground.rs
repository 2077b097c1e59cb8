//! The time of a `run` in the foreground: signals go to the container, the terminal goes both
//! ways, until init has ended. One loop, which waits for all of it and for nothing else: a
//! container that does not read, or a user who does not, holds up neither signals nor the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::container::notify::Relay;
use crate::container::terminal::follow_size;
use crate::error::{Call, Result};
use crate::sys::process::{Child, exit_status, pidfd_send_signal, reap_orphans, standard_stream};
use crate::sys::terminal::{RawMode, is_terminal, keep_line_feeds};

const SIGCHLD: i32 = 17;
const SIGPIPE: i32 = 13;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;

/// From here on signals wait to be read. Init and hooks start with none blocked.
///
/// # Errors
/// Those of sigprocmask(2) and signalfd(2).
pub fn block_signals() -> Result<SignalFd> {
    let all = SigSet::all();
    all.thread_block().call(|| "sigprocmask()")?;
    SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).call(|| "signalfd()")
}

/// What there is to wait for.
pub struct Foreground<'a> {
    /// Signals for the container.
    pub signals: SignalFd,
    /// Its process.
    pub init: &'a Child,
    /// Its terminal.
    pub master: Option<OwnedFd>,
    /// Its way to the service manager.
    pub relay: Option<Relay>,
}

/// Bytes on their way to the terminal.
struct Pending {
    bytes: [u8; 4096],
    start: usize,
    end: usize,
}

impl Foreground<'_> {
    /// Waits until init has ended, and returns its exit status.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(mut self) -> Result<u8> {
        let input = standard_stream(0);
        let raw = match &self.master {
            Some(master) => {
                fcntl(master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).call(|| "fcntl(O_NONBLOCK)")?;
                keep_line_feeds(master.as_fd())?;
                is_terminal(input).then(|| RawMode::new(input)).transpose()?
            }
            None => None,
        };
        let mut pending = Pending { bytes: [0; 4096], start: 0, end: 0 };
        let mut is_input_open = self.master.is_some();
        loop {
            let none = PollFlags::empty();
            let to_terminal = if pending.is_empty() { none } else { PollFlags::POLLOUT };
            let from_input =
                if is_input_open && pending.is_empty() { PollFlags::POLLIN } else { none };
            let mut fds = Vec::with_capacity(5);
            fds.push(PollFd::new(self.init.pidfd.as_fd(), PollFlags::POLLIN));
            fds.push(PollFd::new(self.signals.as_fd(), PollFlags::POLLIN));
            let terminal = self.master.as_ref().map(|master| {
                fds.push(PollFd::new(master.as_fd(), PollFlags::POLLIN | to_terminal));
                fds.len() - 1
            });
            let input_at = (from_input != none).then(|| {
                fds.push(PollFd::new(input, from_input));
                fds.len() - 1
            });
            let relay = self.relay.as_ref().map(|relay| {
                fds.push(PollFd::new(relay.as_fd(), PollFlags::POLLIN));
                fds.len() - 1
            });
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.call(|| "poll()")?,
            };
            let events = |at: Option<usize>| {
                at.and_then(|at| fds[at].revents()).unwrap_or(PollFlags::empty())
            };
            let (ended, signalled) = (!events(Some(0)).is_empty(), !events(Some(1)).is_empty());
            let (terminal, typed) = (events(terminal), !events(input_at).is_empty());
            let ready = !events(relay).is_empty();
            if signalled {
                self.forward_signals();
            }
            if ready
                && self
                    .relay
                    .as_ref()
                    .is_some_and(|relay| relay.relay(self.init.pid).unwrap_or(true))
            {
                self.relay = None;
            }
            if let Some(master) = &self.master {
                if typed {
                    is_input_open = pending.fill(input);
                }
                pending.drain(master.as_fd());
                // POLLHUP: nobody has the other side open now; somebody may open it again, but
                // until then this would be an endless loop.
                if !terminal.is_empty() && !show(master.as_fd()) {
                    self.master = None;
                    is_input_open = false;
                }
            }
            if ended {
                break;
            }
        }
        if let Some(master) = &self.master {
            show(master.as_fd());
        }
        drop(raw);
        exit_status(self.init.pidfd.as_fd())
    }

    fn forward_signals(&self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match info.ssi_signo.cast_signed() {
                SIGCHLD => reap_orphans(self.init.pid),
                SIGWINCH => self.resize(),
                // Those are about this process: its own output, its own sockets.
                SIGPIPE | SIGURG => {}
                // ESRCH: the container has ended.
                signal => drop(pidfd_send_signal(self.init.pidfd.as_fd(), signal)),
            }
        }
    }

    fn resize(&self) {
        if let Some(master) = &self.master {
            follow_size(master.as_fd());
        }
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads what was typed. Whether there can be more.
    fn fill(&mut self, input: BorrowedFd<'_>) -> bool {
        match nix::unistd::read(input, &mut self.bytes) {
            Ok(0) => false,
            Ok(length) => {
                (self.start, self.end) = (0, length);
                true
            }
            Err(errno) => errno == Errno::EINTR || errno == Errno::EAGAIN,
        }
    }

    /// Writes what the terminal takes; the rest stays.
    fn drain(&mut self, master: BorrowedFd<'_>) {
        while !self.is_empty() {
            match nix::unistd::write(master, &self.bytes[self.start..self.end]) {
                Ok(length) => self.start += length,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // Nobody will read it.
                Err(_) => self.start = self.end,
            }
        }
    }
}

/// Shows what the container has written. Whether there can be more.
fn show(master: BorrowedFd<'_>) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match nix::unistd::read(master, &mut bytes) {
            Ok(0) => return false,
            Ok(length) => {
                let mut rest = &bytes[..length];
                while !rest.is_empty() {
                    match nix::unistd::write(standard_stream(1), rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(Errno::EINTR | Errno::EAGAIN) => {}
                        // Nobody looks at it; the container goes on.
                        Err(_) => break,
                    }
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return true,
            // EIO: all processes of the container have closed it.
            Err(_) => return false,
        }
    }
}
