//! The bundle's directory: config.json and the root filesystem, or nothing.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, fchown};

use super::extract::LIST;
use super::interrupt::Interrupt;
use super::owners::Owners;
use super::staging::{Other, Staging};
use crate::error::{Call, Error, Result};
use crate::sys::path::sync_filesystem;

/// Where a bundle is to be.
pub struct Place {
    /// The directory that it will be in (O_PATH).
    pub parent: OwnedFd,
    /// Its name there.
    pub name: OsString,
    /// Its absolute path.
    pub path: PathBuf,
}

impl Place {
    /// Looks at the place. An empty directory may be there: the bundle takes its place.
    ///
    /// # Errors
    /// That something else is there; those of opening the directory above.
    pub fn new(bundle: &Path) -> Result<Self> {
        let path = match std::fs::read_dir(bundle) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Error::new(format!("{bundle:?} exists already, and is not empty")));
                }
                std::fs::canonicalize(bundle).call(|| format!("realpath({bundle:?})"))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => absent(bundle)?,
            Err(error) => return Err(Error::from_io(format!("open({bundle:?})"), &error)),
        };
        Self::at(path)
    }

    /// The place of a bundle that is there.
    ///
    /// # Errors
    /// That it is not; those of opening the directory above.
    pub fn of_existing(bundle: &Path) -> Result<Self> {
        let path = std::fs::canonicalize(bundle).call(|| format!("realpath({bundle:?})"))?;
        Self::at(path)
    }

    fn at(path: PathBuf) -> Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(format!("{path:?} cannot be a bundle")));
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let above = openat(AT_FDCWD, parent, flags, Mode::empty())
            .call(|| format!("open({parent:?}, O_PATH|O_DIRECTORY)"))?;
        Ok(Self { parent: above, name: name.to_owned(), path: path.clone() })
    }
}

/// The absolute path of what does not exist yet, in a directory that does.
fn absent(bundle: &Path) -> Result<PathBuf> {
    let Some(name) = bundle.file_name() else {
        return Err(Error::new(format!("{bundle:?} names no directory")));
    };
    let parent = bundle.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let parent = std::fs::canonicalize(parent).call(|| format!("realpath({parent:?})"))?;
    Ok(parent.join(name))
}

/// What a bundle is called while it is made, or removed.
#[must_use]
pub fn staging_name(name: &OsStr) -> OsString {
    [OsStr::new("."), name, OsStr::new(".hull-unpack")].into_iter().collect()
}

/// A bundle in the making, in a directory beside its place.
pub struct Bundle {
    staging: Staging,
    place: Place,
}

impl Bundle {
    /// Begins it.
    ///
    /// # Errors
    /// That another process makes the same; those of [`Staging::claim`].
    pub fn begin(place: Place, interrupt: &Interrupt) -> Result<Self> {
        let name = staging_name(&place.name);
        let staging = Staging::claim(place.parent.as_fd(), &name, Other::Refuse, interrupt)?;
        Ok(Self { staging, place })
    }

    /// The directory that will be the bundle.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.staging.directory()
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// Those of mkdirat(2) and openat(2).
    pub fn make_directory(&self, name: &str, mode: Mode) -> Result<OwnedFd> {
        mkdirat(self.directory(), name, mode).call(|| format!("mkdirat({name:?}, {mode:o})"))?;
        openat(self.directory(), name, LIST, Mode::empty()).call(|| format!("openat({name:?})"))
    }

    /// Makes a file in it.
    ///
    /// # Errors
    /// Those of openat(2) and write(2).
    pub fn make_file(&self, name: &str, text: &[u8]) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o644);
        let file = openat(self.directory(), name, flags, mode);
        let file = file.call(|| format!("openat({name:?}, O_CREAT|O_EXCL)"))?;
        std::fs::File::from(file).write_all(text).call(|| format!("write({name:?})"))
    }

    /// The bundle appears, with mode 0700: what an image brings, set-user-ID programs among it, is for
    /// no other user of this host (CVE-2021-41091). Root of a user namespace must come to its files.
    ///
    /// # Errors
    /// That something has taken the place; those of the calls.
    pub fn publish(self, owners: &Owners, sync: bool) -> Result<()> {
        let directory = self.directory();
        if owners.mappings().is_some()
            && let Ok(gid) = owners.gid(0)
            && gid != fstat(directory).call(|| "fstat()")?.st_gid
        {
            let group = Some(Gid::from_raw(gid));
            fchown(directory, None, group).call(|| format!("fchown(-1, {gid})"))?;
            fchmod(directory, Mode::from_bits_truncate(0o710)).call(|| "fchmod(710)")?;
        }
        if sync {
            sync_filesystem(directory)?;
        }
        let Self { staging, place } = self;
        staging.publish(place.parent.as_fd(), &place.name)
    }
}
