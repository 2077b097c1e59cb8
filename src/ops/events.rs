//! events: what a container uses, now or from time to time, and that its memory ran out. One JSON
//! object a line, for go-runc.
//!
//! Nothing is asked again and again: memory.events and cgroup.events say themselves that they have
//! changed, and the container's last process ends it.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Global;
use super::pause::own_cgroup;
use super::start::find;
use crate::container::cgroup::events::{Events, MemoryEvents};
use crate::container::cgroup::stats;
use crate::error::{Error, Result};
use crate::lifecycle::{Operation, check};
use crate::log::Level;
use crate::spec::events::{Event, Statistics};
use crate::state::check_id;
use crate::sys::alloc::reuse_freed;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// What is used now.
    Once,
    /// What is used, each time so much time has passed, and each time memory has run out; until the
    /// container has no process any more.
    Every(Duration),
}

/// Prints what a container uses.
///
/// # Errors
/// "container does not exist", "container with id ... is not running"; that nobody reads it.
pub fn events(global: &Global, id: &str, watch: Watch) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    check(Operation::Events, container.status()?, id).map_err(Error::new)?;
    let directory = own_cgroup(&container)?.directory.as_str();
    let Watch::Every(interval) = watch else {
        return print(id, Some(stats::read(directory)?));
    };
    reuse_freed();
    // From here on nothing is missed: each of them has been read.
    let Some(mut life) = Events::open(directory)? else { return Ok(()) };
    let mut memory = MemoryEvents::open(directory)?;
    if memory.is_none() {
        let message = "the memory controller is not enabled for it: no oom events";
        global.log.write(Level::Warning, &format!("events {id:?}: {directory:?}: {message}"))?;
    }
    let mut next = Instant::now() + interval;
    loop {
        // Before the memory is looked at: who is killed is counted before it is gone.
        let has_ended = life.has("populated 1")? != Some(true);
        if let Some(memory) = &mut memory
            && memory.was_killed()?
        {
            print(id, None)?;
        }
        if has_ended {
            return Ok(());
        }
        if Instant::now() >= next {
            print(id, Some(stats::read(directory)?))?;
            // Not one after another for those that were missed while nobody read.
            next = (next + interval).max(Instant::now());
        }
        wait_until(next, &life, memory.as_ref())?;
    }
}

/// Waits for the next change or that time.
fn wait_until(time: Instant, life: &Events, memory: Option<&MemoryEvents>) -> Result<()> {
    let mut fds = vec![PollFd::new(life.as_fd(), PollFlags::POLLPRI)];
    fds.extend(memory.map(|memory| PollFd::new(memory.as_fd(), PollFlags::POLLPRI)));
    // Rounded up: a wait that is too short would be one for nothing.
    let left = time.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
    // A longer wait is one of several.
    let left = PollTimeout::from(u16::try_from(left).unwrap_or(u16::MAX));
    match poll(&mut fds, left) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(Error::from_call("poll(cgroup.events, memory.events)", errno)),
    }
}

/// Statistics, or that a process was killed because memory ran out.
fn print(id: &str, data: Option<Statistics>) -> Result<()> {
    let kind = if data.is_some() { "stats" } else { "oom" };
    let event = Event { kind, id, data };
    super::print(&(serde_json::to_string(&event).expect("an event is JSON") + "\n"))
}
