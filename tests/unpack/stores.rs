//! Layers that bundles share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::archive::{directory, file, tar};
use crate::bundles::{arguments, bundle, image, layers, unpack, unpack_to};
use crate::case::table;
use crate::saved::{Answer, Layout, hull_unpack};

table!(Root;
    a_second_bundle_has_no_layers_of_its_own,
    many_who_unpack_at_once_make_each_layer_once,
    gc_removes_what_no_bundle_uses_and_nothing_else,
    a_bundle_that_was_moved_keeps_its_layers,
    gc_removes_what_a_killed_process_left,
    a_directory_that_is_no_store_is_left_alone,
    an_overlay_of_the_layers_is_mounted,
    what_a_container_writes_goes_with_rm_and_the_layers_stay,
    two_hundred_layers_are_mounted,
    an_unprivileged_user_mounts_in_a_user_namespace,
    a_bundle_with_a_copy_is_not_mounted_and_not_removed,
);

const SHARED: &[&str] = &["--layout", "shared"];

fn store(layout: &Layout) -> PathBuf {
    layout.scratch.path("store")
}

fn ask(command: &str, path: &Path) -> Answer {
    hull_unpack(&[command, path.to_str().expect("UTF-8")])
}

fn collect(layout: &Layout, further: &[&str]) -> Answer {
    let store = store(layout);
    hull_unpack(&[&["gc", "--store", store.to_str().expect("UTF-8")], further].concat())
}

/// How many layers the store has.
fn count(layout: &Layout) -> usize {
    let kinds = fs::read_dir(store(layout).join("layers")).expect("list the kinds");
    let layers =
        kinds.map(|kind| fs::read_dir(kind.expect("a kind").path()).expect("list").count());
    layers.sum()
}

fn a_second_bundle_has_no_layers_of_its_own() {
    let layout = image(&json!({}), &[tar([file("large", vec![1; 4 << 20])])]);
    let names = ["one", "two"].map(|name| bundle(&layout).with_file_name(name));
    for name in &names {
        unpack_to(&layout, SHARED, name).succeeds();
    }
    assert_eq!(count(&layout), 1);
    let size = |directory: &str| {
        let path = names[1].join(directory);
        fs::read_dir(path).expect("list").count()
    };
    assert_eq!([size("rootfs"), size("upper"), size("work")], [0, 0, 0]);
}

fn many_who_unpack_at_once_make_each_layer_once() {
    let layout = image(&json!({}), &layers());
    bundle(&layout);
    let start = |number: usize| {
        let bundle = bundle(&layout).with_file_name(number.to_string());
        Command::new(env!("CARGO_BIN_EXE_hull-unpack"))
            .args(arguments(&layout, SHARED, &bundle))
            .stdout(Stdio::null())
            .spawn()
            .expect("run hull-unpack")
    };
    let children: Vec<_> = (0..8).map(start).collect();
    for mut child in children {
        assert!(child.wait().expect("wait").success());
    }
    assert_eq!(count(&layout), 2);
    assert_eq!(fs::read_dir(store(&layout).join("bundles")).expect("list").count(), 8);
    assert_eq!(fs::read_dir(store(&layout).join("staging")).expect("list").count(), 0);
}

fn gc_removes_what_no_bundle_uses_and_nothing_else() {
    let first = image(&json!({}), &layers());
    unpack(&first, SHARED).succeeds();
    collect(&first, &[]).succeeds();
    assert_eq!(count(&first), 2);
    fs::remove_dir_all(bundle(&first)).expect("remove the bundle by hand");
    let dry = collect(&first, &["--dry-run"]);
    assert_eq!(dry.out.matches("layer ").count(), 2, "{}", dry.out);
    assert_eq!(count(&first), 2);
    collect(&first, &[]).succeeds();
    assert_eq!(count(&first), 0);
    unpack(&first, SHARED).succeeds();
    assert_eq!(count(&first), 2);
}

fn a_bundle_that_was_moved_keeps_its_layers() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    fs::rename(bundle(&layout), bundle(&layout).with_file_name("moved")).expect("move the bundle");
    collect(&layout, &[]).succeeds();
    assert_eq!(count(&layout), 2);
}

fn gc_removes_what_a_killed_process_left() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    let left = store(&layout).join("staging/trusted.sha256-0");
    fs::create_dir(&left).expect("create a directory");
    fs::write(left.join("half"), "").expect("write a file");
    let said = collect(&layout, &[]);
    assert!(said.out.contains("unfinished trusted.sha256-0"), "{}", said.out);
    assert!(!left.exists());
    assert_eq!(count(&layout), 2);
}

fn a_directory_that_is_no_store_is_left_alone() {
    let layout = image(&json!({}), &layers());
    fs::create_dir(store(&layout)).expect("create a directory");
    fs::write(store(&layout).join("mine"), "").expect("write a file");
    unpack(&layout, SHARED).fails(&["no store", "mine"]);
    collect(&layout, &[]).fails(&["no store"]);
    assert_eq!(fs::read_dir(store(&layout)).expect("list").count(), 1);
    fs::remove_file(store(&layout).join("mine")).expect("remove it");
    unpack(&layout, SHARED).succeeds();
}

/// The bundle's root filesystem is unmounted when the test ends, however it does.
struct Mounted(PathBuf);

impl Mounted {
    fn new(bundle: &Path) -> Self {
        ask("mount", bundle).succeeds();
        Self(bundle.join("rootfs"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

/// What a command of the shell prints there. A file that this process has open, a child of another test
/// has open too until its execve(2), and its mount is busy.
fn in_a_child(mounted: &Mounted, command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).current_dir(&mounted.0).output();
    let output = output.expect("run sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn an_overlay_of_the_layers_is_mounted() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    let mounted = Mounted::new(&bundle(&layout));
    assert_eq!(in_a_child(&mounted, "cat etc/new"), "new");
    assert!(mounted.0.join("etc/passwd").exists());
    // The second layer has a whiteout for it.
    assert!(!mounted.0.join("etc/group").exists());
    ask("mount", &bundle(&layout)).succeeds();
    ask("umount", &bundle(&layout)).succeeds();
    assert_eq!(fs::read_dir(&mounted.0).expect("list").count(), 0);
    ask("umount", &bundle(&layout)).succeeds();
}

fn what_a_container_writes_goes_with_rm_and_the_layers_stay() {
    let layout = image(&json!({}), &layers());
    let other = bundle(&layout).with_file_name("other");
    unpack(&layout, SHARED).succeeds();
    unpack_to(&layout, SHARED, &other).succeeds();
    {
        let mounted = Mounted::new(&bundle(&layout));
        in_a_child(&mounted, "echo changed > etc/passwd");
        let mut busy =
            Command::new("sleep").arg("1000").current_dir(&mounted.0).spawn().expect("run sleep");
        let refused = ask("rm", &bundle(&layout));
        busy.kill().expect("kill");
        busy.wait().expect("wait");
        refused.fails(&["busy"]);
        ask("rm", &bundle(&layout)).succeeds();
    }
    assert!(!bundle(&layout).exists());
    collect(&layout, &[]).succeeds();
    assert_eq!(count(&layout), 2);
    let mounted = Mounted::new(&other);
    let passwd = fs::read_to_string(mounted.0.join("etc/passwd")).expect("read");
    assert!(passwd.contains("web"));
}

fn two_hundred_layers_are_mounted() {
    let layers: Vec<_> = (0..200).map(|number| tar([file(format!("f{number}"), "x")])).collect();
    let layout = image(&json!({}), &layers);
    unpack(&layout, &[SHARED, &["-q"]].concat()).succeeds();
    let mounted = Mounted::new(&bundle(&layout));
    assert_eq!(fs::read_dir(&mounted.0).expect("list").count(), 200);
}

fn an_unprivileged_user_mounts_in_a_user_namespace() {
    let layout =
        image(&json!({}), &[tar([directory("d/"), file("d/f", "x")]), tar([file("d/.wh.f", "")])]);
    let place = bundle(&layout);
    let home = place.parent().expect("a place");
    std::os::unix::fs::chown(home, Some(54_321), Some(54_321)).expect("chown");
    let program = env!("CARGO_BIN_EXE_hull-unpack");
    let image = layout.path("").display().to_string();
    let script = "set -e; cd \"$1\"; \"$2\" -q --platform linux/amd64 --rootless --layout shared \
        --store s \"$3\" b; \"$2\" mount b; ls b/rootfs/d; echo x > b/rootfs/new; ls b/upper; \
        \"$2\" umount b; \"$2\" rm b; \"$2\" gc --store s >/dev/null; ls";
    let output = Command::new("setpriv")
        .args(["--reuid", "54321", "--regid", "54321", "--clear-groups"])
        .args(["unshare", "-Urm", "sh", "-c", script, "sh"])
        .args([&home.display().to_string(), program, &image])
        .output()
        .expect("run setpriv");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "new\ns\n");
}

fn a_bundle_with_a_copy_is_not_mounted_and_not_removed() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, &[]).succeeds();
    for command in ["mount", "umount", "rm"] {
        ask(command, &bundle(&layout)).fails(&["no bundle with shared layers"]);
    }
    assert!(bundle(&layout).join("rootfs/etc/new").exists());
}
