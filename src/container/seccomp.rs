//! Loads the filter: config-linux.md, "Seccomp". It is the last thing before execve(2), whether the
//! kernel asks for no_new_privs or for CAP_SYS_ADMIN: the profile is for the program, and need not
//! permit anything else.
//!
//! The descriptor of a listener comes with the filter, and must be sent to the agent and closed
//! under it, though the profile may refuse both, or ask the agent, who cannot answer yet. So a filter
//! with a listener permits three calls that are marked ([`filter::MARK`]), and a second one refuses
//! them to the program: nothing else is called before that, and nothing but execve after it.
//!
//! A startContainer hook is a program of the container's files, as hostile as any: it is filtered too.
//!
//! If execve fails, what init says of it is filtered like the program. A profile may keep it from
//! telling why, but not from ending: the runtime sees that it never executed anything.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Call, Context, Error, Result};
use crate::lifecycle::Status;
use crate::plan::seccomp::{Filter, Listener, flag};
use crate::spec;
use crate::spec::seccomp::ContainerProcessState;
use crate::state::Record;
use crate::sys::filter::Instruction;
use crate::sys::ids::capset;
use crate::sys::proc::Procfs;
use crate::sys::{filter, socket};

/// Who decides the calls of SCMP_ACT_NOTIFY, connected.
pub struct Agent {
    connection: OwnedFd,
    message: Vec<u8>,
}

/// Connects to the agent, before anything is created.
///
/// # Errors
/// Those of connect(2), with the field of the config.
pub fn connect(filter: Option<&Filter>) -> Result<Option<OwnedFd>> {
    let Some(Listener { path, .. }) = filter.and_then(|filter| filter.listener.as_ref()) else {
        return Ok(None);
    };
    let connection = socket::connect(path);
    connection.map(Some).context(|| "config.json: /linux/seccomp/listenerPath")
}

impl Agent {
    /// What will be sent to it: config-linux.md, "The Container Process State". `procfs` is that of
    /// the runtime namespace: the pid is the one that is seen there.
    ///
    /// # Errors
    /// Those of reading the pid.
    pub fn new(
        connection: Option<OwnedFd>,
        procfs: &Procfs,
        filter: Option<&Filter>,
        record: &Record,
        status: Status,
    ) -> Result<Option<Self>> {
        let Some(connection) = connection else { return Ok(None) };
        let number = procfs.own_number()?;
        let pid = number.parse().map_err(|_| Error::new(format!("/proc/self is {number:?}")))?;
        let listener = filter.and_then(|filter| filter.listener.as_ref());
        // Of the container, which before this process is recorded has none but this one.
        let container = if record.pid == 0 { pid } else { record.pid };
        let record = Record { pid: container, ..record.clone() };
        let state = ContainerProcessState {
            oci_version: spec::VERSION,
            fds: ["seccompFd"],
            pid,
            metadata: listener.map_or("", |listener| &listener.metadata),
            state: record.state(status, ""),
        };
        let message = serde_json::to_vec(&state).expect("a state holds nothing that JSON does not");
        Ok(Some(Self { connection, message }))
    }

    /// Sends the state, the descriptor with its first part, and closes both: that the agent has
    /// gone must be seen. Makes marked calls alone, and no other: no memory is asked for.
    fn send(self, listener: OwnedFd) -> nix::Result<()> {
        let (mut rest, mut fd) = (&self.message[..], Some(listener.as_raw_fd()));
        let result = loop {
            match filter::send_marked(&self.connection, rest, fd) {
                Err(Errno::EINTR) => {}
                Err(errno) => break Err(errno),
                Ok(sent) if sent == rest.len() => break Ok(()),
                Ok(sent) => (rest, fd) = (&rest[sent..], None),
            }
        };
        filter::close_marked(listener);
        filter::close_marked(self.connection);
        result
    }
}

/// Loads the filter, and sends its listener to the agent; without one, as in a hook, who would ask it
/// gets ENOSYS (seccomp_unotify(2)). Only execve(2) may follow.
///
/// # Errors
/// Those of capset(2), seccomp(2) and sendmsg(2).
pub fn load(filter: &Filter, agent: Option<Agent>) -> Result<()> {
    let section = || "config.json: /linux/seccomp";
    if let Some(sets) = &filter.loaded_with {
        capset(sets).context(section)?;
    }
    let load = |instructions: &[Instruction], flags| {
        let call = || format!("seccomp({} instructions, {flags:#x})", instructions.len());
        filter::load(instructions, flags).call(call).context(section)
    };
    let fd = load(&filter.instructions, filter.flags)?;
    let (Some(listener), Some(fd)) = (&filter.listener, fd) else { return Ok(()) };
    match agent {
        Some(agent) => {
            let sent = agent.send(fd).call(|| "sendmsg(the agent)");
            sent.context(|| "config.json: /linux/seccomp/listenerPath")?;
        }
        None => filter::close_marked(fd),
    }
    load(&listener.last, filter.flags & (flag::LOG | flag::SPEC_ALLOW)).map(drop)
}
