//! The cgroup that a further process of a container is born in (clone3(2), CLONE_INTO_CGROUP).

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::ResolveFlag;

use super::file::is_gone;
use super::fs::READ;
use crate::error::{Context, Error, Result};
use crate::sys::path::{open_beneath, open_directory, open_path};
use crate::sys::proc::Procfs;

/// Opens the cgroup of a container, or the one below it that `--cgroup` names. `None`: it is gone.
///
/// # Errors
/// That there is no such cgroup below it; those of open(2).
pub fn open(directory: &str, below: Option<&str>) -> Result<Option<OwnedFd>> {
    let Some(below) = below else {
        return match open_path(directory, READ) {
            Err(error) if error.errno().is_some_and(is_gone) => Ok(None),
            other => other.map(Some),
        };
    };
    let own = open_directory(directory)?;
    let names = below.trim_start_matches('/');
    open_beneath(own.as_fd(), names, READ, ResolveFlag::RESOLVE_BENEATH)
        .map(Some)
        .context(|| format!("--cgroup: bad sub cgroup path {below:?}"))
}

/// Opens the cgroup in which a process is now: an init that is a service manager makes cgroups of its
/// own and moves (systemd). `None` on a host without the hierarchy.
///
/// # Errors
/// That the process has ended; that its cgroup is not below the runtime's root.
pub fn of_process(pid: i32, mount: Option<&str>) -> Result<Option<OwnedFd>> {
    let Some(mount) = mount else { return Ok(None) };
    open_path(&directory_of(pid, mount)?, READ).map(Some)
}

/// The directory of the cgroup in which a process is now.
///
/// # Errors
/// As [`of_process`].
pub fn directory_of(pid: i32, mount: &str) -> Result<String> {
    let text = Procfs::open()?.read(&format!("{pid}/cgroup"))?;
    // The line of the unified hierarchy is the one with number 0 and no controllers (cgroups(7)).
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    if path.split('/').any(|name| name == "..") {
        return Err(Error::new(format!("the cgroup of process {pid}, {path:?}, is not reachable")));
    }
    Ok(format!("{mount}{path}"))
}
