//! Properties that hold whatever is in the tar. The input is made up from a fixed seed, so that every
//! run has the same; `PROPTEST_CASES` makes it more.

use std::fs;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use crate::archive::{Entry, character, directory, fifo, file, link, symlink, tar};
use crate::case::table;
use crate::tree::{Scratch, apply, assert_same, lines};

table!(;
    no_bytes_make_the_reader_fail_otherwise_than_by_an_error,
    no_layers_reach_out_of_the_root,
    layers_make_the_same_tree_each_time,
);

/// Runs the property, so many times as often as proptest would have it, in hundredths.
pub fn holds<S: Strategy>(input: S, hundredths: u32, property: impl Fn(S::Value)) {
    let default = ProptestConfig::default();
    let cases = default.cases * hundredths / 100;
    let config = ProptestConfig { cases, failure_persistence: None, ..default };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let result = TestRunner::new_with_rng(config, rng).run(&input, |value| {
        property(value);
        Ok(())
    });
    assert!(result.is_ok(), "{}", result.unwrap_err());
}

fn name() -> impl Strategy<Value = String> {
    let part = || select(vec!["a", "b", "c", "d", "a", "b", "."]);
    vec(part(), 1..4).prop_map(|parts| parts.join("/"))
}

fn one() -> impl Strategy<Value = Entry> {
    let target = prop_oneof![
        name(),
        name().prop_map(|name| format!("/{name}")),
        name().prop_map(|name| format!("../{name}")),
        Just("/".to_owned()),
        Just("../../..".to_owned()),
    ];
    let mode = select(vec![0o755, 0o700, 0o4755, 0o2775, 0o1777, 0o644, 0]);
    prop_oneof![
        4 => (name(), mode.clone()).prop_map(|(name, mode)| file(name, "text").mode(mode)),
        4 => (name(), mode.clone()).prop_map(|(name, mode)| directory(name).mode(mode)),
        2 => (name(), target).prop_map(|(name, target)| symlink(name, target)),
        2 => (name(), name()).prop_map(|(name, target)| link(name, target)),
        1 => (name(), mode).prop_map(|(name, mode)| fifo(name).mode(mode)),
        1 => name().prop_map(|name| character(name, 1, 3)),
        2 => name().prop_map(|name| match name.rsplit_once('/') {
            Some((directory, last)) => file(format!("{directory}/.wh.{last}"), ""),
            None => file(format!(".wh.{name}"), ""),
        }),
        1 => name().prop_map(|name| file(format!("{name}/.wh..wh..opq"), "")),
    ]
}

/// Up to four layers of a few entries each.
pub fn layers() -> impl Strategy<Value = Vec<Vec<Entry>>> {
    vec(vec(one(), 0..8), 1..5)
}

fn no_bytes_make_the_reader_fail_otherwise_than_by_an_error() {
    let changes = vec((any::<Index>(), any::<u8>()), 0..6);
    let kinds = select(b"0123456789xgLKSDVX\0AZ".to_vec());
    holds((layers(), changes, kinds, any::<Index>()), 200, |(layers, changes, kind, place)| {
        let mut tars: Vec<Vec<u8>> = layers.into_iter().map(tar).collect();
        for bytes in &mut tars {
            for (index, byte) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            let blocks = bytes.len() / 512;
            bytes[place.index(blocks) * 512 + 156] = kind;
            right_sums(bytes);
        }
        let scratch = Scratch::new();
        scratch.write("outside", b"1");
        apply(&scratch, &tars).ok();
        assert_eq!(fs::read(scratch.path("outside")).unwrap(), b"1");
    });
}

/// So that what is behind the check of the sum is reached.
fn right_sums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| block.iter().any(|byte| *byte != 0)) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
}

fn no_layers_reach_out_of_the_root() {
    holds(layers(), 100, |layers| {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(tar).collect();
        let scratch = Scratch::new();
        for name in ["a", "b", "c", "d"] {
            scratch.write(name, b"1");
        }
        apply(&scratch, &layers).ok();
        for name in ["a", "b", "c", "d"] {
            assert_eq!(fs::read(scratch.path(name)).unwrap(), b"1");
        }
        assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 5);
    });
}

fn layers_make_the_same_tree_each_time() {
    holds(layers(), 100, |layers| {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(tar).collect();
        let (one, other) = (Scratch::new(), Scratch::new());
        match (apply(&one, &layers), apply(&other, &layers)) {
            (Ok(one), Ok(other)) if is_root() => assert_same(&lines(&one), &lines(&other)),
            (one, other) => assert_eq!(one.is_ok(), other.is_ok()),
        }
    });
}

/// Others cannot read all that they made.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
