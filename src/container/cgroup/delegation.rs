//! Who may make cgroups below that of the container: config-linux.md, "Cgroup ownership";
//! cgroup-v2.rst, "Model of Delegation".

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchownat};

use crate::error::{Error, Result};

/// The files that belong to who may use a cgroup; the others are the limits of it (since 4.16).
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// Without the list, these.
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

/// Gives the directory, and of its files only those of the list, to a user.
///
/// # Errors
/// Those of chown(2), other than that there is no such file.
pub fn give(cgroup: BorrowedFd<'_>, path: &str, owner: u32) -> Result<()> {
    let list = std::fs::read_to_string(LIST).unwrap_or_else(|_| FILES.to_owned());
    for file in [""].into_iter().chain(list.lines()) {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
        match fchownat(cgroup, file, Some(Uid::from_raw(owner)), None, flags) {
            // The list is that of the kernel, not that of this cgroup.
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => {
                let call = format!("chown(\"{path}/{file}\", {owner})");
                return Err(Error::from_call(call, errno));
            }
        }
    }
    Ok(())
}
