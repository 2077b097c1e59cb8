//! exec: another program in a container. What the command line and a process file say of it.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Created};
use crate::call::{self, Call, Output};
use crate::case::table;
use crate::terminal::{Console, own_terminal, read_until, receive_fd};

table!(Root, Busybox;
    the_exit_status_is_that_of_the_program,
    a_signal_that_ends_the_program_is_128_and_its_number,
    a_program_that_is_not_there_is_255,
    behind_the_id_every_word_is_the_programs,
    a_process_file_is_executed,
    a_process_file_that_is_a_pipe_is_executed,
    what_a_process_file_leaves_out_is_the_containers[Hull("runc 1.1.5 takes no oomScoreAdj, scheduler and umask from the config")],
    of_a_command_line_all_else_is_as_in_the_config,
    the_terminal_of_a_detached_program_goes_to_the_console_socket,
    in_the_foreground_the_terminal_goes_through[Program("setsid")],
    without_tty_the_terminal_of_the_config_does_not_count,
    a_terminal_and_its_socket_are_asked_for_together,
    the_pidfd_socket_receives_the_process[Hull("runc 1.1.5 has no --pidfd-socket")],
    the_pid_file_holds_the_pid_of_the_program,
    a_pid_file_that_cannot_be_written_leaves_no_process,
    cwd_is_the_working_directory,
    a_missing_working_directory_is_not_made,
    a_user_is_a_number_and_one_is_one,
    a_user_by_name_is_refused,
    additional_gids_are_added,
    env_is_added_and_replaces[Hull("runc 1.1.5 passes both")],
    home_is_that_of_the_user[Hull("runc 1.1.5 keeps the container's HOME")],
    a_capability_is_added_and_never_inheritable,
    ambient_capabilities_are_added_if_there_are_inheritable_ones[Hull("runc 1.1.5 fails on inheritable ones that are not permitted")],
    no_new_privileges_is_set_when_asked,
    preserved_descriptors_are_passed_on,
    preserved_descriptors_that_are_not_there_are_refused[Hull("runc 1.1.5 passes its own")],
    descriptors_of_socket_activation_are_the_first_programs_alone,
    standard_input_reaches_the_program,
    signals_are_forwarded_in_the_foreground,
    a_detached_exec_returns_while_the_program_runs,
    exec_affinity_is_applied[Program("taskset"), Hull("runc 1.1.5 does not know it")],
    the_umask_is_that_of_the_config[Hull("runc 1.1.5 sets 022")],
    the_session_keyring_is_the_containers[File("/proc/keys")],
    flags_take_one_dash_too,
    the_argv_of_conmon_rs_is_accepted,
);

impl Bundle {
    /// `exec` with these flags and this program.
    pub fn exec_call(&self, flags: &[&str], args: &[&str]) -> Call {
        self.call(&[&["exec"], flags, &[self.id()], args].concat())
    }

    /// The same to its end.
    pub fn exec(&self, flags: &[&str], args: &[&str]) -> Output {
        self.exec_call(flags, args).finish()
    }

    /// The same for a shell script.
    pub fn exec_script(&self, flags: &[&str], script: &str) -> Output {
        self.exec(flags, &["sh", "-c", script])
    }

    /// The same, detached; the pid of the program.
    pub fn exec_detached(&self, flags: &[&str], args: &[&str]) -> i32 {
        let path = self.beside("exec.pid");
        let own = ["--detach", "--pid-file", path.to_str().expect("UTF-8")];
        let _ = self.exec(&[&own, flags].concat(), args).ok();
        let pid = fs::read_to_string(&path).expect("the pid file").parse().expect("a bare number");
        self.adopt(pid);
        pid
    }

    /// The same for a process file.
    pub fn exec_process(&self, flags: &[&str], process: &Value) -> Output {
        let path = self.beside("process.json");
        fs::write(&path, process.to_string()).expect("write the process file");
        self.exec(&[flags, &["--process", path.to_str().expect("UTF-8")]].concat(), &[])
    }
}

impl Output {
    /// exec was refused: exit code 255 and one line that begins with `error: `.
    pub fn not_executed(self) -> Self {
        let output = self.exits(255);
        let is_one = output.stderr.lines().count() == 1 && output.stderr.starts_with("error: ");
        assert!(is_one || call::is_peer(), "expected one line of an error: {output}");
        output
    }
}

/// A bundle whose container waits until it is deleted.
pub fn waiting() -> Bundle {
    Bundle::new().args(&["sleep", "1000"])
}

/// The container runs.
pub fn run(bundle: &Bundle) -> Created<'_> {
    bundle.create().start()
}

fn the_exit_status_is_that_of_the_program() {
    let bundle = waiting();
    run(&bundle);
    for code in [0, 1, 42, 255] {
        let _ = bundle.exec_script(&[], &format!("exit {code}")).exits(code);
    }
    let _ = bundle.exec(&[], &["echo", "hello"]).ok().prints("hello");
}

fn a_signal_that_ends_the_program_is_128_and_its_number() {
    let bundle = waiting();
    run(&bundle);
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("ABRT", 134)] {
        let _ = bundle.exec_script(&[], &format!("kill -{signal} $$")).exits(code);
    }
}

fn a_program_that_is_not_there_is_255() {
    let bundle = waiting();
    run(&bundle);
    let _ =
        bundle.exec(&[], &["nothing"]).not_executed().says("executable file not found in $PATH");
    let _ = bundle.exec(&[], &["/no/thing"]).not_executed().says("no such file or directory");
    let _ = bundle.exec(&[], &["/etc"]).not_executed().says("permission denied");
}

fn behind_the_id_every_word_is_the_programs() {
    let bundle = waiting();
    run(&bundle);
    let args = ["printf", "[%s]", "--tty", "-d", "-all", "", "--", "-e"];
    let _ = bundle.exec(&[], &args).ok().prints("[--tty][-d][-all][][--][-e]");
}

fn process(script: &str) -> Value {
    json!({"cwd": "/tmp", "args": ["sh", "-c", script], "env": ["PATH=/bin", "A=b"],
        "user": {"uid": 7, "gid": 8, "additionalGids": [9]}})
}

fn a_process_file_is_executed() {
    let bundle = waiting();
    run(&bundle);
    let process = process("pwd; echo $A; id -u; id -g; id -G");
    for flag in ["--process", "-p"] {
        let output = bundle.exec_process(&[], &process).ok();
        assert_eq!(output.lines(), ["/tmp", "b", "7", "8", "8 9"], "{flag}");
    }
}

const STATUS: &str = "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status | tr -d '\\t'; \
    cat /proc/self/oom_score_adj; ulimit -c";

// A shell gives one for `<(...)`.
fn a_process_file_that_is_a_pipe_is_executed() {
    let process = json!({"cwd": "/", "args": ["echo", "ran"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    let bundle = waiting().through(&["sh", "-c", &format!("echo '{process}' | \"$@\""), "sh"]);
    run(&bundle);
    let _ = bundle.exec(&["--process", "/proc/self/fd/0"], &[]).ok().prints("ran");
}

fn what_a_process_file_leaves_out_is_the_containers() {
    let set = json!(["CAP_CHOWN"]);
    let bundle = waiting()
        .set("/process/oomScoreAdj", 500)
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 1024, "hard": 2048}]))
        .set("/process/capabilities", json!({"bounding": set, "permitted": set}));
    run(&bundle);
    let output = bundle.exec_process(&[], &process(STATUS)).ok();
    assert_eq!(output.lines(), ["CapBnd:0000000000000001", "NoNewPrivs:0", "500", "2"]);
}

fn of_a_command_line_all_else_is_as_in_the_config() {
    let set = json!(["CAP_CHOWN"]);
    let bundle = waiting()
        .set("/process/oomScoreAdj", 500)
        .set("/process/cwd", "/etc")
        .set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [7]}))
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 1024, "hard": 2048}]))
        .set("/process/capabilities", json!({"bounding": set, "permitted": set}));
    run(&bundle);
    let script = format!("{STATUS}; pwd; id -u; id -G; echo $TERM");
    let expected =
        ["CapBnd:0000000000000001", "NoNewPrivs:1", "500", "2", "/etc", "5", "6 7", "xterm"];
    assert_eq!(bundle.exec_script(&[], &script).ok().lines(), expected);
}

fn the_terminal_of_a_detached_program_goes_to_the_console_socket() {
    let bundle = waiting();
    run(&bundle);
    let console = Console::new(&bundle);
    let script = "test -t 0 && test -t 1 && test -t 2 && tty; read line; echo got $line; echo END; sleep 1000";
    let flags = ["--tty", "--console-socket", &console.path];
    bundle.exec_detached(&flags, &["sh", "-c", script]);
    let (terminal, payload) = console.receive();
    assert!(payload.contains("pts") || call::is_peer(), "{payload}");
    read_until(&terminal, "/dev/pts/0\n");
    rustix::io::write(&terminal, b"a line\n").expect("write");
    assert!(read_until(&terminal, "END\n").contains("got a line\n"));
    let mut process = process("tty; stty size; echo END; sleep 1000");
    process["terminal"] = true.into();
    process["consoleSize"] = json!({"height": 33, "width": 111});
    let pid = bundle.beside("pid");
    let flags =
        ["-d", "--console-socket", &console.path, "--pid-file", pid.to_str().expect("UTF-8")];
    let _ = bundle.exec_process(&flags, &process).ok();
    bundle.adopt(fs::read_to_string(&pid).expect("the pid file").parse().expect("a pid"));
    let text = read_until(console.receive().0, "END\n");
    assert_eq!(text, "/dev/pts/1\n33 111\nEND\n");
}

fn in_the_foreground_the_terminal_goes_through() {
    let bundle = waiting();
    run(&bundle);
    let bundle = bundle.through(&["setsid", "--ctty", "--wait"]);
    let (own, other) = own_terminal(24, 80);
    let script = "tty; read line; echo got $line; exit 7";
    let exec = bundle.exec_call(&["-t"], &["sh", "-c", script]).stdio(&other).begin();
    read_until(&own, "/dev/pts/0\n");
    rustix::io::write(&own, b"a line\r").expect("write");
    read_until(&own, "got a line\n");
    let _ = exec.finish().exits(7);
}

fn without_tty_the_terminal_of_the_config_does_not_count() {
    let bundle = waiting().set("/process/terminal", true);
    let console = Console::new(&bundle);
    bundle.create_with(&["--console-socket", &console.path]);
    let _terminal = console.receive();
    bundle.start();
    let _ = bundle.exec_script(&[], "test -t 0 || test -t 1 || echo none").ok().prints("none");
}

fn a_terminal_and_its_socket_are_asked_for_together() {
    let bundle = waiting();
    run(&bundle);
    let console = Console::new(&bundle);
    for flags in [
        &["-t", "-d"][..],
        &["-t", "--console-socket", &console.path],
        &["-d", "--console-socket", &console.path],
    ] {
        let _ = bundle.exec(flags, &["true"]).not_executed().says("console socket");
    }
}

/// The pid that a pidfd stands for.
fn pid_of(pidfd: &impl std::os::fd::AsRawFd) -> i32 {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = fs::read_to_string(path).expect("fdinfo");
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:")).expect("a pidfd");
    line.trim().parse().expect("a number")
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).expect("comm").trim_end().to_owned()
}

fn the_pidfd_socket_receives_the_process() {
    for kind in ["pid", "none"] {
        let bundle = waiting().without_namespace(kind);
        run(&bundle);
        let path = bundle.beside("pidfd");
        let listener = UnixListener::bind(&path).expect("bind");
        let flags = ["-d", "--pidfd-socket", path.to_str().expect("UTF-8")];
        let _ = bundle.exec(&flags, &["tail", "-f", "/dev/null"]).ok();
        let (pidfd, _) = receive_fd(&listener.accept().expect("accept").0);
        bundle.adopt(pid_of(&pidfd));
        assert_eq!(name_of(pid_of(&pidfd)), "tail");
    }
}

fn the_pid_file_holds_the_pid_of_the_program() {
    let bundle = waiting();
    run(&bundle);
    let path = bundle.beside("pid");
    let flags = ["--detach", "--pid-file", path.to_str().expect("UTF-8")];
    let _ = bundle.exec(&flags, &["tail", "-f", "/dev/null"]).ok();
    let pid = fs::read_to_string(&path).expect("the pid file").parse().expect("a bare number");
    bundle.adopt(pid);
    assert!(bundle.processes().contains(&pid));
    if !call::is_peer() {
        assert_eq!(name_of(pid), "tail");
    }
}

fn a_pid_file_that_cannot_be_written_leaves_no_process() {
    let bundle = waiting();
    let container = run(&bundle);
    let flags = ["--detach", "--pid-file", "/no/such/directory/pid"];
    let output = bundle.exec(&flags, &["sleep", "2000"]);
    let _ = output.not_executed().says("no such file or directory");
    assert_eq!(bundle.processes(), [container.pid]);
}

fn cwd_is_the_working_directory() {
    let bundle = waiting();
    run(&bundle);
    let _ = bundle.exec(&["--cwd", "/tmp"], &["pwd"]).ok().prints("/tmp");
    let _ = bundle.exec(&["--cwd=/tmp/.."], &["pwd"]).ok().prints("/");
}

// `create` makes it, exec does not: `docker exec --workdir` with a typing error is an error.
fn a_missing_working_directory_is_not_made() {
    let bundle = waiting();
    run(&bundle);
    let exec = || bundle.exec(&["--cwd", "/later/made"], &["pwd"]);
    let _ = exec().not_executed().says("no such file or directory");
    assert!(!bundle.rootfs().join("later").exists());
    bundle.mkdir("later/made");
    let _ = exec().ok().prints("/later/made");
}

/// CVE-2026-30892, CVE-2016-3697: a user of the image is named "1".
fn a_user_is_a_number_and_one_is_one() {
    let bundle = waiting();
    bundle.write("etc/passwd", "1:x:0:0::/root:/bin/sh\n");
    run(&bundle);
    for (user, expected) in
        [("1", "1 0"), ("1:2", "1 2"), ("0", "0 0"), ("2147483647:7", "2147483647 7")]
    {
        for flag in ["-u", "--user"] {
            let output = bundle.exec_script(&[flag, user], "echo $(id -u) $(id -g)").ok();
            let _ = output.prints(expected);
        }
    }
}

fn a_user_by_name_is_refused() {
    let bundle = waiting();
    bundle.write("etc/passwd", "name:x:0:0::/root:/bin/sh\n");
    run(&bundle);
    for user in ["name", "1:", ":1", "1:name", "1:2:3"] {
        let _ = bundle.exec(&["--user", user], &["true"]).not_executed().names("--user");
    }
    let _ = bundle.exec(&["--user", "1"], &["true"]).ok();
}

fn additional_gids_are_added() {
    let bundle = waiting().set("/process/user", json!({"uid": 1, "gid": 2, "additionalGids": [3]}));
    run(&bundle);
    let _ = bundle.exec(&["-g", "4", "-g", "5"], &["id", "-G"]).ok().prints("2 3 4 5");
    let _ = bundle.exec(&["--additional-gids", "4"], &["id", "-G"]).ok().prints("2 3 4");
    let output = bundle.exec(&["-g", "staff"], &["id", "-G"]);
    assert!(output.code != 0, "{output}");
    let _ = output.names("--additional-gids: \"staff\"");
}

fn env_is_added_and_replaces() {
    let bundle = waiting().set("/process/env", json!(["PATH=/bin", "A=1", "B=2", "HOME=/"]));
    run(&bundle);
    let output = bundle.exec(&["-e", "C=3", "--env", "A=4"], &["env"]).ok();
    assert_eq!(output.lines(), ["PATH=/bin", "A=4", "B=2", "HOME=/", "C=3"]);
    let _ = bundle.exec(&["-e", "=4"], &["env"]).not_executed().names("is not NAME=value");
}

fn home_is_that_of_the_user() {
    let bundle = waiting();
    bundle.write("etc/passwd", "one:x:1:1::/home/one:/bin/sh\ntwo:x:2:2::/home/two:/bin/sh\n");
    run(&bundle);
    let _ = bundle.exec_script(&["-u", "2"], "echo $HOME").ok().prints("/home/two");
}

const SETS: &str =
    "grep -E '^Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f 2 | sed 's/^0*//'";

/// CVE-2022-29162, CVE-2022-27650
fn a_capability_is_added_and_never_inheritable() {
    let set = json!(["CAP_KILL"]);
    let bundle = waiting()
        .set("/process/capabilities", json!({"bounding": set, "permitted": set, "effective": set}));
    run(&bundle);
    assert_eq!(bundle.exec_script(&[], SETS).ok().lines(), ["", "20", "20", "20", ""]);
    let flags = ["-c", "CAP_CHOWN", "-c", "CAP_SETUID"];
    assert_eq!(bundle.exec_script(&flags, SETS).ok().lines(), ["", "a1", "a1", "a1", ""]);
}

fn ambient_capabilities_are_added_if_there_are_inheritable_ones() {
    let set = json!(["CAP_KILL"]);
    let bundle = waiting().set(
        "/process/capabilities",
        json!({"bounding": set, "permitted": set, "effective": set, "inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": set}),
    );
    run(&bundle);
    let output = bundle.exec_script(&["--cap", "CAP_CHOWN", "-u", "5"], SETS).ok();
    assert_eq!(output.lines(), ["21", "21", "21", "21", "21"]);
}

fn no_new_privileges_is_set_when_asked() {
    let bundle = waiting().set("/process/noNewPrivileges", false);
    run(&bundle);
    let privileges = "grep NoNewPrivs /proc/self/status | cut -f 2";
    let _ = bundle.exec_script(&[], privileges).ok().prints("0");
    let _ = bundle.exec_script(&["--no-new-privs"], privileges).ok().prints("1");
}

/// The descriptors of a process.
fn open_fds(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// exec with these redirections of a shell.
fn redirected(redirections: &str, flags: &[&str], script: &str) -> Output {
    let bundle = waiting();
    run(&bundle);
    let shell = format!("exec \"$@\" {redirections}");
    bundle.through(&["sh", "-c", &shell, "sh"]).exec_script(flags, script)
}

fn preserved_descriptors_are_passed_on() {
    let output = redirected(
        "3</dev/null 4</dev/zero",
        &["--preserve-fds", "2"],
        "head -c 1 <&4 | od -An -c",
    );
    let _ = output.ok().prints("  \\0");
    // What is behind them is not: fd 3 here is the directory that the shell looks through.
    let bundle = waiting();
    run(&bundle);
    let bundle = bundle.through(&["sh", "-c", "exec \"$@\" 3</dev/null 4</dev/zero", "sh"]);
    let pid = bundle.exec_detached(&["--preserve-fds", "1"], &["sleep", "1000"]);
    assert_eq!(open_fds(pid), ["0", "1", "2", "3"].map(str::to_owned));
}

fn preserved_descriptors_that_are_not_there_are_refused() {
    let output = redirected("3</dev/null 4<&-", &["--preserve-fds", "2"], "true");
    let _ = output.not_executed().says("descriptor 4 is not open");
    let output = redirected("", &["--preserve-fds", "1"], "true");
    let _ = output.not_executed().says("descriptor 3 is not open");
}

fn descriptors_of_socket_activation_are_the_first_programs_alone() {
    let bundle = waiting();
    run(&bundle);
    let shell = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\" 3</dev/null";
    let bundle = bundle.through(&["sh", "-c", shell, "sh"]);
    let pid = bundle.exec_detached(&[], &["sleep", "1000"]);
    assert_eq!(open_fds(pid), ["0", "1", "2"].map(str::to_owned));
    let _ = bundle.exec_script(&[], "echo $LISTEN_FDS $LISTEN_PID").ok().prints("");
}

fn standard_input_reaches_the_program() {
    let bundle = waiting();
    run(&bundle);
    let bundle = bundle.through(&["sh", "-c", "echo a line | \"$@\"", "sh"]);
    let _ = bundle.exec(&[], &["cat"]).ok().prints("a line");
}

fn signals_are_forwarded_in_the_foreground() {
    let bundle = waiting();
    let ready = bundle.fifo("ready");
    run(&bundle);
    // A shell that waits for a child loses no signal, as one that opens a file can: `sleep` is there to be waited for.
    let script = "trap 'exit 9' TERM; echo ready > /ready; while :; do sleep 1000 & wait; done";
    let exec = bundle.exec_call(&[], &["sh", "-c", script]).begin();
    ready.line();
    exec.signal(rustix::process::Signal::TERM);
    let _ = exec.finish().exits(9);
}

fn a_detached_exec_returns_while_the_program_runs() {
    let bundle = waiting();
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    run(&bundle);
    let script = "read line < /go; echo $line > /ready";
    bundle.exec_detached(&[], &["sh", "-c", script]);
    go.send("on");
    assert_eq!(ready.line(), "on");
}

// "initial": before the transition to the container's cgroup; "final": after it. Those of the caller do not count.
fn exec_affinity_is_applied() {
    let allowed = "grep Cpus_allowed_list /proc/self/status | cut -f 2";
    let all = call::host(&["sh", "-c", allowed]).trim_end().to_owned();
    for (affinity, expected) in
        [(json!({"final": "0"}), "0"), (json!({"initial": "0"}), all.as_str()), (json!({}), &all)]
    {
        let bundle = waiting().set("/process/execCPUAffinity", affinity);
        run(&bundle);
        let _ = bundle.exec_script(&[], allowed).ok().prints(expected);
        let bundle = bundle.through(&["taskset", "-c", "0"]);
        let _ = bundle.exec_script(&[], allowed).ok().prints(expected);
    }
}

fn the_umask_is_that_of_the_config() {
    let bundle = waiting().set("/process/user/umask", 0o027);
    run(&bundle);
    let _ = bundle.exec_script(&[], "umask").ok().prints("0027");
}

/// The serial number of a process' session keyring: of those in its list the one that is named for the container.
fn the_session_keyring_is_the_containers() {
    let list = |bundle: &Bundle| {
        let output = bundle.exec(&[], &["cat", "/proc/keys"]).ok();
        let own = |line: &&str| line.contains(&format!("_ses.{}", bundle.id()));
        output.lines().into_iter().filter(own).count()
    };
    let bundle = waiting().without("/linux/maskedPaths");
    run(&bundle);
    // One for init and each exec.
    assert_eq!((list(&bundle), list(&bundle)), (1, 1));
    let bundle = waiting().without("/linux/maskedPaths");
    bundle.create_with(&["--no-new-keyring"]).start();
    assert_eq!(list(&bundle), 0);
}

fn flags_take_one_dash_too() {
    let bundle = waiting();
    run(&bundle);
    let output = bundle
        .exec(&["-cwd", "/tmp", "-user", "3", "-env=A=1"], &["sh", "-c", "pwd; id -u; echo $A"]);
    assert_eq!(output.ok().lines(), ["/tmp", "3", "1"]);
}

fn the_argv_of_conmon_rs_is_accepted() {
    let bundle = waiting();
    run(&bundle);
    let (console, path) = (Console::new(&bundle), bundle.beside("pid"));
    let (socket, file) =
        (format!("--console-socket={}", console.path), format!("--pid-file={}", path.display()));
    let _ = bundle.exec(&["-d", &socket, "--tty", &file], &["sleep", "1000"]).ok();
    bundle.adopt(fs::read_to_string(&path).expect("the pid file").parse().expect("a pid"));
    console.receive();
}
