//! The image unpacker.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("hull-unpack is not built yet");
    ExitCode::FAILURE
}
