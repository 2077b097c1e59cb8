//! The filter of system calls: config-linux.md, "Seccomp". What a profile means is the matter of `tests/seccomp`;
//! here it is what the runtime does with it, and what becomes of a runtime that is itself filtered.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::bundle::{self, Bundle};
use crate::call;
use crate::case::table;
use crate::fifo::Fifo;
use crate::lifecycle::assert_nothing_left;
use crate::terminal::stop_listening;
use crate::user::mapped;

table!(Root, Busybox;
    a_refused_call_fails_with_its_error_number,
    the_program_is_filtered_whatever_it_may_gain,
    a_filter_without_privileges_is_not_left_with_one,
    an_executed_program_is_filtered_too,
    a_hook_of_the_container_is_filtered_too,
    the_runtime_calls_nothing_but_execve_under_the_filter[Program("cc"), Hull("runc 1.1.5 calls more")],
    the_runtime_needs_no_call_that_is_refused[Program("cc"), Hull("runc 1.1.5 needs some of them")],
    a_profile_that_refuses_execve_is_refused_before_anything_is_created[Program("cc"), Hull("runc 1.1.5 finds out later")],
    an_execve_that_is_refused_by_its_arguments_is_an_error_of_the_runtime[Hull("runc 1.1.5 reports success from start")],
    an_init_that_may_not_tell_why_it_failed_ends_all_the_same[Program("cc"), Hull("runc 1.1.5 reports success from start")],
    a_filter_is_loaded_in_a_new_user_namespace,
    each_flag_is_taken_with_a_real_filter[Program("cc"), Hull("runc 1.1.5 has no features")],
    an_agent_decides_each_call[Program("cc"), Hull("runc 1.1.5 has it at create")],
    an_agent_decides_what_the_runtime_itself_would_call[Program("cc"), Hull("runc 1.1.5 deadlocks")],
    an_agent_decides_every_call_of_the_program[Program("cc"), Hull("runc 1.1.5 refuses it")],
    an_agent_is_told_of_the_container[Program("cc"), Hull("runc 1.1.5 tells it at create")],
    an_agent_is_told_of_an_executed_program[Program("cc"), Hull("runc 1.1.5: not looked at")],
    an_agent_that_has_gone_leaves_calls_that_do_not_exist[Program("cc"), Hull("runc 1.1.5: not looked at")],
    an_agent_that_goes_before_start_fails_it[Hull("runc 1.1.5 tells it at create")],
    an_agent_may_take_its_time[Program("cc"), Hull("runc 1.1.5: not looked at")],
    an_absent_agent_is_an_error_before_anything_is_created[Hull("runc 1.1.5 finds out later")],
    a_listener_path_that_is_too_long_is_refused[Hull("runc 1.1.5 finds out later")],
    a_listener_that_nobody_needs_is_ignored,
    what_is_wrong_with_a_profile_is_told_before_anything_is_created[Hull("pointers")],
    an_unknown_call_is_skipped_unless_the_annotation_wants_it_refused[Hull("crun's annotation")],
);

fn with_profile(section: Value) -> Bundle {
    Bundle::new().set("/linux/seccomp", section)
}

fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": action})
}

fn all_but(names: &[&str], action: &str) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(names, action)]})
}

/// A program in C beside this file, built once in a run of the tests.
fn built(source: &str, options: &[&str]) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtime/seccomp").join(source);
    let program = bundle::shared().join(source).with_extension("");
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-o"])
        .arg(&program)
        .arg(path)
        .args(options)
        .status();
    assert!(status.expect("cc").success(), "{source} cannot be built");
    program
}

/// The program that makes one system call. It ends with 7, or by SIGILL where it may not.
fn with_end(section: Value) -> Bundle {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program =
        PROGRAM.get_or_init(|| built("end.c", &["-static", "-nostdlib", "-ffreestanding"]));
    let bundle = with_profile(section).args(&["/bin/end"]);
    call::install(program, &bundle.rootfs().join("bin/end"), 0o755);
    bundle
}

/// Both settings, of which one needs CAP_SYS_ADMIN to load the filter, and two users.
fn each_way(bundle: impl Fn() -> Bundle, check: impl Fn(Bundle)) {
    for no_new_privileges in [true, false] {
        for user in [0, 1000] {
            let bundle = bundle()
                .set("/process/noNewPrivileges", no_new_privileges)
                .set("/process/user", json!({"uid": user, "gid": user}));
            check(bundle);
        }
    }
}

// ------------------------------------------------------------------- the filter

fn a_refused_call_fails_with_its_error_number() {
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
    let script = "mkdir /made 2>&1; test -d /made && echo made";
    let _ = with_profile(section)
        .script(script)
        .run()
        .exits(1)
        .prints("mkdir: can't create directory '/made': No space left on device");
    let _ = Bundle::new().script(script).run().ok().prints("made");
}

fn the_program_is_filtered_whatever_it_may_gain() {
    each_way(
        || with_profile(all_but(&["reboot"], "SCMP_ACT_ERRNO")).args(&["sleep", "1000"]),
        |bundle| {
            let created = bundle.create().start();
            assert_eq!(created.status_line("Seccomp"), "2");
            assert_eq!(created.status_line("Threads"), "1");
        },
    );
    let container = Bundle::new().args(&["sleep", "1000"]);
    let created = container.create().start();
    assert_eq!(created.status_line("Seccomp"), "0");
}

/// CAP_SYS_ADMIN, with which a filter is loaded, is none of the program's.
fn a_filter_without_privileges_is_not_left_with_one() {
    each_way(
        || with_profile(all_but(&["reboot"], "SCMP_ACT_ERRNO")),
        |bundle| {
            let script = "grep -E 'CapPrm|CapEff|CapInh|CapAmb|CapBnd' /proc/self/status";
            let filtered = bundle.script(script).run().ok().stdout;
            let privileged = |line: &str| {
                let mask = line.split_whitespace().last().expect("a mask");
                u64::from_str_radix(mask, 16).expect("hexadecimal") & (1 << 21) != 0
            };
            assert!(!filtered.lines().any(privileged), "{filtered}");
        },
    );
}

fn an_executed_program_is_filtered_too() {
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
    let bundle = with_profile(section).args(&["sleep", "1000"]);
    let _created = bundle.create().start();
    let exec = |args: &[&str]| bundle.call(&[&["exec", bundle.id()], args].concat()).finish();
    let _ = exec(&["mkdir", "/made"]).exits(1).says("No space left on device");
    let _ = exec(&["true"]).ok();
}

// Its program is one of the container's files.
fn a_hook_of_the_container_is_filtered_too() {
    let hook = json!({"path": "/bin/mkdir", "args": ["mkdir", "/made"]});
    let filter = |names: &[&str]| with_profile(all_but(names, "SCMP_ACT_ERRNO"));
    for gains in [true, false] {
        let bundle = filter(&["mkdir", "mkdirat"]).set("/process/noNewPrivileges", !gains);
        let bundle = bundle.set("/hooks/startContainer", json!([hook]));
        let _ = bundle.run().refused().names("/hooks/startContainer/0").says("not permitted");
        let bundle = filter(&["reboot"]).set("/process/noNewPrivileges", !gains);
        let bundle = bundle.set("/hooks/startContainer", json!([hook]));
        let _ = bundle.run().ok();
        assert!(bundle.rootfs().join("made").exists());
    }
}

fn the_runtime_calls_nothing_but_execve_under_the_filter() {
    let section = json!({"defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [rule(&["execve", "exit_group"], "SCMP_ACT_ALLOW")]});
    each_way(
        || with_end(section.clone()),
        |bundle| {
            let _ = bundle.run().exits(7);
            assert_eq!(bundle.create().start().exit_code(), 7);
        },
    );
}

fn the_runtime_needs_no_call_that_is_refused() {
    for name in [
        "sendmsg", "fcntl", "read", "write", "close", "seccomp", "prctl", "capset", "futex", "mmap",
    ] {
        for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]
        {
            let bundle = with_end(all_but(&[name], action)).set("/process/noNewPrivileges", false);
            let _ = bundle.run().exits(7);
        }
    }
    // What the program does then is to end by an illegal instruction: SIGILL is 4.
    let bundle = with_end(all_but(&["exit_group"], "SCMP_ACT_ERRNO"));
    let _ = bundle.run().exits(132);
}

fn a_profile_that_refuses_execve_is_refused_before_anything_is_created() {
    let actions = ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"];
    for action in actions {
        for (section, pointer) in [
            (all_but(&["execve"], action), "/linux/seccomp/syscalls/0/action"),
            (json!({"defaultAction": action}), "/linux/seccomp/defaultAction"),
        ] {
            let bundle = with_profile(section);
            let _ = bundle.try_create().refused().names(pointer).says("refuses execve");
            assert_nothing_left(&bundle);
        }
    }
    let permits = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        rule(&["execve", "exit_group"], "SCMP_ACT_ALLOW")]});
    let _ = with_end(permits).run().exits(7);
}

/// Whatever the path is: but that is known only when it is called.
fn an_execve_that_is_refused_by_its_arguments_is_an_error_of_the_runtime() {
    let ended = "ended before the program was executed";
    for (action, says) in [
        ("SCMP_ACT_ERRNO", "Operation not permitted"),
        ("SCMP_ACT_KILL", ended),
        ("SCMP_ACT_KILL_PROCESS", ended),
        ("SCMP_ACT_TRAP", ended),
    ] {
        let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["execve"], "action": action,
                "args": [{"index": 0, "op": "SCMP_CMP_NE", "value": 0}]}]});
        each_way(
            || with_profile(section.clone()),
            |bundle| {
                let _ = bundle.run().refused().says(says);
                assert_nothing_left(&bundle);
                let _created = bundle.create();
                let _ = bundle.try_start().refused().says(says);
                assert_eq!(bundle.status(), "stopped");
            },
        );
    }
}

/// Not even exit_group is permitted to who must end, or it is an agent who refuses all.
fn an_init_that_may_not_tell_why_it_failed_ends_all_the_same() {
    let unknown = |bundle: Bundle| {
        bundle.write_program("bin/unknown", "no program");
        bundle.args(&["/bin/unknown"])
    };
    let ended = "ended before the program was executed";
    let fails = |bundle: &Bundle, says| {
        let _ = bundle.run().refused().says(says);
        assert_nothing_left(bundle);
        let _created = bundle.create();
        let _ = bundle.try_start().refused().says(says);
        assert_eq!(bundle.status(), "stopped");
    };
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let section = json!({"defaultAction": action, "syscalls": [
            rule(&["execve"], "SCMP_ACT_ALLOW")]});
        each_way(|| unknown(with_profile(section.clone())), |bundle| fails(&bundle, ended));
    }
    let refuses_all = with_profile(json!({"defaultAction": "SCMP_ACT_NOTIFY"}));
    let (bundle, _agent) = with_agent(refuses_all, &["errno", "1"]);
    fails(&bundle, ended);
    fails(&unknown(Bundle::new()), "Exec format error");
}

fn a_filter_is_loaded_in_a_new_user_namespace() {
    for (no_new_privileges, user) in [(true, 0), (true, 500), (false, 0), (false, 500)] {
        let bundle = mapped()
            .set("/linux/seccomp", all_but(&["reboot"], "SCMP_ACT_ERRNO"))
            .set("/process/noNewPrivileges", no_new_privileges)
            .set("/process/user", json!({"uid": user, "gid": user}))
            .args(&["sleep", "100"]);
        let created = bundle.create().start();
        assert_eq!(created.status_line("Seccomp"), "2");
        let effective = u64::from_str_radix(&created.status_line("CapEff"), 16);
        assert_eq!(effective.expect("hexadecimal") & 1 << 21, 0);
    }
}

fn each_flag_is_taken_with_a_real_filter() {
    let known: Value = Bundle::new().bare(&["features"]).finish().ok().json();
    let supported = known["linux"]["seccomp"]["supportedFlags"].as_array().expect("a list").clone();
    assert!(supported.contains(&json!("SECCOMP_FILTER_FLAG_LOG")), "{supported:?}");
    for flags in
        supported.iter().map(|flag| json!([flag])).chain([json!([]), supported.clone().into()])
    {
        let script = "mkdir /made 2>&1; grep -E '^Seccomp:' /proc/self/status";
        let section = |action| all_but(&["mkdir", "mkdirat"], action);
        let prints = "mkdir: can't create directory '/made': No space left on device\nSeccomp:\t2";
        let mut refused = section("SCMP_ACT_ERRNO");
        refused["syscalls"][0]["errnoRet"] = 28.into();
        let bundle = with_profile(refused).script(script);
        let _ = bundle.set("/linux/seccomp/flags", flags.clone()).run().ok().prints(prints);
        // One of them needs a listener.
        let bundle = with_profile(section("SCMP_ACT_NOTIFY")).script(script);
        let (bundle, _agent) = with_agent(bundle, &["errno", "28"]);
        let _ = bundle.set("/linux/seccomp/flags", flags).run().ok().prints(prints);
    }
}

// -------------------------------------------------------------------- the agent

/// An agent at work, for one bundle.
struct Agent {
    child: Child,
    says: Fifo,
    hears: Fifo,
}

impl Agent {
    fn begin(bundle: &Bundle, mode: &[&str]) -> Self {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        let program = PROGRAM.get_or_init(|| built("agent.c", &[]));
        let listener = UnixListener::bind(bundle.beside("agent.sock")).expect("bind");
        let (says, hears) = (Fifo::new(&bundle.beside("says")), Fifo::new(&bundle.beside("hears")));
        let child = Command::new(program)
            .args([&says.path(), &hears.path()])
            .args(mode)
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .spawn()
            .expect("the agent");
        Self { child, says, hears }
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.says.line()).expect("the state is JSON")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A bundle whose profile asks an agent for some calls, and that agent.
fn with_agent(bundle: Bundle, mode: &[&str]) -> (Bundle, Agent) {
    let agent = Agent::begin(&bundle, mode);
    let path = bundle.beside("agent.sock");
    let bundle = bundle.set("/linux/seccomp/listenerPath", path.to_str().expect("UTF-8"));
    (bundle, agent)
}

fn an_agent_decides_each_call() {
    let section = all_but(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY");
    let script = "mkdir /made 2>&1; test -d /made && echo made";
    for (mode, code, prints) in [
        (&["continue"][..], 0, "made"),
        (&["value", "0"], 1, ""),
        (&["errno", "28"], 1, "mkdir: can't create directory '/made': No space left on device"),
    ] {
        each_way(
            || with_profile(section.clone()).script(script),
            |bundle| {
                let bundle = bundle.set("/process/user", json!({"uid": 0, "gid": 0}));
                let (bundle, agent) = with_agent(bundle, mode);
                let _ = bundle.run().exits(code).prints(prints);
                let _ = agent.state();
                assert!(agent.says.line().starts_with("call "));
            },
        );
    }
}

fn an_agent_decides_what_the_runtime_itself_would_call() {
    for name in ["sendmsg", "fcntl", "read", "close", "seccomp", "execve", "exit_group"] {
        each_way(
            || with_end(all_but(&[name], "SCMP_ACT_NOTIFY")),
            |bundle| {
                let (bundle, _agent) = with_agent(bundle, &["continue"]);
                let _ = bundle.run().exits(7);
                assert_eq!(bundle.create().start().exit_code(), 7);
            },
        );
    }
    let (bundle, _agent) =
        with_agent(with_profile(all_but(&["execve"], "SCMP_ACT_NOTIFY")), &["errno", "28"]);
    let _ = bundle.run().refused().says("No space left on device");
}

/// Among them write, which no rule may name.
fn an_agent_decides_every_call_of_the_program() {
    each_way(
        || with_profile(json!({"defaultAction": "SCMP_ACT_NOTIFY"})).args(&["echo", "said"]),
        |bundle| {
            let (bundle, _agent) = with_agent(bundle, &["continue"]);
            let _ = bundle.run().ok().prints("said");
            let created = bundle.create().start();
            assert_eq!((created.exit_code(), created.stdout().as_str()), (0, "said\n"));
        },
    );
}

fn an_agent_is_told_of_the_container() {
    let bundle = with_profile(all_but(&["mkdir"], "SCMP_ACT_NOTIFY"))
        .set("/linux/seccomp/listenerMetadata", "MKDIR=/made")
        .set("/annotations/key", "value")
        .args(&["sleep", "1000"]);
    let (bundle, agent) = with_agent(bundle, &["continue"]);
    let created = bundle.create().start();
    let state = agent.state();
    let expected = json!({
        "ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": created.pid,
        "metadata": "MKDIR=/made",
        "state": {
            "ociVersion": state["ociVersion"], "id": bundle.id(), "status": "created",
            "pid": created.pid, "bundle": bundle.directory().to_str(),
            "rootfs": bundle.rootfs().to_str(), "annotations": {"key": "value"},
        },
    });
    assert_eq!(state, expected);
}

fn an_agent_is_told_of_an_executed_program() {
    let bundle =
        with_profile(all_but(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY")).args(&["sleep", "1000"]);
    let (bundle, agent) = with_agent(bundle, &["errno", "28"]);
    let created = bundle.create().start();
    let _ = agent.state();
    let exec = bundle.call(&["exec", bundle.id(), "mkdir", "/made"]).finish();
    let _ = exec.exits(1).says("No space left on device");
    let state = agent.state();
    assert_eq!(state["state"]["pid"], created.pid, "{state}");
    assert_eq!(state["state"]["status"], "running", "{state}");
    assert_ne!(state["pid"], created.pid, "{state}");
}

/// "ENOSYS" (seccomp_unotify(2)): the listener's last descriptor is closed.
fn an_agent_that_has_gone_leaves_calls_that_do_not_exist() {
    let script = "mkdir /made 2>&1";
    let bundle = with_profile(all_but(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY")).script(script);
    let (bundle, _agent) = with_agent(bundle, &["die"]);
    let _ = bundle
        .run()
        .exits(1)
        .prints("mkdir: can't create directory '/made': Function not implemented");
    let (bundle, _agent) =
        with_agent(with_profile(all_but(&["execve"], "SCMP_ACT_NOTIFY")), &["die"]);
    let _ = bundle.run().refused().says("Function not implemented");
}

fn an_agent_that_goes_before_start_fails_it() {
    let bundle = with_profile(all_but(&["mkdir"], "SCMP_ACT_NOTIFY"));
    let path = bundle.beside("agent.sock");
    let listener = UnixListener::bind(&path).expect("bind");
    let bundle = bundle.set("/linux/seccomp/listenerPath", path.to_str().expect("UTF-8"));
    let _created = bundle.create();
    // Not by its end: the child of another test may have it until its execve(2).
    let (connection, _) = listener.accept().expect("accept");
    connection.shutdown(Shutdown::Both).expect("shutdown");
    stop_listening(listener);
    let _ = bundle.try_start().refused().names("/linux/seccomp/listenerPath");
    assert_eq!(bundle.status(), "stopped");
}

fn an_agent_may_take_its_time() {
    for name in ["mkdir", "execve"] {
        let bundle =
            with_profile(all_but(&[name], "SCMP_ACT_NOTIFY")).script("mkdir /made && echo made");
        let (bundle, agent) = with_agent(bundle, &["slow"]);
        let running = bundle.begin();
        let _ = agent.state();
        assert!(agent.says.line().starts_with("call "));
        agent.hears.send("go on");
        let _ = running.finish().ok().prints("made");
    }
}

fn an_absent_agent_is_an_error_before_anything_is_created() {
    let bundle = with_profile(all_but(&["mkdir"], "SCMP_ACT_NOTIFY"));
    let path = bundle.beside("agent.sock");
    let path = path.to_str().expect("UTF-8");
    let bundle = bundle.set("/linux/seccomp/listenerPath", path);
    let _ = bundle
        .try_create()
        .refused()
        .names("/linux/seccomp/listenerPath")
        .says("No such file or directory");
    assert_nothing_left(&bundle);
    stop_listening(UnixListener::bind(path).expect("bind"));
    let _ = bundle
        .try_create()
        .refused()
        .names("/linux/seccomp/listenerPath")
        .says("Connection refused");
    assert_nothing_left(&bundle);
}

fn a_listener_path_that_is_too_long_is_refused() {
    let bundle = with_profile(all_but(&["mkdir"], "SCMP_ACT_NOTIFY"));
    let bundle = bundle.set("/linux/seccomp/listenerPath", format!("/{}", "a".repeat(108)));
    let _ = bundle
        .try_create()
        .refused()
        .names("/linux/seccomp/listenerPath")
        .says("109 bytes, at most 107");
    assert_nothing_left(&bundle);
}

// "If the SCMP_ACT_NOTIFY action is not used this value is ignored."
fn a_listener_that_nobody_needs_is_ignored() {
    let bundle = with_profile(all_but(&["mkdir"], "SCMP_ACT_ERRNO"));
    let _ = bundle.set("/linux/seccomp/listenerPath", "/nowhere").run().ok();
}

// ---------------------------------------------------------------- what is wrong

fn what_is_wrong_with_a_profile_is_told_before_anything_is_created() {
    // The largest number of such rules that is read: more, and the config is too long.
    let many: Vec<Value> = (0..50_000)
        .map(|value| {
            json!({"names": ["ioctl"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}]})
        })
        .collect();
    for (section, pointer) in [
        (json!({"defaultAction": "SCMP_ACT_NOTIFY"}), "/linux/seccomp/defaultAction"),
        (all_but(&["read"], "SCMP_ACT_NOTIFY"), "/linux/seccomp/syscalls/0/action"),
        (all_but(&["write"], "SCMP_ACT_NOTIFY"), "/linux/seccomp/syscalls/0/action"),
        (all_but(&["read"], "SCMP_ACT_X"), "/linux/seccomp/syscalls/0/action"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}), "/linux/seccomp/flags/0"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "/linux/seccomp/listenerMetadata",
        ),
        (json!({"defaultAction": 1}), "/linux/seccomp/defaultAction"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many}), "/linux/seccomp/syscalls"),
    ] {
        let bundle = with_profile(section);
        let _ = bundle.try_create().refused().names(pointer);
        assert_nothing_left(&bundle);
    }
}

fn an_unknown_call_is_skipped_unless_the_annotation_wants_it_refused() {
    let bundle = with_profile(all_but(&["read_minds"], "SCMP_ACT_ERRNO"));
    let _ = bundle.run().ok();
    let bundle = bundle.set("/annotations/run.oci.seccomp_fail_unknown_syscall", "1");
    let _ =
        bundle.try_create().refused().names("/linux/seccomp/syscalls/0/names/0").says("read_minds");
}
