//! Extraction without privileges: everything becomes one's own, and what was lost is kept in
//! attributes, as umoci does.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::archive::{character, directory, entry, fifo, file, symlink, tar};
use crate::case::table;
use crate::tree::{LIMITS, Scratch, attributes, extractor_with, owners};

table!(NoRoot;
    owners_are_kept_in_an_attribute,
    devices_become_empty_files_and_fifos_are_made,
    attributes_that_need_privileges_are_left_out,
    a_directory_without_permissions_can_be_removed,
);

/// cap_net_raw, effective.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn owners_are_kept_in_an_attribute() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let mut extractor = extractor_with(&root, owners(), LIMITS);
    let layer = tar([
        file("theirs", "").owner(1000, 100).mode(0o4400),
        file("root", "").owner(0, 0),
        directory("d").owner(0, 5),
        symlink("s", "x").owner(7, 7),
    ]);
    extractor.layer(&mut layer.as_slice()).unwrap();
    extractor.finish().unwrap();
    let uid = rustix::process::geteuid().as_raw();
    for name in ["theirs", "root", "d", "s"] {
        assert_eq!(fs::symlink_metadata(root.join(name)).unwrap().uid(), uid);
    }
    let of = |name: &str| attributes(&root.join(name)).remove("user.rootlesscontainers");
    assert_eq!(of("theirs"), Some(vec![8, 0xe8, 7, 16, 100]));
    assert_eq!(of("d"), Some(vec![16, 5]));
    assert_eq!(of("root"), None);
    assert_eq!(fs::metadata(root.join("theirs")).unwrap().mode() & 0o7777, 0o4400);
}

fn devices_become_empty_files_and_fifos_are_made() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let mut extractor = extractor_with(&root, owners(), LIMITS);
    let layer = tar([character("null", 1, 3).mode(0o666), entry(b'4', "disk"), fifo("pipe")]);
    extractor.layer(&mut layer.as_slice()).unwrap();
    let told = extractor.finish().unwrap();
    assert!(told.iter().any(|sentence| sentence.contains("devices are empty files")), "{told:?}");
    for name in ["null", "disk"] {
        let stat = fs::symlink_metadata(root.join(name)).unwrap();
        assert_eq!((stat.mode(), stat.len()), (0o100_000, 0));
    }
    assert_eq!(fs::symlink_metadata(root.join("pipe")).unwrap().mode() & 0o170_000, 0o010_000);
}

fn attributes_that_need_privileges_are_left_out() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let mut extractor = extractor_with(&root, owners(), LIMITS);
    let layer = tar([
        file("a", "x").attribute("security.capability", CAPABILITY).attribute("user.a", "1"),
        file("b", "x").attribute("trusted.b", "1"),
    ]);
    extractor.layer(&mut layer.as_slice()).unwrap();
    let told = extractor.finish().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(attributes(&root.join("a"))["user.a"], b"1");
}

fn a_directory_without_permissions_can_be_removed() {
    let scratch = Scratch::new();
    let root = scratch.directory("root");
    let mut extractor = extractor_with(&root, owners(), LIMITS);
    let lower = tar([
        directory("d").mode(0),
        directory("d/e").mode(0o500),
        file("d/e/f", ""),
        directory("d/e/g").mode(0),
        file("d/e/g/h", ""),
        directory("o").mode(0o100),
        file("o/f", ""),
    ]);
    extractor.layer(&mut lower.as_slice()).unwrap();
    let upper = tar([file(".wh.d", ""), file("o/.wh..wh..opq", "")]);
    extractor.layer(&mut upper.as_slice()).unwrap();
    extractor.finish().unwrap();
    assert!(!root.join("d").exists());
    assert_eq!(fs::metadata(root.join("o")).unwrap().mode() & 0o7777, 0o100);
}
