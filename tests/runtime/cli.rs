//! The command line: what engines and people write, and what they read back.

use std::fs;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::case::table;

table!(Root, Busybox;
    an_option_is_written_with_a_space_or_an_equals_sign,
    an_option_is_written_with_one_dash_or_its_letter,
    options_of_the_command_come_before_or_after_the_id,
    a_repeated_option_takes_its_last_value,
    a_boolean_option_takes_a_value,
    the_argv_of_containerds_shim_is_accepted,
    the_argv_of_conmon_is_accepted,
    the_argv_of_conmon_rs_is_accepted,
    the_argv_of_buildkit_is_accepted,
    the_bundle_is_the_working_directory_by_default,
    config_names_another_file[Hull("runc has no --config")],
    the_pid_file_holds_the_bare_pid,
    the_pid_file_of_run_holds_the_bare_pid,
    a_pid_file_that_cannot_be_written_fails_create,
    the_state_directory_is_made_when_it_is_missing,
    a_relative_state_directory_is_below_the_working_directory,
    list_shows_a_table,
    list_json_is_an_array_of_states,
    list_quiet_shows_ids_alone,
    list_skips_what_is_not_a_container,
    kill_takes_every_spelling_of_a_signal,
    an_unknown_signal_is_refused,
    kill_with_a_regular_expression_signals_all_that_match[Hull("runc has no --regex")],
    delete_with_a_regular_expression_removes_all_that_match[Hull("runc has no --regex")],
    spec_writes_a_config_that_runs,
);

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn an_option_is_written_with_a_space_or_an_equals_sign() {
    let bundle = Bundle::new();
    bundle.save();
    let (root, directory) = (bundle.root(), bundle.directory());
    let (root, directory) = (text(&root), text(&directory));
    let _ = bundle.bare(&["--root", root, "run", "--bundle", directory, bundle.id()]).finish().ok();
    let joined = [format!("--root={root}"), format!("--bundle={directory}")];
    let _ = bundle.bare(&[&joined[0], "run", &joined[1], bundle.id()]).finish().ok();
}

// go-runc writes `-no-subreaper`; Go's flags and urfave take `-bundle`.
fn an_option_is_written_with_one_dash_or_its_letter() {
    let bundle = Bundle::new();
    bundle.save();
    let (root, directory) = (bundle.root(), bundle.directory());
    let (root, directory) = (text(&root), text(&directory));
    let _ = bundle.bare(&["-root", root, "run", "-bundle", directory, bundle.id()]).finish().ok();
    let _ = bundle.bare(&["--root", root, "run", "-b", directory, bundle.id()]).finish().ok();
    let _ = bundle
        .bare(&[
            "--root",
            root,
            "run",
            "-no-subreaper",
            "-no-pivot",
            "-bundle",
            directory,
            bundle.id(),
        ])
        .finish()
        .ok();
    let _ = bundle.call_with("run", &["-d"]).finish().ok();
    let _ = bundle.call(&["delete", "-f", bundle.id()]).finish().ok();
}

fn options_of_the_command_come_before_or_after_the_id() {
    let bundle = Bundle::new();
    bundle.save();
    let directory = bundle.directory();
    let _ = bundle.call(&["run", "--bundle", text(&directory), bundle.id()]).finish().ok();
    if !crate::call::is_peer() {
        let _ = bundle.call(&["run", bundle.id(), "--bundle", text(&directory)]).finish().ok();
        let _ = bundle.call(&["delete", bundle.id(), "--force"]).finish().ok();
    }
}

// conmon-rs writes the global options twice.
fn a_repeated_option_takes_its_last_value() {
    let bundle = Bundle::new();
    bundle.save();
    let (root, directory) = (bundle.root(), bundle.directory());
    let (root, directory) = (text(&root), text(&directory));
    let argv = [
        "--root",
        "/nowhere",
        "--root",
        root,
        "--debug",
        "--debug",
        "run",
        "--bundle",
        "/nowhere",
        "--bundle",
        directory,
        bundle.id(),
    ];
    let _ = bundle.bare(&argv).finish().ok();
}

fn a_boolean_option_takes_a_value() {
    let bundle = Bundle::new();
    bundle.save();
    let directory = bundle.directory();
    for rootless in ["--rootless=auto", "--rootless=true", "--rootless=false"] {
        let _ = bundle
            .call(&[rootless, "run", "--bundle", text(&directory), bundle.id()])
            .finish()
            .ok();
    }
    let argv = [
        "--debug=false",
        "--systemd-cgroup=false",
        "run",
        "--no-pivot=false",
        "--detach=true",
        "--bundle",
        text(&directory),
        bundle.id(),
    ];
    let _ = bundle.call(&argv).finish().ok();
    let _ = bundle.call(&["delete", "--force=true", bundle.id()]).finish().ok();
}

// go-runc: `BIN --root R --log L --log-format json create --bundle B --pid-file P ID`.
fn the_argv_of_containerds_shim_is_accepted() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.save();
    let (log, pid_file) = (bundle.beside("log.json"), bundle.beside("init.pid"));
    let directory = bundle.directory();
    let global = ["--log", text(&log), "--log-format", "json"];
    let call = |rest: &[&str]| bundle.call(&[&global[..], rest].concat()).finish();
    let _ =
        call(&["create", "--bundle", text(&directory), "--pid-file", text(&pid_file), bundle.id()])
            .ok();
    let _ = call(&["start", bundle.id()]).ok();
    let _ = call(&["state", bundle.id()]).ok();
    let _ = call(&["kill", bundle.id(), "15"]).ok();
    let _ = call(&["kill", "--all", bundle.id(), "9"]).ok();
    let pid: i32 = fs::read_to_string(&pid_file).expect("the pid file").parse().expect("a pid");
    assert!(
        crate::call::pidfd(pid)
            .is_none_or(|pidfd| crate::call::readable(pidfd, crate::call::limit()))
    );
    let _ = call(&["delete", bundle.id()]).ok();
    let _ = call(&["delete", "--force", bundle.id()]).ok();
}

// conmon: `RUNTIME --runtime-arg ... create --bundle B --pid-file P --no-new-keyring ID`.
fn the_argv_of_conmon_is_accepted() {
    let bundle = Bundle::new();
    bundle.save();
    let (log, pid_file) = (bundle.beside("oci-log"), bundle.beside("pidfile"));
    let directory = bundle.directory();
    let log = format!("--log={}", text(&log));
    let argv = [
        "--log-format=json",
        &log,
        "create",
        "--bundle",
        text(&directory),
        "--pid-file",
        text(&pid_file),
        "--no-new-keyring",
        bundle.id(),
    ];
    let _ = bundle.call(&argv).finish().ok();
    bundle.start();
    let _ = bundle.operate(&["delete", "--force"]).ok();
}

fn the_argv_of_conmon_rs_is_accepted() {
    let bundle = Bundle::new();
    bundle.save();
    let (root, directory, pid_file) = (bundle.root(), bundle.directory(), bundle.beside("pidfile"));
    let root = format!("--root={}", text(&root));
    let argv = [
        &root,
        root.as_str(),
        "create",
        "--bundle",
        text(&directory),
        "--pid-file",
        text(&pid_file),
        bundle.id(),
    ];
    let _ = bundle.bare(&argv).finish().ok();
}

// buildkit: no --root; `run --bundle B --keep ID` in the foreground, `kill ID 9`, `delete ID`.
fn the_argv_of_buildkit_is_accepted() {
    let bundle = Bundle::new().script("exit 5");
    bundle.save();
    let (log, directory) = (bundle.beside("log.json"), bundle.directory());
    let argv = [
        "--log",
        text(&log),
        "--log-format",
        "json",
        "run",
        "--bundle",
        text(&directory),
        "--keep",
        bundle.id(),
    ];
    let _ = bundle.call(&argv).finish().exits(5);
    let _ = bundle.call(&["delete", bundle.id()]).finish().ok();
}

fn the_bundle_is_the_working_directory_by_default() {
    let bundle = Bundle::new().args(&["echo", "ran"]);
    bundle.save();
    let _ = bundle
        .call(&["run", bundle.id()])
        .current_dir(&bundle.directory())
        .finish()
        .ok()
        .prints("ran");
    // "bundle is the absolute path to the container's bundle directory."
    let _ = bundle
        .call(&["create", "--bundle", "bundle", bundle.id()])
        .current_dir(&bundle.beside(""))
        .finish()
        .ok();
    assert_eq!(bundle.state()["bundle"], text(&bundle.directory()));
}

fn config_names_another_file() {
    let bundle = Bundle::new().args(&["echo", "ran"]);
    for option in ["--config", "-f"] {
        let output = bundle.beside("other.json");
        fs::write(&output, bundle.config.to_string()).expect("write");
        let directory = bundle.directory();
        let argv = ["create", option, text(&output), "--bundle", text(&directory), bundle.id()];
        let _ = bundle.call(&argv).finish().ok();
        let _ = bundle.delete().ok();
    }
}

// "createPidFile": containerd's shim reads a bare decimal.
fn the_pid_file_holds_the_bare_pid() {
    let bundle = Bundle::new();
    let file = bundle.beside("pid");
    let container = bundle.create_with(&["--pid-file", text(&file)]);
    assert_eq!(fs::read_to_string(&file).expect("the pid file"), container.pid.to_string());
}

fn the_pid_file_of_run_holds_the_bare_pid() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let file = bundle.beside("pid");
    let _ = bundle.call_with("run", &["--detach", "--pid-file", text(&file)]).finish().ok();
    assert_eq!(fs::read_to_string(&file).expect("the pid file"), bundle.state()["pid"].to_string());
}

fn a_pid_file_that_cannot_be_written_fails_create() {
    let bundle = Bundle::new();
    let _ = bundle
        .try_create_with(&["--pid-file", "/no/such/directory/pid"])
        .refused()
        .names("/no/such/directory");
    crate::lifecycle::assert_nothing_left(&bundle);
}

fn the_state_directory_is_made_when_it_is_missing() {
    let bundle = Bundle::new();
    bundle.save();
    let (root, directory) = (bundle.beside("a/b/c"), bundle.directory());
    let _ = bundle
        .bare(&["--root", text(&root), "run", "--bundle", text(&directory), bundle.id()])
        .finish()
        .ok();
    assert!(root.is_dir());
}

fn a_relative_state_directory_is_below_the_working_directory() {
    let bundle = Bundle::new();
    bundle.save();
    let argv = ["--root", "root", "create", "--bundle", "bundle", bundle.id()];
    let _ = bundle.bare(&argv).current_dir(&bundle.beside("")).finish().ok();
    assert_eq!(bundle.status(), "created");
}

fn list_shows_a_table() {
    let bundle = Bundle::new();
    let container = bundle.create();
    for words in [&["list"][..], &["list", "--format", "table"], &["list", "-f", "table"]] {
        let output = bundle.call(words).finish().ok();
        let lines = output.lines();
        let header: Vec<_> = lines[0].split_whitespace().collect();
        assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        let row: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(
            row[..4],
            [bundle.id(), &container.pid.to_string(), "created", text(&bundle.directory())],
            "{output}"
        );
        assert_eq!(lines.len(), 2, "{output}");
    }
}

fn list_json_is_an_array_of_states() {
    let bundle = Bundle::new();
    let container = bundle.create();
    for words in [&["list", "--format=json"][..], &["list", "-f", "json"]] {
        let list = bundle.call(words).finish().ok().json();
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
        assert_eq!(list[0]["id"], bundle.id());
        assert_eq!(list[0]["pid"], container.pid);
        assert_eq!(list[0]["status"], "created");
        assert_eq!(list[0]["bundle"], text(&bundle.directory()));
    }
}

fn list_quiet_shows_ids_alone() {
    let bundle = Bundle::new();
    bundle.create();
    for option in ["--quiet", "-q"] {
        let _ = bundle.call(&["list", option]).finish().ok().prints(bundle.id());
    }
}

fn list_skips_what_is_not_a_container() {
    let bundle = Bundle::new();
    bundle.create();
    fs::create_dir(bundle.root().join("not-one")).expect("mkdir");
    fs::write(bundle.root().join("a-file"), "").expect("write");
    let _ = bundle.call(&["list", "-q"]).finish().ok().prints(bundle.id());
    fs::remove_dir(bundle.root().join("not-one")).expect("rmdir");
}

fn kill_takes_every_spelling_of_a_signal() {
    for signal in ["USR1", "SIGUSR1", "usr1", "SigUsr1", "10"] {
        let bundle = Bundle::new();
        let ready = bundle.fifo("ready");
        let bundle = bundle.script(
            "trap 'exit 10' USR1; echo ready > /ready; while :; do sleep 1000 & wait; done",
        );
        let container = bundle.create().start();
        ready.line();
        let _ = bundle.kill(signal).ok();
        assert_eq!(container.exit_code(), 10, "{signal}");
    }
}

fn an_unknown_signal_is_refused() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.create().start();
    for signal in ["NONE", "SIG", "65x", "-1", "SIGSIGTERM", "1000"] {
        let output = bundle.call(&["kill", "--", bundle.id(), signal]).finish();
        assert!(output.code == 1, "{signal:?}: {output}");
    }
    assert_eq!(bundle.status(), "running");
}

/// Three containers of one bundle that wait, two of them with `-x` before their number.
fn three_containers() -> Bundle {
    let bundle = Bundle::new().args(&["sleep", "1000"]).without("/linux/cgroupsPath");
    bundle.save();
    let directory = bundle.directory();
    for name in ["x1", "x2", "y1"] {
        let id = format!("{}-{name}", bundle.id());
        let _ = bundle.call(&["run", "--detach", "--bundle", text(&directory), &id]).finish().ok();
    }
    bundle
}

fn statuses(bundle: &Bundle) -> Vec<(String, String)> {
    let list = bundle.call(&["list", "--format", "json"]).finish().ok().json();
    let member = |state: &Value, name: &str| state[name].as_str().expect("text").to_owned();
    let mut statuses: Vec<_> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|state| {
            (
                member(state, "id").rsplit('-').next().expect("a name").to_owned(),
                member(state, "status"),
            )
        })
        .collect();
    statuses.sort();
    statuses
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, status)| ((*name).to_owned(), (*status).to_owned())).collect()
}

fn kill_with_a_regular_expression_signals_all_that_match() {
    for option in ["--regex", "-r"] {
        let bundle = three_containers();
        let list = bundle.call(&["list", "--format", "json"]).finish().ok().json();
        let pidfds: Vec<_> = list
            .as_array()
            .into_iter()
            .flatten()
            .filter(|state| state["id"].as_str().is_some_and(|id| id.contains("-x")))
            .filter_map(|state| crate::call::pidfd(i32::try_from(state["pid"].as_i64()?).ok()?))
            .collect();
        let _ = bundle.call(&["kill", option, ".*-x[0-9]", "KILL"]).finish().ok();
        for pidfd in &pidfds {
            assert!(crate::call::readable(pidfd, crate::call::limit()));
        }
        assert_eq!(
            statuses(&bundle),
            pairs(&[("x1", "stopped"), ("x2", "stopped"), ("y1", "running")])
        );
    }
}

fn delete_with_a_regular_expression_removes_all_that_match() {
    let bundle = three_containers();
    let _ = bundle.call(&["delete", "--regex", ".*-x[0-9]"]).finish().refused();
    assert_eq!(statuses(&bundle).len(), 3);
    let _ = bundle.call(&["delete", "--force", "--regex", ".*-x[0-9]"]).finish().ok();
    assert_eq!(statuses(&bundle), pairs(&[("y1", "running")]));
    let _ = bundle.call(&["delete", "--force", "-r", "["]).finish().refused();
}

fn spec_writes_a_config_that_runs() {
    let bundle = Bundle::new();
    let _ = bundle.bare(&["spec"]).current_dir(&bundle.directory()).finish().ok();
    let path = bundle.directory().join("config.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&path).expect("config.json")).expect("JSON");
    assert_eq!(config["root"]["path"], "rootfs");
    // What a script changes: no terminal here.
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["echo", "ran"]);
    config["linux"]["cgroupsPath"] = bundle.config["linux"]["cgroupsPath"].clone();
    let limits = config["process"]["rlimits"].as_array_mut();
    limits.into_iter().flatten().for_each(|limit| limit["soft"] = limit["hard"].clone());
    fs::write(&path, config.to_string()).expect("write");
    let directory = bundle.directory();
    let _ = bundle
        .call(&["run", "--bundle", text(&directory), bundle.id()])
        .finish()
        .ok()
        .prints("ran");
}
