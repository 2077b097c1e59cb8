//! The directory of a container's cgroup, by the runtime itself: made, locked, removed.
//! cgroup-v2.rst, "Organizing Processes and Threads".

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::file::{is_gone, read, read_if_there};
use super::processes::{kill, wait_empty, wait_empty_for};
use super::walk::walk;
use super::{devices, errno};
use crate::error::{Call, Context, Error, Result};
use crate::plan::cgroup::Cgroup;
use crate::state;
use crate::sys::lock::try_lock;
use crate::sys::path::{has_attribute, open_path, set_attribute};

/// The extended attribute of a directory that was made on the way to a container's.
const MARK: &str = "trusted.hull";
/// How often a directory that is busy is tried again, each time after an event.
const ATTEMPTS: usize = 100;
/// How long an `exec` may take to see that the container has ended, in milliseconds: its helper is in
/// the cgroup, and not in the pid namespace.
const LONGEST_JOIN: u16 = 1000;

/// What `delete` will have to know of a cgroup that is not there yet. Asked before anything is made,
/// so that a creator that is killed leaves nothing that nobody knows. Nothing, if systemd makes it; and
/// nothing of one that is there, in which somebody else may be, until [`make`] has looked.
#[must_use]
pub fn remember(cgroup: &Cgroup) -> Option<state::Cgroup> {
    let directory = cgroup.directory.clone();
    let will_be_made = cgroup.scope.is_none() && !Path::new(&directory).exists();
    will_be_made.then_some(state::Cgroup { directory, made: true, scope: None })
}

/// Whether the cgroup cannot be made for want of privileges.
#[must_use]
pub fn is_denied(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
}

/// A cgroup that no other container is made in.
#[derive(Debug)]
pub struct Made {
    /// Its directory.
    pub directory: OwnedFd,
    /// By which of two containers that want it at once the second finds it taken, as long as it is
    /// open and no process is in the cgroup.
    pub lock: OwnedFd,
    /// Whether it is new; else it was there before.
    pub is_new: bool,
}

/// Makes the cgroup, with every directory that is missing, and opens it. One that is there already
/// must be unused, and is not the container's to remove.
///
/// # Errors
/// "container's cgroup is not empty", "unexpectedly frozen"; those of mkdir(2). Then nothing is left
/// of what was made, and nothing of what is there is this container's.
pub fn make(directory: &str) -> Result<Made> {
    let (parent, _) = directory.rsplit_once('/').expect("it is below the mount");
    for _ in 0..ATTEMPTS {
        make_parent(parent)?;
        let is_new = match std::fs::create_dir(directory).map_err(errno) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(Errno::ENOENT) => continue,
            Err(errno) => {
                remove_marked(parent).ok();
                return Err(Error::from_call(format!("mkdir({directory:?})"), errno));
            }
        };
        match open_and_lock(directory, is_new) {
            // The container that was in it has removed it.
            Err(error) if error.errno().is_some_and(is_gone) => {}
            Err(error) => {
                // Without an errno: somebody has it, who will remove it.
                if is_new && error.errno().is_some() {
                    std::fs::remove_dir(directory).ok();
                    remove_marked(parent).ok();
                }
                return Err(error);
            }
            made => return made,
        }
    }
    Err(Error::from_call(format!("mkdir({directory:?})"), Errno::ENOENT))
}

fn open_and_lock(directory: &str, is_new: bool) -> Result<Made> {
    let opened = open_path(directory, READ)?;
    // Not the directory: whoever may read that can hold a lock of it for ever. This file is for its
    // owner alone, and is not among those that are delegated.
    let lock = openat(&opened, "cgroup.kill", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
        .call(|| format!("open(\"{directory}/cgroup.kill\")"))?;
    if !try_lock(lock.as_fd())? {
        if is_new {
            // Who has locked it since takes it for one that was there: neither would remove it.
            set_attribute(directory, MARK, b"1").ok();
        }
        return Err(Error::new(format!(
            "container's cgroup is not empty: another container is being made in {directory:?}"
        )));
    }
    if !is_new {
        check_unused(opened.as_fd(), directory)?;
    }
    Ok(Made { directory: opened, lock, is_new })
}

pub(super) const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// A parent that is missing is made too, and marked, so that the last container in it removes it; it
/// may vanish again while another container does that.
fn make_parent(directory: &str) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match std::fs::create_dir(directory).map_err(errno) {
            Ok(()) => {
                // Without the mark it stays when the container is gone: no harm is done.
                set_attribute(directory, MARK, b"1").ok();
                return Ok(());
            }
            Err(Errno::EEXIST) => return Ok(()),
            Err(Errno::ENOENT) => {
                let (parent, _) = directory.rsplit_once('/').expect("it is below the mount");
                make_parent(parent)?;
            }
            Err(errno) => return Err(Error::from_call(format!("mkdir({directory:?})"), errno)),
        }
    }
    Err(Error::from_call(format!("mkdir({directory:?})"), Errno::ENOENT))
}

/// runtime.md, "Create": a cgroup with processes in it, or a frozen one, is not fit.
fn check_unused(cgroup: BorrowedFd<'_>, directory: &str) -> Result<()> {
    let text = |file: &str| read(cgroup, file).call(|| format!("read(\"{directory}/{file}\")"));
    // Of those below, too: a container may have moved all that it has (systemd does).
    if !is_empty(&text("cgroup.events")?) {
        let count = text("cgroup.procs")?.lines().count();
        return Err(Error::new(format!(
            "container's cgroup is not empty: {count} process(es) found in {directory:?}, or below"
        )));
    }
    if text("cgroup.freeze")?.starts_with('1') {
        return Err(Error::new(format!("container's cgroup unexpectedly frozen: {directory:?}")));
    }
    Ok(())
}

/// By cgroup.events.
fn is_empty(events: &str) -> bool {
    events.lines().any(|line| line == "populated 0")
}

/// Removes the directory of a container with all below, and those above that were made for it and are
/// empty now. What it has left in it, if it can have, is ended first. A cgroup that was there before
/// stays, without our device rules, unless it was made on the way to that of another container.
///
/// # Errors
/// "container's cgroup is not empty"; that processes do not end within ten seconds.
pub fn remove(cgroup: &state::Cgroup, has_left: bool) -> Result<()> {
    let directory = cgroup.directory.as_str();
    if cgroup.made {
        remove_own(directory, has_left)?;
    } else {
        match open_path(directory, READ) {
            Err(error) if error.errno().is_some_and(is_gone) => {}
            other => detach_if_unused(other?.as_fd())?,
        }
    }
    match directory.rsplit_once('/') {
        Some((parent, _)) if cgroup.made => remove_marked(parent),
        _ => remove_marked(directory),
    }
}

/// Who is in a cgroup that stays, of this container or of the next one, keeps the device rules; and who
/// is being made in it.
fn detach_if_unused(cgroup: BorrowedFd<'_>) -> Result<()> {
    let lock = openat(cgroup, "cgroup.kill", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty());
    match lock {
        // Who may not open it has attached no rules either.
        Err(errno) if is_gone(errno) || errno == Errno::EACCES => Ok(()),
        lock => {
            let lock = lock.call(|| "open(cgroup.kill)")?;
            // First the lock: whoever has got it after this one looks at the cgroup later, too.
            let is_free = try_lock(lock.as_fd())?;
            let events = read_if_there(cgroup, "cgroup.events").call(|| "read(cgroup.events)")?;
            match events {
                Some(events) if is_free && is_empty(&events) => devices::detach(cgroup),
                // In use, or gone since it was opened.
                _ => Ok(()),
            }
        }
    }
}

/// Removes a directory and those above it, as far as they were made on the way to a container's and
/// nothing else is in them.
fn remove_marked(directory: &str) -> Result<()> {
    let mut level = directory;
    while has_attribute(level, MARK) {
        match std::fs::remove_dir(level).map_err(errno) {
            Ok(()) => {}
            Err(errno) if is_gone(errno) => {}
            // Another container is in it, and will remove it.
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => break,
            Err(errno) => return Err(Error::from_call(format!("rmdir({level:?})"), errno)),
        }
        level = level.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    Ok(())
}

/// `has_left`: what is in it still may be the container's, and is ended.
pub(super) fn remove_own(directory: &str, has_left: bool) -> Result<()> {
    match std::fs::remove_dir(directory).map_err(errno) {
        Ok(()) => return Ok(()),
        Err(errno) if is_gone(errno) => return Ok(()),
        Err(Errno::EBUSY) => {}
        Err(errno) => return Err(Error::from_call(format!("rmdir({directory:?})"), errno)),
    }
    if has_left {
        kill(directory)?;
        wait_empty(directory)?;
    } else {
        let not_empty = || "container's cgroup is not empty, though the container has ended";
        wait_empty_for(directory, LONGEST_JOIN).context(not_empty)?;
    }
    for _ in 0..ATTEMPTS {
        match remove_tree(directory) {
            Ok(()) => return Ok(()),
            Err(errno) if is_gone(errno) => return Ok(()),
            // A process that has ended is counted until its parent, or the kernel, lets it go.
            Err(Errno::EBUSY) => wait_empty(directory)?,
            Err(errno) => return Err(Error::from_call(format!("rmdir({directory:?})"), errno)),
        }
    }
    Err(Error::from_call(format!("rmdir({directory:?})"), Errno::EBUSY))
}

fn remove_tree(directory: &str) -> nix::Result<()> {
    let top = openat(AT_FDCWD, directory, READ, Mode::empty())?;
    let remove = |above: BorrowedFd<'_>, name: &CStr| match unlinkat(
        above,
        name,
        UnlinkatFlags::RemoveDir,
    ) {
        Err(errno) if is_gone(errno) => Ok(()),
        other => other,
    };
    walk(top, |_| Ok(()), remove)?;
    std::fs::remove_dir(directory).map_err(errno)
}
