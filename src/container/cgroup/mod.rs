//! The cgroup of a container: cgroups(7), cgroup-v2.rst of the kernel. What does not depend on who
//! makes it ([`processes`], [`freezer`], [`events`]), and the runtime as its maker ([`fs`]).

pub mod events;
pub mod freezer;
pub mod fs;
pub mod join;
pub mod processes;

use nix::errno::Errno;

pub use fs::{make, remember, remove};
pub use processes::{kill, list, signal, wait_empty};

/// The number of an error of the standard library; 0 if it came of no call.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}
