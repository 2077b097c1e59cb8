//! The lookup of the program: config.md, `process.args`: "that entry is used with the same semantics as execvp's file".
//! The words of the errors are those that docker and podman turn into 126 and 127.

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox;
    a_program_is_looked_up_in_the_containers_path,
    a_later_directory_of_the_path_is_searched,
    an_absolute_program_is_not_looked_up,
    a_relative_program_is_below_the_working_directory,
    a_program_through_a_symlink_is_found_in_the_rootfs,
    a_script_runs_with_its_interpreter,
    a_name_that_is_nowhere_is_refused_at_create,
    an_absolute_program_that_is_missing_is_refused_at_create,
    a_program_that_is_not_executable_is_refused_at_create,
    a_program_in_the_path_that_is_not_executable_is_refused_at_create,
    a_directory_as_program_is_refused,
    a_program_with_a_missing_interpreter_is_an_error_of_the_runtime[Hull("runc 1.1.5 reports success from start")],
    a_program_of_another_format_is_an_error_of_the_runtime[Hull("runc 1.1.5 reports success from start")],
    a_program_that_the_user_may_not_reach_is_refused,
    an_empty_program_name_is_refused,
    a_program_on_a_noexec_mount_is_refused,
    a_refused_program_leaves_nothing_behind,
);

/// The twin of every refusal here: the same bundle with `program` made as a copy of busybox.
fn with_program(path: &str, mode: u32) -> Bundle {
    let bundle = Bundle::new();
    let program = bundle.rootfs().join(path);
    fs::create_dir_all(program.parent().expect("a parent")).expect("mkdir");
    call::install(&bundle.rootfs().join("bin/busybox"), &program, mode);
    bundle
}

fn a_program_is_looked_up_in_the_containers_path() {
    let bundle = with_program("opt/echo", 0o755).set("/process/env", json!(["PATH=/opt"]));
    let _ = bundle.args(&["echo", "found"]).run().ok().prints("found");
}

fn a_later_directory_of_the_path_is_searched() {
    let bundle =
        with_program("opt/echo", 0o755).set("/process/env", json!(["PATH=/none:/etc:/opt:/bin"]));
    // The first `echo` may not be executed: execvp goes on.
    bundle.write("etc/echo", "not executable");
    let _ = bundle.args(&["echo", "found"]).run().ok().prints("found");
}

fn an_absolute_program_is_not_looked_up() {
    let bundle = Bundle::new().set("/process/env", json!(["PATH=/none"]));
    let _ = bundle.args(&["/bin/echo", "found"]).run().ok().prints("found");
}

fn a_relative_program_is_below_the_working_directory() {
    let bundle = with_program("opt/sub/echo", 0o755).set("/process/cwd", "/opt");
    let _ = bundle.args(&["./sub/echo", "found"]).run().ok().prints("found");
    let bundle = with_program("opt/sub/echo", 0o755).set("/process/cwd", "/opt");
    let _ = bundle.args(&["sub/echo", "found"]).run().ok().prints("found");
}

fn a_program_through_a_symlink_is_found_in_the_rootfs() {
    let bundle = Bundle::new();
    bundle.link("/bin/echo", "usr/echo");
    let _ = bundle.args(&["/usr/echo", "found"]).run().ok().prints("found");
}

fn a_script_runs_with_its_interpreter() {
    let bundle = Bundle::new();
    bundle.write_program("script", "#!/bin/sh\necho script $1\n");
    let _ = bundle.args(&["/script", "ran"]).run().ok().prints("script ran");
}

fn a_name_that_is_nowhere_is_refused_at_create() {
    let bundle = Bundle::new().args(&["no-such-program"]);
    let _ = bundle
        .try_create()
        .refused()
        .says("executable file not found in $PATH")
        .says("no-such-program");
    let _ = bundle.run().refused().says("executable file not found in $PATH");
}

fn an_absolute_program_that_is_missing_is_refused_at_create() {
    let bundle = Bundle::new().args(&["/none/at/all"]);
    let _ = bundle.try_create().refused().says("no such file or directory").says("/none/at/all");
    let _ = bundle.run().refused().says("no such file or directory");
}

fn a_program_that_is_not_executable_is_refused_at_create() {
    let _ = with_program("opt/echo", 0o644)
        .args(&["/opt/echo"])
        .try_create()
        .refused()
        .says("permission denied");
    let _ = with_program("opt/echo", 0o755).args(&["/opt/echo"]).run().ok();
}

fn a_program_in_the_path_that_is_not_executable_is_refused_at_create() {
    let bundle =
        with_program("opt/only", 0o644).set("/process/env", json!(["PATH=/opt"])).args(&["only"]);
    let output = bundle.try_create().refused();
    let text = output.stderr.to_lowercase();
    assert!(
        text.contains("permission denied") || text.contains("executable file not found"),
        "{output}"
    );
}

// "permission denied" is 126 for podman and for every docker; "is a directory" since docker 23.
fn a_directory_as_program_is_refused() {
    let output = Bundle::new().args(&["/etc"]).try_create().refused();
    let text = output.stderr.to_lowercase();
    let is_known =
        text.contains("permission denied") || call::is_peer() && text.contains("is a directory");
    assert!(is_known, "{output}");
}

fn a_program_with_a_missing_interpreter_is_an_error_of_the_runtime() {
    let bundle = Bundle::new().args(&["/script"]);
    bundle.write_program("script", "#!/no/such/interpreter\n");
    let _ = bundle.run().refused().says("no such file or directory");
    assert_nothing_left(&bundle);
    refused_by_create_or_start(&bundle, "no such file or directory");
}

fn a_program_of_another_format_is_an_error_of_the_runtime() {
    let bundle = Bundle::new().args(&["/program"]);
    bundle.write_program("program", "\u{7f}ELF of no kind");
    let _ = bundle.run().refused().says("exec format error");
    assert_nothing_left(&bundle);
    refused_by_create_or_start(&bundle, "exec format error");
}

/// What only execve can tell may come as late as `start`, which then fails and leaves the container stopped.
fn refused_by_create_or_start(bundle: &Bundle, text: &str) {
    let create = bundle.try_create();
    if create.code == 0 {
        let _ = bundle.try_start().refused().says(text);
        assert_eq!(bundle.status(), "stopped");
    } else {
        let _ = create.refused().says(text);
    }
}

fn a_program_that_the_user_may_not_reach_is_refused() {
    let user = json!({"uid": 1001, "gid": 1001});
    // The effective set holds until execve: with CAP_DAC_OVERRIDE in it the program would be reached.
    let bundle =
        with_program("opt/echo", 0o700).set("/process/user", user.clone()).args(&["/opt/echo"]);
    let bundle = bundle.set("/process/capabilities", json!({}));
    let _ = bundle.run().refused().says("permission denied");
    let _ =
        with_program("opt/echo", 0o755).set("/process/user", user).args(&["/opt/echo"]).run().ok();
}

fn an_empty_program_name_is_refused() {
    let _ = Bundle::new().args(&[""]).try_create().refused();
}

fn a_program_on_a_noexec_mount_is_refused() {
    let bundle = with_program("opt/echo", 0o755);
    let source = bundle.rootfs().join("opt");
    let source = source.to_str().expect("UTF-8");
    let bundle = bundle.mount("bind", source, "/opt", &["bind", "noexec"]).args(&["/opt/echo"]);
    let _ = bundle.run().refused().says("permission denied");
}

// "If the runtime cannot apply a property [...] a new container MUST NOT be created."
fn a_refused_program_leaves_nothing_behind() {
    let bundle = Bundle::new().args(&["no-such-program"]);
    let _ = bundle.try_create().refused();
    assert_nothing_left(&bundle);
    let _ = bundle.run().refused();
    assert_nothing_left(&bundle);
}
