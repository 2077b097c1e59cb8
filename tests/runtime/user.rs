//! User namespaces: config-linux.md, "User namespace mappings"; config.md, "uidMappings", "gidMappings" of mounts. As
//! root, and as an ordinary user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::exec::run;
use crate::exec_security::{found, scanner};

// A tmpfs, which /tmp may be, can be id-mapped since 6.3.
table!(Root, Busybox;
    the_ids_of_a_new_user_namespace_are_those_of_the_config,
    the_process_is_the_user_of_the_config_in_the_namespace,
    a_file_that_the_container_makes_belongs_to_the_mapped_user,
    a_file_of_an_id_that_is_not_mapped_cannot_be_changed,
    the_default_devices_are_the_hosts,
    a_device_that_the_host_does_not_have_is_refused,
    a_bind_source_that_only_root_may_reach_is_mounted,
    a_rootfs_that_only_root_may_reach_is_the_root,
    a_network_namespace_of_the_host_is_joined_from_a_new_user_namespace[Program("unshare")],
    a_user_namespace_is_joined_with_all_that_belongs_to_it,
    a_container_in_a_joined_user_namespace_has_its_own_pid_namespace,
    limits_and_oom_score_are_set_from_outside,
    a_sysctl_of_a_namespace_of_its_own_is_set,
    a_terminal_belongs_to_the_mapped_user,
    create_and_start_with_a_user_namespace,
    exec_joins_the_user_namespace,
    exec_as_another_user_of_the_namespace,
    a_map_without_a_user_namespace_is_refused,
    a_user_namespace_without_a_map_is_refused,
    a_map_that_the_kernel_would_refuse_leaves_nothing,
    the_init_cannot_be_traced_by_who_shares_its_user_namespace,
    an_init_is_not_seen_through_from_its_birth_on_by_who_shares_its_namespaces[Speed, Program("python3")],
    an_idmapped_mount_shows_the_files_as_the_mapped_users[Kernel(6, 3), Hull("runc 1.1.5 has no id-mapped mounts")],
    a_file_made_through_an_idmapped_mount_belongs_to_the_other_on_the_filesystem[Kernel(6, 3), Hull("runc 1.1.5 has no id-mapped mounts")],
    an_idmapped_mount_takes_the_ids_of_the_container[Kernel(6, 3), Hull("runc 1.1.5 has no id-mapped mounts")],
    an_ordinary_user_runs_a_container[Hull("runc 1.1.5 wants cgroup v1 of its own"), Program("setpriv")],
    an_ordinary_user_executes_in_a_container[Hull("runc 1.1.5 wants cgroup v1 of its own"), Program("setpriv")],
    an_ordinary_user_without_a_user_namespace_is_refused[Program("setpriv")],
    an_ordinary_user_cannot_map_the_ids_of_others[Program("setpriv")],
);

const FIRST: u32 = 200_000;

fn mapping(container: u32, host: u32, size: u32) -> Value {
    json!([{"containerID": container, "hostID": host, "size": size}])
}

/// A bundle with a user namespace, whose rootfs belongs to its root.
pub fn mapped() -> Bundle {
    with_user(Bundle::new())
}

fn with_user(bundle: Bundle) -> Bundle {
    let bundle = bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    give(&bundle.rootfs(), FIRST);
    open_the_way(&bundle);
    bundle
        .set("/linux/uidMappings", mapping(0, FIRST, 1000))
        .set("/linux/gidMappings", mapping(0, FIRST, 1000))
}

/// The directories of the rootfs; the programs may stay root's.
fn give(directory: &Path, id: u32) {
    chown(directory, Some(id), Some(id)).expect("chown");
    for entry in fs::read_dir(directory).expect("the rootfs").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            give(&entry.path(), id);
        }
    }
}

/// Others may go through the directories of the test: those of mktemp(1) are the user's alone.
fn open_the_way(bundle: &Bundle) {
    fs::set_permissions(bundle.directory(), Permissions::from_mode(0o755)).expect("chmod");
}

fn the_ids_of_a_new_user_namespace_are_those_of_the_config() {
    let output = mapped().script("cat /proc/self/uid_map /proc/self/gid_map").run().ok();
    let numbers: Vec<&str> = output.stdout.split_whitespace().collect();
    let first = FIRST.to_string();
    assert_eq!(numbers, [["0", first.as_str(), "1000"], ["0", first.as_str(), "1000"]].concat());
}

fn the_process_is_the_user_of_the_config_in_the_namespace() {
    let user = json!({"uid": 33, "gid": 34, "additionalGids": [35]});
    let script = "id -u; id -g; id -G";
    let _ = mapped().set("/process/user", user).script(script).run().ok().prints("33\n34\n34 35");
}

fn a_file_that_the_container_makes_belongs_to_the_mapped_user() {
    let bundle = mapped().script("echo x > /tmp/file; chown 5:6 /tmp/file");
    let _ = bundle.run().ok();
    let file = fs::metadata(bundle.rootfs().join("tmp/file")).expect("the file");
    assert_eq!((file.uid(), file.gid()), (FIRST + 5, FIRST + 6));
}

fn a_file_of_an_id_that_is_not_mapped_cannot_be_changed() {
    let bundle = mapped();
    bundle.write("tmp/hosts", "root's");
    let bundle = bundle
        .script("stat -c %u /tmp/hosts; echo x > /tmp/hosts || chown 0 /tmp/hosts || echo refused");
    let output = bundle.run().ok();
    assert_eq!(output.lines(), ["65534", "refused"]);
    assert_eq!(bundle.read("tmp/hosts"), "root's");
}

fn the_default_devices_are_the_hosts() {
    let script =
        "echo x > /dev/null && head -c 3 /dev/zero | od -An -tx1 && stat -c %t:%T /dev/full";
    let output = mapped().script(script).run().ok();
    assert_eq!(output.lines(), [" 00 00 00", "1:7"]);
}

fn a_device_that_the_host_does_not_have_is_refused() {
    let device = json!({"path": "/dev/no-such", "type": "c", "major": 1, "minor": 3});
    let _ = mapped().set("/linux/devices/-", device).run().refused().says("/dev/no-such");
    // Another one of that name is not what was asked for.
    let device = json!({"path": "/dev/zero", "type": "c", "major": 1, "minor": 3});
    let _ = mapped().set("/linux/devices/-", device).run().refused().says("1:3");
}

fn a_bind_source_that_only_root_may_reach_is_mounted() {
    let bundle = mapped();
    let private = bundle.beside("private/deep");
    fs::create_dir_all(&private).expect("mkdir");
    fs::write(private.join("file"), "found").expect("write");
    fs::set_permissions(bundle.beside("private"), Permissions::from_mode(0o700)).expect("chmod");
    let source = private.to_str().expect("UTF-8").to_owned();
    let bundle = bundle.mount("bind", &source, "/mnt", &["rbind", "ro"]);
    let output =
        bundle.script("cat /mnt/file; echo; echo x > /mnt/file || echo refused").run().ok();
    assert_eq!(output.lines(), ["found", "refused"]);
}

fn a_rootfs_that_only_root_may_reach_is_the_root() {
    let bundle = mapped().script("echo here");
    fs::set_permissions(bundle.directory(), Permissions::from_mode(0o700)).expect("chmod");
    let _ = bundle.run().ok().prints("here");
}

fn a_network_namespace_of_the_host_is_joined_from_a_new_user_namespace() {
    let other = Bundle::new().args(&["sleep", "1000"]);
    let path = format!("/proc/{}/ns/net", run(&other).pid);
    let name = fs::read_link(&path).expect("a namespace");
    // sysfs shows the network namespace, so it is for who has a right to that.
    let bundle =
        mapped().join("network", &path).without_mount("/sys").without_mount("/sys/fs/cgroup");
    let bundle = bundle.script("readlink /proc/self/ns/net; readlink /proc/self/ns/user");
    let output = bundle.run().ok();
    assert_eq!(output.lines()[0], name.to_str().expect("UTF-8"));
    let own = fs::read_link("/proc/self/ns/user").expect("a namespace");
    assert_ne!(output.lines()[1], own.to_str().expect("UTF-8"));
}

fn a_user_namespace_is_joined_with_all_that_belongs_to_it() {
    let other = mapped().args(&["sleep", "1000"]);
    let pid = run(&other).pid;
    let kinds =
        [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")];
    let mut bundle = mapped().edit(|config| {
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        config.as_object_mut().expect("an object").remove("hostname");
    });
    for (kind, file) in kinds {
        bundle = bundle.join(kind, &format!("/proc/{pid}/ns/{file}"));
    }
    let files = kinds.map(|(_, file)| file);
    let script = files.map(|file| format!("readlink /proc/self/ns/{file}")).join("; ") + "; id -u";
    let output = bundle.script(&script).run().ok();
    let expected = files.map(|file| {
        fs::read_link(format!("/proc/{pid}/ns/{file}"))
            .expect("a namespace")
            .to_str()
            .expect("UTF-8")
            .to_owned()
    });
    assert_eq!(output.lines()[..5], expected);
    assert_eq!(output.lines()[5], "0");
}

fn a_container_in_a_joined_user_namespace_has_its_own_pid_namespace() {
    let other = mapped().args(&["sleep", "1000"]);
    let path = format!("/proc/{}/ns/user", run(&other).pid);
    // Engines give the maps too.
    let bundle = mapped()
        .join("user", &path)
        .script("echo $$; mount | grep -c ' on /proc '; ls /proc | grep -c '^1$'");
    let _ = bundle.run().ok().prints("1\n1\n1");
    // In a container that is created, what is recorded is init, and not who helped it.
    let bundle = mapped().join("user", &path).args(&["sleep", "1000"]);
    let pid = run(&bundle).pid;
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).expect("comm"), "sleep\n");
    let _ = bundle.kill("KILL").ok();
}

fn limits_and_oom_score_are_set_from_outside() {
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
    let bundle = mapped().set("/process/rlimits", limits).set("/process/oomScoreAdj", 7);
    let script = "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj";
    let _ = bundle.script(script).run().ok().prints("50\n60\n7");
}

fn a_sysctl_of_a_namespace_of_its_own_is_set() {
    let bundle =
        mapped().set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "999"}));
    let script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni";
    let _ = bundle.script(script).run().ok().prints("1\n999");
}

fn a_terminal_belongs_to_the_mapped_user() {
    let bundle =
        mapped().set("/process/terminal", true).set("/process/user", json!({"uid": 5, "gid": 5}));
    let bundle = bundle.script("stat -c '%u %n' $(tty) > /tmp/owner; echo > /dev/tty");
    let _ = bundle.run().ok();
    assert!(bundle.read("tmp/owner").starts_with("5 /dev/pts/"), "{}", bundle.read("tmp/owner"));
}

fn create_and_start_with_a_user_namespace() {
    let bundle = mapped().script("id -u > /tmp/id");
    let container = bundle.create();
    assert_eq!(bundle.status(), "created");
    bundle.start();
    container.ended();
    assert_eq!(bundle.read("tmp/id"), "0\n");
    let _ = bundle.delete().ok();
}

fn exec_joins_the_user_namespace() {
    let bundle = mapped().args(&["sleep", "1000"]);
    let pid = run(&bundle).pid;
    let output = bundle.call(&[
        "exec",
        bundle.id(),
        "sh",
        "-c",
        "id -u; readlink /proc/self/ns/user; ls /proc | grep -c '^1$'",
    ]);
    let output = output.finish().ok();
    let namespace = fs::read_link(format!("/proc/{pid}/ns/user")).expect("a namespace");
    assert_eq!(output.lines(), ["0", namespace.to_str().expect("UTF-8"), "1"]);
}

fn exec_as_another_user_of_the_namespace() {
    let bundle = mapped().args(&["sleep", "1000"]);
    run(&bundle);
    let exec =
        |user: &str| bundle.call(&["exec", "--user", user, bundle.id(), "id", "-u"]).finish();
    let _ = exec("33:44").ok().prints("33");
    // It is not mapped.
    let _ = exec("1000").exits(255).says("/process/user");
}

fn a_map_without_a_user_namespace_is_refused() {
    let bundle = Bundle::new().set("/linux/uidMappings", mapping(0, FIRST, 1));
    let _ = bundle.try_create().refused().names("/linux/uidMappings");
    let _ = mapped().run().ok();
}

fn a_user_namespace_without_a_map_is_refused() {
    let bundle = Bundle::new().set("/linux/namespaces/-", json!({"type": "user"}));
    let _ = bundle.try_create().refused().names("/linux/uidMappings").names("/linux/gidMappings");
}

fn a_map_that_the_kernel_would_refuse_leaves_nothing() {
    let lines = json!([
        {"containerID": 0, "hostID": FIRST, "size": 10}, {"containerID": 5, "hostID": 1, "size": 1}
    ]);
    let bundle = mapped().set("/linux/uidMappings", lines);
    let _ = bundle.try_create().refused().names("/linux/uidMappings/1");
    assert!(bundle.processes().is_empty() && bundle.cgroups().is_empty());
}

// Init is of the user namespace from its birth on, so another root there could look into it until it is the program.
fn the_init_cannot_be_traced_by_who_shares_its_user_namespace() {
    let other = mapped().args(&["sleep", "1000"]).set("/process/capabilities", all_capabilities());
    let pid = run(&other).pid;
    let bundle = mapped()
        .join("user", &format!("/proc/{pid}/ns/user"))
        .join("pid", &format!("/proc/{pid}/ns/pid"));
    let bundle = bundle.args(&["sleep", "1000"]);
    let _container = bundle.create();
    let look = "for p in /proc/[0-9]*; do case $(cat $p/comm) in hull*) ls -l $p/exe $p/fd $p/root;; esac; done";
    let output = other.call(&["exec", other.id(), "sh", "-c", look]).finish();
    assert!(!output.stdout.contains("->"), "what init has can be seen: {output}");
    assert!(
        output.stderr.to_lowercase().contains("permission denied"),
        "init was not found: {output}"
    );
    // The twin: a process that became a program of the container can be looked into.
    let output = other.call(&["exec", other.id(), "ls", "-l", "/proc/1/exe"]).finish().ok();
    assert!(output.stdout.contains("sleep"), "{output}");
}

// The program is one of another path, so that no init is taken for it.
fn an_init_is_not_seen_through_from_its_birth_on_by_who_shares_its_namespaces() {
    let (other, ready, result) = scanner("/bin/true");
    let other = with_user(other).set("/process/capabilities", all_capabilities());
    let pid = run(&other).pid;
    ready.line();
    let create = || {
        let bundle = mapped()
            .join("user", &format!("/proc/{pid}/ns/user"))
            .join("pid", &format!("/proc/{pid}/ns/pid"));
        bundle.create();
    };
    (0..50).for_each(|_| create());
    let has_looked = || {
        create();
        call::readable(ready.as_fd(), Duration::ZERO)
    };
    assert!(call::comes_true(has_looked), "no init was looked at");
    let seen = found(&other, &result);
    // The mounts and the network are those that it is born with, and the command line is the runtime's.
    let shown: Vec<_> = seen
        .split(' ')
        .filter(|it| !["", "cmdline", "mountinfo", "net/dev", "net/unix"].contains(it))
        .collect();
    assert_eq!(shown, [""; 0]);
}

fn all_capabilities() -> Value {
    let list =
        json!(["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]);
    json!({"bounding": list, "effective": list, "permitted": list})
}

/// A bundle, a directory with one file of user 5, and its path.
fn with_source(bundle: &Bundle) -> String {
    let source = bundle.beside("source");
    fs::create_dir(&source).expect("mkdir");
    fs::set_permissions(&source, Permissions::from_mode(0o777)).expect("chmod");
    fs::write(source.join("file"), "").expect("write");
    chown(source.join("file"), Some(5), Some(6)).expect("chown");
    source.to_str().expect("UTF-8").to_owned()
}

fn an_idmapped_mount_shows_the_files_as_the_mapped_users() {
    let bundle = Bundle::new();
    let source = with_source(&bundle);
    let bundle = bundle.mount("bind", &source, "/mnt", &["bind", "idmap"]).edit(|config| {
        let mount = config["mounts"].as_array_mut().expect("mounts").last_mut().expect("the mount");
        mount["uidMappings"] = mapping(0, 1000, 100);
        mount["gidMappings"] = mapping(0, 2000, 100);
    });
    let _ = bundle.script("stat -c %u:%g /mnt/file").run().ok().prints("1005:2006");
}

fn a_file_made_through_an_idmapped_mount_belongs_to_the_other_on_the_filesystem() {
    let bundle = Bundle::new();
    let source = with_source(&bundle);
    // Where the owner of the directory is not mapped, nobody may write.
    chown(&source, Some(7), Some(8)).expect("chown");
    let bundle = bundle.mount("bind", &source, "/mnt", &["bind"]).edit(|config| {
        let mount = config["mounts"].as_array_mut().expect("mounts").last_mut().expect("the mount");
        mount["uidMappings"] = mapping(7, 0, 1);
        mount["gidMappings"] = mapping(8, 0, 1);
    });
    let bundle = bundle.script("touch /mnt/new");
    let _ = bundle.run().ok();
    let file = fs::metadata(format!("{source}/new")).expect("the file");
    assert_eq!((file.uid(), file.gid()), (7, 8));
}

fn an_idmapped_mount_takes_the_ids_of_the_container() {
    let bundle = mapped();
    let source = with_source(&bundle);
    let plain = mapped().mount("bind", &source, "/mnt", &["bind"]);
    let _ = plain.script("stat -c %u:%g /mnt/file").run().ok().prints("65534:65534");
    let bundle = bundle.mount("bind", &source, "/mnt", &["bind", "idmap"]);
    let _ = bundle.script("stat -c %u:%g /mnt/file").run().ok().prints("5:6");
}

/// A user without any right, and a bundle that is his.
const ORDINARY: u32 = 64_123;

fn of_an_ordinary_user() -> Bundle {
    of_user(ORDINARY)
}

/// A bundle of a user, who calls the runtime too, with a user namespace that has his own ids.
pub fn of_user(user: u32) -> Bundle {
    let id = user.to_string();
    let bundle = Bundle::new().set("/linux/namespaces/-", json!({"type": "user"}));
    for path in [bundle.directory(), bundle.root(), bundle.rootfs(), bundle.beside("output")] {
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
        chown(&path, Some(user), Some(user)).expect("chown");
    }
    give(&bundle.rootfs(), user);
    let arguments =
        ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--inh-caps=-all"];
    bundle
        .through(&arguments)
        .set("/linux/uidMappings", mapping(0, user, 1))
        .set("/linux/gidMappings", mapping(0, user, 1))
        .edit(|config| {
            config["linux"].as_object_mut().expect("linux").remove("cgroupsPath");
            config["linux"].as_object_mut().expect("linux").remove("resources");
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            // The group tty is not mapped.
            let devpts =
                mounts.iter_mut().find(|mount| mount["type"] == "devpts").expect("a devpts");
            devpts["options"] = json!(["newinstance", "ptmxmode=0666", "mode=0620"]);
        })
}

fn an_ordinary_user_runs_a_container() {
    let bundle = of_an_ordinary_user().script("id -u; cat /proc/self/uid_map; echo x > /tmp/file");
    let output = bundle.run().ok();
    let numbers: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(numbers, ["0", "0", &ORDINARY.to_string(), "1"]);
    assert_eq!(fs::metadata(bundle.rootfs().join("tmp/file")).expect("the file").uid(), ORDINARY);
}

fn an_ordinary_user_executes_in_a_container() {
    let bundle = of_an_ordinary_user().args(&["sleep", "1000"]);
    run(&bundle);
    let output =
        bundle.call(&["exec", bundle.id(), "sh", "-c", "id -u; ls /proc | grep -c '^1$'"]).finish();
    let _ = output.ok().prints("0\n1");
    let _ = bundle.kill("KILL").ok();
}

fn an_ordinary_user_without_a_user_namespace_is_refused() {
    let bundle = of_an_ordinary_user().without_namespace("user").edit(|config| {
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    let _ = bundle.run().refused().names("/linux/namespaces");
}

fn an_ordinary_user_cannot_map_the_ids_of_others() {
    let bundle = of_an_ordinary_user().set("/linux/uidMappings", mapping(0, 0, 1));
    let _ = bundle.run().refused().names("/linux/uidMappings");
    assert!(call::is_peer() || bundle.processes().is_empty());
}
