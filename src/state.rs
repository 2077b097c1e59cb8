//! The memory: one directory a container, below `--root`.
//!
//! The directory is claimed by mkdir(2), which lets one of two creators win, and locked while
//! `create` is at work, so that a creator that was killed is told from one that is busy. In it are
//! `state.json`, always whole (written beside and renamed), and `exec.fifo`, on whose reading end
//! init waits for `start`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, mkfifoat, unlinkat};
use serde::{Deserialize, Serialize};

use crate::container::cgroup::freezer;
use crate::error::{Call, Context, Error, Result};
use crate::lifecycle::Status;
use crate::spec;
use crate::spec::config::Hooks;
use crate::sys::lock::{is_unlocked, lock, unlock};
use crate::sys::path::open_directory;
use crate::sys::proc::process_stat;

/// How long another operation on a container may take, in seconds.
pub const LONGEST_WAIT: u32 = 10;
const RECORD: &str = "state.json";
const NEW_RECORD: &str = "state.json.new";
const CONFIG: &str = "config.json";
const FIFO: &str = "exec.fifo";
/// The directory of the socket for sd_notify(3).
pub const NOTIFY: &str = "notify";
const NOTIFY_SOCKET: &str = "notify/notify.sock";

/// What is remembered of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container's id.
    pub id: String,
    /// The container process; 0 until it exists.
    pub pid: i32,
    /// Its start time (proc_pid_stat(5), field 22): a reused pid has another.
    pub start_time: u64,
    /// The absolute path of the bundle.
    pub bundle: String,
    /// The absolute path of the root filesystem.
    pub rootfs: String,
    /// RFC 3339.
    pub created: String,
    /// Those of the config.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup, if the container has one of its own.
    pub cgroup: Option<Cgroup>,
    /// The name of its session keyring, if it has one of its own.
    #[serde(default)]
    pub keyring: Option<String>,
    /// Whether the pid namespace is the container's own, so that its processes end with init.
    pub own_pid_namespace: bool,
    /// Whether there is a program to start.
    pub has_process: bool,
    /// The hooks of start and delete.
    pub hooks: Hooks,
}

/// What `delete` has to know of a cgroup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its absolute directory.
    pub directory: String,
    /// Whether it was made for this container; else it was there before, and stays.
    pub made: bool,
    /// The scope that it is, if systemd made it.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// What `update` and `delete` have to know of a scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scope {
    /// The name of the unit.
    pub unit: String,
    /// The user whose service manager made it, if it was not that of the system.
    pub user: Option<u32>,
    /// The inode of the directory. systemd ends a scope with its last process: another one may have
    /// the name then.
    pub inode: u64,
}

/// The directory of `--root`.
#[derive(Debug)]
pub struct Root {
    path: String,
    fd: OwnedFd,
}

/// The directory of one container.
#[derive(Debug)]
pub struct Directory {
    /// The container's id.
    pub id: String,
    /// Its absolute path.
    pub path: String,
    fd: OwnedFd,
    root: OwnedFd,
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub directory: Directory,
    /// What is remembered.
    pub record: Record,
}

/// Whether a text may be an id: it becomes the name of a directory and of a cgroup.
///
/// # Errors
/// The words of runc.
pub fn check_id(id: &str) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    // 255 is NAME_MAX, and "state.json" below it is no concern of the id.
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.bytes().all(is_allowed) {
        return Err(Error::new(format!("invalid container ID format: {id:?}")));
    }
    Ok(())
}

impl Root {
    /// Opens the directory; `None` if it does not exist.
    ///
    /// # Errors
    /// Those of open(2), or that others may write to it.
    pub fn open(path: &str) -> Result<Option<Self>> {
        match open_directory(path) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.context("state directory")),
            Ok(fd) => {
                let root = Self { path: path.to_owned(), fd };
                root.check().context(|| format!("state directory {path:?}"))?;
                Ok(Some(root))
            }
        }
    }

    /// Opens the directory, and makes it if it is missing.
    ///
    /// # Errors
    /// Those of mkdir(2) and open(2), or that others may write to it.
    pub fn make(path: &str) -> Result<Self> {
        if let Some(root) = Self::open(path)? {
            return Ok(root);
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.call(|| format!("mkdir({path:?})")).context(|| "state directory")?;
        Self::open(path)?.ok_or_else(|| Error::new(format!("{path:?} was removed meanwhile")))
    }

    /// Whoever can write here decides what is signalled and removed.
    fn check(&self) -> Result<()> {
        let stat = fstat(&self.fd).call(|| "fstat()")?;
        let own = nix::unistd::geteuid().as_raw();
        if stat.st_uid != own && stat.st_uid != 0 {
            return Err(Error::new(format!("belongs to user {}, not to {own}", stat.st_uid)));
        }
        if stat.st_mode & 0o022 != 0 {
            let mode = stat.st_mode & 0o7777;
            return Err(Error::new(format!("others may write to it (mode {mode:04o})")));
        }
        Ok(())
    }

    /// Claims an id for a new container.
    ///
    /// # Errors
    /// "container with given ID already exists"; those of mkdir(2).
    pub fn claim(self, id: &str) -> Result<Directory> {
        match mkdirat(&self.fd, id, Mode::from_bits_truncate(0o711)) {
            Err(Errno::EEXIST) => {
                return Err(Error::new("container with given ID already exists"));
            }
            other => other.call(|| format!("mkdir(\"{}/{id}\")", self.path))?,
        }
        let directory = self.directory(id)?;
        // Whoever has it only looks, and gives it back at once.
        if !directory.lock(LONGEST_WAIT)? {
            return Err(Error::new("another operation on this container is at work"));
        }
        Ok(directory)
    }

    /// Opens the directory of a container.
    ///
    /// # Errors
    /// ENOENT, if there is none.
    pub fn directory(self, id: &str) -> Result<Directory> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let path = format!("{}/{id}", self.path);
        let fd = openat(&self.fd, id, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
        Ok(Directory { id: id.to_owned(), path, fd, root: self.fd })
    }

    /// Finds a container.
    ///
    /// # Errors
    /// "container does not exist"; a record that cannot be read.
    pub fn container(self, id: &str) -> Result<Container> {
        let directory = match self.directory(id) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => {
                return Err(Error::new("container does not exist"));
            }
            other => other?,
        };
        let record = directory.read()?;
        Ok(Container { directory, record })
    }

    /// The ids of all containers, sorted, each with the user who owns it.
    ///
    /// # Errors
    /// Those of reading the directory.
    pub fn ids(&self) -> Result<Vec<(String, u32)>> {
        let mut ids = Vec::new();
        let entries = std::fs::read_dir(&self.path).call(|| format!("open({:?})", self.path))?;
        for entry in entries {
            let entry = entry.call(|| format!("getdents({:?})", self.path))?;
            // One that was deleted meanwhile is no error.
            let Ok(metadata) = entry.metadata() else { continue };
            if let (true, Ok(id)) = (metadata.is_dir(), entry.file_name().into_string()) {
                ids.push((id, metadata.uid()));
            }
        }
        ids.sort();
        Ok(ids)
    }
}

impl Directory {
    fn read(&self) -> Result<Record> {
        let path = || format!("{}/{RECORD}", self.path);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(&self.fd, RECORD, flags, Mode::empty()) {
            Ok(file) => {
                let mut text = Vec::new();
                File::from(file).read_to_end(&mut text).call(|| format!("read({:?})", path()))?;
                serde_json::from_slice(&text)
                    .map_err(|error| Error::new(format!("{:?}: {error}", path())))
            }
            // Claimed, and nothing else done yet: the creator is at work, or was killed.
            Err(Errno::ENOENT) => Ok(Record { id: self.id.clone(), ..Record::default() }),
            Err(errno) => Err(Error::from_call(format!("open({:?})", path()), errno)),
        }
    }

    /// Stores the record: whoever reads it sees the old one or the new one, never a part.
    ///
    /// # Errors
    /// ENOSPC and the like.
    pub fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).expect("a record holds nothing that JSON does not");
        self.write_file(NEW_RECORD, &text)?;
        renameat(&self.fd, NEW_RECORD, &self.fd, RECORD)
            .call(|| format!("rename(\"{}/{NEW_RECORD}\")", self.path))
    }

    /// Stores the text of the config that the container is made of, before it is recorded whole:
    /// what the bundle says later is not about this container.
    ///
    /// # Errors
    /// ENOSPC and the like.
    pub fn write_config(&self, text: &str) -> Result<()> {
        self.write_file(CONFIG, text.as_bytes())
    }

    /// The path of what [`Directory::write_config`] has stored.
    #[must_use]
    pub fn config(&self) -> String {
        format!("{}/{CONFIG}", self.path)
    }

    fn write_file(&self, name: &str, mut text: &[u8]) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let path = || format!("{}/{name}", self.path);
        let file = openat(&self.fd, name, flags, Mode::from_bits_truncate(0o600))
            .call(|| format!("open({:?})", path()))?;
        while !text.is_empty() {
            let written =
                nix::unistd::write(&file, text).call(|| format!("write({:?})", path()))?;
            text = &text[written..];
        }
        Ok(())
    }

    /// Makes exec.fifo and opens it for reading and writing, which waits for nobody (fifo(7)).
    ///
    /// # Errors
    /// ENOSPC and the like.
    pub fn make_fifo(&self) -> Result<OwnedFd> {
        let path = || format!("{}/{FIFO}", self.path);
        mkfifoat(&self.fd, FIFO, Mode::from_bits_truncate(0o600))
            .call(|| format!("mkfifo({:?})", path()))?;
        openat(&self.fd, FIFO, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| format!("open({:?}, O_RDWR)", path()))
    }

    /// Opens a side of exec.fifo without waiting. For writing, `None` says that nobody has it open
    /// for reading: init has executed the program, or has ended.
    ///
    /// # Errors
    /// Those of open(2) other than ENXIO and ENOENT.
    pub fn open_fifo(&self, side: OFlag) -> Result<Option<OwnedFd>> {
        let flags = side | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match openat(&self.fd, FIFO, flags, Mode::empty()) {
            Err(Errno::ENXIO | Errno::ENOENT) => Ok(None),
            other => other.map(Some).call(|| format!("open(\"{}/{FIFO}\")", self.path)),
        }
    }

    /// Makes the directory that the container sees as /run/notify.
    ///
    /// # Errors
    /// ENOSPC and the like.
    pub fn make_notify(&self) -> Result<()> {
        mkdirat(&self.fd, NOTIFY, Mode::from_bits_truncate(0o755))
            .call(|| format!("mkdir(\"{}/{NOTIFY}\")", self.path))
    }

    /// Whether the directory is still the one of this name: it may have been deleted, and the id
    /// claimed again, since it was opened. If it is not, nothing of that name is ours.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn is_current(&self) -> Result<bool> {
        let own = fstat(&self.fd).call(|| "fstat()")?;
        match fstatat(&self.root, self.id.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(named) => Ok((named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Error::from_call(format!("stat({:?})", self.path), errno)),
        }
    }

    /// Locks the directory against a `create` or `delete` at the same time; waits for it at most so
    /// many seconds. Whether it is locked now.
    ///
    /// # Errors
    /// Those of flock(2).
    pub fn lock(&self, seconds: u32) -> Result<bool> {
        lock(self.as_fd(), seconds)
    }

    /// Gives the lock back.
    ///
    /// # Errors
    /// Those of flock(2).
    pub fn unlock(&self) -> Result<()> {
        unlock(self.as_fd())
    }

    /// The user id of who created the container.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn owner(&self) -> Result<u32> {
        fstat(&self.fd).map(|stat| stat.st_uid).call(|| "fstat()")
    }

    /// Removes exec.fifo, when the program was started.
    pub fn remove_fifo(&self) {
        // Without a reader it means the same as if it were not there.
        unlinkat(&self.fd, FIFO, UnlinkatFlags::NoRemoveDir).ok();
    }

    /// Removes the directory and all in it.
    ///
    /// # Errors
    /// EROFS and the like.
    pub fn remove(&self) -> Result<()> {
        let file = UnlinkatFlags::NoRemoveDir;
        for (name, kind) in [
            (RECORD, file),
            (FIFO, file),
            (NEW_RECORD, file),
            (CONFIG, file),
            (NOTIFY_SOCKET, file),
            (NOTIFY, UnlinkatFlags::RemoveDir),
        ] {
            match unlinkat(&self.fd, name, kind) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    let call = format!("unlink(\"{}/{name}\")", self.path);
                    return Err(Error::from_call(call, errno));
                }
            }
        }
        match unlinkat(&self.root, self.id.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::from_call(format!("rmdir({:?})", self.path), errno)),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Container {
    /// Where the container is in its life, as the kernel tells it now.
    ///
    /// # Errors
    /// Those of looking at the process.
    pub fn status(&self) -> Result<Status> {
        if self.record.pid == 0 {
            // No creator has the lock any more: it was killed, and its init with it.
            let is_free = is_unlocked(self.directory.as_fd())?;
            return Ok(if is_free { Status::Stopped } else { Status::Creating });
        }
        if !self.is_alive()? {
            return Ok(Status::Stopped);
        }
        if let Some(cgroup) = &self.record.cgroup
            && freezer::is_frozen(&cgroup.directory)?
        {
            return Ok(Status::Paused);
        }
        let fifo = self.directory.open_fifo(OFlag::O_WRONLY)?;
        Ok(if fifo.is_some() { Status::Created } else { Status::Running })
    }

    /// Whether the container process has not ended: it has the pid and the start time of the
    /// record, and is no zombie.
    ///
    /// # Errors
    /// Those of reading /proc/PID/stat.
    pub fn is_alive(&self) -> Result<bool> {
        let stat = process_stat(self.record.pid)?;
        Ok(stat.is_some_and(|stat| {
            stat.start_time == self.record.start_time && !b"ZXx".contains(&stat.state)
        }))
    }
}

impl Record {
    /// The state object as hooks get it.
    #[must_use]
    pub fn hook_state(&self, status: Status) -> String {
        let state = self.state(status, "");
        serde_json::to_string(&state).expect("a state holds nothing that JSON does not")
    }

    /// The state object, in a status.
    #[must_use]
    pub fn state<'a>(&'a self, status: Status, owner: &'a str) -> spec::state::State<'a> {
        spec::state::State {
            oci_version: spec::VERSION,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.word(),
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_id;

    #[test]
    fn an_id_is_one_plain_name() {
        for id in ["a", "A-b_c.d+1", "...", "-a", "_"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../a", "a b", "a\0b", "é", "a\n", &"a".repeat(256)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }
}
