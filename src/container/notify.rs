//! sd_notify(3) from a container to the service manager of who called the runtime: NOTIFY_SOCKET.
//! The container has a socket of its own at /run/notify; what it says there of its readiness is
//! told to the manager, with the pid that the manager can see.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{Call, Error, Result};
use crate::state::{Directory, NOTIFY};

/// The socket of the service manager, from the environment.
#[must_use]
pub fn socket_of_caller() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|path| !path.is_empty())
}

/// Between a container and a service manager.
#[derive(Debug)]
pub struct Relay {
    manager: String,
    socket: UnixDatagram,
}

impl Relay {
    /// Listens, if create has made the directory for it and the caller has a service manager.
    ///
    /// # Errors
    /// Those of bind(2).
    pub fn listen(directory: &Directory) -> Result<Option<Self>> {
        // By descriptor: the path itself may be longer than a socket's address.
        let path = format!("/proc/self/fd/{}/{NOTIFY}/notify.sock", directory.as_fd().as_raw_fd());
        let Some(manager) = socket_of_caller() else { return Ok(None) };
        // One that was killed may have left it, and who calls has the lock.
        std::fs::remove_file(&path).ok();
        let socket = match UnixDatagram::bind(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.call(|| format!("bind({path:?})"))?,
        };
        // Any user of the container may be the one who is ready.
        let mode = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&path, mode).call(|| format!("chmod({path:?})"))?;
        Ok(Some(Self { manager, socket }))
    }

    /// Waits until the container says that it is ready, or has ended.
    ///
    /// # Errors
    /// Those of poll(2), recv(2) and send(2).
    pub fn wait(&self, init: BorrowedFd<'_>, pid: i32) -> Result<()> {
        loop {
            // Looked at in this order: before init is seen to have ended, all it said has come.
            let socket = PollFd::new(self.socket.as_fd(), PollFlags::POLLIN);
            let mut fds = [PollFd::new(init, PollFlags::POLLIN), socket];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.call(|| "poll(the socket for sd_notify)")?,
            };
            let is_readable = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
            if is_readable(&fds[1]) {
                if self.relay(pid)? {
                    return Ok(());
                }
            } else if is_readable(&fds[0]) {
                return Ok(());
            }
        }
    }

    /// Takes one message, and tells the manager if it is that the container is ready. Whether so.
    ///
    /// # Errors
    /// Those of recv(2) and send(2).
    pub fn relay(&self, pid: i32) -> Result<bool> {
        // As long as systemd itself takes (sd_notify(3)).
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).call(|| "recv(the socket for sd_notify)")?;
        let text = String::from_utf8_lossy(&message[..length]);
        if !text.lines().any(|line| line == "READY=1") {
            return Ok(false);
        }
        let message = format!("READY=1\nMAINPID={pid}\n");
        let sender = UnixDatagram::unbound().call(|| "socket(AF_UNIX, SOCK_DGRAM)")?;
        let address = match self.manager.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&self.manager),
        };
        address.and_then(|address| sender.send_to_addr(message.as_bytes(), &address)).map_err(
            |error| Error::from_io(format!("send(NOTIFY_SOCKET {:?})", self.manager), &error),
        )?;
        Ok(true)
    }
}

impl AsFd for Relay {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
