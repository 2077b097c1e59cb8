//! delete: runtime.md, "Delete".

use std::os::fd::AsFd;

use nix::errno::Errno;

use super::Global;
use super::start::find;
use crate::container::hooks::Surroundings;
use crate::container::{cgroup, hooks, rootfs};
use crate::error::{Error, Result};
use crate::lifecycle::{Operation, Status, check};
use crate::log::Level;
use crate::state::{Container, Record, Root, check_id};
use crate::sys::proc::process_stat;
use crate::sys::process::{pidfd_open, pidfd_send_signal, wait_ended};

/// How long a container process may take to end after SIGKILL, in milliseconds.
pub const LONGEST_END: u16 = 10_000;

/// Removes a container. With `force` it may be in any status, or not exist at all.
///
/// # Errors
/// "container does not exist", "cannot delete container ... that is not stopped"; that its
/// processes do not end.
pub fn delete(global: &Global, id: &str, force: bool) -> Result<()> {
    check_id(id)?;
    let container = match find(global, id) {
        // ENOENT: its creator was killed before it had written the record. Any other error of a call
        // says nothing about the container.
        Err(error) if force && error.errno().is_none_or(|errno| errno == Errno::ENOENT) => {
            return remove_unreadable(global, id, &error);
        }
        other => other?,
    };
    let operation = if force { Operation::ForceDelete } else { Operation::Delete };
    let status = container.status()?;
    check(operation, status, id).map_err(Error::new)?;
    if force {
        match (status, &container.record.cgroup) {
            // Its creator sees that init has ended, and unmakes the container.
            (Status::Creating, Some(cgroup)) => cgroup::kill(&cgroup.directory)?,
            // Before the lock: what ends now lets go of it.
            _ => end_processes(&container.record)?,
        }
    }
    // One at a time: what is removed by its name must still be this container's.
    container.directory.lock()?;
    if !container.directory.is_current()? {
        return if force { Ok(()) } else { Err(Error::new("container does not exist")) };
    }
    // Its creator may have had the lock, and have finished.
    let record = container.directory.read()?;
    let container = Container { record, is_creating: false, ..container };
    check(operation, container.status()?, id).map_err(Error::new)?;
    end_processes(&container.record)?;
    remove(global, &container)
}

/// With force, what cannot be read is removed too: nothing else would ever remove it. What is not
/// there is as it should be.
fn remove_unreadable(global: &Global, id: &str, error: &Error) -> Result<()> {
    let Some(root) = Root::open(&global.root)? else { return Ok(()) };
    let directory = match root.directory(id) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => return Ok(()),
        other => other?,
    };
    // Its creator may be at work, and have written it since.
    directory.lock()?;
    if directory.is_current()? && directory.read().is_ok() {
        drop(directory);
        return delete(global, id, true);
    }
    global.log.write(Level::Warning, &format!("delete {id:?}: {error}"))?;
    directory.remove()
}

/// Ends the container process, and with it, or by the cgroup, all others. Waits until it has.
///
/// # Errors
/// That it does not end within ten seconds.
pub fn end_processes(record: &Record) -> Result<()> {
    let mut was_alive = false;
    if let Some(init) = pidfd_open(record.pid)? {
        // The pid was looked at before; what was opened is the container's if it still is now.
        let stat = process_stat(record.pid)?;
        if stat.is_some_and(|stat| stat.start_time == record.start_time) {
            was_alive = true;
            // ESRCH: it has ended.
            pidfd_send_signal(init.as_fd(), 9).ok();
            if !wait_ended(init.as_fd(), LONGEST_END)? {
                return Err(Error::new("container init still running"));
            }
        }
    }
    match &record.cgroup {
        // In a pid namespace of its own the kernel has ended all others with init. In a cgroup that
        // was there before, what is there when init has long ended is somebody else's.
        Some(cgroup) if !record.own_pid_namespace && was_alive && cgroup::is_current(cgroup) => {
            cgroup::kill(&cgroup.directory)
        }
        _ => Ok(()),
    }
}

/// Removes what is left of a container whose process has ended, then runs its last hooks.
///
/// # Errors
/// Those of removing the cgroup and the directory.
pub fn remove(global: &Global, container: &Container) -> Result<()> {
    // Removed by somebody else, who may have made another one of this name.
    if !container.directory.is_current()? {
        return Ok(());
    }
    if let Some(cgroup) = &container.record.cgroup {
        cgroup::remove(cgroup, container.record.may_have_left())?;
    }
    if let Some(below) = container.record.rootfs_below {
        rootfs::uncover(&container.record.rootfs, below)?;
    }
    container.directory.remove()?;
    // config.md, "Poststop": a warning, and the container is deleted all the same.
    if let Err(error) = run_poststop(&container.record) {
        global.log.write(Level::Warning, &error.to_string())?;
    }
    Ok(())
}

/// Runs the hooks that follow the end of the container.
///
/// # Errors
/// Those of the first hook that failed; those after it have run.
pub fn run_poststop(record: &Record) -> Result<()> {
    if record.hooks.poststop.is_empty() {
        return Ok(());
    }
    let state = record.hook_state(Status::Stopped);
    let env = hooks::own_env();
    let of =
        Surroundings { state: &state, env: &env, directory: Some(&record.bundle), filter: None };
    let run = |hook| hooks::run_all("poststop", std::slice::from_ref(hook), &of);
    let results: Vec<Result<()>> = record.hooks.poststop.iter().map(run).collect();
    results.into_iter().collect()
}
