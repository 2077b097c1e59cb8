//! What the runtime hands to who called it: the terminal, the pidfd, the pid.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use crate::error::{Call, Context, Error, Result};
use crate::sys::process::Child;
use crate::sys::socket;
use crate::sys::terminal::pty_number;

/// Sockets of the caller, connected before anything is created.
pub struct Sockets {
    console: Option<OwnedFd>,
    pidfd: Option<OwnedFd>,
}

impl Sockets {
    /// Connects, if what the command line and the config say of a terminal fits together.
    /// `detached`: the runtime leaves before the process has ended.
    ///
    /// # Errors
    /// The words of runc if it does not; those of connect(2).
    pub fn connect(
        has_terminal: bool,
        detached: bool,
        console: Option<&str>,
        pidfd: Option<&str>,
    ) -> Result<Self> {
        let console = console.filter(|path| !path.is_empty());
        if detached && has_terminal && console.is_none() {
            return Err(Error::new(
                "cannot allocate tty if the runtime will detach without setting console socket",
            ));
        }
        if console.is_some() && !(detached && has_terminal) {
            return Err(Error::new(
                "cannot use console socket if the runtime will not detach or allocate tty",
            ));
        }
        let pidfd = pidfd.filter(|path| !path.is_empty());
        let connect = |path, flag: &str| socket::connect(path).context(|| flag.to_owned());
        Ok(Self {
            console: console.map(|path| connect(path, "--console-socket")).transpose()?,
            pidfd: pidfd.map(|path| connect(path, "--pidfd-socket")).transpose()?,
        })
    }

    /// Sends the terminal's master and the pidfd of the process. Returns the master if nobody asked for it.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send(self, master: Option<OwnedFd>, process: &Child) -> Result<Option<OwnedFd>> {
        if let Some(socket) = &self.pidfd {
            // The name that runc sends with it.
            socket::send(socket, b"pidfd", Some(process.pidfd.as_raw_fd()))
                .context(|| "--pidfd-socket")?;
        }
        match (&self.console, master) {
            (Some(socket), Some(master)) => {
                let name = format!("/dev/pts/{}", pty_number(master.as_fd())?);
                socket::send(socket, name.as_bytes(), Some(master.as_raw_fd()))
                    .context(|| "--console-socket")?;
                Ok(None)
            }
            (_, master) => Ok(master),
        }
    }
}

/// Writes the bare number, whole or not at all: engines read the file as soon as it is there.
///
/// # Errors
/// Those of open(2), write(2) and rename(2).
pub fn write_pid_file(path: &str, pid: i32) -> Result<()> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
    let new = Path::new(path).with_file_name(format!(".{name}"));
    // Left by a runtime that was killed, or planted: never followed.
    std::fs::remove_file(&new).ok();
    let written = File::create_new(&new)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .call(|| format!("write({new:?})"))
        .and_then(|()| std::fs::rename(&new, path).call(|| format!("rename({new:?}, {path:?})")));
    if written.is_err() {
        std::fs::remove_file(&new).ok();
    }
    written
}
