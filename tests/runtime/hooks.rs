//! Hooks: config.md, "POSIX-platform Hooks"; runtime.md, "Lifecycle".

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::case::table;
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox;
    hooks_are_called_in_the_order_of_the_lifecycle[Hull("runc 1.1.5 calls poststart at create")],
    hooks_of_a_kind_are_called_in_the_listed_order,
    run_calls_all_hooks,
    prestart_and_create_runtime_run_in_the_runtime_namespace,
    create_container_runs_in_the_container_namespace_with_the_hosts_paths,
    start_container_runs_in_the_container_with_its_paths,
    poststart_and_poststop_run_in_the_runtime_namespace,
    the_state_of_a_hook_during_create_is_creating,
    the_state_of_start_container_is_created,
    the_state_of_poststart_is_running[Hull("runc 1.1.5 calls poststart at create")],
    the_state_of_poststop_is_stopped,
    the_pid_of_a_hook_in_the_runtime_namespace_is_the_hosts,
    the_pid_of_a_hook_in_the_container_is_the_containers,
    the_annotations_are_in_the_state_of_a_hook,
    a_hook_gets_its_arguments_and_environment,
    start_container_has_the_environment_of_the_program,
    a_hook_without_arguments_gets_its_path,
    a_hook_need_not_read_the_state,
    a_prestart_hook_can_set_up_the_network,
    a_create_runtime_hook_is_called_before_pivot_root,
    a_failing_prestart_hook_fails_create,
    a_failing_create_runtime_hook_fails_create,
    a_failing_create_container_hook_fails_create,
    a_failing_start_container_hook_fails_start,
    a_failing_poststart_hook_fails_start_and_stops_the_container[Hull("runc 1.1.5 calls poststart at create")],
    a_failing_poststop_hook_is_a_warning[Hull("runc 1.1.5 calls no further hook")],
    hooks_after_a_failing_one_are_not_called,
    poststop_is_called_after_a_failed_create,
    a_missing_hook_program_fails_create,
    a_hook_past_its_timeout_is_killed,
    a_hook_within_its_timeout_succeeds,
    a_timeout_that_is_not_positive_is_refused[Hull("runc 1.1.5 takes it")],
    a_relative_hook_path_is_refused[Hull("runc 1.1.5 takes it")],
    poststop_is_called_after_the_container_is_gone,
    delete_force_calls_poststop,
    hooks_see_only_the_standard_descriptors[Hull("runc 1.1.5 leaks its own to createContainer")],
    the_output_of_a_failing_hook_is_in_the_error,
);

const KINDS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs this script of the host's shell.
pub fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})
}

/// Where hooks write: below the root file system, so that those inside reach it as well.
fn log(bundle: &Bundle, kind: &str) -> String {
    if kind == "startContainer" {
        "/log".to_owned()
    } else {
        format!("{}/log", bundle.rootfs().display())
    }
}

/// The same bundle with one more hook of this kind; `LOG` in its script is the log's path.
fn with_hook(bundle: Bundle, kind: &str, script: &str) -> Bundle {
    let script = script.replace("LOG", &log(&bundle, kind));
    bundle.set(&format!("/hooks/{kind}/-"), hook(&script))
}

/// The text that a hook of this kind writes in a life of a container from create to delete.
fn written_by(kind: &str, script: &str) -> String {
    let bundle = with_hook(Bundle::new().args(&["sleep", "1000"]), kind, script);
    let container = bundle.create().start();
    let _ = bundle.kill("KILL").ok();
    container.ended();
    let _ = bundle.delete().ok();
    bundle.read("log")
}

fn state_of(kind: &str) -> Value {
    serde_json::from_str(&written_by(kind, "cat > LOG")).expect("the state is JSON")
}

// "The prestart hooks MUST be called before the createRuntime hooks." "The createContainer hooks MUST be called after
// the createRuntime hooks." startContainer: "before the user-specified process is executed"; poststart: "after the
// user-specified process is executed but before the start operation returns"; poststop: "after the container is
// deleted but before the delete operation returns".
fn hooks_are_called_in_the_order_of_the_lifecycle() {
    let mut bundle = Bundle::new().args(&["sleep", "1000"]);
    for kind in KINDS {
        bundle = with_hook(bundle, kind, &format!("echo {kind} >> LOG"));
    }
    let container = bundle.create();
    assert_eq!(bundle.read("log"), "prestart\ncreateRuntime\ncreateContainer\n");
    bundle.start();
    assert_eq!(
        bundle.read("log"),
        "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststart\n"
    );
    let _ = bundle.kill("KILL").ok();
    container.ended();
    let _ = bundle.delete().ok();
    assert_eq!(bundle.read("log"), KINDS.map(|kind| format!("{kind}\n")).concat());
}

// "Hooks MUST be called in the listed order."
fn hooks_of_a_kind_are_called_in_the_listed_order() {
    for kind in KINDS {
        let mut bundle = Bundle::new();
        for number in 1..=3 {
            bundle = with_hook(bundle, kind, &format!("echo {number} >> LOG"));
        }
        let _ = bundle.run().ok();
        assert_eq!(bundle.read("log"), "1\n2\n3\n", "{kind}");
    }
}

fn run_calls_all_hooks() {
    let mut bundle = Bundle::new().script("echo program >> /log");
    for kind in KINDS.iter().filter(|kind| **kind != "poststart") {
        bundle = with_hook(bundle, kind, &format!("echo {kind} >> LOG"));
    }
    let _ = bundle.run().ok();
    let expected = "prestart\ncreateRuntime\ncreateContainer\nstartContainer\nprogram\npoststop\n";
    assert_eq!(bundle.read("log"), expected);
}

/// The pid of the state on the standard input.
const READ_PID: &str = "pid=$(tr -d ' \\n\\t' | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')";

const NAMESPACES: &str = "for n in mnt pid net uts ipc; do readlink /proc/self/ns/$n; done > LOG";

fn own_namespaces() -> String {
    let link = |name| fs::read_link(format!("/proc/self/ns/{name}")).expect("a namespace");
    ["mnt", "pid", "net", "uts", "ipc"].map(|name| format!("{}\n", link(name).display())).concat()
}

// "The createRuntime hooks MUST be executed in the runtime namespace."
fn prestart_and_create_runtime_run_in_the_runtime_namespace() {
    for kind in ["prestart", "createRuntime"] {
        assert_eq!(written_by(kind, NAMESPACES), own_namespaces(), "{kind}");
    }
}

// "The value of path MUST resolve in the runtime namespace. The createContainer hooks MUST be executed in the
// container namespace."
fn create_container_runs_in_the_container_namespace_with_the_hosts_paths() {
    let bundle = with_hook(Bundle::new(), "createContainer", NAMESPACES);
    let container = bundle.create();
    let names = ["mnt", "pid", "net", "uts", "ipc"];
    let expected =
        names.map(|name| format!("{}\n", container.proc_link(&format!("ns/{name}")))).concat();
    assert_eq!(bundle.read("log"), expected);
}

// "The startContainer hooks' path MUST resolve in the container namespace."
fn start_container_runs_in_the_container_with_its_paths() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let hook = json!({"path": "/usr/hook", "args": ["hook"]});
    let bundle = bundle.set("/hooks/startContainer", json!([hook]));
    bundle.write_program("usr/hook", "#!/bin/sh\nread state; for n in mnt pid net uts ipc; do /bin/readlink /proc/self/ns/$n; done > /log; echo \"$state\" > /state\n");
    let container = bundle.create();
    assert!(!bundle.rootfs().join("log").exists());
    bundle.start();
    let names = ["mnt", "pid", "net", "uts", "ipc"];
    let expected =
        names.map(|name| format!("{}\n", container.proc_link(&format!("ns/{name}")))).concat();
    assert_eq!(bundle.read("log"), expected);
}

fn poststart_and_poststop_run_in_the_runtime_namespace() {
    for kind in ["poststart", "poststop"] {
        assert_eq!(written_by(kind, NAMESPACES), own_namespaces(), "{kind}");
    }
}

// "The state of the container MUST be passed to hooks over stdin".
fn the_state_of_a_hook_during_create_is_creating() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let state = state_of(kind);
        assert_eq!(state["status"], "creating", "{kind}: {state}");
        assert!(state["ociVersion"].is_string() && state["id"].is_string(), "{kind}: {state}");
        assert!(
            state["bundle"].as_str().is_some_and(|path| path.ends_with("/bundle")),
            "{kind}: {state}"
        );
    }
}

fn the_state_of_start_container_is_created() {
    let state = state_of("startContainer");
    assert_eq!(state["status"], "created", "{state}");
}

fn the_state_of_poststart_is_running() {
    let state = state_of("poststart");
    assert_eq!(state["status"], "running", "{state}");
}

fn the_state_of_poststop_is_stopped() {
    let state = state_of("poststop");
    assert_eq!(state["status"], "stopped", "{state}");
}

// "For hooks executed in the runtime namespace, it is the pid as seen by the runtime."
fn the_pid_of_a_hook_in_the_runtime_namespace_is_the_hosts() {
    for kind in ["prestart", "createRuntime"] {
        let bundle = with_hook(Bundle::new(), kind, "cat > LOG");
        let container = bundle.create();
        let state: Value = serde_json::from_str(&bundle.read("log")).expect("JSON");
        assert_eq!(state["pid"], container.pid, "{kind}: {state}");
    }
}

// "For hooks executed in the container namespace, it is the pid as seen by the container."
fn the_pid_of_a_hook_in_the_container_is_the_containers() {
    assert_eq!(state_of("startContainer")["pid"], 1);
    assert_eq!(state_of("createContainer")["pid"], 1);
}

fn the_annotations_are_in_the_state_of_a_hook() {
    for kind in KINDS {
        let bundle = with_hook(Bundle::new(), kind, "cat > LOG")
            .set("/annotations", json!({"com.example.key": "value"}));
        let _ = bundle.run().ok();
        let state: Value = serde_json::from_str(&bundle.read("log")).expect("JSON");
        assert_eq!(state["annotations"]["com.example.key"], "value", "{kind}: {state}");
    }
}

// args: "with the same semantics as IEEE Std 1003.1-2008 execv's argv"; env: "environ".
fn a_hook_gets_its_arguments_and_environment() {
    for kind in KINDS {
        let bundle = Bundle::new();
        let script = format!("echo \"$0|$1|$2|$NAME|$PATH\" > {}", log(&bundle, kind));
        let hook = json!({
            "path": "/bin/sh",
            "args": ["sh", "-c", script, "zero", "o n e", ""],
            "env": ["NAME=a value", "PATH=/usr/bin:/bin"]
        });
        let bundle = bundle.set(&format!("/hooks/{kind}"), json!([hook]));
        let _ = bundle.run().ok();
        assert_eq!(bundle.read("log"), "zero|o n e||a value|/usr/bin:/bin\n", "{kind}");
    }
}

// With the HOME that the container's passwd gives.
fn start_container_has_the_environment_of_the_program() {
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "echo $ONE $HOME > /log"]});
    let bundle = Bundle::new().set("/hooks/startContainer", json!([hook]));
    let bundle = bundle.set("/process/env", json!(["PATH=/bin", "ONE=1"]));
    bundle.write("etc/passwd", "root:x:0:0:root:/home/of/root:/bin/sh\n");
    let _ = bundle.run().ok();
    assert_eq!(bundle.read("log"), "1 /home/of/root\n");
}

fn a_hook_without_arguments_gets_its_path() {
    let bundle = Bundle::new();
    let text = format!("#!/bin/sh\necho \"$0 $#\" > {}\n", log(&bundle, "prestart"));
    bundle.write_program("hook", &text);
    let path = bundle.rootfs().join("hook");
    let path = path.to_str().expect("UTF-8").to_owned();
    let bundle = bundle.set("/hooks/createRuntime", json!([{"path": path}]));
    let _ = bundle.run().ok();
    assert_eq!(bundle.read("log"), format!("{path} 0\n"));
}

fn a_hook_need_not_read_the_state() {
    for kind in KINDS {
        let large = "x".repeat(200_000);
        let bundle = with_hook(Bundle::new(), kind, "exec <&-; exit 0")
            .set("/annotations", json!({"large": large}));
        let _ = bundle.run().ok();
    }
}

// "they are called after the container namespaces are created, so they provide an opportunity to customize the
// container (e.g. the network namespace could be specified in this hook)."
fn a_prestart_hook_can_set_up_the_network() {
    for kind in ["prestart", "createRuntime"] {
        let script =
            "nsenter --net=/proc/$pid/ns/net sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'";
        let bundle = with_hook(Bundle::new(), kind, &format!("{READ_PID}; {script}"))
            .args(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
        let _ = bundle.run().ok().prints("1");
    }
}

// "before the pivot_root or any equivalent operation has been executed"
fn a_create_runtime_hook_is_called_before_pivot_root() {
    for kind in ["prestart", "createRuntime"] {
        let bundle = Bundle::new();
        // The host's path is still there: the root of the container process is not the rootfs yet.
        let config = bundle.directory().join("config.json");
        let script =
            format!("{READ_PID}; test -e /proc/$pid/root{} && echo before > LOG", config.display());
        let bundle = with_hook(bundle, kind, &script);
        let _ = bundle.run().ok();
        assert_eq!(bundle.read("log"), "before\n", "{kind}");
    }
}

fn failing_during_create(kind: &str) {
    let bundle = with_hook(Bundle::new(), kind, "exit 3");
    let _ = bundle.try_create().refused().names(kind);
    assert_nothing_left(&bundle);
    let _ = bundle.operate(&["state"]).refused().says("does not exist");
}

// "If any prestart hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at
// step 12."
fn a_failing_prestart_hook_fails_create() {
    failing_during_create("prestart");
}

fn a_failing_create_runtime_hook_fails_create() {
    failing_during_create("createRuntime");
}

fn a_failing_create_container_hook_fails_create() {
    failing_during_create("createContainer");
}

fn a_failing_start_container_hook_fails_start() {
    let bundle = with_hook(Bundle::new().script("echo ran > /ran"), "startContainer", "exit 3");
    let container = bundle.create();
    let start = bundle.try_start();
    container.ended();
    assert!(!bundle.rootfs().join("ran").exists());
    if !crate::call::is_peer() {
        // runc 1.1.5: start succeeds and the container stops.
        let _ = start.refused().names("startContainer");
    }
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_nothing_left(&bundle);
}

// "If any poststart hook fails, the runtime MUST generate an error, stop the container, and continue the lifecycle at
// step 12."
fn a_failing_poststart_hook_fails_start_and_stops_the_container() {
    let bundle = with_hook(Bundle::new().args(&["sleep", "1000"]), "poststart", "exit 3");
    let container = bundle.create();
    let _ = bundle.try_start().refused().names("poststart");
    container.ended();
}

// "If any poststop hook fails, the runtime MUST log a warning, but the remaining hooks and lifecycle continue as if
// the hook had succeeded."
fn a_failing_poststop_hook_is_a_warning() {
    let bundle =
        with_hook(with_hook(Bundle::new(), "poststop", "exit 3"), "poststop", "echo second >> LOG");
    bundle.create().start().ended();
    let output = bundle.delete().ok();
    assert_eq!(bundle.read("log"), "second\n");
    assert_nothing_left(&bundle);
    let _ = output.names("poststop");
}

fn hooks_after_a_failing_one_are_not_called() {
    let bundle = with_hook(
        with_hook(Bundle::new(), "createRuntime", "exit 1"),
        "createRuntime",
        "echo second >> LOG",
    );
    let bundle = with_hook(bundle, "createContainer", "echo third >> LOG");
    let _ = bundle.try_create().refused();
    assert!(!bundle.rootfs().join("log").exists());
}

// "continue the lifecycle at step 12": the container is destroyed, the poststop hooks are invoked.
fn poststop_is_called_after_a_failed_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle =
            with_hook(with_hook(Bundle::new(), kind, "exit 1"), "poststop", "echo poststop >> LOG");
        let _ = bundle.try_create().refused();
        assert_eq!(bundle.read("log"), "poststop\n", "{kind}");
    }
}

fn a_missing_hook_program_fails_create() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let bundle =
            Bundle::new().set(&format!("/hooks/{kind}"), json!([{"path": "/no/such/hook"}]));
        let _ =
            bundle.try_create().refused().names("/no/such/hook").says("no such file or directory");
        assert_nothing_left(&bundle);
    }
}

// "timeout is the number of seconds before aborting the hook."
fn a_hook_past_its_timeout_is_killed() {
    let bundle = Bundle::new();
    // By this it is found as a process of the test, however far it comes within its second.
    let env = [format!("HULL_TEST={}", bundle.id())];
    let hook = json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "env": env, "timeout": 1});
    let bundle = bundle.set("/hooks/createRuntime", json!([hook]));
    let _ = bundle.try_create().refused().says("timeout");
    assert_nothing_left(&bundle);
}

fn a_hook_within_its_timeout_succeeds() {
    for kind in KINDS {
        let mut hook = hook("exit 0");
        hook["timeout"] = json!(100);
        let _ = Bundle::new().set(&format!("/hooks/{kind}"), json!([hook])).run().ok();
    }
}

// "If set, timeout MUST be greater than zero."
fn a_timeout_that_is_not_positive_is_refused() {
    for timeout in [0, -1] {
        let bundle = Bundle::new()
            .set("/hooks/poststop", json!([{"path": "/bin/true", "timeout": timeout}]));
        let _ = bundle.try_create().refused().names("/hooks/poststop/0/timeout");
    }
}

// "path MUST be absolute."
fn a_relative_hook_path_is_refused() {
    for kind in KINDS {
        let bundle = Bundle::new().set(&format!("/hooks/{kind}"), json!([{"path": "bin/true"}]));
        let _ = bundle.try_create().refused().names(&format!("/hooks/{kind}/0/path"));
    }
}

fn poststop_is_called_after_the_container_is_gone() {
    let cgroup = "ls -d /sys/fs/cgroup/*/hull-test-*/ID /sys/fs/cgroup/hull-test-*/ID 2> /dev/null | wc -l > LOG";
    let bundle = Bundle::new();
    let script = cgroup.replace("ID", bundle.id());
    let bundle = with_hook(bundle, "poststop", &script);
    bundle.create().start().ended();
    assert_ne!(bundle.cgroups(), [""; 0].map(std::path::PathBuf::from));
    let _ = bundle.delete().ok();
    assert_eq!(bundle.read("log").trim(), "0");
}

fn delete_force_calls_poststop() {
    let bundle =
        with_hook(Bundle::new().args(&["sleep", "1000"]), "poststop", "echo poststop >> LOG");
    bundle.create().start();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_eq!(bundle.read("log"), "poststop\n");
}

/// The descriptors past the standard streams that this process was started with and that its children inherit.
fn inherited() -> Vec<u32> {
    let entries = fs::read_dir("/proc/self/fdinfo").expect("fdinfo").flatten();
    let inherited = |text: String| {
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).map(str::trim);
        flags
            .and_then(|flags| u32::from_str_radix(flags, 8).ok())
            .is_some_and(|flags| flags & 0o2_000_000 == 0)
    };
    entries
        .filter(|entry| fs::read_to_string(entry.path()).is_ok_and(inherited))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn hooks_see_only_the_standard_descriptors() {
    for kind in KINDS {
        let written = written_by(kind, "ls /proc/self/fd | tr '\\n' ' ' > LOG");
        let mut fds: Vec<u32> = written.split(' ').filter_map(|fd| fd.parse().ok()).collect();
        fds.retain(|fd| *fd < 3 || !inherited().contains(fd));
        // One more: the directory that ls itself reads.
        assert_eq!(fds.len(), 4, "{kind}: {written}");
    }
}

fn the_output_of_a_failing_hook_is_in_the_error() {
    let bundle = with_hook(Bundle::new(), "createRuntime", "echo the reason >&2; exit 1");
    let _ = bundle.try_create().refused().says("the reason");
}
