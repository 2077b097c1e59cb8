//! `--log` and `--log-format`: the one record that engines read. Runs as any user, but for the tests with a container.

use std::fs;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::call::Output;
use crate::case::table;

table!(;
    an_invalid_log_format_is_refused,
    an_error_is_one_json_record_in_the_log,
    an_error_with_a_log_file_is_on_standard_error_too,
    a_text_log_has_the_error,
    a_successful_call_leaves_the_log_empty[Root, Busybox],
    a_warning_is_not_in_the_log_of_errors[Root, Busybox, Hull("runc logs warnings at its default level")],
    what_will_be_done_is_logged_when_it_is_asked_for[Root, Busybox, Hull("what is logged is each runtime's own")],
    a_log_file_is_appended_to,
    a_log_file_that_cannot_be_opened_is_refused,
);

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

/// What `run` answers, and what is in its log then.
fn run_with_json_log(bundle: &Bundle) -> (Output, String) {
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
    let output = bundle.call(&argv).finish();
    (output, fs::read_to_string(&log).unwrap_or_default())
}

fn a_successful_call_leaves_the_log_empty() {
    let bundle = Bundle::new();
    let (output, written) = run_with_json_log(&bundle);
    assert_eq!(output.ok().stderr, "");
    assert_eq!(written, "");
}

fn a_warning_is_not_in_the_log_of_errors() {
    let bundle =
        Bundle::new().set("/process/capabilities/bounding/-", "CAP_FLY").args(&["no-such-program"]);
    let (_, written) = run_with_json_log(&bundle);
    let record: Value = serde_json::from_str(&written).expect("one JSON object");
    assert_eq!(record["level"], "error");
}

fn what_will_be_done_is_logged_when_it_is_asked_for() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    bundle.save();
    let directory = bundle.directory();
    let id = bundle.id();
    let create = ["create", "--bundle", text(&directory), id];
    let exec = ["exec", "--user", "5:6", id, "true"];
    for (argv, executed) in [(&create[..], "[\"sleep\", \"1000\"]"), (&exec, "[\"true\"]")] {
        let log = bundle.beside(argv[0]);
        let output = bundle.call(&[&["--debug", "--log", text(&log)], argv].concat()).finish();
        assert_eq!(output.ok().stderr, "");
        let written = fs::read_to_string(&log).expect("the log");
        assert!(written.contains(&format!("execute {executed} in /")), "{written}");
        assert_eq!(written.contains("user 5:6"), argv[0] == "exec", "{written}");
    }
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

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}
