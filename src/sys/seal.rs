//! The runtime's own executable, which a container reaches through /proc/PID/exe of its init, or
//! by a program that starts with `#!/proc/self/exe` (CVE-2019-5736). What it reaches must be
//! something that it cannot write: the executable on a read-only mount that is in no mount
//! namespace, so that nobody can make it writable again.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::execveat;

use super::mount::{MountAttr, attribute, clone_over_exec, mount_setattr};
use super::path::open_path;
use crate::error::{Call, Error, Result};

const OWN: &str = "/proc/self/exe";

/// The descriptor of the read-only mount that this process was executed from. As long as one is open
/// anywhere, the mount's anonymous namespace lives, and in that the mount can be changed by everybody
/// who has CAP_SYS_ADMIN and comes to it, as by the /proc/self/exe of a container's program: made
/// writable again, and the executable of the host through it (CVE-2019-5736). So it is closed in every
/// process before anything of a container, a hook included, can be executed: by `exec` before there is a
/// process, by `create` and `run` where init is born and in the runtime before it says Go. Until then
/// init's is reached by those alone who have CAP_SYS_PTRACE in the runtime's user namespace, and could
/// take over init itself.
///
/// Who closes the last one waits for the kernel (an RCU grace period: 50 µs, on a busy machine
/// milliseconds). At a `create` or `run` that is the runtime, while init is at work.
#[derive(Debug, Default)]
pub struct Sealed(Option<OwnedFd>);

impl Sealed {
    /// Takes the one of this number, if it is open.
    fn take(number: RawFd) -> Self {
        // Rust's start-up opens the standard streams.
        if number <= 2 {
            return Self(None);
        }
        // Nobody is to get it: neither newuidmap(1) nor, if this is no command that makes a process, a hook.
        // SAFETY: a flag is set of a descriptor that nobody here uses. EBADF: it was closed at the execve.
        if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
            return Self(None);
        }
        // SAFETY: it is open, and was opened before this program began, of which this is the first step:
        // nobody else owns it. What is not ours but the caller's is taken from nobody (`was_executed_by`).
        Self(Some(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    /// Closes this process' own. See the rule above.
    pub fn close(&mut self) {
        self.0 = None;
    }

    /// The descriptor, while it is open.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has this number.
    #[must_use]
    pub fn is(&self, number: RawFd) -> bool {
        self.0.as_ref().is_some_and(|fd| fd.as_raw_fd() == number)
    }
}

/// Returns if this process already runs from an executable that nobody can write; else executes
/// it again from one, with the same arguments and environment.
///
/// # Errors
/// That neither a read-only mount nor a sealed copy of the executable could be made.
pub fn seal_executable() -> Result<Sealed> {
    if let Some(number) = was_executed_by()
        && (is_read_only()? || is_sealed())
    {
        return Ok(Sealed::take(number));
    }
    let sealed = match read_only_clone() {
        Ok(fd) => fd,
        // Without CAP_SYS_ADMIN. Loses: half a millisecond, for the copy.
        Err(_) => sealed_copy()?,
    };
    let text = |item: std::ffi::OsString| {
        use std::os::unix::ffi::OsStringExt;
        CString::new(item.into_vec()).expect("the kernel gave it to us as a C string")
    };
    let args: Vec<CString> = std::env::args_os().map(text).collect();
    let env: Vec<CString> = std::env::vars_os()
        .map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            text(name)
        })
        .collect();
    let Err(errno) = execveat(&sealed, c"", &args, &env, AtFlags::AT_EMPTY_PATH);
    Err(Error::from_call("execveat(the sealed executable)", errno))
}

/// The number of the descriptor that this program was executed by: the kernel names it "/dev/fd/N"
/// (execveat(2)). A read-only mount that somebody made can be made writable by him; ours cannot. Nobody
/// has executed this one so but itself, on most hosts: for the first time it is the only thing to be
/// asked, and without a system call. If it was somebody else, from a read-only mount of his own, and
/// left his descriptor open, nothing of his is lost by taking that one: the runtime closes all that it was
/// not told to pass on, and one of its executable it refuses to pass on.
fn was_executed_by() -> Option<RawFd> {
    // SAFETY: AT_EXECFN is the address of a C string on our own stack, or 0.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return None;
    }
    // SAFETY: not null; the string lives as long as the process.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().ok()?.strip_prefix("/dev/fd/")?.parse().ok()
}

/// 15 µs on Linux 6.18. The clone is in an anonymous mount namespace that ends when the last
/// descriptor of it closes ([`Sealed`]): from then on mount_setattr answers EINVAL for it.
fn read_only_clone() -> Result<OwnedFd> {
    let clone = clone_over_exec(OWN)?;
    mount_setattr(clone.as_fd(), &MountAttr::new(attribute::RDONLY, 0), false)?;
    Ok(clone)
}

const SEALS: SealFlag = SealFlag::F_SEAL_SEAL
    .union(SealFlag::F_SEAL_SHRINK)
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE);

/// MFD_EXEC (memfd_create(2), 6.3).
const EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

fn sealed_copy() -> Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING | EXEC;
    let copy = match memfd_create(c"hull", flags) {
        // Before 6.3 every memfd may be executed.
        Err(Errno::EINVAL) => memfd_create(c"hull", flags - EXEC),
        other => other,
    };
    let copy = copy.call(|| "memfd_create(\"hull\")")?;
    let mut to = std::fs::File::from(copy);
    let mut from = std::fs::File::open(OWN).call(|| format!("open({OWN:?})"))?;
    std::io::copy(&mut from, &mut to).call(|| "copy the executable to a memfd")?;
    fcntl(&to, FcntlArg::F_ADD_SEALS(SEALS)).call(|| "fcntl(F_ADD_SEALS)")?;
    Ok(to.into())
}

fn is_read_only() -> Result<bool> {
    let flags = statvfs(OWN).call(|| format!("statvfs({OWN:?})"))?.flags();
    Ok(flags.contains(FsFlags::ST_RDONLY))
}

fn is_sealed() -> bool {
    let Ok(own) = open_path(OWN, OFlag::O_RDONLY) else {
        return false;
    };
    // EINVAL: no memfd.
    fcntl(&own, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}
