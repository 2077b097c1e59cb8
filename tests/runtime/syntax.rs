//! The command line where no container is needed: what is refused, version, help, features, spec. Runs as any user.

use std::fs;

use serde_json::Value;

use crate::bundle::Bundle;
use crate::case::table;

table!(;
    an_unknown_command_is_refused,
    commands_of_later_issues_are_unknown[Hull("runc has them")],
    an_unknown_option_is_refused,
    a_missing_id_is_refused,
    too_many_arguments_are_refused,
    the_root_of_the_host_as_state_directory_is_refused[Hull("runc 1.1.5 takes it")],
    version_names_specification_and_commit,
    help_is_on_the_standard_output,
    help_of_a_command_names_its_options,
    list_of_nothing_is_an_empty_array_or_null,
    list_of_a_missing_state_directory_is_empty_or_refused[Hull("runc 1.1.5 makes it")],
    features_are_json_and_nothing_else,
    features_tell_the_truth[Hull("runc 1.1.5 lists what it has")],
    spec_refuses_to_overwrite,
    spec_takes_a_bundle,
    spec_rootless_has_a_user_namespace,
);

fn an_unknown_command_is_refused() {
    let output = Bundle::new().call(&["frobnicate"]).finish();
    assert!(output.code != 0, "{output}");
    if !crate::call::is_peer() {
        let _ = output.refused().names("frobnicate");
    }
}

fn commands_of_later_issues_are_unknown() {
    for command in ["checkpoint", "restore"] {
        let _ = Bundle::new().operate(&[command]).refused().names(command);
        // podman probes `checkpoint --help`: 0 would mean that it works.
        let _ = Bundle::new().call(&[command, "--help"]).finish().refused();
    }
}

fn an_unknown_option_is_refused() {
    let _ =
        Bundle::new().call(&["state", "--frobnicate", "x"]).finish().refused().names("frobnicate");
    let _ = Bundle::new().call(&["--frobnicate", "list"]).finish().refused().names("frobnicate");
}

// "This operation MUST generate an error if it is not provided the container ID."
fn a_missing_id_is_refused() {
    for command in [
        "create", "start", "state", "kill", "delete", "run", "pause", "resume", "ps", "events",
        "update",
    ] {
        let _ = Bundle::new().call(&[command]).finish().refused();
    }
}

fn too_many_arguments_are_refused() {
    let bundle = Bundle::new();
    let _ = bundle.call(&["state", bundle.id(), "more"]).finish().refused();
    let _ = bundle.call(&["start", bundle.id(), "more"]).finish().refused();
    let _ = bundle.call(&["kill", bundle.id(), "9", "more"]).finish().refused();
}

fn the_root_of_the_host_as_state_directory_is_refused() {
    let _ = Bundle::new().bare(&["--root", "/", "list"]).finish().refused().names("--root");
}

// containerd, docker and podman parse it.
fn version_names_specification_and_commit() {
    for option in ["--version", "-v"] {
        let output = Bundle::new().bare(&[option]).finish().ok();
        let lines = output.lines();
        assert!(lines[0].contains(" version "), "{output}");
        assert!(lines.iter().any(|line| line.starts_with("spec: 1.")), "{output}");
        assert!(lines.iter().any(|line| line.starts_with("commit: ")), "{output}");
    }
}

fn help_is_on_the_standard_output() {
    for option in ["--help", "-h", "help"] {
        let output = Bundle::new().bare(&[option]).finish().ok();
        for command in
            ["create", "start", "state", "kill", "delete", "run", "list", "spec", "features"]
        {
            assert!(output.stdout.contains(command), "{output}");
        }
        assert_eq!(output.stderr, "");
    }
}

fn help_of_a_command_names_its_options() {
    let output = Bundle::new().bare(&["create", "--help"]).finish().ok();
    for option in [
        "--bundle",
        "--console-socket",
        "--pid-file",
        "--no-pivot",
        "--no-new-keyring",
        "--preserve-fds",
    ] {
        assert!(output.stdout.contains(option), "{output}");
    }
}

fn list_of_nothing_is_an_empty_array_or_null() {
    let list = Bundle::new().call(&["list", "--format", "json"]).finish().ok().json();
    assert!(list.is_null() || list == serde_json::json!([]), "{list}");
    let output = Bundle::new().call(&["list"]).finish().ok();
    assert_eq!(output.lines().len(), 1, "{output}");
}

fn list_of_a_missing_state_directory_is_empty_or_refused() {
    let output = Bundle::new().bare(&["--root", "/no/such/root", "list", "-q"]).finish();
    assert!(output.code == 1 || output.stdout.is_empty(), "{output}");
    assert!(!std::path::Path::new("/no/such/root").exists());
}

// CRI-O parses standard output and standard error together.
fn features_are_json_and_nothing_else() {
    let output = Bundle::new().bare(&["features"]).finish().ok();
    let features = output.json();
    assert!(
        features["ociVersionMin"].as_str().is_some_and(|version| version.starts_with("1.")),
        "{features}"
    );
    assert!(features["ociVersionMax"].is_string(), "{features}");
    assert_eq!(output.stderr, "");
}

fn features_tell_the_truth() {
    let features = Bundle::new().bare(&["features"]).finish().ok().json();
    let has = |pointer: &str, word: &str| {
        features
            .pointer(pointer)
            .and_then(Value::as_array)
            .is_some_and(|words| words.iter().any(|known| known == word))
    };
    for hook in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        assert!(has("/hooks", hook), "{hook}: {features}");
    }
    for option in
        ["ro", "rro", "rbind", "tmpcopyup", "nosymfollow", "rslave", "lazytime", "iversion"]
    {
        assert!(has("/mountOptions", option), "{option}: {features}");
    }
    // "this array SHOULD NOT contain filesystem-specific mount options".
    assert!(!has("/mountOptions", "size") && !has("/mountOptions", "mode"), "{features}");
    for namespace in ["pid", "network", "mount", "ipc", "uts", "cgroup", "time"] {
        assert!(has("/linux/namespaces", namespace), "{namespace}: {features}");
    }
    assert!(has("/linux/capabilities", "CAP_SYS_ADMIN"), "{features}");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true, "{features}");
    for (list, name) in [
        ("actions", "SCMP_ACT_NOTIFY"),
        ("operators", "SCMP_CMP_MASKED_EQ"),
        ("archs", "SCMP_ARCH_LOONGARCH64"),
        ("knownFlags", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        ("supportedFlags", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
    ] {
        assert!(has(&format!("/linux/seccomp/{list}"), name), "{name}: {features}");
    }
}

fn spec_refuses_to_overwrite() {
    let bundle = Bundle::new();
    let path = bundle.directory().join("config.json");
    fs::write(&path, "mine").expect("write");
    let _ =
        bundle.bare(&["spec"]).current_dir(&bundle.directory()).finish().refused().says("exist");
    assert_eq!(fs::read_to_string(&path).expect("config.json"), "mine");
}

fn spec_takes_a_bundle() {
    for option in ["--bundle", "-b"] {
        let bundle = Bundle::new();
        let directory = bundle.directory();
        let _ = bundle.bare(&["spec", option, text(&directory)]).finish().ok();
        assert!(directory.join("config.json").exists());
    }
}

fn spec_rootless_has_a_user_namespace() {
    let bundle = Bundle::new();
    let _ = bundle.bare(&["spec", "--rootless"]).current_dir(&bundle.directory()).finish().ok();
    let config = fs::read(bundle.directory().join("config.json")).expect("config.json");
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.iter().any(|namespace| namespace["type"] == "user"), "{config}");
    assert!(config["linux"]["uidMappings"].is_array(), "{config}");
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}
