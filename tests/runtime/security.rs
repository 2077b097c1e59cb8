//! The holes that container runtimes have had, each with its number, and what else a root file system can plant. Each
//! denial has its twin that succeeds.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::mountinfo;

table!(Root, Busybox;
    cve_2016_9962_init_cannot_be_traced_before_it_runs_the_program,
    cve_2019_5736_the_runtime_cannot_be_written_through_the_containers_exe,
    cve_2019_5736_a_program_that_is_proc_self_exe_does_not_run_the_runtime,
    cve_2019_16884_a_proc_of_the_image_is_not_written_to[Hull("runc 1.1.5 has no need of proc here")],
    cve_2019_19921_cve_2023_28642_a_proc_that_is_a_symlink_is_refused,
    cve_2023_27561_cve_2025_54867_a_sys_that_is_a_symlink_is_refused,
    cve_2021_30465_a_destination_that_is_swapped_stays_in_the_rootfs[Hull("runc 1.1.5 makes directories outside at times")],
    cve_2024_45310_a_swapped_directory_makes_nothing_on_the_host[Hull("runc 1.1.5 has the hole")],
    cve_2021_43784_a_mount_source_of_70000_bytes_is_refused_or_mounted,
    cve_2022_29162_no_capability_is_inheritable,
    cve_2023_25809_the_cgroups_of_the_host_cannot_be_written[Hull("runc 1.1.5 mounts v1 hierarchies on a hybrid host")],
    cve_2024_21626_a_working_directory_through_a_descriptor_is_refused[Hull("runc 1.1.5 with Debian's patch says it at start")],
    cve_2024_21626_a_program_through_a_descriptor_of_the_host_is_not_found,
    cve_2024_21626_a_symlink_to_a_descriptor_as_working_directory_is_refused[Hull("runc 1.1.5 with Debian's patch says it at start")],
    cve_2025_31133_cve_2025_62161_a_dev_null_that_is_a_symlink_does_not_unmask[Hull("runc 1.1.5 has the hole")],
    cve_2025_31133_a_dev_null_that_is_another_device_does_not_unmask[Hull("runc 1.1.5 has the hole")],
    cve_2025_52565_a_planted_console_is_not_followed,
    cve_2025_52565_a_planted_terminal_is_not_followed[Hull("runc 1.1.5 follows it")],
    cve_2025_52881_cve_2025_62596_a_sysctl_is_written_to_the_real_proc[Hull("runc 1.1.5 has the hole")],
    cve_2026_41579_a_dev_that_is_a_symlink_changes_nothing_outside[Hull("runc 1.1.5 has the hole")],
    cve_2026_47766_default_devices_stay_in_the_rootfs,
    cve_2025_24965_a_planted_symlink_is_not_written_through,
    cve_2019_18837_a_mount_destination_that_is_a_symlink_stays_in_the_rootfs[Hull("runc 1.1.5 has the hole")],
    a_mount_destination_below_a_symlink_loop_is_refused,
    a_mount_destination_with_dots_stays_in_the_rootfs,
    a_mount_destination_through_magic_links_is_refused[Hull("runc 1.1.5 resolves them as text")],
    a_file_of_proc_can_be_covered,
    a_mount_on_a_fifo_or_socket_does_not_hang,
    a_device_path_through_a_symlink_stays_in_the_rootfs,
    a_masked_path_through_a_symlink_stays_in_the_rootfs,
    a_working_directory_through_a_symlink_makes_nothing_outside,
    a_passwd_file_that_is_a_fifo_does_not_hang[Hull("runc 1.1.5 hangs")],
    a_passwd_file_that_is_a_symlink_to_the_host_is_not_read,
    a_passwd_file_that_is_endless_is_not_read_whole[Hull("runc 1.1.5 reads on")],
    the_old_root_is_not_reachable,
    the_runtime_is_not_visible_in_the_container,
    a_set_uid_program_gains_nothing_with_no_new_privileges,
    an_annotation_named_bundle_does_not_change_the_state,
);

/// A directory of the host that must stay as it is, and a file in it.
struct Outside {
    directory: PathBuf,
    before: Vec<String>,
}

impl Outside {
    fn new(bundle: &Bundle) -> Self {
        let directory = bundle.beside("outside");
        fs::create_dir(&directory).expect("mkdir");
        for name in ["ptmx", "fd", "null", "file"] {
            fs::write(directory.join(name), "untouched").expect("write");
        }
        fs::create_dir(directory.join("pts")).expect("mkdir");
        let before = entries(&directory);
        Self { directory, before }
    }

    fn path(&self) -> &str {
        self.directory.to_str().expect("UTF-8")
    }

    fn assert_untouched(&self) {
        assert_eq!(entries(&self.directory), self.before);
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        assert!(!mountinfo.contains(self.path()), "a mount is below {}", self.path());
    }
}

/// Name, inode, type and mode, size of all entries.
fn entries(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("read the directory").flatten() {
        let metadata = entry.path().symlink_metadata().expect("metadata");
        found.push(format!(
            "{:?} {} {:o} {}",
            entry.path(),
            metadata.ino(),
            metadata.mode(),
            metadata.size()
        ));
        if metadata.is_dir() {
            found.extend(entries(&entry.path()));
        }
    }
    found.sort();
    found
}

/// The same rootfs with `path` replaced by a symlink.
fn plant(bundle: &Bundle, path: &str, target: &str) {
    let path = bundle.rootfs().join(path);
    fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).ok();
    symlink(target, path).expect("plant a symlink");
}

// A process of the container that shares the pid namespace could trace init and reach its descriptors.
fn cve_2016_9962_init_cannot_be_traced_before_it_runs_the_program() {
    let first = Bundle::new().args(&["sleep", "1000"]);
    let outer = first.create().start();
    let user = json!({"uid": 1001, "gid": 1001});
    let second = Bundle::new()
        .join("pid", &format!("/proc/{}/ns/pid", outer.pid))
        .set("/process/user", user.clone());
    let second = second.set("/process/capabilities", json!({}));
    let created = second.create();
    // What PR_SET_DUMPABLE 0 shows: /proc/PID belongs to root.
    let owner = fs::metadata(format!("/proc/{}/environ", created.pid)).expect("environ").uid();
    assert_eq!(owner, 0);
    let inner = created.status_line("NSpid");
    let inner = inner.split_whitespace().last().expect("a pid");
    let spy = Bundle::new()
        .join("pid", &format!("/proc/{}/ns/pid", outer.pid))
        .set("/process/user", user);
    let spy = spy.set("/process/capabilities", json!({}));
    let script = format!(
        "cat /proc/{inner}/comm > /dev/null || echo unseen; ls /proc/{inner}/fd | wc -l; ls /proc/$$/fd | wc -l"
    );
    let output = spy.script(&script).run().ok();
    assert_eq!(output.lines()[0], "0", "{output}");
    // The twin: a process of one's own.
    assert_ne!(output.lines()[1], "0", "{output}");
}

// A process of the container keeps /proc/1/exe of the runtime open and writes it once the runtime is gone.
fn cve_2019_5736_the_runtime_cannot_be_written_through_the_containers_exe() {
    let bundle = Bundle::new();
    let runtime =
        bundle.beside(call::runtime().file_name().and_then(|name| name.to_str()).expect("a name"));
    call::install(&call::runtime(), &runtime, 0o755);
    let before = fs::read(&runtime).expect("read");
    let root = bundle.root();
    let call = |args: &[&str]| {
        let words =
            [&[runtime.to_str().expect("UTF-8"), "--root", root.to_str().expect("UTF-8")], args]
                .concat();
        call::Call::new(&bundle.beside("output"), &words).env("HULL_TEST", bundle.id()).finish()
    };
    bundle.save();
    let directory = bundle.directory();
    let _ = call(&["create", "--bundle", directory.to_str().expect("UTF-8"), bundle.id()]).ok();
    let pid = call(&["state", bundle.id()]).ok().json()["pid"].as_i64().expect("a pid");
    // From outside, as a process of the same pid namespace would; the runtime that called create has exited, so
    // "text file busy" alone cannot protect it for long.
    let exe = format!("/proc/{pid}/exe");
    let is_the_runtime = fs::metadata(&exe).expect("exe").ino()
        == fs::metadata(&runtime).expect("the runtime").ino();
    let fd = rustix::fs::open(
        &exe,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .expect("open");
    let _ = call(&["start", bundle.id()]).ok();
    let pidfd = call::pidfd(i32::try_from(pid).expect("a pid"));
    assert!(pidfd.is_none_or(|pidfd| call::readable(pidfd, call::limit())));
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let write = fs::OpenOptions::new().write(true).open(&link);
    if is_the_runtime {
        let error = write.expect_err("the runtime can be written through the container's exe");
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    }
    assert!(fs::read(&runtime).expect("read") == before, "the runtime has changed");
    // The twin: the same file is written without the detour.
    fs::OpenOptions::new().write(true).open(&runtime).expect("the host writes its own file");
    let _ = call(&["delete", "--force", bundle.id()]).ok();
}

fn cve_2019_5736_a_program_that_is_proc_self_exe_does_not_run_the_runtime() {
    let before = fs::read(call::runtime()).expect("read");
    let bundle = Bundle::new().args(&["/entry"]);
    bundle.write_program("entry", "#!/proc/self/exe\n");
    let output = bundle.run();
    // The interpreter is the runtime (or its copy) as a program of the container: it must do nothing of worth.
    assert!(fs::read(call::runtime()).expect("read") == before, "the runtime has changed");
    assert!(output.code != 0 || output.stdout.is_empty(), "{output}");
    let bundle = Bundle::new().args(&["/proc/self/exe", "--version"]);
    let _ = bundle.run();
    assert!(fs::read(call::runtime()).expect("read") == before, "the runtime has changed");
}

// A volume of the image over /proc: what the runtime writes there for its security must not go to a fake.
fn cve_2019_16884_a_proc_of_the_image_is_not_written_to() {
    let bundle = Bundle::new().without_mount("/proc").mount("tmpfs", "tmpfs", "/proc", &[]);
    let bundle = bundle.without("/linux/maskedPaths").without("/linux/readonlyPaths");
    let bundle =
        bundle.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})).args(&["find", "/proc"]);
    let output = bundle.run();
    assert!(output.code == 1 || output.stdout.trim() == "/proc", "{output}");
    let bundle = Bundle::new().set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let _ = bundle.args(&["cat", "/proc/sys/net/ipv4/ip_forward"]).run().ok().prints("1");
}

// /proc as a symlink: the mount and the masks land elsewhere.
fn cve_2019_19921_cve_2023_28642_a_proc_that_is_a_symlink_is_refused() {
    for target in ["tmp", "/tmp", "../../outside", "/nothing"] {
        let bundle = Bundle::new();
        let outside = Outside::new(&bundle);
        plant(&bundle, "proc", target);
        let _ = bundle.run().refused().names("/mounts/0");
        outside.assert_untouched();
    }
    let _ = Bundle::new().run().ok();
}

fn cve_2023_27561_cve_2025_54867_a_sys_that_is_a_symlink_is_refused() {
    let bundle = Bundle::new();
    let outside = Outside::new(&bundle);
    plant(&bundle, "sys", outside.path());
    let _ = bundle.run().refused().names("/mounts/5");
    outside.assert_untouched();
}

/// Calls `each` while a thread swaps `a` and `b`, a directory and a symlink of the rootfs, back and forth.
fn while_swapping(a: &Path, b: &Path, mut each: impl FnMut()) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).ok();
                std::thread::yield_now();
            }
        });
        // A test that fails in `each` must still stop the thread.
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (0..30).for_each(|_| each())));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

// A volume that two containers share: one swaps a directory for a symlink while the other is created.
fn cve_2021_30465_a_destination_that_is_swapped_stays_in_the_rootfs() {
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/volume/target", &[]).args(&["true"]);
    let outside = Outside::new(&bundle);
    bundle.mkdir("volume/target");
    plant(&bundle, "volume/link", outside.path());
    let volume = bundle.rootfs().join("volume");
    while_swapping(&volume.join("target"), &volume.join("link"), || {
        let output = bundle.run();
        assert!(output.code == 0 || output.code == 1, "{output}");
        outside.assert_untouched();
    });
}

fn cve_2024_45310_a_swapped_directory_makes_nothing_on_the_host() {
    let bundle =
        Bundle::new().mount("tmpfs", "tmpfs", "/volume/target/new/below", &[]).args(&["true"]);
    let outside = Outside::new(&bundle);
    bundle.mkdir("volume/target");
    plant(&bundle, "volume/link", outside.path());
    let volume = bundle.rootfs().join("volume");
    while_swapping(&volume.join("target"), &volume.join("link"), || {
        let output = bundle.run();
        assert!(output.code == 0 || output.code == 1, "{output}");
        outside.assert_untouched();
        fs::remove_dir_all(volume.join("target/new")).ok();
    });
}

// A length that did not fit into 16 bits of a netlink attribute cut the message: what followed was config.
fn cve_2021_43784_a_mount_source_of_70000_bytes_is_refused_or_mounted() {
    let long = "s".repeat(70_000);
    let output = Bundle::new().mount("tmpfs", &long, "/mnt", &[]).run();
    assert!(output.code == 0 || output.code == 1, "{output}");
    let output =
        Bundle::new().mount("bind", &format!("/{long}"), "/mnt", &["bind"]).run().refused();
    let _ = output.names("/mounts/6");
}

// Capabilities that a program of another user could take over by file capabilities.
fn cve_2022_29162_no_capability_is_inheritable() {
    let output = Bundle::new().script("grep -E 'Cap(Inh|Amb)' /proc/self/status").run().ok();
    assert!(output.lines().iter().all(|line| line.ends_with("0000000000000000")), "{output}");
}

fn cve_2023_25809_the_cgroups_of_the_host_cannot_be_written() {
    let options = ["nosuid", "noexec", "nodev", "relatime", "ro"];
    let bundle = Bundle::new().without_namespace("cgroup").mount(
        "cgroup",
        "cgroup",
        "/sys/fs/cgroup",
        &options,
    );
    let _ = bundle.args(&["mkdir", "/sys/fs/cgroup/made"]).run().exits(1).says("read-only");
}

// process.cwd through a descriptor of the host's directory that init had not closed.
fn cve_2024_21626_a_working_directory_through_a_descriptor_is_refused() {
    for fd in 3..=20 {
        let bundle =
            Bundle::new().set("/process/cwd", format!("/proc/self/fd/{fd}")).args(&["pwd"]);
        let output = bundle.run().refused();
        assert!(output.stdout.is_empty(), "{output}");
    }
    let _ = Bundle::new().set("/process/cwd", "/proc/self/fd/../../1").args(&["pwd"]).run();
    let _ = Bundle::new()
        .set("/process/cwd", "/proc/sys")
        .args(&["pwd"])
        .run()
        .ok()
        .prints("/proc/sys");
}

fn cve_2024_21626_a_program_through_a_descriptor_of_the_host_is_not_found() {
    let bundle = Bundle::new();
    fs::copy("/bin/busybox", bundle.beside("echo")).expect("copy busybox");
    let program = bundle.beside("echo");
    let program = program.to_str().expect("UTF-8");
    for fd in 3..=20 {
        for up in ["", "/..", "/../../../../../../../../.."] {
            let _ = Bundle::new()
                .args(&[&format!("/proc/self/fd/{fd}{up}{program}"), "escaped"])
                .run()
                .refused();
        }
    }
}

fn cve_2024_21626_a_symlink_to_a_descriptor_as_working_directory_is_refused() {
    for fd in 3..=20 {
        let bundle = Bundle::new().set("/process/cwd", "/work").args(&["ls"]);
        bundle.link(format!("/proc/self/fd/{fd}"), "work");
        let _ = bundle.run().refused();
    }
}

// The container's /dev/null as what masks: a symlink to /proc/sys/kernel/core_pattern made that file writable.
fn cve_2025_31133_cve_2025_62161_a_dev_null_that_is_a_symlink_does_not_unmask() {
    let bundle =
        Bundle::new().without_mount("/dev").without_mount("/dev/pts").without_mount("/dev/shm");
    let bundle = bundle.without_mount("/dev/mqueue").mount("bind", "dev", "/dev", &["rbind"]);
    let bundle = bundle
        .set("/linux/maskedPaths", json!(["/secret"]))
        .script("cat /secret; stat -c %t:%T /secret");
    fs::create_dir(bundle.directory().join("dev")).expect("mkdir");
    symlink("/target", bundle.directory().join("dev/null")).expect("symlink");
    bundle.write("target", "of the attacker");
    bundle.write("secret", "secret");
    let output = bundle.run();
    assert!(output.code == 1 || output.stdout == "1:3\n", "{output}");
    let bundle = Bundle::new()
        .set("/linux/maskedPaths", json!(["/secret"]))
        .script("cat /secret; stat -c %t:%T /secret");
    bundle.write("secret", "secret");
    let _ = bundle.run().ok().prints("1:3");
}

fn cve_2025_31133_a_dev_null_that_is_another_device_does_not_unmask() {
    let bundle = Bundle::new().mount("bind", "/dev/zero", "/dev/null", &["bind"]);
    let bundle =
        bundle.set("/linux/maskedPaths", json!(["/secret"])).script("stat -c %t:%T /secret");
    bundle.write("secret", "secret");
    let output = bundle.run();
    assert!(output.code == 1 || output.stdout == "1:3\n", "{output}");
}

/// A container with a terminal whose socket is answered; the code of create.
fn create_with_terminal(bundle: &Bundle) -> i32 {
    let path = bundle.beside("console");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("bind");
    let code = bundle.try_create_with(&["--console-socket", path.to_str().expect("UTF-8")]).code;
    drop(listener);
    code
}

// /dev/console is made by the runtime: a symlink there must not be followed.
fn cve_2025_52565_a_planted_console_is_not_followed() {
    let bundle =
        Bundle::new().set("/process/terminal", true).mount("bind", "dev", "/dev", &["rbind"]);
    let bundle = bundle.without_mount("/dev/shm").without_mount("/dev/mqueue");
    let outside = Outside::new(&bundle);
    fs::create_dir_all(bundle.directory().join("dev/pts")).expect("mkdir");
    symlink(outside.path(), bundle.directory().join("dev/console")).expect("symlink");
    let code = create_with_terminal(&bundle);
    assert!(code == 0 || code == 1, "{code}");
    outside.assert_untouched();
}

// /dev/pts/0 as a symlink of the image, no devpts mounted: the peer of the pty must not be opened by its name.
fn cve_2025_52565_a_planted_terminal_is_not_followed() {
    let bundle = Bundle::new()
        .set("/process/terminal", true)
        .without_mount("/dev/pts")
        .without_mount("/dev");
    let bundle = bundle
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .script("stat -L -c %F /dev/console");
    bundle.mkdir("dev/pts");
    for number in 0..20 {
        bundle.link("/etc/planted", &format!("dev/pts/{number}"));
    }
    bundle.write("etc/planted", "planted");
    create_with_terminal(&bundle);
    assert_eq!(bundle.read("etc/planted"), "planted");
    let console = bundle.rootfs().join("dev/console");
    assert!(!console.is_symlink(), "/dev/console is a symlink");
}

// Something mounted over /proc/sys redirects what the runtime writes for a sysctl.
fn cve_2025_52881_cve_2025_62596_a_sysctl_is_written_to_the_real_proc() {
    let bundle = Bundle::new().set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    let bundle = bundle.mount("bind", "fake", "/proc/sys/net/ipv4", &["bind"]);
    fs::create_dir(bundle.directory().join("fake")).expect("mkdir");
    fs::write(bundle.directory().join("fake/ip_forward"), "fake").expect("write");
    let output = bundle.run();
    assert!(output.code == 0 || output.code == 1, "{output}");
    assert_eq!(
        fs::read_to_string(bundle.directory().join("fake/ip_forward")).expect("read"),
        "fake"
    );
}

// The image's /dev is a symlink: `ptmx` is removed and links are made where it points.
fn cve_2026_41579_a_dev_that_is_a_symlink_changes_nothing_outside() {
    for mounts in [true, false] {
        let bundle = Bundle::new();
        let outside = Outside::new(&bundle);
        plant(&bundle, "dev", outside.path());
        let bundle = if mounts { bundle } else { bundle.set("/mounts", json!([])) };
        let output = bundle.run();
        assert!(output.code == 0 || output.code == 1, "{output}");
        outside.assert_untouched();
    }
    let bundle = Bundle::new().set("/mounts", json!([]));
    let outside = Outside::new(&bundle);
    plant(&bundle, "dev", &format!("../../../{}", "outside"));
    let _ = bundle.run();
    outside.assert_untouched();
}

fn cve_2026_47766_default_devices_stay_in_the_rootfs() {
    for name in
        ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "fd", "stdin", "console"]
    {
        let bundle = Bundle::new()
            .set("/mounts", json!([{"destination": "/proc", "type": "proc", "source": "proc"}]));
        let outside = Outside::new(&bundle);
        plant(&bundle, &format!("dev/{name}"), &format!("{}/made", outside.path()));
        let output = bundle.run();
        assert!(output.code == 0 || output.code == 1, "{output}");
        outside.assert_untouched();
    }
}

// Any file that the runtime itself writes into the rootfs: the mount point of a bound file, a notify directory.
fn cve_2025_24965_a_planted_symlink_is_not_written_through() {
    let bundle = Bundle::new().mount("bind", "hosts", "/etc/hosts", &["bind"]);
    let outside = Outside::new(&bundle);
    fs::write(bundle.directory().join("hosts"), "text").expect("write");
    bundle.link(format!("{}/made", outside.path()), "etc/hosts");
    let _ = bundle.run();
    outside.assert_untouched();
    let bundle = Bundle::new();
    let outside = Outside::new(&bundle);
    bundle.link(outside.path(), "run");
    let socket = bundle.beside("notify.sock");
    let _listener = std::os::unix::net::UnixDatagram::bind(&socket).expect("bind");
    let _ = bundle.call_with("create", &[]).env("NOTIFY_SOCKET", &socket).finish();
    outside.assert_untouched();
}

fn cve_2019_18837_a_mount_destination_that_is_a_symlink_stays_in_the_rootfs() {
    for name in ["mnt", "etc", "run", "tmp", "usr", "sys/fs", "dev"] {
        let bundle = Bundle::new().without_mount("/sys").mount(
            "tmpfs",
            "tmpfs",
            &format!("/{name}/below"),
            &[],
        );
        let outside = Outside::new(&bundle);
        plant(&bundle, name, outside.path());
        let output = bundle.run();
        assert!(output.code == 0 || output.code == 1, "{name}: {output}");
        outside.assert_untouched();
    }
}

fn a_mount_destination_below_a_symlink_loop_is_refused() {
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/loop/below", &[]);
    bundle.link("/loop", "loop");
    let _ = bundle.run().refused().names("/mounts/6");
}

fn a_mount_destination_with_dots_stays_in_the_rootfs() {
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/../../../../../../mnt/../made", &[]);
    let mounted = mountinfo::at(bundle, "/made");
    assert_eq!(mounted.kind, "tmpfs");
}

fn a_mount_destination_through_magic_links_is_refused() {
    for path in ["/proc/self/root/mnt", "/proc/self/cwd/mnt", "/proc/1/root/mnt", "/proc/self/fd/0"]
    {
        let _ = Bundle::new().mount("tmpfs", "tmpfs", path, &[]).run().refused().names("/mounts/6");
    }
}

// lxcfs binds its files over some of /proc.
fn a_file_of_proc_can_be_covered() {
    let bundle = Bundle::new()
        .mount("bind", "cpuinfo", "/proc/cpuinfo", &["bind"])
        .args(&["cat", "/proc/cpuinfo"]);
    fs::write(bundle.directory().join("cpuinfo"), "of lxcfs\n").expect("write");
    let _ = bundle.run().ok().prints("of lxcfs");
}

fn a_mount_on_a_fifo_or_socket_does_not_hang() {
    let bundle = Bundle::new().mount("bind", "file", "/fifo", &["bind"]).args(&["cat", "/fifo"]);
    fs::write(bundle.directory().join("file"), "text\n").expect("write");
    let _fifo = bundle.fifo("fifo");
    let output = bundle.run();
    assert!(output.code == 0 || output.code == 1, "{output}");
}

fn a_device_path_through_a_symlink_stays_in_the_rootfs() {
    let device = json!({"path": "/link/made", "type": "c", "major": 1, "minor": 3});
    let bundle = Bundle::new().set("/linux/devices", json!([device]));
    let outside = Outside::new(&bundle);
    bundle.link(outside.path(), "link");
    let output = bundle.run();
    assert!(output.code == 0 || output.code == 1, "{output}");
    outside.assert_untouched();
}

fn a_masked_path_through_a_symlink_stays_in_the_rootfs() {
    for list in ["maskedPaths", "readonlyPaths"] {
        let bundle = Bundle::new().args(&["sleep", "1000"]);
        let outside = Outside::new(&bundle);
        let bundle = bundle.set(&format!("/linux/{list}"), json!(["/link/file", "/link"]));
        bundle.link(outside.path(), "link");
        let _ = bundle.try_create();
        fs::write(outside.directory.join("file"), "untouched").expect("the host still writes");
        outside.assert_untouched();
    }
}

fn a_working_directory_through_a_symlink_makes_nothing_outside() {
    let bundle = Bundle::new().set("/process/cwd", "/link/made");
    let outside = Outside::new(&bundle);
    bundle.link(outside.path(), "link");
    let _ = bundle.run();
    outside.assert_untouched();
}

// HOME comes from /etc/passwd of the image.
fn a_passwd_file_that_is_a_fifo_does_not_hang() {
    let bundle = Bundle::new().args(&["echo", "ran"]);
    let _fifo = bundle.fifo("etc/passwd");
    let output = bundle.run();
    assert!(output.code == 0 || output.code == 1, "{output}");
}

fn a_passwd_file_that_is_a_symlink_to_the_host_is_not_read() {
    let bundle =
        Bundle::new().set("/process/user", json!({"uid": 4242, "gid": 1})).script("echo $HOME");
    let passwd = bundle.beside("passwd");
    fs::write(&passwd, "x:x:4242:1::/of/the/host:/bin/sh\n").expect("write");
    bundle.link(passwd, "etc/passwd");
    let _ = bundle.run().ok().prints("/");
}

// containerd's CVE-2026-47262: an /etc/passwd of gigabytes was read into memory.
fn a_passwd_file_that_is_endless_is_not_read_whole() {
    let bundle = Bundle::new().args(&["echo", "ran"]);
    let file = fs::File::create(bundle.rootfs().join("etc/passwd")).expect("create");
    file.set_len(1 << 40).expect("truncate");
    let output = bundle.run();
    assert!(output.code == 0 || output.code == 1, "{output}");
}

fn the_old_root_is_not_reachable() {
    for options in [&[][..], &["--no-pivot"]] {
        let bundle = Bundle::new().script("cd /; cd ..; cd ../../..; pwd; ls -d work home 2> /dev/null; grep -c oldroot /proc/self/mountinfo");
        let output = bundle.call_with("run", options).finish();
        assert_eq!(output.lines(), ["/", "0"], "{output}");
    }
}

fn the_runtime_is_not_visible_in_the_container() {
    // In the pid namespace nobody but the program; on the host's side nothing of the runtime stays after create.
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let container = bundle.create().start();
    assert_eq!(bundle.processes(), [container.pid]);
    let _ = Bundle::new().script("ls /proc | grep -c '^[0-9]'").run().ok();
}

fn a_set_uid_program_gains_nothing_with_no_new_privileges() {
    let script = "/su -c id 2> /dev/null; grep -E '^(Uid|CapEff)' /proc/self/status | tr -d '\\t '";
    let program = |bundle: &Bundle| {
        let busybox = bundle.rootfs().join("bin/busybox");
        call::install(&busybox, &bundle.rootfs().join("grep"), 0o4755);
    };
    let user = json!({"uid": 1001, "gid": 1001});
    let bundle = Bundle::new().set("/process/user", user.clone()).args(&[
        "/grep",
        "^Uid",
        "/proc/self/status",
    ]);
    program(&bundle);
    let output = bundle.run().ok();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>()[2], "1001", "{output}");
    // The twin: without it the set-uid bit works. busybox drops it for applets like grep, so look at the mode alone.
    let bundle = Bundle::new()
        .set("/process/user", user)
        .set("/process/noNewPrivileges", false)
        .script(script);
    program(&bundle);
    let output = bundle.run().ok();
    assert!(output.stdout.contains("Uid:1001"), "{output}");
}

// runc kept its own path as a label beside the annotations and took the first.
fn an_annotation_named_bundle_does_not_change_the_state() {
    let bundle = Bundle::new().set("/annotations", json!({"bundle": "/etc"}));
    bundle.create();
    if !call::is_peer() {
        assert_eq!(bundle.state()["bundle"], bundle.directory().to_str().expect("UTF-8"));
    }
}
