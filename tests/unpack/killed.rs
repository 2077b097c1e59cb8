//! SIGKILL at any moment, then the same command again; and two at once.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundles::{EACH, SHARED, arguments, bundle, image, layers, left, unpack};
use crate::case::table;
use crate::saved::hull_unpack;
use crate::tree::lines;

table!(Root;
    whenever_it_is_killed_the_same_command_succeeds[Program("strace")],
    whenever_a_removal_is_killed_it_can_be_repeated[Program("strace")],
    of_two_who_remove_a_bundle_one_is_refused,
);

/// What makes, changes and removes files, and takes locks.
const CHANGES: &str = "openat,write,?mkdir,mkdirat,mknodat,linkat,symlinkat,unlinkat,?rmdir,?rename,?renameat,renameat2,\
    utimensat,fchmod,fchown,flock";

/// Kills it before one of its changes. Whether there was one more.
fn kill_before(change: u32, arguments: &[String]) -> bool {
    let status = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", &format!("trace={CHANGES}")])
        .args(["-e", &format!("inject={CHANGES}:signal=KILL:when={change}")])
        .arg(env!("CARGO_BIN_EXE_hull-unpack"))
        .args(arguments)
        .stderr(Stdio::null())
        .status()
        .expect("run strace");
    // It ends as what it traces has ended.
    assert!(status.success() || status.signal() == Some(9), "{status}");
    !status.success()
}

/// The layers of a store.
fn of(store: &Path) -> Vec<PathBuf> {
    let within = |directory: &Path| {
        let entries = fs::read_dir(directory).expect("list a directory");
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        paths
    };
    within(&store.join("layers")).iter().flat_map(|kind| within(kind)).collect()
}

/// A whiteout has the time of its making.
fn without_times_of_whiteouts(tree: &Path) -> Vec<(Vec<u8>, String)> {
    let is_device = |line: &String| line.starts_with("2");
    let lines = lines(tree).into_iter();
    lines.map(|(path, line)| (path, if is_device(&line) { String::new() } else { line })).collect()
}

fn whenever_it_is_killed_the_same_command_succeeds() {
    for further in EACH {
        let layout = image(&json!({}), &layers());
        let store = layout.scratch.path("store");
        // Directories beside and above the trees have the time of their making.
        let made = || {
            let mut trees = if further.is_empty() { Vec::new() } else { of(&store) };
            // The root of shared layers is empty, but for the time of its making.
            if further != SHARED {
                trees.push(bundle(&layout).join("rootfs"));
            }
            let config = fs::read(bundle(&layout).join("config.json")).expect("read config.json");
            (config, trees.iter().map(|tree| without_times_of_whiteouts(tree)).collect::<Vec<_>>())
        };
        let remove = || {
            fs::remove_dir_all(bundle(&layout)).expect("remove the bundle");
            // Not every copy has one.
            fs::remove_dir_all(&store).ok();
        };
        unpack(&layout, further).succeeds();
        let whole = made();
        remove();
        let mut change = 1;
        while kill_before(change, &arguments(&layout, further, &bundle(&layout))) {
            // After the last change it is there already.
            if left(&layout) != ["b"] {
                unpack(&layout, further).succeeds();
            }
            assert_eq!(left(&layout), ["b"], "killed before change {change}");
            assert!(made() == whole, "killed before change {change}");
            let unfinished = fs::read_dir(store.join("staging")).map_or(0, Iterator::count);
            assert_eq!(unfinished, 0, "killed before change {change}");
            remove();
            change += 1;
        }
        assert!(change > 10, "{change} changes");
        assert_eq!(left(&layout), ["b"]);
    }
}

fn whenever_a_removal_is_killed_it_can_be_repeated() {
    let layout = image(&json!({}), &layers());
    let store = layout.scratch.path("store");
    let remove = ["rm".to_owned(), bundle(&layout).display().to_string()];
    let make = || {
        unpack(&layout, SHARED).succeeds();
        let written = bundle(&layout).join("upper/written");
        fs::create_dir(&written).expect("create a directory");
        fs::write(written.join("file"), "").expect("write a file");
    };
    let (mut change, mut leftovers) = (1, 0);
    make();
    while kill_before(change, &remove) {
        let left_over = left(&layout);
        leftovers += u32::from(left_over == [".b.hull-unpack"]);
        if !left_over.is_empty() {
            hull_unpack(&["rm", &remove[1]]).succeeds();
        }
        assert!(left(&layout).is_empty(), "killed before change {change}");
        make();
        change += 1;
    }
    assert!(leftovers > 3, "{leftovers} of {change}");
    assert!(left(&layout).is_empty());
    // Once more is an error, and the layers have outlived it all.
    hull_unpack(&["rm", &remove[1]]).fails(&["No such file or directory"]);
    assert_eq!(of(&store).len(), 2);
    hull_unpack(&["gc", "--store", &store.display().to_string()]).succeeds();
    assert_eq!(
        (of(&store).len(), fs::read_dir(store.join("bundles")).expect("list").count()),
        (0, 0)
    );
}

fn of_two_who_remove_a_bundle_one_is_refused() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    let place = bundle(&layout).display().to_string();
    let lock = fs::File::open(bundle(&layout)).expect("open the bundle");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("lock it");
    hull_unpack(&["rm", &place]).fails(&["in use"]);
    // The other one has renamed it.
    let renamed = bundle(&layout).with_file_name(".b.hull-unpack");
    fs::rename(bundle(&layout), &renamed).expect("rename the bundle");
    for answer in [hull_unpack(&["rm", &place]), unpack(&layout, SHARED)] {
        answer.fails(&["in use"]);
        assert!(renamed.join("layers.json").exists());
    }
    // Not by its end: the child of another test may have it until its execve(2).
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::Unlock).expect("unlock it");
    hull_unpack(&["rm", &place]).succeeds();
    assert!(left(&layout).is_empty());
}
