//! Membership of a cgroup: config-linux.md, "Cgroups Path"; the processes that kill and delete find there. Limits are
//! not here.

use std::fs;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::bundle::{Bundle, cgroup_mounts};
use crate::case::table;
use crate::lifecycle::assert_nothing_left;
use crate::sleeper::Sleeper;

table!(Root, Busybox;
    the_container_process_is_in_its_cgroup_after_create,
    an_absolute_path_is_below_the_mount_point,
    a_relative_path_is_always_the_same_place,
    without_a_path_the_cgroup_is_named_by_the_id,
    a_path_that_climbs_out_stays_below_the_mount_point,
    delete_removes_the_cgroup,
    run_removes_the_cgroup,
    delete_removes_cgroups_that_the_container_made,
    delete_force_kills_what_the_program_left_in_the_cgroup,
    delete_kills_what_the_program_left_in_the_cgroup,
    kill_with_sigkill_reaches_all_processes_without_a_pid_namespace,
    kill_all_signals_every_process,
    kill_all_of_a_stopped_container_succeeds,
    sigkill_of_a_stopped_container_reaches_what_it_left_without_a_pid_namespace[Hull("runc 1.1.5 says that it is not running")],
    who_is_in_the_cgroup_of_a_stopped_container_is_left_alone[Hull("runc 1.1.5 kills them")],
    a_container_with_a_thousand_levels_of_cgroups_is_removed[Hull("runc 1.1.5 cannot")],
    a_cgroup_that_was_there_before_stays[Hull("runc 1.1.5 removes it")],
    a_cgroup_with_foreign_processes_is_refused[Hull("runc 1.1.5 joins it")],
    a_cgroup_with_processes_below_it_is_refused[Hull("runc 1.1.5 looks at the cgroup alone")],
    a_frozen_cgroup_is_refused[Hull("runc 1.1.5 looks at its v1 freezer")],
    a_failed_create_leaves_no_cgroup,
    without_its_bus_systemd_cannot_make_a_scope[NoFile("/run/dbus/system_bus_socket"), Hull("it says it in other words")],
);

/// Where the v2 hierarchy is mounted.
pub fn unified() -> PathBuf {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let line = mountinfo.lines().find(|line| line.contains(" - cgroup2 ")).expect("a v2 hierarchy");
    line.split(' ').nth(4).expect("a mount point").into()
}

/// The path of a process in the v2 hierarchy.
pub fn path_of(pid: i32) -> String {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    cgroup.lines().find_map(|line| line.strip_prefix("0::")).expect("a line of v2").to_owned()
}

/// The directory of the cgroup of a process.
pub fn directory_of(pid: i32) -> PathBuf {
    unified().join(&path_of(pid)[1..])
}

fn the_container_process_is_in_its_cgroup_after_create() {
    let bundle = Bundle::new();
    let container = bundle.create();
    assert_eq!(
        path_of(container.pid),
        bundle.config["linux"]["cgroupsPath"].as_str().expect("a path")
    );
    // conmon reads the cgroup of the pid right after create.
    let procs =
        fs::read_to_string(directory_of(container.pid).join("cgroup.procs")).expect("procs");
    assert_eq!(procs.trim(), container.pid.to_string());
}

// "In the case of an absolute path (starting with /), the runtime MUST take the path to be relative to the cgroups
// mount point."
fn an_absolute_path_is_below_the_mount_point() {
    let bundle = Bundle::new();
    let path = format!("/{}/below/here", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let container = bundle.create();
    assert_eq!(path_of(container.pid), path);
    let _ = bundle.delete().ok();
}

// "the runtime MUST consistently attach to the same place in the cgroups hierarchy given the same value of
// cgroupsPath."
fn a_relative_path_is_always_the_same_place() {
    let bundle = Bundle::new();
    let path = format!("{}/relative", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let mut paths = Vec::new();
    for _ in 0..2 {
        let container = bundle.create();
        paths.push(path_of(container.pid));
        let _ = bundle.delete().ok();
    }
    assert!(paths[0].ends_with(&path), "{paths:?}");
    assert_eq!(paths[0], paths[1]);
}

fn without_a_path_the_cgroup_is_named_by_the_id() {
    let bundle = Bundle::new().without("/linux/cgroupsPath");
    let container = bundle.create();
    assert!(path_of(container.pid).contains(bundle.id()), "{}", path_of(container.pid));
    let _ = bundle.delete().ok();
    assert_nothing_left(&bundle);
}

// "Runtimes MAY consider certain cgroupsPath values to be invalid, and MUST generate an error if this is the case."
fn a_path_that_climbs_out_stays_below_the_mount_point() {
    let bundle = Bundle::new();
    let path = format!("/../../../../tmp/{}", bundle.id());
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let create = bundle.try_create();
    if create.code == 0 {
        let pid =
            bundle.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        assert_eq!(path_of(pid), format!("/tmp/{}", bundle.id()));
        let _ = bundle.delete().ok();
        for mount in cgroup_mounts() {
            fs::remove_dir(mount.join("tmp")).ok();
        }
    } else {
        let _ = create.refused().names("/linux/cgroupsPath");
    }
    assert!(!std::path::Path::new("/tmp").join(bundle.id()).exists());
}

fn delete_removes_the_cgroup() {
    let bundle = Bundle::new();
    bundle.create();
    assert!(!bundle.cgroups().is_empty());
    let _ = bundle.delete().ok();
    assert!(bundle.cgroups().is_empty());
}

fn run_removes_the_cgroup() {
    let bundle = Bundle::new();
    let _ = bundle.run().ok();
    assert!(bundle.cgroups().is_empty());
}

fn delete_removes_cgroups_that_the_container_made() {
    let bundle = Bundle::new();
    let container = bundle.create();
    let below = directory_of(container.pid).join("made/inside");
    fs::create_dir_all(&below).expect("mkdir");
    bundle.start();
    container.ended();
    let _ = bundle.delete().ok();
    assert!(bundle.cgroups().is_empty());
}

/// A container without a pid namespace of its own whose program leaves a process behind and waits or ends.
fn with_a_leftover(then: &str) -> Bundle {
    Bundle::new()
        .without_namespace("pid")
        .script(&format!("setsid sleep 1000 & echo $! > /left; {then}"))
}

fn assert_gone(bundle: &Bundle) {
    let pid: i32 = bundle.read("left").trim().parse().expect("a pid");
    let gone = crate::call::pidfd(pid)
        .is_none_or(|pidfd| crate::call::readable(pidfd, crate::call::limit()));
    assert!(gone, "{pid} is still there");
}

fn delete_force_kills_what_the_program_left_in_the_cgroup() {
    let bundle = with_a_leftover("exit 0");
    bundle.create().start().ended();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_gone(&bundle);
    assert_nothing_left(&bundle);
}

fn delete_kills_what_the_program_left_in_the_cgroup() {
    let bundle = with_a_leftover("exit 0");
    bundle.create().start().ended();
    let _ = bundle.delete().ok();
    assert_gone(&bundle);
    assert_nothing_left(&bundle);
}

// Where no init takes its namespace along, SIGKILL means the container: runc kills all of its cgroup.
fn kill_with_sigkill_reaches_all_processes_without_a_pid_namespace() {
    let bundle = Bundle::new().without_namespace("pid");
    let ready = bundle.fifo("ready");
    let bundle =
        bundle.script("setsid sleep 1000 & echo $! > /left; echo ready > /ready; sleep 1000");
    let container = bundle.create().start();
    ready.line();
    let _ = bundle.call(&["kill", "--all", bundle.id(), "KILL"]).finish().ok();
    container.ended();
    assert_gone(&bundle);
}

fn kill_all_signals_every_process() {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let child = "trap 'echo child > /ready; exit' USR1; echo started > /ready; while :; do sleep 1000 & wait; done";
    let script =
        format!("trap 'echo init > /ready' USR1; sh -c \"{child}\" & while :; do wait; done");
    let bundle = bundle.script(&script);
    bundle.create().start();
    assert_eq!(ready.line(), "started");
    let _ = bundle.call(&["kill", "-a", bundle.id(), "USR1"]).finish().ok();
    let mut lines = [ready.line(), ready.line()];
    lines.sort();
    assert_eq!(lines, ["child", "init"]);
}

// containerd's KillAll after the end of the init.
fn kill_all_of_a_stopped_container_succeeds() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let _ = bundle.call(&["kill", "--all", bundle.id(), "9"]).finish().ok();
}

// runc: "kill KILL [host pidns + init gone]".
fn sigkill_of_a_stopped_container_reaches_what_it_left_without_a_pid_namespace() {
    let bundle = with_a_leftover("exit 0");
    bundle.create().start().ended();
    let _ = bundle.kill("TERM").refused().says("container not running");
    let _ = bundle.kill("KILL").ok();
    assert_gone(&bundle);
    let _ = bundle.kill("KILL").refused().says("container not running");
}

// With its init all of a container has ended, if the pid namespace is its own.
fn who_is_in_the_cgroup_of_a_stopped_container_is_left_alone() {
    let bundle = Bundle::new();
    let container = bundle.create();
    let directory = directory_of(container.pid);
    container.start().ended();
    let mut foreign = Sleeper::new();
    fs::write(directory.join("cgroup.procs"), foreign.pid().to_string()).expect("move the process");
    let _ = bundle.call(&["kill", "--all", bundle.id(), "9"]).finish().ok();
    let _ = bundle.delete().refused().names("not empty");
    assert!(foreign.is_alive(), "the foreign process was killed");
    drop(foreign);
    let _ = bundle.delete().ok();
    assert_nothing_left(&bundle);
}

// More levels than a process has descriptors, and longer a path than the kernel takes.
fn a_container_with_a_thousand_levels_of_cgroups_is_removed() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here =
        rustix::fs::open(directory_of(container.pid), flags, Mode::empty()).expect("open");
    for _ in 0..1100 {
        rustix::fs::mkdirat(&here, "level", Mode::RWXU).expect("mkdir");
        here = rustix::fs::openat(&here, "level", flags, Mode::empty()).expect("open");
    }
    let below = Sleeper::new();
    let procs = rustix::fs::openat(&here, "cgroup.procs", OFlags::WRONLY, Mode::empty());
    let pid = below.pid().to_string();
    rustix::io::write(procs.expect("open"), pid.as_bytes()).expect("move the process");
    let ps = bundle.operate(&["ps", "--format", "json"]).ok().json();
    assert!(ps.as_array().is_some_and(|pids| pids.contains(&below.pid().into())), "{ps}");
    drop(below);
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_nothing_left(&bundle);
}

// "resources associated with the container, but not created by this container, MUST NOT be deleted."
fn a_cgroup_that_was_there_before_stays() {
    let bundle = Bundle::new();
    let path = format!("/{}/before", bundle.id());
    let directory = unified().join(&path[1..]);
    fs::create_dir_all(&directory).expect("mkdir");
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let _ = bundle.run().ok();
    assert!(directory.exists());
}

// "MUST generate an error if such a check fails. For example, a frozen cgroup or (for create operation) a non-empty
// cgroup."
fn a_cgroup_with_foreign_processes_is_refused() {
    let bundle = Bundle::new();
    let path = format!("/{}/occupied", bundle.id());
    let directory = unified().join(&path[1..]);
    fs::create_dir_all(&directory).expect("mkdir");
    let mut foreign = Sleeper::new();
    fs::write(directory.join("cgroup.procs"), foreign.pid().to_string()).expect("move the process");
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let _ = bundle.try_create().refused().names("not empty");
    assert!(foreign.is_alive(), "the foreign process was killed");
}

// Its limits and device rules would be the second container's.
fn a_cgroup_with_processes_below_it_is_refused() {
    let bundle = Bundle::new();
    let path = format!("/{}/occupied", bundle.id());
    let below = unified().join(&path[1..]).join("below");
    fs::create_dir_all(&below).expect("mkdir");
    let foreign = Sleeper::new();
    fs::write(below.join("cgroup.procs"), foreign.pid().to_string()).expect("move the process");
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let _ = bundle.try_create().refused().names("not empty");
    // Its twin.
    drop(foreign);
    let _ = bundle.run().ok();
    fs::remove_dir(below).expect("rmdir");
}

fn a_frozen_cgroup_is_refused() {
    let bundle = Bundle::new();
    let path = format!("/{}/frozen", bundle.id());
    let directory = unified().join(&path[1..]);
    fs::create_dir_all(&directory).expect("mkdir");
    fs::write(directory.join("cgroup.freeze"), "1").expect("freeze");
    let bundle = bundle.set("/linux/cgroupsPath", path.as_str());
    let _ = bundle.try_create().refused().names("frozen");
    fs::write(directory.join("cgroup.freeze"), "0").expect("thaw");
    let _ = bundle.run().ok();
}

fn a_failed_create_leaves_no_cgroup() {
    let bundle = Bundle::new().mount("bind", "/no/such/source", "/mnt", &["bind"]);
    let _ = bundle.try_create().refused();
    assert!(bundle.cgroups().is_empty());
}

fn without_its_bus_systemd_cannot_make_a_scope() {
    let bundle = Bundle::new().set("/linux/cgroupsPath", "system.slice:test:a");
    let create = bundle.try_create_with(&["--systemd-cgroup"]).refused();
    let create = create.names("/linux/cgroupsPath").says("/run/dbus/system_bus_socket");
    let _ = create.says("No such file or directory");
    assert!(bundle.processes().is_empty());
}
