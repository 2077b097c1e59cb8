//! Suspending all processes of a cgroup and letting them go on: cgroup-v2.rst, cgroup.freeze (5.2).
//! A suspended process still ends by SIGKILL.
//!
//! Whoever has the file written has a lock ([`crate::state::Directory::lock_cgroup`]): `kill --all`
//! suspends too, and must not end a `pause` of somebody else.

use super::events::Events;
use super::file::{read_path, write_if_there};
use crate::error::{Error, Result};

/// How long processes may take to be suspended, in milliseconds: one that sleeps in the kernel
/// without being interruptible is not until it wakes up.
const LONGEST_FREEZE: u16 = 10_000;
/// The same where it is only better than nothing.
const LONGEST_TRY: u16 = 1000;

/// Whether the cgroup was told to suspend its processes. That one above it was counts no more than
/// for `resume`, which could not end it.
///
/// # Errors
/// Those of read(2), other than that there is no such cgroup.
pub fn is_frozen(directory: &str) -> Result<bool> {
    let text = read_path(&format!("{directory}/cgroup.freeze"))?;
    Ok(text.is_some_and(|text| text.starts_with('1')))
}

/// Suspends all processes of the cgroup and below, and waits until they are. In one that is gone none
/// runs.
///
/// # Errors
/// Those of writing the file; that a process is not suspended within ten seconds: then all of them
/// go on.
pub fn freeze(directory: &str) -> Result<()> {
    if write_and_wait(directory, true, LONGEST_FREEZE)? {
        return Ok(());
    }
    write(directory, "0")?;
    let seconds = LONGEST_FREEZE / 1000;
    let message = format!("{directory:?} has processes that cannot be suspended after {seconds} s");
    Err(Error::new(message))
}

/// Lets all processes of the cgroup go on, and waits until they do.
///
/// # Errors
/// Those of writing the file; that a cgroup above is frozen.
pub fn thaw(directory: &str) -> Result<()> {
    if write_and_wait(directory, false, LONGEST_FREEZE)? {
        return Ok(());
    }
    Err(Error::new(format!("{directory:?} is still frozen, as one above it is")))
}

/// Acts while no process of the cgroup runs: none is born, and none ends so that its pid could
/// become another's. Where they cannot be suspended, it is done all the same.
///
/// # Errors
/// Those of writing the file and of the act.
pub fn while_frozen(directory: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_frozen(directory)? {
        return act();
    }
    let frozen = write_and_wait(directory, true, LONGEST_TRY);
    let result = act();
    write(directory, "0")?;
    frozen.map(drop).and(result)
}

/// Whether it is done within so many milliseconds, or the cgroup is gone.
fn write_and_wait(directory: &str, freeze: bool, limit: u16) -> Result<bool> {
    let Some(mut events) = Events::open(directory)? else { return Ok(true) };
    let (value, line) = if freeze { ("1", "frozen 1") } else { ("0", "frozen 0") };
    write(directory, value)?;
    events.wait(line, limit)
}

fn write(directory: &str, value: &str) -> Result<()> {
    write_if_there(&format!("{directory}/cgroup.freeze"), value)
}
