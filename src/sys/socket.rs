//! Unix sockets: the pair between runtime and init, and the sockets that an engine listens on.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect as connect_to, recvmsg, sendmsg, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Call, Result};

/// The longest message between runtime and init: an error's text, cut off there. As much as the
/// smallest pipe holds (pipe(7)).
pub const LONGEST: usize = 4096;

/// Two connected sockets that keep message boundaries and tell when the other side is gone.
///
/// # Errors
/// EMFILE.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)")
}

/// Sends one message, and a descriptor with it if there is one (SCM_RIGHTS, unix(7)).
///
/// # Errors
/// EPIPE if the other side is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fd: Option<RawFd>) -> Result<()> {
    let fds = [fd.unwrap_or(-1)];
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fd.is_some() { &rights[..] } else { &[] };
    let (to, data) = (socket.as_fd().as_raw_fd(), [IoSlice::new(bytes)]);
    loop {
        match sendmsg::<()>(to, &data, control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).call(|| format!("sendmsg({to})")),
        }
    }
}

/// Receives one message, and the descriptor that came with it. No bytes: the other side is gone.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive(socket: impl AsFd) -> Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = nix::cmsg_space!(RawFd);
    let from = socket.as_fd().as_raw_fd();
    let (length, fd) = loop {
        let mut data = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(from, &mut data, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            // A process that ended with unread messages resets the connection.
            Err(Errno::ECONNRESET) => break (0, None),
            other => {
                let message = other.call(|| format!("recvmsg({from})"))?;
                let control = message.cmsgs().call(|| "recvmsg(): control")?;
                let fd = control.into_iter().find_map(|item| match item {
                    ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                    _ => None,
                });
                break (message.bytes, fd);
            }
        }
    };
    bytes.truncate(length);
    // SAFETY: the kernel made this descriptor for us in this very call.
    Ok((bytes, fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })))
}

/// How long an engine may take to make room for a connection or a message, in milliseconds.
const LONGEST_WAIT: i64 = 900;

/// Connects to a stream socket of an engine.
///
/// # Errors
/// ENOENT, ECONNREFUSED; EAGAIN if as many connections as it takes wait there already; that the path
/// is longer than a socket address (107 bytes).
pub fn connect(path: &str) -> Result<OwnedFd> {
    let call = || format!("connect({path:?})");
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .call(|| "socket(AF_UNIX, SOCK_STREAM)")?;
    // connect(2) waits by this one too (unix(7), socket(7)).
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::milliseconds(LONGEST_WAIT))
        .call(|| "setsockopt(SO_SNDTIMEO)")?;
    let address = UnixAddr::new(path).call(call)?;
    connect_to(fd.as_raw_fd(), &address).call(call)?;
    Ok(fd)
}
