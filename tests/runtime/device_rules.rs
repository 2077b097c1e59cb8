//! Which devices a container may use, tried by open(2) and mknod(2): config-linux.md, "Allowed Device list". No
//! controller is needed: the rules are a BPF program on any cgroup of v2.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::cgroup::{path_of, unified};
use crate::hooks::hook;
use crate::lifecycle::assert_nothing_left;

table!(Root, Busybox;
    a_device_that_no_rule_allows_is_refused,
    a_device_that_a_rule_allows_is_opened,
    an_access_that_no_rule_allows_is_refused,
    rules_apply_in_their_order,
    default_devices_and_terminals_work_behind_a_rule_that_denies_all,
    without_rules_the_default_devices_alone_are_allowed,
    without_resources_the_default_devices_alone_are_allowed,
    mknod_is_refused_by_a_rule[Hull("runc 1.1.5 puts its defaults behind the rules")],
    a_default_device_that_is_denied_is_made_and_stays_shut[Hull("runc 1.1.5 puts its defaults behind the rules")],
    the_rules_reach_cgroups_below,
    a_hook_in_the_container_is_refused_a_device_that_no_rule_allows,
    a_hook_in_the_container_opens_a_device_that_a_rule_allows,
    hooks_of_the_runtime_find_the_rules_in_force[Program("bpftool")],
    without_a_cgroup_of_its_own_no_rule_applies[Hull("--cgroup-manager is hull's and crun's")],
    in_a_user_namespace_rules_that_deny_are_an_error[Hull("runc ignores them there")],
    a_cgroup_that_stays_loses_the_rules[Hull("runc 1.1.5 removes it"), Program("bpftool")],
    a_create_that_fails_leaves_no_rules_on_a_cgroup_that_stays[Hull("runc 1.1.5 removes it"), Program("bpftool")],
    a_cgroup_that_stays_gets_the_rules_of_the_next_container[Hull("runc 1.1.5 removes it")],
    a_create_that_is_refused_leaves_the_rules_of_who_is_in_the_cgroup,
    a_delete_leaves_the_rules_of_the_next_container_in_the_cgroup[Hull("runc 1.1.5 removes the cgroup")],
    an_update_puts_other_rules_in_their_place[Hull("runc leaves devices out of an update"), Program("bpftool")],
    what_the_kernel_was_given_goes_with_the_container[Program("bpftool")],
    five_hundred_containers_one_after_another_leave_nothing[Program("bpftool")],
    a_hundred_containers_at_once_leave_nothing[Program("bpftool")],
);

/// A number for local use (Documentation/admin-guide/devices.txt), which no driver has: whoever may open it is told
/// so, and who may not is told that.
const OPEN: &str = "mknod /dev/k c 240 77 && : < /dev/k";

/// A container with these rules that opens the device.
fn with_rules(rules: Value) -> Bundle {
    Bundle::new().set("/linux/resources", json!({"devices": rules})).script(OPEN)
}

fn allow_it(access: &str) -> Value {
    json!({"allow": true, "type": "c", "major": 240, "minor": 77, "access": access})
}

fn deny_all() -> Value {
    json!({"allow": false, "access": "rwm"})
}

fn refuses(bundle: &Bundle) {
    let _ = bundle.run().exits(1).says("Operation not permitted");
}

fn allows(bundle: &Bundle) {
    let _ = bundle.run().exits(1).says("No such device or address");
}

fn a_device_that_no_rule_allows_is_refused() {
    refuses(&with_rules(json!([deny_all()])));
}

fn a_device_that_a_rule_allows_is_opened() {
    allows(&with_rules(json!([deny_all(), allow_it("rwm")])));
    allows(&with_rules(json!([{"allow": true, "access": "rwm"}])));
}

fn an_access_that_no_rule_allows_is_refused() {
    let (write, both) =
        ("mknod /dev/k c 240 77 && : > /dev/k", "mknod /dev/k c 240 77 && : <> /dev/k");
    let rules = json!([deny_all(), allow_it("r")]);
    allows(&with_rules(rules.clone()));
    refuses(&with_rules(rules.clone()).script(write));
    refuses(&with_rules(rules).script(both));
    let rules = json!([deny_all(), allow_it("r"), allow_it("w")]);
    allows(&with_rules(rules.clone()).script(write));
    allows(&with_rules(rules).script(both));
}

// "The runtime MUST apply entries in the listed order."
fn rules_apply_in_their_order() {
    let deny = json!({"allow": false, "type": "c", "major": 240, "minor": 77, "access": "r"});
    refuses(&with_rules(json!([deny_all(), allow_it("rw"), deny])));
    allows(&with_rules(json!([deny_all(), deny, allow_it("rw")])));
    refuses(&with_rules(json!([allow_it("rw"), deny_all()])));
}

/// Opens all default devices for reading and writing, and a new terminal.
const OPEN_DEFAULTS: &str = "for device in null zero full random urandom ptmx; do (: <> /dev/$device) || exit; done; \
     (: > /dev/null) && echo opened";

// "In addition to any devices configured with this setting, the runtime MUST also supply ..."
fn default_devices_and_terminals_work_behind_a_rule_that_denies_all() {
    let _ = with_rules(json!([deny_all()])).script(OPEN_DEFAULTS).run().ok().prints("opened");
}

fn without_rules_the_default_devices_alone_are_allowed() {
    refuses(&with_rules(json!([])));
    let _ = with_rules(json!([])).script(OPEN_DEFAULTS).run().ok().prints("opened");
}

fn without_resources_the_default_devices_alone_are_allowed() {
    let bundle = || Bundle::new().without("/linux/resources");
    refuses(&bundle().script(OPEN));
    let _ = bundle().script(OPEN_DEFAULTS).run().ok().prints("opened");
}

fn mknod_is_refused_by_a_rule() {
    let deny = json!({"allow": false, "type": "b", "access": "m"});
    let make = "mknod /dev/c c 1 11 && mknod /dev/b b 8 0";
    refuses(&with_rules(json!([deny_all(), deny])).script(make));
    let _ = with_rules(json!([deny_all()])).script(make).run().ok();
}

// What the runtime makes is not for the container's rules to deny.
fn a_default_device_that_is_denied_is_made_and_stays_shut() {
    let deny = json!({"allow": false, "type": "c", "major": 1, "minor": 5, "access": "rwm"});
    let bundle = with_rules(json!([deny_all(), deny]));
    refuses(&bundle.script("test -c /dev/zero && (: < /dev/null) && : < /dev/zero"));
}

fn the_rules_reach_cgroups_below() {
    let below = "mkdir /sys/fs/cgroup/below && echo 0 > /sys/fs/cgroup/below/cgroup.procs && ";
    let script = format!("{below}{OPEN}");
    let with = |rules| {
        let mount = ["rw", "nosuid", "noexec", "nodev"];
        with_rules(rules).mount("cgroup", "cgroup", "/sys/fs/cgroup", &mount).script(&script)
    };
    refuses(&with(json!([deny_all()])));
    allows(&with(json!([deny_all(), allow_it("r")])));
}

/// With a hook in the container's namespaces that opens a device of the host.
fn with_opening_hook(rules: Value) -> Bundle {
    let hook = hook(": < /dev/kmsg");
    with_rules(rules).script(": < /dev/null").set("/hooks/createContainer", json!([hook]))
}

fn a_hook_in_the_container_is_refused_a_device_that_no_rule_allows() {
    let refused = with_opening_hook(json!([deny_all()])).try_create().refused();
    let _ = refused.names("/hooks/createContainer/0");
}

fn a_hook_in_the_container_opens_a_device_that_a_rule_allows() {
    let kmsg = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"});
    let _ = with_opening_hook(json!([deny_all(), kmsg])).run().ok();
}

// Those of graphics cards put a program of their own in its place.
fn hooks_of_the_runtime_find_the_rules_in_force() {
    for kind in ["prestart", "createRuntime"] {
        let bundle = with_rules(json!([deny_all()]));
        let path = format!("/{}", bundle.id());
        let (directory, log) = (unified().join(&path[1..]), bundle.beside("log"));
        let hook =
            hook(&format!("bpftool cgroup show {} > {}", directory.display(), log.display()));
        let bundle =
            bundle.set("/linux/cgroupsPath", path).set(&format!("/hooks/{kind}"), json!([hook]));
        bundle.create();
        let programs = fs::read_to_string(log).expect("the hook has run");
        assert!(programs.contains("device"), "{kind}: {programs:?}");
    }
}

fn without_a_cgroup_of_its_own_no_rule_applies() {
    let bundle = with_rules(json!([deny_all()]));
    bundle.save();
    let directory = bundle.directory();
    let run = ["run", "--bundle", directory.to_str().expect("UTF-8"), bundle.id()];
    let args = [&["--cgroup-manager", "disabled"], &run[..]].concat();
    let output = bundle.call(&args).finish().exits(1).says("/linux/resources: not applied");
    let _ = output.says("No such device or address");
}

/// The runtime as root of a user namespace, with a cgroup that it may use.
fn in_a_user_namespace(bundle: Bundle) -> Bundle {
    bundle.through(&["unshare", "--user", "--map-root-user", "--mount", "--cgroup"])
}

fn in_a_user_namespace_rules_that_deny_are_an_error() {
    let _ = in_a_user_namespace(with_rules(json!([deny_all()])))
        .try_create()
        .refused()
        .names("/linux/resources/devices")
        .says("cannot be enforced in a user namespace");
    // Nothing to enforce, or nothing asked for: it is not the rules that it fails for.
    for rules in [json!([{"allow": true, "access": "rwm"}]), json!([])] {
        let output = in_a_user_namespace(with_rules(rules)).try_create();
        assert!(!output.stderr.contains("/linux/resources"), "{output}");
    }
}

/// The ids of the programs that are attached to the cgroup of this path.
fn attached(path: &str) -> Vec<u64> {
    let directory = unified().join(&path[1..]);
    let directory = directory.to_str().expect("UTF-8");
    let programs = bpftool(&["cgroup", "show", directory]);
    let list = programs.as_array().into_iter().flatten();
    list.filter_map(|program| program["id"].as_u64()).collect()
}

/// A bundle whose cgroup was there before, and its path.
fn in_a_cgroup_that_stays(rules: Value) -> (Bundle, String) {
    let bundle = with_rules(rules);
    let path = format!("/{}/stays", bundle.id());
    fs::create_dir_all(unified().join(&path[1..])).expect("mkdir");
    (bundle.set("/linux/cgroupsPath", path.as_str()), path)
}

fn a_cgroup_that_stays_loses_the_rules() {
    let (bundle, path) = in_a_cgroup_that_stays(json!([deny_all()]));
    bundle.create();
    assert_eq!(attached(&path).len(), 1);
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_eq!(attached(&path), [0; 0]);
}

// As a runtime leaves it that was killed: of two programs each would have to allow an access.
// Its program is looked for when the rules are in force.
fn a_create_that_fails_leaves_no_rules_on_a_cgroup_that_stays() {
    let (bundle, path) = in_a_cgroup_that_stays(json!([deny_all()]));
    let _ = bundle.args(&["no-such-program"]).try_create().refused().says("no-such-program");
    assert_eq!(attached(&path), [0; 0]);
}

fn a_cgroup_that_stays_gets_the_rules_of_the_next_container() {
    let (first, path) = in_a_cgroup_that_stays(json!([deny_all()]));
    let container = first.create();
    fs::remove_file(first.root().join(first.id()).join("state.json")).expect("a record");
    let pidfd = call::pidfd(container.pid).expect("init");
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).expect("kill");
    container.ended();
    let second = with_rules(json!([deny_all(), allow_it("r")]));
    allows(&second.set("/linux/cgroupsPath", path.as_str()));
}

// The program is told from others by its name: the second container's would have the same one.
fn a_create_that_is_refused_leaves_the_rules_of_who_is_in_the_cgroup() {
    for (rules, expected) in
        [(json!([deny_all()]), "not permitted"), (json!([{"allow": true}]), "No such device")]
    {
        let bundle = with_rules(rules).script("mknod /dev/k c 240 77; (: < /dev/k) 2> /said");
        let container = bundle.create();
        let other = Bundle::new().set("/linux/cgroupsPath", path_of(container.pid));
        let _ = other.try_create().refused().names("not empty");
        container.start().ended();
        let said = bundle.read("said");
        assert!(said.contains(expected), "{said}");
    }
}

fn a_delete_leaves_the_rules_of_the_next_container_in_the_cgroup() {
    for (rules, expected) in
        [(json!([deny_all()]), "not permitted"), (json!([{"allow": true}]), "No such device")]
    {
        let (first, path) = in_a_cgroup_that_stays(json!([{"allow": true}]));
        first.create().start().ended();
        let second = with_rules(rules).script("mknod /dev/k c 240 77; (: < /dev/k) 2> /said");
        let second = second.set("/linux/cgroupsPath", path.as_str());
        let container = second.create();
        let _ = first.operate(&["delete"]).ok();
        container.start().ended();
        let said = second.read("said");
        assert!(said.contains(expected), "{said}");
    }
}

fn update(bundle: &Bundle, rules: Value) {
    let path = bundle.beside("resources.json");
    fs::write(&path, json!({"devices": rules}).to_string()).expect("write");
    let _ = bundle.operate(&["update", "--resources", path.to_str().expect("UTF-8")]).ok();
}

fn an_update_puts_other_rules_in_their_place() {
    for (before, after, programs, expected) in [
        (json!([deny_all()]), json!([allow_it("r")]), 1, "No such device"),
        (json!([allow_it("r")]), json!([deny_all()]), 1, "not permitted"),
        (json!([{"allow": true}]), json!([deny_all()]), 1, "not permitted"),
        (json!([deny_all()]), json!([{"allow": true}]), 0, "No such device"),
    ] {
        let bundle = with_rules(before).script("mknod /dev/k c 240 77; (: < /dev/k) 2> /said");
        let container = bundle.create();
        let path = path_of(container.pid);
        let old = attached(&path);
        update(&bundle, after);
        let new = attached(&path);
        assert_eq!(new.len(), programs);
        assert!(old.iter().all(|id| !new.contains(id)), "{old:?} and {new:?}");
        container.start().ended();
        let said = bundle.read("said");
        assert!(said.contains(expected), "{said}");
    }
}

fn what_the_kernel_was_given_goes_with_the_container() {
    let bundle = with_rules(json!([deny_all()]));
    let container = bundle.create();
    let [id] = attached(&path_of(container.pid))[..] else { panic!("one program is attached") };
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert!(is_gone(id), "program {id} is still there");
}

fn bpftool(words: &[&str]) -> Value {
    let output = Command::new("bpftool").arg("--json").args(words).output().expect("bpftool");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn is_gone(id: u64) -> bool {
    call::comes_true(|| bpftool(&["prog", "show", "id", &id.to_string()])["error"].is_string())
}

/// Rules that no other test has, so that their program is told from those of other containers.
fn own_rules(minor: u32) -> Value {
    let own = json!({"allow": true, "type": "c", "major": 241, "minor": minor, "access": "r"});
    json!({"devices": [deny_all(), own]})
}

/// How many programs with the instructions of this one there are.
fn count_of(tag: &Value) -> usize {
    let programs = bpftool(&["prog", "show"]);
    let has_tag = |program: &&Value| program["tag"] == *tag;
    // A list that could not be had is no empty one.
    programs.as_array().map_or(usize::MAX, |list| list.iter().filter(has_tag).count())
}

/// A machine in software emulation takes a second for what takes ten milliseconds elsewhere.
fn many(count: usize) -> usize {
    if call::slowness() > 1 { count / 20 } else { count }
}

fn five_hundred_containers_one_after_another_leave_nothing() {
    let bundle = Bundle::new().set("/linux/resources", own_rules(1));
    let container = bundle.create();
    let [id] = attached(&path_of(container.pid))[..] else { panic!("one program is attached") };
    let tag = bpftool(&["prog", "show", "id", &id.to_string()])["tag"].clone();
    assert!(call::comes_true(|| count_of(&tag) == 1), "{} programs", count_of(&tag));
    let _ = bundle.operate(&["delete", "--force"]).ok();
    for _ in 1..many(500) {
        let _ = bundle.try_create().ok();
        let _ = bundle.operate(&["delete", "--force"]).ok();
    }
    assert_nothing_left(&bundle);
    assert!(call::comes_true(|| count_of(&tag) == 0), "{} programs are left", count_of(&tag));
}

fn a_hundred_containers_at_once_leave_nothing() {
    let bundles: Vec<Bundle> = (0..many(100).max(8))
        .map(|_| Bundle::new().set("/linux/resources", own_rules(2)).args(&["true"]))
        .collect();
    let first = bundles[0].create();
    let [id] = attached(&path_of(first.pid))[..] else { panic!("one program is attached") };
    let tag = bpftool(&["prog", "show", "id", &id.to_string()])["tag"].clone();
    let running: Vec<_> = bundles[1..].iter().map(Bundle::begin).collect();
    running.into_iter().for_each(|running| _ = running.finish().ok());
    // That of the first one, which is there still.
    assert!(call::comes_true(|| count_of(&tag) == 1), "{} programs are left", count_of(&tag));
    let _ = bundles[0].operate(&["delete", "--force"]).ok();
    bundles.iter().for_each(assert_nothing_left);
    assert!(call::comes_true(|| count_of(&tag) == 0), "{} programs are left", count_of(&tag));
}
