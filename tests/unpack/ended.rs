//! What ends an unpacking before its end, and what must not.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::bundles::{BOTH, arguments, bundle, image, layers, left};
use crate::case::table;
use crate::saved::{LAYER, Layout};

table!(Root;
    a_standard_error_that_is_full_changes_nothing,
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
    for further in BOTH {
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
