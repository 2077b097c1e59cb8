//! What a hostile reading of hull found, each once: a promise that was broken where two features meet.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};

use crate::bundle::{Bundle, MARK};
use crate::call;
use crate::case::table;
use crate::fifo::Fifo;
use crate::hooks::hook;
use crate::lifecycle::assert_nothing_left;
use crate::namespaces::{Holder, without_mounts};

table!(Root, Busybox;
    a_masked_file_does_not_change_the_hosts_null_device[Hull("runc 1.1.5 lets it through")],
    a_container_outlives_the_create_whose_id_it_took_over[Hull("runc 1.1.5 leaves the init of the first")],
    a_notify_socket_without_a_mount_namespace_leaves_no_mount[Hull("runc 1.1.5 needs a /proc")],
    a_joined_mount_namespace_stays_as_it_was[Hull("runc 1.1.5 needs a /proc")],
    mounts_in_a_joined_mount_namespace_are_seen_there_alone[Hull("runc 1.1.5 mounts them")],
    a_reader_that_has_stopped_does_not_hide_the_end[Hull("runc 1.1.5 needs a controlling terminal")],
    an_ignored_sigchld_of_the_caller_changes_nothing[Program("python3")],
    a_program_is_executed_through_an_effective_capability,
    a_preserved_descriptor_is_the_programs_and_no_hooks[Hull("runc 1.1.5 leaks it to hooks")],
    a_real_time_signal_is_in_the_exit_code[Hull("runc 1.1.5 knows no RTMIN+3")],
    a_cgroup_of_another_container_is_refused[Hull("runc 1.1.5 lets both win")],
    the_last_container_removes_the_shared_parent_cgroup[Hull("runc 1.1.5 removes its own cgroup alone")],
    an_init_that_ends_in_a_start_container_hook_fails_start[Hull("runc 1.1.5 says that it started")],
    a_mount_through_a_symlink_into_proc_is_refused,
    a_long_id_and_a_notify_socket_go_together[Hull("runc 1.1.5 cannot bind the socket")],
    a_symlink_beside_the_pid_file_is_not_followed[Hull("runc 1.1.5 fails on it")],
    the_notify_socket_is_in_the_environment_once,
    of_two_creates_of_one_cgroup_at_most_one_wins[Hull("runc 1.1.5 lets both have it")],
    ignored_signals_of_the_caller_do_not_reach_the_program,
    a_hook_without_env_has_that_of_its_namespace,
    an_overlay_of_layers_with_long_names_is_mounted,
);

// The mask is the inode of the host: its owner may change mode and times without any capability.
fn a_masked_file_does_not_change_the_hosts_null_device() {
    let null = || {
        let metadata = fs::metadata("/dev/null").expect("stat");
        (metadata.mode(), metadata.mtime(), metadata.mtime_nsec())
    };
    let before = null();
    // The mode that it has: a runtime that lets it through does no harm to this host.
    let mode = before.0 & 0o7777;
    let script = format!(
        "for file in /secret /plain; do touch $file; echo $?; chmod {mode:o} $file; echo $?; done; cat /secret"
    );
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/secret"])).script(&script);
    bundle.write("secret", "secret");
    bundle.write("plain", "");
    let output = bundle.run().ok();
    assert_eq!(output.lines(), ["1", "1", "0", "0"], "{output}");
    assert_eq!(null(), before);
}

/// The processes in the container's cgroup.
fn in_the_cgroup(bundle: &Bundle) -> Vec<i32> {
    let procs = bundle.cgroups().into_iter().flat_map(|cgroup| {
        fs::read_to_string(cgroup.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    procs.filter_map(|line| line.parse().ok()).collect()
}

// The first create fails when its hook has ended, and unmakes what it has made: not what is of that name by then.
fn a_container_outlives_the_create_whose_id_it_took_over() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
    let script = format!("echo ready > {}; read line < {}", ready.path(), go.path());
    let bundle = bundle.set("/hooks/createRuntime", json!([hook(&script)]));
    let first = bundle.call_with("create", &[]).begin();
    ready.line();
    let init: Vec<_> = in_the_cgroup(&bundle).into_iter().filter_map(call::pidfd).collect();
    let delete = bundle.call(&["delete", "--force", bundle.id()]).begin();
    assert!(init.iter().all(|init| call::readable(init, call::limit())), "init has not ended");
    // It may wait for the first one, or have the id before that has ended.
    let bundle = bundle.without("/hooks");
    let mut won = false;
    let is_known = call::comes_true(|| {
        won = bundle.try_create().code == 0;
        won || call::waits_for_a_lock(delete.pid())
    });
    assert!(is_known, "delete neither waits nor ends");
    go.send("go");
    let _ = first.finish().refused();
    let _ = delete.finish().ok();
    if !won {
        let _ = bundle.try_create().ok();
    }
    bundle.start();
    assert_eq!(bundle.status(), "running");
}

fn a_notify_socket_without_a_mount_namespace_leaves_no_mount() {
    let run = |bundle: Bundle| {
        let bundle = bundle.script("echo ${NOTIFY_SOCKET:-none}");
        let output = bundle.call_with("run", &[]).env("NOTIFY_SOCKET", "@hull-test").finish().ok();
        assert_nothing_left(&bundle);
        fs::remove_dir_all(bundle.rootfs()).expect("nothing is mounted in the rootfs");
        output
    };
    let _ = run(without_mounts(Bundle::new()).without_namespace("mount")).prints("none");
    let _ = run(Bundle::new()).prints("/run/notify/notify.sock");
}

/// The mounts that a process sees, without those of other tests: they vanish with their mount points.
fn mounts_seen_by(pid: i32, bundle: &Bundle) -> Vec<String> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let ours = |line: &&str| !line.contains(MARK) || line.contains(bundle.id());
    mounts.lines().filter(ours).map(str::to_owned).collect()
}

fn a_joined_mount_namespace_stays_as_it_was() {
    let holder = Holder::new(&["--mount"]);
    let bundle = without_mounts(Bundle::new()).join("mount", &holder.path("mnt"));
    let ready = bundle.fifo("ready");
    let bundle = bundle.script("ls /only-here; echo ready > /ready; sleep 1000");
    let seen = || {
        let stat = |name| {
            let stat = fs::metadata(format!("/proc/{}/{name}", holder.pid)).expect("stat");
            (stat.dev(), stat.ino())
        };
        (mounts_seen_by(holder.pid, &bundle), stat("root/"), stat("cwd/"))
    };
    let before = seen();
    bundle.write("only-here", "");
    let container = bundle.create();
    assert_eq!(container.proc_link("ns/mnt"), holder.namespace("mnt"));
    assert!(seen() == before, "{:?}\n{before:?}", seen());
    bundle.start();
    ready.line();
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert!(seen() == before, "{:?}\n{before:?}", seen());
    assert_eq!(container.stdout(), "/only-here\n");
    assert_nothing_left(&bundle);
}

/// As many as the rootfs and what is on it; the root of those who are in it stays theirs.
fn mounts_in_a_joined_mount_namespace_are_seen_there_alone() {
    let holder = Holder::new(&["--mount"]);
    let bundle = Bundle::new().join("mount", &holder.path("mnt"));
    let bundle = bundle.mount("tmpfs", "tmpfs", "/mnt", &[]).args(&["sleep", "1000"]);
    let seen_by = |pid| (mounts_seen_by(pid, &bundle), fs::metadata(format!("/proc/{pid}/root/")));
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let ((before, root), (before_here, _)) = (seen_by(holder.pid), seen_by(own));
    bundle.create().start();
    let ((seen, same), (here, _)) = (seen_by(holder.pid), seen_by(own));
    assert_eq!(here, before_here);
    assert!(seen.len() > before.len() + 5, "{seen:?}");
    let (root, same) = (root.expect("stat"), same.expect("stat"));
    assert_eq!((root.dev(), root.ino()), (same.dev(), same.ino()));
    let _ = bundle.operate(&["delete", "--force"]).ok();
    assert_nothing_left(&bundle);
}

fn a_reader_that_has_stopped_does_not_hide_the_end() {
    for is_full in [false, true] {
        let bundle = Bundle::new().set("/process/terminal", true).script("echo output; exit 7");
        let pipe = Fifo::new(&bundle.beside("pipe"));
        if is_full {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let fd = rustix::fs::open(pipe.path(), flags, Mode::empty()).expect("open");
            while rustix::io::write(&fd, &[b'.'; 4096]).is_ok() {}
        }
        let redirect = format!("exec \"$@\" > {}", pipe.path());
        let bundle = bundle.through(&["sh", "-c", &redirect, "sh"]);
        let _ = bundle.run().exits(7);
        if !is_full {
            assert_eq!(pipe.line().trim_end(), "output");
        }
        assert_nothing_left(&bundle);
    }
}

// An ignored signal is inherited through execve(2), and the kernel then reaps every child itself.
fn an_ignored_sigchld_of_the_caller_changes_nothing() {
    // No shell: some do not pass it on.
    for action in ["SIG_IGN", "SIG_DFL"] {
        let program = format!(
            "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.{action}); os.execv(sys.argv[1], sys.argv[1:])"
        );
        let mut bundle =
            Bundle::new().script("sleep 0; exit 7").through(&["python3", "-c", &program]);
        for kind in ["prestart", "createRuntime", "createContainer", "poststop"] {
            bundle = bundle.set(&format!("/hooks/{kind}"), json!([hook("exit 0")]));
        }
        let _ = bundle.run().exits(7);
        let bundle = bundle.args(&["grep", "SigIgn", "/proc/self/status"]);
        let output = bundle.run().ok();
        let mask = output.stdout.rsplit('\t').next().map(str::trim_end).expect("a mask");
        let mask = u64::from_str_radix(mask, 16).expect("a mask");
        assert_eq!(mask & 1 << (17 - 1), 0, "SIGCHLD in {output}");
        let bundle = bundle.set("/hooks/createRuntime", json!([hook("exit 1")]));
        let _ = bundle.run().refused().names("createRuntime");
    }
}

fn a_program_is_executed_through_an_effective_capability() {
    let only_roots = |capabilities: Value| {
        let bundle = Bundle::new()
            .set("/process/user", json!({"uid": 1000, "gid": 1000}))
            .set("/process/capabilities", capabilities)
            .args(&["/private/echo", "executed"]);
        bundle.mkdir("private");
        let program = bundle.rootfs().join("private/echo");
        call::install(&bundle.rootfs().join("bin/busybox"), &program, 0o700);
        bundle.run()
    };
    let set = json!(["CAP_DAC_OVERRIDE"]);
    let effective = json!({"bounding": set, "permitted": set, "effective": set});
    let _ = only_roots(effective).ok().prints("executed");
    let ambient = json!({"bounding": set, "permitted": set, "effective": set, "inheritable": set, "ambient": set});
    let _ = only_roots(ambient).ok().prints("executed");
    let _ = only_roots(json!({"bounding": set})).refused().says("permission denied");
}

fn a_preserved_descriptor_is_the_programs_and_no_hooks() {
    const KINDS: [&str; 6] =
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let bundle = Bundle::new().through(&["sh", "-c", "exec \"$@\" 3< /etc/passwd", "sh"]);
    let ready = bundle.fifo("ready");
    let mut bundle = bundle.script("head -c 4 <&3; echo ready > /ready; exec sleep 1000");
    for kind in KINDS {
        let log = format!("{}/log", bundle.rootfs().display());
        let log = if kind == "startContainer" { "/log" } else { &log };
        let script = format!("echo {kind} $(readlink /proc/self/fd/3) >> {log}");
        bundle = bundle.set(&format!("/hooks/{kind}"), json!([hook(&script)]));
    }
    let container = bundle.create_with(&["--preserve-fds", "1"]).start();
    ready.line();
    let _ = bundle.kill("KILL").ok();
    container.ended();
    let _ = bundle.delete().ok();
    assert_eq!(container.stdout(), "root");
    let log = bundle.read("log");
    let mut lines: Vec<_> = log.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    let mut kinds = KINDS;
    kinds.sort_unstable();
    assert_eq!(lines, kinds);
}

// "128 + signal", also for a signal that has no name. In a pid namespace of its own init would not get it.
fn a_real_time_signal_is_in_the_exit_code() {
    for (signal, code) in [("RTMIN+3", 165), ("KILL", 137)] {
        let bundle = Bundle::new().without_namespace("pid");
        let ready = bundle.fifo("ready");
        let bundle = bundle.script("echo ready > /ready; exec sleep 1000");
        let run = bundle.begin();
        ready.line();
        let _ = bundle.kill(signal).ok();
        let _ = run.finish().exits(code);
        assert_nothing_left(&bundle);
    }
}

fn a_cgroup_of_another_container_is_refused() {
    let first = Bundle::new().args(&["sleep", "1000"]);
    let path = first.config["linux"]["cgroupsPath"].clone();
    let second = Bundle::new().set("/linux/cgroupsPath", path);
    first.create().start();
    let _ = second.try_create().refused().says("not empty");
    // The one that lost ends nothing of the other.
    let _ = second.operate(&["delete", "--force"]).ok();
    assert_eq!(first.status(), "running");
    let _ = first.operate(&["delete", "--force"]).ok();
    assert_nothing_left(&first);
    let _ = second.run().ok();
    assert_nothing_left(&second);
}

fn the_last_container_removes_the_shared_parent_cgroup() {
    for first_leaves_first in [true, false] {
        let first = Bundle::new();
        let parent = format!("/{}-shared/deep", first.id());
        let first = first.set("/linux/cgroupsPath", format!("{parent}/first"));
        let second = Bundle::new().set("/linux/cgroupsPath", format!("{parent}/second"));
        first.create();
        second.create();
        let order = if first_leaves_first { [&first, &second] } else { [&second, &first] };
        let _ = order[0].delete().ok();
        assert_eq!(order[1].status(), "created");
        assert!(!first.cgroups().is_empty());
        let _ = order[1].delete().ok();
        assert_nothing_left(&first);
    }
}

fn an_init_that_ends_in_a_start_container_hook_fails_start() {
    for is_killed in [true, false] {
        let bundle = Bundle::new().args(&["sleep", "1000"]);
        let (ready, go) = (bundle.fifo("ready"), bundle.fifo("go"));
        let poststart = format!("echo called > {}/poststart", bundle.rootfs().display());
        let bundle = bundle
            .set("/hooks/startContainer", json!([hook("echo ready > /ready; read line < /go")]))
            .set("/hooks/poststart", json!([hook(&poststart)]));
        let container = bundle.create();
        let start = bundle.call(&["start", bundle.id()]).begin();
        ready.line();
        if is_killed {
            let _ = bundle.kill("KILL").ok();
            container.ended();
            let _ = start.finish().refused();
        } else {
            go.send("go");
            let _ = start.finish().ok();
        }
        assert_eq!(bundle.rootfs().join("poststart").exists(), !is_killed);
        let _ = bundle.operate(&["delete", "--force"]).ok();
        assert_nothing_left(&bundle);
    }
}

// CVE-2019-16884: where a volume lands is the image's choice.
fn a_mount_through_a_symlink_into_proc_is_refused() {
    let volume_at = |target: &str, destination: &str| {
        let bundle = Bundle::new().mount("bind", "volume", destination, &["rbind"]);
        let bundle = bundle.args(&["cat", "/usr/sys/file"]);
        fs::create_dir(bundle.directory().join("volume")).expect("mkdir");
        fs::write(bundle.directory().join("volume/file"), "of the volume").expect("write");
        bundle.link(target, "data");
        bundle
    };
    for (target, destination) in
        [("/proc", "/data/sys"), ("/proc/sys", "/data"), ("proc/../proc", "/data/fs")]
    {
        let bundle = volume_at(target, destination);
        let _ = bundle.try_create().refused().names("/mounts/6").says("inside /proc");
        assert_nothing_left(&bundle);
    }
    let _ = volume_at("/usr", "/data/sys").run().ok().prints("of the volume");
}

// The path of a socket is at most 107 bytes long (unix(7)); an id is at most 255.
fn a_long_id_and_a_notify_socket_go_together() {
    let bundle = Bundle::new().args(&["echo", "executed"]);
    bundle.save();
    let directory = bundle.directory();
    let options = ["--bundle", directory.to_str().expect("UTF-8")];
    let id = "i".repeat(200);
    let call = |words: &[&str]| {
        let argv = [words, &[id.as_str()]].concat();
        bundle.call(&argv).env("NOTIFY_SOCKET", "@hull-test").finish().ok()
    };
    let _ = call(&["run", options[0], options[1]]).prints("executed");
    assert_nothing_left(&bundle);
    let create = call(&["create", options[0], options[1]]);
    let _ = call(&["start"]);
    let _ = call(&["delete", "--force"]);
    assert_eq!(create.reread(), "executed\n");
    assert_nothing_left(&bundle);
}

fn a_symlink_beside_the_pid_file_is_not_followed() {
    let bundle = Bundle::new();
    let (file, planted) = (bundle.beside("pid"), bundle.beside(".pid"));
    let target = bundle.beside("target");
    fs::write(&target, "of somebody else").expect("write");
    symlink(&target, &planted).expect("symlink");
    let container = bundle.create_with(&["--pid-file", file.to_str().expect("UTF-8")]);
    assert_eq!(fs::read_to_string(&target).expect("read"), "of somebody else");
    assert!(fs::symlink_metadata(&file).expect("stat").is_file());
    assert_eq!(fs::read_to_string(&file).expect("read"), container.pid.to_string());
}

fn the_notify_socket_is_in_the_environment_once() {
    let of_the_config = "NOTIFY_SOCKET=/of/the/config";
    // A shell shows each variable once, whatever it was given.
    let bundle = Bundle::new()
        .set("/process/env/-", of_the_config)
        .script("tr '\\0' '\\n' < /proc/1/environ | grep NOTIFY_SOCKET");
    let run = bundle.call_with("run", &[]).env("NOTIFY_SOCKET", "@hull-test");
    let _ = run.finish().ok().prints("NOTIFY_SOCKET=/run/notify/notify.sock");
    let _ = bundle.run().ok().prints(of_the_config);
}

fn of_two_creates_of_one_cgroup_at_most_one_wins() {
    for _ in 0..8 {
        let first = Bundle::new().args(&["sleep", "1000"]);
        let path = first.config["linux"]["cgroupsPath"].clone();
        let second = Bundle::new().args(&["sleep", "1000"]).set("/linux/cgroupsPath", path);
        let calls = [&first, &second].map(|bundle| bundle.call_with("create", &[]).begin());
        let codes = calls.map(|call| call.finish().code);
        assert_ne!(codes, [0, 0]);
        // The one that lost ends nothing of the other, and its successor is refused as well.
        let (winner, loser) = if codes[0] == 0 { (first, second) } else { (second, first) };
        if codes != [1, 1] {
            let _ = loser.operate(&["delete", "--force"]).ok();
            let _ = loser.try_create().refused().says("not empty");
            winner.start();
            assert_eq!(winner.status(), "running");
            let _ = winner.operate(&["delete", "--force"]).ok();
        }
        assert_nothing_left(&winner);
        loser.create();
    }
}

fn ignored_signals_of_the_caller_do_not_reach_the_program() {
    let bundle = Bundle::new().args(&["grep", "SigIgn", "/proc/self/status"]);
    let _ = bundle.run().ok().prints("SigIgn:\t0000000000000000");
}

fn a_hook_without_env_has_that_of_its_namespace() {
    let bundle = Bundle::new().set("/process/env", json!(["PATH=/bin", "INSIDE=1"]));
    let hook = |kind: &str| {
        let path = bundle.beside(kind);
        json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("env > {}", path.display())]}])
    };
    let hooks = json!({"createRuntime": hook("runtime"), "createContainer": hook("container")});
    let bundle = bundle.set("/hooks", hooks);
    let _ = bundle.run().ok();
    let seen = |kind| fs::read_to_string(bundle.beside(kind)).expect("the hook wrote it");
    assert!(seen("container").contains("INSIDE=1"));
    assert!(!seen("runtime").contains("INSIDE=1") && seen("runtime").contains("PATH="));
}

// fsconfig(2) takes 255 bytes of a value; a list of layers is longer.
fn an_overlay_of_layers_with_long_names_is_mounted() {
    let bundle = Bundle::new();
    let layers = ["a", "b"].map(|name| bundle.beside(&name.repeat(150)));
    for (layer, file) in layers.iter().zip(["first", "second"]) {
        fs::create_dir(layer).expect("mkdir");
        fs::write(layer.join(file), "").expect("write");
    }
    let lower = format!("lowerdir={}:{}", layers[0].display(), layers[1].display());
    let overlay = json!({"destination": "/mnt", "type": "overlay", "source": "overlay", "options": ["nosuid", lower]});
    let bundle = bundle.set("/mounts/-", overlay).args(&["ls", "/mnt"]);
    let _ = bundle.run().ok().prints("first\nsecond");
}
