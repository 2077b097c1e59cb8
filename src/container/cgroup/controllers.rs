//! Which controllers a cgroup has: those that the cgroup above it hands down by its
//! cgroup.subtree_control (cgroup-v2.rst, "Controlling Controllers").

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use super::file::write;
use crate::error::{Call, Error, Result};
use crate::plan::cgroup::Cgroup;

/// Sees to it that the cgroup has the controllers that are wanted, with one write a level, from the
/// level that has them. The mount has all of them: the plan knows.
///
/// # Errors
/// That one of those in `needed` cannot be had, and why. Without the others the container is not
/// counted, and works.
pub fn enable(cgroup: BorrowedFd<'_>, plan: &Cgroup, needed: &BTreeSet<&str>) -> Result<()> {
    if plan.controllers.is_empty() {
        return Ok(());
    }
    let has = read(cgroup).call(|| format!("read(\"{}/cgroup.controllers\")", plan.directory))?;
    let has: BTreeSet<&str> = has.split_whitespace().collect();
    let wanted = plan.controllers.iter().map(String::as_str);
    let missing: Vec<&str> = wanted.filter(|name| !has.contains(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (parent, _) = plan.directory.rsplit_once('/').expect("it is below the mount");
    let Err(_) = hand_down(parent, plan.mount, &missing) else { return Ok(()) };
    let missing: Vec<&str> = missing.into_iter().filter(|name| needed.contains(name)).collect();
    if missing.is_empty() { Ok(()) } else { hand_down(parent, plan.mount, &missing) }
}

fn read(cgroup: BorrowedFd<'_>) -> nix::Result<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = openat(cgroup, "cgroup.controllers", flags, Mode::empty())?;
    // The names of all controllers there are take less than a tenth of this.
    let mut buffer = [0; 1024];
    let length = nix::unistd::read(&file, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// ENOENT: the level does not have them itself.
fn hand_down(directory: &str, mount: &str, names: &[&str]) -> Result<()> {
    let text = names.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    let path = format!("{directory}/cgroup.subtree_control");
    let hand = || write(AT_FDCWD, &path, &text);
    match hand() {
        Err(Errno::ENOENT) if directory != mount => {
            let (parent, _) = directory.rsplit_once('/').expect("it is below the mount");
            hand_down(parent, mount, names)?;
            hand().map_err(|errno| refused(&path, &text, errno))
        }
        other => other.map_err(|errno| refused(&path, &text, errno)),
    }
}

fn refused(path: &str, text: &str, errno: Errno) -> Error {
    let why = match errno {
        Errno::EBUSY => {
            "a cgroup with processes of its own gives no controllers to those below it \
             (cgroups(7), \"no internal processes\")"
        }
        Errno::EACCES | Errno::EPERM | Errno::EROFS => "the controllers are not delegated here",
        Errno::EOPNOTSUPP => "a threaded cgroup gives no such controllers (cgroups(7))",
        Errno::ENOENT => "the controllers are not here",
        _ => return Error::from_call(format!("write({path:?}, {text:?})"), errno),
    };
    Error::from_call(format!("write({path:?}, {text:?})"), errno).context(why)
}
