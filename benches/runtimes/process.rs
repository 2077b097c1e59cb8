//! Starting a program and taking its time and its memory: wait4(2), prctl(2). The benchmark's only unsafe.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process that has ended.
pub struct Ended {
    pub status: ExitStatus,
    /// Peak resident memory of it and of what it waited for, in KiB (`ru_maxrss`).
    pub peak: u64,
    /// Time of a processor that it and what it waited for took, in user mode and in the kernel.
    pub cpu: Duration,
}

/// From before posix_spawn to after wait4.
pub fn time(command: &mut Command) -> io::Result<(Duration, ExitStatus)> {
    time_whole(command).map(|(elapsed, ended)| (elapsed, ended.status))
}

/// The same, with all that the kernel tells.
// wait4 reaps it, because std's wait does not tell the memory.
#[allow(clippy::zombie_processes)]
pub fn time_whole(command: &mut Command) -> io::Result<(Duration, Ended)> {
    let start = Instant::now();
    let child = command.spawn()?;
    let ended = reap(child.id().cast_signed())?;
    Ok((start.elapsed(), ended))
}

/// Waits for one child; -1 is any.
pub fn reap(pid: i32) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: rusage is integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to whole objects that outlive the call.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
        if reaped >= 0 {
            return Ok(Ended {
                status: ExitStatus::from_raw(status),
                peak: usage.ru_maxrss.unsigned_abs(),
                cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    let microseconds = time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_usec.unsigned_abs();
    Duration::from_micros(microseconds)
}

/// Makes this process the parent of what a runtime leaves running, as an engine's shim is
/// (`PR_SET_CHILD_SUBREAPER`): the end of a container is then a wait4, without polling `state`.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: this option reads one integer and touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Measures memory from a fresh, small process: exec keeps the peak of the memory that the process
/// had before, and after posix_spawn that is the parent's own, which grows with the samples.
pub fn peak_of(command: &Command, errors: &File, file: &Path) -> io::Result<(u64, ExitStatus)> {
    let mut helper = again("--peak", file.as_os_str(), command, errors)?;
    let status = time(&mut helper)?.1;
    let peak = fs::read_to_string(file)?.parse().map_err(io::Error::other)?;
    Ok((peak, status))
}

/// The helper of `peak_of`. Gives the exit status of the program.
#[allow(clippy::zombie_processes)] // as in `time`
pub fn write_peak(file: &Path, program: &mut Command) -> io::Result<ExitStatus> {
    let child = program.spawn()?;
    let ended = reap(child.id().cast_signed())?;
    fs::write(file, ended.peak.to_string())?;
    Ok(ended.status)
}

/// Several processes that each run their command `times` times, one after the other; the time from
/// the moment when all were ready. Gives the first bad exit status, if there is one.
pub fn time_loops(
    commands: &[Command],
    errors: &File,
    times: usize,
) -> io::Result<(Duration, ExitStatus)> {
    let (mut ready, is_ready) = io::pipe()?;
    let (begins, begin) = io::pipe()?;
    let mut loops = Vec::new();
    for command in commands {
        let mut helper = again("--loop", times.to_string().as_ref(), command, errors)?;
        loops.push(helper.stdin(begins.try_clone()?).stdout(is_ready.try_clone()?).spawn()?);
    }
    drop(is_ready);
    ready.read_exact(&mut vec![0; commands.len()])?;
    let start = Instant::now();
    drop(begin);
    let mut status = ExitStatus::default();
    for mut child in loops {
        let ended = child.wait()?;
        if status.success() {
            status = ended;
        }
    }
    Ok((start.elapsed(), status))
}

/// The helper of `time_loops`: says on stdout that it is ready, begins when stdin ends.
pub fn loop_over(times: usize, program: &mut Command) -> io::Result<ExitStatus> {
    program.stdin(Stdio::null()).stdout(Stdio::null());
    io::stdout().write_all(b".")?;
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    for _ in 0..times {
        let status = time(program)?.1;
        if !status.success() {
            return Ok(status);
        }
    }
    Ok(ExitStatus::default())
}

/// This program as the helper `mode` of `command`.
fn again(mode: &str, argument: &OsStr, command: &Command, errors: &File) -> io::Result<Command> {
    let mut helper = Command::new(std::env::current_exe()?);
    helper.arg(mode).arg(argument).arg(command.get_program()).args(command.get_args());
    helper.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors.try_clone()?);
    Ok(helper)
}
