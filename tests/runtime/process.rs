//! The process that the container runs: config.md, "Process"; without credentials, terminal and program lookup, which
//! have files of their own.

use serde_json::json;

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;

table!(Root, Busybox;
    the_arguments_reach_the_program_unchanged,
    the_working_directory_is_cwd,
    a_missing_working_directory_is_made,
    a_working_directory_through_a_symlink_stays_in_the_rootfs,
    a_relative_working_directory_is_refused,
    a_working_directory_that_is_a_file_is_refused,
    the_environment_is_what_the_config_says,
    home_comes_from_the_passwd_file,
    home_is_the_root_without_a_passwd_entry,
    a_home_of_the_config_stays,
    the_last_of_two_values_of_a_variable_wins[Hull("runc 1.1.5 passes both")],
    an_environment_entry_without_a_value_is_refused[Hull("runc 1.1.5 passes it on")],
    the_runtimes_own_environment_stays_outside,
    the_user_and_group_are_those_of_the_config,
    additional_groups_are_those_of_the_config,
    no_additional_groups_are_inherited,
    the_umask_is_that_of_the_config,
    the_umask_of_the_caller_stays_without_one[Hull("runc 1.1.5 sets 022")],
    the_standard_streams_belong_to_the_user,
    a_resource_limit_is_set,
    a_resource_limit_given_twice_is_refused[Hull("runc 1.1.5 takes the last one")],
    an_unknown_resource_limit_is_refused,
    no_new_privileges_is_set,
    no_new_privileges_is_not_set_when_false,
    the_oom_score_is_raised,
    the_oom_score_stays_without_one,
    the_scheduling_policy_is_set[Hull("runc 1.1.5 knows no scheduler")],
    the_nice_value_is_set[Hull("runc 1.1.5 knows no scheduler")],
    an_unknown_scheduling_policy_is_refused[Hull("runc 1.1.5 knows no scheduler")],
    a_real_time_priority_of_an_ordinary_policy_is_refused[Hull("runc 1.1.5 knows no scheduler")],
    the_io_priority_is_set[Hull("runc 1.1.5 knows no ioPriority")],
    an_io_priority_out_of_range_is_refused[Hull("runc 1.1.5 knows no ioPriority")],
    an_unknown_io_priority_class_is_refused[Hull("runc 1.1.5 knows no ioPriority")],
    the_processors_are_those_of_the_cgroup_whoever_calls[Program("taskset"), Hull("runc 1.1.5 leaves those of the caller")],
    the_personality_is_that_of_the_config[Hull("runc 1.1.5 knows no personality")],
    the_personality_linux_is_the_ordinary_one,
    an_unknown_personality_is_refused[Hull("runc 1.1.5 knows no personality")],
    hostname_and_domainname_are_set_in_the_container[Hull("runc 1.1.5 knows no domainname")],
    a_hostname_without_a_uts_namespace_is_refused,
    the_hosts_name_stays,
    the_process_is_pid_1_of_its_own_session_or_group,
    unknown_properties_are_ignored,
    a_missing_args_list_is_refused,
    empty_args_are_refused,
);

fn the_arguments_reach_the_program_unchanged() {
    let bundle = Bundle::new().args(&["printf", "<%s>", "a b", "", "*", "$HOME", "\u{e9}\n"]);
    let _ = bundle.run().ok().prints("<a b><><*><$HOME><\u{e9}\n>");
}

// cwd "is the working directory that will be set for the executable."
fn the_working_directory_is_cwd() {
    let bundle = Bundle::new().set("/process/cwd", "/usr").args(&["pwd"]);
    let _ = bundle.run().ok().prints("/usr");
}

// What runc and crun do, and images rely on.
fn a_missing_working_directory_is_made() {
    let bundle = Bundle::new().set("/process/cwd", "/made/for/it").args(&["pwd"]);
    let _ = bundle.run().ok().prints("/made/for/it");
}

fn a_working_directory_through_a_symlink_stays_in_the_rootfs() {
    let bundle = Bundle::new().set("/process/cwd", "/link").script("pwd -P; ls");
    bundle.mkdir("inside");
    bundle.write("inside/file", "");
    bundle.link("/inside", "link");
    let _ = bundle.run().ok().prints("/inside\nfile");
}

// "This value MUST be an absolute path."
fn a_relative_working_directory_is_refused() {
    for cwd in ["usr", "", "./usr"] {
        let _ = Bundle::new().set("/process/cwd", cwd).try_create().refused().names("/process/cwd");
    }
    let _ = Bundle::new().set("/process/cwd", "/usr").run().ok();
}

fn a_working_directory_that_is_a_file_is_refused() {
    let bundle = Bundle::new().set("/process/cwd", "/file");
    bundle.write("file", "");
    let _ = bundle.run().refused().says("not a directory");
}

fn the_environment_is_what_the_config_says() {
    let bundle = Bundle::new()
        .set("/process/env", json!(["PATH=/bin", "A=1 2", "B=", "C==x", "HOME=/h"]))
        .args(&["env"]);
    let output = bundle.run().ok();
    let mut lines = output.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["A=1 2", "B=", "C==x", "HOME=/h", "PATH=/bin"]);
}

fn home_comes_from_the_passwd_file() {
    let bundle =
        Bundle::new().set("/process/user", json!({"uid": 1234, "gid": 5})).script("echo $HOME");
    bundle.write(
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nsomeone:x:1234:5::/home/someone:/bin/sh\n",
    );
    let _ = bundle.run().ok().prints("/home/someone");
}

fn home_is_the_root_without_a_passwd_entry() {
    let bundle =
        Bundle::new().set("/process/user", json!({"uid": 1234, "gid": 5})).script("echo $HOME");
    let _ = bundle.run().ok().prints("/");
}

fn a_home_of_the_config_stays() {
    let bundle = Bundle::new().set("/process/env/-", "HOME=/elsewhere").script("echo $HOME");
    bundle.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    let _ = bundle.run().ok().prints("/elsewhere");
}

fn the_last_of_two_values_of_a_variable_wins() {
    let bundle = Bundle::new().set("/process/env", json!(["PATH=/bin", "A=1", "B=2", "A=3"]));
    let output = bundle.args(&["env"]).run().ok();
    let ours: Vec<_> = output.lines().into_iter().filter(|line| line.starts_with("A=")).collect();
    assert_eq!(ours, ["A=3"]);
}

fn an_environment_entry_without_a_value_is_refused() {
    for entry in ["NAME", "=value"] {
        let _ = Bundle::new()
            .set("/process/env/-", entry)
            .try_create()
            .refused()
            .names("/process/env/2");
    }
}

fn the_runtimes_own_environment_stays_outside() {
    let bundle = Bundle::new().args(&["env"]);
    let output = bundle.call_with("run", &[]).env("SECRET", "secret").finish().ok();
    assert!(
        !output.stdout.contains("SECRET") && !output.stdout.contains("_LIBCONTAINER"),
        "{output}"
    );
    assert!(!output.stdout.contains("HULL"), "{output}");
}

// uid and gid: "in the container namespace".
fn the_user_and_group_are_those_of_the_config() {
    let bundle = Bundle::new().set("/process/user", json!({"uid": 1001, "gid": 1002}));
    let script = "id -u; id -g; grep -E '^(Uid|Gid):' /proc/self/status | tr '\\t' ' '; touch /tmp/file; stat -c %u:%g /tmp/file";
    let bundle = bundle.script(script);
    let expected = "1001\n1002\nUid: 1001 1001 1001 1001\nGid: 1002 1002 1002 1002\n1001:1002";
    let _ = bundle.run().ok().prints(expected);
}

// "additionalGids [...] specifies additional group IDs in the container namespace to be added to the process."
fn additional_groups_are_those_of_the_config() {
    let bundle = Bundle::new()
        .set("/process/user", json!({"uid": 1, "gid": 2, "additionalGids": [7, 3, 100_000]}));
    let output = bundle.args(&["grep", "Groups", "/proc/self/status"]).run().ok();
    let mut groups: Vec<_> = output.stdout.split_whitespace().skip(1).collect();
    groups.sort_unstable();
    assert_eq!(groups, ["100000", "3", "7"]);
}

fn no_additional_groups_are_inherited() {
    let bundle = Bundle::new().through(&["setpriv", "--groups", "4,5,6"]);
    let output = bundle.args(&["grep", "Groups", "/proc/self/status"]).run().ok();
    assert_eq!(output.stdout.trim(), "Groups:");
}

// "umask (int, OPTIONAL) specifies the umask of the user."
fn the_umask_is_that_of_the_config() {
    let bundle = Bundle::new().set("/process/user/umask", 0o027).script("umask; umask -S");
    let _ = bundle.run().ok().prints("0027\nu=rwx,g=rx,o=");
}

// "If unspecified, the umask should not be changed from the calling process' umask."
fn the_umask_of_the_caller_stays_without_one() {
    let bundle =
        Bundle::new().through(&["sh", "-c", "umask 0055; exec \"$@\"", "sh"]).script("umask");
    let _ = bundle.run().ok().prints("0055");
}

fn the_standard_streams_belong_to_the_user() {
    let bundle = Bundle::new().set("/process/user", json!({"uid": 1001, "gid": 1001}));
    let script = "echo out > /dev/stdout && echo err > /dev/stderr && echo ok";
    let output = bundle.script(script).run().ok();
    assert!(output.stdout.contains("ok") && output.stderr.contains("err"), "{output}");
}

// "rlim.rlim_cur MUST match the configured value. [...] rlim.rlim_max MUST match the configured value."
fn a_resource_limit_is_set() {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1000},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 100, "hard": 200}
    ]);
    let bundle = Bundle::new().set("/process/rlimits", limits).args(&["sleep", "1000"]);
    let limits = bundle.create().start().proc("limits");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(limit("Max open files"), "512 1000");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max processes"), "100 200");
}

// "If rlimits contains duplicated entries with same type, the runtime MUST generate an error."
fn a_resource_limit_given_twice_is_refused() {
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 512, "hard": 512});
    let bundle = Bundle::new().set("/process/rlimits", json!([limit, limit]));
    let _ = bundle.try_create().refused().names("/process/rlimits/1");
}

// "The runtime MUST generate an error for any values which cannot be mapped to a relevant kernel interface."
fn an_unknown_resource_limit_is_refused() {
    let bundle = Bundle::new()
        .set("/process/rlimits", json!([{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]));
    let _ = bundle.try_create().refused().names("/process/rlimits/0").says("RLIMIT_NONE");
}

// "setting noNewPrivileges to true prevents the process from gaining additional privileges."
fn no_new_privileges_is_set() {
    let bundle = Bundle::new().args(&["grep", "NoNewPrivs", "/proc/self/status"]);
    let _ = bundle.run().ok().prints("NoNewPrivs:\t1");
}

fn no_new_privileges_is_not_set_when_false() {
    let bundle = Bundle::new().set("/process/noNewPrivileges", false).args(&[
        "grep",
        "NoNewPrivs",
        "/proc/self/status",
    ]);
    let _ = bundle.run().ok().prints("NoNewPrivs:\t0");
}

// "If oomScoreAdj is set, the runtime MUST set oom_score_adj to the given value."
fn the_oom_score_is_raised() {
    let bundle =
        Bundle::new().set("/process/oomScoreAdj", 321).args(&["cat", "/proc/self/oom_score_adj"]);
    let _ = bundle.run().ok().prints("321");
}

// "If oomScoreAdj is not set, the runtime MUST NOT change the value of oom_score_adj."
fn the_oom_score_stays_without_one() {
    let bundle = Bundle::new().args(&["cat", "/proc/self/oom_score_adj"]);
    let raised =
        bundle.through(&["sh", "-c", "echo 123 > /proc/self/oom_score_adj; exec \"$@\"", "sh"]);
    let _ = raised.run().ok().prints("123");
}

/// The fields of /proc/self/stat that proc(5) numbers.
fn stat_fields(bundle: Bundle, numbers: &[usize]) -> Vec<String> {
    let output = bundle.args(&["cat", "/proc/self/stat"]).run().ok();
    let (_, rest) = output.stdout.trim().rsplit_once(") ").expect("the name's end");
    let fields: Vec<_> = rest.split(' ').collect();
    numbers.iter().map(|number| fields[number - 3].to_owned()).collect()
}

fn the_scheduling_policy_is_set() {
    for (policy, number) in [("SCHED_OTHER", "0"), ("SCHED_BATCH", "3"), ("SCHED_IDLE", "5")] {
        let bundle = Bundle::new().set("/process/scheduler", json!({"policy": policy}));
        assert_eq!(stat_fields(bundle, &[41]), [number], "{policy}");
    }
    for (policy, number) in [("SCHED_FIFO", "1"), ("SCHED_RR", "2")] {
        let bundle =
            Bundle::new().set("/process/scheduler", json!({"policy": policy, "priority": 7}));
        assert_eq!(stat_fields(bundle, &[41, 40]), [number, "7"], "{policy}");
    }
}

fn the_nice_value_is_set() {
    let bundle =
        Bundle::new().set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 5}));
    assert_eq!(stat_fields(bundle, &[41, 19]), ["0", "5"]);
}

fn an_unknown_scheduling_policy_is_refused() {
    for policy in ["SCHED_NONE", "", "other"] {
        let bundle = Bundle::new().set("/process/scheduler", json!({"policy": policy}));
        let _ = bundle.try_create().refused().names("/process/scheduler/policy");
    }
}

// sched_setattr(2): the priority of SCHED_OTHER is 0.
fn a_real_time_priority_of_an_ordinary_policy_is_refused() {
    let bundle =
        Bundle::new().set("/process/scheduler", json!({"policy": "SCHED_OTHER", "priority": 5}));
    let _ = bundle.try_create().refused().names("/process/scheduler");
}

fn the_io_priority_is_set() {
    for (class, name) in
        [("IOPRIO_CLASS_BE", "best-effort: prio 3"), ("IOPRIO_CLASS_RT", "realtime: prio 3")]
    {
        let bundle =
            Bundle::new().set("/process/ioPriority", json!({"class": class, "priority": 3}));
        let bundle = bundle.args(&["sleep", "1000"]);
        let container = bundle.create().start();
        assert_eq!(call::host(&["ionice", "-p", &container.pid.to_string()]).trim(), name);
    }
    let bundle = Bundle::new()
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}));
    let bundle = bundle.args(&["sleep", "1000"]);
    let container = bundle.create().start();
    assert_eq!(call::host(&["ionice", "-p", &container.pid.to_string()]).trim(), "idle");
}

// "The value should be an integer ranging from 0 (highest) to 7 (lowest)."
fn an_io_priority_out_of_range_is_refused() {
    for priority in [-1, 8, 100] {
        let bundle = Bundle::new()
            .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": priority}));
        let _ = bundle.try_create().refused().names("/process/ioPriority");
    }
}

fn an_unknown_io_priority_class_is_refused() {
    let bundle = Bundle::new()
        .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_NONE", "priority": 1}));
    let _ = bundle.try_create().refused().names("/process/ioPriority");
}

// Since 6.2 a process keeps what its parent had asked for, in another cgroup too.
fn the_processors_are_those_of_the_cgroup_whoever_calls() {
    let allowed = "grep Cpus_allowed_list /proc/self/status | cut -f 2";
    let all = call::host(&["taskset", "-c", "0-1023", "sh", "-c", allowed]);
    let bundle = Bundle::new().through(&["taskset", "-c", "0"]);
    let _ = bundle.script(allowed).run().ok().prints(all.trim_end());
}

// "LINUX32 will set the uname system call to show a 32 bit CPU type, such as i686."
fn the_personality_is_that_of_the_config() {
    let bundle = Bundle::new()
        .set("/linux/personality", json!({"domain": "LINUX32"}))
        .args(&["uname", "-m"]);
    let output = bundle.run().ok();
    assert!(["i686", "armv8l"].contains(&output.stdout.trim()), "{output}");
}

fn the_personality_linux_is_the_ordinary_one() {
    let bundle =
        Bundle::new().set("/linux/personality", json!({"domain": "LINUX"})).args(&["uname", "-m"]);
    let _ = bundle.run().ok().prints(std::env::consts::ARCH);
}

fn an_unknown_personality_is_refused() {
    let bundle = Bundle::new().set("/linux/personality", json!({"domain": "SVR4"}));
    let _ = bundle.try_create().refused().names("/linux/personality");
    let bundle = Bundle::new()
        .set("/linux/personality", json!({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}));
    let _ = bundle.try_create().refused().names("/linux/personality");
}

fn hostname_and_domainname_are_set_in_the_container() {
    let bundle = Bundle::new().set("/hostname", "myhost").set("/domainname", "example.org");
    let bundle = bundle.args(&["cat", "/proc/sys/kernel/hostname", "/proc/sys/kernel/domainname"]);
    let _ = bundle.run().ok().prints("myhost\nexample.org");
}

// "Depending on your namespace configuration, the container UTS namespace may be the runtime UTS namespace."
fn a_hostname_without_a_uts_namespace_is_refused() {
    let _ = Bundle::new().without_namespace("uts").try_create().refused().names("/hostname");
    let _ = Bundle::new().without_namespace("uts").without("/hostname").run().ok();
    let bundle = Bundle::new()
        .without_namespace("uts")
        .without("/hostname")
        .set("/domainname", "example.org");
    if !call::is_peer() {
        let _ = bundle.try_create().refused().names("/domainname");
    }
}

fn the_hosts_name_stays() {
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name");
    let _ =
        Bundle::new().set("/hostname", "another").args(&["hostname"]).run().ok().prints("another");
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/hostname").expect("the host's name"),
        before
    );
}

fn the_process_is_pid_1_of_its_own_session_or_group() {
    let _ = Bundle::new()
        .script("echo $$; cut -d' ' -f1,6 /proc/self/stat | grep -c ' 1$'")
        .run()
        .ok()
        .prints("1\n1");
}

// "Runtimes MAY log unknown properties but MUST otherwise ignore them."
fn unknown_properties_are_ignored() {
    let bundle = Bundle::new()
        .set("/unknown", json!({"a": [1]}))
        .set("/process/unknown", "x")
        .set("/root/unknown", true)
        .set("/linux/unknown", json!(null))
        .set("/mounts/0/unknown", 1)
        .set("/windows", json!({"layerFolders": []}))
        .set("/vm", json!({}));
    let _ = bundle.args(&["echo", "ran"]).run().ok().prints("ran");
}

// "at least one entry is REQUIRED (non-Windows)"
fn a_missing_args_list_is_refused() {
    let _ = Bundle::new().without("/process/args").try_create().refused().names("/process/args");
}

fn empty_args_are_refused() {
    let _ =
        Bundle::new().set("/process/args", json!([])).try_create().refused().names("/process/args");
    let _ = Bundle::new().args(&["true"]).run().ok();
}
