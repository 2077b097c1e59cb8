//! What engines conclude from the runtime's answers: the probes of podman, the flags as go-runc writes them, the
//! types into which Go programs decode what `state` and `list` print.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::exec::{run, waiting};

table!(Root, Busybox;
    podman_concludes_that_a_container_cannot_be_checkpointed[Hull("runc can, with CRIU")],
    containerds_checkpoint_is_refused_with_one_record[Hull("runc can, with CRIU")],
    go_runcs_argv_of_exec_is_accepted,
    conmons_argv_of_exec_is_accepted,
    state_decodes_into_the_types_of_engines,
    list_decodes_into_the_types_of_engines,
    what_a_go_decoder_refuses_is_found,
    standard_error_is_silent_when_all_is_well,
);

// containers/podman, pkg/checkpoint/crutils: `checkpoint --help` that succeeds, and `restore --lsm-mount-context`
// that says "flag needs an argument" (runc) or "requires an argument" (crun), mean that it can be done.
fn podman_concludes_that_a_container_cannot_be_checkpointed() {
    let bundle = Bundle::new();
    let checkpoint = bundle.bare(&["checkpoint", "--help"]).finish();
    assert_ne!(checkpoint.code, 0, "{checkpoint}");
    let restore = bundle.bare(&["restore", "--lsm-mount-context"]).finish();
    assert_ne!(restore.code, 0, "{restore}");
    for sign in ["flag needs an argument", "requires an argument"] {
        assert!(!format!("{}{}", restore.stdout, restore.stderr).contains(sign), "{restore}");
    }
    // The twin: of a command that is there both succeed.
    let _ = bundle.bare(&["delete", "--help"]).finish().ok();
}

fn containerds_checkpoint_is_refused_with_one_record() {
    let bundle = waiting();
    run(&bundle);
    let log = bundle.beside("log.json");
    let path = log.to_str().expect("UTF-8");
    let argv =
        ["--log", path, "--log-format", "json", "checkpoint", "--image-path", "/none", bundle.id()];
    let _ = bundle.call(&argv).finish().refused().says("checkpoint");
    let text = fs::read_to_string(&log).expect("the log");
    let record: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(record["level"], "error");
    assert_eq!(bundle.status(), "running");
}

// go-runc: `BIN --root R --log L --log-format json exec --process P --detach --pid-file F ID`.
fn go_runcs_argv_of_exec_is_accepted() {
    let bundle = waiting();
    run(&bundle);
    let (log, pid, process) =
        (bundle.beside("log.json"), bundle.beside("exec.pid"), bundle.beside("process.json"));
    let of = json!({"cwd": "/", "args": ["sleep", "1000"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    fs::write(&process, of.to_string()).expect("write");
    let [log, pid_file, process] = [&log, &pid, &process].map(|path| path.to_str().expect("UTF-8"));
    for (process_flag, detach, pid_flag) in
        [("--process", "--detach", "--pid-file"), ("-process", "-detach", "-pid-file")]
    {
        let argv = [
            "--log",
            log,
            "--log-format",
            "json",
            "exec",
            process_flag,
            process,
            detach,
            pid_flag,
            pid_file,
            bundle.id(),
        ];
        let output = bundle.call(&argv).finish().ok();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
        bundle
            .adopt(fs::read_to_string(&pid).expect("the pid file").parse().expect("a bare number"));
    }
}

// conmon: `RUNTIME exec --pid-file P --process SPEC --detach --preserve-fds N ID`.
fn conmons_argv_of_exec_is_accepted() {
    let bundle = waiting();
    run(&bundle);
    let (pid, process) = (bundle.beside("exec.pid"), bundle.beside("process.json"));
    let of = json!({"cwd": "/", "args": ["sleep", "1000"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    fs::write(&process, of.to_string()).expect("write");
    let [pid_file, process] = [&pid, &process].map(|path| path.to_str().expect("UTF-8"));
    let argv = [
        "exec",
        "--pid-file",
        pid_file,
        "--process",
        process,
        "--detach",
        "--preserve-fds",
        "0",
        bundle.id(),
    ];
    let _ = bundle.call(&argv).finish().ok();
    bundle.adopt(fs::read_to_string(&pid).expect("the pid file").parse().expect("a bare number"));
}

/// Types of Go, as encoding/json decodes them.
#[derive(Clone, Copy)]
enum Go {
    String,
    Int,
    /// time.Time: RFC 3339.
    Time,
    /// map[string]string.
    Strings,
}

/// The structures of engines, by their JSON names. What CRI-O decodes (internal/oci, ContainerState) is in these two.
const STRUCTURES: &[(&str, &[(&str, Go)])] = &[
    (
        "github.com/containerd/go-runc Container",
        &[
            ("id", Go::String),
            ("pid", Go::Int),
            ("status", Go::String),
            ("bundle", Go::String),
            ("rootfs", Go::String),
            ("created", Go::Time),
            ("annotations", Go::Strings),
        ],
    ),
    (
        "github.com/opencontainers/runtime-spec/specs-go State (buildah, hooks)",
        &[
            ("ociVersion", Go::String),
            ("id", Go::String),
            ("status", Go::String),
            ("pid", Go::Int),
            ("bundle", Go::String),
            ("annotations", Go::Strings),
        ],
    ),
];

/// What encoding/json would say of an object that is decoded into a structure; a member that an engine reads must
/// be there, unless it is a map. Names are matched in upper or lower case.
fn refused(object: &Value, fields: &[(&str, Go)]) -> Vec<String> {
    let Some(object) = object.as_object() else { return vec!["no object".to_owned()] };
    let mut wrong = Vec::new();
    for (name, kind) in fields {
        let members: Vec<_> =
            object.iter().filter(|(member, _)| member.eq_ignore_ascii_case(name)).collect();
        let fits = |value: &Value| match kind {
            Go::String => value.is_string(),
            Go::Int => value.is_i64(),
            Go::Time => value.as_str().is_some_and(is_rfc3339),
            Go::Strings => {
                value.is_null()
                    || value.as_object().is_some_and(|map| map.values().all(Value::is_string))
            }
        };
        match &members[..] {
            [] if matches!(kind, Go::Strings) => {}
            [(member, value)] if member == name && fits(value) => {}
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    wrong
}

/// 2006-01-02T15:04:05.999999999Z, or with an offset.
fn is_rfc3339(text: &str) -> bool {
    let shape: String =
        text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        Some(_) => return false,
        None => rest,
    };
    matches!(rest, "Z" | "+00:00" | "-00:00")
}

fn assert_decodes(object: &Value) {
    for (name, fields) in STRUCTURES {
        assert_eq!(refused(object, fields), [""; 0], "{name}: {object}");
    }
}

fn state_decodes_into_the_types_of_engines() {
    let bundle = waiting().set("/annotations", json!({"a.b": "c"}));
    let container = bundle.create();
    assert_decodes(&bundle.state());
    bundle.start();
    assert_decodes(&bundle.state());
    let _ = bundle.kill("KILL").ok();
    container.ended();
    assert_decodes(&bundle.state());
    let bundle = Bundle::new();
    bundle.create();
    assert_decodes(&bundle.state());
}

fn list_decodes_into_the_types_of_engines() {
    let bundle = Bundle::new();
    let list = bundle.call(&["list", "--format=json"]).finish().ok().json();
    // `null` too is an empty slice.
    assert!(list.is_null() || list == json!([]), "{list}");
    bundle.create();
    let list = bundle.call(&["list", "--format=json"]).finish().ok().json();
    let containers = list.as_array().expect("an array");
    assert_eq!(containers.len(), 1);
    assert_decodes(&containers[0]);
}

// The checker's twin.
fn what_a_go_decoder_refuses_is_found() {
    let good = json!({"ociVersion": "1", "id": "a", "pid": 1, "status": "s", "bundle": "b", "rootfs": "r",
        "created": "2026-01-02T03:04:05.123Z", "annotations": null});
    assert_decodes(&good);
    let go_runc = STRUCTURES[0].1;
    for (member, value) in [
        ("pid", json!("1")),
        ("pid", json!(1.5)),
        ("id", json!(null)),
        ("created", json!("2026-01-02 03:04:05")),
        ("created", json!("")),
        ("annotations", json!({"a": 1})),
        ("PID", json!("one")),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        assert_eq!(refused(&bad, go_runc).len(), 1, "{bad}");
    }
}

fn standard_error_is_silent_when_all_is_well() {
    let bundle = waiting();
    let container = bundle.create();
    bundle.start();
    let silent = |output: call::Output| assert_eq!(output.ok().stderr, "");
    silent(bundle.exec(&[], &["true"]));
    silent(bundle.operate(&["state"]));
    silent(bundle.call(&["list"]).finish());
    // CRI-O decodes both streams as one JSON text.
    if !call::is_peer() {
        silent(bundle.bare(&["features"]).finish());
    }
    silent(bundle.kill("KILL"));
    container.ended();
    silent(bundle.delete());
}
