//! Bad input: a one-line error that names the field or the call, exit code 1, and the host as it was before.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bundle::Bundle;
use crate::call::Output;
use crate::case::table;

table!(Root, Busybox;
    a_valid_config_is_the_twin_of_all_these,
    a_missing_config_is_refused,
    a_missing_bundle_is_refused,
    a_bundle_that_is_a_file_is_refused,
    a_config_that_is_a_directory_is_refused,
    a_config_that_is_a_fifo_is_refused_and_not_waited_for[Hull("runc 1.1.5 waits for a writer")],
    a_config_that_is_not_json_is_refused,
    a_truncated_config_is_refused,
    an_empty_config_is_refused,
    a_config_with_text_after_it_is_refused[Hull("runc 1.1.5 reads the first value")],
    a_config_of_100_megabytes_is_refused[Hull("runc 1.1.5 reads it")],
    a_config_of_another_type_is_refused,
    a_deeply_nested_config_is_refused,
    wrong_types_are_refused_with_their_field,
    negative_ids_are_refused,
    ids_past_32_bits_are_refused,
    a_missing_version_is_refused[Hull("runc 1.1.5 does not look at it")],
    a_version_that_is_no_version_is_refused[Hull("runc 1.1.5 does not look at it")],
    a_later_version_is_refused[Hull("runc 1.1.5 does not look at it")],
    every_version_since_1_0_0_is_accepted,
    a_missing_root_is_refused,
    a_missing_rootfs_is_refused,
    a_rootfs_that_is_a_file_is_refused,
    a_rootfs_that_is_a_symlink_is_refused,
    an_empty_root_path_is_refused[Hull("runc 1.1.5 takes the bundle")],
    the_root_of_the_host_as_rootfs_is_refused[Hull("runc 1.1.5 fails later")],
    several_problems_are_told_at_once[Hull("runc tells the first")],
    nul_bytes_are_refused[Hull("runc 1.1.5 cuts some of them off")],
    an_invalid_id_is_refused,
    an_id_of_every_allowed_character_is_accepted,
    a_very_long_id_is_refused,
    other_later_properties_are_refused_as_not_supported[Hull("runc 1.1.5 ignores them")],
    empty_later_properties_are_accepted,
    an_apparmor_profile_needs_a_host_with_apparmor[NoFile("/sys/kernel/security/apparmor")],
    an_selinux_label_needs_a_host_with_selinux[NoFile("/sys/fs/selinux/enforce")],
    a_mount_label_needs_a_host_with_selinux[NoFile("/sys/fs/selinux/enforce"), Hull("runc 1.1.5 ignores it")],
    a_mount_that_fails_leaves_the_host_as_it_was,
    json_object_members_that_repeat_do_not_crash,
);

/// What a failing operation must not change: the host's mounts, cgroups, processes and the state directory.
#[derive(Debug, PartialEq)]
pub struct Host {
    mounts: Vec<String>,
    cgroups: Vec<PathBuf>,
    processes: Vec<i32>,
    state: Vec<PathBuf>,
}

impl Host {
    pub fn now(bundle: &Bundle) -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        // Others use this host beside this test; whatever a container of this bundle leaves has the id in its path.
        let ours = |line: &&str| line.contains(bundle.id());
        let mut mounts: Vec<_> = mountinfo.lines().filter(ours).map(str::to_owned).collect();
        mounts.sort();
        let mut cgroups = bundle.cgroups();
        cgroups.sort();
        let mut state = Vec::new();
        directories(&bundle.root(), &mut state);
        Self { mounts, cgroups, processes: bundle.processes(), state }
    }
}

fn directories(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
            directories(&entry.path(), found);
        }
    }
}

/// `create` is refused and nothing of the host has changed; the error.
fn refused(bundle: &Bundle) -> Output {
    bundle.save();
    refused_as_saved(bundle)
}

fn refused_as_saved(bundle: &Bundle) -> Output {
    let before = Host::now(bundle);
    let directory = bundle.directory();
    let argv = ["create", "--bundle", directory.to_str().expect("UTF-8"), bundle.id()];
    let output = bundle.call(&argv).finish().refused();
    assert_eq!(Host::now(bundle), before, "{output}");
    output
}

/// The same for a config.json of this text.
fn refused_text(text: &str) -> Output {
    let bundle = Bundle::new();
    fs::write(bundle.directory().join("config.json"), text).expect("write");
    refused_as_saved(&bundle)
}

fn a_valid_config_is_the_twin_of_all_these() {
    let bundle = Bundle::new();
    let before = Host::now(&bundle);
    bundle.create();
    assert_ne!(Host::now(&bundle), before);
    let _ = bundle.delete().ok();
    assert_eq!(Host::now(&bundle).mounts, before.mounts);
}

fn a_missing_config_is_refused() {
    let _ = refused_as_saved(&Bundle::new()).says("config.json").names("no such file or directory");
}

fn a_missing_bundle_is_refused() {
    let bundle = Bundle::new();
    let _ = bundle
        .call(&["create", "--bundle", "/no/such/bundle", bundle.id()])
        .finish()
        .refused()
        .says("/no/such/bundle");
}

fn a_bundle_that_is_a_file_is_refused() {
    let bundle = Bundle::new();
    let _ = bundle
        .call(&["create", "--bundle", "/etc/hostname", bundle.id()])
        .finish()
        .refused()
        .says("not a directory");
}

fn a_config_that_is_a_directory_is_refused() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.directory().join("config.json")).expect("mkdir");
    let _ = refused_as_saved(&bundle).names("config.json");
}

fn a_config_that_is_a_fifo_is_refused_and_not_waited_for() {
    let bundle = Bundle::new();
    let path = bundle.directory().join("config.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600))
        .expect("mkfifo");
    let _ = refused_as_saved(&bundle).names("config.json");
}

fn a_config_that_is_not_json_is_refused() {
    for text in
        ["not json", "{", "}", "[1,", "\u{0}", "{'a': 1}", "<xml/>", "{\"ociVersion\": \"1.0.2\",}"]
    {
        let _ = refused_text(text).names("config.json");
    }
}

fn a_truncated_config_is_refused() {
    let text = Bundle::new().config.to_string();
    for length in [1, text.len() / 2, text.len() - 1] {
        let _ = refused_text(&text[..length]).names("config.json");
    }
}

fn an_empty_config_is_refused() {
    let _ = refused_text("").names("config.json");
}

fn a_config_with_text_after_it_is_refused() {
    let text = Bundle::new().config.to_string();
    let _ = refused_text(&format!("{text}{text}")).names("config.json");
    let _ = refused_text(&format!("{text} x")).names("config.json");
}

fn a_config_of_100_megabytes_is_refused() {
    // A sparse file: its size alone is the reason.
    let bundle = Bundle::new();
    let file = fs::File::create(bundle.directory().join("config.json")).expect("create");
    file.set_len(100 << 20).expect("truncate");
    let _ = refused_as_saved(&bundle).names("config.json");
    // 100 MB of a valid document: an annotation.
    let text = Bundle::new().config.to_string();
    let large =
        format!("{{\"annotations\": {{\"large\": \"{}\"}}, {}", "x".repeat(100 << 20), &text[1..]);
    let _ = refused_text(&large).names("config.json");
}

fn a_config_of_another_type_is_refused() {
    for text in ["[]", "[\"1.0.0\"]", "null", "\"text\"", "1", "true"] {
        let _ = refused_text(text).names("config.json").names("expected an object");
    }
}

fn a_deeply_nested_config_is_refused() {
    let depth = 100_000;
    let _ = refused_text(&format!("{{\"unknown\": {}{}}}", "[".repeat(depth), "]".repeat(depth)))
        .names("config.json");
}

fn wrong_types_are_refused_with_their_field() {
    for (pointer, value) in [
        ("/ociVersion", json!(1)),
        ("/process", json!([])),
        ("/process/args", json!("sh")),
        ("/process/args/0", json!(1)),
        ("/process/env", json!({})),
        ("/process/cwd", json!(null)),
        ("/process/terminal", json!("yes")),
        ("/process/user/uid", json!("root")),
        ("/process/user/additionalGids", json!(["1"])),
        ("/process/capabilities/bounding", json!("CAP_KILL")),
        ("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": "0", "hard": 0}])),
        ("/process/noNewPrivileges", json!(1)),
        ("/process/oomScoreAdj", json!("5")),
        ("/root", json!("rootfs")),
        ("/root/path", json!(1)),
        ("/root/readonly", json!("true")),
        ("/hostname", json!({})),
        ("/mounts", json!({})),
        ("/mounts/0", json!("proc")),
        ("/mounts/0/options", json!("ro")),
        ("/mounts/1/destination", json!(1)),
        ("/hooks", json!([])),
        ("/hooks/prestart", json!({})),
        ("/annotations", json!({"key": 1})),
        ("/linux/namespaces", json!({})),
        ("/linux/namespaces/0/type", json!(1)),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": "1", "minor": 3}])),
        ("/linux/sysctl", json!({"kernel.shmmni": 1})),
        ("/linux/maskedPaths", json!("/proc")),
        ("/linux/cgroupsPath", json!(1)),
        ("/linux/rootfsPropagation", json!(1)),
        ("/linux/resources", json!([])),
        ("/linux/resources/memory/limit", json!("1G")),
        ("/linux/resources/devices", json!({})),
        ("/linux/resources/unified", json!({"memory.high": 1})),
    ] {
        // A peer takes null and the like for nothing.
        let bundle = Bundle::new().set(pointer, value.clone());
        if crate::call::is_peer() && (value.is_null() || pointer == "/ociVersion") {
            continue;
        }
        bundle.save();
        let output = bundle.try_create();
        assert!(output.code == 1, "{pointer} = {value}: {output}");
        let _ = refused(&bundle).names(pointer.trim_end_matches("/0"));
    }
}

fn negative_ids_are_refused() {
    let _ = refused(&Bundle::new().set("/process/user/uid", -1)).names("/process/user/uid");
    let _ = refused(&Bundle::new().set("/process/user/gid", -1)).names("/process/user/gid");
}

fn ids_past_32_bits_are_refused() {
    let _ =
        refused(&Bundle::new().set("/process/user/uid", 1_u64 << 32)).names("/process/user/uid");
    let _ = refused(&Bundle::new().set("/process/user/additionalGids", json!([1, 1_u64 << 32])))
        .names("/process/user/additionalGids/1");
}

// "ociVersion (string, REQUIRED) MUST be in SemVer v2.0.0 format"
fn a_missing_version_is_refused() {
    let _ = refused(&Bundle::new().without("/ociVersion")).names("/ociVersion");
}

fn a_version_that_is_no_version_is_refused() {
    for version in ["", "1", "1.0", "latest", "v1.0.0", "01.0.0", "1.0.0.0"] {
        let output = Bundle::new().set("/ociVersion", version).try_create();
        assert!(output.code == 1, "{version:?}: {output}");
        let _ = output.refused().names("/ociVersion");
    }
}

// "it is not compatible with a runtime that supports 1.0 and not 1.1."
fn a_later_version_is_refused() {
    for version in ["2.0.0", "0.9.0", "1.99.0"] {
        let bundle = Bundle::new().set("/ociVersion", version);
        // A later minor version may be taken: engines write one before every runtime knows it.
        let output = bundle.try_create();
        assert!(output.code == 1 || version == "1.99.0", "{output}");
    }
}

fn every_version_since_1_0_0_is_accepted() {
    for version in
        ["1.0.0", "1.0.0-rc5", "1.0.2-dev", "1.1.0", "1.1.0+dev", "1.2.0", "1.2.1", "1.3.0"]
    {
        let _ = Bundle::new().set("/ociVersion", version).run().ok();
    }
}

// "On all other platforms, this field is REQUIRED."
fn a_missing_root_is_refused() {
    let _ = refused(&Bundle::new().without("/root")).names("/root");
    let _ = refused(&Bundle::new().set("/root", json!({"readonly": true}))).names("/root");
}

// "A directory MUST exist at the path declared by the field."
fn a_missing_rootfs_is_refused() {
    let _ = refused(&Bundle::new().set("/root/path", "missing"))
        .names("/root/path")
        .says("no such file or directory");
}

fn a_rootfs_that_is_a_file_is_refused() {
    let bundle = Bundle::new().set("/root/path", "file");
    fs::write(bundle.directory().join("file"), "").expect("write");
    let _ = refused(&bundle).names("/root/path");
}

fn a_rootfs_that_is_a_symlink_is_refused() {
    let bundle = Bundle::new().set("/root/path", "link");
    symlink("rootfs", bundle.directory().join("link")).expect("symlink");
    let _ = refused(&bundle).names("/root/path");
    let bundle = Bundle::new().set("/root/path", "link");
    symlink("/", bundle.directory().join("link")).expect("symlink");
    let _ = refused(&bundle).names("/root/path");
}

fn an_empty_root_path_is_refused() {
    let _ = refused(&Bundle::new().set("/root/path", "")).names("/root/path");
}

fn the_root_of_the_host_as_rootfs_is_refused() {
    let _ = refused(&Bundle::new().set("/root/path", "/")).names("/root/path");
}

// All that is wrong in one line, joined by `; `.
fn several_problems_are_told_at_once() {
    let bundle = Bundle::new()
        .set("/process/cwd", "relative")
        .set("/linux/sysctl", json!({"vm.swappiness": "1"}))
        .set("/linux/namespaces/-", json!({"type": "pid"}))
        .set("/process/rlimits", json!([{"type": "RLIMIT_NONE", "soft": 1, "hard": 1}]));
    let output =
        refused(&bundle).names("/process/cwd").names("/linux/sysctl").names("/linux/namespaces/6");
    let _ = output.names("/process/rlimits/0").says("; ");
}

// CVE-2021-43784 had its like: text that is cut off at a NUL.
fn nul_bytes_are_refused() {
    for (pointer, value) in [
        ("/process/args/0", json!("tr\u{0}ue")),
        ("/process/env/0", json!("PATH=/bin\u{0}")),
        ("/process/cwd", json!("/\u{0}")),
        ("/root/path", json!("rootfs\u{0}")),
        ("/hostname", json!("a\u{0}b")),
        ("/mounts/0/destination", json!("/proc\u{0}x")),
        ("/mounts/0/source", json!("proc\u{0}x")),
        ("/mounts/0/type", json!("proc\u{0}x")),
        ("/mounts/0/options/0", json!("nosuid\u{0}")),
        ("/linux/maskedPaths/0", json!("/proc/kcore\u{0}")),
        ("/linux/readonlyPaths/0", json!("/proc/bus\u{0}")),
        ("/linux/cgroupsPath", json!("/a\u{0}b")),
    ] {
        let _ = refused(&Bundle::new().set(pointer, value)).names(pointer);
    }
}

// runc: `[A-Za-z0-9_+-.]+`, not `.` and not `..`.
fn an_invalid_id_is_refused() {
    let bundle = Bundle::new();
    bundle.save();
    let directory = bundle.directory();
    for id in ["a/b", "../x", "/", ".", "..", "", "a b", "a\nb", "\u{e9}", "a:b", "a*", "x\u{1}"] {
        let before = Host::now(&bundle);
        let argv = ["create", "--bundle", directory.to_str().expect("UTF-8"), "--", id];
        let output = bundle.call(&argv).finish().refused();
        assert_eq!(Host::now(&bundle), before, "{id:?}: {output}");
        let _ = if id.is_empty() { output } else { output.says("invalid container ID format") };
        for command in ["state", "start", "delete", "kill"] {
            let _ = bundle.call(&[command, "--", id]).finish().refused();
        }
        assert_eq!(Host::now(&bundle), before, "{id:?}");
    }
}

fn an_id_of_every_allowed_character_is_accepted() {
    let bundle = Bundle::new();
    bundle.save();
    let id = format!("{}_A+z.0-9", bundle.id());
    let directory = bundle.directory();
    let _ =
        bundle.call(&["run", "--bundle", directory.to_str().expect("UTF-8"), &id]).finish().ok();
}

fn a_very_long_id_is_refused() {
    let bundle = Bundle::new();
    bundle.save();
    let before = Host::now(&bundle);
    let directory = bundle.directory();
    let argv = ["create", "--bundle", directory.to_str().expect("UTF-8"), &"x".repeat(5000)];
    let _ = bundle.call(&argv).finish().refused();
    assert_eq!(Host::now(&bundle), before);
}

fn other_later_properties_are_refused_as_not_supported() {
    let pointer = "/linux/intelRdt";
    let bundle = Bundle::new().set(pointer, json!({"closID": "guaranteed_group"}));
    let _ = bundle.try_create().refused().names(pointer);
}

// What an engine writes when it wants nothing of the kind.
fn empty_later_properties_are_accepted() {
    let bundle =
        Bundle::new().set("/linux/uidMappings", json!([])).set("/linux/gidMappings", json!([]));
    let bundle = bundle
        .set("/linux/mountLabel", "")
        .set("/process/apparmorProfile", "")
        .set("/process/selinuxLabel", "");
    let _ = bundle.set("/hooks", json!({})).set("/annotations", json!({})).run().ok();
}

fn an_apparmor_profile_needs_a_host_with_apparmor() {
    let output = refused(&Bundle::new().set("/process/apparmorProfile", "some-profile"));
    let _ = output.names("/process/apparmorProfile").says("apparmor");
}

fn an_selinux_label_needs_a_host_with_selinux() {
    let output = refused(
        &Bundle::new().set("/process/selinuxLabel", "system_u:system_r:svirt_lxc_net_t:s0"),
    );
    let _ = output.names("/process/selinuxLabel").says("selinux");
}

fn a_mount_label_needs_a_host_with_selinux() {
    let output = refused(
        &Bundle::new().set("/linux/mountLabel", "system_u:object_r:svirt_sandbox_file_t:s0"),
    );
    let _ = output.names("/linux/mountLabel").says("selinux");
}

fn a_mount_that_fails_leaves_the_host_as_it_was() {
    for (kind, source, options) in [
        ("nofs", "none", &[][..]),
        ("bind", "/no/such/source", &["bind"]),
        ("tmpfs", "tmpfs", &["size=x"]),
    ] {
        let _ = refused(&Bundle::new().mount(kind, source, "/mnt", options)).names("/mounts/6");
    }
}

fn json_object_members_that_repeat_do_not_crash() {
    let text = Bundle::new().config.to_string();
    let repeated = text.replacen('{', "{\"hostname\": \"first\", \"hostname\": \"second\", ", 1);
    let bundle = Bundle::new();
    fs::write(bundle.directory().join("config.json"), repeated).expect("write");
    let directory = bundle.directory();
    let output = bundle
        .call(&["create", "--bundle", directory.to_str().expect("UTF-8"), bundle.id()])
        .finish();
    assert!(output.code == 0 || output.code == 1, "{output}");
}
