//! The option words of config.md, "Linux mount options", and what each of them does. A word that
//! is not in the table is for the filesystem.

use crate::sys::mount::MountAttr;
use crate::sys::mount::attribute::{
    ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME,
};

/// What a word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Sets and clears attributes of this mount.
    Attribute(u64, u64),
    /// Sets and clears attributes of this mount and of all below it (mount_setattr(2), 5.12).
    Recursive(u64, u64),
    /// MS_SHARED and its like; whether also for all below.
    Propagation(u64, bool),
    /// A bind mount; whether with all that is mounted below the source.
    Bind(bool),
    /// Changes a mount that is there.
    Remount,
    /// A flag of the filesystem that fsconfig(2) takes by this word.
    Filesystem,
    /// A new tmpfs starts with what the directory below it holds.
    CopyUp,
    /// Nothing to do: the default, or a flag without an effect on the kernels that are supported.
    Nothing,
    /// The files belong to others here than on the filesystem (mount_setattr(2), "ID-mapped mounts");
    /// whether also those of all mounts below.
    IdMap(bool),
}

use Effect::{
    Attribute, Bind, CopyUp, Filesystem, IdMap, Nothing, Propagation, Recursive, Remount,
};

const SHARED: u64 = 1 << 20;
const SLAVE: u64 = 1 << 19;
const PRIVATE: u64 = 1 << 18;
const UNBINDABLE: u64 = 1 << 17;

/// The words with their effects, sorted by word.
///
/// `iversion` is a decision of the filesystem since 5.14 and earlier (ext4, xfs and btrfs count
/// always), `mand` has no effect since 5.15, `silent` concerns the kernel's log alone: these and
/// their opposites are accepted, as config.md wants, and change nothing.
#[rustfmt::skip]
pub const WORDS: &[(&str, Effect)] = &[
    ("async",          Filesystem),
    ("atime",          Attribute(0, ATIME)),
    ("bind",           Bind(false)),
    ("defaults",       Nothing),
    ("dev",            Attribute(0, NODEV)),
    ("diratime",       Attribute(0, NODIRATIME)),
    ("dirsync",        Filesystem),
    ("exec",           Attribute(0, NOEXEC)),
    ("idmap",          IdMap(false)),
    ("iversion",       Nothing),
    ("lazytime",       Filesystem),
    ("loud",           Nothing),
    ("mand",           Nothing),
    ("noatime",        Attribute(NOATIME, ATIME)),
    ("nodev",          Attribute(NODEV, 0)),
    ("nodiratime",     Attribute(NODIRATIME, 0)),
    ("noexec",         Attribute(NOEXEC, 0)),
    ("noiversion",     Nothing),
    ("nolazytime",     Filesystem),
    ("nomand",         Nothing),
    ("norelatime",     Nothing),
    ("nostrictatime",  Attribute(0, ATIME)),
    ("nosuid",         Attribute(NOSUID, 0)),
    ("nosymfollow",    Attribute(NOSYMFOLLOW, 0)),
    ("private",        Propagation(PRIVATE, false)),
    ("ratime",         Recursive(0, ATIME)),
    ("rbind",          Bind(true)),
    ("rdev",           Recursive(0, NODEV)),
    ("rdiratime",      Recursive(0, NODIRATIME)),
    ("relatime",       Attribute(0, ATIME)),
    ("remount",        Remount),
    ("rexec",          Recursive(0, NOEXEC)),
    ("ridmap",         IdMap(true)),
    ("rnoatime",       Recursive(NOATIME, ATIME)),
    ("rnodev",         Recursive(NODEV, 0)),
    ("rnodiratime",    Recursive(NODIRATIME, 0)),
    ("rnoexec",        Recursive(NOEXEC, 0)),
    ("rnorelatime",    Nothing),
    ("rnostrictatime", Recursive(0, ATIME)),
    ("rnosuid",        Recursive(NOSUID, 0)),
    ("rnosymfollow",   Recursive(NOSYMFOLLOW, 0)),
    ("ro",             Attribute(RDONLY, 0)),
    ("rprivate",       Propagation(PRIVATE, true)),
    ("rrelatime",      Recursive(0, ATIME)),
    ("rro",            Recursive(RDONLY, 0)),
    ("rrw",            Recursive(0, RDONLY)),
    ("rshared",        Propagation(SHARED, true)),
    ("rslave",         Propagation(SLAVE, true)),
    ("rstrictatime",   Recursive(STRICTATIME, ATIME)),
    ("rsuid",          Recursive(0, NOSUID)),
    ("rsymfollow",     Recursive(0, NOSYMFOLLOW)),
    ("runbindable",    Propagation(UNBINDABLE, true)),
    ("rw",             Attribute(0, RDONLY)),
    ("shared",         Propagation(SHARED, false)),
    ("silent",         Nothing),
    ("slave",          Propagation(SLAVE, false)),
    ("strictatime",    Attribute(STRICTATIME, ATIME)),
    ("suid",           Attribute(0, NOSUID)),
    ("symfollow",      Attribute(0, NOSYMFOLLOW)),
    ("sync",           Filesystem),
    ("tmpcopyup",      CopyUp),
    ("unbindable",     Propagation(UNBINDABLE, false)),
];

/// Looks a word up; `None` if it is for the filesystem.
#[must_use]
pub fn effect(word: &str) -> Option<Effect> {
    let index = WORDS.binary_search_by_key(&word, |(word, _)| word).ok()?;
    Some(WORDS[index].1)
}

/// MS_SHARED and its like, and whether for all below, of a word such as `rslave`.
#[must_use]
pub fn propagation(word: &str) -> Option<(u64, bool)> {
    match effect(word) {
        Some(Propagation(kind, recursive)) => Some((kind, recursive)),
        _ => None,
    }
}

/// Adds to what was said before: the last word counts.
pub fn apply(attr: &mut MountAttr, set: u64, clear: u64) {
    attr.set = attr.set & !clear | set;
    attr.clear |= clear;
    // The bits of the access time are one value: to set it, all of them are cleared first.
    if set & ATIME == 0 {
        attr.clear &= !set;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_no_word_twice() {
        assert!(WORDS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_last_word_counts() {
        let cases: &[(&[&str], u64, u64)] = &[
            (&["ro"], RDONLY, 0),
            (&["ro", "rw"], 0, RDONLY),
            (&["rw", "ro"], RDONLY, 0),
            (&["nosuid", "nodev", "dev"], NOSUID, NODEV),
            (&["noatime"], NOATIME, ATIME),
            (&["noatime", "strictatime"], STRICTATIME, ATIME),
            (&["strictatime", "relatime"], 0, ATIME),
        ];
        for (words, set, clear) in cases {
            let mut attr = MountAttr::default();
            for word in *words {
                let Some(Attribute(set, clear)) = effect(word) else { panic!("{word}") };
                apply(&mut attr, set, clear);
            }
            assert_eq!(attr, MountAttr::new(*set, *clear), "{words:?}");
        }
    }

    #[test]
    fn a_word_of_a_filesystem_is_none_of_ours() {
        assert_eq!(effect("mode=755"), None);
        assert_eq!(propagation("rslave"), Some((SLAVE, true)));
        assert_eq!(propagation("ro"), None);
    }
}
