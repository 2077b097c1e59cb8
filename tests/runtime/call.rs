//! One call of a program, with a time limit that is waited for and never slept: the runtime under test, or a program
//! of the host that a test needs.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

pub use crate::patience::{comes_true, limit, slowness};

/// The runtime under test.
pub fn runtime() -> PathBuf {
    std::env::var_os("HULL_RUNTIME")
        .map_or_else(|| env!("CARGO_BIN_EXE_hull").into(), PathBuf::from)
}

/// Another runtime is under test: its error format and JSON pointers are not looked at.
pub fn is_peer() -> bool {
    !runtime().file_name().is_some_and(|name| name.to_string_lossy().contains("hull"))
}

/// Where PATH has a program.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// A program run to its end on the host, for a test's own purposes; its output. Panics if it fails.
pub fn host(argv: &[&str]) -> String {
    let output =
        Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::null()).output().expect(argv[0]);
    assert!(
        output.status.success(),
        "{argv:?}: {} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Copies a program to where it is executed next, by install(1). What this process itself has open for writing, a child
/// of another test has too until its own execve(2), and nobody can execute it meanwhile (ETXTBSY).
pub fn install(program: &Path, to: &Path, mode: u32) {
    let [from, to] = [program, to].map(|path| path.to_str().expect("UTF-8"));
    host(&["install", "-m", &format!("{mode:o}"), from, to]);
}

/// Waits until a descriptor is readable (a pidfd: until the process has ended); false when the time is over.
pub fn readable(fd: impl AsFd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.expect("poll") > 0,
        }
    }
}

/// A descriptor of a process; none if it is gone.
pub fn pidfd(pid: i32) -> Option<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Whether a process waits in a function of the kernel with this in its name (proc_pid_wchan(5)).
pub fn waits_in(pid: i32, function: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|name| name.contains(function))
}

/// Whether a process waits for a lock (proc_locks(5)).
pub fn waits_for_a_lock(pid: i32) -> bool {
    let locks = fs::read_to_string("/proc/locks").expect("/proc/locks");
    let waits = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(1) == Some(&"->") && words.get(5) == Some(&pid.to_string().as_str())
    };
    locks.lines().any(waits)
}

/// A call being put together. Its output goes to files, not pipes: a container may keep them open after the runtime
/// has returned.
pub struct Call {
    command: Command,
    argv: String,
    stdout: PathBuf,
    stderr: PathBuf,
    own_streams: bool,
}

impl Call {
    /// A call of `argv` whose output is kept in `directory`.
    pub fn new<S: AsRef<OsStr>>(directory: &Path, argv: &[S]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut command = Command::new(&argv[0]);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.args(&argv[1..]).stdin(Stdio::null()).env_clear().env("PATH", path);
        Self {
            command,
            argv: argv
                .iter()
                .map(|arg| arg.as_ref().to_string_lossy())
                .collect::<Vec<_>>()
                .join(" "),
            stdout: directory.join(format!("stdout.{number}")),
            stderr: directory.join(format!("stderr.{number}")),
            own_streams: false,
        }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// All three standard streams: this descriptor. The output's texts stay empty.
    pub fn stdio(mut self, fd: &OwnedFd) -> Self {
        let clone = || Stdio::from(fd.try_clone().expect("dup"));
        self.command.stdin(clone()).stdout(clone()).stderr(clone());
        self.own_streams = true;
        self
    }

    /// Starts it.
    pub fn begin(mut self) -> Running {
        let file = |path: &Path| {
            OpenOptions::new().create(true).append(true).open(path).expect("open the output file")
        };
        let (stdout, stderr) = (file(&self.stdout), file(&self.stderr));
        if !self.own_streams {
            self.command.stdout(stdout).stderr(stderr);
        }
        let child = self.command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.argv));
        Running { child, argv: self.argv, stdout: self.stdout, stderr: self.stderr }
    }

    /// Runs it to its end.
    pub fn finish(self) -> Output {
        self.begin().finish()
    }
}

/// A call that has been started. It is killed when it is dropped.
pub struct Running {
    child: Child,
    argv: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("kill");
    }

    /// Waits for its end; past the time limit the test fails.
    pub fn finish(mut self) -> Output {
        let ended = pidfd(self.pid()).is_none_or(|pidfd| readable(pidfd, limit()));
        if !ended {
            self.child.kill().ok();
        }
        let status = self.child.wait().expect("wait");
        let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let output = Output {
            argv: self.argv.clone(),
            path: self.stdout.clone(),
            code: status.code().unwrap_or_else(|| 1000 + status.signal().unwrap_or(0)),
            stdout: read(&self.stdout),
            stderr: read(&self.stderr),
        };
        assert!(ended, "still running after {:?}: {output}", limit());
        output
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After `finish` the child is reaped and both calls do nothing.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a call left.
#[must_use]
#[derive(Debug)]
pub struct Output {
    argv: String,
    path: PathBuf,
    /// The exit code; 1000 + N when signal N ended the call.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\n  exit code {}\n  stdout: {}\n  stderr: {}",
            self.argv, self.code, self.stdout, self.stderr
        )
    }
}

impl Output {
    /// The exit code is 0.
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}: {self}");
        self
    }

    /// The standard output, without the newline at its end, is this.
    pub fn prints(self, expected: &str) -> Self {
        assert!(
            self.stdout.trim_end_matches('\n') == expected,
            "expected stdout {expected:?}: {self}"
        );
        self
    }

    /// The call was refused: exit code 1 and one line that begins with `error: `.
    pub fn refused(self) -> Self {
        assert!(self.code == 1, "expected to be refused: {self}");
        if !is_peer() {
            let lines: Vec<_> =
                self.stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
            assert!(
                lines.len() == 1 && lines[0].starts_with("error: "),
                "expected one line that begins with `error: `: {self}"
            );
        }
        self
    }

    /// The error names this field of config.json, or another word of hull's own. What fails while it is done is
    /// written as `mounts[4]`, what is wrong in the config as `/mounts/4`.
    pub fn names(self, pointer: &str) -> Self {
        let done = pointer.strip_prefix("/mounts/").map(|index| format!("mounts[{index}]"));
        let named = self.mentions(pointer) || done.is_some_and(|done| self.mentions(&done));
        assert!(is_peer() || named, "expected {pointer:?} on stderr: {self}");
        self
    }

    /// Standard error has this text, in upper or lower case.
    pub fn says(self, text: &str) -> Self {
        assert!(self.mentions(text), "expected {text:?} on stderr: {self}");
        self
    }

    fn mentions(&self, text: &str) -> bool {
        self.stderr.to_lowercase().contains(&text.to_lowercase())
    }

    /// The standard output is this JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not JSON ({error}): {self}"))
    }

    /// The standard output as it is by now: a container may have written more.
    pub fn reread(&self) -> String {
        fs::read_to_string(&self.path).expect("read the output")
    }

    /// The lines of the standard output.
    pub fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }
}
