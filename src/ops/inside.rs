//! The birth of a process in namespaces that exist already: what has to be joined before it is there.
//! The runtime joins, and comes back; but who joins a user namespace cannot come back, so for that a
//! helper joins, and starts the process as the runtime's child: clone(2), CLONE_PARENT.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::container::namespaces::{self, Joined};
use crate::container::user;
use crate::error::{Context, Error, Result};
use crate::plan::Plan;
use crate::plan::namespaces::{Joiner, USER};
use crate::plan::process::Process;
use crate::plan::user::User;
use crate::sync::failure;
use crate::sys::proc::Procfs;
use crate::sys::process::{Child, Cloned, clone_sibling, clone3, exit_status, not_dumpable, setns};
use crate::sys::socket;

/// Starts init in `new` namespaces, and in those of `joined` that it does not join itself.
///
/// # Errors
/// Those of clone3(2) and setns(2).
pub fn clone_init(
    new: u64,
    joined: &[Joined],
    cgroup: Option<BorrowedFd<'_>>,
    plan: &Plan,
) -> Result<Cloned> {
    let helped = joined.iter().filter(|joined| joined.by == Joiner::Helper);
    let helped: Vec<_> = helped.map(|joined| (joined.file.as_fd(), joined.kind)).collect();
    if !helped.is_empty() {
        return clone_inside(&helped, new, cgroup, || {
            set_oom_score(plan.process.as_ref(), &Procfs::open()?)?;
            // Init could not write the file of its offsets: the kernel gives that to the host's root.
            if plan.namespaces.time_offsets.is_empty() { not_dumpable() } else { Ok(()) }
        });
    }
    let own = namespaces::enter(joined)?;
    let cloned = clone3(new, cgroup);
    if !matches!(cloned, Ok(Cloned::Init)) {
        namespaces::leave(&own)?;
    }
    cloned
}

/// Before a user namespace is joined, from which it may not be lowered; children inherit it.
///
/// # Errors
/// Those of write(2): EACCES for a score that is lower than the caller's, without CAP_SYS_RESOURCE.
pub fn set_oom_score(process: Option<&Process>, procfs: &Procfs) -> Result<()> {
    let Some(adj) = process.and_then(|process| process.oom_score_adj) else { return Ok(()) };
    procfs
        .write("self/oom_score_adj", &adj.to_string())
        .context(|| "config.json: /process/oomScoreAdj")
}

/// Starts a process in `new` namespaces, after `joins`: namespaces with their CLONE_NEW* flags, of
/// which the user namespace is joined last, because the others need not belong to it. Before that the
/// helper does what has to be done `outside`.
///
/// # Errors
/// Those of clone3(2) and setns(2).
pub fn clone_inside(
    joins: &[(BorrowedFd<'_>, u64)],
    new: u64,
    cgroup: Option<BorrowedFd<'_>>,
    outside: impl FnOnce() -> Result<()>,
) -> Result<Cloned> {
    let (ours, its) = socket::pair()?;
    // In the cgroup already: from inside it may not be entered.
    match clone3(0, cgroup)? {
        Cloned::Init => {
            drop(ours);
            let answer = outside().and_then(|()| join(joins)).and_then(|()| clone_sibling(new));
            match answer {
                Ok(Cloned::Init) => return Ok(Cloned::Init),
                Ok(Cloned::Runtime(child)) => {
                    // The runtime sees that nothing came if this fails.
                    let pid = child.pid.to_string();
                    socket::send(&its, pid.as_bytes(), Some(child.pidfd.as_raw_fd())).ok();
                }
                Err(error) => drop(socket::send(&its, &failure(&error), None)),
            }
            std::process::exit(0);
        }
        Cloned::Runtime(helper) => {
            drop(its);
            let (text, pidfd) = socket::receive(&ours)?;
            exit_status(helper.pidfd.as_fd())?;
            let text = String::from_utf8_lossy(&text);
            match (text.parse(), pidfd) {
                (Ok(pid), Some(pidfd)) => Ok(Cloned::Runtime(Child { pid, pidfd })),
                _ => Err(Error::new(text.strip_prefix('E').unwrap_or("the helper was ended"))),
            }
        }
    }
    .context(|| "join the namespaces")
}

/// A user namespace with these ids, which lasts as long as it is open, and in which nobody is.
///
/// # Errors
/// Those of clone3(2) and of writing the maps.
pub fn user_namespace(ids: &User) -> Result<OwnedFd> {
    let (ours, its) = socket::pair()?;
    match clone3(USER, None)? {
        Cloned::Init => {
            drop(ours);
            // Until the runtime has what it wants, or is gone.
            socket::receive(&its).ok();
            std::process::exit(0);
        }
        Cloned::Runtime(holder) => {
            let opened = user::write_maps(holder.pid, ids)
                .and_then(|()| Procfs::open()?.magic_file(&format!("{}/ns/user", holder.pid)));
            drop((ours, its));
            exit_status(holder.pidfd.as_fd())?;
            opened
        }
    }
}

fn join(joins: &[(BorrowedFd<'_>, u64)]) -> Result<()> {
    let user = joins.iter().filter(|(_, kind)| *kind == USER);
    let others = joins.iter().filter(|(_, kind)| *kind != USER);
    others.chain(user).try_for_each(|(file, kind)| setns(*file, *kind))
}
