//! The birth of a process in namespaces that exist already: what has to be joined before it is there.
//! The runtime joins, and comes back; but who joins a user namespace cannot come back, so for that a
//! helper joins, and starts the process as the runtime's child: clone(2), CLONE_PARENT.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::container::cgroup::systemd;
use crate::container::namespaces::{self, Joined};
use crate::container::user;
use crate::error::{Context, Error, Result};
use crate::plan::Plan;
use crate::plan::namespaces::{Joiner, USER};
use crate::plan::process::Process;
use crate::plan::user::User;
use crate::state::Scope;
use crate::sync::failure;
use crate::sys::proc::Procfs;
use crate::sys::process::{Child, Cloned, clone_sibling, clone3, exit_status, not_dumpable, setns};
use crate::sys::seal::Sealed;
use crate::sys::socket;

/// The cgroup that a process is born in.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// That of who calls.
    Here,
    /// Another one (CLONE_INTO_CGROUP).
    In(BorrowedFd<'a>),
    /// A scope of a user's service manager, or a cgroup below it: the manager moves a helper there,
    /// of which the process is born. The kernel lets no user come there himself from a cgroup that is
    /// not below his manager's, such as that of his login (cgroup-v2.rst, "Delegation Containment").
    Scope(&'a Scope, &'a str),
}

impl<'a> Place<'a> {
    /// A cgroup that may not be there.
    #[must_use]
    pub fn of(cgroup: Option<&'a OwnedFd>) -> Self {
        cgroup.map_or(Place::Here, |cgroup| Place::In(cgroup.as_fd()))
    }

    /// What clone3(2) is given.
    #[must_use]
    pub fn cgroup(self) -> Option<BorrowedFd<'a>> {
        if let Place::In(cgroup) = self { Some(cgroup) } else { None }
    }

    /// For a helper that is not there yet.
    ///
    /// # Errors
    /// What systemd says.
    fn enter(self) -> Result<()> {
        if let Place::Scope(scope, below) = self {
            systemd::attach_self(scope, below)
        } else {
            Ok(())
        }
    }
}

/// Starts init in `new` namespaces, and in those of `joined` that it does not join itself. Init is born
/// without `sealed`, which a helper closes before it joins any.
///
/// # Errors
/// Those of clone3(2) and setns(2); what systemd says.
pub fn clone_init(
    new: u64,
    joined: &[Joined],
    place: Place<'_>,
    plan: &Plan,
    sealed: &mut Sealed,
) -> Result<Cloned> {
    let helped = joined.iter().filter(|joined| joined.by == Joiner::Helper);
    let helped: Vec<_> = helped.map(|joined| (joined.file.as_fd(), joined.kind)).collect();
    if !helped.is_empty() {
        return clone_inside(&helped, new, place, || {
            sealed.close();
            set_oom_score(plan.process.as_ref(), &Procfs::open()?)?;
            // Init could not write the file of its offsets: the kernel gives that to the host's root.
            if plan.namespaces.time_offsets.is_empty() { not_dumpable() } else { Ok(()) }
        });
    }
    if let Place::Scope(..) = place {
        return clone_inside(&[], new, place, || {
            sealed.close();
            namespaces::enter(joined).map(drop)
        });
    }
    let own = namespaces::enter(joined)?;
    let cloned = clone3(new, place.cgroup());
    if matches!(cloned, Ok(Cloned::Init)) {
        sealed.close();
    } else {
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
/// Those of clone3(2) and setns(2); what systemd says.
pub fn clone_inside(
    joins: &[(BorrowedFd<'_>, u64)],
    new: u64,
    place: Place<'_>,
    outside: impl FnOnce() -> Result<()>,
) -> Result<Cloned> {
    let (ours, its) = socket::pair()?;
    // In the cgroup already: from inside it may not be entered.
    match clone3(0, place.cgroup())? {
        Cloned::Init => {
            drop(ours);
            let inside = || outside().and_then(|()| join(joins)).and_then(|()| clone_sibling(new));
            let answer = place.enter().and_then(|()| inside().context(|| "join the namespaces"));
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
                _ => Err(Error::new(
                    text.strip_prefix('E').unwrap_or("the helper that joins namespaces was ended"),
                )),
            }
        }
    }
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
