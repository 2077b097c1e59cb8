//! events: statistics and oom events, in the shape that go-runc decodes.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::bundle::{Bundle, Created};
use crate::call::{self, Output, Running, comes_true, waits_in};
use crate::case::table;
use crate::cgroup::directory_of;
use crate::fifo::Fifo;

table!(Root, Busybox;
    statistics_are_one_line_of_the_shape_of_runc,
    the_processes_of_the_container_are_counted,
    the_time_of_the_processor_is_in_nanoseconds[Hull("runc reads the v1 hierarchy where there is one")],
    pressure_is_told_where_the_kernel_counts_it[Hull("runc reads the v1 hierarchy where there is one")],
    statistics_come_at_the_interval_until_the_container_has_ended[Hull("runc 1.1.5 on v1 goes on until delete")],
    statistics_of_a_created_and_of_a_paused_container_can_be_had,
    events_need_no_more_memory_the_longer_they_run[File("/sys/fs/cgroup/cgroup.controllers"), Hull("Go gives memory back when it likes")],
    events_of_a_stopped_container_are_refused,
    events_of_a_missing_container_are_refused,
    an_interval_is_longer_than_nothing,
    memory_that_runs_out_is_an_event[File("/sys/fs/cgroup/cgroup.controllers")],
    an_oom_that_ends_the_container_is_told_before_its_end[File("/sys/fs/cgroup/cgroup.controllers")],
    without_the_memory_controller_a_warning_says_so[NoFile("/sys/fs/cgroup/cgroup.controllers"), Hull("runc reads v1")],
);

fn statistics(bundle: &Bundle) -> Value {
    let output = bundle.operate(&["events", "--stats"]).ok();
    assert_eq!(output.lines().len(), 1, "{output}");
    let event = output.json();
    assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &bundle.id().into()));
    event["data"].clone()
}

fn sleeping() -> Bundle {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    bundle
}

/// A call of events whose lines can be waited for.
struct Watching {
    running: Running,
    lines: Fifo,
}

impl Watching {
    fn begin(bundle: &Bundle, interval: &str) -> Self {
        let lines = Fifo::new(&bundle.beside("lines"));
        let side = fs::OpenOptions::new().write(true).open(lines.path()).expect("open the fifo");
        let call = bundle.call(&["events", "--interval", interval, bundle.id()]);
        Self { running: call.stdio(&OwnedFd::from(side)).begin(), lines }
    }

    fn event(&self) -> Value {
        let line = loop {
            let line = self.lines.line();
            if !line.starts_with("warning: ") {
                break line;
            }
        };
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Waits for its end. What nobody reads would keep it from that.
    fn finish(self) -> Output {
        if let Some(pidfd) = call::pidfd(self.running.pid()) {
            comes_true(|| {
                self.lines.drain();
                call::readable(&pidfd, Duration::from_millis(1))
            });
        }
        self.running.finish()
    }

    /// The next event of this type.
    fn event_of(&self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["type"] == kind {
                return event;
            }
        }
    }
}

// A number that Go decodes into an unsigned one; absent ones are 0.
fn assert_numbers(object: &Value, names: &[&str]) {
    assert!(object.is_object(), "{object}");
    for name in names {
        assert!(object[name].is_null() || object[name].is_u64(), "{name}: {object}");
    }
}

fn statistics_are_one_line_of_the_shape_of_runc() {
    let data = statistics(&sleeping());
    assert_numbers(&data["cpu"]["usage"], &["total", "kernel", "user"]);
    assert_numbers(&data["cpu"]["throttling"], &["periods", "throttledPeriods", "throttledTime"]);
    assert_numbers(&data["pids"], &["current", "limit"]);
    for amount in ["usage", "swap", "kernel", "kernelTCP"] {
        assert_numbers(&data["memory"][amount], &["limit", "usage", "max", "failcnt"]);
        assert!(data["memory"][amount]["limit"].is_u64(), "{data}");
    }
    assert_numbers(&data["memory"], &["cache"]);
    for raw in data["memory"]["raw"].as_object().into_iter().flatten() {
        assert!(raw.1.is_u64(), "{raw:?}");
    }
    for list in ["ioServiceBytesRecursive", "ioServicedRecursive"] {
        for entry in data["blkio"][list].as_array().into_iter().flatten() {
            assert_numbers(entry, &["major", "minor", "value"]);
            assert!(entry["op"].is_string(), "{entry}");
        }
    }
    assert!(data["hugetlb"].is_object() && data["intel_rdt"].is_object(), "{data}");
    for size in data["hugetlb"].as_object().into_iter().flatten() {
        assert_numbers(size.1, &["usage", "max", "failcnt"]);
    }
    assert_eq!(data["cpuset"]["mem_hardwall"], 0);
}

fn the_processes_of_the_container_are_counted() {
    let bundle = Bundle::new();
    let (ready, _never) = (bundle.fifo("ready"), bundle.fifo("never"));
    let bundle = bundle.script("(read line < /never) & echo ready > /ready; read line < /never");
    bundle.create().start();
    ready.line();
    assert_eq!(statistics(&bundle)["pids"]["current"], 2);
}

fn the_time_of_the_processor_is_in_nanoseconds() {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let container = bundle.script("echo ready > /ready; while :; do :; done");
    let container_pid = container.create().start().pid;
    ready.line();
    let microseconds = || -> u64 {
        let path = directory_of(container_pid).join("cpu.stat");
        let text = fs::read_to_string(path).expect("cpu.stat");
        let line = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).expect("usage");
        line.parse().expect("a number")
    };
    let before = microseconds();
    let total = statistics(&container)["cpu"]["usage"]["total"].as_u64().expect("a number");
    let after = microseconds();
    assert!((before * 1000..=after * 1000).contains(&total), "{before} {total} {after}");
    // What ran is told apart by ticks of the clock: the first may have hit its way into the program.
    let user = || statistics(&container)["cpu"]["usage"]["user"].as_u64() > Some(0);
    assert!(comes_true(user));
}

fn pressure_is_told_where_the_kernel_counts_it() {
    let bundle = sleeping();
    let data = statistics(&bundle);
    let pid = bundle.state()["pid"].as_i64().and_then(|pid| pid.try_into().ok()).expect("a pid");
    let directory = directory_of(pid);
    for (file, member) in [("cpu", "cpu"), ("memory", "memory"), ("io", "blkio")] {
        let is_counted = fs::read(directory.join(format!("{file}.pressure"))).is_ok();
        let psi = &data[member]["psi"];
        assert_eq!(psi.is_object(), is_counted, "{file}: {psi}");
        if is_counted {
            for stall in ["some", "full"] {
                assert!(psi[stall]["avg10"].is_number() && psi[stall]["total"].is_u64(), "{psi}");
            }
        }
    }
}

fn statistics_come_at_the_interval_until_the_container_has_ended() {
    let bundle = sleeping();
    let watching = Watching::begin(&bundle, "20ms");
    for _ in 0..3 {
        let event = watching.event();
        assert_eq!(
            (&event["type"], &event["data"]["pids"]["current"]),
            (&"stats".into(), &1.into())
        );
    }
    let _ = bundle.kill("KILL").ok();
    let _ = watching.finish().ok();
}

fn statistics_of_a_created_and_of_a_paused_container_can_be_had() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create();
    assert!(statistics(&bundle)["pids"]["current"].as_u64() > Some(0));
    let _ = bundle.operate(&["pause"]).ok();
    assert!(statistics(&bundle)["pids"]["current"].as_u64() > Some(0));
}

fn events_need_no_more_memory_the_longer_they_run() {
    let bundle = sleeping();
    let watching = Watching::begin(&bundle, "1ms");
    // What it has asked the kernel for, a mebibyte at a time. Pages in use are told with an error of 256 KiB (percpu
    // counters, proc_pid_status(5)).
    let memory_after = |events| {
        for _ in 0..events {
            watching.event();
        }
        let path = format!("/proc/{}/status", watching.running.pid());
        let text = fs::read_to_string(path).expect("read status");
        let line = text.lines().find_map(|line| line.strip_prefix("VmData:")).expect("VmData");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    let (first, later) = (memory_after(100), memory_after(1000));
    // 12 MiB are freed meanwhile.
    assert!(later < first + 2048, "{first} KiB at first, {later} later");
    let _ = bundle.kill("KILL").ok();
    let _ = watching.finish().ok();
}

fn events_of_a_stopped_container_are_refused() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let words = format!("container with id {} is not running", bundle.id());
    let _ = bundle.operate(&["events", "--stats"]).refused().says(&words);
    let _ = bundle.operate(&["events"]).refused().says(&words);
}

fn events_of_a_missing_container_are_refused() {
    let _ = Bundle::new().operate(&["events", "--stats"]).refused().says("does not exist");
}

fn an_interval_is_longer_than_nothing() {
    let bundle = sleeping();
    for interval in ["--interval=0", "--interval=0s", "--interval=-5s"] {
        let words = "duration interval must be greater than 0";
        let _ = bundle.operate(&["events", interval]).refused().says(words);
    }
    let _ = bundle.operate(&["events", "--interval=often"]).refused();
    let _ = bundle.operate(&["events", "--interval=1m30s", "--stats"]).ok();
}

/// A limit for a container that exists: without a word to the runtime, which is another test's.
fn limit_memory(directory: &Path, bytes: &str) {
    let mut above: Vec<&Path> = directory
        .ancestors()
        .skip(1)
        .take_while(|path| path.starts_with("/sys/fs/cgroup"))
        .collect();
    above.reverse();
    for path in above {
        fs::write(path.join("cgroup.subtree_control"), "+memory").expect("enable the controller");
    }
    fs::write(directory.join("memory.max"), bytes).expect("memory.max");
    fs::write(directory.join("memory.swap.max"), "0").ok();
}

/// Takes 60 MB.
const GREEDY: &str = "dd if=/dev/zero of=/dev/null bs=60M count=1";

/// A container of 20 MiB that was started and is being watched.
fn with_20_mib(bundle: &Bundle) -> (Created<'_>, Watching) {
    let container = bundle.create();
    limit_memory(&directory_of(container.pid), "20971520");
    bundle.start();
    let watching = Watching::begin(bundle, "50ms");
    assert_eq!(watching.event()["type"], "stats");
    (container, watching)
}

fn memory_that_runs_out_is_an_event() {
    let bundle = Bundle::new();
    let go = bundle.fifo("go");
    let bundle = bundle.script(&format!("read line < /go; {GREEDY}; read line < /go"));
    let (container, watching) = with_20_mib(&bundle);
    go.send("fill");
    let event = watching.event_of("oom");
    assert_eq!((&event["id"], event.get("data")), (&bundle.id().into(), None));
    let usage = &statistics(&bundle)["memory"]["usage"];
    assert_eq!(usage["limit"], 20_971_520, "{usage}");
    if !call::is_peer() {
        assert!(usage["failcnt"].as_u64() > Some(0), "{usage}");
    }
    go.send("end");
    container.ended();
    let _ = watching.finish().ok();
}

fn an_oom_that_ends_the_container_is_told_before_its_end() {
    let bundle = Bundle::new();
    let go = bundle.fifo("go");
    let bundle = bundle.script(&format!("read line < /go; exec {GREEDY}"));
    let (container, watching) = with_20_mib(&bundle);
    // It waits for its reader while it tells what is used, and sees what it missed when it goes on.
    watching.lines.fill("warning: not read yet");
    let waits = || waits_in(watching.running.pid(), "pipe_write");
    assert!(comes_true(waits), "it does not wait for its reader");
    go.send("fill");
    container.ended();
    watching.event_of("oom");
    let _ = watching.finish().ok();
}

fn without_the_memory_controller_a_warning_says_so() {
    let bundle = sleeping();
    let watching = Watching::begin(&bundle, "50ms");
    let line = watching.lines.line();
    assert!(line.starts_with("warning: ") && line.contains("no oom events"), "{line}");
    assert_eq!(watching.event()["type"], "stats");
    let _ = bundle.kill("KILL").ok();
    let _ = watching.finish().ok();
}
