//! A cgroup and all below it. A container can make as many levels as it wants (cgroups(7),
//! "cgroup.max.depth"): each is reached by a descriptor of the one above it, so that neither the
//! descriptors run out nor the length of a path.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::{Dir, Type};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::file::is_gone;
use super::fs::READ;

/// Calls `enter` for each cgroup before those below it, the first one too, and `leave`, with the one
/// above it and its name, for each below the first when all below it were left. One that goes meanwhile
/// is left out.
///
/// # Errors
/// Those of open(2), and the first of the two functions'.
pub fn walk(
    top: OwnedFd,
    mut enter: impl FnMut(BorrowedFd<'_>) -> nix::Result<()>,
    mut leave: impl FnMut(BorrowedFd<'_>, &CStr) -> nix::Result<()>,
) -> nix::Result<()> {
    enter(top.as_fd())?;
    // The cgroups on the way from the first one, each with those below it that were not entered yet.
    let mut way = vec![(CString::default(), names(&top)?)];
    let mut here = top;
    while let Some((_, below)) = way.last_mut() {
        if let Some(name) = below.pop() {
            match openat(&here, name.as_c_str(), READ | OFlag::O_NOFOLLOW, Mode::empty()) {
                Err(errno) if is_gone(errno) => {}
                other => {
                    here = other?;
                    enter(here.as_fd())?;
                    way.push((name, names(&here)?));
                }
            }
        } else if let (Some((name, _)), true) = (way.pop(), !way.is_empty()) {
            // The same one that it was: a cgroup cannot be moved.
            here = openat(&here, "..", READ, Mode::empty())?;
            leave(here.as_fd(), &name)?;
        }
    }
    Ok(())
}

fn names(cgroup: &OwnedFd) -> nix::Result<Vec<CString>> {
    let mut names = Vec::new();
    let entries = match Dir::openat(cgroup, ".", READ, Mode::empty()) {
        Err(errno) if is_gone(errno) => return Ok(names),
        other => other?,
    };
    for entry in entries {
        let Ok(entry) = entry else { break };
        let name = entry.file_name();
        if entry.file_type() == Some(Type::Directory) && ![c".", c".."].contains(&name) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
