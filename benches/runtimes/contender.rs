//! Who is measured, and how each of its operations is called: the same surroundings for all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{operations, process};

/// What can go wrong is only printed.
pub type Result<T, E = String> = std::result::Result<T, E>;

/// Per row of the table and contender: nanoseconds, or KiB, or calls.
pub type Samples = BTreeMap<(&'static str, String), Vec<u64>>;

/// What is measured: a runtime, or the floor program.
pub struct Contender {
    /// Heads its column.
    pub name: String,
    /// The executable.
    pub program: PathBuf,
    /// Its `--root`; none for the floor, which has only `run`.
    pub root: Option<PathBuf>,
}

/// What every measurement needs, and what it leaves.
pub struct Bench {
    /// A directory in a tmpfs that is this run's own.
    pub work: PathBuf,
    /// Where the standard error of every program goes.
    pub errors: File,
    /// The program that does nothing.
    pub empty: PathBuf,
    /// What measures hull's compiler of profiles.
    pub compile: Option<PathBuf>,
    /// Whether this host can limit a container.
    pub has_limits: bool,
    /// Whether systemd is process 1.
    pub has_systemd: bool,
    pub strace: Option<PathBuf>,
    pub round: usize,
    pub samples: Samples,
}

impl Bench {
    /// One trial of everything. hull must pass it; another runtime that does not is left out, and
    /// that is printed.
    pub fn entrant(&mut self, name: String, program: PathBuf) -> Result<Option<Contender>> {
        if !program.is_file() {
            println!("skip: {name}: not found");
            return Ok(None);
        }
        let root = self.work.join(&name);
        fs::create_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        let contender = Contender { name, program, root: Some(root) };
        let trial =
            operations::steps(self, &contender).and_then(|()| operations::run(self, &contender));
        self.samples.clear();
        if let Err(error) = trial {
            self.clean_up(std::slice::from_ref(&contender));
            if contender.name == "hull" {
                return Err(error);
            }
            println!("skip: {error}");
            return Ok(None);
        }
        let version =
            self.command(&contender.program, &["--version"]).stdout(Stdio::piped()).output();
        let version = version.map_err(|error| format!("{} --version: {error}", contender.name))?;
        let version = String::from_utf8_lossy(&version.stdout);
        println!("{}: {}", contender.name, version.lines().next().unwrap_or_default());
        Ok(Some(contender))
    }

    /// Those that were expected: a later message must not quote them.
    pub fn forget_errors(&self) -> Result<()> {
        self.errors.set_len(0).map_err(|error| format!("the file of errors: {error}"))
    }

    /// The same surroundings for every program: an empty environment, /dev/null, errors to a file.
    pub fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        let errors = self.errors.try_clone().expect("one more descriptor can be had");
        command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        command
    }

    /// An operation of a runtime.
    pub fn on(&self, contender: &Contender, arguments: &[&str]) -> Command {
        let mut command = self.command(&contender.program, &["--root"]);
        command
            .arg(contender.root.as_ref().expect("only runtimes have operations"))
            .args(arguments);
        command
    }

    pub fn create_command(&self, contender: &Contender, id: &str) -> Command {
        let mut command = self.on(contender, &["create", "--bundle"]);
        command.arg(self.work.join("bundle")).arg("--pid-file").arg(self.work.join("pid")).arg(id);
        command
    }

    pub fn run_command(&self, contender: &Contender, id: &str) -> Command {
        let bundle = self.work.join("bundle");
        if contender.root.is_none() {
            let mut command = self.command(&contender.program, &[]);
            command.arg(bundle.join("rootfs")).arg("/bin/true");
            return command;
        }
        self.run_bundle(contender, &bundle, id)
    }

    /// `run` of a bundle.
    pub fn run_bundle(&self, contender: &Contender, bundle: &Path, id: &str) -> Command {
        let mut command = self.on(contender, &["run", "--bundle"]);
        command.arg(bundle).arg(format!("hull-bench-{id}"));
        command
    }

    /// What a program prints.
    pub fn numbers(&self, command: &mut Command, name: &str) -> Result<Vec<u64>> {
        let output = command.stdout(Stdio::piped()).output();
        let output = output.map_err(|error| format!("{name}: {error}"))?;
        self.check(output.status, &operation(command), name)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let numbers = text.split_whitespace().map(str::parse);
        numbers
            .collect::<Result<_, _>>()
            .map_err(|error| format!("{name} prints {text:?}: {error}"))
    }

    pub fn create(&self, contender: &Contender, id: &str) -> Result<(Duration, i32)> {
        let elapsed = self.expect(&mut self.create_command(contender, id), &contender.name)?;
        Ok((elapsed, self.pid()?))
    }

    pub fn pid(&self) -> Result<i32> {
        let text = fs::read_to_string(self.work.join("pid"))
            .map_err(|error| format!("the pid file: {error}"))?;
        text.trim().parse().map_err(|error| format!("the pid file says {text:?}: {error}"))
    }

    /// Gives the peak memory of the container's process, in KiB.
    pub fn wait_for_the_end(&self, pid: i32) -> Result<u64> {
        let ended = process::reap(pid).map_err(|error| format!("wait4({pid}): {error}"))?;
        self.check(ended.status, "process", "the container's")?;
        Ok(ended.peak)
    }

    pub fn expect(&self, command: &mut Command, name: &str) -> Result<Duration> {
        let (elapsed, status) =
            process::time(command).map_err(|error| format!("{name}: {error}"))?;
        self.check(status, &operation(command), name)?;
        Ok(elapsed)
    }

    /// The time of a processor that it takes, beside the time that passes.
    pub fn expect_cpu(&self, command: &mut Command, name: &str) -> Result<(Duration, Duration)> {
        let (elapsed, ended) =
            process::time_whole(command).map_err(|error| format!("{name}: {error}"))?;
        self.check(ended.status, &operation(command), name)?;
        Ok((elapsed, ended.cpu))
    }

    pub fn peak(&self, command: &Command, name: &str) -> Result<u64> {
        let (peak, status) = process::peak_of(command, &self.errors, &self.work.join("peak"))
            .map_err(|error| format!("{name}: {error}"))?;
        self.check(status, &operation(command), name)?;
        Ok(peak)
    }

    /// Starts `command` under strace and returns at its end, while what it left may still be traced.
    pub fn start_traced(&self, strace: &Path, command: &Command, name: &str) -> Result<i32> {
        let mut traced = self.command(strace, &["-D", "-f", "-o"]);
        traced.arg(self.work.join("trace")).arg(command.get_program()).args(command.get_args());
        // -D: the tracer is a process aside, so that the end of this child is the end of the command.
        let child = traced.spawn().map_err(|error| format!("strace: {error}"))?;
        let pid = child.id().cast_signed();
        let ended = process::reap(pid).map_err(|error| format!("wait4({pid}): {error}"))?;
        self.check(ended.status, &operation(command), name)?;
        Ok(pid)
    }

    /// Waits for the tracer. Gives the calls made until the end of the command itself, by it and by
    /// its children.
    pub fn finish_traced(&self, tracee: i32) -> Result<u64> {
        // The tracer is the only child that is left.
        while process::reap(-1).is_ok() {}
        let trace =
            fs::read(self.work.join("trace")).map_err(|error| format!("strace: {error}"))?;
        let trace = String::from_utf8_lossy(&trace);
        let mut calls = 0;
        for line in trace.lines() {
            let (pid, event) = line.split_once(' ').unwrap_or((line, ""));
            let event = event.trim_start();
            if event.starts_with("+++ exited") && pid == tracee.to_string() {
                break;
            }
            // Not calls: an exit, a signal, the second line of a call that another one interrupted.
            if !["+++", "---", "<..."].iter().any(|mark| event.starts_with(mark)) {
                calls += 1;
            }
        }
        Ok(calls)
    }

    pub fn check(&self, status: ExitStatus, what: &str, name: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let errors = fs::read_to_string(self.work.join("errors")).unwrap_or_default();
        let last = errors.trim_end().lines().last().unwrap_or_default();
        let how =
            status.signal().map_or_else(|| status.to_string(), |signal| format!("signal {signal}"));
        Err(format!("{name} {what}: {how}: {last}"))
    }

    /// After an error: nothing of this run stays on the host. Errors here add nothing to the first.
    pub fn clean_up(&self, contenders: &[Contender]) {
        for contender in contenders {
            let Some(root) = &contender.root else {
                continue;
            };
            for entry in fs::read_dir(root).into_iter().flatten().flatten() {
                let id = entry.file_name().to_string_lossy().into_owned();
                process::time(&mut self.on(contender, &["delete", "--force", &id])).ok();
            }
        }
    }

    pub fn add(&mut self, row: &'static str, contender: &Contender, elapsed: Duration) {
        let nanoseconds =
            elapsed.as_nanos().try_into().expect("a container runs less than 584 years");
        self.add_number(row, contender, nanoseconds);
    }

    pub fn add_number(&mut self, row: &'static str, contender: &Contender, number: u64) {
        self.samples.entry((row, contender.name.clone())).or_default().push(number);
    }
}

/// The operation in a command line, for a message.
fn operation(command: &Command) -> String {
    let mut words = command.get_args().filter(|word| *word != "--root");
    let is_rooted = command.get_args().next().is_some_and(|word| word == "--root");
    words.nth(usize::from(is_rooted)).unwrap_or_default().to_string_lossy().into_owned()
}
