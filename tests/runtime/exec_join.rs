//! exec: which container, which namespaces, which cgroup.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;
use crate::cgroup::directory_of;
use crate::exec::{run, waiting};
use crate::namespaces::{link, without_mounts};

table!(Root, Busybox;
    exec_in_a_created_container_is_allowed,
    exec_in_a_stopped_container_is_refused,
    exec_in_a_missing_container_is_refused,
    a_config_edited_after_create_does_not_count[Hull("runc 1.1.5 reads the bundle's")],
    an_annotation_named_bundle_does_not_count[Hull("runc 1.1.5 reads the config that it names")],
    each_namespace_is_that_of_the_container,
    a_namespace_that_the_container_shares_is_shared,
    namespaces_that_the_container_joined_are_joined,
    the_time_namespace_is_joined[Kernel(5, 6), Hull("runc 1.1.5 knows no time namespace")],
    the_memory_policy_is_that_of_the_container[File("/proc/self/numa_maps"), Hull("runc 1.1.5 knows none")],
    the_root_is_that_of_a_container_without_a_mount_namespace[Hull("runc 1.1.5 refuses the config")],
    the_root_is_that_of_a_container_without_pivot_root,
    the_process_is_in_the_containers_cgroup,
    a_container_without_a_cgroup_has_the_callers[Hull("runc has no --cgroup-manager")],
    cgroup_names_one_below_the_containers[Hull("runc 1.1.5 uses v1 on a hybrid host")],
    cgroup_cannot_leave_the_containers[Hull("runc 1.1.5 uses v1 on a hybrid host")],
    a_cgroup_that_is_gone_is_inits_present_one[Hull("runc 1.1.5 uses v1 on a hybrid host")],
    a_cgroup_that_hands_out_controllers_is_inits_present_one[File("/sys/fs/cgroup/cgroup.controllers")],
);

fn exec_in_a_created_container_is_allowed() {
    let bundle = waiting();
    bundle.create();
    let _ = bundle.exec(&[], &["hostname"]).ok().prints("container");
    assert_eq!(bundle.status(), "created");
    bundle.start();
    assert_eq!(bundle.status(), "running");
}

fn exec_in_a_stopped_container_is_refused() {
    let bundle = Bundle::new();
    run(&bundle).ended();
    let _ = bundle.exec(&[], &["true"]).not_executed().says("cannot exec in a stopped container");
}

fn exec_in_a_missing_container_is_refused() {
    let _ = Bundle::new().exec(&[], &["true"]).not_executed().says("container does not exist");
}

fn a_config_edited_after_create_does_not_count() {
    let bundle = waiting();
    run(&bundle);
    let mut edited = bundle.config.clone();
    edited["process"]["user"]["uid"] = 5.into();
    edited["linux"]["namespaces"] = json!([]);
    fs::write(bundle.directory().join("config.json"), edited.to_string()).expect("write");
    let _ = bundle.exec_script(&[], "echo $(id -u) $(hostname)").ok().prints("0 container");
    fs::remove_file(bundle.directory().join("config.json")).expect("remove");
    let _ = bundle.exec_script(&[], "echo $(id -u) $(hostname)").ok().prints("0 container");
}

fn an_annotation_named_bundle_does_not_count() {
    let other = Bundle::new().set("/process/user/uid", 5);
    other.save();
    let path = other.directory();
    let bundle = waiting().set("/annotations", json!({"bundle": path.to_str().expect("UTF-8")}));
    run(&bundle);
    let _ = bundle.exec(&[], &["id", "-u"]).ok().prints("0");
}

const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
];

/// The namespaces of a program of `exec`.
fn namespaces(bundle: &Bundle) -> Vec<String> {
    let script = "for kind in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$kind; done";
    bundle.exec_script(&[], script).ok().lines().into_iter().map(str::to_owned).collect()
}

fn each_namespace_is_that_of_the_container() {
    let bundle = waiting();
    let container = run(&bundle);
    let own = namespaces(&bundle);
    for ((_, file), own) in KINDS.into_iter().zip(own) {
        assert_eq!(own, link(container.pid, file));
        assert_ne!(own, link(std::process::id().cast_signed(), file));
    }
}

fn a_namespace_that_the_container_shares_is_shared() {
    for (kind, file) in KINDS.into_iter().filter(|(kind, _)| *kind != "mount") {
        let bundle = waiting().without_namespace(kind).without("/hostname");
        // The host's /sys cannot be mounted again without a network namespace of one's own.
        let bundle = bundle.without_mount("/sys").without_mount("/dev/mqueue");
        let container = run(&bundle);
        let own = namespaces(&bundle);
        let host = std::process::id().cast_signed();
        for ((_, other), own) in KINDS.into_iter().zip(own) {
            assert_eq!(own, link(container.pid, other), "{kind} {other}");
            assert_eq!(own == link(host, other), file == other, "{kind} {other}");
        }
    }
}

fn namespaces_that_the_container_joined_are_joined() {
    let first = waiting();
    let outer = run(&first);
    let mut second = waiting().without("/hostname");
    for (kind, file) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        second = second.join(kind, &format!("/proc/{}/ns/{file}", outer.pid));
    }
    run(&second);
    assert_eq!(namespaces(&second)[..4], namespaces(&first)[..4]);
    assert_ne!(namespaces(&second)[4], namespaces(&first)[4]);
    let _ = second.exec(&[], &["hostname"]).ok().prints("container");
}

fn the_time_namespace_is_joined() {
    let bundle = waiting()
        .set("/linux/namespaces/-", json!({"type": "time"}))
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 1_000_000_000}}));
    let container = run(&bundle);
    let script = "readlink /proc/self/ns/time; cut -d . -f 1 /proc/uptime";
    let output = bundle.exec_script(&[], script).ok();
    assert_eq!(output.lines()[0], link(container.pid, "time"));
    assert!(output.lines()[1].parse::<u64>().expect("seconds") > 1_000_000_000, "{output}");
}

fn the_root_is_that_of_a_container_without_a_mount_namespace() {
    let bundle = without_mounts(waiting()).without_namespace("mount");
    run(&bundle);
    bundle.write("mark", "here");
    let _ = bundle.exec(&[], &["cat", "/mark", "/../mark"]).ok().prints("herehere");
}

fn the_root_is_that_of_a_container_without_pivot_root() {
    let bundle = waiting();
    bundle.create_with(&["--no-pivot"]).start();
    bundle.write("mark", "here");
    let _ = bundle.exec(&[], &["cat", "/mark", "/../mark"]).ok().prints("herehere");
}

const OWN_CGROUP: &str = "grep ^0:: /proc/self/cgroup";

fn the_memory_policy_is_that_of_the_container() {
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0"});
    let bundle = waiting().set("/linux/memoryPolicy", policy);
    run(&bundle);
    let output = bundle.exec_script(&[], "head -n 1 /proc/self/numa_maps").ok();
    assert_eq!(output.stdout.split_whitespace().nth(1), Some("bind:0"));
}

fn the_process_is_in_the_containers_cgroup() {
    let bundle = waiting().without_namespace("cgroup");
    let container = run(&bundle);
    let own = container.proc("cgroup");
    let output = bundle.exec(&[], &["cat", "/proc/self/cgroup"]).ok();
    assert_eq!(output.stdout, own);
}

fn a_container_without_a_cgroup_has_the_callers() {
    let bundle = waiting().without_namespace("cgroup");
    let _ = bundle.call_with("run", &["--cgroup-manager=disabled", "-d"]).finish().ok();
    let own = fs::read_to_string("/proc/self/cgroup").expect("cgroup");
    let own = own.lines().find(|line| line.starts_with("0::")).expect("cgroup v2");
    let _ = bundle.exec_script(&[], OWN_CGROUP).ok().prints(own);
    let _ = bundle.exec(&["--cgroup", "a"], &["true"]).not_executed().says("no cgroup");
}

fn cgroup_names_one_below_the_containers() {
    let bundle = waiting();
    let container = run(&bundle);
    fs::create_dir_all(directory_of(container.pid).join("a/b")).expect("mkdir");
    for (path, expected) in
        [("a", "0::/a"), ("/a/b", "0::/a/b"), ("a/../a", "0::/a"), ("/", "0::/"), (".", "0::/")]
    {
        let _ = bundle.exec_script(&["--cgroup", path], OWN_CGROUP).ok().prints(expected);
    }
    let _ = bundle.exec(&["--cgroup", "c"], &["true"]).not_executed().says("no such file");
    let _ = bundle.exec(&["--cgroup", "a", "--cgroup", "a/b"], &["true"]).refused();
}

fn cgroup_cannot_leave_the_containers() {
    let bundle = waiting();
    let container = run(&bundle);
    let own = directory_of(container.pid);
    fs::create_dir(own.join("a")).expect("mkdir");
    let absolute = own.parent().expect("a parent").to_str().expect("UTF-8").to_owned();
    for path in ["..", "../..", "/..", "a/../..", "/../../..", &absolute, "/sys/fs/cgroup"] {
        let _ = bundle.exec(&["--cgroup", path], &["true"]).not_executed().names("--cgroup");
    }
    assert_eq!(bundle.processes(), [container.pid]);
}

/// The cgroup of a program of `exec`, seen from the host.
fn cgroup_of_exec(bundle: &Bundle) -> String {
    let pid = bundle.exec_detached(&[], &["sleep", "2000"]);
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    text.lines().find_map(|line| line.strip_prefix("0::")).expect("cgroup v2").to_owned()
}

fn move_to(cgroup: &Path, pid: i32) {
    fs::create_dir(cgroup).expect("mkdir");
    fs::write(cgroup.join("cgroup.procs"), pid.to_string()).expect("move init");
}

fn a_cgroup_that_is_gone_is_inits_present_one() {
    let bundle = waiting();
    let container = run(&bundle);
    let own = directory_of(container.pid);
    let other = own.with_file_name(format!("{}-moved", bundle.id()));
    move_to(&other, container.pid);
    fs::remove_dir(&own).expect("rmdir");
    let cgroup = cgroup_of_exec(&bundle);
    assert!(cgroup.ends_with("-moved"), "{cgroup}");
    let _ = bundle.exec(&["--cgroup", "/"], &["true"]).not_executed().says("no such file");
}

// What systemd does as init of a container: it moves below, and hands out controllers.
fn a_cgroup_that_hands_out_controllers_is_inits_present_one() {
    let bundle = waiting();
    let container = run(&bundle);
    let own = directory_of(container.pid);
    let parent = own.parent().expect("a parent");
    for directory in [parent.parent().expect("a parent"), parent] {
        fs::write(directory.join("cgroup.subtree_control"), "+pids").expect("a controller");
    }
    move_to(&own.join("init"), container.pid);
    fs::write(own.join("cgroup.subtree_control"), "+pids").expect("a controller");
    let cgroup = cgroup_of_exec(&bundle);
    assert!(cgroup.ends_with("/init"), "{cgroup}");
    // A name that was asked for is not replaced.
    let _ = bundle.exec(&["--cgroup", "/"], &["true"]).not_executed().says("busy");
}
