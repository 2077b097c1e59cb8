//! What the text of the project shows of its invariants (the header of
//! `src/lib.rs`). Each rule is a function from a file to complaints, and has a
//! twin that shows that it can complain.
//!
//! The rules read words, not what the compiler makes of them: they find the
//! honest mistake, not a disguise.

use std::fs;
use std::path::Path;

#[path = "tidy/words.rs"]
mod words;

use words::{Token, paths, tokens};

// ------------------------------------------------------------------ the rules

/// The number of lines at which a file certainly has a second noun.
const MAX_LINES: usize = 500;

/// Invariant 1: `unsafe` only under `src/sys/`. What only measures is no part of the programs.
fn unsafe_only_in_sys(file: &File) -> Vec<String> {
    if file.is_in(&["src/sys", "benches", "hack"]) {
        return Vec::new();
    }
    file.complain_of(&["unsafe"], "unsafe outside src/sys")
}

/// Invariant 2: the pure modules do no I/O. Of `libc`, `nix` and `sys` they may
/// use constants and types: names with a capital, and C's `pid_t` and `c_int`.
fn pure_modules_do_no_io(file: &File) -> Vec<String> {
    if !file.is_in(&["src/cli", "src/spec", "src/plan", "src/lifecycle"]) {
        return Vec::new();
    }
    let always = ["std::fs", "std::net", "std::os::unix::net", "std::process", "std::thread"];
    let functions_of = ["libc", "nix", "crate::sys"];
    file.complain_of_paths("I/O in a pure module", |path| {
        let last = path.rsplit("::").next().unwrap_or_default();
        let is_type = last.ends_with("_t") || last.starts_with("c_");
        let is_function = last == "*" || last.starts_with(|c: char| c.is_ascii_lowercase());
        always.iter().any(|room| is_below(path, room))
            || is_function && !is_type && functions_of.iter().any(|room| is_below(path, room))
    })
}

/// Invariant 3: only these start processes; `src/sys/` defines the calls.
fn few_files_start_processes(file: &File) -> Vec<String> {
    let may = [
        "src/sys",
        "src/ops/create",
        "src/ops/exec",
        "src/ops/inside",
        "src/container/hooks",
        "src/container/user",
        "src/unpack/user_namespace",
    ];
    if !file.is_in(&["src"]) || file.is_in(&may) {
        return Vec::new();
    }
    let runtime = file.without_tests();
    let mut found =
        runtime.complain_of(&["clone3", "fork", "vfork", "posix_spawn"], "starts a process");
    // clap has a Command too, so the name alone says nothing.
    found.extend(
        runtime.complain_of_paths("starts a process", |path| path.contains("process::Command")),
    );
    found
}

/// Invariant 4: `unpack` uses `sys`, `spec` and `error` of this crate; nothing uses `unpack`.
fn unpack_stands_apart(file: &File) -> Vec<String> {
    if !file.is_in(&["src"]) {
        return Vec::new();
    }
    let inside = file.is_in(&["src/unpack", "src/bin/hull-unpack"]);
    file.complain_of_paths("crosses the border of unpack", |path| {
        let mut segments = path.split("::");
        if !matches!(segments.next(), Some("crate" | "hull")) {
            return false;
        }
        match segments.next() {
            Some("unpack") => !inside,
            Some("sys" | "spec" | "error") => false,
            _ => inside,
        }
    })
}

/// Invariant 5: no threads and no lazy globals in the runtime.
fn the_runtime_has_one_thread(file: &File) -> Vec<String> {
    if !file.is_in(&["src"]) || file.is_in(&["src/unpack"]) {
        return Vec::new();
    }
    let runtime = file.without_tests();
    let lazy = ["lazy_static", "thread_local", "OnceLock", "OnceCell", "LazyLock", "LazyCell"];
    let mut found = runtime.complain_of(&lazy, "a lazy global");
    found.extend(runtime.complain_of_pairs("static", "mut", "a global that changes"));
    found.extend(runtime.complain_of_paths("a thread", |path| {
        ["thread::spawn", "thread::scope", "thread::Builder"].iter().any(|call| path.contains(call))
    }));
    found
}

/// A file is one noun, and says at its start which.
fn a_source_file_is_short_and_has_a_header(file: &File) -> Vec<String> {
    if !file.is_in(&["src"]) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let lines = file.text.lines().count();
    if lines >= MAX_LINES {
        found.push(format!("{}: {lines} lines", file.path));
    }
    if !file.text.starts_with("//!") {
        found.push(format!("{}: no header", file.path));
    }
    found
}

fn no_unfinished_code(file: &File) -> Vec<String> {
    let macros = ["todo", "unimplemented", "dbg"];
    macros.iter().flat_map(|name| file.complain_of_pairs(name, "!", "unfinished")).collect()
}

/// A wait is for an event.
fn nothing_sleeps(file: &File) -> Vec<String> {
    let mut found = file.complain_of(&["nanosleep", "clock_nanosleep", "usleep"], "sleeps");
    found.extend(file.complain_of_paths("sleeps", |path| path.contains("thread::sleep")));
    found
}

fn a_file_name_says_something(file: &File) -> Vec<String> {
    let empty = ["util", "utils", "helper", "helpers", "common", "manager", "types", "misc"];
    let says_nothing = |part: &str| empty.contains(&part.split('.').next().unwrap_or_default());
    if file.path.split('/').any(says_nothing) {
        return vec![format!("{}: a name that says nothing", file.path)];
    }
    Vec::new()
}

/// A clone must work wherever it lies.
fn no_path_of_one_machine(file: &File) -> Vec<String> {
    // Made from parts, or this file would be the first to be found.
    // Of root's home the hidden folders: a JSON pointer to `root` looks like the rest.
    let homes = ["work/", "root/."].map(|name| format!("/{name}"));
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for home in &homes {
            // After these it is the middle of a longer path, as in `upper/..`.
            let is_start = |at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-})>*".contains(c))
            };
            if line.match_indices(home.as_str()).any(|(at, _)| is_start(at)) {
                found.push(format!("{}:{}: a path of one machine", file.path, number + 1));
            }
        }
    }
    found
}

/// Each dependency says why: on its line, or on the one above or below.
fn each_dependency_says_why(file: &File) -> Vec<String> {
    let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
    let is_comment = |at: usize| lines.get(at).is_some_and(|line| line.starts_with('#'));
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (at, line) in lines.iter().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            in_dependencies = section.trim_end_matches(']').ends_with("dependencies");
        } else if in_dependencies && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let above = at > 0 && is_comment(at - 1);
            if !above && !line.contains(" # ") && !is_comment(at + 1) {
                found.push(format!("{}:{}: no reason for {line}", file.path, at + 1));
            }
        }
    }
    found
}

// ------------------------------------------------------ the project obeys them

#[test]
fn unsafe_is_in_one_room() {
    holds(".rs", unsafe_only_in_sys);
}

#[test]
fn cli_spec_plan_and_lifecycle_do_no_io() {
    holds(".rs", pure_modules_do_no_io);
}

#[test]
fn processes_start_in_three_files() {
    holds(".rs", few_files_start_processes);
}

#[test]
fn unpack_and_the_runtime_do_not_know_each_other() {
    holds(".rs", unpack_stands_apart);
}

#[test]
fn there_are_no_threads_and_no_lazy_globals() {
    holds(".rs", the_runtime_has_one_thread);
}

#[test]
fn source_files_are_short_and_have_headers() {
    holds(".rs", a_source_file_is_short_and_has_a_header);
}

#[test]
fn nothing_is_unfinished() {
    holds(".rs", no_unfinished_code);
}

#[test]
fn no_source_and_no_test_sleeps() {
    holds(".rs", nothing_sleeps);
}

#[test]
fn file_names_say_something() {
    holds("", a_file_name_says_something);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    holds("", no_path_of_one_machine);
}

#[test]
fn dependencies_have_reasons() {
    holds("Cargo.toml", each_dependency_says_why);
}

#[test]
fn the_licence_and_the_changelog_are_there() {
    let read = |name| fs::read_to_string(root().join(name)).expect(name);
    let licence = read("LICENSE");
    assert!(licence.contains("Apache License") && licence.contains("Version 2.0"));
    let version = env!("CARGO_PKG_VERSION");
    assert!(read("CHANGELOG.md").contains(version), "CHANGELOG.md does not name {version}");
}

// ---------------------------------------------------- each rule can complain

/// At that path the rule refuses each of the first texts and passes each of the second.
fn tells_apart(
    rule: fn(&File) -> Vec<String>,
    path: &str,
    refused: impl AsRef<[&'static str]>,
    passed: impl AsRef<[&'static str]>,
) {
    for text in refused.as_ref() {
        assert!(!rule(&File::new(path, text)).is_empty(), "passed: {text}");
    }
    for text in passed.as_ref() {
        assert_eq!(rule(&File::new(path, text)), Vec::<String>::new(), "refused: {text}");
    }
}

#[test]
fn unsafe_elsewhere_is_found() {
    let refused = ["unsafe { f() }", "'\"'; unsafe fn f() {} '\"'", "fn f<'a>() { unsafe {} }"];
    let passed = [
        "// unsafe",
        "/* /* */ unsafe { */",
        "r#\"\"unsafe\"\"#",
        "#![deny(unsafe_code)]",
        "'\"'; \"\\\" unsafe\"",
        "b'\\''; b\"unsafe\"",
    ];
    tells_apart(unsafe_only_in_sys, "src/ops/run.rs", refused, passed);
    tells_apart(unsafe_only_in_sys, "src/sys/mount.rs", [], refused);
}

#[test]
fn io_in_a_pure_module_is_found() {
    let refused = [
        "use std::fs;",
        "std::fs::read(p)",
        "use std::{fmt, fs::File};",
        "libc::open(p, 0)",
        "use nix::unistd::{Pid, getpid};",
        "use crate::sys::mount;",
        "use libc::*;",
        "use libc;",
    ];
    let passed = [
        "libc::MS_RDONLY",
        "use nix::sys::signal::Signal;",
        "let p: libc::pid_t;",
        "use std::fmt;",
        "spec::fs::read",
    ];
    tells_apart(pure_modules_do_no_io, "src/plan/mounts.rs", refused, passed);
    tells_apart(pure_modules_do_no_io, "src/cli.rs", refused, passed);
    tells_apart(pure_modules_do_no_io, "src/bundle.rs", [], refused);
}

#[test]
fn a_process_started_elsewhere_is_found() {
    let refused = [
        "sys::process::clone3(flags)",
        "fork()",
        "std::process::Command::new(p)",
        "use std::process::{self, Command};",
        "process::Command::new(p)",
    ];
    let passed = ["clap::Command::new(n)", "// clone3", "#[cfg(test)]\nmod tests { fork() }"];
    tells_apart(few_files_start_processes, "src/ops/run.rs", refused, passed);
    tells_apart(few_files_start_processes, "src/ops/create.rs", [], refused);
}

#[test]
fn a_way_into_or_out_of_unpack_is_found() {
    let out = ["use crate::plan::Plan;", "use crate::{error::Error, cli};"];
    let shared = ["use crate::{sys, spec::State, error::Error};"];
    tells_apart(unpack_stands_apart, "src/unpack/layer.rs", out, shared);
    let (runtime, unpack) = (["hull::cli::run()"], ["hull::unpack::run()"]);
    tells_apart(unpack_stands_apart, "src/bin/hull-unpack.rs", runtime, unpack);
    tells_apart(unpack_stands_apart, "src/bin/hull.rs", unpack, runtime);
    tells_apart(unpack_stands_apart, "src/lib.rs", ["crate::unpack::run()"], ["mod unpack;"]);
}

#[test]
fn a_thread_or_a_lazy_global_is_found() {
    let refused = [
        "std::thread::spawn(f)",
        "use std::thread::{Builder, spawn};",
        "static mut X: u8 = 0;",
        "use std::sync::OnceLock;",
    ];
    let passed = [
        "fn f(x: &'static mut u8) {}",
        "static X: u8 = 0;",
        "#[cfg(test)]\nmod tests { thread::spawn(f) }",
    ];
    tells_apart(the_runtime_has_one_thread, "src/ops/run.rs", refused, passed);
    tells_apart(the_runtime_has_one_thread, "src/unpack/layer.rs", [], refused);
}

#[test]
fn a_long_file_and_one_without_a_header_are_found() {
    let long: &'static str = "//! What it is for.\n".repeat(MAX_LINES).leak();
    let refused = ["use std::fmt;", long];
    tells_apart(a_source_file_is_short_and_has_a_header, "src/a.rs", refused, ["//! A noun.\n"]);
    tells_apart(a_source_file_is_short_and_has_a_header, "tests/a.rs", [], refused);
}

#[test]
fn unfinished_code_is_found() {
    let refused = ["todo!()", "unimplemented ! ()", "dbg!(x)"];
    tells_apart(no_unfinished_code, "src/a.rs", refused, ["// todo!", "todo()", "\"todo!\""]);
}

#[test]
fn a_sleep_is_found() {
    let refused = ["std::thread::sleep(d)", "use std::thread::{self, sleep};", "thread::sleep(d)"];
    tells_apart(nothing_sleeps, "tests/a.rs", refused, ["// sleep", "sleeper.wait()"]);
}

#[test]
fn a_name_that_says_nothing_is_found() {
    for path in ["src/util.rs", "src/common/mod.rs", "tests/runtime/helpers.rs"] {
        tells_apart(a_file_name_says_something, path, [""], []);
    }
    tells_apart(a_file_name_says_something, "src/utility_belt.rs", [], [""]);
}

#[test]
fn a_path_of_one_machine_is_found() {
    let text = |before: &str| -> &'static str { format!("{before}/{}/x", "work").leak() };
    let refused = [text(""), text("cd "), text("\""), format!("{}/.cache", "/root").leak()];
    let passed = [text("upper"), text("${dir}"), "/root/readonly"];
    tells_apart(no_path_of_one_machine, "hack/a", refused, passed);
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let refused = ["[dependencies]\na = \"1\"\n", "[dev-dependencies]\na = \"1\"\nb = \"1\"\n# b"];
    let passed = [
        "[dependencies]\na = \"1\" # why",
        "[dependencies]\n# why\na = \"1\"",
        "[package]\na = \"1\"",
    ];
    tells_apart(each_dependency_says_why, "Cargo.toml", refused, passed);
}

// ----------------------------------------------------------------- the reading

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project whose path ends so passes the rule.
fn holds(ending: &str, rule: fn(&File) -> Vec<String>) {
    let mut files = Vec::new();
    collect(root(), "", &mut files);
    files.retain(|file| file.path.ends_with(ending));
    assert!(!files.is_empty(), "the project is no longer where it was built");
    let found: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<File>) {
    for entry in fs::read_dir(dir).expect("a folder of the project can be read") {
        let entry = entry.expect("a folder of the project can be read");
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().expect("a file of the project has a type");
        if ["target", ".git"].contains(&path.as_str()) {
            continue;
        }
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).expect("a file of the project can be read");
            files.push(File::new(&path, &String::from_utf8_lossy(&bytes)));
        }
    }
}

/// A file: its path from the root of the project, its text and, of Rust, its tokens.
struct File {
    path: String,
    text: String,
    tokens: Vec<Token>,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let tokens = if path.ends_with(".rs") { tokens(text) } else { Vec::new() };
        Self { path: path.to_owned(), text: text.to_owned(), tokens }
    }

    /// In one of these folders, or the source file of that name.
    fn is_in(&self, rooms: &[&str]) -> bool {
        let rest_of = |room: &&str| self.path.strip_prefix(room);
        rooms.iter().filter_map(rest_of).any(|rest| rest.starts_with('/') || rest == ".rs")
    }

    /// The tokens before `#[cfg(test)] mod`: tests stand last.
    fn without_tests(&self) -> Self {
        let start = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
        let is_start = |tokens: &[Token]| tokens.iter().map(|token| &token.text).eq(start);
        let end = self.tokens.windows(start.len()).position(is_start);
        let tokens = self.tokens[..end.unwrap_or(self.tokens.len())].to_vec();
        Self { path: self.path.clone(), text: String::new(), tokens }
    }

    fn complain_of(&self, words: &[&str], why: &str) -> Vec<String> {
        let found = self.tokens.iter().filter(|token| words.contains(&token.text.as_str()));
        found.map(|token| self.complaint(token.line, why, &token.text)).collect()
    }

    fn complain_of_pairs(&self, first: &str, second: &str, why: &str) -> Vec<String> {
        let pairs = self.tokens.windows(2);
        let found = pairs.filter(|pair| pair[0].text == first && pair[1].text == second);
        found.map(|pair| self.complaint(pair[0].line, why, first)).collect()
    }

    fn complain_of_paths(&self, why: &str, is_bad: impl Fn(&str) -> bool) -> Vec<String> {
        let found = paths(&self.tokens).into_iter().filter(|(path, _)| is_bad(path));
        found.map(|(path, line)| self.complaint(line, why, &path)).collect()
    }

    fn complaint(&self, line: usize, why: &str, what: &str) -> String {
        format!("{}:{line}: {why}: {what}", self.path)
    }
}

fn is_below(path: &str, room: &str) -> bool {
    path.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
