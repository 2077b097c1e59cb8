//! create: runtime.md, "Create" and "Lifecycle". The story of two processes.
//!
//! ```text
//!   runtime (runtime namespace)                init (container namespace)
//!   1  read the bundle, plan, open the joins
//!   2  claim the id
//!   3  make the cgroup, with its limits
//!   4  clone3 ──────────────────────────────▶
//!                                              5  join and make namespaces; names; OOM score
//!                                              6  mounts, devices, terminal
//!   7  device rules; network devices,    ◀──── Made
//!      prestart and createRuntime
//!      hooks                        Go ──────▶    if there are hooks or network devices
//!                                              8  createContainer hooks, sysctls, masked and
//!                                                 read-only paths, the new root
//!                                              9  working directory, user, the program's file
//!   10 state.json, sockets, pid file     ◀──── Ready
//!                                   Go ──────▶    waits for `start`: a byte in exec.fifo
//!                                              11 startContainer hooks, label, filter,
//!                                                 execve
//! ```
//!
//! Init dies with the runtime until the runtime has recorded it: first by the death signal, then,
//! from Ready on, by the end of the connection. What create made, a failing create unmakes.

mod birth;
mod given;

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::stat::{Mode, umask};

pub use given::{Given, Options};

use super::Global;
use super::handover::{Sockets, write_pid_file};
use super::inside::{set_oom_score, user_namespace};
use super::undo::Undo;
use crate::container::hooks::Surroundings;
use crate::container::inherited::Inherited;
use crate::container::mount::Opened;
use crate::container::notify::Relay;
use crate::container::program::{self, Program};
use crate::container::seccomp::Agent;
use crate::container::{
    cgroup, credentials, devices, hooks, labels, masked, mount, namespaces, network, notify,
    rootfs, seccomp, terminal, user,
};
use crate::error::{Call, Context, Error, Result};
use crate::host::Host;
use crate::lifecycle::Status;
use crate::log::Level;
use crate::plan::namespaces::{MOUNT, NETWORK, USER};
use crate::plan::process::{Process, set_env};
use crate::plan::rootfs::Place;
use crate::plan::{self, Plan, affinity};
use crate::state::fifo;
use crate::state::{Directory, NOTIFY, Record, Root};
use crate::sync::{Channel, FromInit};
use crate::sys::execve::end;
use crate::sys::proc::{Procfs, process_stat};
use crate::sys::process::{self, Child, Cloned};
use crate::sys::seal::Sealed;
use crate::sys::{clock, limits, socket};

/// When the program is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// When `start` says so.
    Later,
    /// At once: `run`.
    Now {
        /// Whether the runtime stays until the program has ended, and keeps the terminal.
        foreground: bool,
    },
}

/// A container whose init waits.
pub struct Created {
    /// Its directory.
    pub directory: Directory,
    /// What is remembered of it.
    pub record: Record,
    /// Init.
    pub init: Child,
    /// To init.
    pub channel: Channel,
    /// The terminal's master, if the runtime keeps it.
    pub master: Option<OwnedFd>,
    /// To the service manager, if the program is executed at once.
    pub relay: Option<Relay>,
}

/// Creates a container.
///
/// # Errors
/// Everything that is wrong in the config, before anything is done; else the step that failed.
/// Then nothing is left of the container.
pub fn create(global: &Global, options: &Options, sealed: Sealed) -> Result<()> {
    build(global, options, Given::take(options, sealed)?, Start::Later).map(drop)
}

/// The story, on the runtime's side.
///
/// # Errors
/// As [`create`].
#[expect(clippy::too_many_lines, reason = "the story of an operation is one function")]
pub fn build(global: &Global, options: &Options, given: Given, start: Start) -> Result<Created> {
    // 1. The question and the answer. Nothing has happened yet.
    let id = options.id.as_str();
    let Given { bundle, inherited, mut sealed } = given;
    let host = Host::ask(&bundle.spec, &bundle.path, global.cgroup_manager)?;
    let notify = format!("{}/{id}/{NOTIFY}", global.root);
    let request = plan::Request {
        id,
        bundle: &bundle.path,
        cgroup_manager: global.cgroup_manager,
        pivot: !options.no_pivot,
        new_keyring: !options.no_new_keyring,
        notify: notify::socket_of_caller().is_some().then_some(&notify),
    };
    let mut plan = plan::plan(bundle.spec, &request, &host)?;
    if let Some(process) = &mut plan.process {
        inherited.env().into_iter().for_each(|entry| set_env(&mut process.env, entry));
    }
    for warning in &plan.warnings {
        global.log.write(Level::Warning, warning)?;
    }
    global.log.write_plan(&plan)?;
    let sockets = Sockets::connect(
        plan.process.as_ref().is_some_and(|process| process.terminal.is_some()),
        start != Start::Now { foreground: true },
        options.console_socket.as_deref(),
        options.pidfd_socket.as_deref(),
    )?;
    let filter = plan.process.as_ref().and_then(|process| process.filter.as_ref());
    let connection = seccomp::connect(filter)?;
    let joined = namespaces::open_joins(&plan.namespaces)?;
    let opened = mount::open_sources(&plan)?;

    // 2. The id.
    let directory = Root::make(&global.root)?.claim(id)?;
    let mut undo = Undo::new(directory, &plan, bundle.path);
    undo.record.cgroup = plan.cgroup.as_ref().and_then(cgroup::remember);
    if plan.rootfs.place == Place::Beside && !plan.namespaces.is_own(MOUNT) {
        undo.record.rootfs_below = Some(rootfs::below(&plan.rootfs)?);
    }
    undo.directory().write(&undo.record)?;
    if plan.notify {
        undo.directory().make_notify()?;
    }

    // 3. The cgroup, with its limits: init is born into them.
    let mut cgroup = birth::make_cgroup(&mut plan, &mut undo)?;

    // 4. Init, in its namespaces and its cgroup.
    let fifo = (start == Start::Later).then(|| fifo::Wait::make(undo.directory())).transpose()?;
    let (ours, its) = socket::pair()?;
    let flags = plan.namespaces.clone_flags();
    if plan.is_privileged {
        // Init is not either, from its birth on: in a pid namespace that is joined others see it. An
        // ordinary user would lose the files of his own processes in /proc (proc(5)).
        process::not_dumpable()?;
    }
    match birth::clone_into(flags, &joined, cgroup.as_mut(), &plan, &mut sealed)? {
        Cloned::Init => {
            // The lock of the directory is the runtime's alone.
            let record = undo.forget();
            drop((ours, cgroup, sockets));
            let channel = Channel(its);
            let mut init =
                Init { plan, record, joined, opened, channel, fifo, inherited, connection };
            let Err(error) = init.story();
            init.fail(&error);
            end(1);
        }
        Cloned::Runtime(child) => undo.init = Some(child),
    }
    drop((its, fifo, connection));
    let channel = Channel(ours);
    undo.record.pid = undo.init().pid;
    if plan.gets_ids() {
        let init = undo.record.pid;
        user::give_ids(&plan, init)?;
        mount::map_ids(&opened, &plan.mounts, |ids| match ids {
            Some(ids) => user_namespace(ids),
            None => Procfs::open()?.magic_file(&format!("{init}/ns/user")),
        })?;
        channel.go()?;
    }
    drop(opened);
    // While init is at work: what `exec` will want, and what is known of the container when all is done.
    undo.directory().write_config(&bundle.text)?;
    let stat = process_stat(undo.record.pid)?.ok_or_else(|| undo.how_init_ended())?;
    undo.record.start_time = stat.start_time;
    undo.record.created = clock::now();
    undo.directory().prepare(&undo.record)?;
    let rules = cgroup.as_ref().map(|_| cgroup::devices::load(&plan.resources.devices));
    let rules = rules.transpose().context(|| "config.json: /linux/resources/devices")?.flatten();
    // Before the first Go that lets init execute something, and before the hooks: see `Sealed`. Init has
    // closed its own long ago, so it is the runtime that waits for the kernel.
    sealed.close();

    // 7. What the runtime does between mounts and the new root; then init is ready.
    let terminal = loop {
        match channel.receive()? {
            FromInit::Made => {
                // Not before: they may forbid to make the devices. Not later: hooks may put others in
                // their place.
                if let (Some(cgroup), Some(rules)) = (&cgroup, &rules) {
                    cgroup::devices::attach(cgroup.as_fd(), rules.as_fd(), undo.made_cgroup())?;
                }
                if plan.waits_for_runtime() {
                    serve(&plan, &joined, &mut undo)?;
                    channel.go()?;
                }
            }
            FromInit::Ready(terminal) => break terminal,
            FromInit::Failed(error) => return Err(error),
            FromInit::Gone => return Err(undo.how_init_ended()),
        }
    };

    if let Some(process) = plan.process.as_ref().filter(|process| process.limits_by_runtime) {
        credentials::set_limits(undo.record.pid, process)?;
    }

    // 10. What init could not have been born with.
    if let Some(cgroup) = &cgroup {
        birth::set_late_limits(cgroup, &plan, &undo)?;
    }
    // From here on the container is known, and lives without the runtime.
    undo.directory().commit()?;
    // Before the program runs: it may say at once that it is ready.
    let listen = || Relay::listen(undo.directory());
    let relay = if start == Start::Later { None } else { listen()? };
    let master = sockets.send(terminal, undo.init())?;
    if let Some(master) = &master {
        terminal::pass_through(master.as_fd())?;
    }
    if let Some(path) = &options.pid_file {
        write_pid_file(path, undo.record.pid)?;
    }
    channel.go()?;
    // It is known now: whoever deletes it need not wait for a `run` in the foreground.
    undo.directory().unlock()?;
    Ok(undo.keep(channel, master, relay))
}

/// Step 7: network devices, then the hooks of the runtime namespace.
fn serve(plan: &Plan, joined: &[namespaces::Joined], undo: &mut Undo) -> Result<()> {
    if !plan.net_devices.is_empty() {
        let file = match joined.iter().find(|joined| joined.kind == NETWORK) {
            Some(joined) => joined.file.try_clone().call(|| "dup()")?,
            None => Procfs::open()?.magic_file(&format!("{}/ns/net", undo.record.pid))?,
        };
        undo.moved = Some(network::move_devices(&plan.net_devices, file.as_fd())?);
    }
    let (state, env) = (undo.record.hook_state(Status::Creating), hooks::own_env());
    let of = Surroundings {
        state: &state,
        env: &env,
        directory: Some(&undo.record.bundle),
        filter: None,
    };
    hooks::run_all("prestart", &plan.hooks.prestart, &of)?;
    hooks::run_all("createRuntime", &plan.hooks.create_runtime, &of)
}

/// Init's side of the story.
struct Init {
    plan: Plan,
    record: Record,
    joined: Vec<namespaces::Joined>,
    opened: Opened,
    channel: Channel,
    fifo: Option<fifo::Wait>,
    inherited: Inherited,
    connection: Option<OwnedFd>,
}

impl Init {
    fn story(&mut self) -> Result<Infallible> {
        let agent = self.agent()?;
        let joined = std::mem::take(&mut self.joined);
        let opened = std::mem::take(&mut self.opened);
        // Steps 5 to 9 close, when they end, the directories that they opened.
        let (program, terminal) = self.prepare(joined, opened)?;
        // From here on the end of the connection tells that the runtime is gone before it has
        // recorded this process; the death signal would end a container that is recorded.
        process::die_with_runtime(false)?;
        self.channel.ready(terminal.as_ref())?;
        drop(terminal);
        self.channel.wait_for_go()?;
        if let Some(fifo) = &self.fifo {
            fifo.wait()?;
        }

        // 11. The program.
        let Some(program) = program else {
            return Err(Error::new("config.json: /process: missing"));
        };
        if !self.plan.hooks.start_container.is_empty() {
            let state = self.hook_state(Status::Created);
            let filter = self.plan.process.as_ref().and_then(|process| process.filter.as_ref());
            let of = Surroundings { state: &state, env: &program.env, directory: None, filter };
            hooks::run_all("startContainer", &self.plan.hooks.start_container, &of)?;
        }
        program.get_ready(self.inherited)?;
        if let Some(fifo) = &self.fifo {
            fifo.executes()?;
        }
        Err(program.execute(agent))
    }

    /// Steps 5 to 9: what there is to execute, and the master of the terminal.
    fn prepare(
        &self,
        joined: Vec<namespaces::Joined>,
        mut opened: Opened,
    ) -> Result<(Option<Program<'_>>, Option<OwnedFd>)> {
        let plan = &self.plan;
        let has_user = plan.namespaces.is_own(USER);
        // 5. Init itself, its namespaces, and what belongs to them.
        process::die_with_runtime(true)?;
        if plan.gets_ids() {
            self.channel.wait_for_go()?;
        }
        process::setsid()?;
        let callers_umask = umask(Mode::empty());
        let procfs = Procfs::open()?;
        if !has_user {
            set_oom_score(plan.process.as_ref(), &procfs)?;
        }
        // Of its cgroup, and not of who called.
        limits::sched_setaffinity(&affinity::ALL)?;
        if let Some(policy) = &plan.memory_policy {
            limits::set_mempolicy(policy.mode, &policy.nodes)
                .context(|| "config.json: /linux/memoryPolicy")?;
        }
        // Before a mount namespace is joined, in which the path may be something else.
        let root = rootfs::open(&plan.rootfs)?;
        namespaces::join_and_make(&plan.namespaces, &joined, &procfs)?;
        if let Some(name) = &plan.keyring {
            process::join_session_keyring(name)?;
        }
        if let Some(name) = &plan.hostname {
            nix::unistd::sethostname(name).call(|| format!("sethostname({name:?})"))?;
        }
        if let Some(name) = &plan.domainname {
            process::setdomainname(name)?;
        }
        let label = plan.process.as_ref().and_then(|process| process.exec_label.as_ref());
        let label = labels::open(label, &procfs)?;
        if has_user {
            user::become_root()?;
            // The change of ids has cleared both (prctl(2)).
            process::die_with_runtime(true)?;
            process::not_dumpable()?;
        }

        // 6. What the container sees.
        let root = match root {
            Some(root) => rootfs::cover(&root, &plan.rootfs).map(|()| root)?,
            None => rootfs::attach(&plan.rootfs, opened.rootfs.take())?,
        };
        let read_only_at_last = mount::mount_all(&root, &plan.mounts, opened)?;
        if let Some(devices) = &plan.devices {
            devices::make(&root, devices)?;
        }
        let terminal = match &plan.process {
            Some(Process { terminal: Some(size), credentials, .. }) => Some(
                terminal::open(&root, *size, credentials.uid)
                    .and_then(|terminal| terminal.show_as_console().and_then(|()| terminal.take()))
                    .context(|| "config.json: /process/terminal")?,
            ),
            _ => None,
        };

        // 7. The runtime's part.
        self.channel.made()?;
        if plan.waits_for_runtime() {
            self.channel.wait_for_go()?;
        }

        // 8. The new root.
        if !plan.hooks.create_container.is_empty() {
            let state = self.hook_state(Status::Creating);
            let of = Surroundings { state: &state, env: plan.env(), directory: None, filter: None };
            hooks::run_all("createContainer", &plan.hooks.create_container, &of)?;
        }
        for (path, value) in &plan.sysctls {
            procfs
                .write(&format!("sys/{path}"), value)
                .context(|| format!("config.json: /linux/sysctl/{}", plan::escape(path)))?;
        }
        masked::make_read_only(&root, &plan.rootfs.readonly_paths)?;
        masked::mask(&root, &plan.rootfs.masked)?;
        rootfs::finish(&root, &plan.rootfs, &read_only_at_last)?;
        rootfs::enter(&root, &plan.rootfs)?;
        rootfs::propagate(&root, &plan.rootfs)?;
        if let Some(persona) = plan.personality {
            process::set_personality(persona)?;
        }

        // 9. The user.
        let Some(process) = &plan.process else { return Ok((None, terminal)) };
        let program = program::become_user(&root, process, label, callers_umask)?;
        Ok((Some(program), terminal))
    }

    /// Who decides calls of the program. The program gets the filter when `create` has long ended.
    fn agent(&mut self) -> Result<Option<Agent>> {
        let connection = self.connection.take();
        if connection.is_none() {
            return Ok(None);
        }
        let filter = self.plan.process.as_ref().and_then(|process| process.filter.as_ref());
        Agent::new(connection, &Procfs::open()?, filter, &self.record, Status::Created)
    }

    /// The state object as the container sees it: with the pid that init has there.
    fn hook_state(&self, status: Status) -> String {
        let pid = nix::unistd::getpid().as_raw();
        Record { pid, ..self.record.clone() }.hook_state(status)
    }

    /// Tells what went wrong: `create` over the connection, `start` in exec.fifo.
    fn fail(&self, error: &Error) {
        self.channel.fail(error);
        if let Some(fifo) = &self.fifo {
            fifo.fail(error);
        }
    }
}
