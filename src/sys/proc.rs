//! Files under /proc. Whoever can mount over them turns a write into a write elsewhere
//! (CVE-2019-16884, CVE-2025-52881). The runtime uses the procfs of its own mount namespace, on
//! which no container mounts anything, before the root changes; where somebody did mount over it
//! (a nested container), a detached procfs; where that is refused too, what is there, if the file
//! that was opened is on a procfs after all.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, ResolveFlag, readlinkat};
use nix::sys::stat::Mode;

use super::mount::{filesystem_magic, fsopen};
use super::path::{open_beneath, open_directory};
use crate::error::{Call, Error, Result};

/// PROC_SUPER_MAGIC (statfs(2)).
pub const PROC_MAGIC: i64 = 0x9fa0;
/// A file of procfs is a line, or a few.
const LONGEST: usize = 64 * 1024;

/// A procfs that a container cannot have mounted over.
#[derive(Debug)]
pub struct Procfs {
    root: OwnedFd,
}

impl Procfs {
    /// The procfs of the runtime namespace.
    ///
    /// # Errors
    /// Those of open(2), or that /proc is no procfs.
    pub fn open() -> Result<Self> {
        let root = open_directory("/proc")?;
        check(&root, "")?;
        Ok(Self { root })
    }

    /// The pid of this process in the pid namespace of this procfs.
    ///
    /// # Errors
    /// ENOENT, if it has none there.
    pub fn own_number(&self) -> Result<String> {
        let number = readlinkat(&self.root, "self").call(|| "readlink(\"/proc/self\")")?;
        Ok(number.to_string_lossy().into_owned())
    }

    /// Opens a file: `path` is relative to /proc. `self` at its start is this process.
    ///
    /// # Errors
    /// Those of openat2(2), or that the file is not on a procfs.
    pub fn file(&self, path: &str, flags: OFlag) -> Result<OwnedFd> {
        // "self" is a symbolic link, though no magic one: its target is another name in /proc.
        let (directory, rest) = match path.strip_prefix("self/") {
            Some(rest) => (self.own_number()? + "/", rest),
            None => (String::new(), path),
        };
        let path = format!("{directory}{rest}");
        let strict = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_XDEV
            | ResolveFlag::RESOLVE_NO_SYMLINKS;
        match open_beneath(self.root.as_fd(), &path, flags, strict) {
            Err(error) if error.errno() == Some(Errno::EXDEV) => {
                self.file_below_a_mount(rest, &path, flags)
            }
            other => other,
        }
    }

    /// Something is mounted over the path. Loses: nothing if a procfs of our own can be mounted;
    /// else the certainty that the file is the one of this name.
    fn file_below_a_mount(&self, rest: &str, path: &str, flags: OFlag) -> Result<OwnedFd> {
        if let Ok(own) = fsopen("proc").and_then(|context| context.mount(0)) {
            // In a procfs of this pid namespace the process may have another number.
            let path = if rest == path {
                rest.to_owned()
            } else {
                format!("{}/{rest}", nix::unistd::getpid())
            };
            let strict = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV;
            return open_beneath(
                own.as_fd(),
                &path,
                flags,
                strict | ResolveFlag::RESOLVE_NO_SYMLINKS,
            );
        }
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let file = open_beneath(self.root.as_fd(), path, flags, resolve)?;
        check(&file, path)?;
        Ok(file)
    }

    /// Opens the target of a magic link, such as `self/ns/net`, of which `path` is the name: the
    /// link itself is on this procfs.
    ///
    /// # Errors
    /// Those of [`Procfs::file`].
    pub fn magic_file(&self, path: &str) -> Result<OwnedFd> {
        let (directory, name) = path.rsplit_once('/').unwrap_or((".", path));
        let directory = self.file(directory, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&directory, name, flags, Mode::empty())
            .call(|| format!("open(\"/proc/{path}\")"))
    }

    /// Writes a value in one call, as procfs wants it.
    ///
    /// # Errors
    /// Those of [`Procfs::file`] and write(2).
    pub fn write(&self, path: &str, value: &str) -> Result<()> {
        let file = self.file(path, OFlag::O_WRONLY)?;
        nix::unistd::write(&file, value.as_bytes())
            .map(drop)
            .call(|| format!("write(\"/proc/{path}\", {value:?})"))
    }

    /// Reads a file of at most 64 KiB.
    ///
    /// # Errors
    /// Those of [`Procfs::file`] and read(2).
    pub fn read(&self, path: &str) -> Result<String> {
        let file = self.file(path, OFlag::O_RDONLY)?;
        read_all(&file).call(|| format!("read(\"/proc/{path}\")"))
    }
}

fn check(file: &OwnedFd, path: &str) -> Result<()> {
    if filesystem_magic(file)? == PROC_MAGIC {
        return Ok(());
    }
    Err(Error::new(format!("/proc/{path} is not on a procfs")))
}

fn read_all(file: &OwnedFd) -> nix::Result<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match nix::unistd::read(file, &mut buffer)? {
            0 => break,
            _ if text.len() > LONGEST => return Err(Errno::EFBIG),
            length => text.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

const FORK_NO_EXEC: u32 = 0x40;

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Field 3: `Z` and `X` are processes that have ended.
    pub state: u8,
    /// Whether it has executed something since it was born (field 9, PF_FORKNOEXEC of linux/sched.h).
    /// It can be seen of one that has ended, too.
    pub has_executed: bool,
    /// Field 22, in clock ticks since boot: with the pid it names one process.
    pub start_time: u64,
}

/// Looks at a process; `None` if there is no process of that pid.
///
/// # Errors
/// Those of open(2) and read(2) other than that there is no such process.
pub fn process_stat(pid: i32) -> Result<Option<ProcessStat>> {
    let path = format!("/proc/{pid}/stat");
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    // 52 numbers: one read takes them all.
    let mut buffer = [0; 2048];
    let read = nix::fcntl::openat(AT_FDCWD, path.as_str(), flags, Mode::empty())
        .and_then(|file| nix::unistd::read(&file, &mut buffer));
    match read {
        Ok(length) => Ok(parse_stat(&buffer[..length])),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(errno) => Err(Error::from_call(format!("read({path:?})"), errno)),
    }
}

fn parse_stat(text: &[u8]) -> Option<ProcessStat> {
    // The second field, the name, is in parentheses and may itself hold any character.
    let after = text.iter().rposition(|byte| *byte == b')')? + 2;
    let mut fields = std::str::from_utf8(text.get(after..)?).ok()?.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    Some(ProcessStat { state, has_executed: flags & FORK_NO_EXEC == 0, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"7 (a) S 1 (b) R 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat, ProcessStat { state: b'R', has_executed: true, start_time: 4242 });
    }

    #[test]
    fn this_process_is_running_and_pid_0_is_nobody() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(process_stat(pid).unwrap().is_some_and(|stat| stat.has_executed));
        assert_eq!(process_stat(0).unwrap(), None);
    }

    #[test]
    fn a_file_of_this_process_is_read_through_the_procfs() {
        let procfs = Procfs::open().unwrap();
        assert!(procfs.read("self/status").unwrap().starts_with("Name:"));
        assert!(procfs.read("self/cwd/x").is_err());
    }
}
