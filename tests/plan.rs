//! What is made of a config, without a kernel: the plan as text, the errors with their places, the
//! reader and the limits beside others' (`plan/oracle.rs`, `plan/limits.rs`), the program of device
//! rules (`plan/device_program.rs`), and properties on made-up input (`plan/random.rs`).
//!
//! Each `plan/*.json` (systemd makes the cgroup where it is in the name) has a `.txt` with its plan, or of one that is called `wrong-*` with all that
//! is wrong in it. After a change that is meant, `HULL_BLESS=1 cargo test --test plan` writes the
//! texts anew, to be read before they are committed; twice, if what `hull spec` writes has changed.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use hull::bundle;
use hull::host::{Host, Where};
use hull::plan::cgroup::Manager;
use hull::plan::mount_options::WORDS;
use hull::plan::{Plan, Request, plan};
use hull::spec::config::Spec;
use serde_json::Value;

#[path = "plan/device_program.rs"]
mod device_program;
#[path = "plan/limits.rs"]
mod limits;
#[path = "plan/oracle.rs"]
mod oracle;
#[path = "plan/random.rs"]
mod random;

// ------------------------------------------------------------------ the plan

#[test]
fn the_plan_of_a_config_is_the_one_that_was_read_and_found_right() {
    let mut changed = Vec::new();
    for name in names() {
        let text = match planned(&name, &host(&name)) {
            Ok(plan) => plan_text(&plan),
            Err(error) => problems(&error).join("\n") + "\n",
        };
        let path = folder().join(&name).with_extension("txt");
        if env::var_os("HULL_BLESS").is_some() {
            fs::write(&path, &text).expect("the folder of this test can be written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if text != expected {
            changed.push(format!("{name}.txt, is now:\n{text}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

#[test]
fn only_the_configs_called_wrong_are_refused() {
    let refused = names().into_iter().filter(|name| planned(name, &host(name)).is_err());
    let wrong = names().into_iter().filter(|name| is_wrong(name));
    assert_eq!(refused.collect::<Vec<_>>(), wrong.collect::<Vec<_>>());
}

#[test]
fn every_option_word_is_in_a_planned_config() {
    let config = json("options");
    let lists = config["mounts"].as_array().into_iter().flatten().map(|mount| &mount["options"]);
    let used: BTreeSet<&str> = lists
        .flat_map(|list| list.as_array().into_iter().flatten())
        .flat_map(Value::as_str)
        .collect();
    let unused = WORDS.iter().filter(|(word, _)| !used.contains(word));
    assert_eq!(unused.map(|(word, _)| *word).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_config_of_spec_is_the_one_that_is_planned() {
    let directory = env::temp_dir().join(format!("hull-plan-spec-{}", std::process::id()));
    fs::create_dir(&directory).expect("a directory can be made");
    let output = hull(&["spec", "--bundle", &directory.to_string_lossy()]);
    let written = fs::read_to_string(directory.join("config.json"));
    fs::remove_dir_all(&directory).expect("what was made can be removed");
    assert_eq!(output, "");
    let path = folder().join("spec.json");
    let written = written.expect("spec writes a config");
    if env::var_os("HULL_BLESS").is_some() {
        fs::write(&path, &written).expect("the folder of this test can be written");
    }
    assert_eq!(written, fs::read_to_string(path).unwrap_or_default());
}

#[test]
fn what_the_text_does_not_show_is_planned_too() {
    let plan = planned("options", &host("options")).expect("options.json is right");
    let named = |end: &str| {
        plan.mounts.iter().find(|mount| mount.destination == end).expect("a mount of options.json")
    };
    assert!(named("/read-only-tmpfs").read_only_at_last && !named("/ro").read_only_at_last);

    let plan = planned("joins", &host("joins")).expect("joins.json is right");
    assert_eq!(plan.hostname.as_deref(), Some("pod"));
    assert_eq!(plan.domainname.as_deref(), Some("example.org"));
    // CVE-2019-19921, CVE-2023-27561: the /proc and /dev of an image may be links.
    let no_symlinks: Vec<(&str, bool)> =
        plan.mounts.iter().map(|mount| (mount.destination.as_str(), mount.no_symlinks)).collect();
    let expected = [("/proc", true), ("/sys/fs/cgroup", false), ("/dev", true), ("/srv", false)];
    assert_eq!(no_symlinks, expected);
    assert!(plan.devices.is_none(), "/dev is a bind mount: it has its own device files");

    let plan = planned("docker", &host("docker")).expect("docker.json is right");
    assert!(plan.devices.is_some());
    assert_eq!(plan.hooks.prestart.len(), 1);
    let process = plan.process.expect("docker.json has a program");
    assert_eq!(process.env.len(), 4);
    assert_eq!(process.exec_label, Some(("apparmor/exec", "exec docker-default".to_owned())));
}

// ------------------------------------------------------------- what is wrong

#[test]
fn each_problem_names_a_place_that_the_config_has() {
    for name in names().into_iter().filter(|name| is_wrong(name)) {
        let config = json(&name);
        let error = planned(&name, &host(&name)).expect_err("a wrong config is refused");
        for problem in problems(&error) {
            let pointer = pointer_of(&problem);
            // Of what is missing, the place where it should be.
            let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
            let is_there = config.pointer(pointer).or(config.pointer(parent)).is_some();
            assert!(is_there, "{name}: {problem}");
        }
    }
}

/// Every part of the document is looked at, whatever was wrong before it.
#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let error = planned("wrong", &host("wrong")).expect_err("a wrong config is refused");
    let problems = problems(&error);
    let found: BTreeSet<&str> = problems.iter().map(|problem| pointer_of(problem)).collect();
    let mut expected: BTreeSet<String> = WRONG.iter().map(|place| (*place).to_owned()).collect();
    for kind in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        let places = ["path", "timeout", "args/0", "env/1"];
        expected.extend(places.map(|place| format!("/hooks/{kind}/1/{place}")));
    }
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(found.difference(&expected).collect::<Vec<_>>(), [&""; 0], "reported, not wrong");
    assert_eq!(expected.difference(&found).collect::<Vec<_>>(), [&""; 0], "wrong, not reported");
}

/// The places in wrong.json, without those of hooks. Some have two problems.
const WRONG: [&str; 122] = [
    "/ociVersion",
    "/root/path",
    "/hostname",
    "/domainname",
    "/process/cwd",
    "/process/consoleSize/height",
    "/process/args/0",
    "/process/args/1",
    "/process/env/1",
    "/process/env/2",
    "/process/oomScoreAdj",
    "/process/user/uid",
    "/process/user/gid",
    "/process/user/umask",
    "/process/user/additionalGids/1",
    "/process/rlimits/0/type",
    "/process/rlimits/1/soft",
    "/process/rlimits/2/type",
    "/process/scheduler/policy",
    "/process/scheduler/nice",
    "/process/scheduler/priority",
    "/process/scheduler/flags/1",
    "/process/scheduler/runtime",
    "/process/scheduler/deadline",
    "/process/scheduler/period",
    "/process/ioPriority/class",
    "/process/ioPriority/priority",
    "/process/apparmorProfile",
    "/process/selinuxLabel",
    "/mounts/0/destination",
    "/mounts/1/destination",
    "/mounts/2/destination",
    "/mounts/3/type",
    "/mounts/3/source",
    "/mounts/3/options/0",
    "/mounts/4/source",
    "/mounts/6/type",
    "/mounts/7/options",
    "/mounts/8/uidMappings",
    "/mounts/10",
    "/mounts/11/options",
    "/linux/namespaces/3",
    "/linux/namespaces/4/type",
    "/linux/namespaces/6/path",
    "/linux/namespaces/7/path",
    "/linux/timeOffsets",
    "/linux/timeOffsets/real~1time",
    "/linux/timeOffsets/boottime/nanosecs",
    "/linux/cgroupsPath",
    "/linux/seccomp/defaultAction",
    "/linux/seccomp/architectures/0",
    "/linux/seccomp/flags/0",
    "/linux/seccomp/listenerMetadata",
    "/linux/seccomp/syscalls/0/names",
    "/linux/seccomp/syscalls/0/action",
    "/linux/seccomp/syscalls/1/action",
    "/linux/seccomp/syscalls/1/args/0/index",
    "/linux/seccomp/syscalls/1/args/0/op",
    "/linux/seccomp/syscalls/2/errnoRet",
    "/linux/intelRdt",
    "/linux/resources/devices/0/allow",
    "/linux/resources/devices/1/type",
    "/linux/resources/devices/2/major",
    "/linux/resources/devices/2/minor",
    "/linux/resources/devices/2/access",
    "/linux/resources/memory/swap",
    "/linux/resources/memory/reservation",
    "/linux/resources/memory/kernel",
    "/linux/resources/memory/kernelTCP",
    "/linux/resources/memory/swappiness",
    "/linux/resources/memory/disableOOMKiller",
    "/linux/resources/memory/useHierarchy",
    "/linux/resources/cpu/burst",
    "/linux/resources/cpu/realtimeRuntime",
    "/linux/resources/cpu/realtimePeriod",
    "/linux/resources/cpu/cpus",
    "/linux/resources/cpu/mems",
    "/linux/resources/cpu/idle",
    "/linux/resources/pids/limit",
    "/linux/resources/blockIO/weight",
    "/linux/resources/blockIO/leafWeight",
    "/linux/resources/blockIO/weightDevice/0/weight",
    "/linux/resources/blockIO/weightDevice/1/major",
    "/linux/resources/blockIO/weightDevice/2/weight",
    "/linux/resources/blockIO/weightDevice/3/leafWeight",
    "/linux/resources/blockIO/throttleReadBpsDevice/0/minor",
    "/linux/resources/hugepageLimits/0/pageSize",
    "/linux/resources/network/classID",
    "/linux/resources/network/priorities",
    "/linux/resources/rdma/a b",
    "/linux/resources/rdma/mlx5_1",
    "/linux/resources/unified/a~1b~0c",
    "/linux/resources/unified/memory",
    "/linux/resources/unified/memory.high",
    "/linux/devices/0/type",
    "/linux/devices/1/path",
    "/linux/devices/2/major",
    "/linux/devices/2/minor",
    "/linux/devices/3/major",
    "/linux/devices/3/minor",
    "/linux/devices/4/path",
    "/linux/devices/5/major",
    "/linux/devices/5/minor",
    "/linux/devices/6/path",
    "/linux/netDevices/eth~10",
    "/linux/netDevices/eth%d",
    "/linux/netDevices/eth0/name",
    "/linux/netDevices/eth2/name",
    "/linux/sysctl/kernel.hostname",
    "/linux/sysctl/kernel~1core_pattern",
    "/linux/sysctl/net~1..~1x",
    "/linux/rootfsPropagation",
    "/linux/mountLabel",
    "/linux/maskedPaths/0",
    "/linux/maskedPaths/1",
    "/linux/maskedPaths/2",
    "/linux/readonlyPaths/0",
    "/linux/readonlyPaths/1",
    "/linux/memoryPolicy/flags/1",
    "/linux/memoryPolicy/nodes",
    "/linux/personality/domain",
    "/linux/personality/flags/0",
];

#[test]
fn what_the_host_lacks_is_reported_where_it_is_asked_for() {
    let facts = |change: fn(&mut Host)| {
        let mut host = host("joins");
        change(&mut host);
        host
    };
    let cases: [(&str, Host, &[&str]); 5] = [
        ("docker", facts(|host| host.has_apparmor = false), &["/process/apparmorProfile"]),
        ("joins", facts(|host| host.has_selinux = false), &["/linux/mountLabel"]),
        ("joins", facts(|host| host.is_privileged = false), &["/linux/namespaces"]),
        ("joins", facts(|host| host.rootfs = Err("a file".to_owned())), &["/root/path"]),
        ("joins", facts(|host| host.cgroup_mount = None), &["/mounts/1", "/linux/cgroupsPath"]),
    ];
    for (name, host, expected) in cases {
        let error = planned(name, &host).expect_err("this host cannot do it");
        let problems = problems(&error);
        let found: Vec<&str> = problems.iter().map(|problem| pointer_of(problem)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

/// A value of a wrong type ends the reading, so it is reported alone.
#[test]
fn a_value_of_a_wrong_type_is_reported_with_its_place() {
    let file = env::temp_dir().join(format!("hull-plan-types-{}.json", std::process::id()));
    let mut wrong = Vec::new();
    for (text, pointer) in [
        (r#"{"ociVersion": 1}"#, "/ociVersion"),
        (r#"{"root": {}}"#, "/root"),
        (r#"{"root": ["rootfs"]}"#, "/root"),
        (r#"{"mounts": {}}"#, "/mounts"),
        (r#"{"mounts": [{}, {"options": ["ro", 1]}]}"#, "/mounts/1/options/1"),
        (r#"{"process": {"args": "sh"}}"#, "/process/args"),
        (r#"{"process": {"terminal": 1}}"#, "/process/terminal"),
        (r#"{"process": {"user": {"additionalGids": [-1]}}}"#, "/process/user/additionalGids/0"),
        (r#"{"process": {"consoleSize": {"height": -1}}}"#, "/process/consoleSize/height"),
        (r#"{"process": {"capabilities": ["CAP_KILL"]}}"#, "/process/capabilities"),
        (r#"{"process": {"rlimits": [{"type": "x", "soft": -1}]}}"#, "/process/rlimits/0/soft"),
        (r#"{"hooks": {"poststop": [{"timeout": 1.5}]}}"#, "/hooks/poststop/0/timeout"),
        (r#"{"annotations": {"a/b~c": 1}}"#, "/annotations/a~1b~0c"),
        (r#"{"linux": {"timeOffsets": {"x": {"secs": ""}}}}"#, "/linux/timeOffsets/x/secs"),
        (r#"{"linux": {"devices": [{"fileMode": -1}]}}"#, "/linux/devices/0/fileMode"),
        (r#"{"linux": {"sysctl": {"net/a": 1}}}"#, "/linux/sysctl/net~1a"),
        (r#"{"linux": {"uidMappings": {}}}"#, "/linux/uidMappings"),
        (r#"{"process": {"ioPriority": {"class": "x"}}}"#, "/process/ioPriority"),
        (
            r#"{"linux": {"seccomp": {"syscalls": [{"args": [{"indx": 1}]}]}}}"#,
            "/linux/seccomp/syscalls/0/args/0",
        ),
    ] {
        fs::write(&file, text).expect("a file can be made");
        match read(&file) {
            Ok(_) => wrong.push(format!("{text} was read")),
            Err(error) if !error.starts_with(&format!("config.json: {pointer}: ")) => {
                wrong.push(format!("{text}: {error}"));
            }
            Err(_) => {}
        }
    }
    fs::remove_file(&file).expect("what was made can be removed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// --------------------------------------------------------------- the configs

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan")
}

/// The configs of the folder, sorted.
fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the project is where it was built");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let configs = paths.filter(|path| path.extension().is_some_and(|it| it == "json"));
    let mut names: Vec<String> =
        configs.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

fn is_wrong(name: &str) -> bool {
    name.starts_with("wrong")
}

fn json(name: &str) -> Value {
    let path = folder().join(name).with_extension("json");
    let text = fs::read_to_string(path).expect("a config of the folder can be read");
    serde_json::from_str(&text).expect("a config of the folder is JSON")
}

/// As the runtime reads it.
fn read(file: &Path) -> Result<Spec, String> {
    let directory = folder();
    let bundle = bundle::read(&directory.to_string_lossy(), Some(&file.to_string_lossy()));
    bundle.map(|bundle| bundle.spec).map_err(|error| error.to_string())
}

const CONTROLLERS: [&str; 8] = ["cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma"];

/// One that has all that the configs ask for; for those that are wrong, one that has nothing.
fn host(name: &str) -> Host {
    let rootfs = "/bundle/rootfs".to_owned();
    if is_wrong(name) {
        let cgroup_mount = name.contains("systemd").then_some("/sys/fs/cgroup");
        let rootfs = Err(format!("{rootfs:?} is not a directory"));
        return Host { rootfs, cgroup_mount, ..Host::default() };
    }
    Host {
        is_privileged: true,
        permitted: (1 << 41) - 1,
        may_set_ids: true,
        own_ids: (0, 0),
        cgroup_mount: Some("/sys/fs/cgroup"),
        controllers: CONTROLLERS.map(|name| (name.to_owned(), Where::Here)).into(),
        parent_cgroup: "/user.slice".to_owned(),
        user_of_services: name.ends_with("-user").then_some(1000),
        has_apparmor: true,
        has_selinux: true,
        seccomp_flags: u32::MAX,
        rootfs: Ok(rootfs),
    }
}

fn planned(name: &str, host: &Host) -> Result<Plan, String> {
    let spec = read(&folder().join(name).with_extension("json"))?;
    let manager = if name.contains("systemd") { Manager::Systemd } else { Manager::Cgroupfs };
    plan_of(spec, manager, host)
}

fn plan_of(spec: Spec, cgroup_manager: Manager, host: &Host) -> Result<Plan, String> {
    let request = Request {
        id: "web",
        bundle: "/bundle",
        cgroup_manager,
        pivot: true,
        new_keyring: true,
        notify: None,
    };
    plan(spec, &request, host).map_err(|error| error.to_string())
}

fn plan_text(plan: &Plan) -> String {
    let mut text = plan.to_string();
    for warning in &plan.warnings {
        writeln!(text, "warning: {warning}").expect("a String takes everything");
    }
    text
}

/// The problems of an error, each with its pointer before it.
fn problems(error: &str) -> Vec<String> {
    let list = error.strip_prefix("config.json: /").expect("the error is one of the config");
    list.split("; /").map(|problem| format!("/{problem}")).collect()
}

fn pointer_of(problem: &str) -> &str {
    problem.split_once(": ").expect("a problem has a pointer and a message").0
}

/// What the runtime prints, on both outputs.
fn hull(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hull")).args(args).output();
    let output = output.expect("the runtime can be run");
    let [out, error] =
        [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    assert!(output.status.success(), "{error}");
    out + &error
}
