//! exec: another program in a container that exists. The second story, of three processes.
//!
//! ```text
//!   runtime (runtime namespace)    helper                      process (container namespace)
//!   1  the container, the plan
//!   2  hold on to init, open the
//!      cgroup
//!   3  clone3, in the cgroup ────▶
//!                                  4  join the namespaces,
//!                                     by init's pidfd
//!                                     clone3 ────────────────▶
//!                                     exit                     5  terminal, working directory,
//!                                                                 user, the program's file
//!   6  sockets, pid file     ◀──────────────────────────────── Ready
//!         Go, if it waits for it ────────────────────────────▶ 7  label, filter, execve
//!   8  in the foreground: wait
//! ```
//!
//! A process of a pid namespace is seen by all others of it from its birth on, with the mounts and
//! the network that it has: /proc/PID/mountinfo and net are for everybody. So it is born when the
//! other namespaces are joined, by a helper that is outside of the pid namespace. Where the container
//! has no pid namespace of its own, the process joins the others itself.
//!
//! Until execve the process has the runtime's memory and executable. So it is not dumpable when the
//! container's processes see it first, which keeps ptrace(2) and /proc/PID/mem, fd and exe from all of
//! them that have no CAP_SYS_PTRACE in the runtime's user namespace; where a helper joins, the command
//! line is empty; the executable is sealed; and of the runtime namespace only this is open in it: /proc,
//! until the process has the file of its label, an agent of seccomp and what was asked for by number.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use super::Global;
use super::foreground::{Foreground, block_signals};
use super::handover::{Sockets, write_pid_file};
use super::inside::{Place, clone_inside, set_oom_score};
use super::start::find;
use crate::bundle;
use crate::container::inherited::Inherited;
use crate::container::seccomp::Agent;
use crate::container::{cgroup, credentials, labels, program, rootfs, seccomp, terminal, user};
use crate::error::{Context, Error, Result};
use crate::host::{Host, cgroup_mount};
use crate::lifecycle::{Operation, Status, check};
use crate::log::Level;
use crate::plan::affinity;
use crate::plan::exec::{Changes, Exec, Wanted, plan};
use crate::plan::namespaces::{PID, USER};
use crate::spec::config::Spec;
use crate::state::{Cgroup, Container, Record};
use crate::sync::{Channel, FromInit};
use crate::sys::execve::end;
use crate::sys::path::{InRoot, open_directory};
use crate::sys::proc::{Procfs, process_stat};
use crate::sys::process::{
    self, Child, Cloned, clone3, exit_status, pidfd_open, pidfd_send_signal, setns, wait_ended,
};
use crate::sys::seal::Sealed;
use crate::sys::{arguments, limits, socket};

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// A file with the whole process, instead of `changes`.
    pub process: Option<String>,
    /// What is not as in the container's config.
    pub changes: Changes,
    /// Whether to leave as soon as the program was executed.
    pub detach: bool,
    /// Where to send the terminal's master.
    pub console_socket: Option<String>,
    /// Where to send the pidfd of the process.
    pub pidfd_socket: Option<String>,
    /// Where to write its pid.
    pub pid_file: Option<String>,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
    /// A cgroup below the container's.
    pub cgroup: Option<String>,
    /// Whether to do it in a paused container too, where the program waits for `resume`.
    pub ignore_paused: bool,
    /// Whether orphans of the process go to somebody else.
    pub no_subreaper: bool,
}

/// Executes a program in a container. In the foreground: waits until it has ended, and returns its
/// exit status; detached: returns 0.
///
/// # Errors
/// That the container is not one to execute something in; everything that is wrong in what is asked,
/// before anything is done; else the step that failed. Then no process is left.
#[expect(clippy::too_many_lines, reason = "the story of an operation is one function")]
pub fn exec(global: &Global, options: &Options, sealed: Sealed) -> Result<u8> {
    // 1. The question and the answer.
    // Before the descriptors of the caller are closed: a shell gives /dev/fd/N for `<(...)`.
    let wanted = match &options.process {
        None => Wanted::Changes(options.changes.clone()),
        Some(path) => {
            let process = bundle::read_document(path).context(|| "--process")?;
            Wanted::File { path: path.clone(), process }
        }
    };
    let inherited = Inherited::take_preserved(options.preserve_fds, &sealed)?;
    // Not later, as `create` does: the process becomes the program without asking, and what it would
    // cost to have it ask (two messages) is what would be saved.
    drop(sealed);
    let container = find(global, &options.id)?;
    let init = hold_init(&container, options.ignore_paused)?;
    let config: Spec = bundle::read_document(&container.directory.config())?;
    let host = Host::ask_for_exec(wanted.has_label(&config))?;
    let plan = plan(config, wanted, &host)?;
    for warning in &plan.warnings {
        global.log.write(Level::Warning, warning)?;
    }
    global.log.write_plan(&plan.process)?;
    let has_terminal = plan.process.terminal.is_some();
    let [console, pidfd] = [&options.console_socket, &options.pidfd_socket].map(Option::as_deref);
    let sockets = Sockets::connect(has_terminal, options.detach, console, pidfd)?;
    let connection = seccomp::connect(plan.process.filter.as_ref())?;

    // 2. What belongs to the container.
    let root = if plan.has_own_mounts { None } else { Some(root_of(&container)?) };
    let cgroup = open_cgroup(&container, options)?;
    let signals = if options.detach {
        None
    } else {
        if !options.no_subreaper {
            process::become_subreaper()?;
        }
        // Before the process exists: a signal that comes later is for it.
        Some(block_signals()?)
    };

    // 3. The helper, or the process itself.
    let (ours, its) = socket::pair()?;
    let procfs = Procfs::open()?;
    if plan.is_privileged {
        // From its birth on other processes of the container see it.
        process::not_dumpable()?;
    }
    if let Some(processors) = &plan.process.affinity.initial {
        limits::sched_setaffinity(processors)
            .context(|| "config.json: /process/execCPUAffinity/initial")?;
    }
    // Only its owner may join a user namespace without privileges, and only after that the others.
    let by_helper = plan.joins_pid || !plan.is_privileged && plan.namespaces & USER != 0;
    let clone = |place: Place<'_>| {
        if by_helper || matches!(place, Place::Scope(..)) {
            let pid = if plan.joins_pid { PID } else { 0 };
            let joins = [(init.as_fd(), plan.namespaces | pid)];
            let joins = if by_helper { &joins[..] } else { &[] };
            return clone_inside(joins, 0, place, || {
                set_oom_score(Some(&plan.process), &procfs)?;
                arguments::hide(&procfs)?;
                // An ordinary user's is dumpable until here: the score was in a file of its own.
                process::not_dumpable()
            });
        }
        clone3(0, place.cgroup())
    };
    let own = container.record.cgroup.as_ref();
    let cloned = match (clone(Place::of(cgroup.as_ref())), own.and_then(Cgroup::scope_of_user)) {
        // It is gone, or hands out controllers since, so that processes can only be below it
        // (cgroup-v2.rst, "No Internal Process Constraint"). A name below it was asked for, though.
        (Err(error), _)
            if refuses_processes(&error) && cgroup.is_some() && options.cgroup.is_none() =>
        {
            clone(Place::of(cgroup_of_init(&container)?.as_ref()))
        }
        (Err(error), Some(scope)) if error.errno() == Some(Errno::EACCES) => {
            clone(Place::Scope(scope, options.cgroup.as_deref().unwrap_or_default()))
        }
        (cloned, _) => cloned,
    };
    let process = match cloned.map_err(|error| stopped_or(error, init.as_fd()))? {
        Cloned::Init => {
            let record = container.record;
            drop((ours, cgroup, sockets, container.directory, signals));
            let init = (!by_helper).then_some(init);
            let channel = Channel(its);
            let joiner =
                Joiner { plan, init, root, procfs, record, channel, inherited, connection };
            let (channel, Err(error)) = joiner.story();
            channel.fail(&error);
            end(255);
        }
        Cloned::Runtime(process) => process,
    };
    drop((its, connection));

    // 6. What the caller asked for, while the program starts.
    let channel = Channel(ours);
    let master = hand_over(&channel, sockets, &process, &plan, options).map_err(|error| {
        // It may have ended by itself.
        pidfd_send_signal(process.pidfd.as_fd(), 9).ok();
        exit_status(process.pidfd.as_fd()).ok();
        error.unwrap_or_else(|| {
            let error = Error::new("the process ended before the program was executed");
            stopped_or(error, init.as_fd())
        })
    })?;

    // 8. All of its life.
    match signals {
        Some(signals) => Foreground { signals, init: &process, master, relay: None }.wait(),
        None => Ok(0),
    }
}

/// A descriptor of init, which stays init's when its number is reused.
fn hold_init(container: &Container, ignore_paused: bool) -> Result<OwnedFd> {
    let status = container.status()?;
    if !(ignore_paused && status == Status::Paused) {
        check(Operation::Exec, status, &container.record.id).map_err(Error::new)?;
    }
    let init = pidfd_open(container.record.pid)?;
    // Only now is it certain that the number was still init's when it was opened.
    match init {
        Some(init) if container.is_alive()? => Ok(init),
        _ => Err(stopped()),
    }
}

fn stopped() -> Error {
    Error::new("cannot exec in a stopped container")
}

/// How long the end of init may take, in milliseconds.
const LONGEST_END: u16 = 500;

/// An init that is ending has left its namespaces (setns: ESRCH); its pid namespace takes no process
/// (clone3: ENOMEM), or takes the new one along, and waits until that is reaped. So it may not have
/// ended yet.
fn stopped_or(error: Error, init: BorrowedFd<'_>) -> Error {
    if matches!(wait_ended(init, LONGEST_END), Ok(true)) { stopped() } else { error }
}

/// The root of a container that shares its mounts.
fn root_of(container: &Container) -> Result<OwnedFd> {
    let root = Procfs::open()?.magic_file(&format!("{}/root", container.record.pid));
    // Else it may be that of a process which has the number now.
    if container.is_alive()? { root } else { Err(stopped()) }
}

/// The cgroup that the process is born in. `None`: that of the caller, because the container has none.
fn open_cgroup(container: &Container, options: &Options) -> Result<Option<OwnedFd>> {
    let Some(own) = &container.record.cgroup else {
        return match options.cgroup {
            Some(_) => Err(Error::new("--cgroup: the container has no cgroup of its own")),
            None => Ok(None),
        };
    };
    match cgroup::join::open(&own.directory, options.cgroup.as_deref())? {
        Some(directory) => Ok(Some(directory)),
        None => cgroup_of_init(container),
    }
}

fn cgroup_of_init(container: &Container) -> Result<Option<OwnedFd>> {
    let current = cgroup::join::of_process(container.record.pid, cgroup_mount());
    if container.is_alive()? { current } else { Err(stopped()) }
}

fn refuses_processes(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EBUSY | Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP))
}

/// Step 6. Returns the terminal's master, if nobody asked for it, when the program was executed; no
/// error if the process has ended without a word.
fn hand_over(
    channel: &Channel,
    sockets: Sockets,
    process: &Child,
    plan: &Exec,
    options: &Options,
) -> std::result::Result<Option<OwnedFd>, Option<Error>> {
    let terminal = match channel.receive()? {
        FromInit::Ready(terminal) => terminal,
        FromInit::Failed(error) => return Err(Some(error)),
        FromInit::Made | FromInit::Gone => return Err(None),
    };
    if plan.process.limits_by_runtime {
        credentials::set_limits(process.pid, &plan.process)?;
    }
    let master = sockets.send(terminal, process)?;
    if let Some(master) = &master {
        terminal::pass_through(master.as_fd())?;
    }
    if let Some(path) = &options.pid_file {
        write_pid_file(path, process.pid)?;
    }
    if plan.waits() {
        channel.go()?;
    }
    match channel.receive()? {
        FromInit::Failed(error) => Err(Some(error)),
        // The end of the connection: the program was executed, or the process has ended.
        _ => match process_stat(process.pid)? {
            Some(stat) if !stat.has_executed => Err(None),
            _ => Ok(master),
        },
    }
}

/// The process' side of the story.
struct Joiner {
    plan: Exec,
    /// None: a helper has joined the namespaces.
    init: Option<OwnedFd>,
    root: Option<OwnedFd>,
    procfs: Procfs,
    record: Record,
    channel: Channel,
    inherited: Inherited,
    connection: Option<OwnedFd>,
}

impl Joiner {
    fn story(self) -> (Channel, Result<Infallible>) {
        let Self { plan, init, root, procfs, record, channel, inherited, connection } = self;
        let filter = plan.process.filter.as_ref();
        let agent = Agent::new(connection, &procfs, filter, &record, Status::Running);
        let result = agent.and_then(|agent| {
            let label = Self::join(&plan, init, procfs, record.keyring.as_deref())?;
            Self::become_program(&plan, root, label, &channel, inherited, agent)
        });
        (channel, result)
    }

    /// Into the container, if it is not there already. What has to be done from outside comes first.
    fn join(
        plan: &Exec,
        init: Option<OwnedFd>,
        procfs: Procfs,
        keyring: Option<&str>,
    ) -> Result<Option<labels::Label>> {
        process::die_with_runtime(true)?;
        process::setsid()?;
        let wanted = &plan.process;
        limits::sched_setaffinity(wanted.affinity.last.as_deref().unwrap_or(&affinity::ALL))
            .context(|| "config.json: /process/execCPUAffinity/final")?;
        if let Some(policy) = &plan.memory_policy {
            limits::set_mempolicy(policy.mode, &policy.nodes)
                .context(|| "config.json: /linux/memoryPolicy")?;
        }
        if init.is_some() {
            set_oom_score(Some(wanted), &procfs)?;
        }
        let label = labels::open(wanted.exec_label.as_ref(), &procfs)?;
        drop(procfs);
        if let Some(init) = init.filter(|_| plan.namespaces != 0) {
            setns(init.as_fd(), plan.namespaces)?;
        }
        if plan.namespaces & USER != 0 {
            user::become_root()?;
            // The change of ids has cleared both (prctl(2)).
            process::die_with_runtime(true)?;
            process::not_dumpable()?;
        }
        if let Some(name) = keyring {
            process::join_session_keyring(name)?;
        }
        Ok(label)
    }

    fn become_program(
        plan: &Exec,
        root: Option<OwnedFd>,
        label: Option<labels::Label>,
        channel: &Channel,
        inherited: Inherited,
        agent: Option<Agent>,
    ) -> Result<Infallible> {
        let callers_umask = umask(Mode::empty());
        let wanted = &plan.process;
        if let Some(root) = root {
            rootfs::enter_root_of_init(root)?;
        }
        let root = InRoot::new(open_directory("/")?);

        // 5. As in create.
        if let Some(persona) = plan.personality {
            process::set_personality(persona)?;
        }
        let terminal = match wanted.terminal {
            Some(size) => Some(
                terminal::open(&root, size, wanted.credentials.uid)
                    .and_then(terminal::Terminal::take)
                    .context(|| "config.json: /process/terminal")?,
            ),
            None => None,
        };
        let program = program::become_user(&root, wanted, label, callers_umask)?;

        // 7. The program.
        process::die_with_runtime(false)?;
        channel.ready(terminal.as_ref())?;
        if plan.waits() {
            channel.wait_for_go()?;
        }
        drop((terminal, root));
        program.get_ready(inherited)?;
        Err(program.execute(agent))
    }
}
