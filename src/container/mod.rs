//! The deed, by part of the container. Each file does one thing that the plan says, and decides
//! nothing.

pub mod cgroup;
mod copy_up;
pub mod credentials;
pub mod devices;
pub mod executable;
pub mod home;
pub mod hooks;
pub mod inherited;
pub mod labels;
pub mod masked;
pub mod mount;
pub mod namespaces;
pub mod network;
pub mod notify;
pub mod program;
pub mod rootfs;
pub mod seccomp;
pub mod terminal;
pub mod user;
pub mod working_directory;
