//! The cgroup of a container: cgroups(7), cgroup-v2.rst of the kernel. What does not depend on who
//! makes it (its controllers, settings, device rules, owner, processes, [`freezer`], [`events`],
//! [`stats`]), and its two makers: the runtime ([`fs`]) and systemd ([`systemd`]).

pub mod change;
mod controllers;
mod delegation;
pub mod devices;
pub mod events;
mod file;
pub mod freezer;
pub mod fs;
pub mod join;
pub mod membership;
pub mod oom;
pub mod processes;
pub mod settings;
pub mod stats;
pub mod systemd;
mod walk;

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::error::{Context, Result};
use crate::plan::cgroup::Cgroup;
use crate::plan::resources::Resources;
use crate::state;
pub use fs::{is_denied, make, remember};
pub use processes::{kill, list, signal, wait_empty};

/// Gives an open cgroup its controllers, its limits and its owner, before a process is in it.
///
/// # Errors
/// That a controller cannot be had; what the kernel refuses, with its place in the config.
pub fn set_up(cgroup: BorrowedFd<'_>, plan: &Cgroup, resources: &Resources) -> Result<()> {
    controllers::enable(cgroup, plan, &resources.controllers())
        .context(|| "config.json: /linux/resources")?;
    settings::write_all(cgroup, &plan.directory, &resources.settings)?;
    match plan.owner {
        Some(owner) => delegation::give(cgroup, &plan.directory, owner),
        None => Ok(()),
    }
}

/// Removes what was made for a container whose init has ended. `has_left`: what is in the cgroup still
/// may be the container's, and is ended; else it is somebody else's.
///
/// # Errors
/// "container's cgroup is not empty"; that processes do not end within ten seconds; those of who made
/// it.
pub fn remove(cgroup: &state::Cgroup, has_left: bool) -> Result<()> {
    match &cgroup.scope {
        Some(scope) => systemd::remove(&cgroup.directory, scope),
        None => fs::remove(cgroup, has_left),
    }
}

/// Whether a cgroup that was the container's can be still: a scope ends with its last process, and
/// another one may have the name then.
#[must_use]
pub fn is_current(cgroup: &state::Cgroup) -> bool {
    cgroup.scope.as_ref().is_none_or(|scope| systemd::is_current(&cgroup.directory, scope))
}

/// The number of an error of the standard library; 0 if it came of no call.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
