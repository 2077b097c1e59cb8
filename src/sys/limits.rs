//! What a process may use, and before whom: getrlimit(2), sched(7), ioprio_set(2), set_mempolicy(2).

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Call, Result};

/// Sets a resource limit of a process, 0 for this one, by its number (getrlimit(2)); u64::MAX is no
/// limit.
///
/// # Errors
/// EPERM for raising a hard limit without CAP_SYS_RESOURCE; EINVAL for soft above hard.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    let none = std::ptr::null_mut();
    // SAFETY: a live structure that the kernel only reads, and no place for the old limit.
    Errno::result(unsafe { libc::prlimit(pid, resource as _, &raw const limit, none) })
        .map(drop)
        .call(|| format!("prlimit({pid}, {resource}, {soft}, {hard})"))
}

/// Lets this process have as many files open as it may ask for. What it is given is often 1024, for
/// programs that call select(2).
///
/// # Errors
/// Those of getrlimit(2).
pub fn raise_open_files() -> Result<()> {
    let open_files = Resource::RLIMIT_NOFILE;
    let (soft, hard) = getrlimit(open_files).call(|| "getrlimit(NOFILE)")?;
    if soft == hard {
        return Ok(());
    }
    setrlimit(open_files, hard, hard).call(|| format!("setrlimit(NOFILE, {hard}, {hard})"))
}

/// What sched_setattr(2) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerAttr {
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// -20 to 19, for OTHER and BATCH.
    pub nice: i32,
    /// 1 to 99, for FIFO and RR.
    pub priority: u32,
    /// Nanoseconds, for DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, for DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, for DEADLINE.
    pub period: u64,
}

/// Sets the scheduling of a process, 0 for this one.
///
/// # Errors
/// EPERM for more than its limits allow; EINVAL for values that contradict each other.
pub fn sched_setattr(pid: i32, attr: &SchedulerAttr) -> Result<()> {
    #[repr(C)]
    struct Sized {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        deadline: [u64; 3],
    }
    let SchedulerAttr { policy, flags, nice, priority, runtime, deadline, period } = *attr;
    let deadline = [runtime, deadline, period];
    let size = size_of::<Sized>() as u32;
    let sized = Sized { size, policy, flags, nice, priority, deadline };
    // SAFETY: a live structure, whose size it states, that the kernel only reads.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setattr, pid, &raw const sized, 0) })
        .map(drop)
        .call(|| format!("sched_setattr({pid}, {attr:?})"))
}

/// Sets the processors that this process may run on, a bit each.
///
/// # Errors
/// EINVAL if its cgroup has none of them.
pub fn sched_setaffinity(processors: &[u64]) -> Result<()> {
    let (size, mask) = (size_of_val(processors), processors.as_ptr());
    // SAFETY: the size is that of the live slice, which the kernel only reads.
    Errno::result(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size, mask) })
        .map(drop)
        .call(|| match processors {
            [one] => format!("sched_setaffinity({one:#x})"),
            _ => format!("sched_setaffinity({size} bytes)"),
        })
}

/// Sets the input/output priority of a process, 0 for this one: class 1 to 3, level 0 to 7 (ioprio_set(2)).
///
/// # Errors
/// EPERM for the real-time class without CAP_SYS_ADMIN or CAP_SYS_NICE.
pub fn ioprio_set(pid: i32, class: u32, level: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: u32 = 1;
    let value = class << 13 | level;
    // SAFETY: three numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid, value) })
        .map(drop)
        .call(|| format!("ioprio_set({pid}, {class}, {level})"))
}

/// Sets the NUMA memory policy of this process: a mode with its flags, and a mask of nodes.
///
/// # Errors
/// EINVAL for nodes that do not exist; ENOSYS without NUMA.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
    // The kernel reads one bit less than it is told (set_mempolicy(2), BUGS in the history).
    let bits = nodes.len() * 64 + 1;
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    let bits = if nodes.is_empty() { 0 } else { bits };
    // SAFETY: the mask is null, or a live slice of at least that many bits less one.
    Errno::result(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })
        .map(drop)
        .call(|| format!("set_mempolicy({mode:#x}, {nodes:x?})"))
}
