//! Containers whose cgroup systemd makes (`--systemd-cgroup`), with the real systemd.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, Created};
use crate::call::{Output, host};
use crate::case::table;
use crate::cgroup::directory_of;
use crate::sleeper::Sleeper;
use crate::user::of_user;

table!(Root, Busybox, File("/run/systemd/private"), File("/run/dbus/system_bus_socket"),
    Program("systemctl"), Hull("its units have other names");
    the_container_process_is_alone_in_its_scope,
    a_slice_is_in_those_that_its_name_begins_with,
    limits_are_files_and_properties,
    limits_and_device_rules_survive_a_daemon_reload,
    a_limit_of_one_process_is_kept,
    an_update_survives_a_daemon_reload,
    an_annotation_is_a_property,
    what_systemd_refuses_is_said_in_its_words,
    a_scope_of_somebody_else_is_refused_and_stays,
    the_name_of_a_scope_that_failed_can_be_had,
    a_failed_create_leaves_no_unit,
    delete_removes_cgroups_that_the_container_made,
    a_scope_that_got_the_name_later_is_left_alone,
    an_update_that_systemd_is_not_told_changes_nothing,
    a_user_has_scopes_of_his_own_manager[File(BUS_OF_USER), Program("setpriv")],
    a_user_has_them_from_a_cgroup_that_is_not_his_too[File(BUS_OF_USER), Program("setpriv")],
    a_program_of_a_user_ends_with_its_exit_status[File(BUS_OF_USER), Program("setpriv")],
    device_rules_of_a_user_are_refused[File(BUS_OF_USER), Program("setpriv")],
    limits_of_a_user_survive_a_daemon_reload[File(BUS_OF_USER), Program("setpriv")],
    containers_one_after_another_leave_no_unit,
    containers_at_once_leave_no_unit,
);

fn bundle() -> Bundle {
    let bundle = Bundle::new();
    let path = format!("system.slice:test:{}", bundle.id());
    bundle.set("/linux/cgroupsPath", path.as_str())
}

fn unit(bundle: &Bundle) -> String {
    format!("test-{}.scope", bundle.id())
}

fn create(bundle: &Bundle) -> Created<'_> {
    bundle.create_with(&["--systemd-cgroup"])
}

fn run(bundle: &Bundle) -> Output {
    bundle.call_with("run", &["--systemd-cgroup"]).finish()
}

fn file(container: &Created<'_>, name: &str) -> String {
    let text = fs::read_to_string(directory_of(container.pid).join(name)).expect(name);
    text.trim().to_owned()
}

fn property(bundle: &Bundle, name: &str) -> String {
    let argv = ["systemctl", "show", "--value", "-p", name, &unit(bundle)];
    host(&argv).trim().to_owned()
}

/// What systemd knows of units of these tests, dead ones too.
fn units(pattern: &str) -> String {
    host(&["systemctl", "list-units", "--all", "--no-legend", "--plain", pattern])
}

fn reload() {
    host(&["systemctl", "daemon-reload"]);
}

fn the_container_process_is_alone_in_its_scope() {
    let bundle = bundle();
    let container = create(&bundle);
    assert!(directory_of(container.pid).ends_with(format!("system.slice/{}", unit(&bundle))));
    assert_eq!(file(&container, "cgroup.procs"), container.pid.to_string());
    assert_eq!(property(&bundle, "Delegate"), "yes");
    let _ = bundle.delete().ok();
    assert_eq!(units(&unit(&bundle)), "");
}

/// A slice, stopped with all in it when it is dropped.
struct Slice(String);

impl Drop for Slice {
    fn drop(&mut self) {
        Command::new("systemctl").args(["stop", &self.0]).status().ok();
    }
}

fn a_slice_is_in_those_that_its_name_begins_with() {
    let name = format!("hulltest{}", std::process::id());
    let outer = Slice(format!("{name}.slice"));
    let path = format!("{name}-inner.slice::{name}+two");
    let bundle = Bundle::new().set("/linux/cgroupsPath", path);
    let container = create(&bundle);
    let path = format!("{}/{name}-inner.slice/{name}\\x2btwo.scope", outer.0);
    assert!(directory_of(container.pid).ends_with(path), "{:?}", directory_of(container.pid));
    let _ = bundle.delete().ok();
}

fn limited() -> Bundle {
    bundle().set(
        "/linux/resources",
        json!({
            "memory": { "limit": 104_857_600, "swap": 104_857_600, "reservation": 52_428_800 },
            "cpu": { "shares": 512, "quota": 33_333, "period": 100_000, "cpus": "0" },
            "pids": { "limit": 20 },
            "unified": { "memory.high": "90M", "memory.oom.group": "1", "io.weight": "200" },
            "devices": [{ "allow": false, "access": "rwm" }],
        }),
    )
}

const FILES: [(&str, &str); 10] = [
    ("memory.max", "104857600"),
    ("memory.swap.max", "0"),
    ("memory.low", "52428800"),
    ("memory.high", "94371840"),
    ("memory.oom.group", "1"),
    ("cpu.weight", "59"),
    // Whole percents of a processor: what systemd keeps.
    ("cpu.max", "34000 100000"),
    ("cpuset.cpus", "0"),
    ("pids.max", "20"),
    ("io.weight", "default 200"),
];

fn limits_are_files_and_properties() {
    let bundle = limited();
    let container = create(&bundle);
    for (name, value) in FILES {
        assert_eq!(file(&container, name), value, "{name}");
    }
    for (name, value) in [
        ("MemoryMax", "104857600"),
        ("MemorySwapMax", "0"),
        ("MemoryLow", "52428800"),
        ("MemoryHigh", "94371840"),
        ("CPUWeight", "59"),
        ("CPUQuotaPerSecUSec", "340ms"),
        ("AllowedCPUs", "0"),
        ("TasksMax", "20"),
        ("IOWeight", "200"),
    ] {
        assert_eq!(property(&bundle, name), value, "{name}");
    }
}

// runc issues 3708 and 4568: what systemd does not know is gone when it reads its configuration again.
fn limits_and_device_rules_survive_a_daemon_reload() {
    let bundle = limited().set(
        "/linux/devices",
        json!([{ "path": "/dev/loop0", "type": "b", "major": 7, "minor": 0 }]),
    );
    let (ask, answer) = (bundle.fifo("ask"), bundle.fifo("answer"));
    let script = "while read x < /ask; do \
        for device in null loop0; do (: < /dev/$device) 2>&1 && echo opened; done > /answer; done";
    let bundle = bundle.script(script);
    let container = create(&bundle).start();
    reload();
    for (name, value) in FILES {
        assert_eq!(file(&container, name), value, "{name}");
    }
    fs::write(ask.path(), "now\n").expect("the program reads it");
    assert_eq!(answer.line(), "opened", "/dev/null");
    let said = answer.line();
    assert!(said.contains("Operation not permitted"), "/dev/loop0: {said}");
}

// A scope is made around a process that is not the container's.
fn a_limit_of_one_process_is_kept() {
    for limit in [1, 2] {
        let bundle = bundle().set("/linux/resources", json!({ "pids": { "limit": limit } }));
        let container = create(&bundle);
        assert_eq!(file(&container, "pids.max"), limit.to_string());
        assert_eq!(file(&container, "pids.current"), "1");
        reload();
        assert_eq!(file(&container, "pids.max"), limit.to_string());
    }
}

fn an_update_survives_a_daemon_reload() {
    let bundle = limited();
    let container = create(&bundle);
    let _ = bundle.operate(&["update", "--memory", "209715200", "--memory-swap", "-1"]).ok();
    let _ = bundle.operate(&["update", "--cpu-quota", "44000", "--pids-limit", "30"]).ok();
    reload();
    assert_eq!(file(&container, "memory.max"), "209715200");
    assert_eq!(file(&container, "memory.swap.max"), "max");
    assert_eq!(file(&container, "cpu.max"), "44000 100000");
    assert_eq!(file(&container, "pids.max"), "30");
    // What was not given.
    assert_eq!(file(&container, "cpu.weight"), "59");
    assert_eq!(property(&bundle, "MemoryMax"), "209715200");
}

fn an_annotation_is_a_property() {
    let bundle = bundle().set(
        "/annotations",
        json!({ "org.systemd.property.TimeoutStopSec": "uint64 7",
                "org.systemd.property.Description": "'a test'" }),
    );
    create(&bundle);
    assert_eq!(property(&bundle, "TimeoutStopUSec"), "7s");
    assert_eq!(property(&bundle, "Description"), "a test");
}

fn what_systemd_refuses_is_said_in_its_words() {
    let bundle =
        bundle().set("/annotations", json!({ "org.systemd.property.NoSuchProperty": "true" }));
    let create = bundle.try_create_with(&["--systemd-cgroup"]).refused();
    let create = create.says("NoSuchProperty");
    let _ = create.says(&format!("StartTransientUnit(\"{}\")", unit(&bundle)));
}

fn a_scope_of_somebody_else_is_refused_and_stays() {
    let bundle = bundle();
    let mut other = scope_of_somebody_else(&bundle, &[], ":");
    let _ = bundle.try_create_with(&["--systemd-cgroup"]).refused().says("already");
    assert!(other.is_alive(), "the other scope was ended");
}

/// A scope of the name that the bundle's would have, with these options of systemd-run(1). It is there: its program
/// has begun, after this command of the shell.
fn scope_of_somebody_else(bundle: &Bundle, options: &[&str], command: &str) -> Sleeper {
    let ready = bundle.fifo("ready");
    let unit = unit(bundle);
    let script = format!("{command}; echo ready > {}; while :; do sleep 1000; done", ready.path());
    let scope = ["systemd-run", "--scope", "--quiet", "--unit", &unit];
    let sleeper = Sleeper::begin(&[&scope[..], options, &["sh", "-c", &script]].concat());
    assert_eq!(ready.line(), "ready");
    sleeper
}

fn the_name_of_a_scope_that_failed_can_be_had() {
    let bundle = bundle();
    let unit = unit(&bundle);
    // Its process does not end in time.
    let options = ["-p", "TimeoutStopSec=1ms"];
    let _killed = scope_of_somebody_else(&bundle, &options, "trap : TERM");
    host(&["systemctl", "stop", &unit]);
    assert_eq!(property(&bundle, "ActiveState"), "failed");
    let _ = run(&bundle.script("true")).ok();
    assert_eq!(units(&unit), "");
}

fn a_failed_create_leaves_no_unit() {
    let bundle = bundle().mount("bind", "/no/such/source", "/mnt", &["bind"]);
    let _ = bundle.try_create_with(&["--systemd-cgroup"]).refused();
    assert_eq!(units(&unit(&bundle)), "");
}

fn delete_removes_cgroups_that_the_container_made() {
    let bundle = bundle();
    let container = create(&bundle);
    let directory = directory_of(container.pid);
    fs::create_dir_all(directory.join("made/inside")).expect("mkdir");
    bundle.start();
    container.ended();
    let _ = bundle.delete().ok();
    assert!(!directory.exists());
    assert_eq!(units(&unit(&bundle)), "");
}

// systemd ends a scope with its last process.
fn a_scope_that_got_the_name_later_is_left_alone() {
    let bundle = bundle().args(&["sleep", "1000"]);
    let container = create(&bundle).start();
    let _ = bundle.kill("KILL").ok();
    container.ended();
    // Until systemd is done with it, if it is not done yet.
    host(&["sh", "-c", &format!("systemctl stop {} || :", unit(&bundle))]);
    let kill = |signal| bundle.call(&["kill", "--all", bundle.id(), signal]).finish().ok();
    let _ = (kill("TERM"), kill("KILL"));
    let mut other = scope_of_somebody_else(&bundle, &[], ":");
    let _ = (kill("TERM"), kill("KILL"), bundle.delete().ok());
    assert!(other.is_alive(), "the other scope was ended");
}

fn an_update_that_systemd_is_not_told_changes_nothing() {
    let bundle = limited();
    let container = create(&bundle);
    let update = ["update", "--memory", "209715200", "--memory-swap", "-1", bundle.id()];
    let call = bundle.call(&update).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/bus");
    let _ = call.finish().refused().says("/no/bus");
    for (name, value) in FILES {
        assert_eq!(file(&container, name), value, "{name}");
    }
}

/// A user whom every host has; hack/check starts his service manager in its machine.
const USER: &str = "65534";
const BUS_OF_USER: &str = "/run/user/65534/bus";

/// A command of this user.
fn of_this_user<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let setpriv =
        ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps=-all"];
    [&setpriv, &["env", "XDG_RUNTIME_DIR=/run/user/65534"][..], words].concat()
}

/// A bundle of his, who calls the runtime by this command.
fn bundle_of_user(through: &[&str]) -> Bundle {
    of_user(USER.parse().expect("a number")).through(&of_this_user(through))
}

/// In a scope of his manager, as podman begins.
const IN_SCOPE: [&str; 5] = ["systemd-run", "--user", "--scope", "--quiet", "--"];

/// What his manager is asked.
fn systemctl_of_user(words: &[&str]) -> String {
    let systemctl = of_this_user(&["systemctl", "--user"]);
    host(&[&systemctl[..], words].concat()).trim().to_owned()
}

fn a_user_has_scopes_of_his_own_manager() {
    lives_in_a_scope(bundle_of_user(&IN_SCOPE));
}

// cgroup-v2.rst, "Delegation Containment": the cgroup of a login is none of the manager's.
fn a_user_has_them_from_a_cgroup_that_is_not_his_too() {
    lives_in_a_scope(bundle_of_user(&[]));
}

fn lives_in_a_scope(bundle: Bundle) {
    let bundle = bundle.args(&["sleep", "1000"]);
    let container = create(&bundle).start();
    let unit = format!("hull-{}.scope", bundle.id());
    let path = format!("user.slice/user-{USER}.slice/user@{USER}.service/user.slice/{unit}");
    assert!(directory_of(container.pid).ends_with(path), "{:?}", directory_of(container.pid));
    assert_eq!(file(&container, "cgroup.procs"), container.pid.to_string());
    // The root of its cgroup namespace.
    let _ = bundle.call(&["exec", bundle.id(), "cat", "/proc/self/cgroup"]).finish().prints("0::/");
    let _ = bundle.kill("KILL").ok();
    container.ended();
    let _ = bundle.delete().ok();
    let left = systemctl_of_user(&["list-units", "--all", "--no-legend", "--plain", &unit]);
    assert_eq!(left, "");
}

fn a_program_of_a_user_ends_with_its_exit_status() {
    let _ = run(&bundle_of_user(&[]).script("exit 7")).exits(7);
}

fn device_rules_of_a_user_are_refused() {
    let rules = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    let bundle = bundle_of_user(&[]).set("/linux/resources", rules);
    let create = bundle.try_create_with(&["--systemd-cgroup"]).refused();
    let _ = create.names("/linux/resources/devices").says("by an ordinary user");
}

fn limits_of_a_user_survive_a_daemon_reload() {
    let limits = json!({ "memory": { "limit": 104_857_600 }, "pids": { "limit": 20 } });
    let bundle = bundle_of_user(&IN_SCOPE).set("/linux/resources", limits);
    let container = create(&bundle);
    systemctl_of_user(&["daemon-reload"]);
    assert_eq!(file(&container, "memory.max"), "104857600");
    assert_eq!(file(&container, "pids.max"), "20");
    let _ = bundle.operate(&["update", "--pids-limit", "30"]).ok();
    systemctl_of_user(&["daemon-reload"]);
    assert_eq!(file(&container, "pids.max"), "30");
}

/// How many: `HULL_TEST_CYCLES`, or a few.
fn cycles() -> usize {
    std::env::var("HULL_TEST_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

fn containers_one_after_another_leave_no_unit() {
    let bundle = bundle().script("true");
    for _ in 0..cycles() {
        let _ = run(&bundle).ok();
    }
    assert_eq!(units(&unit(&bundle)), "");
}

fn containers_at_once_leave_no_unit() {
    let bundles: Vec<Bundle> = (0..cycles()).map(|_| bundle().script("true")).collect();
    let begin = |bundle: &Bundle| bundle.call_with("run", &["--systemd-cgroup"]).begin();
    let running: Vec<_> = bundles.iter().map(begin).collect();
    for output in running {
        let _ = output.finish().ok();
    }
    for bundle in &bundles {
        assert_eq!(units(&unit(bundle)), "");
    }
}
