//! Masked paths, read-only paths, the read-only root, kernel parameters and the propagation of the root:
//! config-linux.md; config.md, "Root".

use std::fs;

use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;
use crate::mountinfo::{self, Mounted};

table!(Root, Busybox;
    a_masked_file_is_empty_and_cannot_be_written,
    a_masked_directory_is_empty_and_cannot_be_written,
    a_path_that_is_named_twice_is_masked_once[Hull("runc 1.1.5 masks it twice")],
    a_masked_path_that_is_missing_is_skipped,
    a_masked_path_may_be_a_symlink_in_the_rootfs,
    a_relative_masked_path_is_refused[Hull("runc 1.1.5 takes it")],
    the_masked_path_of_an_inner_mount_is_masked,
    a_read_only_path_refuses_writes,
    a_read_only_file_refuses_writes,
    a_read_only_path_that_is_missing_is_skipped,
    a_read_only_path_keeps_its_other_flags,
    a_relative_read_only_path_is_refused[Hull("runc 1.1.5 takes it")],
    a_read_only_root_refuses_writes,
    a_read_only_root_leaves_its_mounts_writable,
    the_root_may_be_an_absolute_path,
    the_root_path_may_climb_out_of_the_bundle,
    a_kernel_parameter_of_the_ipc_namespace_is_set,
    a_kernel_parameter_of_the_network_namespace_is_set,
    a_kernel_parameter_with_slashes_is_set[Hull("runc 1.1.5 knows only dots")],
    a_kernel_parameter_of_the_host_is_refused,
    a_network_parameter_in_the_hosts_namespace_is_refused,
    an_ipc_parameter_in_the_hosts_namespace_is_refused,
    a_kernel_parameter_that_climbs_out_is_refused,
    a_kernel_parameter_that_is_missing_is_refused,
    a_hostname_as_kernel_parameter_is_refused,
    a_private_root_has_no_peers,
    a_recursively_slave_root_receives_the_hosts_mounts,
    a_slave_root_receives_the_hosts_mounts[Hull("runc 1.1.5 makes the root private")],
    a_private_root_does_not_receive_the_hosts_mounts,
    a_shared_root_belongs_to_a_new_peer_group[Hull("runc 1.1.5 leaves it private")],
    an_unbindable_root_cannot_be_bound[Hull("runc 1.1.5 fails to bind it itself")],
    an_unknown_propagation_is_refused[Hull("runc 1.1.5 ignores it")],
    the_hosts_propagation_stays,
);

// "maskedPaths will mask over the provided paths inside the container so that they cannot be read."
fn a_masked_file_is_empty_and_cannot_be_written() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
    let bundle = bundle
        .script("cat /secret /proc/version | wc -c; echo x > /secret; stat -c '%t:%T' /secret");
    bundle.write("secret", "secret");
    let output = bundle.run();
    assert_eq!(output.lines(), ["0", "1:3"], "{output}");
    assert_eq!(bundle.read("secret"), "secret");
}

fn a_masked_directory_is_empty_and_cannot_be_written() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/directory"]));
    let bundle = bundle.script("ls /directory | wc -l; touch /directory/new");
    bundle.write("directory/secret", "secret");
    let output = bundle.run().exits(1);
    assert_eq!(output.stdout.trim(), "0");
    let _ = output.says("read-only");
    assert!(!bundle.rootfs().join("directory/new").exists());
    // Its twin.
    let bundle = Bundle::new().script("ls /directory");
    bundle.write("directory/secret", "secret");
    let _ = bundle.run().ok().prints("secret");
}

fn a_path_that_is_named_twice_is_masked_once() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/proc/version", "/proc/version"]));
    let bundle = bundle.script("grep -c ' /proc/version ' /proc/self/mountinfo");
    let _ = bundle.run().ok().prints("1");
}

fn a_masked_path_that_is_missing_is_skipped() {
    let _ =
        Bundle::new().set("/linux/maskedPaths", json!(["/no/such/path", "/proc/none"])).run().ok();
}

// "The values MUST be absolute paths in the container namespace."
fn a_masked_path_may_be_a_symlink_in_the_rootfs() {
    let bundle =
        Bundle::new().set("/linux/maskedPaths", json!(["/link"])).script("cat /etc/secret | wc -c");
    bundle.write("etc/secret", "secret");
    bundle.link("/etc/secret", "link");
    let _ = bundle.run().ok().prints("0");
}

fn a_relative_masked_path_is_refused() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/proc/kcore", "proc/keys"]));
    let _ = bundle.try_create().refused().names("/linux/maskedPaths/1");
}

fn the_masked_path_of_an_inner_mount_is_masked() {
    let bundle = Bundle::new()
        .mount("bind", "data", "/mnt", &["bind"])
        .set("/linux/maskedPaths", json!(["/mnt/secret"]));
    let bundle = bundle.script("cat /mnt/secret | wc -c");
    fs::create_dir(bundle.directory().join("data")).expect("mkdir");
    fs::write(bundle.directory().join("data/secret"), "secret").expect("write");
    let _ = bundle.run().ok().prints("0");
}

// "readonlyPaths will set the provided paths as readonly inside the container."
fn a_read_only_path_refuses_writes() {
    let bundle = Bundle::new()
        .set("/linux/readonlyPaths", json!(["/directory"]))
        .args(&["touch", "/directory/new"]);
    bundle.mkdir("directory");
    let _ = bundle.run().exits(1).says("read-only");
    let bundle = Bundle::new().args(&["touch", "/directory/new"]);
    bundle.mkdir("directory");
    let _ = bundle.run().ok();
    let _ = Bundle::new()
        .script("echo 1 > /proc/sys/net/ipv4/ip_forward")
        .run()
        .exits(1)
        .says("read-only");
}

fn a_read_only_file_refuses_writes() {
    let bundle = Bundle::new()
        .set("/linux/readonlyPaths", json!(["/file"]))
        .script("cat /file; echo changed > /file");
    bundle.write("file", "text");
    let _ = bundle.run().exits(1).prints("text").says("read-only");
}

fn a_read_only_path_that_is_missing_is_skipped() {
    let _ = Bundle::new()
        .set("/linux/readonlyPaths", json!(["/no/such/path", "/proc/none"]))
        .run()
        .ok();
}

fn a_read_only_path_keeps_its_other_flags() {
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/mnt", &["nosuid", "nodev", "noexec"]);
    let mounted = mountinfo::at(bundle.set("/linux/readonlyPaths", json!(["/mnt"])), "/mnt");
    assert!(
        ["ro", "nosuid", "nodev", "noexec"].iter().all(|word| mounted.has(word)),
        "{mounted:?}"
    );
}

fn a_relative_read_only_path_is_refused() {
    let bundle = Bundle::new().set("/linux/readonlyPaths", json!(["etc"]));
    let _ = bundle.try_create().refused().names("/linux/readonlyPaths/0");
}

// "If true then the root filesystem MUST be read-only inside the container, defaults to false."
fn a_read_only_root_refuses_writes() {
    let _ = Bundle::new()
        .set("/root/readonly", true)
        .args(&["touch", "/file"])
        .run()
        .exits(1)
        .says("read-only");
    let _ = Bundle::new().set("/root/readonly", false).args(&["touch", "/file"]).run().ok();
}

fn a_read_only_root_leaves_its_mounts_writable() {
    let bundle = Bundle::new()
        .set("/root/readonly", true)
        .script("echo x > /dev/null && touch /dev/shm/file /dev/file");
    let _ = bundle.run().ok();
}

// "path is either an absolute path or a relative path to the bundle."
fn the_root_may_be_an_absolute_path() {
    let bundle = Bundle::new().args(&["echo", "ran"]);
    let rootfs = bundle.rootfs();
    let _ = bundle.set("/root/path", rootfs.to_str().expect("UTF-8")).run().ok().prints("ran");
}

fn the_root_path_may_climb_out_of_the_bundle() {
    let bundle = Bundle::new().set("/root/path", "../moved/rootfs").args(&["echo", "ran"]);
    fs::create_dir(bundle.beside("moved")).expect("mkdir");
    fs::rename(bundle.rootfs(), bundle.beside("moved/rootfs")).expect("rename");
    let _ = bundle.run().ok().prints("ran");
    fs::rename(bundle.beside("moved/rootfs"), bundle.rootfs()).expect("rename");
}

// "sysctl allows kernel parameters to be modified at runtime for the container."
fn a_kernel_parameter_of_the_ipc_namespace_is_set() {
    let before = fs::read_to_string("/proc/sys/kernel/shmmni").expect("read");
    let bundle = Bundle::new()
        .set("/linux/sysctl", json!({"kernel.shmmni": "1234", "fs.mqueue.msg_max": "15"}));
    let bundle = bundle.args(&["cat", "/proc/sys/kernel/shmmni", "/proc/sys/fs/mqueue/msg_max"]);
    let _ = bundle.run().ok().prints("1234\n15");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/shmmni").expect("read"), before);
}

fn a_kernel_parameter_of_the_network_namespace_is_set() {
    let bundle = Bundle::new()
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "net.core.somaxconn": "256"}));
    let bundle =
        bundle.args(&["cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/core/somaxconn"]);
    let _ = bundle.run().ok().prints("1\n256");
}

// sysctl.d(5): with a slash first, dots are part of a name.
fn a_kernel_parameter_with_slashes_is_set() {
    let bundle = Bundle::new().set("/linux/sysctl", json!({"net/ipv4/ip_forward": "1"}));
    let _ = bundle.args(&["cat", "/proc/sys/net/ipv4/ip_forward"]).run().ok().prints("1");
}

fn a_kernel_parameter_of_the_host_is_refused() {
    for name in [
        "vm.swappiness",
        "kernel.core_pattern",
        "kernel.sysrq",
        "fs.file-max",
        "kernel.pid_max",
        "",
    ] {
        let _ = Bundle::new()
            .set("/linux/sysctl", json!({name: "1"}))
            .try_create()
            .refused()
            .names("/linux/sysctl");
    }
}

fn a_network_parameter_in_the_hosts_namespace_is_refused() {
    let bundle = Bundle::new()
        .without_namespace("network")
        .set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let _ = bundle.try_create().refused().names("/linux/sysctl").says("net.ipv4.ip_forward");
}

fn an_ipc_parameter_in_the_hosts_namespace_is_refused() {
    let bundle = Bundle::new().without_namespace("ipc").without_mount("/dev/mqueue");
    let _ = bundle
        .set("/linux/sysctl", json!({"kernel.shmmni": "1234"}))
        .try_create()
        .refused()
        .names("/linux/sysctl");
}

fn a_kernel_parameter_that_climbs_out_is_refused() {
    for name in [
        "net.../kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4/../../kernel/sysrq",
        "net/ipv4/../../vm/swappiness",
    ] {
        let _ = Bundle::new()
            .set("/linux/sysctl", json!({name: "1"}))
            .try_create()
            .refused()
            .names("/linux/sysctl");
    }
}

fn a_kernel_parameter_that_is_missing_is_refused() {
    let _ =
        Bundle::new().set("/linux/sysctl", json!({"net.none.at.all": "1"})).try_create().refused();
}

fn a_hostname_as_kernel_parameter_is_refused() {
    let _ =
        Bundle::new().set("/linux/sysctl", json!({"kernel.hostname": "x"})).try_create().refused();
}

fn root_propagation(propagation: &str) -> Bundle {
    Bundle::new().set("/linux/rootfsPropagation", propagation)
}

// private: "the rootfs mount doesn't receive mount propagation events from the host".
fn a_private_root_has_no_peers() {
    for word in ["private", "rprivate"] {
        let mounted = mountinfo::at(root_propagation(word), "/");
        assert_eq!(mounted.propagation, "", "{mounted:?}");
    }
    assert!(!mountinfo::at(Bundle::new(), "/").propagation.contains("shared"));
}

/// Whether a container sees what the host mounts in its rootfs after its creation.
fn a_late_mount_is_seen(propagation: &str) -> bool {
    let bundle = root_propagation(propagation).args(&["sleep", "1000"]);
    // The rootfs is a mount of its own and shared, as with an engine whose host is.
    rustix::mount::mount_bind_recursive(bundle.rootfs(), bundle.rootfs()).expect("bind");
    rustix::mount::mount_change(bundle.rootfs(), MountPropagationFlags::SHARED)
        .expect("make it shared");
    bundle.mkdir("late");
    let container = bundle.create().start();
    rustix::mount::mount("late", bundle.rootfs().join("late"), "tmpfs", MountFlags::empty(), None)
        .expect("mount");
    Mounted::find(&container.proc("mountinfo"), "/late").is_some()
}

// slave: "the rootfs mount receives propagation events from the host (e.g. if something is mounted on the host it will
// also appear in the container) but not the other way around."
fn a_slave_root_receives_the_hosts_mounts() {
    assert!(a_late_mount_is_seen("slave"));
}

fn a_recursively_slave_root_receives_the_hosts_mounts() {
    assert!(a_late_mount_is_seen("rslave"));
}

fn a_private_root_does_not_receive_the_hosts_mounts() {
    assert!(!a_late_mount_is_seen("private"));
    assert!(!a_late_mount_is_seen("rprivate"));
}

// shared: "the rootfs mount belongs to a new peer group. [...] Note this does not mean that it's shared with the host."
fn a_shared_root_belongs_to_a_new_peer_group() {
    for word in ["shared", "rshared"] {
        let bundle = root_propagation(word).args(&["sleep", "1000"]);
        let container = bundle.create().start();
        let mounted = Mounted::find(&container.proc("mountinfo"), "/").expect("the root");
        let group = mounted.propagation.split(' ').next().expect("a word").to_owned();
        assert!(group.starts_with("shared:"), "{word}: {mounted:?}");
        let host = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!host.contains(&format!(" {group} ")), "{group}: {host}");
    }
}

// unbindable: "the rootfs mount is a private mount that cannot be bind-mounted."
fn an_unbindable_root_cannot_be_bound() {
    for word in ["unbindable", "runbindable"] {
        let mounted = mountinfo::at(root_propagation(word), "/");
        assert_eq!(mounted.propagation, "unbindable", "{word}");
    }
}

fn an_unknown_propagation_is_refused() {
    let _ = root_propagation("sideways").try_create().refused().names("/linux/rootfsPropagation");
}

fn the_hosts_propagation_stays() {
    let propagation = || {
        let text = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !line.contains(crate::bundle::MARK))
            .map(str::to_owned)
            .collect();
        lines.sort_unstable();
        lines
    };
    let before = propagation();
    for word in ["shared", "slave", "private", "rshared", "rprivate"] {
        let _ = root_propagation(word).run().ok();
    }
    assert_eq!(propagation(), before);
}
