//! delete of a container whose processes do not end when they are killed: one that is traced stays
//! until its tracer has looked at it, and its pid namespace with it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::fifo::Fifo;
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox, Program("strace");
    delete_force_of_a_container_that_does_not_end_is_refused_and_can_be_repeated,
    delete_force_of_a_shared_pid_namespace_whose_process_does_not_end_can_be_repeated,
);

/// A running container whose second process is traced by a process that does nothing any more.
struct Traced {
    bundle: Bundle,
    tracer: Child,
    init: Pid,
    fifos: [Fifo; 2],
}

impl Traced {
    fn new(bundle: Bundle) -> Self {
        let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
        let second = "echo ready > /ready; while read line < /go; do echo $line > /ready; done";
        let bundle = bundle.script(&format!("({second}) & while :; do sleep 1000; done"));
        let container = bundle.create().start();
        let init = container.pid;
        assert_eq!(ready.line(), "ready");
        let pids = bundle.operate(&["ps", "--format", "json"]).ok().json();
        let pids: Vec<i32> = serde_json::from_value(pids).expect("pids");
        // Children of the shell, in the order of their birth: the second process, then `sleep`.
        let traced = pids.into_iter().find(|pid| *pid != init).expect("a second process");
        let calls = Fifo::new(&bundle.beside("calls"));
        let tracer = Command::new("strace")
            .args(["-e", "trace=write", "-o", &calls.path(), "-p", &traced.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .expect("strace");
        let init = Pid::from_raw(init).expect("not 0");
        let traced = Self { bundle, tracer, init, fifos: [ready, go] };
        let [ready, go] = &traced.fifos;
        // It is attached when it tells of a call; of those before nobody knows.
        let is_attached = || {
            go.send("on");
            assert_eq!(ready.line(), "on");
            call::readable(calls.as_fd(), Duration::from_millis(1))
        };
        assert!(call::comes_true(is_attached), "strace tells of no call");
        rustix::process::kill_process(Pid::from_child(&traced.tracer), Signal::STOP).expect("stop");
        traced
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.tracer.kill().ok();
        self.tracer.wait().ok();
    }
}

fn delete_force_of_a_container_that_does_not_end_is_refused_and_can_be_repeated() {
    let mut traced = Traced::new(Bundle::new());
    let bundle = &traced.bundle;
    let _ = bundle.operate(&["delete", "--force"]).refused().says("container init still running");
    // Nothing of it is lost: the container can still be asked for, and deleted.
    assert_eq!(bundle.state()["pid"], traced.init.as_raw_nonzero().get());
    traced.tracer.kill().expect("kill");
    traced.tracer.wait().expect("wait");
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_nothing_left(bundle);
}

// Init has ended; what it has left is known by the cgroup.
fn delete_force_of_a_shared_pid_namespace_whose_process_does_not_end_can_be_repeated() {
    let mut traced = Traced::new(Bundle::new().without_namespace("pid"));
    let bundle = &traced.bundle;
    let _ = bundle.operate(&["delete", "--force"]).refused().names("has processes after 10 s");
    assert_eq!(bundle.status(), "stopped");
    traced.tracer.kill().expect("kill");
    traced.tracer.wait().expect("wait");
    let _ = bundle.operate(&["delete"]).ok();
    assert_nothing_left(bundle);
}
