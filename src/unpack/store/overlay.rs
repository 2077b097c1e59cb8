//! The root filesystem of a bundle with shared layers: an overlay of them, the bundle's own writable
//! directory on top (overlayfs.rst). `mount`, `umount` and `rm` of a bundle.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, fchmod, fstat, futimens};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchdir, fchown};

use super::Store;
use super::record::Record;
use crate::error::{Call, Context, Error, Result};
use crate::sys::mount::{is_mount_root, mount_at};
use crate::sys::path::open_path;
use crate::sys::xattr::{fgetxattr, flistxattr, fsetxattr};
use crate::unpack::bundle::{Bundle, Place, staging_name};
use crate::unpack::config::ROOTFS;
use crate::unpack::extract::Prefix;
use crate::unpack::interrupt::Interrupt;
use crate::unpack::staging::{Other, Staging};

/// What the container writes.
const UPPER: &str = "upper";
/// Overlayfs's own.
const WORK: &str = "work";

const DIRECTORY: OFlag =
    OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Makes the directories of a bundle that is being made. The root directory of an overlay is the
/// writable one: it gets the attributes of the topmost layer's.
///
/// # Errors
/// Those of the calls.
pub fn make_directories(bundle: &Bundle, top: BorrowedFd<'_>, prefix: Prefix) -> Result<()> {
    bundle.make_directory(ROOTFS, Mode::from_bits_truncate(0o755))?;
    bundle.make_directory(WORK, Mode::S_IRWXU)?;
    let upper = bundle.make_directory(UPPER, Mode::S_IRWXU)?;
    let stat = fstat(top).call(|| "fstat(the topmost layer)")?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(&upper, Some(uid), Some(gid)).call(|| format!("fchown({UPPER:?}, {uid}, {gid})"))?;
    let own = match prefix {
        Prefix::Trusted => &b"trusted.overlay."[..],
        Prefix::User => b"user.overlay.",
    };
    for name in flistxattr(top)?.iter().filter(|name| !name.starts_with(own)) {
        if let Some(value) = fgetxattr(top, name)? {
            fsetxattr(upper.as_fd(), name, &value)?;
        }
    }
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    fchmod(&upper, mode).call(|| format!("fchmod({UPPER:?}, {mode:o})"))?;
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    futimens(&upper, &modified, &modified).call(|| format!("futimens({UPPER:?})"))
}

/// Mounts the root filesystem of a bundle; one that is mounted stays as it is.
///
/// # Errors
/// That the bundle is not of a store, or a layer is missing; those of mount(2).
pub fn mount(bundle: &Path, interrupt: &Interrupt) -> Result<()> {
    // 1. What it is made of. The store is locked, so that gc does not take a layer away.
    let record = Record::of_bundle(bundle)?;
    let store = Store::open_existing(&record.store, interrupt)?;
    let directory = open_path(text(bundle)?, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let part = |name: &str| {
        openat(&directory, name, DIRECTORY, Mode::empty()).call(|| format!("openat({name:?})"))
    };
    let rootfs = part(ROOTFS)?;
    if is_mount_root(&rootfs)? {
        return Ok(());
    }
    // 2. Its layers, its own two directories.
    let mut layers = Vec::new();
    for name in record.layers()? {
        let missing = || Error::new(format!("the store {:?} has no layer {name}", record.store));
        layers.push(store.layer(&name)?.ok_or_else(missing)?);
    }
    let (upper, work) = (part(UPPER)?, part(WORK)?);
    // 3. The mount.
    mount_overlay(rootfs.as_fd(), &layers, &upper, &work, record.prefix())
}

/// By numbers of descriptors, relative to /proc/self/fd: so 500 layers, the most that overlayfs takes,
/// fit in the page that the options of mount(2) have, as they do not by their paths; and no path needs
/// an escape. fsconfig(2)'s `lowerdir+` does the same since Linux 6.8 only.
fn mount_overlay(
    target: BorrowedFd<'_>,
    layers: &[OwnedFd],
    upper: &OwnedFd,
    work: &OwnedFd,
    prefix: Prefix,
) -> Result<()> {
    let lower: Vec<String> = layers.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
    let mut options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.as_raw_fd(),
        work.as_raw_fd()
    );
    if prefix == Prefix::User {
        // Linux 5.11; before it an unprivileged user namespace cannot mount an overlay at all.
        options.push_str(",userxattr");
    }
    let here = open_path(".", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    let numbers = open_path("/proc/self/fd", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    fchdir(&numbers).call(|| "fchdir(\"/proc/self/fd\")")?;
    let result = mount_at(target, Some("overlay"), "overlay", 0, &options);
    fchdir(&here).call(|| "fchdir()")?;
    result.map_err(|error| match error.errno() {
        Some(Errno::EPERM) => error.context(
            "mounting needs root, or root of a user and a mount namespace, such as unshare -rm gives",
        ),
        _ => error,
    })
}

/// Unmounts the root filesystem of a bundle; whether it was mounted.
///
/// # Errors
/// That the bundle is not of a store; EBUSY while a process uses it.
pub fn umount(bundle: &Path) -> Result<bool> {
    Record::of_bundle(bundle)?;
    let path = bundle.join(ROOTFS);
    let rootfs = open_path(text(&path)?, DIRECTORY)?;
    if !is_mount_root(&rootfs)? {
        return Ok(false);
    }
    // An open descriptor would keep it busy.
    drop(rootfs);
    umount2(&path, MntFlags::UMOUNT_NOFOLLOW)
        .call(|| format!("umount2({path:?}, UMOUNT_NOFOLLOW)"))?;
    Ok(true)
}

/// Removes a bundle with what its container wrote. The layers stay for others, and for gc.
///
/// # Errors
/// That the bundle is not of a store, or is in use; those of the calls.
pub fn remove(bundle: &Path, interrupt: &Interrupt) -> Result<()> {
    // 1. It is a bundle of ours, and nobody uses it.
    let record = Record::of_bundle(bundle)?;
    umount(bundle)?;
    // 2. It is gone by one rename; who is killed from here on leaves what the next run removes.
    let place = Place::of_existing(bundle)?;
    let name = staging_name(&place.name);
    let parent = place.parent.as_fd();
    let staging = Staging::claim(parent, &name, Other::Refuse, interrupt)?;
    renameat(parent, place.name.as_os_str(), parent, name.as_os_str())
        .call(|| format!("renameat({:?}, {name:?})", place.name))?;
    staging.remove().context(|| format!("remove {bundle:?}"))?;
    // 3. Its record; gc finds out itself where the store is gone or cannot be written.
    match Store::open_existing(&record.store, interrupt) {
        // A copy of a bundle has the record of the bundle that it was copied from.
        Ok(store) if store.living(record.record).is_ok_and(|record| record.is_none()) => {
            store.forget(record.record)
        }
        Ok(_) => Ok(()),
        Err(_) => Ok(()),
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::new(format!("{path:?} is no UTF-8")))
}
