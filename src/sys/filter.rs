//! seccomp(2): filters of system calls, and calls that a filter can tell to be ours by a mark in an
//! argument that they do not have.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// An instruction of a filter: `struct sock_filter` (linux/filter.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What it does: BPF_*.
    pub code: u16,
    /// How many instructions a jump skips if its test holds.
    pub yes: u8,
    /// How many if not.
    pub no: u8,
    /// The operand.
    pub value: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// The argument, of 0 to 5, in which a call of ours is marked: the last, which [`load`],
/// [`send_marked`] and [`close_marked`] do not have.
pub const MARKED: u8 = 5;
/// The mark.
pub const MARK: u64 = u64::from_be_bytes(*b"hullinit");
const AS_ARGUMENT: libc::c_long = MARK as libc::c_long;

const SET_MODE_FILTER: libc::c_uint = libc::SECCOMP_SET_MODE_FILTER;
const GET_ACTION_AVAIL: libc::c_uint = libc::SECCOMP_GET_ACTION_AVAIL;
const NEW_LISTENER: u32 = 1 << 3;

/// Filters the calls of this thread, and of what it executes, from the next one on. Makes exactly
/// one call, marked. With `flags` NEW_LISTENER, the listener's descriptor, closed on exec.
///
/// # Errors
/// EACCES without CAP_SYS_ADMIN and without no_new_privs; EINVAL for a flag that the kernel does
/// not have; EBUSY if there is a listener already.
pub fn load(instructions: &[Instruction], flags: u32) -> nix::Result<Option<OwnedFd>> {
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::EINVAL)?;
    let program = Program { length, instructions: instructions.as_ptr() };
    // SAFETY: the kernel reads as many instructions as the program says there are, and refuses
    // those that it cannot prove to end.
    let result = Errno::result(unsafe {
        let program = &raw const program;
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, program, 0, 0, AS_ARGUMENT)
    })?;
    // SAFETY: with this flag the kernel returns a descriptor that it has just made.
    Ok((flags & NEW_LISTENER != 0).then(|| unsafe { OwnedFd::from_raw_fd(result as i32) }))
}

/// SCM_RIGHTS with one descriptor (cmsg(3)).
#[repr(C)]
struct Rights {
    header: libc::cmsghdr,
    fd: RawFd,
}

/// Sends bytes over a stream socket, and a descriptor with them; how many were sent. Makes exactly
/// one call, marked.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send_marked(socket: impl AsFd, bytes: &[u8], fd: Option<RawFd>) -> nix::Result<usize> {
    let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: both are plain data, for which all zero bytes are a value.
    let (mut message, mut rights): (libc::msghdr, Rights) = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    if let Some(fd) = fd {
        rights.fd = fd;
        rights.header.cmsg_level = libc::SOL_SOCKET;
        rights.header.cmsg_type = libc::SCM_RIGHTS;
        rights.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<RawFd>()) as _;
        message.msg_control = (&raw mut rights).cast();
        message.msg_controllen = size_of::<Rights>() as _;
    }
    let (to, message, flags) = (socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL);
    // SAFETY: the kernel reads the message, the bytes and the descriptor's number, all of which
    // outlive the call; it writes to none of them.
    let sent = Errno::result(unsafe {
        libc::syscall(libc::SYS_sendmsg, to, message, flags, 0, 0, AS_ARGUMENT)
    })?;
    Ok(sent as usize)
}

/// Closes a descriptor. Makes exactly one call, marked.
pub fn close_marked(fd: OwnedFd) {
    // SAFETY: it was this owner's, who is gone.
    unsafe { libc::syscall(libc::SYS_close, fd.into_raw_fd(), 0, 0, 0, 0, AS_ARGUMENT) };
}

/// Whether the kernel knows a flag of [`load`]. Nothing is loaded: the program is at address 0.
#[must_use]
pub fn knows_flag(flag: u32) -> bool {
    let nowhere = std::ptr::null::<Program>();
    // SAFETY: the kernel looks at the flags first and then fails to read the program (EFAULT).
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flag, nowhere) };
    Errno::result(result) == Err(Errno::EFAULT)
}

/// Whether the kernel knows an action: SECCOMP_RET_*, without data.
#[must_use]
pub fn knows_action(action: u32) -> bool {
    // SAFETY: the kernel reads one word.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    result == 0
}
