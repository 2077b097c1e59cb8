//! pause and resume, and what the other operations make of a paused container.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::cgroup::directory_of;
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox;
    pause_suspends_every_process_and_resume_lets_them_go_on,
    a_paused_container_says_so_in_state_and_list,
    a_created_container_can_be_paused_and_is_created_again_after_resume,
    start_of_a_paused_container_is_refused,
    pause_of_a_paused_container_is_refused,
    pause_of_a_stopped_container_is_refused,
    pause_of_a_missing_container_is_refused,
    resume_of_a_running_container_is_refused,
    resume_of_a_stopped_container_is_refused,
    resume_of_a_missing_container_is_refused,
    a_signal_to_a_paused_container_arrives_after_resume,
    kill_all_of_a_paused_container_leaves_it_paused[Hull("runc 1.1.5 thaws it")],
    sigkill_ends_a_paused_container,
    delete_of_a_paused_container_is_refused,
    delete_force_of_a_paused_container_leaves_nothing,
    a_paused_container_without_a_pid_namespace_is_deleted_whole,
    a_container_that_pause_cannot_suspend_goes_on[File("/dev/fuse"), Hull("runc 1.1.5 uses its v1 freezer")],
    exec_in_a_paused_container_is_refused_or_waits_for_resume,
    who_may_read_a_cgroup_holds_nothing_up_by_its_lock[Hull("runc has no locks")],
    pause_without_a_cgroup_is_refused[Hull("runc has no --cgroup-manager")],
);

/// How long a process has run, in nanoseconds (proc_pid_schedstat in the kernel's sched-stats.rst).
fn time_of(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("schedstat");
    text.split(' ').next().and_then(|time| time.parse().ok()).expect("a number")
}

fn pause_suspends_every_process_and_resume_lets_them_go_on() {
    let bundle = Bundle::new();
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    let script = "(while :; do :; done) & echo ready > /ready; while read line < /go; do echo $line > /ready; done";
    let bundle = bundle.script(script);
    let container = bundle.create().start();
    assert_eq!(ready.line(), "ready");
    let directory = directory_of(container.pid);
    let processes = fs::read_to_string(directory.join("cgroup.procs")).expect("cgroup.procs");
    assert_eq!(processes.lines().count(), 2, "{processes}");

    let _ = bundle.operate(&["pause"]).ok();
    if !call::is_peer() {
        let events = fs::read_to_string(directory.join("cgroup.events")).expect("cgroup.events");
        assert!(events.contains("frozen 1\n"), "{events}");
    }
    go.send("on");
    let times = || processes.lines().map(time_of).collect::<Vec<_>>();
    let stand_still = || {
        let before = times();
        // Calls of the runtime pass the time: the busy process would run meanwhile.
        for _ in 0..5 {
            assert_eq!(bundle.status(), "paused");
        }
        times() == before
    };
    // A process counts as frozen shortly before it leaves the processor (cgroup_enter_frozen()).
    assert!(call::comes_true(stand_still), "{:?}", times());

    let _ = bundle.operate(&["resume"]).ok();
    assert_eq!(ready.line(), "on");
    assert_eq!(bundle.status(), "running");
}

fn a_paused_container_says_so_in_state_and_list() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let _ = bundle.operate(&["pause"]).ok();
    let state = bundle.state();
    assert_eq!((&state["status"], &state["pid"]), (&"paused".into(), &container.pid.into()));
    let list = bundle.call(&["list", "--format", "json"]).finish().ok().json();
    assert_eq!(list[0]["status"], "paused");
    let table = bundle.call(&["list"]).finish().ok();
    assert!(table.lines()[1].contains(" paused "), "{table}");
    let _ = bundle.operate(&["resume"]).ok();
    assert_eq!(bundle.state()["status"], "running");
}

fn a_created_container_can_be_paused_and_is_created_again_after_resume() {
    let bundle = Bundle::new().args(&["echo", "hello"]);
    let container = bundle.create();
    let _ = bundle.operate(&["pause"]).ok();
    assert_eq!(bundle.status(), "paused");
    let _ = bundle.operate(&["resume"]).ok();
    assert_eq!(bundle.status(), "created");
    bundle.start();
    container.ended();
    assert_eq!(container.stdout(), "hello\n");
}

fn start_of_a_paused_container_is_refused() {
    let bundle = Bundle::new();
    bundle.create();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.try_start().refused().says("cannot start a container in the paused state");
    assert_eq!(bundle.status(), "paused");
}

fn pause_of_a_paused_container_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.operate(&["pause"]).refused().says("container not running");
    assert_eq!(bundle.status(), "paused");
}

fn pause_of_a_stopped_container_is_refused() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let _ = bundle.operate(&["pause"]).refused().says("container not running");
    assert_eq!(bundle.status(), "stopped");
}

fn pause_of_a_missing_container_is_refused() {
    let _ = Bundle::new().operate(&["pause"]).refused().says("container does not exist");
}

fn resume_of_a_running_container_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle.operate(&["resume"]).refused().says("container not paused");
    assert_eq!(bundle.status(), "running");
}

fn resume_of_a_stopped_container_is_refused() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let _ = bundle.operate(&["resume"]).refused().says("container not paused");
}

fn resume_of_a_missing_container_is_refused() {
    let _ = Bundle::new().operate(&["resume"]).refused().says("container does not exist");
}

/// A running container whose init and whose other process each say when SIGUSR1 has come.
fn that_tells_of_signals() -> (Bundle, crate::fifo::Fifo) {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let child = "trap 'echo child > /ready; exit' USR1; echo started > /ready; while :; do sleep 1000 & wait; done";
    let script =
        format!("trap 'echo init > /ready' USR1; sh -c \"{child}\" & while :; do wait; done");
    let bundle = bundle.script(&script);
    bundle.create().start();
    assert_eq!(ready.line(), "started");
    (bundle, ready)
}

fn a_signal_to_a_paused_container_arrives_after_resume() {
    let (bundle, ready) = that_tells_of_signals();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.kill("USR1").ok();
    let _ = bundle.operate(&["resume"]).ok();
    assert_eq!(ready.line(), "init");
}

fn kill_all_of_a_paused_container_leaves_it_paused() {
    let (bundle, ready) = that_tells_of_signals();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.call(&["kill", "--all", bundle.id(), "USR1"]).finish().ok();
    assert_eq!(bundle.status(), "paused");
    let _ = bundle.operate(&["resume"]).ok();
    let mut lines = [ready.line(), ready.line()];
    lines.sort();
    assert_eq!(lines, ["child", "init"]);
}

fn sigkill_ends_a_paused_container() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.kill("KILL").ok();
    assert_eq!(container.exit_code(), 128 + 9);
    assert_eq!(bundle.status(), "stopped");
    let _ = bundle.delete().ok();
    assert_nothing_left(&bundle);
}

fn delete_of_a_paused_container_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle
        .delete()
        .refused()
        .says("cannot delete container")
        .says("that is not stopped: paused");
    assert_eq!(bundle.status(), "paused");
}

fn delete_force_of_a_paused_container_leaves_nothing() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_eq!(container.exit_code(), 128 + 9);
    assert_nothing_left(&bundle);
}

fn a_paused_container_without_a_pid_namespace_is_deleted_whole() {
    let bundle = Bundle::new().without_namespace("pid");
    let ready = bundle.fifo("ready");
    let bundle = bundle.script("setsid sleep 1000 & echo ready > /ready; sleep 1000");
    let container = bundle.create().start();
    ready.line();
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    container.ended();
    assert_nothing_left(&bundle);
}

/// A FUSE file system that answers nothing: who looks into it waits, and only SIGKILL wakes it.
struct Silent {
    target: PathBuf,
    _server: File,
}

impl Silent {
    fn mount(target: PathBuf) -> Self {
        use std::os::fd::AsRawFd;
        let server =
            fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let data = std::ffi::CString::new(data).expect("no NUL");
        fs::create_dir(&target).expect("mkdir");
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("silent", &target, "fuse", flags, data.as_c_str()).expect("mount");
        Self { target, _server: server }
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.target, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

fn a_container_that_pause_cannot_suspend_goes_on() {
    let bundle = Bundle::new();
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    // In a directory above, or the runtime itself would wait for it.
    let source = bundle.beside("shared");
    fs::create_dir(&source).expect("mkdir");
    let silent = Silent::mount(source.join("silent"));
    let script = "ls /shared/silent/. & echo $! > /ready; while read line < /go; do echo $line > /ready; done";
    let source = source.to_str().expect("UTF-8").to_owned();
    let bundle = bundle.mount("bind", &source, "/shared", &["rbind"]).script(script);
    let container = bundle.create().start();
    ready.line();
    go.send("before");
    assert_eq!(ready.line(), "before");
    let is_there = || bundle.processes().into_iter().any(|pid| call::waits_in(pid, "fuse"));
    assert!(call::comes_true(is_there), "nobody waits for the file system");
    let _ = bundle.operate(&["pause"]).refused().says("cannot be suspended");
    assert_eq!(bundle.status(), "running");
    go.send("after");
    assert_eq!(ready.line(), "after");
    // Its end does not wait for the file system.
    let _ = bundle.operate(&["delete", "--force"]).ok();
    container.ended();
    drop(silent);
}

fn pause_without_a_cgroup_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let _ = bundle.call_with("run", &["--cgroup-manager=disabled", "-d"]).finish().ok();
    for operation in ["pause", "ps"] {
        let _ = bundle.operate(&[operation]).refused().says("has no cgroup of its own");
    }
    assert_eq!(bundle.status(), "running");
}

fn exec_in_a_paused_container_is_refused_or_waits_for_resume() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle.operate(&["pause"]).ok();
    let refused = bundle.call(&["exec", bundle.id(), "echo", "hello"]).finish();
    assert_ne!(refused.code, 0, "{refused}");
    let _ = refused.says("cannot exec in a paused container (use --ignore-paused to override)");
    if call::is_peer() {
        return; // The one of Debian waits for itself to be frozen.
    }
    let waiting = bundle.call(&["exec", "--ignore-paused", bundle.id(), "echo", "hello"]).begin();
    let _ = bundle.operate(&["resume"]).ok();
    let _ = waiting.finish().ok().prints("hello");
}

/// A lock of a directory, as anybody can take it who may read it.
fn locked(directory: &Path) -> File {
    let file = File::open(directory).expect("open");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("flock");
    file
}

fn who_may_read_a_cgroup_holds_nothing_up_by_its_lock() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let directory = directory_of(container.pid);
    let before = directory.with_file_name(format!("{}-before", bundle.id()));
    fs::create_dir(&before).expect("mkdir");
    let _locks = [&directory, &before, directory.parent().expect("a parent")].map(locked);
    let _ = bundle.operate(&["pause"]).ok();
    let _ = bundle.operate(&["resume"]).ok();
    let _ = bundle.call(&["kill", "--all", bundle.id(), "WINCH"]).finish().ok();
    let resources = bundle.beside("resources.json");
    fs::write(&resources, r#"{"devices": [{"allow": true}]}"#).expect("write");
    let _ = bundle.operate(&["update", "-r", resources.to_str().expect("UTF-8")]).ok();
    // One that is made beside them, and one in a cgroup that was there.
    let _ = Bundle::new().run().ok();
    let path = bundle.config["linux"]["cgroupsPath"].as_str().expect("a path");
    let _ = Bundle::new().set("/linux/cgroupsPath", format!("{path}-before")).run().ok();
}
