//! `tmpcopyup`: a new tmpfs starts with what the directory below it holds (config.md, "Linux mount
//! options"). Both sides are descriptors; nothing is followed, and nothing is mounted yet.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmodat, fstat, fstatat, mkdirat,
    mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::error::{Call, Error, Result};
use crate::sys::path::kind_of;

/// As deep as a path can name things (PATH_MAX): whoever nests deeper wants to exhaust us.
const DEEPEST: usize = 2048;

/// Copies what is in the directory `from` into the directory `to`, with owners, modes and times;
/// with `has_mode`, `to` itself stays as it is.
///
/// # Errors
/// Those of the calls; ENOSPC if the tmpfs is too small.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>, has_mode: bool) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let from = openat(from, ".", flags, Mode::empty()).call(|| "open(the directory below)")?;
    let stat = fstat(&from).call(|| "fstat()")?;
    copy_directory(from, to, 0)?;
    // After the entries: making them changed the times.
    if has_mode { Ok(()) } else { keep_attributes(to, c".", &stat) }
}

fn copy_directory(from: OwnedFd, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::new(format!("tmpcopyup: more than {DEEPEST} directories deep")));
    }
    let mut directory = Dir::from_fd(from.try_clone().call(|| "dup()")?).call(|| "opendir()")?;
    for entry in directory.iter() {
        let entry = entry.call(|| "getdents()")?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from.as_fd(), to, name, depth)?;
        }
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let nofollow = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let stat =
        fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW).call(|| format!("stat({name:?})"))?;
    let private = Mode::S_IRWXU;
    match kind_of(&stat) {
        SFlag::S_IFDIR => {
            mkdirat(to, name, private).call(|| format!("mkdir({name:?})"))?;
            let flags = nofollow | OFlag::O_RDONLY | OFlag::O_DIRECTORY;
            let below =
                openat(from, name, flags, Mode::empty()).call(|| format!("open({name:?})"))?;
            let new = openat(to, name, flags, Mode::empty()).call(|| format!("open({name:?})"))?;
            copy_directory(below, new.as_fd(), depth + 1)?;
        }
        SFlag::S_IFREG => {
            // O_NONBLOCK: it may have become a FIFO meanwhile.
            let flags = nofollow | OFlag::O_RDONLY | OFlag::O_NONBLOCK;
            let source =
                openat(from, name, flags, Mode::empty()).call(|| format!("open({name:?})"))?;
            let flags = nofollow | OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
            let new = openat(to, name, flags, private).call(|| format!("create {name:?}"))?;
            std::io::copy(&mut std::fs::File::from(source), &mut std::fs::File::from(new))
                .call(|| format!("copy {name:?}"))?;
        }
        SFlag::S_IFLNK => {
            let target = readlinkat(from, name).call(|| format!("readlink({name:?})"))?;
            symlinkat(target.as_os_str(), to, name).call(|| format!("symlink({name:?})"))?;
        }
        kind => {
            mknodat(to, name, kind, private, stat.st_rdev).call(|| format!("mknod({name:?})"))?;
        }
    }
    keep_attributes(to, name, &stat)
}

/// The owner first: a change of owner clears the set-user-ID bit (chown(2)).
fn keep_attributes(directory: BorrowedFd<'_>, name: &CStr, stat: &FileStat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(directory, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
        .call(|| format!("chown({name:?})"))?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    if kind_of(stat) != SFlag::S_IFLNK {
        // Nobody else can exchange the name: the tmpfs is not mounted yet.
        fchmodat(directory, name, mode, FchmodatFlags::FollowSymlink)
            .call(|| format!("chmod({name:?})"))?;
    }
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    let nofollow = UtimensatFlags::NoFollowSymlink;
    utimensat(directory, name, &accessed, &modified, nofollow)
        .call(|| format!("utimensat({name:?})"))
}
