//! The runtime.

use std::process::ExitCode;

use hull::sys::alloc::Bump;

// The program exits at once: what it frees, the kernel frees sooner.
#[global_allocator]
static ALLOCATOR: Bump = Bump::new();

fn main() -> ExitCode {
    hull::main()
}
