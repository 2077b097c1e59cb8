//! A runtime that is killed: nothing of a container that is not recorded goes on running, and `delete --force` removes
//! the rest.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;

table!(Root, Busybox;
    create_killed_at_any_system_call_leaves_nothing_that_delete_force_does_not_remove[Program("strace"), Hull("runc 1.1.5 leaves its init running")],
    run_killed_at_any_system_call_leaves_nothing_that_delete_force_does_not_remove[Program("strace"), Hull("runc 1.1.5 leaves its init running")],
    start_killed_at_any_system_call_leaves_a_container_that_can_be_deleted[Program("strace")],
    delete_killed_at_any_system_call_can_be_repeated[Program("strace")],
    a_start_behind_one_that_was_killed_takes_its_place[Hull("runc's cannot be repeated")],
    create_killed_in_a_hook_leaves_no_process[Hull("runc 1.1.5 leaves its init running")],
    an_init_killed_during_create_fails_it_and_leaves_nothing,
    run_killed_in_the_foreground_leaves_a_container_that_can_be_deleted,
    a_created_container_outlives_its_runtime,
);

/// The runtime under strace, without its children, with these options.
fn traced(bundle: Bundle, options: &[&str]) -> Bundle {
    bundle.through(&[&["strace", "-qq"], options].concat())
}

/// A system call of the runtime: its name and which of that name it is (what strace counts).
type Moment = (String, usize);

/// The system calls of a call that nobody disturbs, in their order.
fn moments(bundle: Bundle, words: &[&str]) -> Vec<Moment> {
    let file = bundle.beside("trace");
    let bundle = traced(bundle, &["-o", file.to_str().expect("UTF-8")]);
    let _ = call_of(&bundle, words).ok();
    let trace = std::fs::read_to_string(file).expect("the trace");
    let mut counts = std::collections::HashMap::new();
    let names =
        trace.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned());
    // The first is strace's own execve of the runtime.
    let moments: Vec<_> = names
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        .map(|name| {
            let count = counts.entry(name.clone()).or_insert(0);
            *count += 1;
            (name, *count)
        })
        .skip(1)
        .collect();
    assert!(moments.len() > 20, "{trace}");
    moments
}

/// The runtime killed when it enters this system call.
fn killed_at(bundle: Bundle, (name, count): &Moment) -> Bundle {
    let inject = format!("inject={name}:signal=KILL:when={count}");
    traced(bundle, &["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject])
}

/// `create` and `run` take the bundle, the others the id alone.
fn call_of(bundle: &Bundle, words: &[&str]) -> call::Output {
    match words[0] {
        "create" | "run" => bundle.call_with(words[0], &words[1..]).finish(),
        _ => bundle.operate(words),
    }
}

/// The children that the killed runtime left die with it, but not in the same moment.
fn settle(bundle: &Bundle) {
    for pid in bundle.processes() {
        let ended = call::pidfd(pid).is_none_or(|pidfd| call::readable(pidfd, call::limit()));
        assert!(
            ended,
            "process {pid} goes on running: {}",
            std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
        );
    }
}

fn assert_removed(bundle: &Bundle, when: &str) {
    assert_eq!(bundle.processes(), [0; 0], "processes, killed at {when}");
    assert_eq!(bundle.cgroups(), [""; 0].map(PathBuf::from), "cgroups, killed at {when}");
    assert_eq!(bundle.mounts(), [""; 0], "mounts, killed at {when}");
    let state: Vec<_> = std::fs::read_dir(bundle.root())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(state, [""; 0].map(PathBuf::from), "the state directory, killed at {when}");
}

/// A container that `start` and `delete` can be called for, or a bundle for `create` and `run`.
fn prepared(words: &[&str]) -> Bundle {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    match words[0] {
        "start" => drop(bundle.create()),
        "delete" => drop(bundle.create().start()),
        _ => {}
    }
    bundle
}

/// Kills a call at each `step`th of its system calls in turn.
fn killed_at_every_call(words: &[&str], step: usize) {
    let step = if call::is_peer() { 101 } else { step };
    let (mut killed, mut tried) = (0, 0);
    for moment in moments(prepared(words), words).iter().step_by(step) {
        let when = format!("{moment:?}");
        let bundle = killed_at(prepared(words), moment);
        let output = call_of(&bundle, words);
        // A call that took another way did not come to this moment.
        assert!(output.code > 128 || output.code == 0, "at {when}: {output}");
        tried += 1;
        killed += usize::from(output.code != 0);
        let bundle = bundle.through(&[]);
        // What is recorded may run: `delete --force` ends it.
        let state = bundle.operate(&["state"]);
        let recorded = state.code == 0 && state.json()["pid"].as_i64().is_some_and(|pid| pid > 0);
        if !recorded {
            settle(&bundle);
        }
        let _ = bundle.operate(&["delete", "--force"]).ok();
        assert_removed(&bundle, &when);
    }
    assert!(killed * 10 > tried * 8, "{killed} of {tried} calls were killed");
}

// "the child dies with it until it is recorded".
fn create_killed_at_any_system_call_leaves_nothing_that_delete_force_does_not_remove() {
    killed_at_every_call(&["create"], 1);
}

fn run_killed_at_any_system_call_leaves_nothing_that_delete_force_does_not_remove() {
    killed_at_every_call(&["run", "--detach"], 3);
}

fn start_killed_at_any_system_call_leaves_a_container_that_can_be_deleted() {
    killed_at_every_call(&["start"], 2);
}

fn delete_killed_at_any_system_call_can_be_repeated() {
    killed_at_every_call(&["delete", "--force"], 2);
}

fn a_start_behind_one_that_was_killed_takes_its_place() {
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo in >/in; read line </go"]});
    let bundle = Bundle::new().args(&["true"]).set("/hooks/startContainer", json!([hook]));
    let (inside, go) = (bundle.fifo("in"), bundle.fifo("go"));
    let notify = bundle.beside("notify.sock");
    let _manager = std::os::unix::net::UnixDatagram::bind(&notify).expect("bind");
    let call = |bundle: &Bundle| {
        bundle.call(&["start", bundle.id()]).env("NOTIFY_SOCKET", &notify).begin()
    };
    let _ = bundle.call_with("create", &[]).env("NOTIFY_SOCKET", &notify).finish().ok();
    let first = call(&bundle);
    assert_eq!(inside.line(), "in");
    first.signal(Signal::KILL);
    let _ = first.finish().exits(1009);
    let second = call(&bundle);
    // Init has taken the first one's word; the second one's stays in the fifo.
    let fifo = std::fs::File::open(bundle.root().join(bundle.id()).join("exec.fifo"));
    assert!(call::readable(fifo.expect("open exec.fifo"), call::limit()));
    go.send("on");
    let _ = second.finish().ok();
}

/// A bundle whose create waits in a hook of this kind after writing its pid.
fn waiting(kind: &str) -> (Bundle, crate::fifo::Fifo) {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let script = format!("echo $$ > {}; exec sleep 1000", ready.path());
    let hook =
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
    (bundle.set(&format!("/hooks/{kind}"), json!([hook])), ready)
}

fn create_killed_in_a_hook_leaves_no_process() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let (bundle, ready) = waiting(kind);
        let create = bundle.call_with("create", &[]).begin();
        let hook: i32 = ready.line().parse().expect("a pid");
        create.signal(Signal::KILL);
        let _ = create.finish().exits(1009);
        // The hook itself is a program of the user and may outlive its runtime.
        if kind != "createContainer" {
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(hook).expect("not 0"),
                Signal::KILL,
            )
            .ok();
        }
        settle(&bundle);
        let _ = bundle.operate(&["delete", "--force"]).ok();
        assert_removed(&bundle, "a wait");
    }
}

fn an_init_killed_during_create_fails_it_and_leaves_nothing() {
    let (bundle, ready) = waiting("createRuntime");
    let create = bundle.call_with("create", &[]).begin();
    let hook: i32 = ready.line().parse().expect("a pid");
    let runtime = create.pid();
    let kill = |pid: i32| {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).expect("not 0"),
            Signal::KILL,
        )
        .ok()
    };
    // Init, whatever its name: what is in the cgroup of the container.
    for cgroup in bundle.cgroups() {
        let procs = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        procs
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid| *pid != runtime && *pid != hook)
            .for_each(|pid| {
                kill(pid);
            });
    }
    kill(hook);
    let _ = create.finish().refused();
    assert_removed(&bundle, "a wait");
}

fn run_killed_in_the_foreground_leaves_a_container_that_can_be_deleted() {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let bundle = bundle.script("echo ready > /ready; sleep 1000");
    let run = bundle.begin();
    ready.line();
    run.signal(Signal::KILL);
    let _ = run.finish().exits(1009);
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_removed(&bundle, "a wait");
}

fn a_created_container_outlives_its_runtime() {
    let bundle = Bundle::new().script("echo ran");
    // The caller of the runtime is gone as well: a shell that ends at once.
    let bundle = bundle.through(&["setsid", "--wait"]);
    let container = bundle.create();
    assert_eq!(bundle.status(), "created");
    bundle.start();
    container.ended();
    assert_eq!(container.stdout(), "ran\n");
}
