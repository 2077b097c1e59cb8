//! Steps 3, 4 and 10 of create: the cgroup, init born into it, and what init is not born with.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::{getpid, getppid, pause};

use crate::container::cgroup::{self, membership, settings, systemd};
use crate::container::namespaces::Joined;
use crate::error::{Context, Result};
use crate::ops::inside::{Place, clone_init};
use crate::ops::undo::Undo;
use crate::plan::Plan;
use crate::state;
use crate::sys::process::{
    Child, Cloned, clone3, die_with_runtime, exit_status, pidfd_send_signal,
};
use crate::sys::seal::Sealed;

/// The cgroup of a container that is being made.
pub struct Birthplace {
    directory: OwnedFd,
    /// Against another container that wants the same, until init is in it. None of the scope's:
    /// there is one of a name.
    _lock: Option<OwnedFd>,
    /// Around whom systemd made the scope, until init is there.
    placeholder: Option<Placeholder>,
    /// The scope, if it is one of a user's service manager.
    of_user: Option<state::Scope>,
}

impl AsFd for Birthplace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Step 3: the cgroup, with its limits.
///
/// # Errors
/// Those of who makes it; a limit that cannot be had.
pub fn make_cgroup(plan: &mut Plan, undo: &mut Undo) -> Result<Option<Birthplace>> {
    let Some(of) = &mut plan.cgroup else { return Ok(None) };
    let pointer = || "config.json: /linux/cgroupsPath";
    let birthplace = match &of.scope {
        Some(scope) => {
            let placeholder = Placeholder::start()?;
            let pid = placeholder.pid();
            let (own, directory) = systemd::make(scope, pid, of.mount).context(pointer)?;
            of.directory.clone_from(&own.directory);
            // Not before: a scope whose creator is killed ends by itself, and until it is made, one
            // of this name is somebody else's.
            let of_user = own.scope_of_user().cloned();
            undo.record.cgroup = Some(own);
            undo.directory().write(&undo.record)?;
            Birthplace { directory, _lock: None, placeholder: Some(placeholder), of_user }
        }
        None => {
            let remembered = undo.record.cgroup.take();
            let made = match cgroup::make(&of.directory) {
                Err(error) if of.is_optional && cgroup::is_denied(&error) => return Ok(None),
                made => made.context(pointer)?,
            };
            let (directory, scope) = (of.directory.clone(), None);
            undo.record.cgroup = Some(state::Cgroup { directory, made: made.is_new, scope });
            if remembered.is_none_or(|it| it.made != made.is_new) {
                undo.directory().write(&undo.record)?;
            }
            let (directory, _lock) = (made.directory, Some(made.lock));
            Birthplace { directory, _lock, placeholder: None, of_user: None }
        }
    };
    cgroup::set_up(birthplace.as_fd(), of, &plan.resources)?;
    Ok(Some(birthplace))
}

/// Step 4: clone3(2), in other ways where it may not put the process into the cgroup.
///
/// # Errors
/// Those of clone3(2).
pub fn clone_into(
    flags: u64,
    joined: &[Joined],
    birthplace: Option<&mut Birthplace>,
    plan: &Plan,
    sealed: &mut Sealed,
) -> Result<Cloned> {
    let mut clone = |place: Place<'_>| clone_init(flags, joined, place, plan, sealed);
    let Some(birthplace) = birthplace else { return clone(Place::Here) };
    let cloned = clone_into_open(clone, birthplace, plan)?;
    match (&cloned, birthplace.placeholder.take()) {
        // Now there is init in the scope.
        (Cloned::Runtime(_), placeholder) => drop(placeholder),
        (Cloned::Init, Some(placeholder)) => placeholder.forget(),
        (Cloned::Init, None) => {}
    }
    Ok(cloned)
}

fn clone_into_open(
    mut clone: impl FnMut(Place<'_>) -> Result<Cloned>,
    birthplace: &Birthplace,
    plan: &Plan,
) -> Result<Cloned> {
    let of = plan.cgroup.as_ref().expect("what was made was planned");
    let cgroup = birthplace.as_fd();
    match (clone(Place::In(cgroup)), &birthplace.of_user) {
        (Err(error), Some(scope)) if error.errno() == Some(Errno::EACCES) => {
            clone(Place::Scope(scope, ""))
        }
        (Err(error), _) if membership::is_refused(&error) => {
            if membership::make_threaded(cgroup, of, &plan.resources)? {
                return clone(Place::In(cgroup));
            }
            let stay = membership::Stay::begin(cgroup, of).map_err(|_| error)?;
            let cloned = clone(Place::Here);
            // Also when there is no init: undoing ends all that is in the cgroup.
            if !matches!(cloned, Ok(Cloned::Init)) {
                stay.end()?;
            }
            cloned
        }
        (cloned, _) => cloned,
    }
}

/// Step 10: the limits that would have kept init from being born.
///
/// # Errors
/// Those of the files, and what systemd says.
pub fn set_late_limits(birthplace: &Birthplace, plan: &Plan, undo: &Undo) -> Result<()> {
    let of = plan.cgroup.as_ref().expect("what was made was planned");
    let own = undo.record.cgroup.as_ref().and_then(|cgroup| cgroup.scope.as_ref());
    if let (Some(scope), Some(own)) = (&of.scope, own)
        && !scope.late.is_empty()
    {
        systemd::set(own, &scope.late)?;
    }
    settings::write_all(birthplace.as_fd(), &of.directory, &plan.resources.late)
}

/// A process that does nothing: systemd makes a scope around one, and init is not born before there
/// is a cgroup for it. The runtime itself would save a fork, but it would need the right to come back
/// (an ordinary user has none to the cgroup of his login), and in between a limit that is meant for
/// the container could have the runtime killed.
struct Placeholder(Option<Child>);

impl Placeholder {
    fn start() -> Result<Self> {
        let runtime = getpid();
        match clone3(0, None)? {
            Cloned::Runtime(child) => Ok(Self(Some(child))),
            Cloned::Init => {
                // If the runtime is gone already, nobody sends the signal any more (prctl(2),
                // PR_SET_PDEATHSIG).
                while die_with_runtime(true).is_ok() && getppid() == runtime {
                    pause();
                }
                std::process::exit(1);
            }
        }
    }

    fn pid(&self) -> i32 {
        self.0.as_ref().map_or(0, |child| child.pid)
    }

    /// In init: it is a child of the runtime, and the runtime's to end.
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let Some(child) = &self.0 else { return };
        // It counts as a process of the scope until it is waited for. A child that cannot be
        // signalled has ended.
        pidfd_send_signal(child.pidfd.as_fd(), 9).ok();
        exit_status(child.pidfd.as_fd()).ok();
    }
}
