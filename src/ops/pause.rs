//! pause: all processes of a container are suspended, as they stand, until `resume`.

use super::Global;
use super::start::find;
use crate::container::cgroup::freezer::freeze;
use crate::error::{Error, Result};
use crate::lifecycle::{Operation, check};
use crate::state::{Cgroup, Container, check_id};

/// Suspends a container that was created or is running. Returns when no process of it runs.
///
/// # Errors
/// "container does not exist", "container not running"; that a process cannot be suspended: then
/// the container goes on.
pub fn pause(global: &Global, id: &str) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    check(Operation::Pause, container.status()?, id).map_err(Error::new)?;
    let _lock = container.directory.lock_cgroup()?;
    freeze(&own_cgroup(&container)?.directory)
}

/// The cgroup by which all processes of a container are known.
///
/// # Errors
/// That it was created without one.
pub fn own_cgroup(container: &Container) -> Result<&Cgroup> {
    let missing = "the container has no cgroup of its own: it was created with \
                   --cgroup-manager disabled";
    container.record.cgroup.as_ref().ok_or_else(|| Error::new(missing))
}
