//! Which namespaces are made, joined or inherited: config-linux.md, "Namespaces"; namespaces(7).

use std::collections::BTreeMap;
use std::fmt;

use super::{Problems, escape};
use crate::spec::config::{Namespace, TimeOffset};

/// CLONE_NEWNS.
pub const MOUNT: u64 = 0x2_0000;
/// CLONE_NEWCGROUP.
pub const CGROUP: u64 = 0x200_0000;
/// CLONE_NEWUTS.
pub const UTS: u64 = 0x400_0000;
/// CLONE_NEWIPC.
pub const IPC: u64 = 0x800_0000;
/// CLONE_NEWUSER.
pub const USER: u64 = 0x1000_0000;
/// CLONE_NEWPID.
pub const PID: u64 = 0x2000_0000;
/// CLONE_NEWNET.
pub const NETWORK: u64 = 0x4000_0000;
/// CLONE_NEWTIME.
pub const TIME: u64 = 0x80;

/// The specification's words, with the kernel's flags.
pub const TYPES: [(&str, u64); 8] = [
    ("cgroup", CGROUP),
    ("ipc", IPC),
    ("mount", MOUNT),
    ("network", NETWORK),
    ("pid", PID),
    ("time", TIME),
    ("user", USER),
    ("uts", UTS),
];

/// A namespace that exists already.
#[derive(Debug, PartialEq, Eq)]
pub struct Join {
    /// Its CLONE_NEW* flag.
    pub kind: u64,
    /// The namespace file, in the runtime namespace.
    pub path: String,
    /// Where the config says so.
    pub pointer: String,
    /// Who joins it.
    pub by: Joiner,
}

/// Who joins a namespace for the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joiner {
    /// Init itself.
    Init,
    /// The runtime, around the birth of init: only children are born into a pid namespace
    /// (pid_namespaces(7)), and init in a new user namespace may not join what is not of that one.
    Runtime,
    /// A helper that is init's elder sibling: who joins a user namespace cannot come back, and init is
    /// to have a pid namespace that belongs to it.
    Helper,
}

/// What of the container is its own.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The CLONE_NEW* flags of those to make.
    pub new: u64,
    /// Those to join. The mount namespace is last: after it, paths are others.
    pub joins: Vec<Join>,
    /// Lines for /proc/self/timens_offsets (time_namespaces(7)).
    pub time_offsets: Vec<String>,
}

impl Namespaces {
    /// Whether the container does not share this namespace with the runtime.
    #[must_use]
    pub fn is_own(&self, kind: u64) -> bool {
        self.new & kind != 0 || self.joins.iter().any(|join| join.kind == kind)
    }

    /// Whether mounts are made for the container alone. In a namespace that is inherited or joined they
    /// are made for everybody in it, and a new root would be theirs too.
    #[must_use]
    pub fn has_own_mounts(&self) -> bool {
        self.new & MOUNT != 0
    }

    /// Those that clone3(2) makes. The cgroup namespace is made by init, because its root is the
    /// cgroup of who asks for it (cgroup_namespaces(7)), which for clone3 is the runtime's; the
    /// time namespace too, because its offsets are written while nobody is in it.
    #[must_use]
    pub fn clone_flags(&self) -> u64 {
        self.new & !(CGROUP | TIME)
    }
}

/// Checks the list and sorts it.
pub fn plan(
    list: &[Namespace],
    time_offsets: &BTreeMap<String, TimeOffset>,
    problems: &mut Problems,
) -> Namespaces {
    let mut namespaces = Namespaces::default();
    let mut seen = 0;
    for (index, namespace) in list.iter().enumerate() {
        let pointer = format!("/linux/namespaces/{index}");
        let Some((_, kind)) = TYPES.iter().find(|(word, _)| *word == namespace.kind) else {
            let known = TYPES.map(|(word, _)| word).join(", ");
            let message = format!("unknown type {:?}, known are {known}", namespace.kind);
            problems.add(format_args!("{pointer}/type"), message);
            continue;
        };
        if seen & kind != 0 {
            let message = format!("a second {} namespace", namespace.kind);
            problems.add(&pointer, message);
        }
        seen |= kind;
        match namespace.path.as_deref() {
            None | Some("") => namespaces.new |= kind,
            Some(path) => {
                problems.check_text(format_args!("{pointer}/path"), path);
                if !path.starts_with('/') {
                    problems.add(format_args!("{pointer}/path"), "must be absolute");
                }
                let pointer = format!("{pointer}/path");
                let (path, by) = (path.to_owned(), Joiner::Init);
                namespaces.joins.push(Join { kind: *kind, path, pointer, by });
            }
        }
    }
    namespaces.joins.sort_by_key(|join| join.kind == MOUNT);
    let joins_user = namespaces.joins.iter().any(|join| join.kind == USER);
    for join in &mut namespaces.joins {
        join.by = match join.kind {
            _ if joins_user => Joiner::Helper,
            _ if namespaces.new & USER != 0 => Joiner::Runtime,
            PID => Joiner::Runtime,
            _ => Joiner::Init,
        };
    }
    namespaces.time_offsets = plan_time_offsets(time_offsets, namespaces.new & TIME != 0, problems);
    namespaces
}

fn plan_time_offsets(
    offsets: &BTreeMap<String, TimeOffset>,
    is_new: bool,
    problems: &mut Problems,
) -> Vec<String> {
    if !offsets.is_empty() && !is_new {
        let message = "needs a new time namespace in /linux/namespaces";
        problems.add("/linux/timeOffsets", message);
    }
    let line = |(clock, offset): (&String, &TimeOffset)| {
        let pointer = format!("/linux/timeOffsets/{}", escape(clock));
        if !["monotonic", "boottime"].contains(&clock.as_str()) {
            problems.add(&pointer, "unknown clock, known are monotonic, boottime");
        }
        if offset.nanosecs >= 1_000_000_000 {
            problems.add(format_args!("{pointer}/nanosecs"), "at most 999999999");
        }
        format!("{clock} {} {}", offset.secs, offset.nanosecs)
    };
    offsets.iter().map(line).collect()
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, _) in TYPES.iter().filter(|(_, kind)| self.new & kind != 0) {
            writeln!(f, "new {word} namespace")?;
        }
        for join in &self.joins {
            writeln!(f, "join namespace {}", join.path)?;
        }
        self.time_offsets.iter().try_for_each(|line| writeln!(f, "time offset {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(list: &[(&str, &str)]) -> (Namespaces, Vec<String>) {
        let namespace = |(kind, path): &(&str, &str)| Namespace {
            kind: (*kind).to_owned(),
            path: Some((*path).to_owned()),
        };
        let list: Vec<Namespace> = list.iter().map(namespace).collect();
        let mut problems = Problems::default();
        let namespaces = plan(&list, &BTreeMap::new(), &mut problems);
        (namespaces, problems.wrong().to_vec())
    }

    #[test]
    fn the_mount_namespace_is_joined_last() {
        let (namespaces, wrong) = planned(&[("mount", "/m"), ("network", "/n"), ("pid", "")]);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(namespaces.new, PID);
        let paths: Vec<&str> = namespaces.joins.iter().map(|join| join.path.as_str()).collect();
        assert_eq!(paths, ["/n", "/m"]);
        assert!(namespaces.is_own(NETWORK) && !namespaces.is_own(UTS));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let (_, wrong) = planned(&[("pid", ""), ("pid", ""), ("x", ""), ("ipc", "n")]);
        assert_eq!(wrong.len(), 3);
        assert_eq!(wrong[0], "/linux/namespaces/1: a second pid namespace");
        assert!(wrong[1].starts_with("/linux/namespaces/2/type: unknown type \"x\""));
        assert_eq!(wrong[2], "/linux/namespaces/3/path: must be absolute");
    }
}
