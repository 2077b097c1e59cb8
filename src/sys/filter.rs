//! seccomp(2): filters of system calls.

use std::os::fd::{FromRawFd, OwnedFd};

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

const SET_MODE_FILTER: libc::c_uint = libc::SECCOMP_SET_MODE_FILTER;
const GET_ACTION_AVAIL: libc::c_uint = libc::SECCOMP_GET_ACTION_AVAIL;
const NEW_LISTENER: u32 = 1 << 3;

/// Filters the calls of this thread, and of what it executes, from the next one on. Makes exactly
/// one call. With `flags` NEW_LISTENER, the listener's descriptor, closed on exec.
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
        libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program)
    })?;
    // SAFETY: with this flag the kernel returns a descriptor that it has just made.
    Ok((flags & NEW_LISTENER != 0).then(|| unsafe { OwnedFd::from_raw_fd(result as i32) }))
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
