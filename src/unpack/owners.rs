//! Whose file becomes whose: the ids of an image as ids of the user namespace that this process is
//! in (user_namespaces(7)), and the ranges that config.json gives the container for it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// `(uid_t) -1` is nobody: chown(2) takes it for "no change", so that a file would stay root's.
const NOBODY: u32 = u32::MAX;

/// As many ranges as the kernel takes (user_namespaces(7), since Linux 4.15).
const MOST_RANGES: usize = 340;

/// A line of /proc/PID/uid_map: so many ids of the container from `container` on are ids of the host
/// from `host` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first id in the container.
    pub container: u32,
    /// The first id outside.
    pub host: u32,
    /// How many; at least 1, and none of them the last number, which is no id.
    pub size: u32,
}

/// The ids of the image, as ids of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    way: Way,
    uids: Vec<Range>,
    gids: Vec<Range>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    /// Each id is itself, and the container needs no user namespace.
    #[default]
    Same,
    /// Ids are moved by the ranges.
    Moved,
    /// This process is in a user namespace with the ranges, so that an id is itself.
    Inside,
    /// All files become those of one user.
    Own { uid: u32, gid: u32 },
}

impl Owners {
    /// Ids are moved by ranges: `--uid-map`, `--gid-map`. None of both: each id is itself.
    ///
    /// # Errors
    /// That only one of both is there, that ranges overlap, or that they are too many.
    pub fn moved(uids: Vec<Range>, gids: Vec<Range>) -> Result<Self> {
        if uids.is_empty() && gids.is_empty() {
            return Ok(Self::default());
        }
        for (flag, ranges) in [("--uid-map", &uids), ("--gid-map", &gids)] {
            check(ranges).map_err(|error| error.context(flag))?;
        }
        Ok(Self { way: Way::Moved, uids, gids })
    }

    /// This process is in a user namespace with these ranges.
    #[must_use]
    pub fn inside(uids: Vec<Range>, gids: Vec<Range>) -> Self {
        Self { way: Way::Inside, uids, gids }
    }

    /// All files become this user's, who is root in the container and the only one there.
    #[must_use]
    pub fn own(uid: u32, gid: u32) -> Self {
        let root = |host| vec![Range { container: 0, host, size: 1 }];
        Self { way: Way::Own { uid, gid }, uids: root(uid), gids: root(gid) }
    }

    /// The user of this process's user namespace for a user of the image.
    ///
    /// # Errors
    /// That no range maps it, or that the number is no id.
    pub fn uid(&self, uid: u32) -> Result<u32> {
        match self.way {
            Way::Own { uid, .. } => Ok(uid),
            way => find(way, &self.uids, uid).map_err(|error| error.context(format!("user {uid}"))),
        }
    }

    /// The group of this process's user namespace for a group of the image.
    ///
    /// # Errors
    /// That no range maps it, or that the number is no id.
    pub fn gid(&self, gid: u32) -> Result<u32> {
        match self.way {
            Way::Own { gid, .. } => Ok(gid),
            way => {
                find(way, &self.gids, gid).map_err(|error| error.context(format!("group {gid}")))
            }
        }
    }

    /// Whether all files become those of one user without privileges: who owns a file in the image
    /// is then kept in the attribute `user.rootlesscontainers`, and a device becomes an empty file.
    #[must_use]
    pub fn is_rootless(&self) -> bool {
        matches!(self.way, Way::Own { .. })
    }

    /// Whether devices, and attributes that need privileges on the host, are beyond this process.
    #[must_use]
    pub fn is_unprivileged(&self) -> bool {
        matches!(self.way, Way::Own { .. } | Way::Inside)
    }

    /// The ranges of the users and of the groups for config.json's user namespace, in ids of the
    /// namespace that `hull-unpack` was called in. None: the container needs no user namespace.
    #[must_use]
    pub fn mappings(&self) -> Option<(&[Range], &[Range])> {
        (self.way != Way::Same).then_some((&self.uids, &self.gids))
    }
}

fn find(way: Way, ranges: &[Range], id: u32) -> Result<u32> {
    if id == NOBODY {
        return Err(Error::new("this number is no id"));
    }
    if way == Way::Same {
        return Ok(id);
    }
    let range = ranges.iter().find(|range| range.contains(id));
    let range = range.ok_or_else(|| Error::new("no range maps it"))?;
    Ok(if way == Way::Inside { id } else { range.host + (id - range.container) })
}

/// What the kernel would refuse of a map.
fn check(ranges: &[Range]) -> Result<()> {
    if ranges.is_empty() {
        return Err(Error::new("is missing: a user namespace needs both"));
    }
    if ranges.len() > MOST_RANGES {
        return Err(Error::new(format!("{} ranges, at most {MOST_RANGES}", ranges.len())));
    }
    let overlap = |a: u32, b: u32, one: &Range, other: &Range| {
        a < b.saturating_add(other.size) && b < a.saturating_add(one.size)
    };
    for (at, one) in ranges.iter().enumerate() {
        for other in &ranges[..at] {
            if overlap(one.container, other.container, one, other)
                || overlap(one.host, other.host, one, other)
            {
                return Err(Error::new(format!("{other} and {one} overlap")));
            }
        }
    }
    Ok(())
}

impl Range {
    /// Whether it has this id of the container.
    #[must_use]
    pub fn contains(self, id: u32) -> bool {
        id.checked_sub(self.container).is_some_and(|offset| offset < self.size)
    }
}

impl FromStr for Range {
    type Err = Error;

    /// `CONTAINER:HOST:SIZE`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::new(format!("{text:?}: {why}"));
        let numbers: Option<Vec<u32>> = text.split(':').map(number).collect();
        let Some([container, host, size]) = numbers.as_deref() else {
            return Err(wrong("not CONTAINER:HOST:SIZE, three numbers"));
        };
        let fits = |first: &u32| first.checked_add(*size).is_some();
        match size {
            0 => Err(wrong("no id at all")),
            _ if !fits(container) || !fits(host) => Err(wrong("ends behind the last id")),
            _ => Ok(Self { container: *container, host: *host, size: *size }),
        }
    }
}

/// Digits alone: Rust's own reading would take a sign too.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.container, self.host, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Result<Range> {
        text.parse()
    }

    fn ranges(texts: &[&str]) -> Vec<Range> {
        texts.iter().map(|text| range(text).unwrap()).collect()
    }

    #[test]
    fn a_range_is_three_numbers_within_the_ids() {
        assert_eq!(range("0:1000:1").unwrap(), Range { container: 0, host: 1000, size: 1 });
        assert_eq!(range("0:0:4294967295").unwrap().size, u32::MAX);
        for text in ["", "0", "0:1", "0:1:2:3", "0:+1:2", "-1:0:1", "0:0:0", "0: 1:1", "::"] {
            assert!(range(text).is_err(), "{text:?}");
        }
        for text in ["1:0:4294967295", "0:1:4294967295", "4294967295:0:1", "0:0:4294967296"] {
            assert!(range(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_is_moved_by_the_range_that_it_is_in() {
        let users = ranges(&["0:1000:1", "1:100000:65535"]);
        let owners = Owners::moved(users.clone(), ranges(&["0:5:2"])).unwrap();
        let uid = |uid| owners.uid(uid).ok();
        assert_eq!([uid(0), uid(1), uid(65535)], [Some(1000), Some(100_000), Some(165_534)]);
        assert_eq!(owners.uid(65536).unwrap_err().to_string(), "user 65536: no range maps it");
        assert_eq!(owners.gid(1).unwrap(), 6);
        assert!(owners.gid(2).is_err());
        let inside = Owners::inside(users, ranges(&["0:5:2"]));
        assert_eq!(inside.uid(7).unwrap(), 7);
        assert!(inside.uid(65536).is_err());
    }

    #[test]
    fn without_ranges_an_id_is_itself_and_minus_one_is_no_id() {
        let owners = Owners::moved(Vec::new(), Vec::new()).unwrap();
        assert_eq!(owners.uid(u32::MAX - 1).unwrap(), u32::MAX - 1);
        assert!(owners.uid(u32::MAX).is_err() && owners.gid(u32::MAX).is_err());
        assert_eq!(owners.mappings(), None);
    }

    #[test]
    fn the_own_user_owns_everything() {
        let owners = Owners::own(1000, 100);
        assert_eq!(owners.uid(0).unwrap(), 1000);
        assert_eq!(owners.gid(u32::MAX).unwrap(), 100);
        assert!(owners.is_rootless() && !Owners::default().is_rootless());
        assert_eq!(owners.mappings().unwrap().0, ranges(&["0:1000:1"]));
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused() {
        let map = |uids: &[&str]| Owners::moved(ranges(uids), ranges(&["0:0:1"]));
        assert!(map(&["0:0:10", "10:10:1"]).is_ok());
        for uids in [&["0:0:10", "9:20:1"][..], &["0:0:10", "10:9:1"], &[]] {
            assert!(map(uids).is_err(), "{uids:?}");
        }
        let many: Vec<String> = (0..341).map(|id| format!("{id}:{id}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(map(&many[..340]).is_ok());
        assert!(map(&many).is_err());
    }
}
