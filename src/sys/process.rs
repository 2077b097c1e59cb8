//! Processes: clone3(2), pidfds, execve(2), and what a process sets of itself.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

use crate::error::{Call, Error, Result};

const CLONE_PARENT: u64 = 0x8000;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// The two sides of [`clone3`].
pub enum Cloned {
    /// The caller goes on as the runtime, and has the new process.
    Runtime(Child),
    /// The new process.
    Init,
}

/// A process that was started here.
#[derive(Debug)]
pub struct Child {
    /// Its pid in the runtime namespace.
    pub pid: i32,
    /// A descriptor that stays with this process when its number is reused.
    pub pidfd: OwnedFd,
}

/// Starts a process in new namespaces and in a cgroup.
///
/// # Errors
/// Those of clone3(2): EPERM without CAP_SYS_ADMIN, ENOSPC at a limit of namespaces.
pub fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    start(namespaces, libc::SIGCHLD, cgroup)
}

/// Starts a process in new namespaces that is not this one's child, but its parent's.
///
/// # Errors
/// As [`clone3`].
pub fn clone_sibling(namespaces: u64) -> Result<Cloned> {
    // It ends with the signal that this process ends with (clone(2), CLONE_PARENT).
    start(namespaces | CLONE_PARENT, 0, None)
}

fn start(flags: u64, exit_signal: libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned> {
    let mut pidfd: RawFd = -1;
    // SAFETY: `clone_args` is plain data, for which all zero bytes are a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags | CLONE_PIDFD;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = exit_signal as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).expect("descriptors are not negative");
    }
    let (flags, size) = (args.flags, size_of::<libc::clone_args>());
    // SAFETY: without CLONE_VM this is fork(2): the child has its own copy of all memory. One
    // thread runs, so no lock is held by a thread that is gone. The C library's note of the thread
    // id is the runtime's in the child too: abort(3) alone uses it, and only after a panic.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) };
    match Errno::result(result).call(|| format!("clone3({flags:#x})"))? {
        0 => Ok(Cloned::Init),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel stored a new descriptor here.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Runtime(Child { pid: pid as i32, pidfd }))
        }
    }
}

/// A descriptor for a process that somebody else started; `None` if there is none of that pid.
///
/// # Errors
/// Those of pidfd_open(2) other than ESRCH.
pub fn pidfd_open(pid: i32) -> Result<Option<OwnedFd>> {
    // SAFETY: two numbers.
    match Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }) {
        // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })),
        Err(Errno::ESRCH | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(Error::from_call(format!("pidfd_open({pid})"), errno)),
    }
}

/// Sends a signal by number; 1 to 64.
///
/// # Errors
/// ESRCH if the process has ended; EPERM.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    let (fd, none) = (pidfd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
    // SAFETY: numbers, and a null pointer that stands for the kernel's own siginfo.
    Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) })
        .map(drop)
        .call(|| format!("pidfd_send_signal({fd}, {signal})"))
}

/// Has something done in the child of a command, before it executes the program.
pub fn before_exec(
    command: &mut Command,
    act: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the rule is for children of programs with several threads (signal-safety(7)); the
    // runtime has one (invariant 5 of `lib.rs`).
    unsafe { command.pre_exec(act) };
}

/// Waits until the process has ended, at most so many milliseconds. Whether it has.
///
/// # Errors
/// Those of poll(2).
pub fn wait_ended(pidfd: BorrowedFd<'_>, milliseconds: u16) -> Result<bool> {
    loop {
        let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(milliseconds)) {
            Err(Errno::EINTR) => {}
            other => return other.map(|count| count > 0).call(|| "poll()"),
        }
    }
}

/// Takes the exit status of a child that has ended, as a shell gives it: 128 and the signal for
/// one that a signal ended. Waits if it is still running.
///
/// # Errors
/// ECHILD if it is not a child of this process.
pub fn exit_status(pidfd: BorrowedFd<'_>) -> Result<u8> {
    let fd = pidfd.as_raw_fd();
    let ended = waitid(libc::P_PIDFD, fd.cast_unsigned(), libc::WEXITED)
        .call(|| format!("waitid(P_PIDFD, {fd})"))?;
    Ok(ended.map_or(0, |ended| ended.status))
}

/// Takes the exit status of every child that has ended, other than `init`: orphans that became
/// children of this process.
pub fn reap_orphans(init: i32) {
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    while let Ok(Some(ended)) = waitid(libc::P_ALL, 0, look) {
        if ended.pid == init {
            // It stays for [`exit_status`], and hides what ended after it until then.
            break;
        }
        waitid(libc::P_PID, ended.pid.cast_unsigned(), libc::WEXITED).ok();
    }
}

/// A child that has ended.
struct Ended {
    pid: i32,
    status: u8,
}

/// waitid(2), and not nix's: that cannot say that a real-time signal ended a process.
fn waitid(
    which: libc::idtype_t,
    id: libc::id_t,
    options: libc::c_int,
) -> nix::Result<Option<Ended>> {
    // SAFETY: `siginfo_t` is plain data, for which all zero bytes are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: a live structure that the call writes.
        match Errno::result(unsafe { libc::waitid(which, id, &raw mut info, options) }) {
            Err(Errno::EINTR) => {}
            other => {
                other?;
                break;
            }
        };
    }
    // SAFETY: waitid(2) fills these fields, or leaves them 0.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let by_signal = matches!(info.si_code, libc::CLD_KILLED | libc::CLD_DUMPED);
    let status = if by_signal { 128 + status } else { status };
    Ok((pid != 0).then_some(Ended { pid, status: status as u8 }))
}

/// Joins a namespace by descriptor; `kind` is its CLONE_NEW* flag, which the kernel checks.
///
/// # Errors
/// EINVAL for a namespace of another type; EPERM.
pub fn setns(namespace: BorrowedFd<'_>, kind: u64) -> Result<()> {
    let fd = namespace.as_raw_fd();
    // SAFETY: two numbers.
    Errno::result(unsafe { libc::setns(fd, kind as libc::c_int) })
        .map(drop)
        .call(|| format!("setns({fd}, {kind:#x})"))
}

/// Makes a new namespace for this process, or, for time, for its children.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; ENOSPC at a limit of namespaces.
pub fn unshare(kind: u64) -> Result<()> {
    // SAFETY: a number.
    Errno::result(unsafe { libc::unshare(kind as libc::c_int) })
        .map(drop)
        .call(|| format!("unshare({kind:#x})"))
}

/// The CLONE_NEW* flag of an open namespace file (ioctl_nsfs(2), NS_GET_NSTYPE).
///
/// # Errors
/// ENOTTY if the file is no namespace.
pub fn namespace_type(file: BorrowedFd<'_>) -> Result<u64> {
    const NS_GET_NSTYPE: u32 = 0xb703;
    // SAFETY: this request takes no argument.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE as _) };
    Errno::result(result).map(|kind| kind as u64).call(|| "ioctl(NS_GET_NSTYPE)")
}

/// Ends this process with SIGKILL when the one that started it ends.
///
/// # Errors
/// None on the kernels that are supported.
pub fn die_with_runtime(on: bool) -> Result<()> {
    nix::sys::prctl::set_pdeathsig(on.then_some(Signal::SIGKILL))
        .call(|| format!("prctl(PR_SET_PDEATHSIG, {on})"))
}

/// Takes away from other processes the right to look into this one: ptrace, /proc/PID/exe,
/// /proc/PID/fd (proc(5), CVE-2016-9962). Until the next execve.
///
/// # Errors
/// None on the kernels that are supported.
pub fn not_dumpable() -> Result<()> {
    nix::sys::prctl::set_dumpable(false).call(|| "prctl(PR_SET_DUMPABLE, 0)")
}

/// Orphans of the descendants of this process become its children.
///
/// # Errors
/// None on the kernels that are supported.
pub fn become_subreaper() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).call(|| "prctl(PR_SET_CHILD_SUBREAPER, 1)")
}

/// Starts a session of its own, without a terminal.
///
/// # Errors
/// EPERM for a process group leader.
pub fn setsid() -> Result<()> {
    nix::unistd::setsid().map(drop).call(|| "setsid()")
}

/// Gives every signal its default action and blocks none. CLONE_CLEAR_SIGHAND would leave ignored
/// signals ignored, and Rust's start-up ignores SIGPIPE.
///
/// # Errors
/// None that a correct call can meet.
pub fn reset_signals() -> Result<()> {
    // The kernel's sigaction: SIG_DFL, and no flags, restorer and mask.
    let default = [0_u64; 4];
    let none = std::ptr::null::<u64>();
    for signal in 1..=64 {
        // Not the C library's function: it keeps 32 to 34 for itself. SIGKILL and SIGSTOP are refused.
        // SAFETY: a live structure of the kernel's size, which it only reads.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, 8) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).call(|| "sigprocmask()")
}

/// Gives SIGCHLD its default action: an ignored one stays ignored over execve (signal(7)).
pub fn default_action_of_sigchld() {
    // SAFETY: SIG_DFL is no function.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Whether this process ignores a signal: it stays so over execve, which is what nohup(1) relies on.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    // SAFETY: `sigaction` is plain data, for which all zero bytes are a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action, the present one is written to a live structure.
    let result = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut action) };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Marks every descriptor from `first` on to be closed by execve (close_range(2), 5.11).
///
/// # Errors
/// None on the kernels that are supported.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on that the caller of this program has left open. To be
/// called before this program opens one other than `own`.
///
/// # Errors
/// None on the kernels that are supported.
pub fn close_from(first: u32, own: Option<BorrowedFd<'_>>) -> Result<()> {
    let own = own.and_then(|own| u32::try_from(own.as_raw_fd()).ok());
    let Some(own) = own.filter(|own| *own >= first) else { return close_range(first, u32::MAX, 0) };
    if own > first {
        close_range(first, own - 1, 0)?;
    }
    close_range(own + 1, u32::MAX, 0)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: what is closed would be lost for who owns it: by the rule of `close_from`, nobody here. With
    // CLOSE_RANGE_CLOEXEC nothing is closed in this program.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) })
        .map(drop)
        .call(|| format!("close_range({first}, {last}, {flags})"))
}

/// Whether a descriptor of this number is open.
#[must_use]
pub fn is_open(number: RawFd) -> bool {
    // SAFETY: F_GETFD only looks at the number.
    unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
}

/// Unmarks so many descriptors from 3 on: the program gets them.
///
/// # Errors
/// EBADF if one is not open.
pub fn keep_on_exec(count: u32) -> Result<()> {
    for number in (3..).take(count as usize) {
        // SAFETY: F_SETFD changes a flag of the descriptor, which nobody here owns.
        Errno::result(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })
            .call(|| format!("fcntl({number}, F_SETFD, 0)"))?;
    }
    Ok(())
}

/// Sets the execution domain (personality(2)).
///
/// # Errors
/// EINVAL for a value that the kernel does not know.
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: a number.
    Errno::result(unsafe { libc::personality(persona as _) })
        .map(drop)
        .call(|| format!("personality({persona:#x})"))
}

/// Sets the NIS domain name of the uts namespace.
///
/// # Errors
/// EINVAL for more than 64 bytes; EPERM.
pub fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: the pointer and the length are of one live text.
    Errno::result(unsafe { libc::setdomainname(name.as_ptr().cast(), name.len() as _) })
        .map(drop)
        .call(|| format!("setdomainname({name:?})"))
}

/// Joins a new session keyring of that name, so that the container does not have the keys of who
/// called the runtime (keyctl(2), session-keyring(7)), and lets its possessor search it.
///
/// # Errors
/// EDQUOT at the limit of keys. A kernel without keyrings is no error: there is nothing to hide.
pub fn join_session_keyring(name: &str) -> Result<()> {
    const JOIN: libc::c_int = 1;
    const SETPERM: libc::c_int = 5;
    /// All rights for the possessor, view, read and search for the user.
    const RIGHTS: u32 = 0x3f0b_0000;
    let name = CString::new(name).map_err(|_| Error::new("a name holds a NUL byte"))?;
    // SAFETY: a live C string that the kernel copies.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN, name.as_ptr()) };
    let key = match Errno::result(result) {
        Err(Errno::ENOSYS) => return Ok(()),
        other => other.call(|| format!("keyctl(JOIN_SESSION_KEYRING, {name:?})"))?,
    };
    // SAFETY: numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, key, RIGHTS) })
        .map(drop)
        .call(|| format!("keyctl(SETPERM, {key})"))
}

/// Borrows one of the three standard streams.
#[must_use]
pub fn standard_stream(number: RawFd) -> BorrowedFd<'static> {
    assert!((0..=2).contains(&number), "only 0, 1 and 2 are standard streams");
    // SAFETY: Rust's start-up opens /dev/null for each of the three that is closed, and nothing
    // in this program closes them.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Puts a descriptor in the place of standard input, output and error.
///
/// # Errors
/// Those of dup3(2).
pub fn set_standard_streams(fd: impl AsFd) -> Result<()> {
    nix::unistd::dup2_stdin(&fd).call(|| "dup2(0)")?;
    nix::unistd::dup2_stdout(&fd).call(|| "dup2(1)")?;
    nix::unistd::dup2_stderr(&fd).call(|| "dup2(2)")
}
