//! The form for overlayfs: a mount of the layers shows the tree that all layers make together.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hull::unpack::extract::Prefix;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::archive::{character, directory, fifo, file, link, symlink, tar};
use crate::case::table;
use crate::tree::{Scratch, apply, assert_same, attributes, lines, stack};

table!(Root;
    both_forms_show_the_same_tree,
    what_a_link_is_to_is_hidden_with_its_layer,
    an_image_does_not_speak_to_overlayfs,
    a_device_0_0_is_refused,
    a_link_below_costs_no_hole,
    inside_an_overlay_whiteouts_are_attributes,
    random_layers_show_the_same_tree,
);

/// A mount that goes with the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

/// An overlay of the layers, the topmost last.
fn overlay(scratch: &Scratch, layers: &[PathBuf], prefix: Prefix) -> Mounted {
    let merged = scratch.directory("merged");
    let empty = scratch.directory("empty");
    let mut lowers: Vec<&str> = layers.iter().rev().map(|path| path.to_str().unwrap()).collect();
    // One layer alone would be no overlay.
    lowers.push(empty.to_str().unwrap());
    let more = if prefix == Prefix::User { ",userxattr" } else { "" };
    let data = format!("lowerdir={}{more}", lowers.join(":"));
    let data = std::ffi::CString::new(data).unwrap();
    mount("overlay", &merged, "overlay", MountFlags::RDONLY, Some(data.as_c_str())).unwrap();
    Mounted(merged)
}

fn shown(layers: &[Vec<u8>], prefix: Prefix) -> std::collections::BTreeMap<Vec<u8>, String> {
    let scratch = Scratch::new();
    let made = stack(&scratch, layers, prefix).unwrap();
    let mounted = overlay(&scratch, &made, prefix);
    // A whiteout that overlayfs has nothing to merge with is listed and not found.
    lines(&mounted.0)
}

/// All that whiteouts can do.
pub fn layers() -> Vec<Vec<u8>> {
    vec![
        tar([
            directory(".").mode(0o755),
            directory("usr/lib").mode(0o711).owner(3, 3).attribute("user.lib", "1"),
            symlink("lib", "usr/lib"),
            directory("d").mode(0o700),
            file("d/a", "1"),
            file("d/b", "1"),
            directory("d/sub").mode(0o2750).owner(0, 9),
            file("d/sub/x", "1").mode(0o4755).attribute("security.capability", CAPABILITY),
            directory("gone/deep"),
            file("gone/deep/x", "1"),
            file("was-file", "1"),
            directory("was-directory"),
            file("was-directory/x", "1"),
            fifo("pipe"),
            character("null", 1, 3),
            link("null-too", "null"),
        ]),
        tar([
            file("lib/new", "2"),
            file("d/sub/y", "2"),
            file("d/.wh.a", ""),
            file("gone/.wh..wh..opq", ""),
            file("gone/deep/y", "2"),
            directory("was-file"),
            file("was-file/x", "2"),
            file("was-directory", "2"),
            file("nothing/.wh.x", ""),
            file("new/.wh.x", ""),
            file("new/y", "2"),
            file("new/z/.wh.x", ""),
            link("d/hard", "d/sub/x"),
            link("null-three", "null"),
            link("lib-too", "lib"),
        ]),
        tar([
            directory("was-directory").mode(0o711),
            file("was-directory/y", "3"),
            file("d/a", "3"),
            file(".wh.gone", ""),
            file("gone/new", "3"),
            file("d/sub/.wh.x", ""),
            file("lib/.wh.new", ""),
            file(".wh.was-file", ""),
            file(".wh.pipe", ""),
            directory("pipe"),
            directory("x"),
            file("x", "3"),
            directory("x"),
        ]),
        tar([file(".wh.was-directory", ""), directory("was-directory"), file("x/.wh.y", "")]),
        tar([file("was-directory/.wh.y", ""), file("d/.wh..wh..opq", ""), file("d/b", "5")]),
        tar([
            file("d/sub/z", "6"),
            file(".wh..wh..opq", ""),
            file("usr/lib/x", "6"),
            file("x", "6"),
        ]),
    ]
}

const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Without what overlayfs cannot show: that a file of a layer below is another one than its copy.
pub fn without_groups(tree: std::collections::BTreeMap<Vec<u8>, String>) -> Vec<(Vec<u8>, String)> {
    let words = |line: String| {
        line.split(' ').filter(|word| !word.starts_with('=')).collect::<Vec<_>>().join(" ")
    };
    tree.into_iter().map(|(path, line)| (path, words(line))).collect()
}

fn both_forms_show_the_same_tree() {
    for count in 1..=layers().len() {
        let layers = &layers()[..count];
        let scratch = Scratch::new();
        let expected = lines(&apply(&scratch, layers).unwrap());
        for prefix in [Prefix::Trusted, Prefix::User] {
            let ours = without_groups(shown(layers, prefix)).into_iter().collect();
            assert_same(&ours, &without_groups(expected.clone()).into_iter().collect());
        }
    }
}

/// Overlayfs has a copy of what the link is to, which is not the layer's own file either.
fn what_a_link_is_to_is_hidden_with_its_layer() {
    let below = || tar(["old", "kept", "d/old", "d/kept"].map(|name| file(name, "1")));
    let above = [
        link("new", "old"),
        file(".wh.old", ""),
        link("too", "d/old"),
        // What the layer has an entry for it keeps, wherever its whiteout stands.
        link("d/again", "kept"),
        file("kept", "2"),
        file(".wh.kept", ""),
    ];
    for further in [vec![], vec![file("d/.wh..wh..opq", "")], vec![file(".wh..wh..opq", "")]] {
        let layers = [below(), tar([&above[..], &further].concat())];
        let scratch = Scratch::new();
        let tree = lines(&apply(&scratch, &layers).unwrap());
        let expected = without_groups(tree).into_iter().collect();
        let ours = without_groups(shown(&layers, Prefix::Trusted)).into_iter().collect();
        assert_same(&ours, &expected);
        assert!(ours.contains_key(&b"/new"[..]) && !ours.contains_key(&b"/old"[..]));
        assert_eq!(ours.contains_key(&b"/d/old"[..]), further.is_empty());
    }
}

fn an_image_does_not_speak_to_overlayfs() {
    for (prefix, name) in [(Prefix::Trusted, "trusted.overlay"), (Prefix::User, "user.overlay")] {
        let layers = [
            tar([directory("d"), file("d/below", "1"), file("e/below", "1")]),
            tar([
                directory("d").attribute(&format!("{name}.opaque"), "y"),
                file("d/redirect", "").attribute(&format!("{name}.redirect"), "/e"),
            ]),
        ];
        let scratch = Scratch::new();
        let made = stack(&scratch, &layers, prefix).unwrap();
        let mounted = overlay(&scratch, &made, prefix);
        assert!(mounted.0.join("d/below").exists(), "the image's own attribute is not obeyed");
        let attributes = attributes(&made[1].join("d"));
        assert_eq!(attributes[&format!("{name}.overlay.opaque")], b"y");
        assert!(!attributes.contains_key(&format!("{name}.opaque")));
    }
    // The twin: a whiteout of the layer is.
    let layers = [tar([file("d/below", "1")]), tar([file("d/.wh..wh..opq", "")])];
    assert!(!shown(&layers, Prefix::Trusted).contains_key(&b"/d/below"[..]));
}

fn a_device_0_0_is_refused() {
    let scratch = Scratch::new();
    let error = stack(&scratch, &[tar([character("x", 0, 0)])], Prefix::Trusted).unwrap_err();
    assert!(error.to_string().contains("the device 0:0"), "{error}");
    stack(&Scratch::new(), &[tar([character("x", 0, 1)])], Prefix::Trusted).unwrap();
    apply(&Scratch::new(), &[tar([character("x", 0, 0)])]).unwrap();
}

fn a_link_below_costs_no_hole() {
    let hole = file("hole", "12")
        .pax("GNU.sparse.map", "1048576,2")
        .pax("GNU.sparse.size", (4_u64 << 40).to_string());
    let scratch = Scratch::new();
    let made =
        stack(&scratch, &[tar([hole]), tar([link("too", "hole")])], Prefix::Trusted).unwrap();
    let stat = fs::metadata(made[1].join("too")).unwrap();
    assert_eq!((stat.len(), stat.nlink()), (4 << 40, 2));
    assert!(stat.blocks() < 100);
}

/// In a container whose own root is an overlay: devices 0:0 cannot be made there.
fn inside_an_overlay_whiteouts_are_attributes() {
    let scratch = Scratch::new();
    let disk = scratch.directory("disk");
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), None).unwrap();
    let _disk = Mounted(disk.clone());
    for name in ["lower", "upper", "work", "outer"] {
        fs::create_dir(disk.join(name)).unwrap();
    }
    let part = |name: &str| disk.join(name).to_str().unwrap().to_owned();
    let data =
        format!("lowerdir={},upperdir={},workdir={}", part("lower"), part("upper"), part("work"));
    let data = std::ffi::CString::new(data).unwrap();
    mount("overlay", part("outer").as_str(), "overlay", MountFlags::empty(), Some(data.as_c_str()))
        .unwrap();
    let outer = Mounted(disk.join("outer"));
    let layers = [tar([file("d/a", "1"), file("d/b", "1")]), tar([file("d/.wh.a", "")])];
    let mut made: Vec<PathBuf> = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let root = outer.0.join(number.to_string());
        fs::create_dir(&root).unwrap();
        crate::tree::extract_for_overlay(&root, &made, layer, Prefix::Trusted).unwrap();
        made.push(root);
    }
    let whiteout = made[1].join("d/a");
    assert!(whiteout.is_file() && fs::metadata(&whiteout).unwrap().len() == 0);
    let mounted = overlay(&scratch, &made, Prefix::Trusted);
    // xattr whiteouts are read since Linux 6.7; before, nothing better can be had here.
    if crate::kernel::version() >= (6, 7) {
        assert_eq!(names(&mounted.0.join("d")), ["b"]);
    }
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn random_layers_show_the_same_tree() {
    crate::random::holds(crate::random::layers(), 60, |layers| {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(tar).collect();
        let scratch = Scratch::new();
        // What is refused in one form is refused in the other.
        let Ok(root) = apply(&scratch, &layers) else {
            return;
        };
        let expected = without_groups(lines(&root)).into_iter().collect();
        let ours = without_groups(shown(&layers, Prefix::Trusted)).into_iter().collect();
        assert_same(&ours, &expected);
    });
}
