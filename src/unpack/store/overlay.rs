//! The root filesystem of a bundle with shared layers: an overlay of them, the bundle's own writable
//! directory on top (overlayfs.rst). `mount`, `umount` and `rm` of a bundle.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, futimens};
use nix::unistd::{Gid, Uid, fchdir, fchown};

use super::Store;
use super::record::Record;
use crate::error::{Call, Error, Result};
use crate::sys::limits::raise_open_files;
use crate::sys::lock::try_lock;
use crate::sys::mount::{is_mount_root, mount_at};
use crate::sys::path::{open_path, real_path};
use crate::sys::xattr::fsetxattr;
use crate::unpack::bundle::{Bundle, Place, staging_name};
use crate::unpack::config::ROOTFS;
use crate::unpack::extract::lowers::{Lowers, attributes_of};
use crate::unpack::extract::{LIST, Prefix};
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
pub fn make_directories(bundle: &Bundle, layers: &Lowers) -> Result<()> {
    bundle.make_directory(ROOTFS, Mode::from_bits_truncate(0o755))?;
    bundle.make_directory(WORK, Mode::S_IRWXU)?;
    let upper = bundle.make_directory(UPPER, Mode::S_IRWXU)?;
    let top = attributes_of(&layers.directories[0], layers.prefix)?;
    let (uid, gid) = (Uid::from_raw(top.uid), Gid::from_raw(top.gid));
    fchown(&upper, Some(uid), Some(gid)).call(|| format!("fchown({UPPER:?}, {uid}, {gid})"))?;
    for (name, value) in &top.extended {
        fsetxattr(upper.as_fd(), name, value)?;
    }
    let mode = Mode::from_bits_truncate(top.mode);
    fchmod(&upper, mode).call(|| format!("fchmod({UPPER:?}, {mode:o})"))?;
    futimens(&upper, &top.mtime, &top.mtime).call(|| format!("futimens({UPPER:?})"))
}

/// Mounts the root filesystem of a bundle; one that is mounted stays as it is.
///
/// # Errors
/// That the bundle is not of a store, or a layer is missing; those of mount(2).
pub fn mount(bundle: &Path, interrupt: &Interrupt) -> Result<()> {
    // 1. What it is made of. The store is locked, so that gc does not take a layer away.
    let (directory, record) = open(bundle)?;
    let store = Store::open_existing(&record.store, interrupt)?;
    let rootfs = part(&directory, ROOTFS)?;
    if is_mount_root(&rootfs)? {
        return Ok(());
    }
    // 2. Its layers, each of which is open, its own two directories.
    raise_open_files()?;
    let names = record.layers()?;
    let mut layers = Vec::with_capacity(names.len());
    for name in &names {
        let missing = || Error::new(format!("the store {:?} has no layer {name}", record.store));
        layers.push(store.layer(name)?.ok_or_else(missing)?);
    }
    let (upper, work) = (part(&directory, UPPER)?, part(&directory, WORK)?);
    // 3. Whose layers gc is to keep: a bundle that was copied is not known yet.
    if !store.knows(directory.as_fd(), &record)? {
        let path = real_path(directory.as_fd())?;
        store.enter(directory.as_fd(), Path::new(&path), record.prefix(), &names)?;
    }
    // 4. The mount.
    mount_overlay(rootfs.as_fd(), &layers, &upper, &work, record.prefix())
}

/// Looks a bundle up once: its path may lead elsewhere later.
fn open(bundle: &Path) -> Result<(OwnedFd, Record)> {
    let flags = DIRECTORY - OFlag::O_NOFOLLOW;
    let directory = openat(AT_FDCWD, bundle, flags, Mode::empty())
        .call(|| format!("open({bundle:?}, O_PATH|O_DIRECTORY)"))?;
    let record = Record::of_bundle(directory.as_fd())?;
    let none = || Error::new("it is no bundle with shared layers");
    Ok((directory, record.ok_or_else(none)?))
}

fn part(bundle: &OwnedFd, name: &str) -> Result<OwnedFd> {
    openat(bundle, name, DIRECTORY, Mode::empty()).call(|| format!("openat({name:?})"))
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

/// Unmounts the root filesystem of a bundle, if it is mounted.
///
/// # Errors
/// That the bundle is not of a store; EBUSY while a process uses this mount. A container does not: it
/// has a mount of its own, a copy of this one (mount_namespaces(7)), and goes on.
pub fn umount(bundle: &Path) -> Result<()> {
    umount_rootfs(&open(bundle)?.0)
}

fn umount_rootfs(bundle: &OwnedFd) -> Result<()> {
    // Open for this question alone: an open descriptor would keep it busy.
    if !is_mount_root(part(bundle, ROOTFS)?)? {
        return Ok(());
    }
    let path = format!("/proc/self/fd/{}/{ROOTFS}", bundle.as_raw_fd());
    umount2(path.as_str(), MntFlags::UMOUNT_NOFOLLOW)
        .call(|| format!("umount2({path:?}, UMOUNT_NOFOLLOW)"))
}

/// Removes a bundle with what its container wrote, or what is left of one whose removal was killed. The
/// layers stay for others, and for gc.
///
/// # Errors
/// That the bundle is not of a store, that its mount is in use, or that another process makes or
/// removes it; those of the calls. A container that still runs has what it writes taken away, and
/// nothing else is removed, whatever it moves.
pub fn remove(bundle: &Path, interrupt: &Interrupt) -> Result<()> {
    // 1. It is a bundle of ours, and not mounted.
    let (directory, record) = match open(bundle) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => {
            return finish(bundle, interrupt)?.then_some(()).ok_or(error);
        }
        opened => opened?,
    };
    umount_rootfs(&directory)?;
    // 2. Locked under whatever name it has, so that nobody takes it for what was left behind.
    let lock = openat(&directory, ".", LIST, Mode::empty()).call(|| "openat(\".\")")?;
    if !try_lock(lock.as_fd())? {
        return Err(Error::new("in use: another process makes or removes it"));
    }
    // 3. It is gone by one rename; who is killed from here on leaves what the next run removes.
    let place = Place::of_existing(bundle)?;
    let name = staging_name(&place.name);
    let parent = place.parent.as_fd();
    let staging = Staging::claim(parent, &name, Other::Refuse, interrupt)?;
    let meant = fstat(&directory).call(|| "fstat()")?;
    let there = fstatat(parent, place.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)
        .call(|| format!("fstatat({:?})", place.name))?;
    if (meant.st_dev, meant.st_ino) != (there.st_dev, there.st_ino) {
        return Err(Error::new("something else has taken its place"));
    }
    renameat(parent, place.name.as_os_str(), parent, name.as_os_str())
        .call(|| format!("renameat({:?}, {name:?})", place.name))?;
    staging.remove()?;
    // 4. Its record; gc finds out itself where the store is gone or cannot be written.
    match Store::open_existing(&record.store, interrupt) {
        // A copy of a bundle has the record of the bundle that it was copied from.
        Ok(store) if store.living(record.record).is_ok_and(|record| record.is_none()) => {
            store.forget(record.record)
        }
        _ => Ok(()),
    }
}

/// Removes what is left of a bundle that is gone from its place already. Whether anything was; its record
/// is for gc.
fn finish(bundle: &Path, interrupt: &Interrupt) -> Result<bool> {
    let place = Place::new(bundle)?;
    let (parent, name) = (place.parent.as_fd(), staging_name(&place.name));
    match fstatat(parent, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(false),
        other => other.call(|| format!("fstatat({name:?})"))?,
    };
    Staging::claim(parent, &name, Other::Refuse, interrupt)?.remove().map(|()| true)
}
