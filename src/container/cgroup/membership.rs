//! How init comes into its cgroup where clone3(2) may not put it there: it is born where the runtime
//! is, so the runtime goes there for the time of the call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::file::{read, write};
use super::join::of_process;
use crate::error::{Call, Error, Result};
use crate::plan::cgroup::Cgroup;
use crate::plan::resources::Resources;

/// Controllers of which a threaded cgroup can have a part (cgroup-v2.rst, "Threads").
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// Whether it was the cgroup that clone3(2) did not want, and not a namespace: a kernel before 5.7
/// (E2BIG, EINVAL), or a filter of system calls.
#[must_use]
pub fn is_refused(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::E2BIG | Errno::EINVAL | Errno::EOPNOTSUPP))
}

/// Makes a cgroup below a threaded one threaded itself, which nothing can be in otherwise. Whether
/// it was such a cgroup.
///
/// # Errors
/// That it is to have a controller that threaded cgroups cannot have.
pub fn make_threaded(cgroup: BorrowedFd<'_>, plan: &Cgroup, needs: &Resources) -> Result<bool> {
    let path = format!("{}/cgroup.type", plan.directory);
    let kind = read(cgroup, "cgroup.type").call(|| format!("read({path:?})"))?;
    if kind.trim() != "domain invalid" {
        return Ok(false);
    }
    if let Some(name) = needs.controllers().iter().find(|name| !THREADED.contains(name)) {
        return Err(Error::new(format!(
            "{:?} is below a threaded cgroup, and cannot have the controller {name:?}",
            plan.directory
        )));
    }
    write(cgroup, "cgroup.type", "threaded").call(|| format!("write({path:?}, \"threaded\")"))?;
    Ok(true)
}

/// The runtime in the container's cgroup. In init nothing is to be done with it but to forget it.
pub struct Stay {
    home: OwnedFd,
}

impl Stay {
    /// Goes there.
    ///
    /// # Errors
    /// Those of writing cgroup.procs.
    pub fn begin(cgroup: BorrowedFd<'_>, plan: &Cgroup) -> Result<Self> {
        let own = nix::unistd::getpid().as_raw();
        let home = of_process(own, Some(plan.mount))?.expect("the hierarchy is mounted there");
        let path = format!("{}/cgroup.procs", plan.directory);
        write(cgroup, "cgroup.procs", "0").call(|| format!("write({path:?}, \"0\")"))?;
        Ok(Self { home })
    }

    /// Comes back.
    ///
    /// # Errors
    /// Those of writing cgroup.procs.
    pub fn end(self) -> Result<()> {
        write(self.home.as_fd(), "cgroup.procs", "0")
            .call(|| "write(cgroup.procs of the runtime, \"0\")")
    }
}
