//! The directory of a container's cgroup, by the runtime itself: made, locked, removed.
//! cgroup-v2.rst, "Organizing Processes and Threads".

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::processes::{kill, wait_empty};
use super::{devices, errno};
use crate::error::{Call, Error, Result};
use crate::plan::cgroup::Cgroup;
use crate::state;
use crate::sys::lock::{lock, try_lock};
use crate::sys::path::{has_attribute, open_path, set_attribute};

/// The extended attribute of a directory that was made on the way to a container's.
const MARK: &str = "trusted.hull";
/// How often a directory that is busy is tried again, each time after an event.
const ATTEMPTS: usize = 100;

/// What `delete` will have to know. Asked before anything is made, so that a creator that is
/// killed leaves nothing that nobody knows. Nothing, if systemd makes it.
#[must_use]
pub fn remember(cgroup: &Cgroup) -> Option<state::Cgroup> {
    let directory = cgroup.directory.clone();
    let made = !Path::new(&directory).exists();
    cgroup.scope.is_none().then_some(state::Cgroup { directory, made, scope: None })
}

/// Whether the cgroup cannot be made for want of privileges.
#[must_use]
pub fn is_denied(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
}

/// Makes the cgroup, with every directory that is missing, and opens it. One that is there already
/// must be unused, and is not the container's to remove. It is locked as long as it is open: of two
/// containers that want it at once, the second finds it locked, or not empty.
///
/// # Errors
/// "container's cgroup is not empty", "unexpectedly frozen"; those of mkdir(2).
pub fn make(cgroup: &mut state::Cgroup) -> Result<OwnedFd> {
    cgroup.made = false;
    let directory = cgroup.directory.as_str();
    let (parent, _) = directory.rsplit_once('/').expect("it is below the mount");
    for _ in 0..ATTEMPTS {
        make_parent(parent)?;
        let above = match open_path(parent, READ) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => continue,
            other => other?,
        };
        // Or another container could lock the directory before the one that makes it.
        lock(above.as_fd(), state::LONGEST_WAIT)?;
        cgroup.made = match std::fs::create_dir(directory).map_err(errno) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(Errno::ENOENT) => continue,
            Err(errno) => return Err(Error::from_call(format!("mkdir({directory:?})"), errno)),
        };
        let opened = open_path(directory, READ)?;
        if !try_lock(opened.as_fd())? {
            return Err(Error::new(format!(
                "container's cgroup is not empty: another container is being made in {directory:?}"
            )));
        }
        if !cgroup.made {
            check_unused(directory)?;
        }
        return Ok(opened);
    }
    Err(Error::from_call(format!("mkdir({directory:?})"), Errno::ENOENT))
}

pub(super) const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

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
fn check_unused(directory: &str) -> Result<()> {
    let path = format!("{directory}/cgroup.procs");
    let processes = std::fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
    let count = processes.lines().count();
    if count > 0 {
        return Err(Error::new(format!(
            "container's cgroup is not empty: {count} process(es) found in {directory:?}"
        )));
    }
    // The root of a hierarchy has no such file, and is no container's.
    if std::fs::read(format!("{directory}/cgroup.freeze")).is_ok_and(|text| text.starts_with(b"1"))
    {
        return Err(Error::new(format!("container's cgroup unexpectedly frozen: {directory:?}")));
    }
    Ok(())
}

/// Ends what is left in the cgroup, waits until it has ended, and removes the directory with all
/// below, and those above that were made for it and are empty now. A cgroup that was there before
/// stays, without our device rules.
///
/// # Errors
/// That processes do not end within ten seconds.
pub fn remove(cgroup: &state::Cgroup) -> Result<()> {
    if !cgroup.made {
        return match open_path(&cgroup.directory, READ) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            other => devices::detach(other?.as_fd()),
        };
    }
    remove_own(&cgroup.directory)?;
    let mut directory = cgroup.directory.as_str();
    while let Some((parent, _)) = directory.rsplit_once('/').filter(|(above, _)| has_mark(above)) {
        match std::fs::remove_dir(parent).map_err(errno) {
            Ok(()) | Err(Errno::ENOENT) => directory = parent,
            // Another container is in it, and will remove it.
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => break,
            Err(errno) => return Err(Error::from_call(format!("rmdir({parent:?})"), errno)),
        }
    }
    Ok(())
}

fn has_mark(directory: &str) -> bool {
    has_attribute(directory, MARK)
}

pub(super) fn remove_own(directory: &str) -> Result<()> {
    match std::fs::remove_dir(directory).map_err(errno) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EBUSY) => {}
        Err(errno) => return Err(Error::from_call(format!("rmdir({directory:?})"), errno)),
    }
    kill(directory)?;
    wait_empty(directory)?;
    for _ in 0..ATTEMPTS {
        match remove_tree(Path::new(directory)).map_err(errno) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            // A process that has ended is counted until its parent, or the kernel, lets it go.
            Err(Errno::EBUSY) => wait_empty(directory)?,
            Err(errno) => return Err(Error::from_call(format!("rmdir({directory:?})"), errno)),
        }
    }
    Err(Error::from_call(format!("rmdir({directory:?})"), Errno::EBUSY))
}

fn remove_tree(directory: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(directory)
}
