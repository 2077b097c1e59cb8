//! resume: what `pause` has suspended goes on.

use super::Global;
use super::pause::own_cgroup;
use super::start::find;
use crate::container::cgroup::freezer::thaw;
use crate::error::{Error, Result};
use crate::lifecycle::{Operation, check};
use crate::state::check_id;

/// Lets a paused container go on.
///
/// # Errors
/// "container does not exist", "container not paused".
pub fn resume(global: &Global, id: &str) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    check(Operation::Resume, container.status()?, id).map_err(Error::new)?;
    let _lock = container.directory.lock_cgroup()?;
    thaw(&own_cgroup(&container)?.directory)
}
