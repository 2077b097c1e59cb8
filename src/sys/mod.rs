//! The kernel: the only room with `unsafe`. A wrapper does one call, keeps the kernel's name,
//! takes and returns typed descriptors, adds its arguments to the error, and decides nothing.

pub mod alloc;
pub mod arguments;
pub mod bpf;
pub mod clock;
pub mod execve;
pub mod filter;
pub mod ids;
pub mod limits;
pub mod lock;
#[cfg(target_arch = "x86_64")]
pub mod memcpy;
pub mod mount;
pub mod netlink;
pub mod path;
pub mod proc;
pub mod process;
pub mod regex;
pub mod seal;
pub mod socket;
pub mod terminal;
pub mod xattr;
