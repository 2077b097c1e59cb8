//! Several calls at once.

use serde_json::json;

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox;
    of_two_creates_of_one_id_exactly_one_wins[Hull("runc 1.1.5 lets both lose")],
    of_eight_creates_of_one_id_exactly_one_wins[Hull("runc 1.1.5 lets all lose")],
    a_create_beside_one_that_waits_is_refused,
    of_two_starts_exactly_one_wins[Hull("runc 1.1.5 hangs")],
    of_two_deletes_none_leaves_anything,
    eight_containers_run_at_once,
    delete_force_during_a_create_that_comes_to_its_end_leaves_nothing[Hull("runc has no --cgroup-manager")],
    run_does_not_wait_for_ever_for_another_operation[Hull("runc has no such lock")],
    a_state_during_create_says_creating_or_does_not_exist,
    list_during_creates_and_deletes_is_always_json,
    a_kill_beside_the_end_of_the_program_is_sent_or_refused,
);

fn creates_at_once(count: usize) {
    for _ in 0..5 {
        let bundle = Bundle::new();
        bundle.save();
        let directory = bundle.directory();
        let argv = ["create", "--bundle", directory.to_str().expect("UTF-8"), bundle.id()];
        let running: Vec<_> = (0..count).map(|_| bundle.call(&argv).begin()).collect();
        let outputs: Vec<_> = running.into_iter().map(call::Running::finish).collect();
        assert_eq!(outputs.iter().filter(|output| output.code == 0).count(), 1, "{outputs:?}");
        for output in outputs.into_iter().filter(|output| output.code != 0) {
            let _ = output.refused().says("already exists");
        }
        // The one that won is whole.
        bundle.start();
        let pid =
            bundle.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        assert!(call::pidfd(pid).is_none_or(|pidfd| call::readable(pidfd, call::limit())));
        let _ = bundle.delete().ok();
        assert_nothing_left(&bundle);
    }
}

// "If the ID provided is not unique across all containers within the scope of the runtime [...] a new container MUST
// NOT be created."
fn of_two_creates_of_one_id_exactly_one_wins() {
    creates_at_once(2);
}

fn of_eight_creates_of_one_id_exactly_one_wins() {
    creates_at_once(8);
}

/// A bundle whose create waits in a hook until something is written to the FIFO `go`, after writing to `ready`.
fn waiting_in_a_hook() -> (Bundle, crate::fifo::Fifo, crate::fifo::Fifo) {
    let bundle = Bundle::new();
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    let script = format!("echo ready > {}; read line < {}", ready.path(), go.path());
    let hook =
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]});
    (bundle.set("/hooks/createRuntime", json!([hook])), ready, go)
}

fn a_create_beside_one_that_waits_is_refused() {
    let (bundle, ready, go) = waiting_in_a_hook();
    let first = bundle.call_with("create", &[]).begin();
    ready.line();
    let _ = bundle.call_with("create", &[]).finish().refused().says("already exists");
    go.send("go");
    let _ = first.finish().ok();
    assert_eq!(bundle.status(), "created");
}

fn of_two_starts_exactly_one_wins() {
    for _ in 0..5 {
        let bundle = Bundle::new().args(&["sleep", "1000"]);
        bundle.create();
        let running: Vec<_> =
            (0..2).map(|_| bundle.call(&["start", bundle.id()]).begin()).collect();
        let codes: Vec<_> = running.into_iter().map(|call| call.finish().code).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(bundle.status(), "running");
    }
}

fn of_two_deletes_none_leaves_anything() {
    for _ in 0..5 {
        let bundle = Bundle::new().args(&["sleep", "1000"]);
        bundle.create().start();
        let running: Vec<_> =
            (0..2).map(|_| bundle.call(&["delete", "--force", bundle.id()]).begin()).collect();
        let codes: Vec<_> = running.into_iter().map(|call| call.finish().code).collect();
        assert!(codes.contains(&0), "{codes:?}");
        let _ = bundle.operate(&["delete", "--force"]).ok();
        assert_nothing_left(&bundle);
    }
}

fn eight_containers_run_at_once() {
    let bundles: Vec<_> =
        (0..8).map(|number| Bundle::new().script(&format!("exit {number}"))).collect();
    let running: Vec<_> = bundles.iter().map(Bundle::begin).collect();
    for (number, run) in (0..).zip(running) {
        let _ = run.finish().exits(number);
    }
    for bundle in &bundles {
        assert_nothing_left(bundle);
    }
}

fn a_state_during_create_says_creating_or_does_not_exist() {
    let (bundle, ready, go) = waiting_in_a_hook();
    let create = bundle.call_with("create", &[]).begin();
    ready.line();
    let output = bundle.operate(&["state"]);
    if output.code == 0 {
        // runc 1.1.5 says "stopped" or "created" here; hull does not lie about it.
        assert!(call::is_peer() || output.json()["status"] == "creating", "{output}");
    } else {
        let _ = output.refused();
    }
    let start = bundle.try_start();
    assert!(start.code == 1 || call::is_peer(), "{start}");
    go.send("go");
    let _ = create.finish();
}

fn list_during_creates_and_deletes_is_always_json() {
    let bundle = Bundle::new().without("/linux/cgroupsPath");
    bundle.save();
    let directory = bundle.directory();
    let directory = directory.to_str().expect("UTF-8");
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            let bundle = &bundle;
            let id = format!("{}{name}", bundle.id());
            let call = move |words: &[&str]| bundle.call(&[words, &[&id]].concat());
            // Made here: a Bundle stays with its thread.
            let calls: Vec<_> = (0..5)
                .map(|_| (call(&["create", "--bundle", directory]), call(&["delete", "--force"])))
                .collect();
            scope.spawn(move || {
                for (create, delete) in calls {
                    let _ = create.finish().ok();
                    let _ = delete.finish().ok();
                }
            });
        }
        for _ in 0..20 {
            let list = bundle.call(&["list", "--format", "json"]).finish();
            // runc fails when a container goes away between its readdir and its read.
            if list.code == 0 || !call::is_peer() {
                let list = list.ok().json();
                assert!(list.is_null() || list.is_array(), "{list}");
            }
        }
    });
}

fn a_kill_beside_the_end_of_the_program_is_sent_or_refused() {
    for _ in 0..10 {
        let bundle = Bundle::new();
        bundle.create();
        let start = bundle.call(&["start", bundle.id()]).begin();
        let kill = bundle.call(&["kill", bundle.id(), "KILL"]).begin();
        let (start, kill) = (start.finish(), kill.finish());
        assert!(kill.code == 0 || kill.code == 1 && kill.stderr.contains("not running"), "{kill}");
        assert!(start.code == 0 || start.code == 1, "{start}");
        let _ = bundle.operate(&["delete", "--force"]).ok();
        assert_nothing_left(&bundle);
    }
}

// Without a cgroup `delete` can end no init that is not recorded, and waits for the creator.
fn delete_force_during_a_create_that_comes_to_its_end_leaves_nothing() {
    let (bundle, ready, go) = waiting_in_a_hook();
    bundle.save();
    let directory = bundle.directory();
    let directory = directory.to_str().expect("UTF-8");
    let create = ["--cgroup-manager", "disabled", "create", "--bundle", directory, bundle.id()];
    let create = bundle.call(&create).begin();
    ready.line();
    let delete = bundle.call(&["delete", "--force", bundle.id()]).begin();
    assert!(call::comes_true(|| call::waits_for_a_lock(delete.pid())), "delete does not wait");
    go.send("go");
    let _ = create.finish().ok();
    let _ = delete.finish().ok();
    assert_nothing_left(&bundle);
}

// All signals are blocked in it, that of its own alarm too.
fn run_does_not_wait_for_ever_for_another_operation() {
    let bundle = Bundle::new();
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    let bundle = bundle.script("echo ready > /ready; read line < /go");
    let run = bundle.begin();
    ready.line();
    let held = std::fs::File::open(bundle.root().join(bundle.id())).expect("the directory");
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).expect("flock");
    go.send("go");
    // The program's own status is what the caller waits for.
    let _ = run.finish().ok().says("another operation on this container is at work");
    drop(held);
    let _ = bundle.delete().ok();
}
