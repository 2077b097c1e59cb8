//! The container's terminal: config.md, "terminal"; config-linux.md, "Default Devices",
//! /dev/console. And its other side, in a `run` that stays in the foreground.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::Uid;

use super::devices::open_dev;
use crate::error::{Call, Context, Error, Result};
use crate::plan::process::Size;
use crate::sys::mount::{clone_fd, filesystem_magic, move_mount};
use crate::sys::path::InRoot;
use crate::sys::process::{set_standard_streams, standard_stream};
use crate::sys::terminal::{keep_line_feeds, open_peer, set_controlling, set_size, size};

/// DEVPTS_SUPER_MAGIC (statfs(2)).
const DEVPTS_MAGIC: i64 = 0x1cd1;

/// A new terminal, of which the container's processes have one side.
pub struct Terminal {
    master: OwnedFd,
    peer: OwnedFd,
    dev: OwnedFd,
}

/// Opens a new pty of the container's devpts, for that user.
///
/// # Errors
/// That the container has no devpts; those of the calls.
pub fn open(root: &InRoot, size: Option<Size>, uid: u32) -> Result<Terminal> {
    let dev = open_dev(root)?;
    // Before anything there is opened: to open a device can have an effect.
    let devpts = root.open_no_symlinks("dev/pts", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    if filesystem_magic(&devpts)? != DEVPTS_MAGIC {
        return Err(Error::new("/dev/pts is not a devpts, mount one there"));
    }
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let master =
        openat(&devpts, "ptmx", flags, Mode::empty()).call(|| "open(\"/dev/pts/ptmx\")")?;
    let peer = open_peer(master.as_fd())?;
    if let Some(size) = size {
        set_size(master.as_fd(), size.rows, size.columns)?;
    }
    if uid != 0 {
        // The user must be able to open /dev/tty's own file again; the group stays tty's.
        nix::unistd::fchown(&peer, Some(Uid::from_raw(uid)), None)
            .call(|| "fchown(the terminal)")?;
    }
    Ok(Terminal { master, peer, dev })
}

impl Terminal {
    /// Shows it as /dev/console.
    ///
    /// # Errors
    /// Those of open(2) and move_mount(2).
    pub fn show_as_console(&self) -> Result<()> {
        show_console(self.dev.as_fd(), self.peer.as_fd()).context(|| "/dev/console")
    }

    /// Makes it the terminal and the standard streams of this process. Returns the master, for who
    /// called the runtime.
    ///
    /// # Errors
    /// Those of dup2(2) and of TIOCSCTTY.
    pub fn take(self) -> Result<OwnedFd> {
        set_standard_streams(&self.peer)?;
        set_controlling(self.peer.as_fd())?;
        Ok(self.master)
    }
}

/// A bind mount of the pty's own file, by descriptor (CVE-2025-52565).
fn show_console(dev: BorrowedFd<'_>, peer: BorrowedFd<'_>) -> Result<()> {
    let nofollow = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let create = nofollow | OFlag::O_CREAT | OFlag::O_EXCL;
    match openat(dev, "console", create, Mode::from_bits_truncate(0o600)) {
        Ok(_) | Err(nix::errno::Errno::EEXIST) => {}
        Err(errno) => return Err(Error::from_call("create \"console\"", errno)),
    }
    let target = openat(dev, "console", nofollow | OFlag::O_PATH, Mode::empty())
        .call(|| "open(\"console\", O_PATH|O_NOFOLLOW)")?;
    move_mount(clone_fd(peer, false)?.as_fd(), target.as_fd())
}

/// Prepares the terminal of the container, before its program runs, for a runtime that passes what
/// it shows to the caller's: that one turns line feeds into new lines, and has the size.
///
/// # Errors
/// Those of tcgetattr(3) and tcsetattr(3).
pub fn pass_through(master: BorrowedFd<'_>) -> Result<()> {
    keep_line_feeds(master)?;
    follow_size(master);
    Ok(())
}

/// Gives the terminal of the container the size of the caller's, if that has one.
pub fn follow_size(master: BorrowedFd<'_>) {
    if let Ok((rows, columns)) = size(standard_stream(0)) {
        // A terminal that is gone has no use for it.
        set_size(master, rows, columns).ok();
    }
}

/// Without a terminal the standard streams are the caller's; pipes and files among them must
/// belong to the user of the container, who may open /dev/stdout again.
///
/// # Errors
/// Those of fstat(2). A stream that cannot be given away stays as it is.
pub fn give_streams(uid: u32) -> Result<()> {
    if uid == 0 {
        return Ok(());
    }
    for number in 0..=2 {
        let stream = standard_stream(number);
        let stat = nix::sys::stat::fstat(stream).call(|| format!("fstat({number})"))?;
        let null = nix::sys::stat::makedev(1, 3);
        if stat.st_uid != uid && stat.st_rdev != null {
            // EPERM, EROFS, EINVAL: the file of somebody else, /dev/null, a socket.
            nix::unistd::fchown(stream, Some(Uid::from_raw(uid)), None).ok();
        }
    }
    Ok(())
}
