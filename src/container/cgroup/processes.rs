//! The processes of a cgroup: signals to all of them, their end. cgroup-v2.rst, "Core Interface
//! Files".

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::events::Events;
use super::{errno, freezer};
use crate::error::{Error, Result};
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// How long the processes of a cgroup may take to end after SIGKILL.
const LONGEST_END: u16 = 10_000;

/// Sends SIGKILL to all processes of the cgroup and below (cgroup.kill, 5.14).
///
/// # Errors
/// Those of writing the file, other than that the cgroup is gone.
pub fn kill(directory: &str) -> Result<()> {
    let path = format!("{directory}/cgroup.kill");
    match std::fs::write(&path, "1").map_err(errno) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
        Err(errno) => Err(Error::from_call(format!("write({path:?}, \"1\")"), errno)),
    }
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
    collect(Path::new(directory), &mut pids)?;
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn collect(directory: &Path, pids: &mut Vec<i32>) -> Result<()> {
    let path = directory.join("cgroup.procs");
    match std::fs::read_to_string(&path).map_err(errno) {
        // 0 stands for one of another pid namespace.
        Ok(text) => {
            let numbers = text.lines().filter_map(|line| line.parse::<i32>().ok());
            pids.extend(numbers.filter(|pid| *pid > 0));
        }
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        // A threaded cgroup: its processes are in the file of the domain above (cgroup-v2.rst,
        // "Threads").
        Err(Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(Error::from_call(format!("read({path:?})"), errno)),
    }
    let entries = match std::fs::read_dir(directory).map_err(errno) {
        Ok(entries) => entries,
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        Err(errno) => return Err(Error::from_call(format!("open({directory:?})"), errno)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), pids)?;
        }
    }
    Ok(())
}

/// Waits until no process of the cgroup and below is left.
///
/// # Errors
/// That processes are left after ten seconds.
pub fn wait_empty(directory: &str) -> Result<()> {
    let Some(mut events) = Events::open(directory)? else { return Ok(()) };
    if events.wait("populated 0", LONGEST_END)? {
        return Ok(());
    }
    let seconds = LONGEST_END / 1000;
    Err(Error::new(format!("{directory:?} has processes after {seconds} s")))
}
