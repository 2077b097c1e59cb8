//! The image unpacker.
fn main() {}
