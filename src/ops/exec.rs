//! exec: another program in a container that exists. The second story of two processes.
//!
//! ```text
//!   runtime (runtime namespace)                process (container namespace)
//!   1  the container, the plan
//!   2  hold on to init, open the cgroup
//!   3  clone3, in the pid namespace ────────▶
//!      and in the cgroup
//!                                              4  join the other namespaces, by init's pidfd
//!                                              5  terminal, working directory, user, the
//!                                                 program's file
//!   6  sockets, pid file                 ◀──── Ready
//!                          Go, if there is ──▶ 7  label, execve
//!                          a terminal
//!   8  in the foreground: wait
//! ```
//!
//! Until execve the process has the runtime's memory and executable in the container's namespaces.
//! So it is not dumpable from its birth on, which keeps ptrace(2) and /proc/PID/mem, fd and exe
//! from all of the container's processes; the executable is sealed; and no descriptor of the runtime
//! namespace is open in it when it joins but the one of its own label.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use super::Global;
use super::foreground::{Foreground, block_signals};
use super::handover::{Sockets, write_pid_file};
use super::inside::clone_inside;
use super::start::find;
use crate::bundle;
use crate::container::inherited::Inherited;
use crate::container::{cgroup, credentials, labels, program, rootfs, terminal, user};
use crate::error::{Context, Error, Result};
use crate::host::Host;
use crate::lifecycle::{Operation, Status, check};
use crate::log::Level;
use crate::plan::exec::{Changes, Exec, Wanted, plan};
use crate::plan::namespaces::{PID, USER};
use crate::plan::process::set_env;
use crate::spec::config::Spec;
use crate::state::Container;
use crate::sync::{Channel, FromInit};
use crate::sys::path::{InRoot, open_directory};
use crate::sys::proc::Procfs;
use crate::sys::process::{
    self, Child, Cloned, clone3, exit_status, pidfd_open, pidfd_send_signal, setns,
};
use crate::sys::socket;

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
pub fn exec(global: &Global, options: &Options) -> Result<u8> {
    // 1. The question and the answer.
    let inherited = Inherited::check(options.preserve_fds)?;
    // The process gets no descriptor of the caller but those that are meant for it.
    process::close_on_exec_from(3)?;
    let container = find(global, &options.id)?;
    let init = hold_init(&container, options.ignore_paused)?;
    let config: Spec = bundle::read_document(&container.directory.config())?;
    let wanted = match &options.process {
        None => Wanted::Changes(options.changes.clone()),
        Some(path) => {
            let process = bundle::read_document(path).context(|| "--process")?;
            Wanted::File { path: path.clone(), process }
        }
    };
    let host = Host::ask_for_exec(wanted.has_label(&config))?;
    let mut plan = plan(config, wanted, &host)?;
    inherited.env().into_iter().for_each(|entry| set_env(&mut plan.process.env, entry));
    for warning in &plan.warnings {
        global.log.write(Level::Warning, warning)?;
    }
    let has_terminal = plan.process.terminal.is_some();
    let [console, pidfd] = [&options.console_socket, &options.pidfd_socket].map(Option::as_deref);
    let sockets = Sockets::connect(has_terminal, options.detach, console, pidfd)?;

    // 2. What belongs to the container.
    let root = if plan.has_own_mounts { None } else { Some(root_of(&container)?) };
    let cgroup = match &container.record.cgroup {
        Some(own) => cgroup::join::open(&own.directory, options.cgroup.as_deref())?,
        None if options.cgroup.is_some() => {
            return Err(Error::new("--cgroup: the container has no cgroup of its own"));
        }
        None => None,
    };
    let signals = if options.detach {
        None
    } else {
        if !options.no_subreaper {
            process::become_subreaper()?;
        }
        // Before the process exists: a signal that comes later is for it.
        Some(block_signals()?)
    };

    // 3. The process.
    let (ours, its) = socket::pair()?;
    // Only its owner may join a user namespace without privileges, and only after that the others.
    let by_helper = !plan.is_privileged && plan.namespaces & USER != 0;
    let joined = (plan.joins_pid && !by_helper).then(|| join_pid(&init)).transpose();
    let own_pid_namespace = joined.map_err(|error| gone(&container, error))?;
    if plan.is_privileged {
        // From its birth on other processes of the container see it.
        process::not_dumpable()?;
    }
    let clone = |cgroup: Option<&OwnedFd>| {
        let cgroup = cgroup.map(AsFd::as_fd);
        if by_helper {
            let pid = if plan.joins_pid { PID } else { 0 };
            return clone_inside(&[(init.as_fd(), plan.namespaces | pid)], 0, cgroup);
        }
        clone3(0, cgroup)
    };
    let cloned = match (clone(cgroup.as_ref()), &cgroup) {
        // It is gone, or hands out controllers since, so that processes can only be below it
        // (cgroup-v2.rst, "No Internal Process Constraint"). A name below it was asked for, though.
        (Err(error), Some(_)) if refuses_processes(&error) && options.cgroup.is_none() => {
            let current = cgroup::join::of_process(container.record.pid, host.cgroup_mount)?;
            clone(current.as_ref())
        }
        (cloned, _) => cloned,
    };
    let process = match cloned.map_err(|error| gone(&container, error))? {
        Cloned::Init => {
            drop((ours, cgroup, sockets, own_pid_namespace, container, signals));
            let init = (!by_helper).then_some(init);
            let joiner = Joiner { plan, init, root, channel: Channel(its), inherited };
            let (channel, Err(error)) = joiner.story();
            channel.fail(&error);
            std::process::exit(255);
        }
        Cloned::Runtime(process) => process,
    };
    drop(its);
    if let Some(namespace) = own_pid_namespace {
        setns(namespace.as_fd(), PID)?;
    }

    // 6. What the caller asked for, while the program starts.
    let channel = Channel(ours);
    let master = hand_over(&channel, sockets, &process, &plan, options).inspect_err(|_| {
        // It may have ended by itself.
        pidfd_send_signal(process.pidfd.as_fd(), 9).ok();
        exit_status(process.pidfd.as_fd()).ok();
    })?;

    // 8. All of its life.
    match signals {
        Some(signals) => Foreground { signals, init: &process, master, relay: None }.wait(),
        None => Ok(0),
    }
}

/// Joins the pid namespace of init, and returns the runtime's own, to come back to: who joins another
/// one moves only its children (pid_namespaces(7)), of which the next must be the container's and no
/// other.
fn join_pid(init: &OwnedFd) -> Result<OwnedFd> {
    let own = Procfs::open()?.magic_file("self/ns/pid")?;
    setns(init.as_fd(), PID)?;
    Ok(own)
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

/// Init may have ended since it was looked at. Its pid namespace takes no process then, for which
/// the kernel has the word ENOMEM (clone(2)).
fn gone(container: &Container, error: Error) -> Error {
    if container.is_alive().unwrap_or(true) { error } else { stopped() }
}

/// The root of a container that shares its mounts.
fn root_of(container: &Container) -> Result<OwnedFd> {
    Procfs::open()?.magic_file(&format!("{}/root", container.record.pid))
}

fn refuses_processes(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EBUSY | Errno::ENODEV | Errno::ENOENT | Errno::EOPNOTSUPP))
}

/// Step 6. Returns the terminal's master, if nobody asked for it, when the program was executed.
fn hand_over(
    channel: &Channel,
    sockets: Sockets,
    process: &Child,
    plan: &Exec,
    options: &Options,
) -> Result<Option<OwnedFd>> {
    let terminal = match channel.receive()? {
        FromInit::Ready(terminal) => terminal,
        FromInit::Failed(error) => return Err(error),
        FromInit::Asks | FromInit::Gone => {
            return Err(Error::new("the process ended before the program was executed"));
        }
    };
    if plan.process.limits_by_runtime {
        credentials::set_limits(process.pid, &plan.process)?;
    }
    let master = sockets.send(terminal, process)?;
    if let Some(master) = &master {
        // Before the program runs: it may ask at once.
        terminal::follow_size(master.as_fd());
    }
    if let Some(path) = &options.pid_file {
        write_pid_file(path, process.pid)?;
    }
    if plan.waits() {
        channel.go()?;
    }
    match channel.receive()? {
        FromInit::Failed(error) => Err(error),
        // The end of the connection: the program was executed.
        _ => Ok(master),
    }
}

/// The process' side of the story.
struct Joiner {
    plan: Exec,
    /// None: a helper has joined the namespaces.
    init: Option<OwnedFd>,
    root: Option<OwnedFd>,
    channel: Channel,
    inherited: Inherited,
}

impl Joiner {
    fn story(self) -> (Channel, Result<Infallible>) {
        let Self { plan, init, root, channel, inherited } = self;
        let result = Self::join(&plan, init, root, &channel, inherited);
        (channel, result)
    }

    fn join(
        plan: &Exec,
        init: Option<OwnedFd>,
        root: Option<OwnedFd>,
        channel: &Channel,
        inherited: Inherited,
    ) -> Result<Infallible> {
        // 4. Into the container. What has to be done from outside comes first.
        process::die_with_runtime(true)?;
        process::setsid()?;
        let callers_umask = umask(Mode::empty());
        let wanted = &plan.process;
        if let Some(processors) = &wanted.affinity.last {
            process::sched_setaffinity(processors)
                .context(|| "config.json: /process/execCPUAffinity/final")?;
        }
        let procfs = Procfs::open()?;
        if let Some(adj) = wanted.oom_score_adj {
            procfs
                .write("self/oom_score_adj", &adj.to_string())
                .context(|| "config.json: /process/oomScoreAdj")?;
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
        if plan.waits() && !channel.wait_for_go()? {
            return Err(Error::new("the runtime is gone"));
        }
        drop((terminal, root));
        program.get_ready(inherited)?;
        Err(program.execute())
    }
}
