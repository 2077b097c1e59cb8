//! Documents of an image, up to its config.json. The parts between bytes 0xff are blobs, the last one
//! is index.json or, when the first byte is odd, manifest.json of `docker save`. A fuzzer does not guess
//! digests: `@N` is that of the part N before, `#N` its size, `!N` its path.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};

use hull::unpack::config::user::Account;
use hull::unpack::config::{Wishes, document};
use hull::unpack::image::digest::Digest;
use hull::unpack::image::saved::{Listed, Saved};
use hull::unpack::image::{Image, reference::Reference};
use hull::unpack::owners::Owners;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let layout = layout(first % 2 == 1, bytes);
    let reference: Reference = format!("{}", layout.display()).parse().expect("a path");
    if let Ok(saved) = Saved::open(&reference) {
        for held in saved.held(None, None) {
            if let Ok(Listed::Image(documents, platform)) = held.listed
                && let Ok(image) = Image::assemble(&saved, *documents, held.names, platform)
            {
                check(&image);
            }
        }
    }
    fs::remove_dir_all(&layout).expect("remove the layout");
});

fn layout(is_docker: bool, bytes: &[u8]) -> PathBuf {
    let layout = std::env::temp_dir().join(format!("hull-fuzz-{}", std::process::id()));
    fs::remove_dir_all(&layout).ok();
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("create the layout");
    let mut parts: Vec<(Digest, usize)> = Vec::new();
    for part in bytes.split(|byte| *byte == 0xff).take(10) {
        let part = filled_in(part, &parts);
        let digest = Digest::of(&part);
        write(&blobs.join(digest.encoded()), &part);
        write(&layout.join(if is_docker { "manifest.json" } else { "index.json" }), &part);
        parts.push((digest, part.len()));
    }
    if !is_docker {
        write(&layout.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#);
    }
    layout
}

fn filled_in(part: &[u8], parts: &[(Digest, usize)]) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut rest = part;
    while let Some((first, behind)) = rest.split_first() {
        let number = behind.first().map(|digit| usize::from(digit.wrapping_sub(b'0')));
        let word = match (first, number.and_then(|number| parts.get(number))) {
            (b'@', Some((digest, _))) => digest.to_string(),
            (b'#', Some((_, size))) => size.to_string(),
            (b'!', Some((digest, _))) => format!("blobs/sha256/{}", digest.encoded()),
            _ => {
                filled.push(*first);
                rest = behind;
                continue;
            }
        };
        filled.extend_from_slice(word.as_bytes());
        rest = &behind[1..];
    }
    filled
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write a file of the layout");
}

/// What image it may be, a runtime gets a config.json that has no order of the image.
fn check(image: &Image) {
    assert_eq!(image.layers.len(), image.config.rootfs.diff_ids.len());
    let made = document(&image.config, &Wishes::default(), &Account::default(), &Owners::default());
    let Ok(made) = made else { return };
    let config: serde_json::Value = serde_json::from_str(&made.text).expect("JSON");
    let annotations = config["annotations"].as_object().expect("annotations");
    let is_order = |name: &String| {
        name == "bundle" || name.starts_with("run.oci.") || name.starts_with("org.systemd.property.")
    };
    assert!(!annotations.keys().any(is_order));
    for mount in config["mounts"].as_array().expect("mounts") {
        let destination = mount["destination"].as_str().expect("a destination");
        assert!(destination.starts_with('/') && !destination.split('/').any(|name| name == ".."));
    }
}
