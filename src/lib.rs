//! `hull`, a low-level OCI container runtime, and the library of `hull-unpack`.
//!
//! It is run by engines and by people, does one operation and exits. No daemon, no threads,
//! nothing left behind. A container is made by two processes:
//!
//! ```text
//!   hull create ─┬─ reads, plans, claims the id, makes the cgroup
//!                ├─ clone3 ─────────────────┐ init: namespaces, mounts, the new root, the user
//!                ├─ hooks of the runtime ◀──┤
//!                ├─ records ◀───────────────┤ ready
//!                └─ exits                   │ waits
//!   hull start ─── one byte ───────────────▶└ becomes the program
//! ```
//!
//! The modules, in the way of the data:
//! - the question: [`cli`], [`bundle`], [`spec`], [`host`];
//! - the answer: [`plan`], which is pure;
//! - the deed: [`ops`] by operation ([`ops::create`] is the story to read first, [`ops::exec`] the
//!   second one), [`container`] by part of the container, [`sync`] between the two processes,
//!   [`dbus`] to systemd;
//! - the memory: [`state`], [`lifecycle`];
//! - the kernel: [`sys`];
//! - and [`error`], [`log`].
//!
//! `unpack` is the other program: images into bundles.
//!
//! Invariants, held by `tests/tidy.rs` where text can show them:
//! 1. `unsafe` only in `sys`.
//! 2. `cli`, `spec`, `plan`, `lifecycle` do no I/O.
//! 3. Only `ops/create.rs`, `ops/exec.rs`, `ops/inside.rs`, `container/hooks.rs` and, for newuidmap(1),
//!    `container/user.rs` start processes, and of the unpacker `unpack/user_namespace.rs`.
//! 4. `unpack` uses `sys`, `spec`, `error`; nothing uses `unpack`.
//! 5. No threads in the runtime, no `static mut`, no lazy globals: after clone3 the child may
//!    allocate, because nobody else was running.
//! 6. A path inside the rootfs is never a string given to the kernel, until init itself is inside.
//!    A write under /proc goes through a procfs that the container cannot have mounted over.
//! 7. Between clone3 and execve nothing prints; init's error travels to the runtime.
//! 8. Nothing is decided after clone3: if init must combine two facts to know what to do, the plan
//!    lacks a field.
//! 9. An error names the config field (a JSON pointer) or the system call, and is printed once.
//! 10. What `create` made, a failing `create` unmakes; one that was killed leaves nothing that
//!     `delete --force` does not remove.
//! 11. Only descriptors 0, 1, 2 and those that were asked for reach the program.

pub mod bundle;
pub mod cli;
pub mod container;
pub mod dbus;
pub mod error;
pub mod host;
pub mod lifecycle;
pub mod log;
pub mod ops;
pub mod plan;
pub mod spec;
pub mod state;
pub mod sync;
#[allow(unsafe_code)]
pub mod sys;
#[cfg(feature = "unpack")]
pub mod unpack;

use std::process::ExitCode;

use cli::{Command, Parsed};
use error::{Context, Result};
use log::Level;
use ops::Global;
use sys::seal::Sealed;

/// The runtime: reads the command line, does the operation, prints what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    // Whoever ignores it would have the kernel take the exit status of our children.
    sys::process::default_action_of_sigchld();
    let sealed = if cli::may_make_a_process(std::env::args_os()) {
        match sys::seal::seal_executable() {
            Ok(sealed) => sealed,
            Err(error) => return fail(&log::Log::default(), &error.to_string()),
        }
    } else {
        Sealed::default()
    };
    let (flags, command) = match cli::parse(std::env::args_os()) {
        Parsed::Command(flags, command) => (flags, command),
        Parsed::Print(text) => {
            return match ops::print(&text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&log::Log::default(), &error.to_string()),
            };
        }
        Parsed::Wrong(log, message) => return fail(&log, &message),
    };
    let log = flags.log.clone();
    let failure = command.failure();
    match Global::new(flags).and_then(|global| execute(&global, command, sealed)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            fail(&log, &error.to_string());
            ExitCode::from(failure)
        }
    }
}

fn execute(global: &Global, command: Command, sealed: Sealed) -> Result<u8> {
    match command {
        Command::Create(options) => {
            let doing = || format!("create {:?}", options.id);
            ops::create::create(global, &options, sealed).context(doing).map(|()| 0)
        }
        Command::Run(options, how) => {
            ops::run::run(global, &options, how, sealed).context(|| format!("run {:?}", options.id))
        }
        Command::Exec(options) => {
            ops::exec::exec(global, &options, sealed).context(|| format!("exec {:?}", options.id))
        }
        Command::Start(id) => {
            sys::process::close_on_exec_from(3)?;
            ops::start::start(global, &id).context(|| format!("start {id:?}")).map(|()| 0)
        }
        Command::State(id) => {
            ops::state::state(global, &id).context(|| format!("state {id:?}")).map(|()| 0)
        }
        Command::Kill { ids, signal, all } => each(global, &ids, |id| {
            ops::kill::kill(global, id, &signal, all).context(|| format!("kill {id:?}"))
        }),
        Command::Delete { ids, force } => {
            sys::process::close_on_exec_from(3)?;
            let delete = |id: &str| ops::delete::delete(global, id, force);
            each(global, &ids, |id| delete(id).context(|| format!("delete {id:?}")))
        }
        Command::List(format) => ops::list::list(global, format).map(|()| 0),
        Command::Pause(id) => {
            ops::pause::pause(global, &id).context(|| format!("pause {id:?}")).map(|()| 0)
        }
        Command::Resume(id) => {
            ops::resume::resume(global, &id).context(|| format!("resume {id:?}")).map(|()| 0)
        }
        Command::Events { id, watch } => {
            ops::events::events(global, &id, watch).context(|| format!("events {id:?}")).map(|()| 0)
        }
        Command::Update { id, from } => {
            ops::update::update(global, &id, from).context(|| format!("update {id:?}")).map(|()| 0)
        }
        Command::Ps { id, format } => {
            ops::ps::ps(global, &id, &format).context(|| format!("ps {id:?}")).map(|()| 0)
        }
        Command::Spec { bundle, rootless } => ops::spec::spec(&bundle, rootless).map(|()| 0),
        Command::Features => ops::features::features().map(|()| 0),
    }
}

/// Does it for every container that is meant; the first error is told after all were tried.
fn each(global: &Global, ids: &cli::Ids, act: impl Fn(&str) -> Result<()>) -> Result<u8> {
    let ids = match ids {
        cli::Ids::One(id) => vec![id.clone()],
        cli::Ids::Matching(pattern) => ops::list::matching(global, pattern)?,
    };
    let results: Vec<Result<()>> = ids.iter().map(|id| act(id)).collect();
    results.into_iter().collect::<Result<()>>().map(|()| 0)
}

fn fail(log: &log::Log, message: &str) -> ExitCode {
    match log.write(Level::Error, message) {
        // Said on standard error already.
        Err(error) if error.to_string() != message => {
            log::Log::default().write(Level::Error, &error.to_string()).ok();
        }
        _ => {}
    }
    ExitCode::FAILURE
}
