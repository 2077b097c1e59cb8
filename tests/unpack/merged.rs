//! A copy of the layers that a store has: the tree that they are, content by reference where the
//! filesystem can.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use hull::unpack::extract::lowers::Lowers;
use hull::unpack::extract::{Extractor, Limits, Options, Prefix, Whiteouts};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

use crate::archive::{Entry, directory, file, link, symlink, tar};
use crate::bundles::{COPIED, SHARED, bundle, image, layers, unpack, unpack_to};
use crate::case::table;
use crate::overlay::without_groups;
use crate::stores::{collect, count, store};
use crate::tree::{LIMITS, Scratch, apply, assert_same, lines, open, owners, stack};

table!(Root;
    a_copy_is_the_tree_that_the_layers_are,
    random_layers_become_the_same_tree,
    names_of_one_file_stay_names_of_one_file,
    holes_stay_holes,
    what_an_image_says_to_overlayfs_has_its_own_name_again,
    what_is_hidden_stays_hidden_without_privileges[Program("setpriv")],
    a_name_may_be_longer_than_a_path,
    a_limit_is_one_of_a_copy_too,
    a_bundle_stays_when_its_layers_go,
    what_the_store_has_is_not_read_again,
    a_store_on_another_filesystem_is_copied,
    content_is_shared_where_the_filesystem_can[Program("mkfs.xfs"), Program("filefrag")],
    of_many_layers_few_files_are_open,
    an_ordinary_user_has_the_same_tree[Program("setpriv")],
);

/// A mount that goes with the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

fn merge_with(
    scratch: &Scratch,
    layers: &[PathBuf],
    prefix: Prefix,
    limits: Limits,
) -> hull::error::Result<PathBuf> {
    let root = scratch.directory("merged");
    let options = Options { owners: owners(), whiteouts: Whiteouts::Apply, limits };
    let directories = layers.iter().rev().map(|path| Rc::new(open(path))).collect();
    let mut extractor = Extractor::new(open(&root), options)?;
    extractor.merge(&Lowers { prefix, directories }, &|| Ok(()))?;
    extractor.finish()?;
    Ok(root)
}

/// What a copy of the layers has.
fn merged(layers: &[Vec<u8>], prefix: Prefix) -> BTreeMap<Vec<u8>, String> {
    let scratch = Scratch::new();
    let made = stack(&scratch, layers, prefix).unwrap();
    lines(&merge_with(&scratch, &made, prefix, LIMITS).unwrap())
}

fn a_copy_is_the_tree_that_the_layers_are() {
    let all = crate::overlay::layers();
    for count in 1..=all.len() {
        let scratch = Scratch::new();
        let expected = without_groups(lines(&apply(&scratch, &all[..count]).unwrap()));
        for prefix in [Prefix::Trusted, Prefix::User] {
            let ours = without_groups(merged(&all[..count], prefix)).into_iter().collect();
            assert_same(&ours, &expected.clone().into_iter().collect());
        }
    }
}

fn random_layers_become_the_same_tree() {
    crate::random::holds(crate::random::layers(), 60, |layers| {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(tar).collect();
        let scratch = Scratch::new();
        // What is refused in one form is refused in the other.
        let Ok(root) = apply(&scratch, &layers) else { return };
        let expected = without_groups(lines(&root)).into_iter().collect();
        for prefix in [Prefix::Trusted, Prefix::User] {
            let ours = without_groups(merged(&layers, prefix)).into_iter().collect();
            assert_same(&ours, &expected);
        }
    });
}

fn names_of_one_file_stay_names_of_one_file() {
    let layers = [
        tar([file("a/one", "1"), link("b/two", "a/one"), symlink("s", "x"), link("t", "s")]),
        tar([file("c/below", "2"), link("three", "c/below"), file(".wh.t", "")]),
        // Of the layer's own copy and this name, and not of the other two.
        tar([link("d/four", "three")]),
    ];
    let scratch = Scratch::new();
    let expected = lines(&apply(&scratch, &layers[..2]).unwrap());
    assert_same(&merged(&layers[..2], Prefix::Trusted), &expected);
    let all = merged(&layers, Prefix::Trusted);
    let group = |name: &str| {
        let line = &all[name.as_bytes()];
        line.split(' ').find(|word| word.starts_with('=')).map(str::to_owned)
    };
    assert_eq!(group("/three").as_deref(), Some("=/d/fourx2"));
    assert_eq!(group("/d/four"), group("/three"));
    assert_eq!(group("/c/below"), None);
}

fn holes_stay_holes() {
    let hole = file("hole", "12")
        .pax("GNU.sparse.map", "1048576,2")
        .pax("GNU.sparse.size", (4_u64 << 40).to_string());
    let scratch = Scratch::new();
    let made = stack(&scratch, &[tar([hole])], Prefix::Trusted).unwrap();
    let root = merge_with(&scratch, &made, Prefix::Trusted, LIMITS).unwrap();
    let stat = rustix::fs::stat(root.join("hole")).unwrap();
    assert_eq!(stat.st_size, 4 << 40);
    assert!(stat.st_blocks < 100);
}

fn what_an_image_says_to_overlayfs_has_its_own_name_again() {
    for (prefix, name) in [(Prefix::Trusted, "trusted.overlay"), (Prefix::User, "user.overlay")] {
        let layers = [
            tar([directory("d"), file("d/below", "1")]),
            tar([
                directory("d").attribute(&format!("{name}.opaque"), "y"),
                file("d/f", "").attribute(&format!("{name}.redirect"), "/e"),
            ]),
        ];
        let scratch = Scratch::new();
        let mut expected = lines(&apply(&scratch, &layers).unwrap());
        assert!(expected[&b"/d"[..]].contains(&format!("{name}.opaque=")));
        if prefix == Prefix::Trusted {
            // Not with the capability that reading the store takes.
            for line in expected.values_mut() {
                *line = line
                    .split(' ')
                    .filter(|word| !word.starts_with(name))
                    .collect::<Vec<_>>()
                    .join(" ");
            }
        }
        assert_same(&merged(&layers, prefix), &expected);
    }
}

/// Whoever lacks CAP_SYS_ADMIN reads no `trusted.overlay.opaque`.
fn what_is_hidden_stays_hidden_without_privileges() {
    let layout = image(
        &json!({}),
        &[tar([file("d/secret", "1")]), tar([file("d/.wh..wh..opq", ""), file("d/new", "2")])],
    );
    let unprivileged = |name: &str| {
        let bundle = bundle(&layout).with_file_name(name);
        let output = Command::new("setpriv")
            .args(["--bounding-set", "-sys_admin", env!("CARGO_BIN_EXE_hull-unpack")])
            .args(crate::bundles::arguments(&layout, COPIED, &bundle))
            .output()
            .expect("run setpriv");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        lines(&bundle.join("rootfs"))
    };
    let plain = bundle(&layout).with_file_name("plain");
    unpack_to(&layout, &[], &plain).succeeds();
    let expected = lines(&plain.join("rootfs"));
    unpack(&layout, COPIED).succeeds();
    assert_same(&lines(&bundle(&layout).join("rootfs")), &expected);
    assert_same(&unprivileged("without"), &expected);
    // They have layers of their own in the store.
    assert_eq!(count(&layout), 4);
}

fn a_name_may_be_longer_than_a_path() {
    let part = "p".repeat(250);
    let deep = |count: usize| vec![part.as_str(); count].join("/");
    // Of a directory no part of the way may be so long, but itself.
    let last = format!("s/{}", deep(2));
    let layers = [
        tar([directory(deep(15)), symlink("s", deep(15)), directory(last.as_str())]),
        tar([directory(last).mode(0o711)]),
    ];
    let layout = image(&json!({}), &layers);
    let plain = bundle(&layout).with_file_name("plain");
    unpack_to(&layout, &[], &plain).succeeds();
    unpack(&layout, COPIED).succeeds();
    let found = |bundle: &Path| {
        let script = "cd rootfs/s && find ./ -printf '%p %y %m %s %T@\\n' | sort";
        let output = Command::new("sh").args(["-c", script]).current_dir(bundle).output();
        String::from_utf8(output.expect("run sh").stdout).expect("UTF-8")
    };
    assert_eq!(found(&bundle(&layout)), found(&plain));
    assert!(found(&plain).contains(" d 711 "));
}

fn a_limit_is_one_of_a_copy_too() {
    let scratch = Scratch::new();
    let made = stack(&scratch, &[tar([file("a", "12"), file("b", "34")])], Prefix::Trusted);
    let made = made.unwrap();
    let with = |entries, size| {
        let limits = Limits { entries, size };
        let result = merge_with(&scratch, &made, Prefix::Trusted, limits);
        fs::remove_dir_all(scratch.path("merged")).expect("remove the tree");
        result.map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(with(2, 4), Ok(()));
    let refused = |entries, size| with(entries, size).unwrap_err();
    let starts = |said: String, what: &str| {
        assert!(said.starts_with("layer 1 of 1: ") && said.ends_with(what), "{said}");
    };
    starts(refused(1, 4), ": more than 1 entries");
    starts(refused(2, 3), ": more than 3 bytes");
}

fn a_bundle_stays_when_its_layers_go() {
    let layout = image(&json!({}), &layers());
    unpack(&layout, COPIED).succeeds();
    assert_eq!(count(&layout), 2);
    collect(&layout, &[]).succeeds();
    assert_eq!(count(&layout), 0);
    let plain = bundle(&layout).with_file_name("plain");
    unpack_to(&layout, &[], &plain).succeeds();
    assert_same(&lines(&bundle(&layout).join("rootfs")), &lines(&plain.join("rootfs")));
}

fn what_the_store_has_is_not_read_again() {
    let layout = image(&json!({}), &[tar([file("large", vec![1; 4 << 20])])]);
    unpack(&layout, SHARED).succeeds();
    let layer = fs::read_dir(layout.path("blobs/sha256")).expect("list the blobs");
    let layer = layer.map(|blob| blob.expect("a blob").path());
    let layer = layer.max_by_key(|path| fs::metadata(path).expect("stat").len()).unwrap();
    let length = fs::metadata(&layer).expect("stat").len();
    fs::write(&layer, vec![0; length as usize]).expect("spoil the layer");
    let other = |name: &str| bundle(&layout).with_file_name(name);
    unpack_to(&layout, COPIED, &other("copied")).succeeds();
    assert_eq!(fs::read(other("copied").join("rootfs/large")).expect("read"), vec![1; 4 << 20]);
    // The twin: who has no store reads it.
    assert!(!unpack_to(&layout, &[], &other("plain")).is_success);
}

fn a_store_on_another_filesystem_is_copied() {
    let layout = image(&json!({}), &crate::overlay::layers());
    fs::create_dir(store(&layout)).expect("make the store");
    mount("tmpfs", store(&layout), "tmpfs", MountFlags::empty(), None).expect("mount a tmpfs");
    let _store = Mounted(store(&layout));
    unpack(&layout, COPIED).succeeds();
    let plain = bundle(&layout).with_file_name("plain");
    unpack_to(&layout, &[], &plain).succeeds();
    let trees =
        [bundle(&layout), plain].map(|bundle| without_groups(lines(&bundle.join("rootfs"))));
    let [ours, expected] = trees.map(|tree| tree.into_iter().collect());
    assert_same(&ours, &expected);
}

fn content_is_shared_where_the_filesystem_can() {
    let scratch = Scratch::new();
    let (disk, place) = (scratch.path("disk"), scratch.directory("place"));
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().expect("run a program");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    // The smallest that mkfs.xfs(8) makes is 300 MB, nearly all of it a hole.
    fs::File::create(&disk).and_then(|disk| disk.set_len(400 << 20)).expect("make a disk");
    run("mkfs.xfs", &["-q", "-m", "reflink=1", &text(&disk)]);
    run("mount", &["-o", "loop", &text(&disk), &text(&place)]);
    let _place = Mounted(place.clone());
    let layout = image(&json!({}), &[tar([file("large", vec![1; 4 << 20])])]);
    let store = text(&place.join("store"));
    let unpack = |layout: &crate::saved::Layout, more: &[&str], name: &str| {
        let (image, bundle) = (text(&layout.path("")), text(&place.join(name)));
        let words = [&["--platform", "linux/amd64"], more, &[&image, &bundle]].concat();
        crate::saved::hull_unpack(&words).succeeds();
        run("filefrag", &["-v", "-s", &format!("{bundle}/rootfs/large")]).contains("shared")
    };
    assert!(unpack(&layout, &["--store", &store], "copied"));
    assert!(!unpack(&layout, &[], "plain"));
}

/// Each of them, and each blob, as for layers that are shared.
fn of_many_layers_few_files_are_open() {
    let layers: Vec<_> =
        (0..300).map(|number| tar([directory("d"), file(format!("d/f{number}"), "x")])).collect();
    let layout = image(&json!({}), &layers);
    let arguments = crate::bundles::arguments(&layout, COPIED, &bundle(&layout));
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 1024 && exec \"$0\" -q \"$@\"", env!("CARGO_BIN_EXE_hull-unpack")])
        .args(arguments)
        .output()
        .expect("run sh");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(fs::read_dir(bundle(&layout).join("rootfs/d")).expect("list").count(), 300);
}

fn an_ordinary_user_has_the_same_tree() {
    let all: [Vec<Entry>; 2] = [
        vec![
            directory("locked").mode(0),
            file("locked/f", "1").mode(0),
            file("theirs", "2").owner(1000, 100).mode(0o4400),
            directory("d"),
            file("d/f", "x"),
            crate::archive::fifo("pipe"),
            crate::archive::character("null", 1, 3),
        ],
        vec![file("d/.wh.f", ""), file("locked/g", "3")],
    ];
    let layout = image(&json!({}), &all.map(tar));
    let home = bundle(&layout);
    let home = home.parent().expect("a place");
    std::os::unix::fs::chown(home, Some(54_321), Some(54_321)).expect("chown");
    let script = "set -e; cd \"$1\"; \"$2\" -q --platform linux/amd64 --rootless \"$3\" plain; \
        \"$2\" -q --platform linux/amd64 --rootless --store s \"$3\" copied";
    let output = Command::new("setpriv")
        .args(["--reuid", "54321", "--regid", "54321", "--clear-groups"])
        .args(["unshare", "-Ur", "sh", "-c", script, "sh"])
        .args([&home.display().to_string(), env!("CARGO_BIN_EXE_hull-unpack")])
        .arg(layout.path("").display().to_string())
        .output()
        .expect("run setpriv");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let [ours, expected] = ["copied", "plain"].map(|name| lines(&home.join(name).join("rootfs")));
    assert_eq!(ours[&b"/locked"[..]].split(' ').next(), Some("40000"));
    assert_same(&ours, &expected);
}
