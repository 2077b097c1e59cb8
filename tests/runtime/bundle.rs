//! A bundle of its own for each test: a rootfs of busybox, a config like an engine's, a state directory, an id and a
//! cgroup that nobody else has. Whatever a test leaves is removed with the bundle, also when the test fails.
//! `sleep 1000` is a program that stays until it is ended; no test waits for it.

use std::cell::RefCell;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde_json::{Value, json};

use crate::call::{self, Call, Output, Running};
use crate::fifo::Fifo;

/// All that the tests make on this host has this in its name.
pub const MARK: &str = "hull-test-";

/// The applets that the tests use.
const APPLETS: &[&str] = &[
    "sh", "cat", "chmod", "chown", "cp", "cut", "date", "dd", "echo", "env", "expr", "false",
    "find", "grep", "head", "hostname", "id", "ip", "ipcalc", "ln", "ls", "mkdir", "mkfifo",
    "mknod", "mount", "mv", "nproc", "od", "printf", "ps", "pwd", "readlink", "rm", "rmdir", "sed",
    "seq", "setsid", "sleep", "sort", "stat", "stty", "tail", "tee", "test", "touch", "tr", "true",
    "tty", "umount", "uname", "unshare", "wc",
];

static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();

/// The directory of all bundles, with the one copy of busybox that their root file systems link to.
pub struct Template;

impl Template {
    pub fn new() -> Self {
        // Orphans of a runtime become children of this process, as they would of an engine's shim.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).ok();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let directory = std::env::temp_dir().join(format!("{MARK}{}", std::process::id()));
        fs::create_dir(&directory).expect("create the directory of the bundles");
        if let Some(busybox) = call::find_program("busybox") {
            fs::copy(busybox, directory.join("busybox")).expect("copy busybox");
        }
        TEMPLATE.set(directory).expect("one template");
        Self
    }

    /// The end of the suite.
    pub fn remove(self) {
        for cgroup in cgroup_mounts() {
            fs::remove_dir(cgroup.join(format!("{MARK}{}", std::process::id()))).ok();
        }
        fs::remove_dir_all(TEMPLATE.get().expect("set by new")).ok();
    }
}

/// Where the suite keeps what its tests share.
pub fn shared() -> &'static Path {
    TEMPLATE.get().expect("set by main")
}

/// A bundle and the container made from it.
pub struct Bundle {
    pub config: Value,
    id: String,
    directory: PathBuf,
    /// Put before the runtime's name: `nsenter`, `strace`, `setsid`.
    prefix: Vec<String>,
    /// The containers' processes, to be reaped.
    pidfds: RefCell<Vec<OwnedFd>>,
    /// Programs of a detached `exec`: orphans, which no init outlives before they are reaped.
    orphans: RefCell<Vec<OwnedFd>>,
}

impl Bundle {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // With a letter at its end no id begins with another one.
        let id = format!("{MARK}{}-{number}c", std::process::id());
        let template = shared();
        let directory = template.join(&id);
        let bundle = Self {
            config: engine_config(&id),
            id,
            directory,
            prefix: Vec::new(),
            pidfds: RefCell::default(),
            orphans: RefCell::default(),
        };
        for path in ["bundle/rootfs/bin", "root", "output"] {
            fs::create_dir_all(bundle.directory.join(path)).expect("create the bundle");
        }
        for path in ["proc", "dev", "sys", "tmp", "etc", "usr"] {
            fs::create_dir(bundle.rootfs().join(path)).expect("create the rootfs");
        }
        fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777))
            .expect("chmod");
        let busybox = bundle.rootfs().join("bin/busybox");
        if fs::hard_link(template.join("busybox"), &busybox).is_ok() {
            for applet in APPLETS {
                fs::hard_link(&busybox, busybox.with_file_name(applet)).expect("link an applet");
            }
        }
        bundle
    }

    /// The same bundle with its config changed by a closure.
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.config);
        self
    }

    /// The same bundle with the value at a JSON pointer set; objects on the way are made, `-` appends to an array.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut place = &mut self.config;
        for key in pointer.split('/').skip(1) {
            let key = key.replace("~1", "/").replace("~0", "~");
            if place.is_null() && key == "-" {
                *place = json!([]);
            }
            place = match place {
                Value::Array(array) => {
                    let index = key.parse().unwrap_or(array.len());
                    if index == array.len() {
                        array.push(Value::Null);
                    }
                    &mut array[index]
                }
                object => &mut object[key],
            };
        }
        *place = value.into();
        self
    }

    /// The same bundle without the member that a JSON pointer names.
    pub fn without(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
        let parent = self
            .config
            .pointer_mut(parent)
            .and_then(Value::as_object_mut)
            .expect("the member's object");
        parent.remove(key).expect("the member");
        self
    }

    /// The same bundle with one more mount.
    pub fn mount(self, kind: &str, source: &str, destination: &str, options: &[&str]) -> Self {
        let mount =
            json!({"type": kind, "source": source, "destination": destination, "options": options});
        self.set("/mounts/-", mount)
    }

    /// The same bundle without the mount on `destination`.
    pub fn without_mount(self, destination: &str) -> Self {
        self.edit(|config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.retain(|mount| mount["destination"] != destination);
        })
    }

    /// The same bundle without a namespace of this type.
    pub fn without_namespace(self, kind: &str) -> Self {
        self.edit(|config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|namespace| namespace["type"] != kind);
        })
    }

    /// The same bundle that joins a namespace of this type instead of making one.
    pub fn join(self, kind: &str, path: &str) -> Self {
        self.without_namespace(kind).set("/linux/namespaces/-", json!({"type": kind, "path": path}))
    }

    /// The same bundle for a container that runs this program.
    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", args)
    }

    /// The same bundle for a container that runs this shell script.
    pub fn script(self, script: &str) -> Self {
        self.args(&["sh", "-c", script])
    }

    /// The same bundle whose runtime is called through another program.
    pub fn through(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bundle's directory, where config.json is.
    pub fn directory(&self) -> PathBuf {
        self.directory.join("bundle")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory().join("rootfs")
    }

    /// A path beside the bundle, for what a test needs on the host.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The runtime's state directory of this test.
    pub fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// A file of the rootfs, written before the container exists or read afterwards.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.rootfs().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("create the file's directory");
        fs::write(path, text).expect("write a file of the rootfs");
    }

    /// A script of the rootfs, or what else can be executed, with this text.
    pub fn write_program(&self, path: &str, text: &str) {
        let source = self.beside("program");
        fs::write(&source, text).expect("write a program");
        call::install(&source, &self.rootfs().join(path), 0o755);
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.rootfs().join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn link(&self, target: impl AsRef<Path>, path: &str) {
        symlink(target, self.rootfs().join(path)).expect("create a symlink of the rootfs");
    }

    pub fn mkdir(&self, path: &str) {
        fs::create_dir_all(self.rootfs().join(path)).expect("create a directory of the rootfs");
    }

    /// A FIFO of the rootfs: how a container tells its test that it has come somewhere.
    pub fn fifo(&self, path: &str) -> Fifo {
        Fifo::new(&self.rootfs().join(path))
    }

    /// Writes config.json.
    pub fn save(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("serialize the config");
        fs::write(self.directory().join("config.json"), text).expect("write config.json");
    }

    /// A call of the runtime with this test's state directory.
    pub fn call(&self, args: &[&str]) -> Call {
        let root = format!("--root={}", self.root().display());
        self.bare(&[&[root.as_str()], args].concat())
    }

    /// A call of the runtime with nothing added.
    pub fn bare(&self, args: &[&str]) -> Call {
        let runtime = call::runtime();
        let mut argv: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        argv.push(runtime.to_str().expect("the runtime's path is UTF-8"));
        argv.extend(args);
        Call::new(&self.directory.join("output"), &argv).env("HULL_TEST", &self.id)
    }

    /// `create` or `run` with further options.
    pub fn call_with(&self, command: &str, options: &[&str]) -> Call {
        self.save();
        let bundle = self.directory();
        let bundle = ["--bundle", bundle.to_str().expect("UTF-8")];
        self.call(&[&[command], options, &bundle, &[&self.id]].concat())
    }

    /// `run` of this bundle as it is.
    pub fn run(&self) -> Output {
        self.call_with("run", &[]).finish()
    }

    /// `run` in the background of the test.
    pub fn begin(&self) -> Running {
        self.call_with("run", &[]).begin()
    }

    /// `create` that must succeed.
    pub fn create(&self) -> Created<'_> {
        self.create_with(&[])
    }

    /// `create` that must succeed, with further options.
    pub fn create_with(&self, options: &[&str]) -> Created<'_> {
        let output = self.try_create_with(options).ok();
        let pid =
            self.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
        let pidfd = call::pidfd(pid);
        self.pidfds.borrow_mut().extend(pidfd.as_ref().and_then(|pidfd| pidfd.try_clone().ok()));
        Created { bundle: self, pid, pidfd, output }
    }

    pub fn try_create(&self) -> Output {
        self.try_create_with(&[])
    }

    pub fn try_create_with(&self, options: &[&str]) -> Output {
        self.call_with("create", options).finish()
    }

    /// An operation that takes the id.
    pub fn operate(&self, words: &[&str]) -> Output {
        self.call(&[words, &[&self.id]].concat()).finish()
    }

    pub fn try_start(&self) -> Output {
        self.operate(&["start"])
    }

    pub fn start(&self) {
        let _ = self.try_start().ok();
    }

    pub fn kill(&self, signal: &str) -> Output {
        self.call(&["kill", &self.id, signal]).finish()
    }

    pub fn delete(&self) -> Output {
        self.operate(&["delete"])
    }

    pub fn state(&self) -> Value {
        self.operate(&["state"]).ok().json()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    /// This process is the parent of a program whose runtime has left; it is ended with the bundle.
    pub fn adopt(&self, pid: i32) {
        self.orphans.borrow_mut().extend(call::pidfd(pid));
    }

    /// The processes that a call of this test's runtime left, or that are in the container's cgroup.
    pub fn processes(&self) -> Vec<i32> {
        let ours =
            |path: String| fs::read(path).is_ok_and(|text| contains(&text, self.id.as_bytes()));
        let pids = fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            ours(format!("/proc/{pid}/environ")) || ours(format!("/proc/{pid}/cgroup"))
        })
        .filter(|&pid| is_alive(pid))
        .collect()
    }

    /// The cgroup directories of this test's container.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        cgroup_mounts()
            .into_iter()
            .flat_map(|mount| directories_named(&mount, &self.id, 4))
            .collect()
    }

    /// The host's mounts that are this test's.
    pub fn mounts(&self) -> Vec<String> {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        let directory = format!("{}/", self.directory.display());
        let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
        points.filter(|point| point.starts_with(&directory)).map(str::to_owned).collect()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.prefix.clear();
        for orphan in self.orphans.borrow_mut().drain(..) {
            rustix::process::pidfd_send_signal(&orphan, Signal::KILL).ok();
            rustix::process::waitid(WaitId::PidFd(orphan.as_fd()), WaitIdOptions::EXITED).ok();
        }
        for entry in fs::read_dir(self.root()).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.call(&["delete", "--force", &id]).finish()
            }));
        }
        // What the runtime under test did not remove.
        for pid in self.processes() {
            rustix::process::kill_process(Pid::from_raw(pid).expect("not 0"), Signal::KILL).ok();
            call::pidfd(pid).map(|pidfd| call::readable(pidfd, call::limit()));
        }
        for pidfd in self.pidfds.borrow_mut().drain(..) {
            rustix::process::waitid(
                WaitId::PidFd(pidfd.as_fd()),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            )
            .ok();
        }
        for mount in self.mounts().iter().rev() {
            rustix::mount::unmount(mount.as_str(), rustix::mount::UnmountFlags::DETACH).ok();
        }
        for cgroup in self.cgroups().iter().rev() {
            fs::remove_dir(cgroup).ok();
        }
        if std::env::var_os("HULL_TEST_KEEP").is_none() {
            fs::remove_dir_all(&self.directory).ok();
        }
    }
}

/// A container that has been created.
pub struct Created<'a> {
    bundle: &'a Bundle,
    pub pid: i32,
    pidfd: Option<OwnedFd>,
    pub output: Output,
}

impl Created<'_> {
    pub fn start(self) -> Self {
        self.bundle.start();
        self
    }

    /// Waits until the container process has ended.
    pub fn ended(&self) {
        let ended = self.pidfd.as_ref().is_none_or(|pidfd| call::readable(pidfd, call::limit()));
        assert!(ended, "the container process {} has not ended", self.pid);
    }

    /// Waits for the end of the container process; its exit code, or 128 + signal.
    pub fn exit_code(&self) -> i32 {
        self.ended();
        let pidfd = self.pidfd.as_ref().expect("the process was there after create");
        let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
            .expect("waitid")
            .expect("it has ended");
        status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0))
    }

    /// What the container has written to its standard output.
    pub fn stdout(&self) -> String {
        self.output.reread()
    }

    /// A file of the container process under /proc.
    pub fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The target of a link of the container process under /proc.
    pub fn proc_link(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_link(&path)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
            .to_string_lossy()
            .into_owned()
    }

    /// A line of /proc/PID/status.
    pub fn status_line(&self, name: &str) -> String {
        let status = self.proc("status");
        let line =
            status.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).expect(name);
        line.trim().to_owned()
    }
}

/// What an engine writes for an unprivileged container, without a seccomp profile.
fn engine_config(id: &str) -> Value {
    let capabilities = json!([
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FSETID",
        "CAP_FOWNER",
        "CAP_MKNOD",
        "CAP_NET_RAW",
        "CAP_SETGID",
        "CAP_SETUID",
        "CAP_SETFCAP",
        "CAP_SETPCAP",
        "CAP_NET_BIND_SERVICE",
        "CAP_SYS_CHROOT",
        "CAP_KILL",
        "CAP_AUDIT_WRITE"
    ]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs"},
        "hostname": "container",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/{MARK}{}/{id}", std::process::id()),
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "cgroup"}
            ],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// A process that has not ended. A zombie has, and so has one that is behind its last instruction: it is still in
/// its cgroup when nobody counts it there any more (cgroup_exit() is before exit_notify()).
fn is_alive(pid: i32) -> bool {
    // include/linux/sched.h
    const PF_EXITING: u32 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, rest)) = stat.rsplit_once(") ") else { return false };
    let is_exiting = |flags: &str| flags.parse().is_ok_and(|flags: u32| flags & PF_EXITING != 0);
    !rest.starts_with(['Z', 'X']) && !rest.split(' ').nth(6).is_some_and(is_exiting)
}

/// The host's cgroup hierarchies.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let cgroup =
        |line: &&str| line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup"));
    mountinfo
        .lines()
        .filter(cgroup)
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .collect()
}

/// The directories below `directory` whose name contains `name`, and all below them, parents first.
fn directories_named(directory: &Path, name: &str, depth: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let ours = path.to_string_lossy().contains(name);
        if ours {
            found.push(path.clone());
        }
        if depth > 0 {
            found.extend(directories_named(&path, name, depth - 1));
        }
    }
    found
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A program that is sent to the host's shell, for the tests' own purposes.
pub fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().expect("sh");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
