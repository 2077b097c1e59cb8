//! Layers of few names and many whiteouts, in both forms. Each entry is two bytes: kind and names. What
//! one tree can hold, the layers of an overlay can, and a copy of what they show is the same tree.
#![no_main]

mod scratch;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use hull::unpack::extract::lowers::Lowers;
use hull::unpack::extract::{Prefix, Whiteouts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let layers: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0xff).take(4).map(layer).collect();
    let scratch = scratch::Scratch::new();
    let mut one = scratch.extractor("one", Whiteouts::Apply);
    let applied = layers.iter().try_for_each(|layer| one.layer(&mut layer.as_slice())).is_ok();
    let (mut made, mut overlaid) = (0, true);
    let open = |number: usize| -> Rc<OwnedFd> {
        let root = File::open(scratch.root(&number.to_string()));
        Rc::new(root.expect("open a layer").into())
    };
    for (number, layer) in layers.iter().enumerate() {
        let lowers = (0..number).rev().map(open).collect();
        let whiteouts = Whiteouts::Overlay { prefix: Prefix::User, lowers };
        let mut extractor = scratch.extractor(&number.to_string(), whiteouts);
        made += 1;
        overlaid = extractor.layer(&mut layer.as_slice()).is_ok();
        if !overlaid {
            break;
        }
        extractor.finish().expect("directories get their times");
    }
    assert!(!applied || overlaid);
    if applied && made > 0 {
        one.finish().expect("directories get their times");
        let layers =
            Lowers { prefix: Prefix::User, directories: (0..made).rev().map(open).collect() };
        let mut merged = scratch.extractor("merged", Whiteouts::Apply);
        merged.merge(&layers, &|| Ok(())).expect("copy what the layers show");
        merged.finish().expect("directories get their times");
        assert_eq!(tree(&scratch.root("merged"), ""), tree(&scratch.root("one"), ""));
        made += 1;
    }
    scratch.check(made + 1);
});

/// Names, with kind, mode and what a symbolic link leads to.
fn tree(root: &Path, below: &str) -> Vec<(String, u32, Option<PathBuf>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(below)).expect("list a directory") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        let name = format!("{below}{name}");
        let stat = fs::symlink_metadata(root.join(&name)).expect("stat");
        found.push((name.clone(), stat.mode(), fs::read_link(root.join(&name)).ok()));
        if stat.is_dir() {
            found.extend(tree(root, &format!("{name}/")));
        }
    }
    found.sort();
    found
}

const NAMES: [&str; 8] = ["a", "b", "a/a", "a/b", "b/a", "b/b", "a/a/a", "a/b/a"];

fn layer(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    // So few that it is never the limits that refuse them.
    for pair in bytes.chunks_exact(2).take(100) {
        let name = NAMES[usize::from(pair[1] & 7)];
        let other = NAMES[usize::from(pair[1] >> 3 & 7)];
        let (directory, last) = name.rsplit_once('/').unwrap_or((".", name));
        let (kind, name, link) = match pair[0] % 6 {
            0 => (b'0', name.to_owned(), ""),
            1 => (b'5', name.to_owned(), ""),
            2 => (b'2', name.to_owned(), other),
            3 => (b'1', name.to_owned(), other),
            4 => (b'0', format!("{directory}/.wh.{last}"), ""),
            _ => (b'0', format!("{name}/.wh..wh..opq"), ""),
        };
        let mut block = [0; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0000755");
        block[156] = kind;
        block[157..157 + link.len()].copy_from_slice(link.as_bytes());
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&block);
    }
    tar
}
