//! The processes of a cgroup: signals to all of them, their end. cgroup-v2.rst, "Core Interface
//! Files".

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, openat};
use nix::sys::stat::Mode;

use super::events::Events;
use super::file::{is_gone, read_if_there, write_if_there};
use super::freezer;
use super::fs::READ;
use super::walk::walk;
use crate::error::{Error, Result};
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// How long the processes of a cgroup may take to end after SIGKILL.
const LONGEST_END: u16 = 10_000;

/// Sends SIGKILL to all processes of the cgroup and below (cgroup.kill, 5.14).
///
/// # Errors
/// Those of writing the file, other than that the cgroup is gone.
pub fn kill(directory: &str) -> Result<()> {
    write_if_there(&format!("{directory}/cgroup.kill"), "1")
}

/// Sends any signal to all processes of the cgroup and below.
///
/// # Errors
/// Those of reading the files and of kill(2), other than that a process or a cgroup is gone.
pub fn signal(directory: &str, signal: i32) -> Result<()> {
    let send = || {
        for pid in list(directory)? {
            let Some(pidfd) = pidfd_open(pid)? else { continue };
            match pidfd_send_signal(pidfd.as_fd(), signal) {
                Err(error) if error.errno() == Some(Errno::ESRCH) => {}
                other => other?,
            }
        }
        Ok(())
    };
    // Who is in it could not let it go on.
    if list(directory)?.contains(&nix::unistd::getpid().as_raw()) {
        return send();
    }
    freezer::while_frozen(directory, send)
}

/// The processes of the cgroup and below, sorted. Those of a pid namespace that the runtime does
/// not see have no number here, and are not among them.
///
/// # Errors
/// Those of reading the files, other than that a cgroup is gone.
pub fn list(directory: &str) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let collect = |cgroup: BorrowedFd<'_>| {
        // None of a threaded cgroup: its processes are in the file of the domain above
        // (cgroup-v2.rst, "Threads").
        for line in read_if_there(cgroup, "cgroup.procs")?.unwrap_or_default().lines() {
            // 0 stands for one of another pid namespace.
            pids.extend(line.parse::<i32>().ok().filter(|pid| *pid > 0));
        }
        Ok(())
    };
    let top = openat(AT_FDCWD, directory, READ, Mode::empty());
    match top.and_then(|top| walk(top, collect, |_, _| Ok(()))) {
        Ok(()) => {}
        Err(errno) if is_gone(errno) => {}
        Err(errno) => {
            return Err(Error::from_call(format!("read(\"{directory}/cgroup.procs\")"), errno));
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// Waits until no process of the cgroup and below is left.
///
/// # Errors
/// That processes are left after ten seconds.
pub fn wait_empty(directory: &str) -> Result<()> {
    wait_empty_for(directory, LONGEST_END)
}

pub(super) fn wait_empty_for(directory: &str, milliseconds: u16) -> Result<()> {
    let Some(mut events) = Events::open(directory)? else { return Ok(()) };
    if events.wait("populated 0", milliseconds)? {
        return Ok(());
    }
    let seconds = milliseconds / 1000;
    Err(Error::new(format!("{directory:?} has processes after {seconds} s")))
}
