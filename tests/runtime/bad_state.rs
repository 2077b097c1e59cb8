//! A state directory that cannot be used, or must not be, and state files that were damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::bad_input::Host;
use crate::bundle::Bundle;
use crate::call::{self, Output};
use crate::case::table;
use crate::sleeper::Sleeper;

table!(Root, Busybox;
    a_state_directory_that_is_a_file_is_refused,
    a_state_directory_that_is_read_only_is_refused,
    a_full_state_directory_is_refused[Hull("runc 1.1.5 loses the cause")],
    a_state_directory_that_others_may_write_to_is_refused[Hull("runc 1.1.5 takes it")],
    a_new_state_directory_is_passed_over_by_what_cleans[Hull("runc 1.1.5 does it below XDG_RUNTIME_DIR")],
    a_damaged_state_file_is_told_and_removed_by_force[Hull("runc 1.1.5 does not remove it")],
    a_container_is_not_forgotten_because_its_state_could_not_be_opened[Program("prlimit"), Hull("how many descriptors it has open")],
    a_pid_of_another_process_is_never_signalled[Hull("the state file is hull's")],
);

fn a_state_directory_that_is_a_file_is_refused() {
    let bundle = Bundle::new();
    fs::write(bundle.beside("file"), "").expect("write");
    let _ = create_below(&bundle, &bundle.beside("file")).refused().says("not a directory");
    let _ = create_below(&bundle, &bundle.beside("file/below")).refused().says("not a directory");
}

fn a_state_directory_that_is_read_only_is_refused() {
    let bundle = Bundle::new();
    let root = bundle.beside("state");
    fs::create_dir(&root).expect("mkdir");
    rustix::mount::mount_bind(&root, &root).expect("bind");
    let flags = rustix::mount::MountFlags::BIND | rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount_remount(&root, flags, "").expect("remount");
    let before = Host::now(&bundle);
    let _ = create_below(&bundle, &root).refused().says("read-only file system");
    assert_eq!(Host::now(&bundle), before);
}

fn a_full_state_directory_is_refused() {
    let bundle = Bundle::new();
    let root = bundle.beside("state");
    fs::create_dir(&root).expect("mkdir");
    let options = std::ffi::CString::new("size=16k,mode=700").expect("no NUL");
    rustix::mount::mount(
        "state",
        &root,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .expect("mount");
    // tmpfs takes whole pages: four of them, and no more.
    fs::write(root.join("filler"), vec![0; 16 << 10]).expect("fill it");
    let before = Host::now(&bundle);
    let _ = create_below(&bundle, &root).refused().says("no space left on device");
    assert_eq!(Host::now(&bundle), before);
    assert_eq!(fs::read_dir(&root).expect("the state directory").count(), 1);
    // Its twin.
    fs::remove_file(root.join("filler")).expect("remove");
    let _ = create_below(&bundle, &root).ok();
    let _ = bundle
        .bare(&["--root", root.to_str().expect("UTF-8"), "delete", "--force", bundle.id()])
        .finish()
        .ok();
}

fn a_state_directory_that_others_may_write_to_is_refused() {
    let bundle = Bundle::new();
    for mode in [0o777, 0o775, 0o770, 0o702, 0o1777] {
        let root = bundle.beside(&format!("state-{mode:o}"));
        fs::create_dir(&root).expect("mkdir");
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).expect("chmod");
        let _ = create_below(&bundle, &root).refused().names("state-");
        assert_eq!(fs::read_dir(&root).expect("the state directory").count(), 0);
    }
    let root = bundle.beside("foreign");
    fs::create_dir(&root).expect("mkdir");
    std::os::unix::fs::chown(&root, Some(1000), Some(1000)).expect("chown");
    let _ = create_below(&bundle, &root).refused().names("foreign");
    let root = bundle.beside("own");
    fs::create_dir(&root).expect("mkdir");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).expect("chmod");
    let _ = create_below(&bundle, &root).ok();
    let _ = bundle
        .bare(&["--root", root.to_str().expect("UTF-8"), "delete", "--force", bundle.id()])
        .finish()
        .ok();
}

/// By the sticky bit (XDG Base Directory Specification, "XDG_RUNTIME_DIR").
fn a_new_state_directory_is_passed_over_by_what_cleans() {
    let bundle = Bundle::new();
    let root = bundle.beside("new");
    let _ = create_below(&bundle, &root).ok();
    let mode = fs::metadata(&root).expect("stat").permissions().mode();
    let root = root.to_str().expect("UTF-8");
    let _ = bundle.bare(&["--root", root, "delete", "--force", bundle.id()]).finish().ok();
    assert_eq!(mode & 0o7777, 0o1700);
}

fn a_damaged_state_file_is_told_and_removed_by_force() {
    for text in ["", "{", "[]", "null", "{\"pid\": \"x\"}"] {
        let bundle = Bundle::new();
        bundle.create().start().ended();
        fs::write(bundle.root().join(bundle.id()).join("state.json"), text)
            .expect("damage the state");
        let _ = bundle.operate(&["state"]).exits(1);
        let _ = bundle.operate(&["delete", "--force"]).ok();
        assert!(!bundle.root().join(bundle.id()).exists(), "{text:?}");
    }
}

// Of a container that runs, `delete --force` would leave the processes, the cgroup and the mounts.
fn a_container_is_not_forgotten_because_its_state_could_not_be_opened() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let limits: Vec<String> = (4..64).map(|most| format!("--nofile={most}")).collect();
    let refused = limits.iter().take_while(|limit| {
        let runtime = call::runtime();
        let words = ["prlimit", limit, runtime.to_str().expect("UTF-8"), "--root"];
        let root = bundle.root();
        let rest = [root.to_str().expect("UTF-8"), "delete", "--force", bundle.id()];
        let deleted = call::Call::new(&bundle.directory(), &[&words[..], &rest].concat()).finish();
        let is_there = bundle.root().join(bundle.id()).exists();
        assert_eq!(deleted.code == 0, !is_there, "{limit}: {deleted}");
        is_there && bundle.state().is_object()
    });
    assert!((1..limits.len() - 1).contains(&refused.count()));
    assert!(!bundle.root().join(bundle.id()).exists());
}

// "pid with its start time so that a reused pid is never taken for the container".
fn a_pid_of_another_process_is_never_signalled() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let started = start_time(container.pid);
    let _ = bundle.kill("KILL").ok();
    container.ended();
    // A reused pid comes with another start time; the clock of /proc/PID/stat ticks every 10 ms.
    let mut foreign = loop {
        let foreign = Sleeper::new();
        if start_time(foreign.pid()) != started {
            break foreign;
        }
    };
    let path = bundle.root().join(bundle.id()).join("state.json");
    let text = fs::read_to_string(&path).expect("state.json");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(record["pid"], container.pid);
    record["pid"] = foreign.pid().into();
    fs::write(&path, record.to_string()).expect("write");
    let state = bundle.state();
    let _ = bundle.kill("KILL").refused();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert!(foreign.is_alive(), "a process that is not the container's was killed");
    assert_eq!(state["status"], "stopped");
}

fn create_below(bundle: &Bundle, root: &Path) -> Output {
    bundle.save();
    let directory = bundle.directory();
    let (root, directory) = (root.to_str().expect("UTF-8"), directory.to_str().expect("UTF-8"));
    bundle.bare(&["--root", root, "create", "--bundle", directory, bundle.id()]).finish()
}

/// When a process was started, in ticks since the boot (proc(5)).
fn start_time(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("the name's end");
    rest.split(' ').nth(19).expect("the start time").to_owned()
}
