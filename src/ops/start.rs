//! start: runtime.md, "Start".

use std::os::fd::AsFd;

use super::Global;
use super::delete::{LONGEST_END, end_processes};
use crate::container::hooks::Surroundings;
use crate::container::{cgroup, hooks, notify};
use crate::error::{Error, Result};
use crate::lifecycle::{Operation, Status, check};
use crate::state::fifo::{self, Outcome};
use crate::state::{Container, Record, Root, check_id};
use crate::sys::proc::process_stat;
use crate::sys::process::{pidfd_open, wait_ended};

/// Executes the program of a container that was created. Returns when it was executed.
///
/// # Errors
/// The words of [`check`] for a container in another status; what kept init from executing.
pub fn start(global: &Global, id: &str) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    check(Operation::Start, container.status()?, id).map_err(Error::new)?;
    // One at a time: the second one finds another status. Who has the lock for longer is no `start`
    // of a container that was created.
    container.directory.lock()?;
    check(Operation::Start, container.status()?, id).map_err(Error::new)?;
    if !container.record.has_process {
        return Err(Error::new("config.json: /process: missing, there is no program to start"));
    }
    let relay = notify::Relay::listen(&container.directory)?;
    let Some(fifo) = fifo::Start::open(&container.directory)? else {
        return Err(no_longer_created(&container));
    };
    if !fifo.go()? {
        return Err(no_longer_created(&container));
    }
    match fifo.wait_executed()? {
        Outcome::Executed => check_executed(&container.record)?,
        Outcome::Failed(words) => return Err(why_not_executed(&container.record, words)?),
    }
    fifo.remove();
    run_poststart(&container.record)?;
    if let (Some(relay), Some(init)) = (relay, pidfd_open(container.record.pid)?) {
        relay.wait(init.as_fd(), container.record.pid)?;
    }
    Ok(())
}

/// Finds a container by its id.
///
/// # Errors
/// "container does not exist".
pub fn find(global: &Global, id: &str) -> Result<Container> {
    match Root::open(&global.root)? {
        Some(root) => root.container(id),
        None => Err(Error::new("container does not exist")),
    }
}

fn no_longer_created(container: &Container) -> Error {
    let status = container.status().unwrap_or(Status::Stopped);
    // Started by somebody else since it was looked at, if it is not stopped.
    let message = check(Operation::Start, status, &container.record.id);
    Error::new(message.err().unwrap_or_else(|| "container not running".to_owned()))
}

/// Whether init, which is about to execute the program and has nothing more to say, has done so: it
/// may have been killed, or its filter may keep it from telling. Of one that was reaped since, nobody
/// knows.
///
/// # Errors
/// That it has ended without; those of reading /proc/PID/stat.
pub fn check_executed(record: &Record) -> Result<()> {
    match process_stat(record.pid)? {
        Some(stat) if stat.start_time == record.start_time && !stat.has_executed => {
            Err(why_not_executed(record, None)?)
        }
        _ => Ok(()),
    }
}

/// The error, when init has ended: that is known by then to who reads it.
fn why_not_executed(record: &Record, words: Option<String>) -> Result<Error> {
    if let Some(init) = pidfd_open(record.pid)? {
        wait_ended(init.as_fd(), LONGEST_END)?;
    }
    if let Some(words) = words {
        return Ok(Error::new(words));
    }
    let ended = "init ended before the program was executed";
    let cgroup = record.cgroup.as_ref();
    let story = cgroup.and_then(|cgroup| cgroup::oom::story(&cgroup.directory));
    Ok(Error::new(story.map_or_else(|| ended.to_owned(), |story| format!("{ended}: {story}"))))
}

/// Runs the hooks that follow the start of the program. If one fails the container is stopped
/// (runtime.md, "Lifecycle", step 9).
///
/// # Errors
/// Those of the hook.
pub fn run_poststart(record: &Record) -> Result<()> {
    if record.hooks.poststart.is_empty() {
        return Ok(());
    }
    let state = record.hook_state(Status::Running);
    let env = hooks::own_env();
    let of =
        Surroundings { state: &state, env: &env, directory: Some(&record.bundle), filter: None };
    let result = hooks::run_all("poststart", &record.hooks.poststart, &of);
    if result.is_err() {
        // The hook's error is the one to report.
        end_processes(record).ok();
    }
    result
}
