//! cgroup.events: whether a cgroup has processes and whether they are suspended. A change is an
//! event for poll(2) (cgroup-v2.rst, "[Un]populated Notification").

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::errno;
use crate::error::{Call, Error, Result};

/// The open file.
pub struct Events {
    path: String,
    file: File,
}

impl Events {
    /// Opens the file; `None` if there is no such cgroup.
    ///
    /// # Errors
    /// Those of open(2) other than ENOENT.
    pub fn open(directory: &str) -> Result<Option<Self>> {
        let path = format!("{directory}/cgroup.events");
        match File::open(&path).map_err(errno) {
            Ok(file) => Ok(Some(Self { path, file })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::from_call(format!("open({path:?})"), errno)),
        }
    }

    /// Whether the file has this line now; `None` if the cgroup is gone. From here on a change is
    /// an event.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn has(&mut self, line: &str) -> Result<Option<bool>> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).call(|| format!("lseek({:?})", self.path))?;
        match self.file.read_to_string(&mut text).map_err(errno) {
            Ok(_) => Ok(Some(text.lines().any(|it| it == line))),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(Error::from_call(format!("read({:?})", self.path), errno)),
        }
    }

    /// Waits until the file has this line, or the cgroup is gone; false if that took longer than
    /// so many milliseconds since the last change.
    ///
    /// # Errors
    /// Those of read(2) and poll(2).
    pub fn wait(&mut self, line: &str, limit: u16) -> Result<bool> {
        while self.has(line)? == Some(false) {
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut fds, PollTimeout::from(limit)) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::from_call(format!("poll({:?})", self.path), errno));
                }
            }
        }
        Ok(true)
    }
}

impl AsFd for Events {
    /// A change is POLLPRI.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
