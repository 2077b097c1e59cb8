//! The image unpacker.

use std::process::ExitCode;

fn main() -> ExitCode {
    hull::unpack::main()
}
