//! Paths inside a rootfs. Everything in a rootfs is hostile: it may be a symbolic link to a file
//! of the host, and it may change while it is looked at. So a path there is never a string given
//! to the kernel, but a descriptor, found by openat2(2) with RESOLVE_IN_ROOT or by single steps
//! that follow nothing (CVE-2021-30465, CVE-2024-45310).

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};

use crate::error::{Call, Error, Result};

/// openat2(2) answers EAGAIN when a rename anywhere raced a ".."; nothing escaped then.
const ATTEMPTS: usize = 128;
/// As many symbolic links as the kernel itself follows (path_resolution(7)).
pub const MAX_LINKS: usize = 40;

const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
const STEP: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A directory that no path given to it can leave.
#[derive(Debug)]
pub struct InRoot(OwnedFd);

/// What [`InRoot::make`] leaves at the end of a path that does not exist yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// An empty directory.
    Directory,
    /// An empty file.
    File,
}

/// Which kind of file it is: one of S_IFREG, S_IFDIR and so on (inode(7)).
#[must_use]
pub fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Opens with openat2(2), again while a rename races it.
///
/// # Errors
/// Those of openat2(2): ELOOP for a symbolic link that `resolve` forbids, EXDEV for a mount.
pub fn open_beneath(
    directory: BorrowedFd<'_>,
    path: &str,
    flags: OFlag,
    resolve: ResolveFlag,
) -> Result<OwnedFd> {
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let path = if path.is_empty() { "." } else { path };
    let mut attempts = 0;
    loop {
        match openat2(directory, path, how) {
            Err(Errno::EAGAIN) if attempts < ATTEMPTS => attempts += 1,
            other => return other.call(|| format!("openat2({path:?}, {flags:?}, {resolve:?})")),
        }
    }
}

impl InRoot {
    /// Takes the directory that paths are to stay in.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self(root)
    }

    /// Opens what is at `path`, following symbolic links as the container would see them, but
    /// none of the magic ones of procfs.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn open(&self, path: &str, flags: OFlag) -> Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        open_beneath(self.as_fd(), path, flags, resolve)
    }

    /// Opens what is at `path` if no part of it is a symbolic link.
    ///
    /// # Errors
    /// Those of openat2(2); ELOOP for a symbolic link.
    pub fn open_no_symlinks(&self, path: &str, flags: OFlag) -> Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
        open_beneath(self.as_fd(), path, flags, resolve)
    }

    /// Opens `path` (O_PATH), and first makes what is missing of it, with mode 0755. A dangling
    /// symbolic link is followed inside the root, and what it names is made: images have
    /// `/etc/resolv.conf` pointing into a `/run` that is still empty.
    ///
    /// # Errors
    /// Those of openat2(2), mkdirat(2); ENOTDIR where a file is in the way; ELOOP.
    pub fn make(&self, path: &str, leaf: Leaf) -> Result<OwnedFd> {
        match self.open(path, OFlag::O_PATH) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => self.make_by_steps(path, leaf),
            other => other,
        }
    }

    fn make_by_steps(&self, path: &str, leaf: Leaf) -> Result<OwnedFd> {
        let mut rest = Rest::of(path.as_bytes());
        // The way from the root to here, so that ".." is a step back on it and never the kernel's,
        // which would follow a directory that was moved out of the root.
        let mut way: Vec<OwnedFd> = Vec::new();
        while let Some(name) = rest.pop().map(OsString::from_vec) {
            if name == ".." {
                way.pop();
                continue;
            }
            let is_leaf = rest.is_empty();
            let here = way.last().map_or(self.as_fd(), AsFd::as_fd);
            let next = step(here, &name, if is_leaf { leaf } else { Leaf::Directory })
                .map_err(|error| error.context(format!("make {path:?} in the rootfs")))?;
            let stat = fstat(&next).call(|| format!("fstat({name:?})"))?;
            if kind_of(&stat) != SFlag::S_IFLNK {
                way.push(next);
                continue;
            }
            refuse_magic_link(here, &name)?;
            let target = readlinkat(&next, "").call(|| format!("readlinkat({name:?})"))?;
            if rest.follow(target.as_bytes()).call(|| format!("make {path:?}"))? {
                way.clear();
            }
        }
        match way.pop() {
            Some(fd) => Ok(fd),
            None => self.open(".", OFlag::O_PATH),
        }
    }
}

/// What is left to walk of a path whose symbolic links are followed by hand, one name after the other.
#[derive(Debug)]
pub struct Rest {
    /// The next one is the last.
    names: Vec<Vec<u8>>,
    /// How many links were followed.
    links: usize,
}

impl Rest {
    /// All of a path.
    #[must_use]
    pub fn of(path: &[u8]) -> Self {
        let mut rest = Self { names: Vec::new(), links: 0 };
        rest.prepend(path);
        rest
    }

    /// The next name: never empty, never `.`; `..` is for the caller to take.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.names.pop()
    }

    /// Whether the name that was taken is the last one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name that was taken is a symbolic link, and what it says comes before what is left. Whether
    /// it begins at the root.
    ///
    /// # Errors
    /// ELOOP after [`MAX_LINKS`] of them.
    pub fn follow(&mut self, target: &[u8]) -> nix::Result<bool> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP);
        }
        self.prepend(target);
        Ok(target.starts_with(b"/"))
    }

    fn prepend(&mut self, path: &[u8]) {
        let names = path.rsplit(|byte| *byte == b'/');
        self.names.extend(names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec));
    }
}

/// A magic link of procfs is no text to follow: what it leads to need not have a name in the root
/// (CVE-2024-21626).
fn refuse_magic_link(directory: BorrowedFd<'_>, name: &OsString) -> Result<()> {
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
    match openat2(directory, name.as_os_str(), how) {
        Err(Errno::ELOOP) => Err(Error::from_call(format!("follow {name:?}"), Errno::ELOOP)),
        _ => Ok(()),
    }
}

/// Opens one name in a directory, without following it; makes it if it is not there.
fn step(directory: BorrowedFd<'_>, name: &OsString, missing: Leaf) -> Result<OwnedFd> {
    match openat(directory, name.as_os_str(), STEP, Mode::empty()) {
        Err(Errno::ENOENT) => {}
        other => return other.call(|| format!("openat({name:?}, O_PATH|O_NOFOLLOW)")),
    }
    let made = match missing {
        Leaf::Directory => mkdirat(directory, name.as_os_str(), Mode::from_bits_truncate(0o755)),
        Leaf::File => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(directory, name.as_os_str(), flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    };
    match made {
        // Somebody else made it: it is opened without following, like anything that was there.
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(Error::from_call(format!("create {name:?}"), errno)),
    }
    openat(directory, name.as_os_str(), STEP, Mode::empty())
        .call(|| format!("openat({name:?}, O_PATH|O_NOFOLLOW)"))
}

impl AsFd for InRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Opens a directory of the runtime namespace (O_PATH).
///
/// # Errors
/// ENOTDIR if it is something else; those of open(2).
pub fn open_directory(path: &str) -> Result<OwnedFd> {
    open_path(path, DIRECTORY)
}

/// Opens a file of the runtime namespace that exists, with close-on-exec.
///
/// # Errors
/// Those of open(2).
pub fn open_path(path: &str, flags: OFlag) -> Result<OwnedFd> {
    // Not open(2): musl's sets close-on-exec a second time, with a call of its own.
    openat(AT_FDCWD, path, flags | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?}, {flags:?})"))
}

/// The absolute path of an open file of the runtime namespace, as UTF-8: one call, where realpath(3)
/// makes one for each part.
///
/// # Errors
/// Those of readlink(2); that it is no UTF-8, which JSON could not hold.
pub fn real_path(file: BorrowedFd<'_>) -> Result<String> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = readlinkat(AT_FDCWD, link.as_str()).call(|| format!("readlink({link:?})"))?;
    path.into_string().map_err(|path| Error::new(format!("{path:?} is no UTF-8")))
}

/// Sets an extended attribute of a directory of the runtime namespace (xattr(7)).
///
/// # Errors
/// ENOTSUP where the filesystem has none; EPERM.
pub fn set_attribute(path: &str, name: &str, value: &[u8]) -> Result<()> {
    let set = |path: &CStr, name: &CStr| {
        let (value, length) = (value.as_ptr().cast(), value.len());
        // SAFETY: live C strings, and as many bytes as the length says.
        Errno::result(unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value, length, 0) })
    };
    let result = path.with_nix_path(|path| name.with_nix_path(|name| set(path, name)));
    result.and_then(|r| r).and_then(|r| r).map(drop).call(|| format!("setxattr({path:?}, {name})"))
}

/// Whether a directory of the runtime namespace has an extended attribute.
#[must_use]
pub fn has_attribute(path: &str, name: &str) -> bool {
    let get = |path: &CStr, name: &CStr| {
        // SAFETY: live C strings; with a length of 0 nothing is written.
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
    };
    let result = path.with_nix_path(|path| name.with_nix_path(|name| get(path, name)));
    result.and_then(|r| r).unwrap_or(false)
}

/// Writes what is in memory of a file's filesystem to its disk (syncfs(2)).
///
/// # Errors
/// EIO, ENOSPC, EDQUOT: of any write of this filesystem since it was opened.
pub fn sync_filesystem(file: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: a number.
    Errno::result(unsafe { libc::syncfs(file.as_raw_fd()) }).map(drop).call(|| "syncfs()")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hull-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root")).unwrap();
            Self(path)
        }
        fn root(&self) -> InRoot {
            InRoot::new(open_directory(self.0.join("root").to_str().unwrap()).unwrap())
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_link_out_of_the_root_stays_inside() {
        let scratch = Scratch::new("outside");
        let inside = scratch.0.join("root");
        symlink(&scratch.0, inside.join("absolute")).unwrap();
        symlink("../../../..", inside.join("relative")).unwrap();
        for path in ["absolute/made", "relative/made-too", "/../../third"] {
            scratch.root().make(path, Leaf::Directory).unwrap();
        }
        assert!(inside.join(scratch.0.strip_prefix("/").unwrap()).join("made").is_dir());
        assert!(inside.join("made-too").is_dir());
        assert!(inside.join("third").is_dir());
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn a_dangling_link_is_followed_inside_and_its_target_made() {
        let scratch = Scratch::new("dangling");
        let inside = scratch.0.join("root");
        fs::create_dir(inside.join("etc")).unwrap();
        symlink("../run/resolve/resolv.conf", inside.join("etc/resolv.conf")).unwrap();
        scratch.root().make("/etc/resolv.conf", Leaf::File).unwrap();
        assert!(inside.join("run/resolve/resolv.conf").is_file());
    }

    #[test]
    fn what_a_link_says_comes_before_what_is_left() {
        let mut rest = Rest::of(b"/a//./b/");
        assert_eq!(rest.pop().unwrap(), b"a");
        assert!(!rest.follow(b"../c").unwrap());
        let names: Vec<_> = std::iter::from_fn(|| rest.pop()).collect();
        assert_eq!(names, [&b".."[..], b"c", b"b"]);
        assert!(rest.is_empty());
        for _ in 1..MAX_LINKS {
            assert!(rest.follow(b"/").unwrap());
        }
        assert_eq!(rest.follow(b"/"), Err(Errno::ELOOP));
    }

    #[test]
    fn a_loop_and_a_file_in_the_way_are_errors() {
        let scratch = Scratch::new("loop");
        let inside = scratch.0.join("root");
        symlink("b", inside.join("a")).unwrap();
        symlink("a", inside.join("b")).unwrap();
        fs::write(inside.join("file"), "").unwrap();
        let error = |path| scratch.root().make(path, Leaf::Directory).unwrap_err().errno();
        assert_eq!(error("a/x"), Some(Errno::ELOOP));
        assert_eq!(error("file/x"), Some(Errno::ENOTDIR));
    }
}
