//! The processes of a cgroup: signals to all of them, their end. cgroup-v2.rst, "Core Interface
//! Files".

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::errno;
use crate::error::{Call, Error, Result};
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

/// Sends any signal to all processes of the cgroup and below. Some may be born meanwhile: only
/// [`kill`] is certain.
///
/// # Errors
/// Those of reading the files and of kill(2), other than that a process or a cgroup is gone.
pub fn signal(directory: &Path, signal: i32) -> Result<()> {
    let path = directory.join("cgroup.procs");
    let processes = match std::fs::read_to_string(&path).map_err(errno) {
        Err(Errno::ENOENT | Errno::ENODEV) => return Ok(()),
        other => other.call(|| format!("read({path:?})"))?,
    };
    for pid in processes.lines().filter_map(|line| line.parse().ok()) {
        if let Some(pidfd) = pidfd_open(pid)? {
            match pidfd_send_signal(pidfd.as_fd(), signal) {
                Err(error) if error.errno() == Some(Errno::ESRCH) => {}
                other => other?,
            }
        }
    }
    for entry in std::fs::read_dir(directory).call(|| format!("open({directory:?})"))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            self::signal(&entry.path(), signal)?;
        }
    }
    Ok(())
}

/// Waits for "populated 0" in cgroup.events, of which a change is an event for poll(2)
/// (cgroup-v2.rst, "[Un]populated Notification").
///
/// # Errors
/// That processes are left after ten seconds.
pub fn wait_empty(directory: &str) -> Result<()> {
    let path = format!("{directory}/cgroup.events");
    let mut file = match File::open(&path).map_err(errno) {
        Err(Errno::ENOENT) => return Ok(()),
        other => other.call(|| format!("open({path:?})"))?,
    };
    loop {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0)).call(|| format!("lseek({path:?})"))?;
        match file.read_to_string(&mut text).map_err(errno) {
            Err(Errno::ENODEV) => return Ok(()),
            other => other.call(|| format!("read({path:?})"))?,
        };
        if text.lines().any(|line| line == "populated 0") {
            return Ok(());
        }
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLPRI)];
        match poll(&mut fds, PollTimeout::from(LONGEST_END)) {
            Ok(0) => {
                let seconds = LONGEST_END / 1000;
                return Err(Error::new(format!("{directory:?} has processes after {seconds} s")));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::from_call(format!("poll({path:?})"), errno)),
        }
    }
}
