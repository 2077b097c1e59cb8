//! Mounts of new file systems: config.md, "Mounts", "Linux mount options". Binds have a file of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::table;
use crate::mountinfo::{self, Mounted};

table!(Root, Busybox;
    mounts_are_made_in_the_listed_order,
    a_relative_destination_is_below_the_root,
    a_destination_that_is_missing_is_made,
    a_destination_through_a_symlink_stays_in_the_rootfs,
    a_destination_through_a_dangling_symlink_is_made_in_the_rootfs,
    proc_and_sys_are_those_of_the_containers_namespaces,
    a_new_devpts_has_no_terminals_of_the_host,
    shm_is_a_tmpfs_that_all_may_write,
    mqueue_is_that_of_the_ipc_namespace,
    cgroup2_is_mounted,
    the_engines_cgroup_mount_is_the_unified_hierarchy[Hull("runc 1.1.5 mounts v1 hierarchies on a hybrid host")],
    flag_words_set_the_mounts_flags,
    the_opposite_words_clear_them_again,
    access_time_words_set_the_mounts_access_time,
    filesystem_words_reach_the_filesystem,
    words_without_a_visible_effect_are_accepted,
    nosymfollow_refuses_symlinks[Hull("runc 1.1.5 does not know the word")],
    defaults_is_read_write[Hull("runc 1.1.5 hands it to the file system")],
    data_options_reach_the_filesystem,
    a_data_option_that_the_filesystem_refuses_is_an_error,
    a_misspelled_word_is_an_error_of_the_filesystem,
    a_read_only_tmpfs_refuses_writes,
    a_noexec_tmpfs_refuses_programs,
    remount_changes_the_flags_of_a_mount,
    tmpcopyup_copies_the_directory_below,
    a_tmpfs_without_a_mode_has_that_of_the_directory_below,
    an_unknown_filesystem_is_refused,
    a_mount_without_a_destination_is_refused,
    propagation_words_set_the_mounts_propagation,
    an_idmapped_mount_without_mappings_is_refused[Hull("runc 1.1.5 does not know the word")],
    idmap_without_gid_mappings_is_refused[Hull("runc 1.1.5 does not know the word")],
    overlay_is_mounted,
    the_mounts_of_the_host_are_not_in_the_container,
    a_mount_of_the_container_is_not_on_the_host,
);

fn tmpfs(options: &[&str]) -> Bundle {
    Bundle::new().mount("tmpfs", "tmpfs", "/mnt", options)
}

// "The runtime MUST mount entries in the listed order."
fn mounts_are_made_in_the_listed_order() {
    let mountinfo = mountinfo::of(
        Bundle::new()
            .mount("tmpfs", "first", "/mnt", &[])
            .mount("tmpfs", "second", "/mnt/below", &[])
            .mount("tmpfs", "third", "/mnt", &[]),
    );
    let sources: Vec<_> = mountinfo
        .lines()
        .filter(|line| line.contains(" /mnt"))
        .filter_map(|line| line.split(" - tmpfs ").nth(1)?.split(' ').next())
        .collect();
    assert_eq!(sources, ["first", "second", "third"], "{mountinfo}");
}

// "it MAY be a relative path, in which case it MUST be interpreted as relative to "/"."
fn a_relative_destination_is_below_the_root() {
    let mounted = mountinfo::at(
        Bundle::new().mount("tmpfs", "tmpfs", "relative/path", &[]),
        "/relative/path",
    );
    assert_eq!(mounted.kind, "tmpfs");
}

fn a_destination_that_is_missing_is_made() {
    let mounted = mountinfo::at(
        Bundle::new().mount("tmpfs", "tmpfs", "/not/yet/there", &[]),
        "/not/yet/there",
    );
    assert_eq!(mounted.kind, "tmpfs");
}

fn a_destination_through_a_symlink_stays_in_the_rootfs() {
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/link/below", &[]);
    bundle.mkdir("target");
    bundle.link("/target", "link");
    assert_eq!(mountinfo::at(bundle, "/target/below").kind, "tmpfs");
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/link", &[]);
    bundle.mkdir("target");
    bundle.link("../../../../target", "link");
    assert_eq!(mountinfo::at(bundle, "/target").kind, "tmpfs");
}

fn a_destination_through_a_dangling_symlink_is_made_in_the_rootfs() {
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/link", &[]);
    bundle.link("/nothing/here", "link");
    assert_eq!(mountinfo::at(bundle, "/nothing/here").kind, "tmpfs");
}

// config-linux.md, "Default Filesystems": /proc, /sys, /dev/pts, /dev/shm.
fn proc_and_sys_are_those_of_the_containers_namespaces() {
    let script = "ls /proc | grep -c '^[0-9]*$' | tr '\\n' ' '; readlink /proc/self > /dev/null && ls /sys/class/net";
    let output = Bundle::new().script(script).run().ok();
    let words: Vec<_> = output.stdout.split_whitespace().collect();
    // Few processes, and no network device but lo.
    assert!(words[0].parse::<u32>().is_ok_and(|count| count < 9), "{output}");
    assert_eq!(words[1..], ["lo"], "{output}");
}

fn a_new_devpts_has_no_terminals_of_the_host() {
    let _ = Bundle::new()
        .script("ls /dev/pts; stat -c %a /dev/pts/ptmx")
        .run()
        .ok()
        .prints("ptmx\n666");
}

fn shm_is_a_tmpfs_that_all_may_write() {
    let mounted = mountinfo::at(Bundle::new(), "/dev/shm");
    assert_eq!(mounted.kind, "tmpfs");
    assert!(mounted.has_data("size=65536k"), "{mounted:?}");
    let _ = Bundle::new().args(&["stat", "-c", "%a", "/dev/shm"]).run().ok().prints("1777");
}

fn mqueue_is_that_of_the_ipc_namespace() {
    assert_eq!(mountinfo::at(Bundle::new(), "/dev/mqueue").kind, "mqueue");
    let _ = Bundle::new()
        .script("touch /dev/mqueue/queue && ls /dev/mqueue")
        .run()
        .ok()
        .prints("queue");
    let _ = Bundle::new().script("ls /dev/mqueue").run().ok().prints("");
}

fn cgroup2_is_mounted() {
    let bundle =
        Bundle::new().mount("cgroup2", "cgroup2", "/cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    let mounted = mountinfo::at(bundle, "/cgroup");
    assert_eq!((mounted.kind.as_str(), mounted.has("ro")), ("cgroup2", true), "{mounted:?}");
}

// What every engine writes: a mount of type `cgroup`.
fn the_engines_cgroup_mount_is_the_unified_hierarchy() {
    let options = ["nosuid", "noexec", "nodev", "relatime", "ro"];
    let bundle = Bundle::new().mount("cgroup", "cgroup", "/sys/fs/cgroup", &options);
    let output =
        bundle.script("cat /proc/self/mountinfo; cat /sys/fs/cgroup/cgroup.procs").run().ok();
    let mounted = Mounted::find(&output.stdout, "/sys/fs/cgroup").expect("a mount");
    assert_eq!((mounted.kind.as_str(), mounted.has("ro")), ("cgroup2", true), "{mounted:?}");
    // With a cgroup namespace the container is at the top of what it sees.
    assert!(output.lines().contains(&"1"), "{output}");
}

fn flag_words_set_the_mounts_flags() {
    for word in ["ro", "nosuid", "nodev", "noexec"] {
        let mounted = mountinfo::at(tmpfs(&[word]), "/mnt");
        assert!(mounted.has(word), "{word}: {mounted:?}");
        let twin = mountinfo::at(tmpfs(&[]), "/mnt");
        assert!(!twin.has(word), "{word}: {twin:?}");
    }
}

fn the_opposite_words_clear_them_again() {
    let cases = [("ro", "rw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec")];
    for (word, opposite) in cases {
        let mounted = mountinfo::at(tmpfs(&[word, opposite]), "/mnt");
        assert!(!mounted.has(word), "{word},{opposite}: {mounted:?}");
        let mounted = mountinfo::at(tmpfs(&[opposite, word]), "/mnt");
        assert!(mounted.has(word), "{opposite},{word}: {mounted:?}");
    }
}

fn access_time_words_set_the_mounts_access_time() {
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (&["noatime"], &["noatime"], &["relatime"]),
        (&["relatime"], &["relatime"], &["noatime"]),
        (&["strictatime"], &[], &["relatime", "noatime"]),
        (&["nodiratime"], &["nodiratime"], &["noatime"]),
        (&["noatime", "atime"], &["relatime"], &["noatime"]),
        (&["nodiratime", "diratime"], &[], &["nodiratime"]),
        (&["strictatime", "nostrictatime"], &["relatime"], &["noatime"]),
        (&[], &["relatime"], &["noatime", "nodiratime"]),
    ];
    for (words, present, absent) in cases {
        let mounted = mountinfo::at(tmpfs(words), "/mnt");
        assert!(present.iter().all(|word| mounted.has(word)), "{words:?}: {mounted:?}");
        assert!(!absent.iter().any(|word| mounted.has(word)), "{words:?}: {mounted:?}");
    }
}

fn filesystem_words_reach_the_filesystem() {
    for (word, opposite) in [("sync", "async"), ("lazytime", "nolazytime")] {
        let mounted = mountinfo::at(tmpfs(&[word]), "/mnt");
        assert!(mounted.has_data(word), "{word}: {mounted:?}");
        let mounted = mountinfo::at(tmpfs(&[word, opposite]), "/mnt");
        assert!(!mounted.has_data(word), "{word},{opposite}: {mounted:?}");
    }
    let mounted = mountinfo::at(tmpfs(&["dirsync"]), "/mnt");
    assert!(mounted.has_data("dirsync"), "{mounted:?}");
}

fn words_without_a_visible_effect_are_accepted() {
    let words = [
        "iversion",
        "noiversion",
        "silent",
        "loud",
        "mand",
        "nomand",
        "norelatime",
        "async",
        "atime",
        "diratime",
    ];
    for word in words {
        assert_eq!(mountinfo::at(tmpfs(&[word]), "/mnt").kind, "tmpfs", "{word}");
    }
}

fn nosymfollow_refuses_symlinks() {
    let script = "echo text > /mnt/file; ln -s file /mnt/link; cat /mnt/link";
    let _ = tmpfs(&["nosymfollow"]).script(script).run().exits(1).says("symbolic link");
    let _ = tmpfs(&["nosymfollow", "symfollow"]).script(script).run().ok().prints("text");
    let _ = tmpfs(&[]).script(script).run().ok().prints("text");
}

fn defaults_is_read_write() {
    let mounted = mountinfo::at(tmpfs(&["defaults"]), "/mnt");
    assert!(
        mounted.has("rw")
            && !mounted.has("nosuid")
            && !mounted.has("nodev")
            && !mounted.has("noexec"),
        "{mounted:?}"
    );
}

// "Runtimes SHOULD treat unknown options as filesystem-specific ones and pass those as a comma-separated string".
fn data_options_reach_the_filesystem() {
    let mounted = mountinfo::at(tmpfs(&["size=1m", "nr_inodes=100", "mode=0711", "uid=5"]), "/mnt");
    for word in ["size=1024k", "nr_inodes=100", "mode=711", "uid=5"] {
        assert!(mounted.has_data(word), "{word}: {mounted:?}");
    }
    let _ =
        tmpfs(&["size=64k"]).script("dd if=/dev/zero of=/mnt/file bs=128k count=1").run().exits(1);
}

fn a_data_option_that_the_filesystem_refuses_is_an_error() {
    let _ = tmpfs(&["size=nonsense"]).try_create().refused().names("/mounts/6");
    let _ = tmpfs(&["size=1m"]).run().ok();
}

fn a_misspelled_word_is_an_error_of_the_filesystem() {
    let _ = tmpfs(&["rdnoly"]).try_create().refused().names("/mounts/6");
}

fn a_read_only_tmpfs_refuses_writes() {
    let _ = tmpfs(&["ro"]).args(&["touch", "/mnt/file"]).run().exits(1).says("read-only");
    let _ = tmpfs(&["rw"]).args(&["touch", "/mnt/file"]).run().ok();
}

fn a_noexec_tmpfs_refuses_programs() {
    let script = "cp /bin/busybox /mnt/true; chmod 755 /mnt/true; /mnt/true";
    let _ = tmpfs(&["noexec"]).script(script).run().exits(126);
    let _ = tmpfs(&["exec"]).script(script).run().ok();
}

fn remount_changes_the_flags_of_a_mount() {
    let bundle = tmpfs(&["rw"]).mount("tmpfs", "tmpfs", "/mnt", &["remount", "ro", "nosuid"]);
    let mountinfo = mountinfo::of(bundle);
    let mounted = Mounted::find(&mountinfo, "/mnt").expect("a mount");
    assert!(mounted.has("ro") && mounted.has("nosuid"), "{mounted:?}");
    assert_eq!(mountinfo.matches(" /mnt ").count(), 1, "{mountinfo}");
}

// "tmpcopyup: copy up the contents to a tmpfs"
fn tmpcopyup_copies_the_directory_below() {
    let script = "cat /data/file /data/sub/other; readlink /data/link; stat -c %a:%u:%g /data/file /data/sub; \
                  echo changed > /data/file";
    let bundle = Bundle::new().mount("tmpfs", "tmpfs", "/data", &["tmpcopyup"]).script(script);
    bundle.write("data/file", "file\n");
    bundle.write("data/sub/other", "other\n");
    bundle.link("file", "data/link");
    fs::set_permissions(bundle.rootfs().join("data/sub"), PermissionsExt::from_mode(0o750))
        .expect("chmod");
    std::os::unix::fs::chown(bundle.rootfs().join("data/file"), Some(3), Some(4)).expect("chown");
    let _ = bundle.run().ok().prints("file\nother\nfile\n644:3:4\n750:0:0");
    assert_eq!(bundle.read("data/file"), "file\n");
}

// What runc and crun do: an image's /tmp stays 1777.
fn a_tmpfs_without_a_mode_has_that_of_the_directory_below() {
    let mode = |path: &str| {
        let bundle = Bundle::new().mount("tmpfs", "tmpfs", path, &[]);
        let bundle = bundle.args(&["stat", "-c", "%a", path]);
        let narrow = bundle.rootfs().join("narrow");
        fs::create_dir(&narrow).expect("mkdir");
        fs::set_permissions(&narrow, fs::Permissions::from_mode(0o2710)).expect("chmod");
        bundle.run().ok().stdout
    };
    assert_eq!(mode("/narrow"), "2710\n");
    assert_eq!(mode("/new"), "1777\n");
}

fn an_unknown_filesystem_is_refused() {
    let _ =
        Bundle::new().mount("nofs", "none", "/mnt", &[]).try_create().refused().names("/mounts/6");
}

fn a_mount_without_a_destination_is_refused() {
    let mount = json!({"type": "tmpfs", "source": "tmpfs"});
    let _ = Bundle::new().set("/mounts/-", mount).try_create().refused().names("/mounts/6");
}

fn propagation_words_set_the_mounts_propagation() {
    for (word, expected) in [
        ("private", ""),
        ("rprivate", ""),
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
        ("slave", ""),
        ("rslave", ""),
    ] {
        let mounted = mountinfo::at(tmpfs(&[word]), "/mnt");
        assert!(mounted.propagation.starts_with(expected), "{word}: {mounted:?}");
        assert!(!expected.is_empty() || mounted.propagation.is_empty(), "{word}: {mounted:?}");
    }
}

// "If there are no uidMappings and gidMappings specified and the container isn't using user namespaces, an error MUST
// be returned."
fn an_idmapped_mount_without_mappings_is_refused() {
    for word in ["idmap", "ridmap"] {
        let bundle = Bundle::new().mount("bind", "/etc", "/mnt", &["rbind", word]);
        let _ = bundle.try_create().refused().names("/mounts/6");
    }
}

// "If specified, it MUST be specified along with gidMappings."
fn idmap_without_gid_mappings_is_refused() {
    let bundle = Bundle::new().mount("bind", "/etc", "/mnt", &["rbind", "idmap"]);
    let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    let _ = bundle.set("/mounts/6/uidMappings", mapping).try_create().refused().names("/mounts/6");
}

fn overlay_is_mounted() {
    let bundle = Bundle::new().script("cat /mnt/file; echo new > /mnt/other");
    for name in ["lower", "upper", "work"] {
        fs::create_dir(bundle.beside(name)).expect("mkdir");
    }
    fs::write(bundle.beside("lower/file"), "below\n").expect("write");
    let option = |word: &str, name: &str| format!("{word}={}", bundle.beside(name).display());
    let options =
        [option("lowerdir", "lower"), option("upperdir", "upper"), option("workdir", "work")];
    let upper = bundle.beside("upper/other");
    let bundle =
        bundle.mount("overlay", "overlay", "/mnt", &options.each_ref().map(String::as_str));
    let _ = bundle.run().ok().prints("below");
    assert_eq!(fs::read_to_string(upper).expect("the upper file"), "new\n");
}

// namespace `mount`: "the container will have an isolated mount table."
fn the_mounts_of_the_host_are_not_in_the_container() {
    let mountinfo = mountinfo::of(Bundle::new());
    let points: Vec<_> = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let outside = |point: &&&str| {
        !["/", "/proc", "/dev", "/sys"]
            .iter()
            .any(|top| *point == top || point.starts_with(&format!("{top}/")))
    };
    assert_eq!(points.iter().filter(outside).count(), 0, "{mountinfo}");
    assert_eq!(points.iter().filter(|point| **point == "/").count(), 1, "{mountinfo}");
}

fn a_mount_of_the_container_is_not_on_the_host() {
    let bundle = tmpfs(&[]).args(&["sleep", "1000"]);
    let _created = bundle.create();
    assert_eq!(bundle.mounts(), [""; 0]);
    bundle.start();
    assert_eq!(bundle.mounts(), [""; 0]);
}
