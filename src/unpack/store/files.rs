//! Files of an image whose layers are not merged: seen as overlayfs shows them, symbolic links
//! followed inside the root.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::error::{Call, Error, Result};
use crate::sys::path::{InRoot, Rest, kind_of};
use crate::unpack::extract::lowers::{Found, Lowers};

/// Opens a regular file of a merged root filesystem; `None` if there is nothing at the path.
///
/// # Errors
/// That it is something else, such as a FIFO or a device (CVE-2024-9676); those of openat2(2).
pub fn open_merged(root: &InRoot, path: &str) -> Result<Option<std::fs::File>> {
    // By O_PATH first: to open a device is to use it.
    let looked = match root.open(path, OFlag::O_PATH) {
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => {
            return Ok(None);
        }
        other => other?,
    };
    check_regular(&looked, path)?;
    root.open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .map(|file| Some(file.into()))
}

/// As [`open_merged`], of layers.
///
/// # Errors
/// As [`open_merged`]; ELOOP.
pub fn open_layered(layers: &Lowers, path: &str) -> Result<Option<std::fs::File>> {
    let mut rest = Rest::of(path.as_bytes());
    let mut here: Vec<Vec<u8>> = Vec::new();
    while let Some(name) = rest.pop() {
        if name == b".." {
            here.pop();
            continue;
        }
        here.push(name);
        match layers.look(&here.join(&b'/'))? {
            Found::Directory(_) => {}
            Found::Nothing => return Ok(None),
            Found::Symlink(_, target) => {
                here.pop();
                if rest.follow(&target).call(|| format!("follow {path:?}"))? {
                    here.clear();
                }
            }
            Found::File(directory) => {
                // What follows a file is no path.
                let name = here.pop().unwrap_or_default();
                return if rest.is_empty() { open_file(&directory, &name, path) } else { Ok(None) };
            }
        }
    }
    Err(Error::new(format!("{path:?} is a directory")))
}

fn open_file(directory: &OwnedFd, name: &[u8], path: &str) -> Result<Option<std::fs::File>> {
    let open = |flags: OFlag| {
        openat(directory, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
            .call(|| format!("openat({path:?})"))
    };
    check_regular(&open(OFlag::O_PATH)?, path)?;
    open(OFlag::O_RDONLY | OFlag::O_NONBLOCK).map(|file| Some(file.into()))
}

fn check_regular(file: &OwnedFd, path: &str) -> Result<()> {
    let stat = fstat(file).call(|| format!("fstat({path:?})"))?;
    if kind_of(&stat) == SFlag::S_IFREG {
        return Ok(());
    }
    Err(Error::new(format!("{path:?} is no regular file")))
}
