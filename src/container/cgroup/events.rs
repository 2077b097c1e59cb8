//! cgroup.events: whether a cgroup has processes and whether they are suspended. memory.events: that
//! memory ran out. A change of either is an event for poll(2), and for inotify(7) too (cgroup-v2.rst,
//! "[Un]populated Notification" and "Memory Interface Files"). By poll(2): the file is open anyway, to
//! be read, and of inotify's instances a user has 128 (fs.inotify.max_user_instances).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::errno;
use super::file::is_gone;
use super::stats::value_of;
use crate::error::{Error, Result};

/// cgroup.events.
pub struct Events(Notifying);

/// memory.events.
pub struct MemoryEvents {
    file: Notifying,
    kills: u64,
}

/// An open file that says when it has changed since it was read.
struct Notifying {
    path: String,
    file: File,
}

impl Notifying {
    /// `None` if there is no such file. A cgroup that goes meanwhile is ENODEV, of open(2) too.
    fn open(path: String) -> Result<Option<Self>> {
        match File::open(&path).map_err(errno) {
            Ok(file) => Ok(Some(Self { path, file })),
            Err(errno) if is_gone(errno) => Ok(None),
            Err(errno) => Err(Error::from_call(format!("open({path:?})"), errno)),
        }
    }

    /// `None` if the cgroup is gone.
    fn read(&mut self) -> Result<Option<String>> {
        // Neither file has more than 300 bytes. Without lseek(2), which newer kernels refuse where
        // the cgroup is gone (seen on 6.12).
        let mut text = [0; 4096];
        match self.file.read_at(&mut text, 0).map_err(errno) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&text[..length]).into_owned())),
            Err(Errno::ENODEV) => Ok(None),
            Err(errno) => Err(Error::from_call(format!("pread({:?})", self.path), errno)),
        }
    }
}

impl Events {
    /// Opens the file; `None` if there is no such cgroup.
    ///
    /// # Errors
    /// Those of open(2) other than ENOENT and ENODEV.
    pub fn open(directory: &str) -> Result<Option<Self>> {
        Ok(Notifying::open(format!("{directory}/cgroup.events"))?.map(Self))
    }

    /// Whether the file has this line now; `None` if the cgroup is gone. From here on a change is
    /// an event.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn has(&mut self, line: &str) -> Result<Option<bool>> {
        Ok(self.0.read()?.map(|text| text.lines().any(|it| it == line)))
    }

    /// Waits until the file has this line, or the cgroup is gone; false if that took longer than
    /// so many milliseconds since the last change.
    ///
    /// # Errors
    /// Those of pread(2) and poll(2).
    pub fn wait(&mut self, line: &str, limit: u16) -> Result<bool> {
        while self.has(line)? == Some(false) {
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut fds, PollTimeout::from(limit)) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::from_call(format!("poll({:?})", self.0.path), errno));
                }
            }
        }
        Ok(true)
    }
}

impl MemoryEvents {
    /// Opens the file; `None` without the memory controller. What has happened so far does not count.
    ///
    /// # Errors
    /// Those of open(2) other than ENOENT and ENODEV, and of pread(2).
    pub fn open(directory: &str) -> Result<Option<Self>> {
        let Some(file) = Notifying::open(format!("{directory}/memory.events"))? else {
            return Ok(None);
        };
        // Where there is no controller a container may have made a cgroup of this name.
        if file.file.metadata().is_ok_and(|it| it.is_dir()) {
            return Ok(None);
        }
        let mut events = Self { file, kills: 0 };
        events.was_killed()?;
        Ok(Some(events))
    }

    /// Whether a process of the cgroup or below was killed because memory ran out, since this was
    /// asked the last time.
    ///
    /// # Errors
    /// Those of pread(2).
    pub fn was_killed(&mut self) -> Result<bool> {
        let Some(text) = self.file.read()? else { return Ok(false) };
        let kills = value_of(&text, "oom_kill");
        Ok(kills > std::mem::replace(&mut self.kills, kills))
    }
}

impl AsFd for Events {
    /// A change is POLLPRI.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl AsFd for MemoryEvents {
    /// A change is POLLPRI.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.file.as_fd()
    }
}
