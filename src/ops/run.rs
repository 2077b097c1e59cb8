//! run: create and start in one process, and, in the foreground, all of the container's life.

use std::os::fd::AsFd;

use super::Global;
use super::create::{Created, Given, Options, Start, build};
use super::delete::{end_processes, remove};
use super::foreground::{Foreground, block_signals};
use super::start::{check_executed, run_poststart};
use crate::error::Result;
use crate::log::Level;
use crate::state::Container;
use crate::sync::FromInit;
use crate::sys::process::become_subreaper;
use crate::sys::seal::Sealed;

/// Beside [`Options`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Whether to leave as soon as the program was executed.
    pub detach: bool,
    /// Whether to keep a container that has ended.
    pub keep: bool,
    /// Whether orphans of the container go to somebody else.
    pub no_subreaper: bool,
}

/// Creates and starts a container. In the foreground: waits until it has ended, deletes it, and
/// returns its exit status; detached: returns 0.
///
/// # Errors
/// Those of create and start. Then nothing is left of the container.
pub fn run(global: &Global, options: &Options, how: RunOptions, sealed: Sealed) -> Result<u8> {
    let given = Given::take(options, sealed)?;
    let foreground = !how.detach;
    let signals = if foreground {
        if !how.no_subreaper {
            become_subreaper()?;
        }
        // Before the container exists: a signal that comes later is for it.
        Some(block_signals()?)
    } else {
        None
    };
    let created = build(global, options, given, Start::Now { foreground })?;
    let Created { directory, record, init, channel, master, relay } = created;
    let container = Container { directory, record, is_creating: false };
    let started = match channel.receive() {
        Ok(FromInit::Failed(error)) | Err(error) => Err(error),
        // The end of the connection: the program was executed, or init has ended.
        Ok(_) => check_executed(&container.record).and_then(|()| run_poststart(&container.record)),
    };
    if let Err(error) = started {
        // The error that began it is the one to report.
        unmake(global, &container).ok();
        return Err(error);
    }
    let Some(signals) = signals else {
        if let Some(relay) = relay {
            relay.wait(init.pidfd.as_fd(), init.pid)?;
        }
        return Ok(0);
    };
    let status = Foreground { signals, init: &init, master, relay }.wait();
    if !how.keep
        && let Err(error) = unmake(global, &container)
    {
        // What the caller waits for is how the program ended.
        global.log.write(Level::Warning, &format!("run {:?}: {error}", container.record.id))?;
    }
    status
}

fn unmake(global: &Global, container: &Container) -> Result<()> {
    end_processes(&container.record)?;
    // A `delete` at the same time does the same.
    container.directory.lock()?;
    remove(global, container)
}
