//! The device rules of a cgroup, as a BPF program that is attached to it: cgroup-v2.rst, "Device
//! controller". The kernel lets go of the program when the cgroup is removed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::file::is_gone;
use crate::error::Result;
use crate::plan::resources::devices::Rules;
use crate::plan::resources::program::program;
use crate::sys::bpf::{
    attach_device_program, detach_device_program, device_programs, load_device_program,
    open_program, program_name,
};

/// By which ours is told from those of others: systemd attaches some of its own.
const NAME: &str = "hull_devices";

/// Loads the program of these rules; `None` if there is nothing to enforce.
///
/// # Errors
/// That it may not be loaded here, by an ordinary user or in a user namespace, unless nothing is asked
/// for: the kernel lets no container of theirs make a device file, or open one that was not given.
pub fn load(rules: &Rules) -> Result<Option<OwnedFd>> {
    if rules.allow_all() {
        return Ok(None);
    }
    match load_device_program(&program(rules), NAME) {
        Ok(program) => Ok(Some(program)),
        Err(error) if error.errno() == Some(Errno::EPERM) && !is_root_of_host() => {
            if !rules.are_asked_for {
                return Ok(None);
            }
            Err(error.context(
                "device rules cannot be enforced in a user namespace, nor by an ordinary user: \
                 allow all devices, or none",
            ))
        }
        Err(error) => Err(error),
    }
}

/// In the initial user namespace all ids are mapped, each to itself (user_namespaces(7)).
fn is_root_of_host() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    geteuid().is_root() && map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Attaches the program to a cgroup. In one that is not new may be ours, of a container that was
/// there before.
///
/// # Errors
/// Those of bpf(2).
pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, is_new: bool) -> Result<()> {
    let old = if is_new { None } else { find(cgroup)? };
    attach_device_program(cgroup, program, old.as_ref().map(AsFd::as_fd))
}

/// Puts a program in the place of ours, or `None`, in one step: at no time are all devices allowed, or
/// none. Where ours is not there and others are, somebody has put his own in its place, as the tools
/// for graphics cards do, and it is left to him.
///
/// # Errors
/// Those of bpf(2).
pub fn replace(cgroup: BorrowedFd<'_>, new: Option<BorrowedFd<'_>>) -> Result<()> {
    match (new, find(cgroup)?) {
        (Some(new), Some(old)) => attach_device_program(cgroup, new, Some(old.as_fd())),
        (Some(new), None) if device_programs(cgroup)?.is_empty() => {
            attach_device_program(cgroup, new, None)
        }
        (None, Some(old)) => detach_device_program(cgroup, old.as_fd()),
        (_, None) => Ok(()),
    }
}

/// Takes ours off a cgroup that stays.
///
/// # Errors
/// Those of bpf(2), other than that the cgroup is gone, or that it is not for this user, who then has
/// attached nothing.
pub fn detach(cgroup: BorrowedFd<'_>) -> Result<()> {
    let found = match find(cgroup) {
        Err(error) if error.errno().is_some_and(|it| it == Errno::EPERM || is_gone(it)) => {
            return Ok(());
        }
        other => other?,
    };
    match found {
        Some(program) => detach_device_program(cgroup, program.as_fd()),
        None => Ok(()),
    }
}

/// Ours among the programs of a cgroup.
fn find(cgroup: BorrowedFd<'_>) -> Result<Option<OwnedFd>> {
    for id in device_programs(cgroup)? {
        let program = match open_program(id) {
            // It is gone since.
            Err(error) if error.errno() == Some(Errno::ENOENT) => continue,
            other => other?,
        };
        if program_name(program.as_fd())? == NAME {
            return Ok(Some(program));
        }
    }
    Ok(None)
}
