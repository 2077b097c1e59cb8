//! The name of an entry: where it is below the root, and whether it is a whiteout (image-spec,
//! layer.md, "Representing Changes"). Pure.

use std::ffi::OsStr;
use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::os::unix::ffi::OsStrExt;

use crate::error::{Error, Result};

/// The longest path, in bytes, as for the kernel (PATH_MAX without its NUL).
pub const LONGEST: usize = 4095;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS keeps at the root of a layer: no part of the image.
const AUFS: [&[u8]; 3] = [b".wh..wh.plnk", b".wh..wh.aufs", b".wh..wh.orph"];

/// What an entry is about.
#[derive(Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    /// What has this name.
    File,
    /// That layers below have no such name in the same directory.
    Whiteout(&'a [u8]),
    /// That layers below have nothing in the directory.
    Opaque,
    /// Nothing.
    Aufs,
}

/// Names with one `/` between them and none elsewhere; the root is empty.
///
/// # Errors
/// A name that leads above the root, is too long or has a NUL.
pub fn clean(name: &[u8]) -> Result<Vec<u8>> {
    if name.len() > LONGEST {
        return Err(Error::new(format!("a name of {} bytes, of {LONGEST} at most", name.len())));
    }
    if name.contains(&0) {
        return Err(Error::new("a NUL in a name"));
    }
    let mut clean = Vec::with_capacity(name.len());
    if walk(&mut clean, name) {
        Ok(clean)
    } else {
        Err(Error::new("a name that leads above the root"))
    }
}

/// Goes on from a clean name by a path. Whether it never led above the root, where it stays.
pub fn walk(clean: &mut Vec<u8>, path: &[u8]) -> bool {
    let mut is_inside = true;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                is_inside &= !clean.is_empty();
                clean.truncate(split(clean).0.len());
            }
            _ => push(clean, part),
        }
    }
    is_inside
}

/// The directory and the name in it.
pub fn split(clean: &[u8]) -> (&[u8], &[u8]) {
    match clean.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&clean[..slash], &clean[slash + 1..]),
        None => (b"", clean),
    }
}

/// Goes down by one name.
pub fn push(clean: &mut Vec<u8>, name: &[u8]) {
    if !clean.is_empty() {
        clean.push(b'/');
    }
    clean.extend_from_slice(name);
}

/// A name in a directory.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    push(&mut path, name);
    path
}

/// Whether it is the directory or in it.
pub fn is_below(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Stands for a clean name in a set, in 16 bytes: names may have 4096 each.
pub type Key = u128;

/// Makes keys in a way that no image can know, so that none can make two names with the same.
#[derive(Default)]
pub struct Keys([RandomState; 2]);

impl Keys {
    /// The key of a name.
    pub fn of(&self, clean: &[u8]) -> Key {
        self.on_the_way(clean).last().unwrap_or_else(|| finish(&self.start()))
    }

    /// The key of each directory on the way, that of the path itself last, none of the root.
    pub fn on_the_way(&self, clean: &[u8]) -> impl Iterator<Item = Key> {
        let mut key = self.start();
        let mut start = 0;
        let slashes = clean.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends = slashes.chain((!clean.is_empty()).then_some(clean.len()));
        ends.map(move |end| {
            key.iter_mut().for_each(|half| half.write(&clean[start..end]));
            start = end;
            finish(&key)
        })
    }

    fn start(&self) -> [DefaultHasher; 2] {
        [self.0[0].build_hasher(), self.0[1].build_hasher()]
    }
}

fn finish(key: &[DefaultHasher; 2]) -> Key {
    Key::from(key[0].finish()) << 64 | Key::from(key[1].finish())
}

/// For messages.
pub fn shown(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

/// What an entry with that name is about.
///
/// # Errors
/// A whiteout of nothing, of `.`, of `..` or of a whiteout; something in a whiteout.
pub fn subject(clean: &[u8]) -> Result<Subject<'_>> {
    let (directory, name) = split(clean);
    let first = clean.split(|byte| *byte == b'/').next().unwrap_or_default();
    if AUFS.contains(&first) {
        return Ok(Subject::Aufs);
    }
    if directory.split(|byte| *byte == b'/').any(|name| name.starts_with(WHITEOUT)) {
        return Err(Error::new("a file in a whiteout"));
    }
    if name == OPAQUE {
        return Ok(Subject::Opaque);
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Subject::File),
        Some(b"" | b"." | b"..") => Err(Error::new("a whiteout of nothing")),
        Some(hidden) if hidden.starts_with(WHITEOUT) => Err(Error::new("a whiteout of a whiteout")),
        Some(hidden) => Ok(Subject::Whiteout(hidden)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_below_the_root() {
        let table: [(&str, Option<&str>); 14] = [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            ("/a/b", Some("a/b")),
            ("a/../b", Some("b")),
            ("a/b/../../c", Some("c")),
            ("a/b/../c", Some("a/c")),
            (".", Some("")),
            ("/", Some("")),
            ("/.", Some("")),
            ("a/..", Some("")),
            ("..", None),
            ("a/../..", None),
            ("/../a", None),
            ("a\0b", None),
        ];
        for (name, expected) in table {
            let expected = expected.map(|name| name.as_bytes().to_vec());
            assert_eq!(clean(name.as_bytes()).ok(), expected, "{name}");
        }
        assert!(clean(&[b'a'; LONGEST]).is_ok());
        assert!(clean(&[b'a'; LONGEST + 1]).is_err());
    }

    #[test]
    fn a_whiteout_is_told_from_a_file() {
        let table: [(&str, Option<Subject<'_>>); 13] = [
            ("a/b", Some(Subject::File)),
            ("a/.whb", Some(Subject::File)),
            ("a/.wh.b", Some(Subject::Whiteout(b"b"))),
            (".wh..b", Some(Subject::Whiteout(b".b"))),
            (".wh....", Some(Subject::Whiteout(b"..."))),
            ("a/.wh..wh..opq", Some(Subject::Opaque)),
            (".wh..wh.plnk/1.2", Some(Subject::Aufs)),
            (".wh.", None),
            ("a/.wh..", None),
            (".wh...", None),
            ("a/.wh..wh.b", None),
            (".wh.a/b", None),
            ("a/.wh..wh..opq/b", None),
        ];
        for (name, expected) in table {
            assert_eq!(subject(name.as_bytes()).ok(), expected, "{name}");
        }
    }

    #[test]
    fn keys_are_of_names_and_of_what_is_on_the_way_to_them() {
        let keys = Keys::default();
        let on_the_way = |path: &'static [u8]| keys.on_the_way(path).collect::<Vec<_>>();
        let of = |names: &[&[u8]]| names.iter().map(|name| keys.of(name)).collect::<Vec<_>>();
        assert_eq!(on_the_way(b"a/b/c"), of(&[b"a", b"a/b", b"a/b/c"]));
        assert_eq!(on_the_way(b"a"), of(&[b"a"]));
        assert!(on_the_way(b"").is_empty());
        assert_ne!(keys.of(b"a/b"), keys.of(b"ab"));
        assert_ne!(keys.of(b"a"), Keys::default().of(b"a"));
    }

    #[test]
    fn what_is_below_a_directory_has_its_name_and_a_slash() {
        assert!(is_below(b"a/b", b"a") && is_below(b"a", b"") && is_below(b"a", b"a"));
        assert!(!is_below(b"ab", b"a"));
    }
}
