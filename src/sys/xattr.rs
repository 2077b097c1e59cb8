//! Extended attributes of files (xattr(7)).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::error::{Call, Error, Result};

/// The number of setxattrat(2), the same on all architectures but alpha.
const SETXATTRAT: libc::c_long = 463;

/// `struct xattr_args`.
#[repr(C, align(8))]
struct Arguments {
    value: u64,
    size: u32,
    flags: u32,
}

/// Sets an attribute of an open file, which O_PATH is not.
///
/// # Errors
/// ENOTSUP where the filesystem has none of that namespace; EPERM; those of fsetxattr(2).
pub fn fsetxattr(file: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<()> {
    let of = text(name)?;
    let (start, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: a live C string, and as many bytes as the length says.
    let result = unsafe { libc::fsetxattr(file.as_raw_fd(), of.as_ptr(), start, length, 0) };
    Errno::result(result).map(drop).call(|| format!("fsetxattr({of:?}, {length} bytes)"))
}

/// The value of an attribute of an open file; nothing if it has none of that name, or cannot have.
///
/// # Errors
/// Those of fgetxattr(2) but ENODATA and ENOTSUP.
pub fn fgetxattr(file: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let of = text(name)?;
    let get = |buffer: &mut [u8]| {
        let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: a live C string; the kernel writes no more than the length.
        Errno::result(unsafe { libc::fgetxattr(file.as_raw_fd(), of.as_ptr(), start, length) })
    };
    match read(get) {
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(None),
        other => other.map(Some).call(|| format!("fgetxattr({of:?})")),
    }
}

/// Removes an attribute of an open file; one that it does not have is removed already.
///
/// # Errors
/// Those of fremovexattr(2) but ENODATA and ENOTSUP.
pub fn fremovexattr(file: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    let of = text(name)?;
    // SAFETY: a live C string.
    match Errno::result(unsafe { libc::fremovexattr(file.as_raw_fd(), of.as_ptr()) }) {
        Err(Errno::ENODATA | Errno::ENOTSUP) => Ok(()),
        other => other.map(drop).call(|| format!("fremovexattr({of:?})")),
    }
}

/// The names of the attributes of an open file; none where the filesystem has none.
///
/// # Errors
/// Those of flistxattr(2) but ENOTSUP.
pub fn flistxattr(file: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let list = |buffer: &mut [u8]| {
        let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the kernel writes no more than the length.
        Errno::result(unsafe { libc::flistxattr(file.as_raw_fd(), start, length) })
    };
    let names = match read(list) {
        Err(Errno::ENOTSUP) => Vec::new(),
        other => other.call(|| "flistxattr()")?,
    };
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

/// Sets an attribute of what has a name in a directory, a symbolic link too.
///
/// # Errors
/// Those of setxattrat(2); EPERM for `user.` of what is neither file nor directory.
pub fn setxattrat(directory: BorrowedFd<'_>, file: &[u8], name: &[u8], value: &[u8]) -> Result<()> {
    let (path, of) = (text(file)?, text(name)?);
    let arguments = Arguments {
        value: value.as_ptr().expose_provenance() as u64,
        size: u32::try_from(value.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: live C strings; the structure has the size that is given, and its pointer and length
    // are those of a live slice (a length of 4 GB and more is refused by the kernel: 64 KB at most).
    let result = unsafe {
        libc::syscall(
            SETXATTRAT,
            directory.as_raw_fd(),
            path.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            of.as_ptr(),
            &raw const arguments,
            size_of::<Arguments>(),
        )
    };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => lsetxattr_through_procfs(directory, &path, &of, value),
        other => other.map(drop).call(|| format!("setxattrat({path:?}, {of:?})")),
    }
}

/// Before Linux 6.13: needs procfs.
fn lsetxattr_through_procfs(
    directory: BorrowedFd<'_>,
    file: &CStr,
    of: &CStr,
    value: &[u8],
) -> Result<()> {
    let start = format!("/proc/self/fd/{}/", directory.as_raw_fd());
    let path = text(&[start.as_bytes(), file.to_bytes()].concat())?;
    let (start, length) = (value.as_ptr().cast(), value.len());
    // SAFETY: live C strings, and as many bytes as the length says.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), of.as_ptr(), start, length, 0) };
    Errno::result(result).map(drop).call(|| format!("lsetxattr({file:?}, {of:?})"))
}

/// Asks for the length, then for the bytes; again when they became more in between.
fn read(get: impl Fn(&mut [u8]) -> nix::Result<libc::ssize_t>) -> nix::Result<Vec<u8>> {
    loop {
        let length = get(&mut [])?.cast_unsigned();
        let mut buffer = vec![0; length];
        match get(&mut buffer) {
            Err(Errno::ERANGE) => {}
            Ok(length) => {
                buffer.truncate(length.cast_unsigned());
                return Ok(buffer);
            }
            Err(errno) => return Err(errno),
        }
    }
}

fn text(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::new(format!("a NUL in \"{}\"", bytes.escape_ascii())))
}
