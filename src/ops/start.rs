//! start: runtime.md, "Start". Init waits on the reading end of exec.fifo; it takes one byte, and
//! executes the program, which closes that end. So the writing end tells all: it cannot be opened
//! when nobody waits, and poll(2) reports an error on it when the program was executed.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Global;
use super::delete::{LONGEST_END, end_processes};
use crate::container::hooks::Surroundings;
use crate::container::{cgroup, hooks, notify};
use crate::error::{Call, Error, Result};
use crate::lifecycle::{Operation, Status, check};
use crate::state::{Container, LONGEST_WAIT, Record, Root, check_id};
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
    if !container.directory.lock(LONGEST_WAIT)? {
        return Err(Error::new("another operation on this container is at work"));
    }
    check(Operation::Start, container.status()?, id).map_err(Error::new)?;
    if !container.record.has_process {
        return Err(Error::new("config.json: /process: missing, there is no program to start"));
    }
    let relay = notify::Relay::listen(&container.directory)?;
    let Some(fifo) = container.directory.open_fifo(OFlag::O_WRONLY)? else {
        return Err(no_longer_created(&container));
    };
    // EPIPE: init ended since.
    match nix::unistd::write(&fifo, b"G") {
        Err(Errno::EPIPE) => return Err(no_longer_created(&container)),
        other => other.call(|| "write(exec.fifo)")?,
    };
    wait_executed(&container, &fifo)?;
    container.directory.remove_fifo();
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

/// Waits until init has no reading end any more; then what is left in the pipe tells the rest: "X",
/// it was about to execute the program; "E" and a text, what went wrong, before or after the "X".
fn wait_executed(container: &Container, fifo: &OwnedFd) -> Result<()> {
    loop {
        let mut fds = [PollFd::new(fifo.as_fd(), PollFlags::empty())];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            other => break other.map(drop).call(|| "poll(exec.fifo)")?,
        }
    }
    let mut left = vec![0; crate::sys::socket::LONGEST];
    let length = match container.directory.open_fifo(OFlag::O_RDONLY)? {
        Some(reader) => match nix::unistd::read(&reader, &mut left) {
            Err(Errno::EAGAIN) => 0,
            other => other.call(|| "read(exec.fifo)")?,
        },
        // Deleted by force meanwhile.
        None => 0,
    };
    let left = String::from_utf8_lossy(&left[..length]);
    if left == "X" {
        return Ok(());
    }
    // Init has said its last word; that it has ended is known when this is printed.
    if let Some(init) = pidfd_open(container.record.pid)? {
        wait_ended(init.as_fd(), LONGEST_END)?;
    }
    Err(match left.trim_start_matches('X').strip_prefix('E') {
        Some(message) => Error::new(message),
        None => {
            let ended = "init ended before the program was executed";
            let cgroup = container.record.cgroup.as_ref();
            match cgroup.and_then(|cgroup| cgroup::oom::story(&cgroup.directory)) {
                Some(story) => Error::new(format!("{ended}: {story}")),
                None => Error::new(ended),
            }
        }
    })
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
    let of = Surroundings { state: &state, env: &env, directory: Some(&record.bundle) };
    let result = hooks::run_all("poststart", &record.hooks.poststart, &of);
    if result.is_err() {
        // The hook's error is the one to report.
        end_processes(record).ok();
    }
    result
}
