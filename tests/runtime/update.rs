//! update: other limits for a container that exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call::{self, Output};
use crate::case::table;
use crate::cgroup::directory_of;

table!(Root, Busybox;
    every_flag_is_written[File("/sys/fs/cgroup/cgroup.controllers")],
    flags_that_debians_runc_does_not_have_are_written[File("/sys/fs/cgroup/cgroup.controllers"), Hull("runc 1.1.5 has none")],
    what_is_not_given_stays[File("/sys/fs/cgroup/cgroup.controllers")],
    quota_and_period_can_be_given_alone[File("/sys/fs/cgroup/cgroup.controllers")],
    minus_1_ends_a_limit[File("/sys/fs/cgroup/cgroup.controllers")],
    memory_and_swap_together_stay_when_memory_alone_is_given[File("/sys/fs/cgroup/cgroup.controllers"), Hull("runc 1.1.5 lets swap alone stay")],
    a_document_is_read_from_a_file_and_from_standard_input[File("/sys/fs/cgroup/cgroup.controllers")],
    the_document_of_dockerd_is_taken[File("/sys/fs/cgroup/cgroup.controllers")],
    unified_values_are_written[File("/sys/fs/cgroup/cgroup.controllers")],
    a_failing_update_changes_nothing[File("/sys/fs/cgroup/cgroup.controllers"), Hull("runc 1.1.5 leaves what it has written")],
    a_limit_below_what_is_in_use_is_refused_on_demand[File("/sys/fs/cgroup/cgroup.controllers"), Hull("runc 1.1.5 does not look")],
    memory_that_is_taken_away_goes_to_the_swap_that_is_given[File("/sys/fs/cgroup/cgroup.controllers")],
    a_created_and_a_paused_container_can_be_updated[File("/sys/fs/cgroup/cgroup.controllers")],
    a_limit_whose_controller_is_elsewhere_is_refused[NoFile("/sys/fs/cgroup/cgroup.controllers"), Hull("runc uses v1")],
    an_update_of_nothing_succeeds[Hull("runc 1.1.5 writes its device rules anew")],
    a_wrong_value_is_refused,
    a_wrong_document_is_refused,
    update_of_a_stopped_container_is_refused,
    update_of_a_missing_container_is_refused,
);

/// A running container with the limits that an engine gives.
struct Limited {
    bundle: Bundle,
    directory: PathBuf,
}

impl Limited {
    fn new() -> Self {
        let bundle = Bundle::new().args(&["sleep", "1000"]).set(
            "/linux/resources",
            json!({
                "memory": {"limit": 100 << 20, "swap": 200 << 20, "reservation": 50 << 20},
                "cpu": {"shares": 512, "quota": 50000, "period": 100_000, "cpus": "0"},
                "pids": {"limit": 100}
            }),
        );
        let pid = bundle.create().start().pid;
        Self { directory: directory_of(pid), bundle }
    }

    fn update(&self, options: &[&str]) -> Output {
        self.bundle.call(&[&["update"], options, &[self.bundle.id()]].concat()).finish()
    }

    fn value(&self, file: &str) -> String {
        let text = fs::read_to_string(self.directory.join(file)).expect(file);
        text.trim_end().to_owned()
    }

    /// All values that can be written.
    fn values(&self) -> BTreeMap<String, String> {
        const FILES: [&str; 12] = [
            "memory.max",
            "memory.swap.max",
            "memory.low",
            "memory.high",
            "cpu.max",
            "cpu.max.burst",
            "cpu.weight",
            "cpu.idle",
            "cpuset.cpus",
            "cpuset.mems",
            "pids.max",
            "io.max",
        ];
        FILES.iter().map(|file| ((*file).to_owned(), self.value(file))).collect()
    }

    fn has(&self, expected: &[(&str, &str)]) {
        for (file, value) in expected {
            assert_eq!(self.value(file), *value, "{file}");
        }
    }

    /// Updates with this document.
    fn update_with(&self, document: &Value) -> Output {
        let path = self.bundle.beside("resources.json");
        fs::write(&path, document.to_string()).expect("write the document");
        self.update(&["--resources", path.to_str().expect("UTF-8")])
    }
}

fn every_flag_is_written() {
    let container = Limited::new();
    for (flag, value, expected) in [
        ("--memory", "64m", ("memory.max", "67108864")),
        ("--memory", "134217728", ("memory.max", "134217728")),
        ("--memory-reservation", "32M", ("memory.low", "33554432")),
        ("--memory-swap", "160MB", ("memory.swap.max", "33554432")),
        ("--cpu-share", "1024", ("cpu.weight", if call::is_peer() { "39" } else { "100" })),
        ("--cpu-quota", "20000", ("cpu.max", "20000 100000")),
        ("--cpu-period", "50000", ("cpu.max", "20000 50000")),
        ("--cpuset-cpus", "0-1", ("cpuset.cpus", "0-1")),
        ("--cpuset-mems", "0", ("cpuset.mems", "0")),
        ("--pids-limit", "42", ("pids.max", "42")),
    ] {
        let mut options = vec![flag, value];
        if call::is_peer() && flag == "--memory-swap" {
            options.extend(["--memory", "128m"]); // It wants both.
        }
        let _ = container.update(&options).ok();
        container.has(&[expected]);
        let joined = format!("{flag}={value}");
        options.splice(..2, [joined.as_str()]);
        let _ = container.update(&options).ok();
        container.has(&[expected]);
    }
    if container.directory.join("io.bfq.weight").exists() {
        let _ = container.update(&["--blkio-weight", "500"]).ok();
        container.has(&[("io.bfq.weight", "default 500")]);
    } else if container.directory.join("io.weight").exists() {
        let _ = container.update(&["--blkio-weight", "500"]).ok();
        container.has(&[("io.weight", "default 4950")]);
    }
}

fn flags_that_debians_runc_does_not_have_are_written() {
    let container = Limited::new();
    let _ = container.update(&["--cpu-burst", "10000"]).ok();
    container.has(&[("cpu.max.burst", "10000"), ("cpu.max", "50000 100000")]);
    // Above the old quota, not above the new one.
    let _ = container.update(&["--cpu-burst", "70000", "--cpu-quota", "80000"]).ok();
    container.has(&[("cpu.max.burst", "70000"), ("cpu.max", "80000 100000")]);
    let _ = container.update(&["--cpu-idle", "1"]).ok();
    container.has(&[("cpu.idle", "1")]);
    let _ = container.update(&["--cpu-idle", "0", "--cpu-share", "2048"]).ok();
    container.has(&[("cpu.idle", "0"), ("cpu.weight", "174")]);
}

fn what_is_not_given_stays() {
    let container = Limited::new();
    let mut before = container.values();
    let _ = container.update(&["--pids-limit", "77"]).ok();
    before.insert("pids.max".to_owned(), "77".to_owned());
    assert_eq!(container.values(), before);
    // As Go writes what nobody set.
    let nothing = json!({
        "memory": {"limit": 0, "reservation": 0, "swap": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0}, "pids": {}
    });
    let _ = container.update_with(&nothing).ok();
    if !call::is_peer() {
        assert_eq!(container.values(), before);
    }
}

fn quota_and_period_can_be_given_alone() {
    let container = Limited::new();
    for (options, expected) in [
        (&["--cpu-quota", "30000"][..], "30000 100000"),
        (&["--cpu-period", "60000"], "30000 60000"),
        (&["--cpu-quota", "-1"], "max 60000"),
        (&["--cpu-period", "70000"], "max 70000"),
        (&["--cpu-period", "100000", "--cpu-quota", "5000"], "5000 100000"),
    ] {
        let _ = container.update(options).ok();
        container.has(&[("cpu.max", expected)]);
    }
}

fn minus_1_ends_a_limit() {
    let container = Limited::new();
    let _ = container.update(&["--memory", "-1"]).ok();
    container.has(&[("memory.max", "max"), ("memory.swap.max", "max")]);
    let _ = container.update(&["--memory-reservation=-1", "--pids-limit=-1"]).ok();
    container.has(&[("pids.max", "max"), ("memory.low", "max")]);
}

fn memory_and_swap_together_stay_when_memory_alone_is_given() {
    let container = Limited::new();
    container.has(&[("memory.max", "104857600"), ("memory.swap.max", "104857600")]);
    let _ = container.update(&["--memory", "150m"]).ok();
    container.has(&[("memory.max", "157286400"), ("memory.swap.max", "52428800")]);
    let words = "memory+swap limit should be >= memory limit";
    let _ = container.update(&["--memory", "201m"]).refused().says(words);
    container.has(&[("memory.max", "157286400"), ("memory.swap.max", "52428800")]);
}

fn a_document_is_read_from_a_file_and_from_standard_input() {
    let container = Limited::new();
    // With a document the flags are ignored.
    let path = container.bundle.beside("resources.json");
    fs::write(&path, json!({"pids": {"limit": 11}}).to_string()).expect("write");
    let path = path.to_str().expect("UTF-8");
    let _ = container.update(&["--memory", "7m", "--resources", path]).ok();
    container.has(&[("pids.max", "11"), ("memory.max", "104857600")]);
    fs::write(path, json!({"pids": {"limit": 12}}).to_string()).expect("write");
    let _ = container.update(&["-r", path]).ok();
    container.has(&[("pids.max", "12")]);
    // go-runc writes `--resources=-`, CRI-O `--resources -`.
    fs::write(path, json!({"pids": {"limit": 13}}).to_string() + "\n").expect("write");
    let Limited { bundle, directory } = container;
    let script = format!("exec \"$@\" < {path}");
    let bundle = bundle.through(&["sh", "-c", &script, "sh"]);
    let container = Limited { bundle, directory };
    let _ = container.update(&["--resources=-"]).ok();
    container.has(&[("pids.max", "13")]);
    fs::write(path, json!({"pids": {"limit": 14}}).to_string()).expect("write");
    let _ = container.update(&["--resources", "-"]).ok();
    container.has(&[("pids.max", "14")]);
}

// `docker update --memory 64m --memory-swap 80m --cpus 0.5 --pids-limit 20`.
fn the_document_of_dockerd_is_taken() {
    let container = Limited::new();
    let document = json!({
        "devices": null,
        "memory": {"limit": 67_108_864, "swap": 83_886_080},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 20},
        "blockIO": {"weight": 0}
    });
    let _ = container.update_with(&document).ok();
    container.has(&[
        ("memory.max", "67108864"),
        ("memory.swap.max", "16777216"),
        ("cpu.max", "50000 100000"),
        ("pids.max", "20"),
    ]);
}

fn unified_values_are_written() {
    let container = Limited::new();
    let document = json!({"unified": {"memory.high": "33554432", "pids.max": "9"}});
    let _ = container.update_with(&document).ok();
    container.has(&[("memory.high", "33554432"), ("pids.max", "9"), ("memory.max", "104857600")]);
}

// The processor does not exist: what was written before it is taken back.
fn a_failing_update_changes_nothing() {
    let container = Limited::new();
    let before = container.values();
    for document in [
        json!({
            "memory": {"limit": 64 << 20, "swap": 70 << 20, "reservation": 1 << 20},
            "cpu": {"shares": 2048, "quota": 7000, "period": 9000, "cpus": "999"}
        }),
        json!({"pids": {"limit": 3}, "unified": {"memory.max": "1m", "no.such.file": "1"}}),
        json!({"pids": {"limit": 3}, "memory": {"limit": -5}}),
        json!({"cpu": {"idle": 1, "cpus": "999"}}),
        json!({"unified": {"cpu.max": "1000 1000", "pids.max": "often"}}),
    ] {
        let _ = container.update_with(&document).refused();
        assert_eq!(container.values(), before, "{document}");
    }
    let refused = container.update(&["--memory", "64m", "--cpuset-cpus", "999"]).refused();
    let _ = refused.says("/cpu/cpus").says("cpuset.cpus").says("999");
    assert_eq!(container.values(), before);
}

fn a_limit_below_what_is_in_use_is_refused_on_demand() {
    let container = Limited::new();
    let memory = |check: bool| json!({"memory": {"limit": 4096, "swap": 1 << 30, "checkBeforeUpdate": check}});
    let _ = container.update_with(&memory(true)).refused().says("usage");
    container.has(&[("memory.max", "104857600")]);
    assert_eq!(container.bundle.status(), "running");
}

// Nothing is killed when memory shrinks and swap grows by as much. Without swap on the host there is
// nowhere to go, so the process keeps less than the new limit.
fn memory_that_is_taken_away_goes_to_the_swap_that_is_given() {
    let container = Limited::new();
    let _ = container.update(&["--memory", "100m", "--memory-swap", "100m"]).ok();
    container.has(&[("memory.swap.max", "0")]);
    let _ = container.update(&["--memory", "20m", "--memory-swap", "200m"]).ok();
    container.has(&[("memory.max", "20971520"), ("memory.swap.max", "188743680")]);
    assert_eq!(container.bundle.status(), "running");
}

fn a_created_and_a_paused_container_can_be_updated() {
    let bundle = Bundle::new();
    let container = bundle.create();
    let limits = || fs::read_to_string(directory_of(container.pid).join("pids.max"));
    let _ = bundle.call(&["update", "--pids-limit", "55", bundle.id()]).finish().ok();
    assert_eq!(limits().expect("pids.max"), "55\n");
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.call(&["update", "--pids-limit", "56", bundle.id()]).finish().ok();
    assert_eq!(limits().expect("pids.max"), "56\n");
    assert_eq!(bundle.status(), "paused");
}

fn running() -> Bundle {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    bundle
}

fn a_limit_whose_controller_is_elsewhere_is_refused() {
    let bundle = running();
    let _ = bundle
        .call(&["update", "--pids-limit", "55", bundle.id()])
        .finish()
        .refused()
        .says("/pids/limit: needs the controller \"pids\" in cgroup v2")
        .says("mounted as cgroup v1");
}

fn an_update_of_nothing_succeeds() {
    let bundle = running();
    let _ = bundle.operate(&["update"]).ok();
    let path = bundle.beside("resources.json");
    for document in ["{}", "{\"devices\": [{\"allow\": true}]}", "{\"cpu\": {}, \"pids\": null}"] {
        fs::write(&path, document).expect("write");
        let _ = bundle.operate(&["update", "-r", path.to_str().expect("UTF-8")]).ok();
    }
}

fn a_wrong_value_is_refused() {
    let bundle = running();
    for option in [
        "--memory=much",
        "--memory=5x",
        "--cpu-quota=1s",
        "--cpu-period=-1",
        "--cpu-share=x",
        "--l3-cache-schema=L3:0=f",
        "--mem-bw-schema=MB:0=20",
        "--pids-limit=all",
        "--no-such-limit=1",
    ] {
        let _ = bundle.operate(&["update", option]).refused();
    }
}

fn a_wrong_document_is_refused() {
    let bundle = running();
    let path = bundle.beside("resources.json");
    for document in
        ["", "{", "{\"memory\": {\"limit\": \"1m\"}}", "[1]", "{\"cpu\": {\"shares\": -1}}"]
    {
        fs::write(&path, document).expect("write");
        let _ = bundle.operate(&["update", "-r", path.to_str().expect("UTF-8")]).refused();
    }
    let _ = bundle.operate(&["update", "--resources", "/no/such/file"]).refused();
}

fn update_of_a_stopped_container_is_refused() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let update = bundle.operate(&["update", "--pids-limit", "5"]);
    let _ = update.refused().says("container not running");
}

fn update_of_a_missing_container_is_refused() {
    let update = Bundle::new().operate(&["update", "--pids-limit", "5"]);
    let _ = update.refused().says("container does not exist");
}
