//! Locks of open files: flock(2). One belongs to the open file, so that it ends with the last process
//! that has it open, however that ends.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction};

use crate::error::{Call, Error, Result};

/// Locks an open file for this process and those that share it, until the last of them closes it
/// (flock(2)). Whether it was free.
///
/// # Errors
/// Those of flock(2) other than EWOULDBLOCK.
pub fn try_lock(file: BorrowedFd<'_>) -> Result<bool> {
    try_flock(file, libc::LOCK_EX)
}

/// As [`try_lock`], but together with others who do so.
///
/// # Errors
/// Those of flock(2) other than EWOULDBLOCK.
pub fn try_lock_shared(file: BorrowedFd<'_>) -> Result<bool> {
    try_flock(file, libc::LOCK_SH)
}

fn try_flock(file: BorrowedFd<'_>, operation: libc::c_int) -> Result<bool> {
    // SAFETY: two numbers.
    match Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation | libc::LOCK_NB) }) {
        Ok(_) => Ok(true),
        Err(Errno::EWOULDBLOCK) => Ok(false),
        Err(errno) => Err(Error::from_call(format!("flock({operation:#x}|LOCK_NB)"), errno)),
    }
}

/// As [`try_lock`], but waits for it without an end.
///
/// # Errors
/// Those of flock(2) other than EINTR.
pub fn lock_and_wait(file: BorrowedFd<'_>) -> Result<()> {
    flock(file, libc::LOCK_EX)
}

/// Locks an open file together with others who do so, against who wants it alone; waits without an
/// end.
///
/// # Errors
/// Those of flock(2) other than EINTR.
pub fn lock_shared_and_wait(file: BorrowedFd<'_>) -> Result<()> {
    flock(file, libc::LOCK_SH)
}

fn flock(file: BorrowedFd<'_>, operation: libc::c_int) -> Result<()> {
    loop {
        // SAFETY: two numbers.
        match Errno::result(unsafe { libc::flock(file.as_raw_fd(), operation) }) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).call(|| format!("flock({operation:#x})")),
        }
    }
}

/// Gives a lock back.
///
/// # Errors
/// Those of flock(2).
pub fn unlock(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: two numbers.
    Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) })
        .map(drop)
        .call(|| "flock(LOCK_UN)")
}

/// Whether nobody has locked an open file for himself alone. A shared lock, so that two who ask do
/// not see each other; given back at once.
///
/// # Errors
/// Those of flock(2) other than EWOULDBLOCK.
pub fn is_unlocked(file: BorrowedFd<'_>) -> Result<bool> {
    let is_unlocked = try_lock_shared(file)?;
    if is_unlocked {
        unlock(file)?;
    }
    Ok(is_unlocked)
}

/// As [`try_lock`], but waits for it, at most so many seconds: until SIGALRM interrupts the call. A
/// `run` in the foreground blocks all signals; one of this kind that somebody sent it ends the wait
/// too, and does not reach the container.
///
/// # Errors
/// Those of flock(2) other than EINTR.
pub fn lock(file: BorrowedFd<'_>, seconds: u32) -> Result<bool> {
    if try_lock(file)? {
        return Ok(true);
    }
    extern "C" fn interrupt(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(interrupt), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing. Without SA_RESTART it interrupts the call.
    unsafe { sigaction(Signal::SIGALRM, &action) }.call(|| "sigaction(SIGALRM)")?;
    let mut alarm = SigSet::empty();
    alarm.add(Signal::SIGALRM);
    let mask = alarm.thread_swap_mask(SigmaskHow::SIG_UNBLOCK).call(|| "sigprocmask(SIGALRM)")?;
    nix::unistd::alarm::set(seconds);
    // SAFETY: two numbers.
    let result = Errno::result(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) });
    nix::unistd::alarm::cancel();
    mask.thread_set_mask().call(|| "sigprocmask()")?;
    match result {
        Ok(_) => Ok(true),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(Error::from_call("flock(LOCK_EX)", errno)),
    }
}
