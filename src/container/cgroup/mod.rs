//! The cgroup of a container: cgroups(7), cgroup-v2.rst of the kernel. What does not depend on who
//! makes it (its controllers, settings, device rules, owner, processes, [`freezer`], [`events`],
//! [`stats`]), and the runtime as its maker ([`fs`]).

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

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::error::{Context, Result};
use crate::plan::cgroup::Cgroup;
use crate::plan::resources::Resources;
pub use fs::{is_denied, make, remember, remove};
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

/// The number of an error of the standard library; 0 if it came of no call.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
