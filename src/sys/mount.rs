//! Mounts as descriptors: fsopen(2), open_tree(2), mount_setattr(2), move_mount(2). A mount is
//! made and configured detached, where no process of a container can reach it, and then attached
//! to a descriptor, so that no path can be exchanged between the check and the use.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags};

use super::path::open_directory;
use crate::error::{Call, Error, Result};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const OPEN_TREE_CLOEXEC: libc::c_uint = libc::O_CLOEXEC as libc::c_uint;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSCONFIG_CMD_RECONFIGURE: libc::c_uint = 7;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// The attributes of a mount (mount_setattr(2), MOUNT_ATTR_*).
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Set-user-ID bits and file capabilities have no effect.
    pub const NOSUID: u64 = 0x2;
    /// Device files cannot be opened.
    pub const NODEV: u64 = 0x4;
    /// Programs cannot be executed.
    pub const NOEXEC: u64 = 0x8;
    /// All bits of the access time setting; 0 in them is `relatime`.
    pub const ATIME: u64 = 0x70;
    /// Access times are never updated.
    pub const NOATIME: u64 = 0x10;
    /// Access times are always updated.
    pub const STRICTATIME: u64 = 0x20;
    /// Access times of directories are never updated.
    pub const NODIRATIME: u64 = 0x80;
    /// Files belong to others here than on the filesystem (5.12).
    pub const IDMAP: u64 = 0x10_0000;
    /// Symbolic links are not followed (5.10).
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// What one call of mount_setattr(2) changes. The layout is the kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// Attributes to set.
    pub set: u64,
    /// Attributes to clear.
    pub clear: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, or 0 for no change.
    pub propagation: u64,
    userns_fd: u64,
}

impl MountAttr {
    /// Sets `set` and clears `clear`, with no change of the propagation.
    #[must_use]
    pub const fn new(set: u64, clear: u64) -> Self {
        Self { set, clear, propagation: 0, userns_fd: 0 }
    }

    /// Changes nothing but the propagation.
    #[must_use]
    pub const fn propagation(propagation: u64) -> Self {
        Self { set: 0, clear: 0, propagation, userns_fd: 0 }
    }

    /// Whether the call would do nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn descriptor(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    // SAFETY: the call succeeded, so this is a new descriptor (an int) that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

/// A filesystem being configured (fsopen(2)).
pub struct FilesystemContext {
    fd: OwnedFd,
    kind: String,
}

/// Opens a filesystem type for configuration.
///
/// # Errors
/// ENODEV if the kernel does not have the type; EPERM without CAP_SYS_ADMIN.
pub fn fsopen(kind: &str) -> Result<FilesystemContext> {
    let open = |name: &std::ffi::CStr| {
        // SAFETY: `name` is a live C string that the kernel copies.
        descriptor(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 1) })
    };
    let fd = kind.with_nix_path(open).and_then(|result| result);
    let fd = fd.call(|| format!("fsopen({kind:?})"))?;
    Ok(FilesystemContext { fd, kind: kind.to_owned() })
}

impl FilesystemContext {
    fn config(&self, command: libc::c_uint, key: &str, value: Option<&str>) -> Result<()> {
        let call = |key: *const libc::c_char, value: *const libc::c_char| {
            let fd = self.fd.as_raw_fd();
            // SAFETY: both are null or live C strings that the kernel copies.
            Errno::result(unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key, value, 0) })
        };
        let result = match (key, value) {
            ("", _) => call(std::ptr::null(), std::ptr::null()),
            (_, None) => {
                key.with_nix_path(|key| call(key.as_ptr(), std::ptr::null())).and_then(|r| r)
            }
            (_, Some(value)) => key
                .with_nix_path(|key| {
                    value.with_nix_path(|value| call(key.as_ptr(), value.as_ptr())).and_then(|r| r)
                })
                .and_then(|r| r),
        };
        result.map(drop).map_err(|errno| {
            let what = match value {
                Some(value) => format!("{key}={value}"),
                None if key.is_empty() => "create".to_owned(),
                None => key.to_owned(),
            };
            let error = Error::from_call(format!("fsconfig({}, {what:?})", self.kind), errno);
            match self.message() {
                Some(message) => error.context(message),
                None => error,
            }
        })
    }

    /// What the filesystem itself said of the last error (fsopen(2), "Message retrieval").
    fn message(&self) -> Option<String> {
        let mut buffer = [0; 512];
        let length = nix::unistd::read(&self.fd, &mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        Some(text.strip_prefix("e ").map(str::to_owned).unwrap_or(text))
    }

    /// Sets one option: a word alone, or a word with a value.
    ///
    /// # Errors
    /// EINVAL with the filesystem's own message for an option that it does not know.
    pub fn set(&self, key: &str, value: Option<&str>) -> Result<()> {
        let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
        self.config(command, key, value)
    }

    /// Creates the filesystem and a detached mount of it with these attributes.
    ///
    /// # Errors
    /// Whatever the filesystem answers; EPERM where a user namespace may not mount it.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, "", None)?;
        let fd = self.fd.as_raw_fd();
        // SAFETY: three numbers.
        descriptor(unsafe { libc::syscall(libc::SYS_fsmount, fd, 1, attributes) })
            .call(|| format!("fsmount({}, {attributes:#x})", self.kind))
    }

    /// Applies the options to a filesystem that is mounted (see [`fspick`]).
    ///
    /// # Errors
    /// Whatever the filesystem answers.
    pub fn reconfigure(self) -> Result<()> {
        self.config(FSCONFIG_CMD_RECONFIGURE, "", None)
    }
}

/// The longest value of an option, in bytes: FSCONFIG_SET_STRING takes no more (fsconfig(2)).
pub const LONGEST_OPTION: usize = 255;

/// Mounts on the file of a descriptor, by mount(2): its data may have a page less one byte. The
/// descriptor's own link is what the path is made of, on the procfs of the runtime namespace. Of the
/// attributes RDONLY, NOSUID, NODEV and NOEXEC count, whose bits are those of MS_RDONLY and the like.
///
/// # Errors
/// Whatever the filesystem answers.
pub fn mount_at(
    target: BorrowedFd<'_>,
    source: Option<&str>,
    kind: &str,
    attributes: u64,
    data: &str,
) -> Result<()> {
    let path = format!("/proc/self/fd/{}", target.as_raw_fd());
    let flags = MsFlags::from_bits_truncate((attributes & 0xf) as _);
    nix::mount::mount(source, path.as_str(), Some(kind), flags, Some(data))
        .call(|| format!("mount({source:?}, {path:?}, {kind:?}, {flags:?}, {data:?})"))
}

/// Opens the filesystem of a mount for reconfiguration.
///
/// # Errors
/// EINVAL if `mount` is not the root of a mount.
pub fn fspick(mount: BorrowedFd<'_>) -> Result<FilesystemContext> {
    const FSPICK_CLOEXEC: libc::c_uint = 1;
    const FSPICK_EMPTY_PATH: libc::c_uint = 8;
    let (fd, flags) = (mount.as_raw_fd(), FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    // SAFETY: an empty C string and numbers.
    let fd = descriptor(unsafe { libc::syscall(libc::SYS_fspick, fd, c"".as_ptr(), flags) })
        .call(|| format!("fspick({fd})"))?;
    Ok(FilesystemContext { fd, kind: "fspick".to_owned() })
}

fn open_tree(
    dirfd: libc::c_int,
    path: &str,
    flags: libc::c_uint,
    recursive: bool,
) -> Result<OwnedFd> {
    let recursive = if recursive { libc::AT_RECURSIVE as libc::c_uint } else { 0 };
    let flags = flags | recursive | OPEN_TREE_CLONE;
    let open = |path: &std::ffi::CStr| {
        // SAFETY: a live C string and numbers.
        descriptor(unsafe { libc::syscall(libc::SYS_open_tree, dirfd, path.as_ptr(), flags) })
    };
    let result = path.with_nix_path(open).and_then(|result| result);
    result.call(|| format!("open_tree({dirfd}, {path:?}, OPEN_TREE_CLONE)"))
}

/// A detached copy of the mount at a path of the runtime namespace; with what is mounted below
/// if `recursive`.
///
/// # Errors
/// ENOENT and the like for the path; EINVAL for an unbindable mount; EPERM without CAP_SYS_ADMIN.
pub fn clone_path(path: &str, recursive: bool) -> Result<OwnedFd> {
    open_tree(libc::AT_FDCWD, path, OPEN_TREE_CLOEXEC, recursive)
}

/// As [`clone_path`], of one mount, with a descriptor that stays open over an execve.
///
/// # Errors
/// As [`clone_path`].
pub fn clone_over_exec(path: &str) -> Result<OwnedFd> {
    open_tree(libc::AT_FDCWD, path, 0, false)
}

/// A detached copy of the mount that a descriptor is in, with the descriptor's file as its root.
///
/// # Errors
/// EINVAL if the descriptor's mount is not in this mount namespace.
pub fn clone_fd(file: BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd> {
    let flags = libc::AT_EMPTY_PATH as libc::c_uint | OPEN_TREE_CLOEXEC;
    open_tree(file.as_raw_fd(), "", flags, recursive)
}

/// Changes attributes or propagation of a mount, and of all below it if `recursive`.
///
/// # Errors
/// EINVAL if the descriptor is not the root of a mount; EPERM for a locked attribute.
pub fn mount_setattr(mount: BorrowedFd<'_>, attr: &MountAttr, recursive: bool) -> Result<()> {
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    let (fd, flags) = (mount.as_raw_fd(), libc::AT_EMPTY_PATH | recursive);
    // SAFETY: the size given is that of the live structure, which the kernel only reads.
    let result = unsafe {
        let size = size_of::<MountAttr>();
        libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const *attr, size)
    };
    Errno::result(result).map(drop).call(|| format!("mount_setattr({fd}, {attr:x?})"))
}

/// Gives the files of a detached mount to others: to whom a user namespace maps their owners.
///
/// # Errors
/// EINVAL if the filesystem cannot; EPERM without CAP_SYS_ADMIN over the filesystem.
pub fn map_ids(mount: BorrowedFd<'_>, user: BorrowedFd<'_>, recursive: bool) -> Result<()> {
    let userns_fd = u64::try_from(user.as_raw_fd()).expect("descriptors are not negative");
    let attr = MountAttr { userns_fd, ..MountAttr::new(attribute::IDMAP, 0) };
    mount_setattr(mount, &attr, recursive)
}

/// Attaches a mount to the file of another descriptor.
///
/// # Errors
/// ENOTDIR for a directory on a file or the reverse; EINVAL for a target outside this namespace.
pub fn move_mount(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let (from, to) = (mount.as_raw_fd(), target.as_raw_fd());
    let (empty, flags) = (c"".as_ptr(), MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    // SAFETY: empty C strings and numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) })
        .map(drop)
        .call(|| format!("move_mount({from}, {to})"))
}

/// Sets the propagation of the mount at a path of the runtime namespace (mount_namespaces(7)).
///
/// # Errors
/// EINVAL if no mount is there; EPERM without CAP_SYS_ADMIN.
pub fn set_propagation(path: &str, propagation: MsFlags) -> Result<()> {
    nix::mount::mount(None::<&str>, path, None::<&str>, propagation, None::<&str>)
        .call(|| format!("mount(NULL, {path:?}, {propagation:?})"))
}

/// Makes `root` the root of this mount namespace and drops what was there: pivot_root(2), NOTES,
/// "pivot_root(".", ".")". `is_shared` says that the old root may propagate to the host.
///
/// # Errors
/// EINVAL if `root` is no mount of its own, or its parent mount or the old root is shared.
pub fn pivot_root(root: BorrowedFd<'_>, is_shared: bool) -> Result<()> {
    let old = is_shared.then(|| open_directory("/")).transpose()?;
    nix::unistd::fchdir(root).call(|| format!("fchdir({root:?})"))?;
    nix::unistd::pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")")?;
    if let Some(old) = old {
        // Or the umount below would take the mounts away from the host too.
        nix::unistd::fchdir(&old).call(|| "fchdir(the old root)")?;
        set_propagation(".", MsFlags::MS_SLAVE | MsFlags::MS_REC)?;
    }
    // The old root lies on top of the new one at "/", and umount2 takes what is on top at ".".
    nix::mount::umount2(".", MntFlags::MNT_DETACH).call(|| "umount2(\".\", MNT_DETACH)")?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")")
}

/// The weaker way of `--no-pivot`, for a root on an initial ramdisk (pivot_root(2), "initramfs"):
/// moves the mount over "/" and changes the root directory. The old root stays underneath.
///
/// # Errors
/// EINVAL if `root` is no mount of its own.
pub fn move_root(root: BorrowedFd<'_>) -> Result<()> {
    nix::unistd::fchdir(root).call(|| format!("fchdir({root:?})"))?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .call(|| "mount(\".\", \"/\", MS_MOVE)")?;
    change_root()
}

/// Makes the working directory the root directory (chroot(2)).
///
/// # Errors
/// EPERM without CAP_SYS_CHROOT.
pub fn change_root() -> Result<()> {
    nix::unistd::chroot(".").call(|| "chroot(\".\")")?;
    nix::unistd::chdir("/").call(|| "chdir(\"/\")")
}

/// Whether the descriptor's file is the root of a mount (statx(2), STATX_ATTR_MOUNT_ROOT).
///
/// # Errors
/// Those of statx(2).
pub fn is_mount_root(file: impl AsFd) -> Result<bool> {
    Ok(statx(file)?.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0)
}

/// The number of the mount that the descriptor's file is in, as in /proc/self/mountinfo.
///
/// # Errors
/// Those of statx(2).
pub fn mount_id(file: impl AsFd) -> Result<u64> {
    Ok(statx(file)?.stx_mnt_id)
}

fn statx(file: impl AsFd) -> Result<libc::statx> {
    // SAFETY: `statx` is plain data, for which all zero bytes are a value.
    let mut buffer: libc::statx = unsafe { std::mem::zeroed() };
    let (fd, at) = (file.as_fd().as_raw_fd(), &raw mut buffer);
    // SAFETY: an empty C string and a live buffer of the type that the call writes.
    let result =
        unsafe { libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, libc::STATX_MNT_ID, at) };
    Errno::result(result).call(|| format!("statx({fd})"))?;
    Ok(buffer)
}

/// The magic number of the filesystem that the descriptor's file is on (statfs(2)).
///
/// # Errors
/// Those of fstatfs(2).
pub fn filesystem_magic(file: impl AsFd) -> Result<i64> {
    let stat = nix::sys::statfs::fstatfs(file.as_fd()).call(|| "fstatfs()")?;
    Ok(stat.filesystem_type().0 as i64)
}

impl fmt::Debug for FilesystemContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)
    }
}
