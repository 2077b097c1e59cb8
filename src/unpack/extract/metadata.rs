//! What a file is given beside its name and content: owner, attributes, mode, times, in this order.
//! A change of owner takes the set-id bits and a file's capabilities away (chown(2), capabilities(7)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::Prefix;
use super::attributes::{self, DEFAULT_ACL};
use super::directories::{Closing, Place};
use super::lowers::attributes_of;
use super::name::shown;
use super::tar::Entry;
use super::tree::Tree;
use crate::error::{Call, Error, Result};
use crate::sys::xattr::{flistxattr, fremovexattr, fsetxattr, setxattrat};

/// The beginning of time (UTC).
pub const EPOCH: TimeSpec = TimeSpec::new(0, 0);
const SET_IDS: u32 = 0o6000;
const OWNER_MAY_WRITE: u32 = 0o200;
/// As many sentences are kept of what was left out.
const MOST_WARNINGS: usize = 100;

/// What a file is given, with ids of this host.
#[derive(Clone, Debug)]
pub struct Attributes {
    pub uid: u32,
    pub gid: u32,
    /// Permission bits, set-id bits and the sticky bit.
    pub mode: u32,
    pub mtime: TimeSpec,
    /// Names and values.
    pub extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// The value of an extended attribute.
    pub fn extended(&self, name: &[u8]) -> Option<&[u8]> {
        self.extended.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_slice())
    }

    /// The mode to make a regular file with: set-id bits come after the owner, and who has no
    /// privileges may not give attributes to what he may not write to (xattr(7)).
    pub fn mode_of_new_file(&self) -> u32 {
        let needed = if self.extended.is_empty() { 0 } else { OWNER_MAY_WRITE };
        self.mode & !SET_IDS | needed
    }
}

impl Tree {
    /// What the image gives to an entry, as it is given here.
    pub fn attributes(&self, entry: &mut Entry) -> Result<Attributes> {
        let owners = &self.owners;
        let (uid, gid) = (owners.uid(entry.uid)?, owners.gid(entry.gid)?);
        let overlay = self.overlay.as_ref().map(|overlay| overlay.lowers.prefix);
        let extended = std::mem::take(&mut entry.attributes);
        let mut extended = attributes::plan(extended, overlay, owners)?;
        if owners.is_rootless()
            && let Some(owner) = attributes::rootless_owner(entry.uid, entry.gid)
        {
            extended.retain(|(name, _)| *name != owner.0);
            extended.push(owner);
        }
        Ok(Attributes { uid, gid, mode: entry.mode, mtime: entry.mtime, extended })
    }

    /// What a file or a directory of a layer for overlayfs has, as it is given here.
    /// In one tree for all layers it gets none that needs CAP_SYS_ADMIN: an image shall not have more
    /// because this process has that capability for its store.
    pub fn attributes_in(&mut self, file: &OwnedFd, prefix: Prefix) -> Result<Attributes> {
        let mut attributes = attributes_of(file, prefix)?;
        if self.overlay.is_some() {
            return Ok(attributes);
        }
        for (name, value) in std::mem::take(&mut attributes.extended) {
            let name = prefix.unescape(&name);
            if attributes::is_of_administrators(&name) {
                let why = "it needs CAP_SYS_ADMIN, which a copy out of a store does not use";
                self.warn(format!("attributes {:?} are left out: {why}", shown(&name)));
            } else {
                attributes.extended.push((name, value));
            }
        }
        Ok(attributes)
    }

    /// Gives all to an open regular file that was made with [`Attributes::mode_of_new_file`].
    pub fn give_to_file(
        &mut self,
        file: BorrowedFd<'_>,
        parent: &Place,
        attributes: &Attributes,
    ) -> Result<()> {
        self.give_owner(file, parent.gid, attributes)?;
        // Before the mode, after which the file may be read-only.
        self.give_extended(file, attributes, &[])?;
        if attributes.mode != attributes.mode_of_new_file() {
            let mode = Mode::from_bits_truncate(attributes.mode);
            fchmod(file, mode).call(|| format!("fchmod({:o})", attributes.mode))?;
        }
        futimens(file, &attributes.mtime, &attributes.mtime).call(|| "futimens()")
    }

    /// Gives all to what is neither a regular file nor a directory, and was just made here.
    pub fn give_to_name(
        &mut self,
        parent: &Place,
        name: &[u8],
        attributes: &Attributes,
        is_symlink: bool,
    ) -> Result<()> {
        if !self.has_owner(parent.gid, attributes) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
                .call(|| format!("fchownat({:?}, {uid}, {gid})", shown(name)))?;
        }
        if !is_symlink && attributes.mode & SET_IDS != 0 {
            let mode = Mode::from_bits_truncate(attributes.mode);
            fchmodat(parent, name, mode, FchmodatFlags::FollowSymlink)
                .call(|| format!("fchmodat({:?}, {:o})", shown(name), attributes.mode))?;
        }
        for (attribute, value) in &attributes.extended {
            let result = setxattrat(parent.as_fd(), name, attribute, value);
            result.or_else(|error| self.forgive(error, attribute, false))?;
        }
        let mtime = &attributes.mtime;
        utimensat(parent, name, mtime, mtime, UtimensatFlags::NoFollowSymlink)
            .call(|| format!("utimensat({:?})", shown(name)))
    }

    /// A directory that was there becomes as the entry says: nothing stays of what it had.
    pub fn change_directory(&mut self, place: &Place, attributes: Attributes) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchown(place, Some(uid), Some(gid)).call(|| format!("fchown({uid}, {gid})"))?;
        self.directories.set_group(&place.path, attributes.gid);
        for name in flistxattr(place.as_fd())? {
            if attributes.extended(&name).is_none() && !self.is_not_of_the_image(&name) {
                fremovexattr(place.as_fd(), &name)?;
            }
        }
        self.give_extended(place.as_fd(), &attributes, &[DEFAULT_ACL])?;
        *self.directories.closing(&place.path) = Closing {
            atime: attributes.mtime,
            mtime: attributes.mtime,
            mode: Some(attributes.mode),
            default_acl: attributes.extended(DEFAULT_ACL).map(<[u8]>::to_vec),
        };
        Ok(())
    }

    /// What the host gives, and what tells overlayfs about this layer.
    fn is_not_of_the_image(&self, name: &[u8]) -> bool {
        let overlay = self.overlay.as_ref();
        attributes::is_forbidden(name)
            || overlay.is_some_and(|overlay| overlay.lowers.prefix.is_own(name))
    }

    /// Gives the owner, unless what is new has it already.
    pub fn give_owner(
        &self,
        file: BorrowedFd<'_>,
        parent_gid: u32,
        attributes: &Attributes,
    ) -> Result<()> {
        if self.has_owner(parent_gid, attributes) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        fchown(file, Some(uid), Some(gid)).call(|| format!("fchown({uid}, {gid})"))
    }

    /// What is new is this process's, but for filesystems that give it the group of its directory.
    fn has_owner(&self, parent_gid: u32, attributes: &Attributes) -> bool {
        (attributes.uid, attributes.gid) == self.own && parent_gid == self.own.1
    }

    /// Gives extended attributes, except some.
    pub fn give_extended(
        &mut self,
        file: BorrowedFd<'_>,
        attributes: &Attributes,
        except: &[&[u8]],
    ) -> Result<()> {
        for (name, value) in &attributes.extended {
            if !except.contains(&name.as_slice()) {
                let result = fsetxattr(file, name, value);
                result.or_else(|error| self.forgive(error, name, true))?;
            }
        }
        Ok(())
    }

    /// An attribute that the filesystem does not have is left out, and so is one that needs
    /// privileges where there are none. `user.` is of regular files and directories (xattr(7));
    /// `trusted.` and all of `security.` but capabilities need CAP_SYS_ADMIN, which the sandbox gives
    /// up (capabilities(7)).
    fn forgive(&mut self, error: Error, attribute: &[u8], is_file: bool) -> Result<()> {
        let of_no_file = !is_file && attribute.starts_with(b"user.");
        let why = match error.errno() {
            Some(Errno::ENOTSUP) => "the filesystem has none of this kind",
            Some(Errno::EPERM) if of_no_file => "of what is neither a regular file nor a directory",
            Some(Errno::EPERM) if self.owners.is_unprivileged() => "it needs privileges",
            Some(Errno::EPERM) if attributes::is_of_administrators(attribute) => {
                "it needs CAP_SYS_ADMIN, which root has with --no-sandbox"
            }
            _ => return Err(error),
        };
        self.warn(format!("attributes {:?} are left out: {why}", shown(attribute)));
        Ok(())
    }

    /// Keeps a sentence for the end.
    pub fn warn(&mut self, sentence: String) {
        if self.warnings.len() < MOST_WARNINGS {
            self.warnings.insert(sentence);
        }
    }
}
