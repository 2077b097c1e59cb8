//! exec: what is wrong in what is asked, and what goes wrong meanwhile. An error at once, and nothing is left.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call::{self, Output, Running};
use crate::case::table;
use crate::exec::{run, waiting};
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox;
    a_process_file_that_is_wrong_is_refused,
    a_process_file_that_is_missing_is_refused,
    a_process_file_that_is_a_fifo_does_not_hang[Hull("runc 1.1.5 waits for it")],
    no_program_is_refused,
    an_unknown_flag_is_refused,
    an_error_is_one_record_of_the_log,
    a_success_says_nothing,
    a_container_without_proc_takes_exec[Hull("runc 1.1.5 needs proc")],
    a_container_that_stops_meanwhile_takes_the_program_along,
    a_pid_that_somebody_else_has_since_is_a_stopped_container[Hull("runc 1.1.5 keeps its state elsewhere")],
    two_hundred_execs_at_once_leave_nothing,
    a_console_socket_that_nobody_reads_is_refused_and_not_waited_for,
    a_killed_exec_in_the_foreground_leaves_the_program_running,
    an_exec_killed_at_any_time_leaves_the_program_or_nothing[Hull("runc 1.1.5 leaves an init that waits for it")],
    a_frozen_init_is_a_paused_container[Hull("runc 1.1.5 uses its v1 freezer")],
    an_orphan_of_the_program_is_reaped,
);

fn a_process_file_that_is_wrong_is_refused() {
    let bundle = waiting();
    let container = run(&bundle);
    let good =
        json!({"cwd": "/", "args": ["true"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let _ = bundle.exec_process(&[], &good).ok();
    let with = |pointer: &str, value: Value| {
        let mut process = good.clone();
        process[pointer] = value;
        process
    };
    for (process, names) in [
        (json!([]), "process.json"),
        (with("args", json!([])), "/args"),
        (with("args", Value::Null), "/args"),
        (with("args", json!([""])), "/args/0"),
        (with("cwd", json!("tmp")), "/cwd"),
        (with("cwd", json!("")), "/cwd"),
        (with("user", json!({"uid": "root", "gid": 0})), "/user/uid"),
        (with("user", json!({"uid": -1, "gid": 0})), "/user/uid"),
        (with("rlimits", json!([{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}])), "/rlimits/0"),
        (with("args", json!(["a\u{0}b"])), "/args/0"),
    ] {
        let output = bundle.exec_process(&[], &process);
        if !(call::is_peer() && output.code != 0) {
            let _ = output.not_executed().names(names);
        }
    }
    let path = bundle.beside("text");
    fs::write(&path, "{\"args\": [").expect("write");
    let _ = bundle.exec(&["-p", path.to_str().expect("UTF-8")], &[]).not_executed();
    assert_eq!(bundle.processes(), [container.pid]);
}

fn a_process_file_that_is_missing_is_refused() {
    let bundle = waiting();
    run(&bundle);
    let output = bundle.exec(&["--process", "/no/such/file"], &[]);
    let _ = output.not_executed().says("/no/such/file").says("no such file or directory");
}

fn a_process_file_that_is_a_fifo_does_not_hang() {
    let bundle = waiting();
    let _fifo = bundle.fifo("fifo");
    run(&bundle);
    let path = bundle.rootfs().join("fifo");
    let _ = bundle.exec(&["--process", path.to_str().expect("UTF-8")], &[]).not_executed();
}

fn no_program_is_refused() {
    let bundle = waiting();
    run(&bundle);
    let output = bundle.exec(&[], &[]);
    assert!(output.code != 0 && !output.stderr.is_empty(), "{output}");
    let _ = bundle.exec(&[], &[""]).not_executed();
}

fn an_unknown_flag_is_refused() {
    let bundle = waiting();
    run(&bundle);
    let output = bundle.exec(&["--none"], &["true"]);
    assert!(output.code != 0 && output.stderr.contains("none"), "{output}");
}

/// exec with a JSON log, and what is in it then.
fn logged(bundle: &Bundle, args: &[&str]) -> (Output, String) {
    let log = bundle.beside("log");
    let path = log.to_str().expect("UTF-8");
    let flags = ["--log", path, "--log-format", "json", "exec", bundle.id()];
    let output = bundle.call(&[&flags, args].concat()).finish();
    (output, fs::read_to_string(&log).unwrap_or_default())
}

fn an_error_is_one_record_of_the_log() {
    let bundle = waiting();
    run(&bundle);
    let (output, log) = logged(&bundle, &["nothing"]);
    let _ = output.not_executed().says("executable file not found");
    let record: Value = serde_json::from_str(&log).expect("one JSON object");
    assert_eq!(record["level"], "error");
    let message = record["msg"].as_str().expect("a message");
    assert!(message.contains("executable file not found in $PATH"), "{message}");
}

fn a_success_says_nothing() {
    let bundle = waiting();
    run(&bundle);
    let (output, log) = logged(&bundle, &["true"]);
    assert_eq!((output.ok().stderr.as_str(), log.as_str()), ("", ""));
}

fn a_container_without_proc_takes_exec() {
    let bundle = waiting()
        .without_mount("/proc")
        .without("/linux/maskedPaths")
        .without("/linux/readonlyPaths");
    run(&bundle);
    let _ = bundle.exec(&["--cwd", "/tmp"], &["pwd"]).ok().prints("/tmp");
}

fn a_container_that_stops_meanwhile_takes_the_program_along() {
    for _ in 0..10 {
        let bundle = waiting();
        let container = run(&bundle);
        let execs: Vec<Running> =
            (0..4).map(|_| bundle.exec_call(&[], &["sleep", "2000"]).begin()).collect();
        let _ = bundle.kill("KILL").ok();
        container.ended();
        for exec in execs {
            let output = exec.finish();
            // Which words depends on the moment: an init that takes its time to end is none that has stopped yet.
            let _ = if output.code == 137 { output } else { output.not_executed() };
        }
        let _ = bundle.delete().ok();
        assert_nothing_left(&bundle);
    }
}

fn a_pid_that_somebody_else_has_since_is_a_stopped_container() {
    let bundle = waiting();
    let container = run(&bundle);
    let path = bundle.root().join(bundle.id()).join("state.json");
    let text = fs::read_to_string(&path).expect("state.json");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    let start = record["startTime"].as_u64().expect("a start time");
    record["startTime"] = (start - 1).into();
    fs::write(&path, record.to_string()).expect("write");
    let _ = bundle.exec(&[], &["true"]).not_executed().says("cannot exec in a stopped container");
    fs::write(&path, text).expect("write");
    let _ = bundle.exec(&[], &["true"]).ok();
    assert_eq!(bundle.processes(), [container.pid]);
}

fn two_hundred_execs_at_once_leave_nothing() {
    let bundle = waiting();
    let ready = bundle.fifo("ready");
    let container = run(&bundle);
    let cgroups = bundle.cgroups();
    let execs: Vec<Running> = (0..200)
        .map(|_| bundle.exec_call(&[], &["sh", "-c", "echo on > /ready; exit 7"]).begin())
        .collect();
    for exec in execs {
        let _ = exec.finish().exits(7);
        assert_eq!(ready.line(), "on");
    }
    assert_eq!(bundle.processes(), [container.pid]);
    assert_eq!(bundle.cgroups(), cgroups);
}

/// A socket on which as many connections wait as it takes: the next one waits for ever.
fn full(path: &str) -> (OwnedFd, Vec<OwnedFd>) {
    let socket = |flags| {
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .expect("socket")
    };
    let address = SocketAddrUnix::new(path).expect("an address");
    let listener = socket(SocketFlags::CLOEXEC);
    rustix::net::bind(&listener, &address).expect("bind");
    rustix::net::listen(&listener, 0).expect("listen");
    let mut waiting = Vec::new();
    loop {
        let one = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        match rustix::net::connect(&one, &address) {
            Ok(()) => waiting.push(one),
            Err(rustix::io::Errno::AGAIN) => return (listener, waiting),
            Err(error) => panic!("connect: {error}"),
        }
    }
}

fn a_console_socket_that_nobody_reads_is_refused_and_not_waited_for() {
    let bundle = waiting();
    let container = run(&bundle);
    let path = bundle.beside("console");
    let path = path.to_str().expect("UTF-8");
    let listener = full(path);
    let output = bundle.exec(&["-d", "-t", "--console-socket", path], &["true"]);
    let _ = output.not_executed().says("connect").names("--console-socket");
    assert_eq!(bundle.processes(), [container.pid]);
    drop(listener);
}

fn a_killed_exec_in_the_foreground_leaves_the_program_running() {
    let bundle = waiting();
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    let container = run(&bundle);
    let script = "echo ready > /ready; read line < /go; echo $line > /ready";
    let exec = bundle.exec_call(&[], &["sh", "-c", script]).begin();
    ready.line();
    exec.signal(Signal::KILL);
    assert_eq!(exec.finish().code, 1009);
    for pid in bundle.processes().into_iter().filter(|pid| *pid != container.pid) {
        bundle.adopt(pid);
    }
    go.send("on");
    assert_eq!(ready.line(), "on");
}

/// Takes the exit status of what was killed on its way into a container: as an orphan it is a child of this process,
/// and until then no init ends. Not of an init, which another test may wait for.
fn reap_orphans() {
    let own = std::process::id().to_string();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
        };
        let inner = field("NSpid:").split_whitespace().nth(1).unwrap_or("1");
        if field("State:").starts_with('Z') && field("PPid:") == own && inner != "1" {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let pid = pid.and_then(rustix::process::Pid::from_raw).expect("a pid");
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG).ok();
        }
    }
}

// At the n-th microsecond after its begin, which is another step each time, and on until one was killed late enough.
fn an_exec_killed_at_any_time_leaves_the_program_or_nothing() {
    let bundle = waiting();
    let container = run(&bundle);
    let (mut programs, mut microseconds) = (0, 0);
    while microseconds < 4000 || programs == 0 {
        let after = Duration::from_micros(microseconds) * call::slowness();
        assert!(after < call::limit(), "no exec came to its program, the last one in {after:?}");
        let exec = bundle.exec_call(&[], &["sleep", "2000"]).begin();
        let killed = Instant::now() + after;
        while Instant::now() < killed {
            std::hint::spin_loop();
        }
        exec.signal(Signal::KILL);
        assert_eq!(exec.finish().code, 1009);
        // Again, until nobody is there who could have started another one.
        while let Some(pid) = bundle.processes().into_iter().find(|pid| *pid != container.pid) {
            bundle.adopt(pid);
            let Some(pidfd) = call::pidfd(pid) else { continue };
            let ended = || call::readable(&pidfd, Duration::ZERO);
            let is_program = || {
                fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
            };
            // Nobody is told of an execve(2).
            assert!(call::comes_true(|| ended() || is_program()), "{pid} is neither");
            if !ended() {
                programs += 1;
                rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).ok();
                assert!(call::readable(&pidfd, call::limit()));
            }
        }
        // Where 4 ms are not enough, the machine is slow, and nobody knows how slow.
        microseconds += if microseconds < 4000 { 80 } else { microseconds };
    }
    reap_orphans();
}

fn a_frozen_init_is_a_paused_container() {
    let bundle = waiting();
    let container = run(&bundle);
    let freeze = crate::cgroup::directory_of(container.pid).join("cgroup.freeze");
    fs::write(&freeze, "1").expect("freeze");
    let _ = bundle.exec(&[], &["true"]).not_executed().says("cannot exec in a paused container");
    fs::write(&freeze, "0").expect("thaw");
    let _ = bundle.exec(&[], &["true"]).ok();
}

fn an_orphan_of_the_program_is_reaped() {
    let bundle = Bundle::new().without_namespace("pid").args(&["sleep", "1000"]);
    let _container = run(&bundle);
    let (ready, go, end) = (bundle.fifo("ready"), bundle.fifo("go"), bundle.fifo("end"));
    let script = "(sh -c 'echo $$ > /ready; read line < /go' &); read line < /end";
    let exec = bundle.exec_call(&[], &["sh", "-c", script]).begin();
    let orphan = Path::new("/proc").join(ready.line());
    assert!(orphan.exists());
    go.send("on");
    assert!(call::comes_true(|| !orphan.exists()));
    end.send("on");
    let _ = exec.finish().ok();
}
