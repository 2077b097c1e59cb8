//! ps: the processes of a container.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::cgroup::directory_of;
use crate::fifo::Fifo;

table!(Root, Busybox;
    ps_json_is_an_array_of_the_pids_of_all_processes,
    ps_knows_the_processes_of_cgroups_below,
    ps_shows_a_table,
    ps_agrees_with_the_ps_of_the_host[Program("ps")],
    ps_takes_the_columns_of_an_option,
    ps_of_a_created_container_shows_its_init,
    ps_of_a_stopped_container_shows_nothing[Hull("runc prints null")],
    ps_of_a_missing_container_is_refused,
    an_unknown_format_or_option_is_refused,
    what_a_program_calls_itself_is_no_command_to_the_terminal,
);

const INIT: &str = "sh -c 'echo ready > /ready; read line < /never' second & read line < /never";
const SECOND: &str = "sh -c echo ready > /ready; read line < /never second";

/// A running container of two processes, which wait.
fn two_processes() -> (Bundle, [Fifo; 2]) {
    let bundle = Bundle::new();
    let (ready, never) = (bundle.fifo("ready"), bundle.fifo("never"));
    let bundle = bundle.script(INIT);
    bundle.create().start();
    ready.line();
    (bundle, [ready, never])
}

fn pids(bundle: &Bundle) -> Vec<i32> {
    let json = bundle.operate(&["ps", "--format", "json"]).ok().json();
    serde_json::from_value(json).expect("an array of numbers")
}

// containerd's shim: Pids().
fn ps_json_is_an_array_of_the_pids_of_all_processes() {
    let (bundle, _fifos) = two_processes();
    let init: i32 = serde_json::from_value(bundle.state()["pid"].clone()).expect("a pid");
    let found = pids(&bundle);
    assert_eq!((found.len(), found.contains(&init)), (2, true), "{found:?}");
    for format in [&["ps", "--format=json"][..], &["ps", "-f", "json"]] {
        assert_eq!(bundle.operate(format).ok().json(), json!(found));
    }
}

fn ps_knows_the_processes_of_cgroups_below() {
    let (bundle, _fifos) = two_processes();
    let found = pids(&bundle);
    let below = directory_of(found[0]).join("below");
    fs::create_dir(&below).expect("mkdir");
    fs::write(below.join("cgroup.procs"), found[1].to_string()).expect("move");
    assert_eq!(pids(&bundle), found);
}

fn ps_shows_a_table() {
    let (bundle, _fifos) = two_processes();
    let table = bundle.operate(&["ps"]).ok();
    let lines = table.lines();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    assert_eq!(lines.len(), 3, "{table}");
    for (line, pid) in lines[1..].iter().zip(pids(&bundle)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words[0], words[1]), ("root", pid.to_string().as_str()), "{table}");
        assert!(line.ends_with(INIT) || line.ends_with(SECOND), "{table}");
    }
}

// Word by word: the widths follow the largest pid of the host.
fn ps_agrees_with_the_ps_of_the_host() {
    let (bundle, _fifos) = two_processes();
    let list = pids(&bundle).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    // What depends on the moment is left out.
    let words = |text: &str| -> Vec<Vec<String>> {
        let split = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let mut lines: Vec<Vec<String>> = text.lines().map(split).collect();
        for name in ["C", "STIME", "%CPU", "START"] {
            if let Some(column) = lines[0].iter().position(|header| header == name) {
                lines.iter_mut().for_each(|line| drop(line.remove(column)));
            }
        }
        lines
    };
    let columns = "user,uid,gid,pid,ppid,pgid,sid,vsz,rss,tty,s,stat,ni,nlwp,stime,time,comm,args";
    for (ours, theirs) in [
        (&["-ef"][..], &["ps", "-f", "-p", &list][..]),
        (&["aux"], &["ps", "u", "-p", &list]),
        (&["-o", columns], &["ps", "-o", columns, "-p", &list]),
        (&["-e", "-o", "pid,tname,args"], &["ps", "-o", "pid,tname,args", "-p", &list]),
    ] {
        let ours = || {
            let ours = bundle.call(&[&["ps", bundle.id()], ours].concat()).finish().ok();
            words(&ours.stdout)
        };
        let theirs = || words(&call::host(theirs));
        // The processes are at rest some time after they said that they were ready.
        if !call::comes_true(|| ours() == theirs()) {
            assert_eq!(ours(), theirs());
        }
    }
}

fn ps_takes_the_columns_of_an_option() {
    let (bundle, _fifos) = two_processes();
    let table = bundle.call(&["ps", bundle.id(), "-o", "pid,cmd"]).finish().ok();
    let lines: Vec<String> =
        table.lines().iter().map(|line| line.trim_start().to_owned()).collect();
    let found = pids(&bundle);
    let expected = [
        "PID CMD".to_owned(),
        format!("{} sh -c {INIT}", found[0]),
        format!("{} {SECOND}", found[1]),
    ];
    assert_eq!(lines, expected);
}

fn ps_of_a_created_container_shows_its_init() {
    let bundle = Bundle::new();
    let container = bundle.create();
    assert_eq!(pids(&bundle), [container.pid]);
}

fn ps_of_a_stopped_container_shows_nothing() {
    let bundle = Bundle::new();
    bundle.create().start().ended();
    assert_eq!(bundle.operate(&["ps", "--format", "json"]).ok().json(), Value::Array(Vec::new()));
    assert_eq!(bundle.operate(&["ps"]).ok().lines().len(), 1);
}

fn ps_of_a_missing_container_is_refused() {
    let _ = Bundle::new().operate(&["ps"]).refused().says("container does not exist");
}

fn an_unknown_format_or_option_is_refused() {
    let (bundle, _fifos) = two_processes();
    let _ = bundle.operate(&["ps", "--format", "yaml"]).refused().says("invalid format option");
    for options in [&["--no-such-option"][..], &["-o", "no-such-column"]] {
        let _ = bundle.call(&[&["ps", bundle.id()], options].concat()).finish().refused();
    }
    let _ = bundle.call(&["ps", bundle.id(), "-o", "pid"]).finish().ok();
}

fn what_a_program_calls_itself_is_no_command_to_the_terminal() {
    let bundle = Bundle::new();
    let (ready, _never) = (bundle.fifo("ready"), bundle.fifo("never"));
    let script = "echo ready > /ready; read line < /never";
    let bundle = bundle.args(&["sh", "-c", script, "evil\x1b[2J\nroot 1"]);
    bundle.create().start();
    ready.line();
    let table = bundle.operate(&["ps"]).ok();
    assert_eq!(table.lines().len(), 2, "{table}");
    assert!(!table.stdout.contains('\x1b'), "{table:?}");
}
