//! Whose file becomes whose.

use crate::error::Result;

/// The ids of the image, as ids of this host.
#[derive(Clone, Debug, Default)]
pub struct Owners {}

impl Owners {
    /// The user of this host for a user of the image.
    ///
    /// # Errors
    /// That no range maps it.
    pub fn uid(&self, uid: u32) -> Result<u32> {
        Ok(uid)
    }

    /// The group of this host for a group of the image.
    ///
    /// # Errors
    /// That no range maps it.
    pub fn gid(&self, gid: u32) -> Result<u32> {
        Ok(gid)
    }

    /// Whether the extractor has no privileges: who owns a file in the image is then kept in the
    /// attribute `user.rootlesscontainers`, and a device becomes an empty file.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        false
    }
}
