//! The runtime's own executable, which a container reaches through /proc/PID/exe of its init, or
//! by a program that starts with `#!/proc/self/exe` (CVE-2019-5736). What it reaches must be
//! something that it cannot write: the executable on a read-only mount that is in no mount
//! namespace, so that nobody can make it writable again.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::execveat;

use super::mount::{MountAttr, attribute, clone_fd, mount_setattr};
use super::path::open_path;
use crate::error::{Call, Error, Result};

/// Returns if this process already runs from an executable that nobody can write; else executes
/// it again from one, with the same arguments and environment.
///
/// # Errors
/// That neither a read-only mount nor a sealed copy of the executable could be made.
pub fn seal_executable() -> Result<()> {
    let own = open_path("/proc/self/exe", OFlag::O_PATH)?;
    if was_executed_by_descriptor() && (is_read_only(&own)? || is_sealed()) {
        return Ok(());
    }
    let sealed = match read_only_clone(&own) {
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

/// A read-only mount that somebody made can be made writable by him; ours cannot. The kernel gives
/// a program that was executed by a descriptor the name "/dev/fd/N" (execveat(2)). Nobody has executed
/// this one so but itself, on most hosts: for the first time it is the only thing to be asked, and
/// without a system call.
fn was_executed_by_descriptor() -> bool {
    // SAFETY: AT_EXECFN is the address of a C string on our own stack, or 0.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    // SAFETY: checked for null; the string lives as long as the process.
    !name.is_null() && unsafe { CStr::from_ptr(name) }.to_bytes().starts_with(b"/dev/fd/")
}

/// 15 µs on Linux 6.18. The clone is in an anonymous mount namespace that ends when the
/// descriptor closes, at the execve: from then on mount_setattr answers EINVAL for it.
fn read_only_clone(own: &OwnedFd) -> Result<OwnedFd> {
    let clone = clone_fd(own.as_fd(), false)?;
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
    let mut from = std::fs::File::open("/proc/self/exe").call(|| "open(\"/proc/self/exe\")")?;
    std::io::copy(&mut from, &mut to).call(|| "copy the executable to a memfd")?;
    fcntl(&to, FcntlArg::F_ADD_SEALS(SEALS)).call(|| "fcntl(F_ADD_SEALS)")?;
    Ok(to.into())
}

fn is_read_only(own: &OwnedFd) -> Result<bool> {
    let flags = fstatvfs(own).call(|| "fstatvfs(\"/proc/self/exe\")")?.flags();
    Ok(flags.contains(FsFlags::ST_RDONLY))
}

fn is_sealed() -> bool {
    let Ok(own) = open_path("/proc/self/exe", OFlag::O_RDONLY) else {
        return false;
    };
    // EINVAL: no memfd.
    fcntl(&own, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_truncate(seals).contains(SEALS))
}
