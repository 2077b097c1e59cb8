//! What create made, a failing create unmakes, in reverse: init, the cgroup, the directory. What
//! goes wrong on the way does not stop it.

use std::os::fd::{AsFd, OwnedFd};

use super::create::Created;
use super::delete::{LONGEST_END, run_poststop};
use crate::container::network::Moved;
use crate::container::notify::Relay;
use crate::container::{cgroup, rootfs};
use crate::error::Error;
use crate::plan::Plan;
use crate::plan::namespaces::PID;
use crate::state::{Directory, Record};
use crate::sync::Channel;
use crate::sys::process::{Child, exit_status, pidfd_send_signal, wait_ended};

/// A container that is being made.
pub struct Undo {
    directory: Option<Directory>,
    /// What is remembered of it.
    pub record: Record,
    /// Init, once it runs.
    pub init: Option<Child>,
    /// The network devices that are in its namespace.
    pub moved: Option<Moved>,
}

impl Undo {
    /// From here on the directory is removed, unless [`Undo::keep`] or [`Undo::forget`] is called.
    pub fn new(directory: Directory, plan: &Plan, bundle: String) -> Self {
        let record = Record {
            id: directory.id.clone(),
            bundle,
            rootfs: plan.rootfs.path.clone(),
            annotations: plan.annotations.clone(),
            keyring: plan.keyring.clone(),
            own_pid_namespace: plan.namespaces.new & PID != 0,
            has_process: plan.process.is_some(),
            hooks: crate::spec::config::Hooks {
                poststart: plan.hooks.poststart.clone(),
                poststop: plan.hooks.poststop.clone(),
                ..Default::default()
            },
            ..Record::default()
        };
        Self { directory: Some(directory), record, init: None, moved: None }
    }

    /// The container's directory.
    pub fn directory(&self) -> &Directory {
        self.directory.as_ref().expect("it is taken only by keep and forget, which end this")
    }

    /// Init.
    pub fn init(&self) -> &Child {
        self.init.as_ref().expect("it is set right after clone3")
    }

    /// Whether the cgroup was made for the container.
    pub fn made_cgroup(&self) -> bool {
        self.record.cgroup.as_ref().is_some_and(|cgroup| cgroup.made)
    }

    /// The container is complete.
    pub fn keep(
        mut self,
        channel: Channel,
        master: Option<OwnedFd>,
        relay: Option<Relay>,
    ) -> Created {
        let taken = "keep is called once, on a container with an init";
        let directory = self.directory.take().expect(taken);
        let init = self.init.take().expect(taken);
        Created {
            directory,
            record: std::mem::take(&mut self.record),
            init,
            channel,
            master,
            relay,
        }
    }

    /// In init: the container is the runtime's to unmake. Closes the directory.
    pub fn forget(mut self) -> Record {
        self.directory = None;
        std::mem::take(&mut self.record)
    }

    /// What became of an init that is gone without a word.
    pub fn how_init_ended(&self) -> Error {
        let status = exit_status(self.init().pidfd.as_fd());
        let how = status.map_or_else(|error| error.to_string(), |code| code.to_string());
        let ended = "init ended before the container was ready";
        let cgroup = self.record.cgroup.as_ref();
        match cgroup.and_then(|cgroup| cgroup::oom::story(&cgroup.directory)) {
            Some(story) => Error::new(format!("{ended}: {story}")),
            None => Error::new(format!("{ended}, exit status {how}")),
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        // Each of these may have happened already; none keeps the next from being done.
        if let Some(moved) = self.moved.take() {
            moved.put_back().ok();
        }
        if let Some(init) = &self.init {
            pidfd_send_signal(init.pidfd.as_fd(), 9).ok();
            if wait_ended(init.pidfd.as_fd(), LONGEST_END).unwrap_or(false) {
                exit_status(init.pidfd.as_fd()).ok();
            }
        }
        // Somebody may have deleted the container meanwhile, by force, and made another one.
        if directory.is_current().unwrap_or(false) {
            if let Some(cgroup) = &self.record.cgroup {
                cgroup::remove(cgroup, self.record.may_have_left()).ok();
            }
            if let Some(below) = self.record.rootfs_below {
                rootfs::uncover(&self.record.rootfs, below).ok();
            }
            directory.remove().ok();
        }
        if self.init.is_some() {
            run_poststop(&self.record).ok();
        }
    }
}
