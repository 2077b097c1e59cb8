//! Loads the filter: config-linux.md, "Seccomp". It is the last thing before execve(2), whether the
//! kernel asks for no_new_privs or for CAP_SYS_ADMIN: the profile is for the program, and need not
//! permit anything else.
//!
//! A profile may refuse even execve, or have an agent decide it; then nothing that this thread does
//! afterwards is sure to be done, not even to say so or to end. For such profiles a second thread
//! watches, which is not filtered: it sends the listener's descriptor to the agent, and tells what
//! went wrong. The two share only the fields of [`Watch`]. execve ends it.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::program::Program;
use crate::error::{Call, Context, Error, Result};
use crate::lifecycle::Status;
use crate::plan::seccomp::{Filter, Listener};
use crate::spec;
use crate::spec::seccomp::ContainerProcessState;
use crate::state::Record;
use crate::sys::execve::clear_at_the_end;
use crate::sys::ids::capset;
use crate::sys::proc::Procfs;
use crate::sys::{filter, socket};

/// The stack of the second thread, in bytes: it formats an error at most.
const STACK: usize = 128 * 1024;

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

    /// Sends the state, the descriptor with its first part, and closes both.
    fn send(self, listener: &OwnedFd) -> Result<()> {
        let to = self.connection.as_raw_fd();
        let fds = [listener.as_raw_fd()];
        let mut control = vec![ControlMessage::ScmRights(&fds)];
        let mut rest = &self.message[..];
        while !rest.is_empty() {
            match sendmsg::<()>(to, &[IoSlice::new(rest)], &control, MsgFlags::MSG_NOSIGNAL, None) {
                Err(Errno::EINTR) => continue,
                sent => rest = &rest[sent.call(|| format!("sendmsg({to}, the agent)"))?..],
            }
            control.clear();
        }
        Ok(())
    }
}

/// What the two threads know of each other.
struct Watch {
    /// Whether the filter is loaded.
    loaded: AtomicI32,
    /// What comes of it. Nobody waits for this lock, so that to take it is no system call.
    listener: Mutex<Option<OwnedFd>>,
    /// Whether the agent has been told, and execve may be called.
    told: AtomicI32,
    /// The error number of execve.
    refused: AtomicI32,
    /// 0 when the filtered thread has ended: SCMP_ACT_KILL_THREAD ends it alone.
    is_alive: &'static AtomicI32,
}

const NOT_YET: i32 = -1;
const NO: i32 = 0;
const YES: i32 = 1;

/// Loads the filter and executes the program. Returns its error number; or that the filter could
/// not be loaded. If the filter is watched and is loaded, it does not return: `fail` is called with
/// what went wrong, and the process ends.
///
/// # Errors
/// Those of capset(2), seccomp(2) and of making a thread.
pub fn load(
    filter: &Filter,
    agent: Option<Agent>,
    fail: &(impl Fn(&Error) + Sync),
    program: &Program<'_>,
) -> Result<Errno> {
    if let Some(sets) = &filter.loaded_with {
        capset(sets)?;
    }
    let seccomp = || filter::load(&filter.instructions, filter.flags);
    let call =
        || format!("seccomp({} instructions, {:#x})", filter.instructions.len(), filter.flags);
    if !filter.is_watched {
        seccomp().call(call)?;
        return Ok(program.execve());
    }
    let watch = Watch {
        loaded: AtomicI32::new(NOT_YET),
        listener: Mutex::new(None),
        told: AtomicI32::new(NOT_YET),
        refused: AtomicI32::new(NOT_YET),
        is_alive: Box::leak(Box::new(AtomicI32::new(YES))),
    };
    clear_at_the_end(watch.is_alive);
    std::thread::scope(|scope| {
        let second = std::thread::Builder::new().stack_size(STACK);
        let second = second.spawn_scoped(scope, || watch.keep(agent, program, fail));
        second.call(|| "clone(CLONE_THREAD)")?;
        // From here on this thread makes no call but execve.
        match seccomp() {
            Ok(listener) => {
                if let Ok(mut place) = watch.listener.lock() {
                    *place = listener;
                }
                watch.loaded.store(YES, Ordering::Release);
            }
            Err(errno) => {
                watch.loaded.store(NO, Ordering::Release);
                return Err(Error::from_call(call(), errno));
            }
        }
        while watch.told.load(Ordering::Acquire) == NOT_YET {
            std::hint::spin_loop();
        }
        let errno = program.execve();
        watch.refused.store(errno as i32, Ordering::Release);
        loop {
            std::hint::spin_loop();
        }
    })
}

impl Watch {
    /// The second thread.
    fn keep(&self, agent: Option<Agent>, program: &Program<'_>, fail: &impl Fn(&Error)) {
        if self.wait(&self.loaded) == Some(NO) {
            return;
        }
        // Both descriptors are closed with this: that the agent has gone must be seen.
        let listener = self.listener.lock().ok().and_then(|mut place| place.take());
        if let (Some(agent), Some(listener)) = (agent, listener)
            && let Err(error) = agent.send(&listener)
        {
            fail(&error.context("config.json: /linux/seccomp/listenerPath"));
            std::process::exit(1);
        }
        self.told.store(YES, Ordering::Release);
        match self.wait(&self.refused) {
            Some(errno) => fail(&program.refused(Errno::from_raw(errno))),
            None => fail(&Error::new("config.json: /linux/seccomp: kills who calls execve")),
        }
        std::process::exit(1);
    }

    /// Waits for the filtered thread, which cannot wake this one: it may make no call. `None`: it
    /// has ended.
    fn wait(&self, word: &AtomicI32) -> Option<i32> {
        let mut rounds = 0;
        loop {
            match word.load(Ordering::Acquire) {
                NOT_YET if self.is_alive.load(Ordering::Acquire) == NO => return None,
                NOT_YET if rounds < 1000 => std::thread::yield_now(),
                // An agent takes its time to decide on execve.
                NOT_YET => std::thread::park_timeout(Duration::from_millis(1)),
                known => return Some(known),
            }
            rounds += 1;
        }
    }
}
