//! Namespaces: config-linux.md, "Namespaces", "Offset for Time Namespace".

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::bad_input::Host;
use crate::bundle::Bundle;
use crate::case::table;

table!(Root, Busybox;
    each_listed_namespace_is_new,
    a_namespace_that_is_not_listed_is_the_runtimes,
    a_namespace_is_joined_by_its_path,
    a_pid_namespace_is_joined_by_its_path,
    a_mount_namespace_is_joined_by_its_path[Hull("runc 1.1.5 makes the new root everybody's")],
    an_inherited_mount_namespace_is_as_before_when_the_container_is_gone[Hull("runc leaves its mounts")],
    mounts_of_a_user_namespace_need_a_mount_namespace[Hull("runc tries")],
    a_cgroup_namespace_is_joined_by_its_path,
    a_namespace_bound_to_a_file_is_joined,
    a_path_of_another_type_is_refused,
    a_path_that_is_no_namespace_is_refused,
    a_path_that_is_missing_is_refused,
    a_relative_path_is_refused,
    a_namespace_listed_twice_is_refused,
    an_unknown_namespace_is_refused,
    an_own_network_has_only_a_loopback_device,
    an_own_pid_namespace_has_the_program_as_its_first,
    without_a_pid_namespace_the_program_has_a_pid_of_the_host,
    an_own_cgroup_namespace_hides_the_path,
    two_containers_share_the_network_of_the_first,
    a_time_namespace_is_new[Kernel(5, 6), Hull("runc 1.1.5 knows no time namespace")],
    time_offsets_move_the_clocks[Kernel(5, 6), Hull("runc 1.1.5 knows no time namespace")],
    a_negative_time_offset_is_refused_by_the_kernel_with_its_field[Kernel(5, 6), Hull("runc 1.1.5 knows no time namespace")],
    time_offsets_without_a_time_namespace_are_refused[Hull("runc 1.1.5 knows no time namespace")],
    time_offsets_of_a_joined_namespace_are_refused[Kernel(5, 6), Hull("runc 1.1.5 knows no time namespace")],
    an_unknown_clock_is_refused[Hull("runc 1.1.5 knows no time namespace")],
    a_time_namespace_is_joined_by_its_path[Kernel(5, 6), Hull("runc 1.1.5 knows no time namespace")],
    a_joined_namespace_outlives_the_container,
);

/// The words of config.json and the names under /proc/PID/ns.
const KINDS: [(&str, &str); 6] = [
    ("pid", "pid"),
    ("network", "net"),
    ("mount", "mnt"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("cgroup", "cgroup"),
];

/// A process of the host in namespaces of its own, until it is dropped.
pub struct Holder {
    child: Child,
    /// The process inside; with a new pid namespace, a child of `child`.
    pub pid: i32,
}

impl Holder {
    pub fn new(options: &[&str]) -> Self {
        // It prints its pid as the host sees it, then waits for the end of its input.
        let mut child = Command::new("unshare")
            .args(options)
            .args(["sh", "-c", "echo ready; cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        let own = child.id().cast_signed();
        let children =
            fs::read_to_string(format!("/proc/{own}/task/{own}/children")).expect("children");
        let fork = options.contains(&"--fork");
        let pid = if fork { children.trim().parse().expect("one child") } else { own };
        Self { child, pid }
    }

    pub fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.pid)
    }

    pub fn namespace(&self, name: &str) -> String {
        link(self.pid, name)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// Which namespace of this name under /proc/PID/ns a process is in.
pub fn link(pid: i32, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}"))
        .expect("a namespace")
        .to_string_lossy()
        .into_owned()
}

fn own(name: &str) -> String {
    link(std::process::id().cast_signed(), name)
}

// "If path is not specified, the runtime MUST create a new container namespace of type type."
fn each_listed_namespace_is_new() {
    let bundle = Bundle::new();
    let container = bundle.create();
    for (kind, name) in KINDS {
        assert_ne!(link(container.pid, name), own(name), "{kind}");
    }
}

// "If a namespace type is not specified in the namespaces array, the container MUST inherit the runtime namespace of
// that type."
fn a_namespace_that_is_not_listed_is_the_runtimes() {
    for (kind, name) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
        let mut bundle = Bundle::new().without_namespace(kind);
        match *kind {
            "uts" => bundle = bundle.without("/hostname"),
            "ipc" => bundle = bundle.without_mount("/dev/mqueue"),
            // A new sysfs needs a network namespace that belongs to the mounter: this one does.
            _ => {}
        }
        let container = bundle.create();
        assert_eq!(link(container.pid, name), own(name), "{kind}");
    }
}

// "The runtime MUST place the container process in the namespace associated with that path."
fn a_namespace_is_joined_by_its_path() {
    let holder = Holder::new(&["--net", "--ipc", "--uts"]);
    for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        let bundle = Bundle::new().join(kind, &holder.path(name));
        let bundle = if kind == "uts" { bundle.without("/hostname") } else { bundle };
        let container = bundle.create();
        assert_eq!(link(container.pid, name), holder.namespace(name), "{kind}");
        bundle.start();
        container.ended();
    }
    let bundle = Bundle::new()
        .join("network", &holder.path("net"))
        .join("ipc", &holder.path("ipc"))
        .join("uts", &holder.path("uts"))
        .without("/hostname");
    let container = bundle.create();
    for name in ["net", "ipc", "uts"] {
        assert_eq!(link(container.pid, name), holder.namespace(name), "{name}");
    }
}

fn a_pid_namespace_is_joined_by_its_path() {
    let holder = Holder::new(&["--pid", "--fork", "--kill-child"]);
    let bundle = Bundle::new().join("pid", &holder.path("pid")).script("echo $$; sleep 1000");
    let container = bundle.create().start();
    assert_eq!(link(container.pid, "pid"), holder.namespace("pid"));
    let line = container.status_line("NSpid");
    let inner: i32 = line.split_whitespace().last().expect("a pid").parse().expect("a number");
    assert!(inner > 1, "{line}");
    assert_eq!(bundle.status(), "running");
    let _ = bundle.kill("KILL").ok();
    container.ended();
    let _ = bundle.delete().ok();
}

/// Nothing is mounted for it.
pub fn without_mounts(bundle: Bundle) -> Bundle {
    let bundle = bundle.set("/mounts", json!([]));
    bundle.without("/linux/maskedPaths").without("/linux/readonlyPaths")
}

fn a_mount_namespace_is_joined_by_its_path() {
    for bundle in [Bundle::new(), without_mounts(Bundle::new())] {
        let holder = Holder::new(&["--mount"]);
        let bundle = bundle.join("mount", &holder.path("mnt"));
        let container = bundle.create();
        assert_eq!(link(container.pid, "mnt"), holder.namespace("mnt"));
        container.start().ended();
    }
}

// "If a namespace type is not specified in the namespaces array, the container MUST inherit the runtime namespace of
// that type." The mounts are there all the same, and go with the container.
fn an_inherited_mount_namespace_is_as_before_when_the_container_is_gone() {
    let inheriting = || Bundle::new().without_namespace("mount");
    let own = link(rustix::process::getpid().as_raw_nonzero().get(), "mnt");
    let is_mounted = |bundle: &Bundle| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
        mounts.contains(&format!(" {}/proc ", bundle.rootfs().display()))
    };

    let bundle = inheriting().args(&["sleep", "1000"]);
    let before = Host::now(&bundle);
    let container = bundle.create();
    assert_eq!(link(container.pid, "mnt"), own);
    assert!(is_mounted(&bundle));
    container.start();
    let exec = bundle.call(&["exec", bundle.id(), "ls", "/proc/1/comm", "/proc/acpi"]).finish();
    assert_eq!(exec.ok().lines(), ["/proc/1/comm", "", "/proc/acpi:"], "what is masked is empty");
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_eq!(Host::now(&bundle), before);

    let _ = inheriting().args(&["true"]).run().ok();
    for bundle in [inheriting().args(&["/is/missing"]), inheriting().set("/process/cwd", "/bin/sh")]
    {
        let before = Host::now(&bundle);
        let _ = bundle.try_create().refused();
        assert_eq!(Host::now(&bundle), before);
    }

    let killed = inheriting().args(&["sleep", "1000"]);
    let (before, ready) = (Host::now(&killed), killed.fifo("ready"));
    // It stays until its pid namespace ends, with the runtime: nothing waits for that time.
    let hook = json!({"path": "/bin/sh",
        "args": ["sh", "-c", format!("echo in > {}; exec sleep 1000", ready.path())]});
    let killed = killed.set("/hooks/createContainer", json!([hook]));
    let create = killed.call_with("create", &[]).begin();
    assert_eq!(ready.line(), "in");
    assert!(is_mounted(&killed));
    create.signal(rustix::process::Signal::KILL);
    let _ = create.finish().exits(1009);
    let _ = killed.operate(&["delete", "--force"]).ok();
    assert_eq!(Host::now(&killed), before);
}

// mount_namespaces(7): a user namespace has no right to change a mount namespace that is another one's.
fn mounts_of_a_user_namespace_need_a_mount_namespace() {
    let ids = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    let bundle = Bundle::new()
        .without_namespace("mount")
        .set("/linux/namespaces/-", json!({"type": "user"}))
        .set("/linux/uidMappings", ids.clone())
        .set("/linux/gidMappings", ids);
    let _ = bundle.try_create().refused().names("/mounts");
}

fn a_cgroup_namespace_is_joined_by_its_path() {
    let holder = Holder::new(&["--cgroup"]);
    let bundle = Bundle::new().join("cgroup", &holder.path("cgroup"));
    let container = bundle.create();
    assert_eq!(link(container.pid, "cgroup"), holder.namespace("cgroup"));
}

// As `ip netns add` makes them: /run/netns/NAME.
fn a_namespace_bound_to_a_file_is_joined() {
    let holder = Holder::new(&["--net"]);
    let expected = holder.namespace("net");
    let bundle = Bundle::new();
    let file = bundle.beside("netns");
    fs::write(&file, "").expect("create");
    rustix::mount::mount_bind(holder.path("net"), &file).expect("bind");
    drop(holder);
    let bundle = bundle.join("network", file.to_str().expect("UTF-8"));
    let container = bundle.create();
    assert_eq!(link(container.pid, "net"), expected);
}

// "The runtime MUST generate an error if path is not associated with a namespace of type type."
fn a_path_of_another_type_is_refused() {
    for (kind, path) in [
        ("network", "uts"),
        ("uts", "net"),
        ("ipc", "net"),
        ("pid", "net"),
        ("cgroup", "net"),
        ("mount", "net"),
    ] {
        let mut bundle = Bundle::new().join(kind, &format!("/proc/self/ns/{path}"));
        if kind == "mount" {
            bundle = without_mounts(bundle);
        }
        let _ = bundle.try_create().refused().names("/linux/namespaces/5");
    }
}

fn a_path_that_is_no_namespace_is_refused() {
    for path in ["/etc/hostname", "/", "/dev/null"] {
        let _ =
            Bundle::new().join("network", path).try_create().refused().names("/linux/namespaces/5");
    }
}

fn a_path_that_is_missing_is_refused() {
    let output = Bundle::new().join("network", "/run/no/such/ns").try_create().refused();
    let _ = output.names("/linux/namespaces/5").says("no such file or directory");
}

// "This value MUST be an absolute path in the runtime mount namespace."
fn a_relative_path_is_refused() {
    for path in ["proc/self/ns/net", "ns"] {
        let _ =
            Bundle::new().join("network", path).try_create().refused().names("/linux/namespaces/5");
    }
}

// "If a namespaces field contains duplicated namespaces with same type, the runtime MUST generate an error."
fn a_namespace_listed_twice_is_refused() {
    for (kind, _) in KINDS {
        let bundle = Bundle::new().set("/linux/namespaces/-", json!({"type": kind}));
        let _ = bundle.try_create().refused().names("/linux/namespaces/6");
    }
}

fn an_unknown_namespace_is_refused() {
    for kind in ["net", "", "everything"] {
        let bundle = Bundle::new().set("/linux/namespaces/-", json!({"type": kind}));
        let _ = bundle.try_create().refused().names("/linux/namespaces/6");
    }
}

// network: "the container will have its own network stack."
fn an_own_network_has_only_a_loopback_device() {
    let _ = Bundle::new().args(&["ls", "/sys/class/net"]).run().ok().prints("lo");
    let output = Bundle::new().script("cat /sys/class/net/lo/flags; ip -o link show lo").run().ok();
    // docker and podman rely on a device that is up when it is a new namespace.
    assert!(output.stdout.contains("0x9") && output.stdout.contains("UP"), "{output}");
}

// pid: "processes inside the container will only be able to see other processes inside the same container".
fn an_own_pid_namespace_has_the_program_as_its_first() {
    let _ = Bundle::new()
        .script("echo $$; ls /proc | grep '^[0-9]' | head -1")
        .run()
        .ok()
        .prints("1\n1");
}

fn without_a_pid_namespace_the_program_has_a_pid_of_the_host() {
    let bundle = Bundle::new().without_namespace("pid").script("echo $$; sleep 1000");
    let container = bundle.create().start();
    assert_eq!(container.status_line("NSpid"), container.pid.to_string());
    let _ = bundle.operate(&["delete", "--force"]).ok();
    container.ended();
}

// cgroup: "the container will have an isolated view of the cgroup hierarchy."
fn an_own_cgroup_namespace_hides_the_path() {
    let _ = Bundle::new().script("grep '^0:' /proc/self/cgroup").run().ok().prints("0::/");
    let bundle = Bundle::new().without_namespace("cgroup").script("grep '^0:' /proc/self/cgroup");
    let output = bundle.run().ok();
    assert!(output.stdout.contains(bundle.id()), "{output}");
}

fn two_containers_share_the_network_of_the_first() {
    let first = Bundle::new().args(&["sleep", "1000"]);
    let sandbox = first.create().start();
    let path = |name: &str| format!("/proc/{}/ns/{name}", sandbox.pid);
    let second = Bundle::new()
        .join("network", &path("net"))
        .join("ipc", &path("ipc"))
        .join("uts", &path("uts"));
    let second = second.without("/hostname").args(&["hostname"]);
    let _ = second.run().ok().prints("container");
    let third = Bundle::new().join("pid", &path("pid")).args(&["cat", "/proc/1/comm"]);
    let _ = third.run().ok().prints("sleep");
    assert_eq!(first.status(), "running");
}

fn with_time(bundle: Bundle) -> Bundle {
    bundle.set("/linux/namespaces/-", json!({"type": "time"}))
}

// time: "the container will be able to have its own clocks."
fn a_time_namespace_is_new() {
    let bundle = with_time(Bundle::new()).args(&["sleep", "1000"]);
    let container = bundle.create().start();
    assert_ne!(link(container.pid, "time"), own("time"));
    let _ = with_time(Bundle::new()).run().ok();
}

// secs "is the offset of clock (in seconds) in the container."
fn time_offsets_move_the_clocks() {
    let uptime = |text: &str| {
        text.split(['.', ' ']).next().and_then(|secs| secs.parse::<i64>().ok()).expect("seconds")
    };
    let host = || uptime(&fs::read_to_string("/proc/uptime").expect("uptime"));
    let before = host();
    let offsets =
        json!({"boottime": {"secs": 604_800, "nanosecs": 5}, "monotonic": {"secs": 172_800}});
    let bundle =
        with_time(Bundle::new()).set("/linux/timeOffsets", offsets).args(&["cat", "/proc/uptime"]);
    let output = bundle.run().ok();
    let moved = uptime(&output.stdout) - 604_800;
    assert!((before..=host()).contains(&moved), "{output}");
    let bundle = with_time(Bundle::new())
        .set("/linux/timeOffsets", json!({"monotonic": {"secs": 172_800, "nanosecs": 7}}));
    let bundle = bundle.args(&["cat", "/proc/self/timens_offsets"]);
    let output = bundle.run().ok();
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "172800", "7", "boottime", "0", "0"]);
}

// time_namespaces(7): the clock may not become negative.
fn a_negative_time_offset_is_refused_by_the_kernel_with_its_field() {
    let bundle = with_time(Bundle::new())
        .set("/linux/timeOffsets", json!({"boottime": {"secs": -1_000_000_000}}));
    let _ = bundle.try_create().refused().names("time");
}

fn time_offsets_without_a_time_namespace_are_refused() {
    let bundle = Bundle::new().set("/linux/timeOffsets", json!({"boottime": {"secs": 1}}));
    let _ = bundle.try_create().refused().names("/linux/timeOffsets");
}

fn time_offsets_of_a_joined_namespace_are_refused() {
    let bundle = Bundle::new().join("time", "/proc/self/ns/time");
    let _ = bundle
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 1}}))
        .try_create()
        .refused()
        .names("/linux/timeOffsets");
}

fn an_unknown_clock_is_refused() {
    let bundle =
        with_time(Bundle::new()).set("/linux/timeOffsets", json!({"realtime": {"secs": 1}}));
    let _ = bundle.try_create().refused().names("/linux/timeOffsets");
}

fn a_time_namespace_is_joined_by_its_path() {
    let holder = Holder::new(&["--time", "--fork", "--boottime", "1000000"]);
    let bundle = Bundle::new().join("time", &holder.path("time")).args(&["sleep", "1000"]);
    let container = bundle.create().start();
    assert_eq!(link(container.pid, "time"), holder.namespace("time"));
}

// "resources associated with the container, but not created by this container, MUST NOT be deleted."
fn a_joined_namespace_outlives_the_container() {
    let holder = Holder::new(&["--net", "--pid", "--fork", "--kill-child"]);
    let bundle =
        Bundle::new().join("network", &holder.path("net")).join("pid", &holder.path("pid"));
    let _ = bundle.run().ok();
    let bundle = bundle.args(&["sleep", "1000"]);
    bundle.create().start();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert!(fs::metadata(holder.path("net")).is_ok());
    assert!(fs::metadata(format!("/proc/{}/cmdline", holder.pid)).is_ok());
}
