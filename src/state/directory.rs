//! The directory of a container, and the one that all of them are in.
//!
//! It is claimed by mkdir(2), which lets one of two creators win, and locked while `create` is at
//! work, so that a creator that was killed is told from one that is busy. `state.json` in it is
//! always whole: written beside and renamed.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::fifo::FIFO;
use super::{Container, Record};
use crate::error::{Call, Context, Error, Result};
use crate::sys::lock::{is_unlocked, lock, unlock};
use crate::sys::path::open_directory;

const RECORD: &str = "state.json";
const NEW_RECORD: &str = "state.json.new";
const CONFIG: &str = "config.json";
/// How long another operation on a container may take, in seconds.
const LONGEST_WAIT: u32 = 10;
/// The directory of the socket for sd_notify(3).
pub const NOTIFY: &str = "notify";
const NOTIFY_SOCKET: &str = "notify/notify.sock";

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
        // Sticky: what cleans $XDG_RUNTIME_DIR passes it over (XDG Base Directory Specification).
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o1700).create(path);
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
        directory.lock()?;
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
        let mut record = directory.read()?;
        let is_creating = record.pid == 0 && !is_unlocked(directory.as_fd())?;
        if record.pid == 0 && !is_creating {
            // Its creator may have recorded it since, and gone.
            record = directory.read()?;
        }
        Ok(Container { directory, record, is_creating })
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

fn lock_within(file: BorrowedFd<'_>) -> Result<()> {
    if lock(file, LONGEST_WAIT)? {
        return Ok(());
    }
    Err(Error::new("another operation on this container is at work"))
}

impl Directory {
    /// What is remembered now.
    ///
    /// # Errors
    /// That it cannot be read.
    pub fn read(&self) -> Result<Record> {
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
        self.prepare(record)?;
        self.commit()
    }

    /// Stores the record, for [`Directory::commit`].
    ///
    /// # Errors
    /// ENOSPC and the like.
    pub fn prepare(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).expect("a record holds nothing that JSON does not");
        self.write_file(NEW_RECORD, &text)
    }

    /// From here on the record that was prepared last is read.
    ///
    /// # Errors
    /// Those of rename(2).
    pub fn commit(&self) -> Result<()> {
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

    /// Locks the directory against a `create`, `start` or `delete` at the same time, for which it
    /// waits at most ten seconds.
    ///
    /// # Errors
    /// "another operation on this container is at work"; those of flock(2).
    pub fn lock(&self) -> Result<()> {
        lock_within(self.as_fd())
    }

    /// Locks the record of a container that was created, against another operation that changes its
    /// cgroup; waits as [`Directory::lock`], which a `start` may hold as long as a program takes to say
    /// that it is ready. Not a file of the cgroup: whoever may open one could hold its lock for ever.
    ///
    /// # Errors
    /// As [`Directory::lock`]; that the container was deleted.
    pub fn lock_cgroup(&self) -> Result<OwnedFd> {
        let file = openat(&self.fd, RECORD, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| format!("open(\"{}/{RECORD}\")", self.path))?;
        lock_within(file.as_fd()).map(|()| file)
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
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
