//! What an image may take of this host: privileges, memory, entries and bytes.

use std::fs;
use std::io::{self, Read};
use std::process::{Command, Stdio};

use hull::unpack::image::digest::Digest;
use serde_json::json;

use crate::bundles::{EACH, image, layers, unpack};
use crate::case::table;
use crate::saved::{LAYER, Layout, config, named};

table!(;
    who_only_reads_gives_up_its_privileges_too,
    limits_are_of_all_layers_together[Root],
    of_large_windows_there_is_one_at_a_time,
);

/// How many filters a process has (proc(5), since Linux 5.9).
fn filters(process: &str) -> u32 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("read the status");
    let line = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    line.expect("the number of filters").trim().parse().expect("a number")
}

fn who_only_reads_gives_up_its_privileges_too() {
    let layout = Layout::new();
    let manifest = layout.image("amd64", &layers());
    // More than a pipe takes: in the middle of its answer it waits for us.
    layout.index(&[named(manifest, &"a".repeat(200_000))]);
    for command in ["list", "inspect", "verify"] {
        for (flags, expected) in [(&[][..], 2), (&["--no-sandbox"][..], 0)] {
            let mut child = Command::new(env!("CARGO_BIN_EXE_hull-unpack"))
                .arg(command)
                .args(flags)
                .arg(layout.path(""))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("run hull-unpack");
            let mut answer = child.stdout.take().expect("a pipe");
            answer.read_exact(&mut [0]).expect("an answer");
            let found = filters(&child.id().to_string()) - filters("self");
            io::copy(&mut answer, &mut io::sink()).expect("read the answer");
            assert!(child.wait().expect("wait").success());
            assert_eq!(found, expected, "{command} {flags:?}");
        }
    }
}

fn limits_are_of_all_layers_together() {
    let bytes: usize = layers().iter().map(Vec::len).sum();
    // Three entries and two; the directory that the second one is in is made again in a store.
    for (flag, enough) in [("--max-entries", [5, 6]), ("--max-size", [bytes; 2])] {
        for (further, enough) in EACH.into_iter().zip(enough) {
            let try_with = |limit: usize| {
                // The layers of a store are not extracted again.
                let layout = image(&json!({}), &layers());
                unpack(&layout, &[further, &[flag, &limit.to_string()]].concat())
            };
            try_with(enough).succeeds();
            try_with(enough - 1).fails(&["layer 2 of 2", &format!("more than {}", enough - 1)]);
        }
    }
}

/// So many blocks of 128 KiB of one byte, in a frame with a window of 128 MiB and without a size
/// (RFC 8878, 3.1.1).
fn frame(byte: u8, blocks: u32) -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3];
    for left in (0..blocks).rev() {
        let repeated = 1 << 1;
        let header = BLOCK << 3 | repeated | u32::from(left == 0);
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(byte);
    }
    frame
}

fn of_large_windows_there_is_one_at_a_time() {
    const BLOCKS: u32 = 320;
    let layout = Layout::new();
    let (mut diff_ids, mut descriptors) = (Vec::new(), Vec::new());
    for byte in 0..4 {
        diff_ids.push(Digest::of(&vec![byte; BLOCKS as usize * (128 << 10)]));
        descriptors.push(layout.blob(LAYER, &frame(byte, BLOCKS)));
    }
    let manifest = layout.manifest(&config("amd64", &json!(diff_ids)), &json!(descriptors));
    layout.index(&[named(manifest, "tag")]);
    // Memory in KiB: one window, the buffers of all layers and the threads' stacks need 210 MiB.
    for (most, is_enough) in [(240 << 10, true), (120 << 10, false)] {
        let output = Command::new("sh")
            .args(["-c", "ulimit -d $1 && exec $2 verify --quiet $3", "sh", &most.to_string()])
            .arg(env!("CARGO_BIN_EXE_hull-unpack"))
            .arg(layout.path(""))
            .output()
            .expect("run sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_enough, "{most} KiB: {said}");
    }
}
