//! What ends an unpacking before its end, and what must not.

use std::cell::RefCell;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use hull::unpack::image::digest::Digest;
use serde_json::json;

use crate::archive::{file, tar};
use crate::bundles::{EACH, arguments, bundle, image, layers, left, unpack};
use crate::case::table;
use crate::patience::comes_true;
use crate::saved::{self, LAYER, Layout, gzip, named};

table!(Root;
    a_standard_error_that_is_full_changes_nothing,
    a_signal_ends_a_layer_that_gives_no_bytes,
    a_layer_is_bounded_as_it_is_stored,
);

fn a_standard_error_that_is_full_changes_nothing() {
    // A line for each layer, and a warning.
    let layout = || image(&json!({ "Labels": { "run.oci.hooks.stdout": "/x" } }), &layers());
    let unpack = |layout: &Layout, further: &[&str]| {
        let full = fs::File::options().write(true).open("/dev/full").expect("open /dev/full");
        let status = Command::new(env!("CARGO_BIN_EXE_hull-unpack"))
            .args(arguments(layout, further, &bundle(layout)))
            .stderr(full)
            .status();
        status.expect("run hull-unpack").code()
    };
    for further in EACH {
        let right = layout();
        assert_eq!(unpack(&right, further), Some(0));
        assert_eq!(left(&right), ["b"]);
        let wrong = layout();
        let second = wrong.blob_path(&wrong.blob(LAYER, &layers()[1]));
        fs::write(second, vec![1; layers()[1].len()]).expect("write the blob");
        assert_eq!(unpack(&wrong, further), Some(1));
        assert!(left(&wrong).is_empty(), "{:?}", left(&wrong));
    }
}

/// A layer of one file with this many bytes, nearly all of them zeros behind the gzip member (a hole).
fn followed_by_zeros(size: u64) -> Layout {
    let layer = tar([file("a", "1")]);
    let layout = Layout::new();
    let mut blob = layout.blob(LAYER, &gzip(&layer));
    fs::File::options()
        .write(true)
        .open(layout.blob_path(&blob))
        .and_then(|file| file.set_len(size))
        .expect("make the blob longer");
    blob["size"] = json!(size);
    let config = saved::config("amd64", &json!([Digest::of(&layer)]));
    let manifest = layout.manifest(&config, &json!([blob]));
    layout.index(&[named(manifest, "tag")]);
    layout
}

fn a_signal_ends_a_layer_that_gives_no_bytes() {
    // Hours, to read.
    let layout = followed_by_zeros(8 << 40);
    let child = Command::new(env!("CARGO_BIN_EXE_hull-unpack"))
        .args(arguments(&layout, &["--max-size", "8T"], &bundle(&layout)))
        .stderr(Stdio::null())
        .spawn()
        .expect("run hull-unpack");
    // What follows the file is read to its end.
    let made = bundle(&layout).with_file_name(".b.hull-unpack/rootfs/a");
    assert!(comes_true(|| made.exists()), "the file is not made");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    let child = RefCell::new(child);
    let has_ended = comes_true(|| child.borrow_mut().try_wait().expect("wait").is_some());
    child.borrow_mut().kill().expect("kill");
    let status = child.borrow_mut().wait().expect("wait");
    assert!(has_ended, "it goes on");
    assert_eq!(status.signal(), Some(15));
    assert!(left(&layout).is_empty(), "{:?}", left(&layout));
}

fn a_layer_is_bounded_as_it_is_stored() {
    let layout = followed_by_zeros(1 << 20);
    unpack(&layout, &["--max-size", "1048575"])
        .fails(&["layer 1 of 1", "more than 1048575 bytes, as it is stored"]);
    // The twin comes to the end of it, where it has another digest than the blob had before.
    unpack(&layout, &["--max-size", "1M"]).fails(&["layer 1 of 1", "digest"]);
}
