//! The operations and the states between them: runtime.md, "Lifecycle", "Operations".

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;

table!(Root, Busybox;
    a_container_is_created_then_running_then_stopped,
    the_state_names_version_id_status_pid_and_bundle,
    the_state_carries_the_annotations,
    the_pid_of_a_stopped_container_is_no_process,
    create_does_not_run_the_program,
    a_config_changed_after_create_has_no_effect,
    create_returns_while_the_container_keeps_its_standard_streams,
    start_returns_after_the_program_was_executed[Hull("runc 1.1.5 returns once the FIFO is open")],
    start_of_a_running_container_is_refused,
    start_of_a_stopped_container_is_refused,
    start_of_a_missing_container_is_refused,
    state_of_a_missing_container_is_refused,
    a_second_create_of_the_id_is_refused_and_the_first_lives,
    an_id_can_be_used_again_after_delete,
    create_without_a_process_succeeds_and_start_is_refused[Hull("runc 1.1.5 asks for the process at create")],
    kill_sends_the_signal_to_the_container_process,
    kill_sends_sigterm_by_default,
    kill_of_a_created_container_ends_it,
    kill_of_a_stopped_container_is_refused,
    kill_of_a_missing_container_is_refused,
    delete_of_a_running_container_is_refused,
    delete_of_a_stopped_container_leaves_nothing,
    delete_of_a_created_container_removes_it,
    delete_of_a_missing_container_is_refused,
    delete_force_kills_a_running_container,
    delete_force_of_a_missing_container_succeeds,
    delete_keeps_what_create_did_not_make,
    run_passes_the_exit_code_on,
    run_passes_a_signal_on_as_128_and_its_number,
    run_leaves_nothing_behind,
    run_with_keep_leaves_a_stopped_container,
    run_detached_returns_while_the_program_runs,
    run_forwards_signals_to_the_container,
    a_container_whose_init_was_killed_is_stopped,
    the_root_of_another_call_does_not_know_the_container,
);

// `created`: the container process has neither exited nor executed the user-specified program; `running`: it has
// executed the user-specified program but has not exited; `stopped`: it has exited.
fn a_container_is_created_then_running_then_stopped() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create();
    assert_eq!(bundle.status(), "created");
    bundle.start();
    assert_eq!(bundle.status(), "running");
    let _ = bundle.kill("KILL").ok();
    container.ended();
    assert_eq!(bundle.status(), "stopped");
    let _ = bundle.delete().ok();
    let _ = bundle.operate(&["state"]).refused();
}

// "The state of a container includes the following properties": ociVersion, id, status, pid, bundle.
fn the_state_names_version_id_status_pid_and_bundle() {
    let bundle = Bundle::new();
    bundle.create();
    let state = bundle.state();
    assert!(
        state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")),
        "{state}"
    );
    assert_eq!(state["id"], bundle.id());
    assert_eq!(state["status"], "created");
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(state["bundle"], bundle.directory().to_str().expect("UTF-8"));
    // What CRI-O and `list` readers want besides.
    assert!(state["created"].as_str().is_some_and(|time| time.contains('T')), "{state}");
    assert!(state["rootfs"].as_str().is_some_and(|path| path.ends_with("/rootfs")), "{state}");
    assert!(state["owner"].is_string(), "{state}");
}

// "annotations (map, OPTIONAL) contains the list of annotations associated with the container."
fn the_state_carries_the_annotations() {
    let bundle = Bundle::new()
        .set("/annotations", json!({"com.example.key": "a value", "com.example.empty": ""}));
    bundle.create();
    let annotations = &bundle.state()["annotations"];
    assert_eq!(annotations["com.example.key"], "a value");
    assert_eq!(annotations["com.example.empty"], "");
}

fn the_pid_of_a_stopped_container_is_no_process() {
    let bundle = Bundle::new();
    let container = bundle.create().start();
    container.ended();
    let state = bundle.state();
    assert_eq!(state["status"], "stopped");
    assert!(state["pid"].as_i64().unwrap_or(0) == 0, "{state}");
}

// "the user-specified program (from process) MUST NOT be run at this time."
fn create_does_not_run_the_program() {
    let bundle = Bundle::new().script("echo ran > /ran");
    let container = bundle.create();
    assert!(!bundle.rootfs().join("ran").exists());
    bundle.start();
    container.ended();
    assert_eq!(bundle.read("ran"), "ran\n");
}

// "Any updates to config.json after this step MUST NOT affect the container."
fn a_config_changed_after_create_has_no_effect() {
    let bundle = Bundle::new().script("echo first; echo $NAME").set("/process/env/-", "NAME=old");
    let container = bundle.create();
    let changed = bundle
        .config
        .to_string()
        .replace("echo first", "echo second")
        .replace("NAME=old", "NAME=new");
    std::fs::write(bundle.directory().join("config.json"), changed).expect("write config.json");
    bundle.start();
    container.ended();
    assert_eq!(container.stdout(), "first\nold\n");
    std::fs::remove_file(bundle.directory().join("config.json")).expect("remove config.json");
    let _ = bundle.delete().ok();
}

fn create_returns_while_the_container_keeps_its_standard_streams() {
    let bundle = Bundle::new().script("echo out; echo err >&2; read line; echo got $line");
    let container = bundle.create().start();
    container.ended();
    assert_eq!(container.stdout(), "out\ngot\n");
}

fn start_returns_after_the_program_was_executed() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    assert_eq!(container.proc("cmdline"), "sleep\x001000\x00");
}

// "Attempting to start a container that is not created MUST have no effect on the container and MUST generate an
// error."
fn start_of_a_running_container_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle.try_start().refused().says("cannot start an already running container");
    assert_eq!(bundle.status(), "running");
}

fn start_of_a_stopped_container_is_refused() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let _ = bundle.try_start().refused().says("cannot start a container that has stopped");
    assert_eq!(bundle.status(), "stopped");
}

fn start_of_a_missing_container_is_refused() {
    let _ = Bundle::new().try_start().refused().says("does not exist");
}

// "Attempting to query a container that does not exist MUST generate an error."
fn state_of_a_missing_container_is_refused() {
    let _ = Bundle::new().operate(&["state"]).refused().says("container does not exist");
}

// "If the ID provided is not unique across all containers within the scope of the runtime [...] a new container MUST
// NOT be created."
fn a_second_create_of_the_id_is_refused_and_the_first_lives() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let first = bundle.create();
    let _ = bundle.try_create().refused().says("container with given id already exists");
    bundle.start();
    let _ = bundle.call_with("run", &[]).finish().refused().says("already exists");
    let state = bundle.state();
    assert_eq!(state["status"], "running");
    assert_eq!(state["pid"], first.pid);
}

// "Once a container is deleted its ID MAY be used by a subsequent container."
fn an_id_can_be_used_again_after_delete() {
    let bundle = Bundle::new().script("echo hello");
    for _ in 0..2 {
        let container = bundle.create().start();
        container.ended();
        let _ = bundle.delete().ok();
        assert_eq!(container.stdout(), "hello\n");
    }
}

// "This property is REQUIRED when start is called."; start: "MUST generate an error if process was not set."
fn create_without_a_process_succeeds_and_start_is_refused() {
    let bundle = Bundle::new().without("/process");
    bundle.create();
    assert_eq!(bundle.status(), "created");
    let _ = bundle.try_start().refused().names("process");
    let _ = bundle.operate(&["delete", "--force"]).ok();
    let _ = Bundle::new().create().start();
}

// "This operation MUST send the specified signal to the container process."
fn kill_sends_the_signal_to_the_container_process() {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let bundle = bundle
        .script("trap 'exit 7' USR1; echo ready > /ready; while :; do sleep 1000 & wait; done");
    let container = bundle.create().start();
    ready.line();
    let _ = bundle.kill("USR1").ok();
    assert_eq!(container.exit_code(), 7);
}

fn kill_sends_sigterm_by_default() {
    let bundle = Bundle::new();
    let ready = bundle.fifo("ready");
    let bundle = bundle
        .script("trap 'exit 15' TERM; echo ready > /ready; while :; do sleep 1000 & wait; done");
    let container = bundle.create().start();
    ready.line();
    let _ = bundle.operate(&["kill"]).ok();
    assert_eq!(container.exit_code(), 15);
}

fn kill_of_a_created_container_ends_it() {
    let bundle = Bundle::new();
    let container = bundle.create();
    let _ = bundle.kill("KILL").ok();
    assert_eq!(container.exit_code(), 128 + 9);
    assert_eq!(bundle.status(), "stopped");
}

// "Attempting to send a signal to a container that is neither created nor running MUST have no effect on the container
// and MUST generate an error."
fn kill_of_a_stopped_container_is_refused() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let _ = bundle.kill("KILL").refused().says("container not running");
    assert_eq!(bundle.status(), "stopped");
}

fn kill_of_a_missing_container_is_refused() {
    let _ = Bundle::new().kill("KILL").refused().says("does not exist");
}

// "Attempting to delete a container that is not stopped MUST have no effect on the container and MUST generate an
// error."
fn delete_of_a_running_container_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle
        .delete()
        .refused()
        .says("cannot delete container")
        .says("that is not stopped: running");
    assert_eq!(bundle.status(), "running");
}

// "Deleting a container MUST delete the resources that were created during the create step."
fn delete_of_a_stopped_container_leaves_nothing() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    let _ = bundle.delete().ok();
    assert_nothing_left(&bundle);
}

// Both runc and crun do, and engines rely on it.
fn delete_of_a_created_container_removes_it() {
    let bundle = Bundle::new();
    let container = bundle.create();
    let _ = bundle.delete().ok();
    container.ended();
    assert_nothing_left(&bundle);
}

fn delete_of_a_missing_container_is_refused() {
    let _ = Bundle::new().delete().refused().says("does not exist");
}

fn delete_force_kills_a_running_container() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_eq!(container.exit_code(), 128 + 9);
    assert_nothing_left(&bundle);
}

fn delete_force_of_a_missing_container_succeeds() {
    let _ = Bundle::new().operate(&["delete", "--force"]).ok();
    let _ = Bundle::new().operate(&["delete", "-f"]).ok();
}

// "Note that resources associated with the container, but not created by this container, MUST NOT be deleted."
fn delete_keeps_what_create_did_not_make() {
    let bundle = Bundle::new().mount("bind", "shared", "/shared", &["bind"]).args(&[
        "touch",
        "/shared/file",
        "/file",
    ]);
    std::fs::create_dir(bundle.directory().join("shared")).expect("mkdir");
    bundle.create().start().ended();
    let _ = bundle.delete().ok();
    assert!(bundle.directory().join("shared/file").exists());
    assert!(bundle.rootfs().join("file").exists());
    assert!(bundle.directory().join("config.json").exists());
}

fn run_passes_the_exit_code_on() {
    for code in [0, 1, 42, 255] {
        let _ = Bundle::new().script(&format!("exit {code}")).run().exits(code);
    }
}

fn run_passes_a_signal_on_as_128_and_its_number() {
    // Without a new pid namespace: an init of one does not die from a signal of its own.
    let _ = Bundle::new().without_namespace("pid").script("kill -TERM $$").run().exits(128 + 15);
    let _ = Bundle::new().without_namespace("pid").script("kill -KILL $$").run().exits(128 + 9);
}

fn run_leaves_nothing_behind() {
    let bundle = Bundle::new().script("echo $$; sleep 1000 & exit 3");
    let _ = bundle.run().exits(3).prints("1");
    assert_nothing_left(&bundle);
}

fn run_with_keep_leaves_a_stopped_container() {
    let bundle = Bundle::new();
    let _ = bundle.call_with("run", &["--keep"]).finish().ok();
    assert_eq!(bundle.status(), "stopped");
    let _ = bundle.delete().ok();
    assert_nothing_left(&bundle);
}

fn run_detached_returns_while_the_program_runs() {
    for flag in ["--detach", "-d"] {
        let bundle = Bundle::new().args(&["sleep", "1000"]);
        let _ = bundle.call_with("run", &[flag]).finish().ok();
        assert_eq!(bundle.status(), "running");
    }
}

fn run_forwards_signals_to_the_container() {
    use rustix::process::Signal;
    for (name, signal) in
        [("TERM", Signal::TERM), ("HUP", Signal::HUP), ("USR2", Signal::USR2), ("INT", Signal::INT)]
    {
        let bundle = Bundle::new();
        let ready = bundle.fifo("ready");
        let bundle = bundle.script(&format!(
            "trap 'exit 9' {name}; echo ready > /ready; while :; do sleep 1000 & wait; done"
        ));
        let run = bundle.begin();
        ready.line();
        run.signal(signal);
        let _ = run.finish().exits(9);
    }
}

fn a_container_whose_init_was_killed_is_stopped() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    let pid = rustix::process::Pid::from_raw(container.pid).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill");
    container.ended();
    assert_eq!(bundle.status(), "stopped");
    let _ = bundle.delete().ok();
}

fn the_root_of_another_call_does_not_know_the_container() {
    let bundle = Bundle::new();
    bundle.create();
    let other = bundle.beside("other");
    let _ = bundle
        .bare(&["--root", other.to_str().expect("UTF-8"), "state", bundle.id()])
        .finish()
        .refused();
}

/// No process, no cgroup, no mount and no file of the state directory.
pub fn assert_nothing_left(bundle: &Bundle) {
    assert_eq!(bundle.processes(), [0; 0], "processes");
    assert_eq!(bundle.cgroups(), [""; 0].map(std::path::PathBuf::from), "cgroups");
    assert_eq!(bundle.mounts(), [""; 0], "mounts");
    let state = std::fs::read_dir(bundle.root()).map_or(0, Iterator::count);
    assert_eq!(state, 0, "entries of the state directory");
}
