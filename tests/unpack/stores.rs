//! Layers that bundles share.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::archive::{directory, file, tar};
use crate::bundles::{SHARED, arguments, bundle, image, layers, unpack, unpack_to};
use crate::case::table;
use crate::saved::{Answer, Layout, hull_unpack};

table!(Root;
    a_second_bundle_has_no_layers_of_its_own,
    many_who_unpack_at_once_make_each_layer_once,
    gc_removes_what_no_bundle_uses_and_nothing_else,
    a_bundle_that_was_moved_keeps_its_layers,
    gc_keeps_what_a_bundle_uses_that_it_cannot_look_at,
    a_bundle_that_was_copied_is_entered_by_mount,
    what_is_no_regular_file_is_no_record,
    gc_removes_what_a_killed_process_left,
    a_directory_that_is_no_store_is_left_alone,
    a_directory_of_somebody_else_is_left_alone,
    an_overlay_of_the_layers_is_mounted,
    what_a_container_writes_goes_with_rm_and_the_layers_stay,
    with_sync_the_store_is_on_disk_before_the_bundle_appears[Program("strace")],
    five_hundred_layers_are_mounted,
    an_unprivileged_user_mounts_in_a_user_namespace,
    a_bundle_with_a_copy_is_not_mounted_and_not_removed,
    cve_2024_23652_a_root_that_is_a_symbolic_link_is_left_alone,
);

pub fn store(layout: &Layout) -> PathBuf {
    layout.scratch.path("store")
}

fn ask(command: &str, path: &Path) -> Answer {
    hull_unpack(&[command, path.to_str().expect("UTF-8")])
}

pub fn collect(layout: &Layout, further: &[&str]) -> Answer {
    let store = store(layout);
    hull_unpack(&[&["gc", "--store", store.to_str().expect("UTF-8")], further].concat())
}

/// How many layers the store has.
pub fn count(layout: &Layout) -> usize {
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

fn gc_keeps_what_a_bundle_uses_that_it_cannot_look_at() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    let record = store(&layout).join("bundles/1");
    let text = fs::read(&record).expect("read the record");
    // It has two names, so there is a bundle, whatever became of the text.
    for wrong in [&b""[..], b"{", b"[]"] {
        fs::write(&record, wrong).expect("write the record");
        collect(&layout, &[]).fails(&["the record 1"]);
        assert_eq!(count(&layout), 2);
    }
    fs::remove_file(bundle(&layout).join("layers.json")).expect("remove a name");
    fs::write(&record, &text).expect("write the record");
    // Its own name alone is left: the way to the bundle counts, of which nobody knows where it leads.
    let place = bundle(&layout).parent().expect("a place").to_owned();
    fs::rename(&place, place.with_file_name("elsewhere")).expect("move the place");
    symlink(&place, &place).expect("make a loop");
    collect(&layout, &[]).fails(&["the record 1", "symbolic links"]);
    assert_eq!(count(&layout), 2);
    // The twin: it leads nowhere.
    fs::remove_file(&place).expect("remove the loop");
    collect(&layout, &[]).succeeds();
    assert_eq!(count(&layout), 0);
}

fn a_bundle_that_was_copied_is_entered_by_mount() {
    for is_mounted in [true, false] {
        let layout = image(&json!({}), &layers());
        unpack(&layout, SHARED).succeeds();
        let copy = bundle(&layout).with_file_name("copy");
        let copied = Command::new("cp").arg("-a").args([&bundle(&layout), &copy]).status();
        assert!(copied.expect("run cp").success());
        if is_mounted {
            drop(Mounted::new(&copy));
            // And only once.
            drop(Mounted::new(&copy));
            assert_eq!(fs::read_dir(store(&layout).join("bundles")).expect("list").count(), 2);
        }
        ask("rm", &bundle(&layout)).succeeds();
        collect(&layout, &[]).succeeds();
        assert_eq!(count(&layout), if is_mounted { 2 } else { 0 });
    }
}

fn what_is_no_regular_file_is_no_record() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    let record = bundle(&layout).join("layers.json");
    let text = fs::read(&record).expect("read the record");
    let refuses = |command| {
        ask(command, &bundle(&layout)).fails(&["no bundle with shared layers"]);
        fs::remove_file(&record).expect("remove it");
    };
    fs::rename(&record, record.with_file_name("other")).expect("rename the record");
    symlink("other", &record).expect("make a link");
    refuses("rm");
    // To open it for reading is to wait for one who writes.
    let made = Command::new("mkfifo").arg(&record).status();
    assert!(made.expect("run mkfifo").success());
    refuses("umount");
    fs::write(&record, text).expect("write a record");
    ask("rm", &bundle(&layout)).succeeds();
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

fn a_directory_of_somebody_else_is_left_alone() {
    let layout = image(&json!({}), &layers());
    fs::create_dir(store(&layout)).expect("create a directory");
    fs::set_permissions(store(&layout), fs::Permissions::from_mode(0o777)).expect("chmod");
    chown(store(&layout), Some(54_321), None).expect("chown");
    unpack(&layout, SHARED).fails(&["belongs to user 54321"]);
    assert_eq!(fs::read_dir(store(&layout)).expect("list").count(), 0);
    assert_eq!(fs::metadata(store(&layout)).expect("stat").permissions().mode() & 0o777, 0o777);
    chown(store(&layout), Some(0), None).expect("chown");
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

/// Its layers may have been made by somebody who did not want that.
fn with_sync_the_store_is_on_disk_before_the_bundle_appears() {
    let layout = image(&json!({}), &layers());
    unpack_to(&layout, SHARED, &bundle(&layout).with_file_name("first")).succeeds();
    let traced = |further: &[&str]| {
        let bundle = bundle(&layout);
        let output = Command::new("strace")
            .args(["-f", "-e", "trace=syncfs", env!("CARGO_BIN_EXE_hull-unpack")])
            .args(arguments(&layout, &[SHARED, further].concat(), &bundle))
            .output()
            .expect("run strace");
        assert!(output.status.success());
        fs::remove_dir_all(&bundle).expect("remove the bundle");
        String::from_utf8_lossy(&output.stderr).matches("syncfs(").count()
    };
    // The store's filesystem, then the bundle's.
    assert_eq!([traced(&[]), traced(&["--sync"])], [0, 2]);
}

fn five_hundred_layers_are_mounted() {
    let layers: Vec<_> = (0..500).map(|number| tar([file(format!("f{number}"), "x")])).collect();
    let layout = image(&json!({}), &layers);
    let with_files = |limit: &str, arguments: &[String]| {
        let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_hull-unpack")])
            .args(arguments)
            .output()
            .expect("run sh");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let arguments = arguments(&layout, &[SHARED, &["-q"]].concat(), &bundle(&layout));
    // Each of them is open once, and each blob.
    assert!(with_files("-n 900", &arguments).contains("Too many open files"));
    assert_eq!(with_files("-n 1050", &arguments), "");
    let remove = ["rm".to_owned(), bundle(&layout).display().to_string()];
    assert_eq!(with_files("-n 100", &remove), "");
    // What may be had is taken.
    assert_eq!(with_files("-Sn 100", &arguments), "");
    let mount = ["mount".to_owned(), bundle(&layout).display().to_string()];
    let said = with_files("-Sn 100", &mount);
    let mounted = Mounted(bundle(&layout).join("rootfs"));
    assert_eq!(said, "");
    assert_eq!(fs::read_dir(&mounted.0).expect("list").count(), 500);
}

fn an_unprivileged_user_mounts_in_a_user_namespace() {
    let layout =
        image(&json!({}), &[tar([directory("d/"), file("d/f", "x")]), tar([file("d/.wh.f", "")])]);
    let place = bundle(&layout);
    let home = place.parent().expect("a place");
    chown(home, Some(54_321), Some(54_321)).expect("chown");
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

/// The container of a bundle, or who else may write to it, puts it there.
fn cve_2024_23652_a_root_that_is_a_symbolic_link_is_left_alone() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, SHARED).succeeds();
    let (outside, rootfs) = (layout.scratch.directory("outside"), bundle(&layout).join("rootfs"));
    fs::write(outside.join("file"), "untouched").expect("write");
    fs::remove_dir(&rootfs).expect("remove the root");
    symlink(&outside, &rootfs).expect("make a link");
    for command in ["mount", "umount", "rm"] {
        ask(command, &bundle(&layout)).fails(&["rootfs", "Not a directory"]);
        assert_eq!(fs::read(outside.join("file")).expect("read"), b"untouched");
    }
    // The twin: with a directory again.
    fs::remove_file(&rootfs).expect("remove the link");
    fs::create_dir(&rootfs).expect("make the root");
    ask("rm", &bundle(&layout)).succeeds();
    assert!(!bundle(&layout).exists() && outside.join("file").exists());
}
