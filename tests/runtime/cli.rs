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
    an_unknown_command_is_refused,
    commands_of_later_issues_are_unknown[Hull("runc has them")],
    an_unknown_option_is_refused,
    a_missing_id_is_refused,
    too_many_arguments_are_refused,
    the_root_of_the_host_as_state_directory_is_refused[Hull("runc 1.1.5 takes it")],
    the_state_directory_is_made_when_it_is_missing,
    a_relative_state_directory_is_below_the_working_directory,
    version_names_specification_and_commit,
    help_is_on_the_standard_output,
    help_of_a_command_names_its_options,
    an_invalid_log_format_is_refused,
    an_error_is_one_json_record_in_the_log,
    an_error_with_a_log_file_is_on_standard_error_too,
    a_text_log_has_the_error,
    a_successful_call_leaves_the_log_empty,
    a_warning_is_not_in_the_log_of_errors[Hull("runc logs warnings at its default level")],
    a_log_file_is_appended_to,
    a_log_file_that_cannot_be_opened_is_refused,
    list_shows_a_table,
    list_json_is_an_array_of_states,
    list_of_nothing_is_an_empty_array_or_null,
    list_quiet_shows_ids_alone,
    list_skips_what_is_not_a_container,
    list_of_a_missing_state_directory_is_empty_or_refused[Hull("runc 1.1.5 makes it")],
    kill_takes_every_spelling_of_a_signal,
    an_unknown_signal_is_refused,
    kill_with_a_regular_expression_signals_all_that_match[Hull("runc has no --regex")],
    delete_with_a_regular_expression_removes_all_that_match[Hull("runc has no --regex")],
    features_are_json_and_nothing_else,
    features_tell_the_truth[Hull("runc 1.1.5 lists what it has")],
    spec_writes_a_config_that_runs,
    spec_refuses_to_overwrite,
    spec_takes_a_bundle,
    spec_rootless_has_a_user_namespace,
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

fn an_unknown_command_is_refused() {
    let output = Bundle::new().call(&["frobnicate"]).finish();
    assert!(output.code != 0, "{output}");
    if !crate::call::is_peer() {
        let _ = output.refused().names("frobnicate");
    }
}

fn commands_of_later_issues_are_unknown() {
    for command in ["exec", "ps", "pause", "resume", "update", "events", "checkpoint", "restore"] {
        let _ = Bundle::new().operate(&[command]).refused().names(command);
        // podman probes `checkpoint --help`: 0 would mean that it works.
        let _ = Bundle::new().call(&[command, "--help"]).finish().refused();
    }
}

fn an_unknown_option_is_refused() {
    let _ =
        Bundle::new().call(&["state", "--frobnicate", "x"]).finish().refused().names("frobnicate");
    let _ = Bundle::new().call(&["--frobnicate", "list"]).finish().refused().names("frobnicate");
}

// "This operation MUST generate an error if it is not provided the container ID."
fn a_missing_id_is_refused() {
    for command in ["create", "start", "state", "kill", "delete", "run"] {
        let _ = Bundle::new().call(&[command]).finish().refused();
    }
}

fn too_many_arguments_are_refused() {
    let bundle = Bundle::new();
    let _ = bundle.call(&["state", bundle.id(), "more"]).finish().refused();
    let _ = bundle.call(&["start", bundle.id(), "more"]).finish().refused();
    let _ = bundle.call(&["kill", bundle.id(), "9", "more"]).finish().refused();
}

fn the_root_of_the_host_as_state_directory_is_refused() {
    let _ = Bundle::new().bare(&["--root", "/", "list"]).finish().refused().names("--root");
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

// containerd, docker and podman parse it.
fn version_names_specification_and_commit() {
    for option in ["--version", "-v"] {
        let output = Bundle::new().bare(&[option]).finish().ok();
        let lines = output.lines();
        assert!(lines[0].contains(" version "), "{output}");
        assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{output}");
        assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{output}");
    }
}

fn help_is_on_the_standard_output() {
    for option in ["--help", "-h", "help"] {
        let output = Bundle::new().bare(&[option]).finish().ok();
        for command in
            ["create", "start", "state", "kill", "delete", "run", "list", "spec", "features"]
        {
            assert!(output.stdout.contains(command), "{output}");
        }
        assert_eq!(output.stderr, "");
    }
}

fn help_of_a_command_names_its_options() {
    let output = Bundle::new().bare(&["create", "--help"]).finish().ok();
    for option in [
        "--bundle",
        "--console-socket",
        "--pid-file",
        "--no-pivot",
        "--no-new-keyring",
        "--preserve-fds",
    ] {
        assert!(output.stdout.contains(option), "{output}");
    }
}

fn an_invalid_log_format_is_refused() {
    let _ =
        Bundle::new().call(&["--log-format", "xml", "list"]).finish().refused().names("log-format");
    let _ = Bundle::new().call(&["--log-format", "json", "list"]).finish().ok();
}

// podman decodes the whole file as one object: `{"level":"error","msg":"...","time":"..."}`.
fn an_error_is_one_json_record_in_the_log() {
    let bundle = Bundle::new();
    let log = bundle.beside("log");
    let _ = bundle
        .call(&["--log", text(&log), "--log-format", "json", "state", bundle.id()])
        .finish()
        .refused();
    let written = fs::read_to_string(&log).expect("the log");
    assert_eq!(written.lines().count(), 1, "{written}");
    let record: Value = serde_json::from_str(&written).expect("one JSON object");
    assert_eq!(record["level"], "error");
    assert!(record["msg"].as_str().is_some_and(|text| text.contains("does not exist")), "{record}");
    // RFC 3339.
    let time = record["time"].as_str().expect("a time");
    assert!(time.len() >= 20 && &time[4..5] == "-" && &time[10..11] == "T", "{time}");
}

fn an_error_with_a_log_file_is_on_standard_error_too() {
    for format in ["json", "text"] {
        let bundle = Bundle::new();
        let log = bundle.beside("log");
        let argv = ["--log", text(&log), "--log-format", format, "state", bundle.id()];
        let _ = bundle.call(&argv).finish().refused().says("does not exist");
    }
}

fn a_text_log_has_the_error() {
    let bundle = Bundle::new();
    let log = bundle.beside("log");
    let _ = bundle.call(&["--log", text(&log), "state", bundle.id()]).finish().refused();
    let written = fs::read_to_string(&log).expect("the log");
    assert!(written.contains("does not exist") && written.lines().count() == 1, "{written}");
}

fn a_successful_call_leaves_the_log_empty() {
    let bundle = Bundle::new();
    bundle.save();
    let (log, directory) = (bundle.beside("log"), bundle.directory());
    let argv = [
        "--log",
        text(&log),
        "--log-format",
        "json",
        "run",
        "--bundle",
        text(&directory),
        bundle.id(),
    ];
    let output = bundle.call(&argv).finish().ok();
    assert_eq!(output.stderr, "");
    assert_eq!(fs::read_to_string(&log).unwrap_or_default(), "");
}

fn a_warning_is_not_in_the_log_of_errors() {
    let bundle =
        Bundle::new().set("/process/capabilities/bounding/-", "CAP_FLY").args(&["no-such-program"]);
    bundle.save();
    let (log, directory) = (bundle.beside("log"), bundle.directory());
    let argv = [
        "--log",
        text(&log),
        "--log-format",
        "json",
        "run",
        "--bundle",
        text(&directory),
        bundle.id(),
    ];
    let _ = bundle.call(&argv).finish();
    let written = fs::read_to_string(&log).expect("the log");
    let record: Value = serde_json::from_str(&written).expect("one JSON object");
    assert_eq!(record["level"], "error");
}

fn a_log_file_is_appended_to() {
    let bundle = Bundle::new();
    let log = bundle.beside("log");
    for _ in 0..2 {
        let _ = bundle
            .call(&["--log", text(&log), "--log-format", "json", "state", bundle.id()])
            .finish()
            .refused();
    }
    assert_eq!(fs::read_to_string(&log).expect("the log").lines().count(), 2);
}

fn a_log_file_that_cannot_be_opened_is_refused() {
    let _ = Bundle::new()
        .call(&["--log", "/no/such/directory/log", "list"])
        .finish()
        .refused()
        .names("/no/such/directory/log");
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

fn list_of_nothing_is_an_empty_array_or_null() {
    let list = Bundle::new().call(&["list", "--format", "json"]).finish().ok().json();
    assert!(list.is_null() || list == serde_json::json!([]), "{list}");
    let output = Bundle::new().call(&["list"]).finish().ok();
    assert_eq!(output.lines().len(), 1, "{output}");
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

fn list_of_a_missing_state_directory_is_empty_or_refused() {
    let output = Bundle::new().bare(&["--root", "/no/such/root", "list", "-q"]).finish();
    assert!(output.code == 1 || output.stdout.is_empty(), "{output}");
    assert!(!std::path::Path::new("/no/such/root").exists());
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

// CRI-O parses standard output and standard error together.
fn features_are_json_and_nothing_else() {
    let output = Bundle::new().bare(&["features"]).finish().ok();
    let features = output.json();
    assert!(
        features["ociVersionMin"].as_str().is_some_and(|version| version.starts_with("1.")),
        "{features}"
    );
    assert!(features["ociVersionMax"].is_string(), "{features}");
    assert_eq!(output.stderr, "");
}

fn features_tell_the_truth() {
    let features = Bundle::new().bare(&["features"]).finish().ok().json();
    let has = |pointer: &str, word: &str| {
        features
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_some_and(|words| words.iter().any(|known| known == word))
    };
    for hook in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        assert!(has("/hooks", hook), "{hook}: {features}");
    }
    for option in
        ["ro", "rro", "rbind", "tmpcopyup", "nosymfollow", "rslave", "lazytime", "iversion"]
    {
        assert!(has("/mountOptions", option), "{option}: {features}");
    }
    // "this array SHOULD NOT contain filesystem-specific mount options".
    assert!(!has("/mountOptions", "size") && !has("/mountOptions", "mode"), "{features}");
    for namespace in ["pid", "network", "mount", "ipc", "uts", "cgroup", "time"] {
        assert!(has("/linux/namespaces", namespace), "{namespace}: {features}");
    }
    assert!(has("/linux/capabilities", "CAP_SYS_ADMIN"), "{features}");
    // What is refused as not supported is not among the features.
    assert_ne!(features["linux"]["seccomp"]["enabled"], true, "{features}");
}

fn spec_writes_a_config_that_runs() {
    let bundle = Bundle::new();
    let _ = bundle.bare(&["spec"]).current_dir(&bundle.directory()).finish().ok();
    let path = bundle.directory().join("config.json");
    let mut config: Value =
        serde_json::from_slice(&fs::read(&path).expect("config.json")).expect("JSON");
    assert_eq!(config["root"]["path"], "rootfs");
    // What a script changes: no terminal here, and nothing that later issues bring.
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["echo", "ran"]);
    config["linux"]["cgroupsPath"] = bundle.config["linux"]["cgroupsPath"].clone();
    config["linux"].as_object_mut().expect("linux").remove("resources");
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

fn spec_refuses_to_overwrite() {
    let bundle = Bundle::new();
    let path = bundle.directory().join("config.json");
    fs::write(&path, "mine").expect("write");
    let _ =
        bundle.bare(&["spec"]).current_dir(&bundle.directory()).finish().refused().says("exist");
    assert_eq!(fs::read_to_string(&path).expect("config.json"), "mine");
}

fn spec_takes_a_bundle() {
    for option in ["--bundle", "-b"] {
        let bundle = Bundle::new();
        let directory = bundle.directory();
        let _ = bundle.bare(&["spec", option, text(&directory)]).finish().ok();
        assert!(directory.join("config.json").exists());
    }
}

fn spec_rootless_has_a_user_namespace() {
    let bundle = Bundle::new();
    let _ = bundle.bare(&["spec", "--rootless"]).current_dir(&bundle.directory()).finish().ok();
    let config = fs::read(bundle.directory().join("config.json")).expect("config.json");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.iter().any(|namespace| namespace["type"] == "user"), "{config}");
    assert!(config["linux"]["uidMappings"].is_array(), "{config}");
}
