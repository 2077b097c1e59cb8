//! Pseudo-terminals: pty(7), ioctl_tty(2), termios(3).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::error::{Call, Result};

/// # Safety
/// `argument` is what the request takes: a number, or the address of a live value of its type.
unsafe fn ioctl(fd: BorrowedFd<'_>, request: u64, argument: u64) -> nix::Result<libc::c_int> {
    // SAFETY: by the contract above.
    Errno::result(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) })
}

/// Unlocks a pty master and opens its other side, by the master itself and not by a name in a
/// /dev that somebody else fills (TIOCGPTPEER, CVE-2025-52565).
///
/// # Errors
/// EIO if the file is no pty master.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads an int, which lives on the stack.
    unsafe { ioctl(master, libc::TIOCSPTLCK as u64, &raw const unlocked as u64) }
        .call(|| "ioctl(TIOCSPTLCK)")?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes flags.
    let fd = unsafe { ioctl(master, libc::TIOCGPTPEER as u64, flags as u64) }
        .call(|| "ioctl(TIOCGPTPEER)")?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of a pty: its name in devpts (TIOCGPTN).
///
/// # Errors
/// ENOTTY if the file is no pty master.
pub fn pty_number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes an unsigned int, which lives on the stack.
    unsafe { ioctl(master, libc::TIOCGPTN as u64, &raw mut number as u64) }
        .call(|| "ioctl(TIOCGPTN)")?;
    Ok(number)
}

/// Makes a terminal the controlling one of this session.
///
/// # Errors
/// EPERM if the session has one already.
pub fn set_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: TIOCSCTTY takes a number.
    unsafe { ioctl(terminal, libc::TIOCSCTTY as u64, 0) }.map(drop).call(|| "ioctl(TIOCSCTTY)")
}

/// Sets the size, in character cells.
///
/// # Errors
/// ENOTTY if the file is no terminal.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize, which lives on the stack.
    unsafe { ioctl(terminal, libc::TIOCSWINSZ as u64, &raw const size as u64) }
        .map(drop)
        .call(|| format!("ioctl(TIOCSWINSZ, {rows}, {columns})"))
}

/// The size, in character cells: rows, columns.
///
/// # Errors
/// ENOTTY if the file is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes a winsize, which lives on the stack.
    unsafe { ioctl(terminal, libc::TIOCGWINSZ as u64, &raw mut size as u64) }
        .call(|| "ioctl(TIOCGWINSZ)")?;
    Ok((size.ws_row, size.ws_col))
}

/// A terminal in raw mode, until this is dropped.
pub struct RawMode<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawMode<'a> {
    /// Every byte goes through: the line editing is done by the terminal in the container.
    ///
    /// # Errors
    /// ENOTTY if the file is no terminal.
    pub fn new(terminal: BorrowedFd<'a>) -> Result<Self> {
        let before = tcgetattr(terminal).call(|| "tcgetattr()")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        // Output still turns a line feed into a new line: errors of the runtime itself are printed.
        raw.output_flags |= OutputFlags::OPOST;
        tcsetattr(terminal, SetArg::TCSANOW, &raw).call(|| "tcsetattr()")?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        tcsetattr(self.terminal, SetArg::TCSANOW, &self.before).ok();
    }
}

/// Leaves line feeds as they are written: the terminal of who called the runtime turns them into
/// new lines.
///
/// # Errors
/// ENOTTY if the file is no terminal.
pub fn keep_line_feeds(terminal: BorrowedFd<'_>) -> Result<()> {
    let mut settings = tcgetattr(terminal).call(|| "tcgetattr()")?;
    settings.output_flags -= OutputFlags::ONLCR;
    tcsetattr(terminal, SetArg::TCSANOW, &settings).call(|| "tcsetattr()")
}

/// Whether the descriptor is a terminal.
#[must_use]
pub fn is_terminal(fd: impl AsFd) -> bool {
    nix::unistd::isatty(fd).unwrap_or(false)
}
