//! The memory: one directory a container, below `--root`. In it are `state.json`, the text of the
//! config, and `exec.fifo` while the program is not started.

mod directory;
pub mod fifo;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use directory::{Directory, NOTIFY, Root};

use crate::container::cgroup::freezer;
use crate::error::{Error, Result};
use crate::lifecycle::Status;
use crate::spec;
use crate::spec::config::Hooks;
use crate::sys::proc::process_stat;

/// What is remembered of a container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The container's id.
    pub id: String,
    /// The container process; 0 until it exists.
    pub pid: i32,
    /// Its start time (proc_pid_stat(5), field 22): a reused pid has another.
    pub start_time: u64,
    /// The absolute path of the bundle.
    pub bundle: String,
    /// The absolute path of the root filesystem.
    pub rootfs: String,
    /// The mount that the rootfs was in before it was mounted over itself, where `delete` undoes that.
    #[serde(default)]
    pub rootfs_below: Option<u64>,
    /// RFC 3339.
    pub created: String,
    /// Those of the config.
    pub annotations: BTreeMap<String, String>,
    /// The cgroup, if the container has one of its own.
    pub cgroup: Option<Cgroup>,
    /// The name of its session keyring, if it has one of its own.
    #[serde(default)]
    pub keyring: Option<String>,
    /// Whether the pid namespace is the container's own, so that its processes end with init.
    pub own_pid_namespace: bool,
    /// Whether there is a program to start.
    pub has_process: bool,
    /// The hooks of start and delete.
    pub hooks: Hooks,
}

/// What `delete` has to know of a cgroup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its absolute directory.
    pub directory: String,
    /// Whether it was made for this container; else it was there before, and stays.
    pub made: bool,
    /// The scope that it is, if systemd made it.
    #[serde(default)]
    pub scope: Option<Scope>,
}

impl Cgroup {
    /// The scope, if a user's service manager made it.
    #[must_use]
    pub fn scope_of_user(&self) -> Option<&Scope> {
        self.scope.as_ref().filter(|scope| scope.user.is_some())
    }
}

/// What `update` and `delete` have to know of a scope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Scope {
    /// The name of the unit.
    pub unit: String,
    /// The user whose service manager made it, if it was not that of the system.
    pub user: Option<u32>,
    /// The inode of the directory. systemd ends a scope with its last process: another one may have
    /// the name then.
    pub inode: u64,
}

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub directory: Directory,
    /// What is remembered.
    pub record: Record,
    /// Whether `create` was at work when it was found.
    pub is_creating: bool,
}

/// Whether a text may be an id: it becomes the name of a directory and of a cgroup.
///
/// # Errors
/// The words of runc.
pub fn check_id(id: &str) -> Result<()> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
    // 255 is NAME_MAX, and "state.json" below it is no concern of the id.
    if id.is_empty() || id.len() > 255 || id == "." || id == ".." || !id.bytes().all(is_allowed) {
        return Err(Error::new(format!("invalid container ID format: {id:?}")));
    }
    Ok(())
}

impl Container {
    /// Where the container is in its life, as the kernel tells it now.
    ///
    /// # Errors
    /// Those of looking at the process.
    pub fn status(&self) -> Result<Status> {
        if self.record.pid == 0 {
            // Else its creator was killed, and its init with it.
            return Ok(if self.is_creating { Status::Creating } else { Status::Stopped });
        }
        if !self.is_alive()? {
            return Ok(Status::Stopped);
        }
        if let Some(cgroup) = &self.record.cgroup
            && freezer::is_frozen(&cgroup.directory)?
        {
            return Ok(Status::Paused);
        }
        let waits = fifo::Start::open(&self.directory)?.is_some();
        Ok(if waits { Status::Created } else { Status::Running })
    }

    /// Whether the container process has not ended: it has the pid and the start time of the
    /// record, and is no zombie.
    ///
    /// # Errors
    /// Those of reading /proc/PID/stat.
    pub fn is_alive(&self) -> Result<bool> {
        let stat = process_stat(self.record.pid)?;
        Ok(stat.is_some_and(|stat| {
            stat.start_time == self.record.start_time && !b"ZXx".contains(&stat.state)
        }))
    }
}

impl Record {
    /// Whether the container's cgroup may have processes of it when init has ended: all of its own pid
    /// namespace have ended then. An init that is not known may be there itself.
    #[must_use]
    pub fn may_have_left(&self) -> bool {
        !self.own_pid_namespace || self.pid == 0
    }

    /// The state object as hooks get it.
    #[must_use]
    pub fn hook_state(&self, status: Status) -> String {
        let state = self.state(status, "");
        serde_json::to_string(&state).expect("a state holds nothing that JSON does not")
    }

    /// The state object, in a status.
    #[must_use]
    pub fn state<'a>(&'a self, status: Status, owner: &'a str) -> spec::state::State<'a> {
        spec::state::State {
            oci_version: spec::VERSION,
            id: &self.id,
            pid: if status == Status::Stopped { 0 } else { self.pid },
            status: status.word(),
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::check_id;

    #[test]
    fn an_id_is_one_plain_name() {
        for id in ["a", "A-b_c.d+1", "...", "-a", "_"] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../a", "a b", "a\0b", "é", "a\n", &"a".repeat(256)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }
}
