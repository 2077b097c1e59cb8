//! Who a process is: user and group ids, capabilities, no_new_privs (credentials(7), capabilities(7)).

use nix::errno::Errno;

use crate::error::{Call, Result};

/// Capability sets as bit masks: bit N is capability number N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// What `execve` can never give back.
    pub bounding: u64,
    /// What the kernel checks.
    pub effective: u64,
    /// What a file with inheritable capabilities may take over.
    pub inheritable: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What an ordinary program keeps across `execve`.
    pub ambient: u64,
}

/// The number of the last capability of any kernel: the masks have 64 bits.
const LAST: u32 = 63;

fn prctl(option: libc::c_int, a: u64, b: u64) -> nix::Result<libc::c_int> {
    // SAFETY: the options used here take numbers, not pointers.
    Errno::result(unsafe { libc::prctl(option, a, b, 0, 0) })
}

/// Removes from the bounding set what is not in `keep`. Needs CAP_SETPCAP.
///
/// # Errors
/// EPERM without CAP_SETPCAP.
pub fn limit_bounding_set(keep: u64) -> Result<()> {
    for capability in (0..=LAST).filter(|capability| keep & (1 << capability) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, capability.into(), 0) {
            // The first number that this kernel does not know ends the list.
            Err(Errno::EINVAL) => break,
            other => other.call(|| format!("prctl(PR_CAPBSET_DROP, {capability})"))?,
        };
    }
    Ok(())
}

#[repr(C)]
struct CapUserHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapUserData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Version 3 of the capability calls: two data words a set (capget(2)).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets effective, permitted and inheritable in one call.
///
/// # Errors
/// EPERM where a set would grow past what is permitted.
pub fn capset(sets: &CapabilitySets) -> Result<()> {
    let header = CapUserHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let half = |shift: u32| CapUserData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 reads one header and two data words, both live.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    Errno::result(result).map(drop).call(|| format!("capset({sets:x?})"))
}

/// The permitted set of this process.
///
/// # Errors
/// None that a correct call can meet; the kernel's answer is passed on all the same.
pub fn permitted() -> Result<u64> {
    let header = CapUserHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapUserData::default(); 2];
    // SAFETY: version 3 reads one header and writes two data words, both live.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    Errno::result(result).call(|| "capget()")?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Empties the ambient set, then raises what is in `ambient`.
///
/// # Errors
/// EPERM for a capability that is not both permitted and inheritable.
pub fn set_ambient(ambient: u64) -> Result<()> {
    const CLEAR_ALL: u64 = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    const RAISE: u64 = libc::PR_CAP_AMBIENT_RAISE as u64;
    prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, 0).call(|| "prctl(PR_CAP_AMBIENT, CLEAR_ALL)")?;
    for capability in (0..=LAST).filter(|capability| ambient & (1 << capability) != 0) {
        prctl(libc::PR_CAP_AMBIENT, RAISE, capability.into())
            .call(|| format!("prctl(PR_CAP_AMBIENT, RAISE, {capability})"))?;
    }
    Ok(())
}

/// Keeps the permitted set while the user id changes from 0 (PR_SET_KEEPCAPS).
///
/// # Errors
/// EPERM if the securebits lock it.
pub fn keep_capabilities(keep: bool) -> Result<()> {
    nix::sys::prctl::set_keepcaps(keep).call(|| format!("prctl(PR_SET_KEEPCAPS, {keep})"))
}

/// No program that is executed from now on gains privileges.
///
/// # Errors
/// None on the kernels that are supported.
pub fn no_new_privs() -> Result<()> {
    nix::sys::prctl::set_no_new_privs().call(|| "prctl(PR_SET_NO_NEW_PRIVS, 1)")
}

/// Sets the supplementary groups, then all three group ids, then all three user ids: in the other
/// order the first change would take away the right to the others.
///
/// # Errors
/// EPERM without CAP_SETUID and CAP_SETGID; EINVAL for an id that the user namespace does not map.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    // The C library's functions would do it in every thread, with a dozen calls each; there is one.
    // SAFETY: the kernel reads as many ids as the length says.
    match Errno::result(unsafe {
        libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr())
    }) {
        // In a user namespace of an ordinary user groups cannot be dropped, or one that is denied
        // something could gain it (user_namespaces(7), "/proc/PID/setgroups").
        Err(Errno::EPERM) if groups.is_empty() => {}
        other => other.map(drop).call(|| format!("setgroups({groups:?})"))?,
    }
    // SAFETY: numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
        .call(|| format!("setresgid({gid})"))?;
    // SAFETY: numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
        .map(drop)
        .call(|| format!("setresuid({uid})"))
}
