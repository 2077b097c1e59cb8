//! Runs hooks: config.md, "POSIX-platform Hooks". The state goes to standard input through a file
//! in memory, and the output into another one, so that neither side ever waits for the other.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::seccomp;
use crate::error::{Call, Context, Error, Result};
use crate::plan::seccomp::Filter;
use crate::spec::config::Hook;
use crate::sys::process::{before_exec, pidfd_open, pidfd_send_signal, wait_ended};

/// As much of a failed hook's output as its error quotes.
const QUOTED: u64 = 1024;

/// The environment of this process: what a hook of the runtime namespace has if its config has none,
/// as with runc. A hook of the container namespace has the program's then.
#[must_use]
pub fn own_env() -> Vec<String> {
    let text = |(name, value): (OsString, OsString)| {
        Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// What all hooks of one kind get.
pub struct Surroundings<'a> {
    /// The state object, for standard input.
    pub state: &'a str,
    /// The environment of a hook whose config has none.
    pub env: &'a [String],
    /// The working directory; `None`: that of this process.
    pub directory: Option<&'a str>,
    /// What filters it, if it is a program of the container's files.
    pub filter: Option<&'a Filter>,
}

/// Runs the hooks of one kind in their order, until one fails.
///
/// # Errors
/// That a hook could not be started, failed, or ran longer than its timeout.
pub fn run_all(kind: &str, hooks: &[Hook], of: &Surroundings<'_>) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, of)
            .context(|| format!("error running {kind} hook #{index}: {:?}", hook.path))
            .context(|| format!("config.json: /hooks/{kind}/{index}"))?;
    }
    Ok(())
}

/// Runs one hook.
///
/// # Errors
/// As [`run_all`].
pub fn run(hook: &Hook, of: &Surroundings<'_>) -> Result<()> {
    let mut input = memory_file()?;
    input.write_all(of.state.as_bytes()).call(|| "write(the state)")?;
    input.seek(SeekFrom::Start(0)).call(|| "lseek()")?;
    let mut output = memory_file()?;
    let shared = || output.try_clone().map(Stdio::from).call(|| "dup()");
    let mut command = Command::new(&hook.path);
    command.stdin(input).stdout(shared()?).stderr(shared()?).env_clear();
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    if let Some(directory) = of.directory {
        command.current_dir(directory);
    }
    let env = hook.env.as_deref().unwrap_or(of.env);
    command.envs(env.iter().filter_map(|entry| entry.split_once('=')));
    if let Some(filter) = of.filter.cloned() {
        before_exec(&mut command, move || {
            seccomp::load(&filter, None)
                .map_err(|error| error.errno().unwrap_or(Errno::EINVAL).into())
        });
    }
    let mut child = command.spawn().call(|| format!("execve({:?})", hook.path))?;

    let mut is_late = false;
    if let Some(seconds) = hook.timeout {
        let pid = i32::try_from(child.id()).expect("a pid is an i32");
        if let Some(pidfd) = pidfd_open(pid)? {
            is_late = end_after(pidfd.as_fd(), seconds)?;
        }
    }
    let status = child.wait().call(|| "waitid()")?;
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    output.seek(SeekFrom::Start(0)).call(|| "lseek()")?;
    output.take(QUOTED).read_to_end(&mut said).call(|| "read(the output)")?;
    let said = String::from_utf8_lossy(&said);
    let how = match (hook.timeout, status.signal()) {
        (Some(seconds), _) if is_late => format!("ran past its timeout of {seconds} s"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => format!("exit status {}", status.code().unwrap_or_default()),
    };
    Err(Error::new(format!("{how}, output: {:?}", said.trim())))
}

/// Waits for the hook, and ends it if that takes longer; not what it has started itself. Whether so.
fn end_after(pidfd: BorrowedFd<'_>, seconds: i64) -> Result<bool> {
    // poll(2) counts milliseconds, here in a u16: a minute at a time.
    let mut left = u64::try_from(seconds).unwrap_or_default();
    while left > 0 {
        let turn = left.min(60);
        left -= turn;
        let milliseconds = u16::try_from(turn * 1000).expect("a minute has 60000 of them");
        if wait_ended(pidfd, milliseconds)? {
            return Ok(false);
        }
    }
    pidfd_send_signal(pidfd, 9).map(|()| true)
}

fn memory_file() -> Result<File> {
    memfd_create(c"hook", MFdFlags::MFD_CLOEXEC).map(File::from).call(|| "memfd_create(\"hook\")")
}
