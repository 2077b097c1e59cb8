//! Any bytes as layers, one tree. The first byte says where the second layer begins, in blocks.
#![no_main]

mod scratch;

use hull::unpack::extract::Whiteouts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    right_sums(&mut bytes);
    let (lower, upper) = bytes.split_at((usize::from(*first) * 512).min(bytes.len()));
    let scratch = scratch::Scratch::new();
    let mut extractor = scratch.extractor("root", Whiteouts::Apply);
    if extractor.layer(&mut &*lower).is_ok() && extractor.layer(&mut &*upper).is_ok() {
        extractor.finish().expect("directories get their times");
    }
    scratch.check(1);
});

/// A fuzzer does not guess checksums.
fn right_sums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(512).filter(|block| block.iter().any(|byte| *byte != 0)) {
        // Blocks of data have no magic.
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
}
