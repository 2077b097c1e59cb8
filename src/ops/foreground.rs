//! The time of a `run` or `exec` in the foreground: signals go to the container, the terminal goes both
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
use crate::sys::terminal::{RawMode, is_terminal};

const SIGCHLD: i32 = 17;
const SIGPIPE: i32 = 13;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;

/// From here on signals wait to be read. Init is born with all of them blocked, and blocks none when it
/// executes the program; nor do hooks.
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

/// Bytes on their way from one side to the other. As many as a pipe takes without waiting when
/// poll(2) says that it is ready (pipe(7), PIPE_BUF).
struct Pending {
    bytes: [u8; 4096],
    start: usize,
    end: usize,
}

/// What poll(2) said, in the order of [`Foreground::poll`].
struct Events {
    ended: bool,
    signalled: bool,
    ready: bool,
    terminal: bool,
    typed: bool,
    shows: bool,
}

/// How long a reader of the last output may take, in milliseconds, each time it reads nothing.
const LONGEST_LAST: u16 = 1000;
/// How much of it there can be, in bytes, and more: a pseudoterminal holds 64 KiB, and 4 KiB of them a
/// second time (drivers/tty/tty_buffer.c, n_tty.c). What comes after is of a process that writes on.
const MOST_LAST: usize = 96 * 1024;

impl Foreground<'_> {
    /// Waits until init has ended, and returns its exit status.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(mut self) -> Result<u8> {
        let raw = match &self.master {
            Some(master) => {
                fcntl(master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).call(|| "fcntl(O_NONBLOCK)")?;
                let input = standard_stream(0);
                is_terminal(input).then(|| RawMode::new(input)).transpose()?
            }
            None => None,
        };
        let (mut input, mut output) = (Pending::new(), Pending::new());
        let mut is_input_open = self.master.is_some();
        loop {
            let events = self.poll(&input, &output, is_input_open)?;
            if events.signalled {
                self.forward_signals();
            }
            if events.ready && self.relay.as_ref().is_some_and(|relay| self.has_told(relay)) {
                self.relay = None;
            }
            if events.shows {
                output.drain(standard_stream(1));
            }
            if events.typed {
                is_input_open = input.fill(standard_stream(0));
            }
            if let (Some(master), true) = (&self.master, events.terminal) {
                input.drain(master.as_fd());
                if output.is_empty() && !output.fill(master.as_fd()) {
                    // All processes of the container have closed the terminal.
                    self.master = None;
                    is_input_open = false;
                }
            }
            if events.ended {
                break;
            }
        }
        self.show_the_last(&mut output)?;
        drop(raw);
        exit_status(self.init.pidfd.as_fd())
    }

    fn poll(&self, input: &Pending, output: &Pending, is_input_open: bool) -> Result<Events> {
        let either = |condition, flag| if condition { flag } else { PollFlags::empty() };
        let reads = |condition| either(condition, PollFlags::POLLIN);
        let writes = |condition| either(condition, PollFlags::POLLOUT);
        let of_terminal = reads(output.is_empty()) | writes(!input.is_empty());
        let wanted = [
            (Some(self.init.pidfd.as_fd()), reads(true)),
            (Some(self.signals.as_fd()), reads(true)),
            (self.relay.as_ref().map(AsFd::as_fd), reads(true)),
            (self.master.as_ref().map(AsFd::as_fd), of_terminal),
            (Some(standard_stream(0)), reads(is_input_open && input.is_empty())),
            (Some(standard_stream(1)), writes(!output.is_empty())),
        ];
        // What nothing is wanted of is left out: poll(2) would report its end again and again.
        let is_wanted =
            |(fd, flags): &(Option<BorrowedFd<'_>>, PollFlags)| fd.is_some() && !flags.is_empty();
        let present = wanted.iter().filter(|one| is_wanted(one));
        let mut fds: Vec<PollFd<'_>> =
            present.filter_map(|(fd, flags)| fd.map(|fd| PollFd::new(fd, *flags))).collect();
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                other => break other.map(drop).call(|| "poll()")?,
            }
        }
        let mut answers = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let [ended, signalled, ready, terminal, typed, shows] =
            wanted.map(|one| is_wanted(&one) && answers.next().unwrap_or(false));
        Ok(Events { ended, signalled, ready, terminal, typed, shows })
    }

    /// Whether the container has said that it is ready. If it cannot be told, it is not tried again.
    fn has_told(&self, relay: &Relay) -> bool {
        relay.relay(self.init.pid).unwrap_or(true)
    }

    /// What the container wrote before it ended, as long as somebody reads it.
    fn show_the_last(&self, output: &mut Pending) -> Result<()> {
        let Some(master) = &self.master else { return Ok(()) };
        let mut length = 0;
        loop {
            if output.is_empty() && length < MOST_LAST {
                output.fill(master.as_fd());
                length += output.end - output.start;
            }
            if output.is_empty() {
                return Ok(());
            }
            let mut fds = [PollFd::new(standard_stream(1), PollFlags::POLLOUT)];
            match poll(&mut fds, PollTimeout::from(LONGEST_LAST)) {
                Ok(0) => return Ok(()),
                Err(Errno::EINTR) => {}
                other => {
                    other.call(|| "poll()")?;
                    output.drain(standard_stream(1));
                }
            }
        }
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
    fn new() -> Self {
        Self { bytes: [0; 4096], start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Reads once, when all that was read before is gone. Whether there can be more.
    fn fill(&mut self, from: BorrowedFd<'_>) -> bool {
        match nix::unistd::read(from, &mut self.bytes) {
            Ok(0) => false,
            Ok(length) => {
                (self.start, self.end) = (0, length);
                true
            }
            // Of a pty's master EIO: nobody has the other side open.
            Err(errno) => errno == Errno::EINTR || errno == Errno::EAGAIN,
        }
    }

    /// Writes once; what is not taken stays.
    fn drain(&mut self, to: BorrowedFd<'_>) {
        if self.is_empty() {
            return;
        }
        match nix::unistd::write(to, &self.bytes[self.start..self.end]) {
            Ok(length) => self.start += length,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody will read it; the container goes on.
            Err(_) => self.start = self.end,
        }
    }
}
