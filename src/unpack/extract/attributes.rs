//! Which extended attributes a file gets: image-spec, layer.md, "File Attributes". Pure.

use super::Prefix;
use crate::error::{Error, Result};
use crate::unpack::owners::Owners;

/// The owner in the image of a file that is extracted without privileges.
pub const ROOTLESS: &[u8] = b"user.rootlesscontainers";
/// What a program gets that is executed (capabilities(7), "File capabilities").
pub const CAPABILITY: &[u8] = b"security.capability";
/// Access for more than three (acl(5)); a directory's second one is for what is made in it.
pub const ACL: &[u8] = b"system.posix_acl_access";
pub const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

/// Whether it says something of the machine that the image was made on, which no image may
/// say of another: a label of its policy, or access for its users.
pub fn is_forbidden(name: &[u8]) -> bool {
    [&b"security.selinux"[..], b"system.nfs4_acl"].contains(&name)
}

/// Whether only CAP_SYS_ADMIN of the first user namespace gives it (capabilities(7)).
pub fn is_of_administrators(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name.starts_with(b"security.") && name != CAPABILITY
}

impl Prefix {
    /// The start of the names of overlayfs's attributes.
    pub fn text(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    /// The name of one of overlayfs's own attributes.
    pub fn name(self, last: &str) -> Vec<u8> {
        [self.text(), last.as_bytes()].concat()
    }

    /// Whether overlayfs reads it in this form, and does not show it.
    pub fn is_own(self, name: &[u8]) -> bool {
        name.strip_prefix(self.text()).is_some_and(|last| !last.starts_with(b"overlay."))
    }

    /// An image's own attribute of overlayfs, so that overlayfs shows it and does not obey it
    /// (overlayfs.rst, "Nesting overlayfs mounts"; since Linux 6.7).
    pub fn escape(self, name: &[u8]) -> Vec<u8> {
        match name.strip_prefix(self.text()) {
            Some(last) => [self.text(), b"overlay.", last].concat(),
            None => name.to_vec(),
        }
    }

    /// The image's name of an attribute that was escaped.
    pub fn unescape(self, name: &[u8]) -> Vec<u8> {
        let last = name.strip_prefix(self.text()).and_then(|rest| rest.strip_prefix(b"overlay."));
        last.map_or_else(|| name.to_vec(), |last| [self.text(), last].concat())
    }
}

/// The attributes that a file of an image gets, with the ids in them as on this host.
///
/// # Errors
/// An access list that is none, or with an id that no range maps.
pub fn plan(
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    overlay: Option<Prefix>,
    owners: &Owners,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let attributes = attributes.into_iter().filter(|(name, _)| !is_forbidden(name));
    attributes
        .map(|(name, value)| {
            let value = match name.as_slice() {
                ACL | DEFAULT_ACL => map_access_list(&value, owners)?,
                CAPABILITY => capability_of_a_namespace(value, owners)?,
                _ => value,
            };
            Ok((overlay.map_or_else(|| name.clone(), |prefix| prefix.escape(&name)), value))
        })
        .collect()
}

/// `struct posix_acl_xattr_entry`: tag, permissions, id, after a version of 4 bytes.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

fn map_access_list(value: &[u8], owners: &Owners) -> Result<Vec<u8>> {
    let mut mapped = value.to_vec();
    let (entries, []) = mapped.get_mut(4..).unwrap_or_default().as_chunks_mut::<8>() else {
        return Err(Error::new("an access list that is none"));
    };
    for entry in entries {
        let [tag_0, tag_1, _, _, id @ ..] = *entry;
        let id = u32::from_le_bytes(id);
        let id = match u16::from_le_bytes([tag_0, tag_1]) {
            USER => owners.uid(id)?,
            GROUP => owners.gid(id)?,
            _ => id,
        };
        entry[4..].copy_from_slice(&id.to_le_bytes());
    }
    Ok(mapped)
}

/// `struct vfs_cap_data` begins with these: the version, and whether it is effective.
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const REVISION: u32 = 0xff00_0000;

/// What the image's root gives is given by whom that root becomes: in the first user namespace's own
/// form, it would not count in the container's (user_namespaces(7), since Linux 4.14).
fn capability_of_a_namespace(value: Vec<u8>, owners: &Owners) -> Result<Vec<u8>> {
    let magic = value.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    // Without privileges, the kernel writes the form that it wants itself.
    let root = if owners.is_rootless() { 0 } else { owners.uid(0)? };
    match magic {
        Some(magic) if root != 0 && value.len() == 20 && magic & REVISION == REVISION_2 => {
            let magic = magic & !REVISION | REVISION_3;
            Ok([&magic.to_le_bytes(), &value[4..], &root.to_le_bytes()].concat())
        }
        _ => Ok(value),
    }
}

/// Who owns a file in the image, as `user.rootlesscontainers` has it: a message of protobuf with two
/// numbers (<https://rootlesscontaine.rs>, "proto"). Root's files have none.
pub fn rootless_owner(uid: u32, gid: u32) -> Option<(Vec<u8>, Vec<u8>)> {
    if (uid, gid) == (0, 0) {
        return None;
    }
    let mut value = Vec::new();
    for (field, mut number) in [(1, uid), (2, gid)] {
        // In proto3 a zero is not written.
        if number == 0 {
            continue;
        }
        value.push(field << 3);
        while number > 0x7f {
            value.push(number as u8 | 0x80);
            number >>= 7;
        }
        value.push(number as u8);
    }
    Some((ROOTLESS.to_vec(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_does_not_speak_to_overlayfs() {
        let name = b"trusted.overlay.opaque".to_vec();
        assert_eq!(Prefix::Trusted.escape(&name), b"trusted.overlay.overlay.opaque");
        assert_eq!(Prefix::User.escape(&name), name);
        for prefix in [Prefix::Trusted, Prefix::User] {
            assert_eq!(prefix.unescape(&prefix.escape(&name)), name);
        }
        assert_eq!(Prefix::Trusted.escape(b"user.overlay"), b"user.overlay");
    }

    #[test]
    fn the_labels_of_another_machine_are_left_out() {
        let names = ["security.selinux", "user.a", "system.nfs4_acl", "security.ima"];
        let attributes = names.map(|name| (name.into(), vec![1])).to_vec();
        let planned = plan(attributes, None, &Owners::default()).unwrap();
        let names: Vec<_> = planned.iter().map(|(name, _)| name.as_slice()).collect();
        assert_eq!(names, [&b"user.a"[..], b"security.ima"]);
    }

    #[test]
    fn an_access_list_that_is_none_is_refused() {
        let owners = Owners::default();
        let list = [2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 4, 0, 233, 3, 0, 0];
        assert_eq!(map_access_list(&list, &owners).unwrap(), list);
        assert!(map_access_list(&list[..19], &owners).is_err());
    }

    #[test]
    fn an_owner_is_two_numbers_of_protobuf() {
        let value = |uid, gid| rootless_owner(uid, gid).map(|(_, value)| value);
        assert_eq!(value(0, 0), None);
        assert_eq!(value(1, 0), Some(vec![8, 1]));
        assert_eq!(value(1000, 100), Some(vec![8, 0xe8, 7, 16, 100]));
        assert_eq!(value(0, 65534), Some(vec![16, 0xfe, 0xff, 3]));
    }
}
