//! Bind mounts: config.md, "Mounts"; the recursive words; mount propagation between host and container.

use std::fs;
use std::path::PathBuf;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::mountinfo::{self, Mounted};

table!(Root, Busybox;
    a_bound_directory_is_that_of_the_host,
    a_bound_file_is_that_of_the_host,
    a_source_is_relative_to_the_bundle,
    a_bind_is_known_by_its_options_and_not_by_its_type,
    a_read_only_bind_refuses_writes,
    a_read_only_bind_of_a_file_refuses_writes,
    the_source_stays_writable_on_the_host,
    a_bind_of_a_missing_source_is_refused,
    a_bind_of_a_directory_on_a_file_is_refused,
    a_bind_of_a_file_on_a_directory_is_refused,
    a_file_is_bound_through_a_symlink_of_the_rootfs,
    a_file_is_bound_through_a_dangling_symlink_of_the_rootfs,
    a_directory_is_bound_through_a_symlink_that_climbs_out,
    a_source_that_is_a_symlink_is_followed_on_the_host,
    a_bind_without_rbind_has_no_mounts_below,
    an_rbind_has_the_mounts_below,
    a_read_only_rbind_leaves_the_mounts_below_writable,
    recursive_words_reach_the_mounts_below[Kernel(5, 14)],
    recursive_opposites_clear_the_mounts_below[Kernel(5, 14)],
    recursive_access_time_words_reach_the_mounts_below[Kernel(5, 12), Hull("runc 1.1.5 gets EINVAL for ratime")],
    every_recursive_word_is_accepted[Kernel(5, 14), Hull("runc 1.1.5 gets EINVAL for ratime")],
    an_rro_mount_refuses_writes_below[Kernel(5, 12)],
    a_bind_keeps_the_flags_of_its_source,
    a_flag_of_the_source_can_be_cleared[Hull("runc 1.1.5 keeps it")],
    filesystem_data_on_a_bind_is_told[Hull("runc 1.1.5 says nothing")],
    a_slave_bind_receives_the_hosts_mounts,
    a_private_bind_does_not_receive_the_hosts_mounts,
    a_slave_bind_sends_no_mounts_to_the_host,
    a_shared_bind_sends_mounts_to_the_host,
    a_bind_below_a_read_only_root_is_made,
    a_device_is_bound_as_a_file,
    a_bind_of_the_rootfs_parent_does_not_loop,
);

/// A directory beside the bundle with a tmpfs in its `sub`, flags of both given.
fn tree(bundle: &Bundle, top: MountFlags, below: MountFlags) -> PathBuf {
    let source = bundle.beside("source");
    fs::create_dir(&source).expect("mkdir");
    rustix::mount::mount("top", &source, "tmpfs", top, None).expect("mount the top");
    fs::create_dir(source.join("sub")).expect("mkdir");
    rustix::mount::mount("below", source.join("sub"), "tmpfs", below, None).expect("mount below");
    source
}

fn bind(bundle: Bundle, source: &str, options: &[&str]) -> Bundle {
    let path = bundle.beside(source);
    bundle.mount("bind", path.to_str().expect("UTF-8"), "/mnt", options)
}

/// The mounts of a container on /mnt and /mnt/sub for an rbind of a tree of two mounts.
fn bound_tree(top: MountFlags, below: MountFlags, options: &[&str]) -> (Mounted, Mounted) {
    let bundle = Bundle::new();
    tree(&bundle, top, below);
    let mountinfo = mountinfo::of(bind(bundle, "source", options));
    let at = |path| {
        Mounted::find(&mountinfo, path).unwrap_or_else(|| panic!("nothing on {path}: {mountinfo}"))
    };
    (at("/mnt"), at("/mnt/sub"))
}

fn a_bound_directory_is_that_of_the_host() {
    let bundle =
        bind(Bundle::new(), "source", &["bind"]).script("cat /mnt/file; echo reply > /mnt/reply");
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    fs::write(bundle.beside("source/file"), "text\n").expect("write");
    let _ = bundle.run().ok().prints("text");
    assert_eq!(fs::read_to_string(bundle.beside("source/reply")).expect("the reply"), "reply\n");
}

fn a_bound_file_is_that_of_the_host() {
    let bundle = bind(Bundle::new(), "file", &["bind"]).script("cat /mnt; echo reply >> /mnt");
    fs::write(bundle.beside("file"), "text\n").expect("write");
    let _ = bundle.run().ok().prints("text");
    assert_eq!(fs::read_to_string(bundle.beside("file")).expect("the file"), "text\nreply\n");
    // The mount point that was made is an empty file.
    assert_eq!(bundle.read("mnt"), "");
}

// "Path values for bind mounts are either absolute or relative to the bundle."
fn a_source_is_relative_to_the_bundle() {
    let bundle =
        Bundle::new().mount("bind", "data/below", "/mnt", &["bind"]).args(&["cat", "/mnt/file"]);
    fs::create_dir_all(bundle.directory().join("data/below")).expect("mkdir");
    fs::write(bundle.directory().join("data/below/file"), "text\n").expect("write");
    let _ = bundle.run().ok().prints("text");
}

// "A mount is a bind mount if it has either bind or rbind in the options." "the type is a dummy"
fn a_bind_is_known_by_its_options_and_not_by_its_type() {
    for kind in ["none", "", "tmpfs", "bind"] {
        let bundle = Bundle::new();
        fs::create_dir(bundle.beside("source")).expect("mkdir");
        fs::write(bundle.beside("source/file"), "text\n").expect("write");
        let source = bundle.beside("source");
        let bundle = bundle
            .mount(kind, source.to_str().expect("UTF-8"), "/mnt", &["rbind"])
            .args(&["cat", "/mnt/file"]);
        let _ = bundle.run().ok().prints("text");
    }
    let bundle =
        bind(Bundle::new(), "source", &["bind"]).without("/mounts/6/type").args(&["ls", "/mnt"]);
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    let _ = bundle.run().ok();
}

fn a_read_only_bind_refuses_writes() {
    let bundle = bind(Bundle::new(), "source", &["bind", "ro"]).args(&["touch", "/mnt/file"]);
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    let _ = bundle.run().exits(1).says("read-only");
    let bundle = bind(Bundle::new(), "source", &["bind", "rw"]).args(&["touch", "/mnt/file"]);
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    let _ = bundle.run().ok();
}

fn a_read_only_bind_of_a_file_refuses_writes() {
    let bundle = bind(Bundle::new(), "file", &["bind", "ro"]).script("echo changed > /mnt");
    fs::write(bundle.beside("file"), "text").expect("write");
    let _ = bundle.run().exits(1).says("read-only");
    assert_eq!(fs::read_to_string(bundle.beside("file")).expect("the file"), "text");
}

fn the_source_stays_writable_on_the_host() {
    let bundle = bind(Bundle::new(), "source", &["bind", "ro", "noexec"]).args(&["sleep", "1000"]);
    tree(&bundle, MountFlags::empty(), MountFlags::empty());
    let _created = bundle.create().start();
    fs::write(bundle.beside("source/file"), "text").expect("the host still writes");
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mounted = Mounted::find(&mountinfo, bundle.beside("source").to_str().expect("UTF-8"))
        .expect("the source");
    assert!(mounted.has("rw") && !mounted.has("noexec"), "{mounted:?}");
}

fn a_bind_of_a_missing_source_is_refused() {
    let output =
        bind(Bundle::new(), "missing", &["bind"]).try_create().refused().names("/mounts/6");
    let _ = output.says("no such file or directory");
}

// docker gives a hint at "not a directory".
fn a_bind_of_a_directory_on_a_file_is_refused() {
    let bundle = bind(Bundle::new(), "source", &["bind"]);
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    bundle.write("mnt", "a file");
    let _ = bundle.try_create().refused().says("not a directory");
}

fn a_bind_of_a_file_on_a_directory_is_refused() {
    let bundle = bind(Bundle::new(), "file", &["bind"]);
    fs::write(bundle.beside("file"), "text").expect("write");
    bundle.mkdir("mnt");
    let output = bundle.try_create().refused();
    let text = output.stderr.to_lowercase();
    let is_known =
        text.contains("not a directory") || call::is_peer() && text.contains("is a directory");
    assert!(is_known, "{output}");
}

fn a_file_is_bound_through_a_symlink_of_the_rootfs() {
    let bundle =
        Bundle::new().mount("bind", "hosts", "/etc/hosts", &["bind"]).args(&["cat", "/run/hosts"]);
    fs::write(bundle.directory().join("hosts"), "text\n").expect("write");
    bundle.write("run/hosts", "");
    bundle.link("../run/hosts", "etc/hosts");
    let _ = bundle.run().ok().prints("text");
}

// /etc/resolv.conf of a systemd image, when the file that it names does not exist.
fn a_file_is_bound_through_a_dangling_symlink_of_the_rootfs() {
    for target in ["../run/x/resolv.conf", "/run/x/resolv.conf", "../../../../run/x/resolv.conf"] {
        let bundle = Bundle::new().mount("bind", "resolv", "/etc/resolv.conf", &["bind", "ro"]);
        let bundle = bundle.args(&["cat", "/etc/resolv.conf"]);
        fs::write(bundle.directory().join("resolv"), "nameserver 10.0.0.1\n").expect("write");
        bundle.link(target, "etc/resolv.conf");
        let _ = bundle.run().ok().prints("nameserver 10.0.0.1");
        assert_eq!(bundle.read("run/x/resolv.conf"), "", "{target}");
        assert!(bundle.rootfs().join("etc/resolv.conf").is_symlink(), "{target}");
    }
}

fn a_directory_is_bound_through_a_symlink_that_climbs_out() {
    let bundle = Bundle::new()
        .mount("bind", "data", "/link/below", &["bind"])
        .args(&["cat", "/up/below/file"]);
    fs::create_dir(bundle.directory().join("data")).expect("mkdir");
    fs::write(bundle.directory().join("data/file"), "text\n").expect("write");
    bundle.link("../../../../../../../up", "link");
    let _ = bundle.run().ok().prints("text");
    assert!(bundle.rootfs().join("up/below").is_dir());
}

fn a_source_that_is_a_symlink_is_followed_on_the_host() {
    let bundle = Bundle::new().mount("bind", "link", "/mnt", &["bind"]).args(&["cat", "/mnt/file"]);
    fs::create_dir(bundle.directory().join("data")).expect("mkdir");
    fs::write(bundle.directory().join("data/file"), "text\n").expect("write");
    std::os::unix::fs::symlink("data", bundle.directory().join("link")).expect("symlink");
    let _ = bundle.run().ok().prints("text");
}

fn a_bind_without_rbind_has_no_mounts_below() {
    let bundle = Bundle::new();
    tree(&bundle, MountFlags::empty(), MountFlags::empty());
    let mountinfo = mountinfo::of(bind(bundle, "source", &["bind"]));
    assert!(Mounted::find(&mountinfo, "/mnt").is_some(), "{mountinfo}");
    assert!(Mounted::find(&mountinfo, "/mnt/sub").is_none(), "{mountinfo}");
}

fn an_rbind_has_the_mounts_below() {
    let (top, below) = bound_tree(MountFlags::empty(), MountFlags::empty(), &["rbind"]);
    assert_eq!((top.kind.as_str(), below.kind.as_str()), ("tmpfs", "tmpfs"));
}

fn a_read_only_rbind_leaves_the_mounts_below_writable() {
    let (top, below) = bound_tree(MountFlags::empty(), MountFlags::empty(), &["rbind", "ro"]);
    assert!(top.has("ro") && below.has("rw"), "{top:?} {below:?}");
}

// "Recursive ro" and its kin: "These AT_RECURSIVE options need kernel 5.12 or later."
fn recursive_words_reach_the_mounts_below() {
    for word in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"] {
        let (top, below) =
            bound_tree(MountFlags::empty(), MountFlags::empty(), &["rbind", &format!("r{word}")]);
        assert!(top.has(word) && below.has(word), "r{word}: {top:?} {below:?}");
    }
}

fn recursive_opposites_clear_the_mounts_below() {
    let cases = [
        ("rrw", "ro", MountFlags::RDONLY),
        ("rsuid", "nosuid", MountFlags::NOSUID),
        ("rdev", "nodev", MountFlags::NODEV),
        ("rexec", "noexec", MountFlags::NOEXEC),
    ];
    for (word, cleared, flag) in cases {
        let bundle = Bundle::new();
        let source = tree(&bundle, MountFlags::empty(), MountFlags::empty());
        // Below first: a mount point cannot be looked for on a read-only top, but it can be left alone.
        for path in [source.join("sub"), source] {
            rustix::mount::mount_remount(path, MountFlags::BIND | flag, "").expect("remount");
        }
        let mountinfo = mountinfo::of(bind(bundle, "source", &["rbind", word]));
        for path in ["/mnt", "/mnt/sub"] {
            let mounted = Mounted::find(&mountinfo, path).expect("a mount");
            assert!(!mounted.has(cleared), "{word}: {mounted:?}");
        }
    }
    let (top, below) = bound_tree(MountFlags::NOSUID, MountFlags::NOSUID, &["rbind"]);
    assert!(top.has("nosuid") && below.has("nosuid"), "{top:?} {below:?}");
}

fn recursive_access_time_words_reach_the_mounts_below() {
    let flags = MountFlags::NOATIME | MountFlags::NODIRATIME;
    for (word, present, absent) in [
        ("rrelatime", "relatime", "noatime"),
        ("rstrictatime", "rw", "relatime"),
        ("rstrictatime", "rw", "noatime"),
        ("ratime", "rw", "noatime"),
        ("rdiratime", "noatime", "nodiratime"),
    ] {
        let (top, below) = bound_tree(flags, flags, &["rbind", word]);
        for mounted in [top, below] {
            assert!(mounted.has(present) && !mounted.has(absent), "{word}: {mounted:?}");
        }
    }
}

fn every_recursive_word_is_accepted() {
    let words = [
        "ratime",
        "rdev",
        "rdiratime",
        "rexec",
        "rnoatime",
        "rnodev",
        "rnodiratime",
        "rnoexec",
        "rnorelatime",
        "rnostrictatime",
        "rnosuid",
        "rnosymfollow",
        "rrelatime",
        "rro",
        "rrw",
        "rstrictatime",
        "rsuid",
        "rsymfollow",
    ];
    for word in words {
        let bundle = bind(Bundle::new(), "source", &["rbind", word]);
        fs::create_dir(bundle.beside("source")).expect("mkdir");
        let _ = bundle.args(&["ls", "/mnt"]).run().ok();
    }
}

fn an_rro_mount_refuses_writes_below() {
    for (word, code) in [("rro", 1), ("ro", 0)] {
        let bundle =
            bind(Bundle::new(), "source", &["rbind", word]).args(&["touch", "/mnt/sub/file"]);
        tree(&bundle, MountFlags::empty(), MountFlags::empty());
        let _ = bundle.run().exits(code);
    }
}

fn a_bind_keeps_the_flags_of_its_source() {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
    let (top, below) = bound_tree(flags, flags, &["rbind"]);
    for mounted in [top, below] {
        assert!(["nosuid", "nodev", "noatime"].iter().all(|word| mounted.has(word)), "{mounted:?}");
    }
}

fn a_flag_of_the_source_can_be_cleared() {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let (top, _) = bound_tree(flags, flags, &["rbind", "suid"]);
    assert!(!top.has("nosuid"), "{top:?}");
}

fn filesystem_data_on_a_bind_is_told() {
    let bundle = bind(Bundle::new(), "source", &["bind", "size=1m"]);
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    let create = bundle.try_create();
    assert!(create.stderr.contains("warning: config.json: /mounts/6/options/1: \"size=1m\""));
    let _ = create.ok();
}

/// A container that waits with a tmpfs of the host bound on /mnt; the host's directory.
fn shared_source(bundle: &Bundle) -> PathBuf {
    let source = bundle.beside("source");
    fs::create_dir(&source).expect("mkdir");
    rustix::mount::mount("top", &source, "tmpfs", MountFlags::empty(), None).expect("mount");
    rustix::mount::mount_change(&source, MountPropagationFlags::SHARED).expect("make it shared");
    fs::create_dir(source.join("late")).expect("mkdir");
    source
}

fn the_container_sees_a_late_mount(options: &[&str]) -> bool {
    let bundle = bind(Bundle::new(), "source", options).args(&["sleep", "1000"]);
    let source = shared_source(&bundle);
    let container = bundle.create().start();
    rustix::mount::mount("late", source.join("late"), "tmpfs", MountFlags::empty(), None)
        .expect("mount");
    Mounted::find(&container.proc("mountinfo"), "/mnt/late").is_some()
}

// "rslave: Bind mount propagation": sharedsubtree.rst.
fn a_slave_bind_receives_the_hosts_mounts() {
    assert!(the_container_sees_a_late_mount(&["rbind", "rslave"]));
    assert!(the_container_sees_a_late_mount(&["bind", "slave"]));
    assert!(the_container_sees_a_late_mount(&["rbind", "rshared"]));
}

fn a_private_bind_does_not_receive_the_hosts_mounts() {
    assert!(!the_container_sees_a_late_mount(&["rbind", "rprivate"]));
    assert!(!the_container_sees_a_late_mount(&["bind", "private"]));
}

fn the_host_sees_the_containers_mount(options: &[&str]) -> bool {
    // As CRI-O writes it for a volume with bidirectional propagation.
    let bundle = bind(Bundle::new(), "source", options).set("/linux/rootfsPropagation", "rshared");
    let bundle = bundle.set("/process/noNewPrivileges", false);
    let bundle = ["bounding", "effective", "permitted"].iter().fold(bundle, |bundle, set| {
        bundle.set(&format!("/process/capabilities/{set}/-"), "CAP_SYS_ADMIN")
    });
    let done = bundle.fifo("done");
    let bundle = bundle.script("mount -t tmpfs inner /mnt/late && echo done > /done; sleep 1000");
    let source = shared_source(&bundle);
    let _created = bundle.create().start();
    assert_eq!(done.line(), "done");
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let late = source.join("late");
    let seen = Mounted::find(&mountinfo, late.to_str().expect("UTF-8")).is_some();
    rustix::mount::unmount(&late, UnmountFlags::DETACH).ok();
    seen
}

fn a_slave_bind_sends_no_mounts_to_the_host() {
    assert!(!the_host_sees_the_containers_mount(&["rbind", "rslave"]));
}

fn a_shared_bind_sends_mounts_to_the_host() {
    assert!(the_host_sees_the_containers_mount(&["rbind", "rshared"]));
}

fn a_bind_below_a_read_only_root_is_made() {
    let bundle = bind(Bundle::new(), "source", &["bind"])
        .set("/root/readonly", true)
        .args(&["touch", "/mnt/file"]);
    fs::create_dir(bundle.beside("source")).expect("mkdir");
    let _ = bundle.run().ok();
}

fn a_device_is_bound_as_a_file() {
    let bundle = Bundle::new().mount("bind", "/dev/zero", "/dev/other", &["bind"]);
    let bundle = bundle.script("head -c 4 /dev/other | od -An -tx1; stat -c '%F' /dev/other");
    let output = bundle.run().ok();
    assert!(
        output.stdout.contains("00 00 00 00") && output.stdout.contains("character special"),
        "{output}"
    );
}

fn a_bind_of_the_rootfs_parent_does_not_loop() {
    let bundle = Bundle::new();
    let directory = bundle.directory();
    let bundle = bundle.mount("bind", directory.to_str().expect("UTF-8"), "/mnt", &["rbind", "ro"]);
    let _ = bundle
        .args(&["ls", "/mnt/rootfs/bin/busybox"])
        .run()
        .ok()
        .prints("/mnt/rootfs/bin/busybox");
}
