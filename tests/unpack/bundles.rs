//! An image becomes a bundle, or nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::archive::{Entry, character, directory, fifo, file, symlink as link, tar};
use crate::case::table;
use crate::patience::comes_true;
use crate::saved::{Answer, LAYER, Layout, hull_unpack, named};

table!(Root;
    an_image_becomes_a_bundle,
    the_same_image_gives_the_same_config,
    a_wish_replaces_what_the_image_says,
    no_config_is_written_if_none_is_wanted,
    a_bundle_that_is_there_is_refused,
    an_empty_directory_becomes_the_bundle,
    a_bundle_in_a_directory_that_is_missing_is_refused,
    nothing_is_left_of_an_image_with_a_wrong_layer,
    nothing_is_left_when_a_signal_comes,
    a_signal_that_the_caller_ignores_changes_nothing,
    after_sigkill_the_same_command_succeeds,
    of_two_who_make_one_bundle_one_is_refused,
    nothing_is_left_when_the_disk_is_full,
    a_fifo_as_passwd_is_refused_and_not_waited_for,
    a_symbolic_link_as_passwd_stays_in_the_image,
    cve_2024_9676_a_huge_passwd_is_refused,
    cve_2024_9676_a_device_as_passwd_is_refused,
    a_number_needs_no_passwd,
    a_label_that_is_an_order_is_left_out_and_told,
    ids_are_moved_by_ranges,
    an_attribute_that_the_sandbox_refuses_is_left_out_and_told,
    files_become_the_own_users,
);

const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n";
const GROUP: &str = "root:x:0:\nadm:x:4:web\n";

pub const SHARED: &[&str] = &["--layout", "shared"];
/// Of what a store has.
pub const COPIED: &[&str] = &["--layout", "copy"];
/// So that a test is of each.
pub const EACH: [&[&str]; 3] = [&[], COPIED, SHARED];

/// An image that says this of its execution.
pub fn image(execution: &Value, layers: &[Vec<u8>]) -> Layout {
    let layout = Layout::of(layers);
    let diff_ids: Vec<_> =
        layers.iter().map(|layer| hull::unpack::image::digest::Digest::of(layer)).collect();
    let config = json!({
        "os": "linux", "architecture": "amd64", "config": execution,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let layers: Vec<_> = layers.iter().map(|layer| layout.blob(LAYER, layer)).collect();
    let manifest = layout.manifest(&config, &json!(layers));
    layout.index(&[named(manifest, "tag")]);
    layout
}

pub fn layers() -> Vec<Vec<u8>> {
    let files = [directory("etc/"), file("etc/passwd", PASSWD), file("etc/group", GROUP)];
    vec![tar(files), tar([file("etc/new", "new"), file("etc/.wh.group", "")])]
}

/// `--platform`, then further arguments, with a store if they name a layout, the image and the bundle.
pub fn arguments(layout: &Layout, further: &[&str], bundle: &Path) -> Vec<String> {
    let mut all = vec!["--platform".to_owned(), "linux/amd64".to_owned()];
    all.extend(further.iter().map(|&word| word.to_owned()));
    if further.contains(&"--layout") {
        let store = layout.scratch.path("store");
        all.extend(["--store".to_owned(), store.display().to_string()]);
    }
    all.push(layout.path("").display().to_string());
    all.push(bundle.display().to_string());
    all
}

pub fn unpack(layout: &Layout, further: &[&str]) -> Answer {
    unpack_to(layout, further, &bundle(layout))
}

pub fn unpack_to(layout: &Layout, further: &[&str], bundle: &Path) -> Answer {
    let all = arguments(layout, further, bundle);
    hull_unpack(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The place of the bundle: alone in a directory, so that what is left beside it is seen.
pub fn bundle(layout: &Layout) -> PathBuf {
    let place = layout.scratch.path("place");
    fs::create_dir_all(&place).expect("create the place");
    place.join("b")
}

/// What is in the place of the bundle.
pub fn left(layout: &Layout) -> Vec<String> {
    let entries = fs::read_dir(layout.scratch.path("place")).expect("list the place");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

pub fn config(bundle: &Path) -> Value {
    let text = fs::read(bundle.join("config.json")).expect("read config.json");
    serde_json::from_slice(&text).expect("JSON")
}

fn an_image_becomes_a_bundle() {
    let layout = image(&json!({ "User": "web", "Cmd": ["sh"], "WorkingDir": "/srv" }), &layers());
    unpack(&layout, &[]).succeeds();
    let bundle = bundle(&layout);
    assert_eq!(left(&layout), ["b"]);
    assert_eq!(fs::read(bundle.join("rootfs/etc/new")).expect("a file"), b"new");
    assert!(!bundle.join("rootfs/etc/group").exists());
    let mode = fs::metadata(&bundle).expect("stat").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let process = &config(&bundle)["process"];
    assert_eq!(process["args"], json!(["sh"]));
    assert_eq!(process["cwd"], "/srv");
    // The second layer has no group file any more: only the own group is left.
    assert_eq!(process["user"], json!({ "uid": 33, "gid": 34, "additionalGids": [34] }));
}

fn the_same_image_gives_the_same_config() {
    let layout = image(&json!({ "Cmd": ["sh"], "Labels": { "b": "2", "a": "1" } }), &layers());
    let texts: Vec<Vec<u8>> = ["one", "two"]
        .map(|name| {
            let bundle = bundle(&layout).with_file_name(name);
            unpack_to(&layout, &[], &bundle).succeeds();
            fs::read(bundle.join("config.json")).expect("read config.json")
        })
        .into();
    assert_eq!(texts[0], texts[1]);
}

fn a_wish_replaces_what_the_image_says() {
    let layout = image(&json!({ "User": "nobody", "Cmd": ["sh"], "Env": ["A=1"] }), &layers());
    let wishes = ["--user", "web:7", "--args", "ls", "--args", "-l", "--env", "A=2", "--readonly"];
    unpack(&layout, &wishes).succeeds();
    let config = config(&bundle(&layout));
    assert_eq!(config["process"]["user"], json!({ "uid": 33, "gid": 7 }));
    assert_eq!(config["process"]["args"], json!(["ls", "-l"]));
    assert_eq!(config["process"]["env"][0], "A=2");
    assert_eq!(config["root"]["readonly"], true);
}

fn no_config_is_written_if_none_is_wanted() {
    let layout = image(&json!({ "User": "nobody" }), &layers());
    unpack(&layout, &["--no-config"]).succeeds();
    assert!(bundle(&layout).join("rootfs").is_dir());
    assert!(!bundle(&layout).join("config.json").exists());
}

fn a_bundle_that_is_there_is_refused() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, &[]).succeeds();
    unpack(&layout, &[]).fails(&["exists already"]);
    assert_eq!(left(&layout), ["b"]);
    fs::remove_dir_all(bundle(&layout)).expect("remove the bundle");
    fs::write(bundle(&layout), "a file").expect("write a file");
    unpack(&layout, &[]).fails(&["b"]);
    assert_eq!(fs::read(bundle(&layout)).expect("the file"), b"a file");
}

fn an_empty_directory_becomes_the_bundle() {
    let layout = image(&json!({}), &layers());
    fs::create_dir(bundle(&layout)).expect("create a directory");
    unpack(&layout, &[]).succeeds();
    assert!(bundle(&layout).join("config.json").exists());
}

fn a_bundle_in_a_directory_that_is_missing_is_refused() {
    let layout = image(&json!({}), &layers());
    let bundle = bundle(&layout).join("missing/b");
    unpack_to(&layout, &[], &bundle).fails(&["No such file or directory"]);
    assert!(left(&layout).is_empty());
}

fn nothing_is_left_of_an_image_with_a_wrong_layer() {
    for further in EACH {
        let layout = image(&json!({}), &layers());
        let right = layout.blob(LAYER, &layers()[1]);
        // The same length of the descriptor's blob, other bytes.
        let mut bytes = layers()[1].clone();
        bytes[1024] ^= 1;
        fs::write(layout.blob_path(&right), bytes).expect("write the blob");
        unpack(&layout, further).fails(&["layer 2 of 2"]);
        assert!(left(&layout).is_empty(), "{:?}", left(&layout));
        if !further.is_empty() {
            let store = layout.scratch.path("store");
            let staging = fs::read_dir(store.join("staging")).expect("list").count();
            assert_eq!(staging, 0);
        }
    }
}

/// The program in the background, waiting in the middle of its work: the layer that it wants to make is
/// locked by the test.
struct Waiting {
    child: Child,
    lock: Option<fs::File>,
}

impl Waiting {
    fn new(layout: &Layout) -> Self {
        Self::run_by(layout, &["env"])
    }

    /// `program` executes what follows its arguments.
    fn run_by(layout: &Layout, program: &[&str]) -> Self {
        // The first run makes the store; gc leaves it empty.
        let first = bundle(layout).with_file_name("first");
        unpack_to(layout, SHARED, &first).succeeds();
        let store = layout.scratch.path("store");
        let layer = walk_one(&store.join("layers"));
        let name = format!(
            "{}.{}",
            layer.parent().and_then(Path::file_name).expect("a kind").to_string_lossy(),
            layer.file_name().expect("a layer").to_string_lossy()
        );
        fs::remove_dir_all(&first).expect("remove the first bundle");
        hull_unpack(&["gc", "--store", &store.display().to_string()]).succeeds();
        fs::create_dir(store.join("staging").join(&name)).expect("create the staging directory");
        let lock = fs::File::open(store.join("staging").join(&name)).expect("open it");
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("lock it");
        let child = Command::new(program[0])
            .args(&program[1..])
            .arg(env!("CARGO_BIN_EXE_hull-unpack"))
            .args(arguments(layout, SHARED, &bundle(layout)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("run hull-unpack");
        let inode = lock.metadata().expect("stat").ino();
        let waiting = Self { child, lock: Some(lock) };
        // Nobody is told that somebody waits for a lock; by then the bundle is begun, and locked too.
        let is_awaited = || {
            let locks = fs::read_to_string("/proc/locks").expect("the locks");
            locks.lines().any(|line| line.contains(" -> ") && line.contains(&format!(":{inode} ")))
        };
        assert!(comes_true(is_awaited), "it does not come to the layer");
        assert_eq!(left(layout), [".b.hull-unpack"]);
        waiting
    }

    fn signal(&mut self, signal: Signal) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("kill");
        self.child.wait().expect("wait")
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.lock = None;
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The lowest layer of the only kind: the one that no other is below.
fn walk_one(directory: &Path) -> PathBuf {
    let kind =
        fs::read_dir(directory).expect("list").next().expect("one").expect("an entry").path();
    if !kind.is_dir() || directory.ends_with("layers") {
        return walk_one(&kind);
    }
    let passwd = |layer: &PathBuf| layer.join("etc/passwd").exists();
    let mut layers = fs::read_dir(directory).expect("list").map(|entry| entry.expect("one").path());
    layers.find(passwd).unwrap_or_else(|| directory.to_owned())
}

fn nothing_is_left_when_a_signal_comes() {
    use std::os::unix::process::ExitStatusExt;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let layout = image(&json!({}), &layers());
        let mut waiting = Waiting::new(&layout);
        let status = waiting.signal(signal);
        assert_eq!(status.signal(), Some(signal.as_raw()));
        assert!(left(&layout).is_empty(), "{signal:?}: {:?}", left(&layout));
    }
}

/// As nohup(1) does: the bundle appears when nobody has the lock any more.
fn a_signal_that_the_caller_ignores_changes_nothing() {
    let layout = image(&json!({}), &layers());
    let mut waiting = Waiting::run_by(&layout, &["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    let pid = rustix::process::Pid::from_child(&waiting.child);
    rustix::process::kill_process(pid, Signal::HUP).expect("kill");
    waiting.lock = None;
    assert!(waiting.child.wait().expect("wait").success());
    assert_eq!(left(&layout), ["b"]);
}

fn after_sigkill_the_same_command_succeeds() {
    let layout = image(&json!({}), &layers());
    let mut waiting = Waiting::new(&layout);
    waiting.signal(Signal::KILL);
    assert_eq!(left(&layout), [".b.hull-unpack"]);
    drop(waiting);
    unpack(&layout, SHARED).succeeds();
    assert_eq!(left(&layout), ["b"]);
    let staging = layout.scratch.path("store").join("staging");
    assert_eq!(fs::read_dir(staging).expect("list").count(), 0);
}

fn of_two_who_make_one_bundle_one_is_refused() {
    let layout = image(&json!({}), &layers());
    let mut waiting = Waiting::new(&layout);
    unpack(&layout, &[]).fails(&["in use"]);
    waiting.lock = None;
    assert!(waiting.child.wait().expect("wait").success());
    assert_eq!(left(&layout), ["b"]);
}

fn nothing_is_left_when_the_disk_is_full() {
    let layer = tar([file("a", vec![1; 3 << 20]), file("d/b", vec![2; 3 << 20])]);
    let layout = image(&json!({}), &[layer]);
    // The store has room, and its own filesystem: what is copied out of it does not fit.
    unpack_to(&layout, COPIED, &layout.scratch.path("other")).succeeds();
    let place = bundle(&layout).parent().expect("a place").to_owned();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &place, "tmpfs", flags, Some(c"size=4m")).expect("mount a tmpfs");
    let full = [&[], COPIED].map(|further| (unpack(&layout, further), left(&layout)));
    rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).expect("umount");
    for (answer, left) in full {
        answer.fails(&["layer 1 of 1", "\"d/b\"", "No space left on device"]);
        assert!(left.is_empty(), "{left:?}");
    }
    unpack(&layout, &[]).succeeds();
}

/// An image with this as its passwd, and an answer for the user `web`, in each layout.
fn with_passwd(passwd: &[Entry], user: &str) -> [(Answer, Layout); 3] {
    EACH.map(|further| {
        let entries = [&[directory("etc/")], passwd].concat();
        let layout = image(&json!({ "User": user }), &[tar(entries)]);
        (unpack(&layout, further), layout)
    })
}

fn a_fifo_as_passwd_is_refused_and_not_waited_for() {
    for (answer, layout) in with_passwd(&[fifo("etc/passwd")], "web") {
        answer.fails(&["etc/passwd", "no regular file"]);
        assert!(left(&layout).is_empty());
    }
}

fn a_symbolic_link_as_passwd_stays_in_the_image() {
    let inside =
        [link("etc/passwd", "/../../usr/users"), directory("usr/"), file("usr/users", PASSWD)];
    for (answer, layout) in with_passwd(&inside, "web") {
        answer.succeeds();
        assert_eq!(config(&bundle(&layout))["process"]["user"]["uid"], 33);
    }
    // On the host that is a file, and it has this user.
    let scratch = crate::tree::Scratch::new();
    let outside = scratch.write("passwd", PASSWD.as_bytes());
    symlink(&outside, scratch.path("link")).expect("symlink");
    for target in [outside, scratch.path("link")] {
        let target = target.display().to_string();
        for (answer, _) in with_passwd(&[link("etc/passwd", &target)], "web") {
            answer.fails(&["no user \"web\""]);
        }
    }
    for (answer, _) in with_passwd(&[link("etc/passwd", "passwd")], "web") {
        answer.fails(&["etc/passwd"]);
    }
}

fn cve_2024_9676_a_huge_passwd_is_refused() {
    let line = "x:x:1:1::/:\n";
    let huge = line.repeat(9 * 1024 * 1024 / line.len());
    let hole = file("etc/passwd", "12")
        .pax("GNU.sparse.map", "1048576,2")
        .pax("GNU.sparse.size", (10_u64 << 30).to_string());
    let lines = file("etc/passwd", huge + PASSWD);
    for (huge, what) in [(lines, "more than 8388608 bytes"), (hole, "a line has more than 65536")] {
        for (answer, _) in with_passwd(&[huge], "web") {
            answer.fails(&["etc/passwd", what]);
        }
    }
    let fits = line.repeat(1024 * 1024 / line.len());
    for (answer, _) in with_passwd(&[file("etc/passwd", fits + PASSWD)], "web") {
        answer.succeeds();
    }
}

fn cve_2024_9676_a_device_as_passwd_is_refused() {
    let zero = character("etc/passwd", 1, 5);
    for (answer, _) in with_passwd(&[zero], "web") {
        answer.fails(&["etc/passwd", "no regular file"]);
    }
}

fn a_number_needs_no_passwd() {
    for (answer, layout) in with_passwd(&[], "33:4") {
        answer.succeeds();
        assert_eq!(config(&bundle(&layout))["process"]["user"], json!({ "uid": 33, "gid": 4 }));
    }
    for (answer, _) in with_passwd(&[], "4294967296") {
        answer.fails(&["/config/User", "no id"]);
    }
}

fn a_label_that_is_an_order_is_left_out_and_told() {
    let layout = image(&json!({ "Labels": { "run.oci.hooks.stdout": "/x", "a": "b" } }), &layers());
    let answer = unpack(&layout, &[]);
    assert!(answer.error.contains("run.oci.hooks.stdout"), "{}", answer.error);
    let annotations = &config(&bundle(&layout))["annotations"];
    assert_eq!(annotations["a"], "b");
    assert!(annotations.get("run.oci.hooks.stdout").is_none());
}

fn ids_are_moved_by_ranges() {
    use std::os::unix::fs::MetadataExt;
    let disk = character("disk", 8, 0).mode(0o666);
    let layer = tar([file("root", "").owner(0, 0), file("web", "").owner(33, 34), disk]);
    for further in EACH {
        let layout = image(&json!({}), std::slice::from_ref(&layer));
        let maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:65536"];
        unpack(&layout, &[further, &maps].concat()).succeeds();
        let mut directory = bundle(&layout).join("rootfs");
        if !further.is_empty() {
            let kind = layout.scratch.path("store").join("layers");
            let kind = fs::read_dir(kind).expect("list").next().expect("one").expect("one").path();
            directory = fs::read_dir(kind).expect("list").next().expect("one").expect("one").path();
        }
        let owner = |name| {
            let stat = fs::symlink_metadata(directory.join(name)).expect("stat");
            (stat.uid(), stat.gid())
        };
        assert_eq!(owner("root"), (100_000, 200_000));
        assert_eq!(owner("web"), (100_033, 200_034));
        // A device of the host would belong to a user without privileges.
        let disk = fs::symlink_metadata(directory.join("disk")).expect("stat");
        assert!(disk.is_file() && disk.mode() & 0o7777 == 0, "{:o}", disk.mode());
        let mappings = &config(&bundle(&layout))["linux"]["uidMappings"];
        assert_eq!(mappings[0], json!({ "containerID": 0, "hostID": 100_000, "size": 65_536 }));
        let wrong = unpack_to(
            &layout,
            &["--uid-map", "0:100000:33", "--gid-map", "0:200000:65536"],
            &bundle(&layout).with_file_name("other"),
        );
        wrong.fails(&["\"web\"", "user 33", "no range maps it"]);
    }
}

fn an_attribute_that_the_sandbox_refuses_is_left_out_and_told() {
    let files = ["trusted.a", "security.other"].map(|name| file(name, "").attribute(name, "1"));
    let layout = image(&json!({}), &[tar(files)]);
    let has = |bundle: &Path, name: &str| {
        let path = bundle.join("rootfs").join(name);
        crate::tree::attributes(&path).contains_key(name)
    };
    for further in [&[], COPIED] {
        let answer = unpack(&layout, further);
        answer.succeeds();
        for name in ["trusted.a", "security.other"] {
            let told = format!("attributes {name:?} are left out: ");
            assert!(answer.error.contains(&told), "{}", answer.error);
            assert!(!has(&bundle(&layout), name), "{name}");
        }
        assert_eq!(answer.error.contains("--no-sandbox"), further.is_empty());
        fs::remove_dir_all(bundle(&layout)).expect("remove the bundle");
    }
    let free = bundle(&layout).with_file_name("free");
    unpack_to(&layout, &["--no-sandbox"], &free).succeeds();
    assert!(has(&free, "trusted.a") && has(&free, "security.other"));
}

fn files_become_the_own_users() {
    use std::os::unix::fs::MetadataExt;
    let layer = tar([file("web", "").owner(33, 34)]);
    let layout = image(&json!({}), &[layer]);
    unpack(&layout, &["--rootless"]).succeeds();
    let own = rustix::process::geteuid().as_raw();
    let config = config(&bundle(&layout));
    if config["linux"]["uidMappings"].as_array().is_some_and(|ranges| ranges.len() == 1) {
        let stat = fs::metadata(bundle(&layout).join("rootfs/web")).expect("stat");
        assert_eq!(stat.uid(), own);
    }
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], own);
}
