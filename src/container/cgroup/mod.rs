//! The cgroup of a container: cgroups(7), cgroup-v2.rst of the kernel. What does not depend on who
//! makes it (its controllers, settings, device rules, owner, processes, [`freezer`], [`events`],
//! [`stats`]), and its two makers: the runtime ([`fs`]) and systemd ([`systemd`]).

pub mod change;
mod controllers;
mod delegation;
pub mod devices;
pub mod events;
pub mod freezer;
pub mod fs;
pub mod join;
pub mod membership;
pub mod oom;
pub mod processes;
pub mod settings;
pub mod stats;
pub mod systemd;

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

/// Ends what is left in the cgroup, waits until it has ended, and removes what was made for the
/// container.
///
/// # Errors
/// That processes do not end within ten seconds; those of who made it.
pub fn remove(cgroup: &state::Cgroup) -> Result<()> {
    match &cgroup.scope {
        Some(scope) => systemd::remove(&cgroup.directory, scope),
        None => fs::remove(cgroup),
    }
}

/// The number of an error of the standard library; 0 if it came of no call.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
