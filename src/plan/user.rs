//! The user namespace and whose ids are whose: config-linux.md, "User namespace mappings";
//! user_namespaces(7).

use std::fmt;

use super::Problems;
use super::namespaces::{MOUNT, Namespaces, USER};
use crate::host::Host;
use crate::spec::config::{IdMapping, Linux};

/// The kernel takes no more lines (user_namespaces(7)).
const MAX_LINES: usize = 340;

/// The ids of a new user namespace.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// User ids.
    pub uids: Map,
    /// Group ids.
    pub gids: Map,
}

/// What is written to uid_map or gid_map, and by whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Map {
    /// The lines.
    pub lines: Vec<IdMapping>,
    /// Who may write them.
    pub writer: Writer,
}

/// Who may write a map (user_namespaces(7), "Defining user and group ID mappings").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// The runtime, which has CAP_SETUID and CAP_SETGID.
    Privileged,
    /// The runtime: its own id and no other. setgroups(2) has to be denied first.
    Own,
    /// newuidmap(1) or newgidmap(1), which give what /etc/subuid and /etc/subgid grant.
    Program,
}

impl User {
    /// Maps that only a privileged runtime can write.
    #[must_use]
    pub fn privileged(uids: &[IdMapping], gids: &[IdMapping]) -> Self {
        let map = |list: &[IdMapping]| Map { lines: list.to_vec(), writer: Writer::Privileged };
        Self { uids: map(uids), gids: map(gids) }
    }
}

/// Plans the maps. `None`: there is no new user namespace.
pub fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    host: &Host,
    problems: &mut Problems,
) -> Option<User> {
    let lists = [("uid", &linux.uid_mappings), ("gid", &linux.gid_mappings)];
    for (name, list) in lists {
        check(&format!("/linux/{name}Mappings"), list, problems);
    }
    if !namespaces.is_own(USER) {
        for (name, _) in lists.iter().filter(|(_, list)| !list.is_empty()) {
            let message = "needs a user namespace in /linux/namespaces";
            problems.add(format_args!("/linux/{name}Mappings"), message);
        }
        return None;
    }
    if namespaces.new & USER == 0 {
        // One that is joined has its maps; engines give them here too (containerd, CRI-O).
        return None;
    }
    if let Some(join) = namespaces.joins.iter().find(|join| join.kind == MOUNT) {
        // Its mounts belong to another user namespace: in a new one nothing could be done there.
        problems.add(&join.pointer, "a mount namespace cannot be joined in a new user namespace");
    }
    for (name, _) in lists.iter().filter(|(_, list)| list.is_empty()) {
        problems
            .add(format_args!("/linux/{name}Mappings"), "missing, a new user namespace needs it");
    }
    let map = |list: &[IdMapping], own: u32| Map {
        lines: list.to_vec(),
        writer: match list {
            _ if host.may_set_ids => Writer::Privileged,
            [one] if one.size == 1 && one.host == own => Writer::Own,
            _ => Writer::Program,
        },
    };
    Some(User {
        uids: map(&linux.uid_mappings, host.own_ids.0),
        gids: map(&linux.gid_mappings, host.own_ids.1),
    })
}

/// What the kernel would answer with EINVAL, whichever line it is.
pub fn check(pointer: &str, list: &[IdMapping], problems: &mut Problems) {
    if list.len() > MAX_LINES {
        problems.add(pointer, format_args!("{} lines, at most {MAX_LINES}", list.len()));
    }
    let overlap = |first: u32, one: &IdMapping, second: u32, other: &IdMapping| {
        u64::from(first) < u64::from(second) + u64::from(other.size)
            && u64::from(second) < u64::from(first) + u64::from(one.size)
    };
    for (index, one) in list.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        if one.size == 0 {
            problems.add(format_args!("{pointer}/size"), "must be at least 1");
        }
        // 4294967295 is no id.
        for (name, first) in [("containerID", one.container), ("hostID", one.host)] {
            if u64::from(first) + u64::from(one.size) > u64::from(u32::MAX) {
                problems.add(format_args!("{pointer}/{name}"), "the last id is beyond 4294967294");
            }
        }
        let earlier = &list[..index];
        if earlier.iter().any(|other| {
            overlap(one.container, one, other.container, other)
                || overlap(one.host, one, other.host, other)
        }) {
            problems.add(&pointer, "has ids of an earlier line");
        }
    }
}

/// The id on the host of one in the container, if it has one. Without a map they are the same.
#[must_use]
pub fn on_host(id: u32, list: &[IdMapping]) -> Option<u32> {
    if list.is_empty() {
        return Some(id);
    }
    let found = list.iter().find(|map| id.checked_sub(map.container).is_some_and(|n| n < map.size));
    // A sum that is too large is refused by [`check`].
    found.map(|map| map.host.saturating_add(id - map.container))
}

impl Map {
    /// As the kernel takes it: one line for each range.
    #[must_use]
    pub fn text(&self) -> String {
        let line = |map: &IdMapping| format!("{} {} {}\n", map.container, map.host, map.size);
        self.lines.iter().map(line).collect()
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, map) in [("user", &self.uids), ("group", &self.gids)] {
            for IdMapping { container, host, size } in &map.lines {
                writeln!(f, "{name} ids {container}+{size} are {host}+{size} ({:?})", map.writer)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::config::Namespace;

    fn mapping((container, host, size): (u32, u32, u32)) -> IdMapping {
        IdMapping { container, host, size }
    }

    fn planned(
        uids: &[(u32, u32, u32)],
        path: Option<&str>,
        host: &Host,
    ) -> (Option<User>, Vec<String>) {
        let list = |list: &[(u32, u32, u32)]| list.iter().copied().map(mapping).collect();
        let linux = Linux {
            uid_mappings: list(uids),
            gid_mappings: list(&[(0, 1000, 1)]),
            ..Linux::default()
        };
        let user = |path: &str| Namespace { kind: "user".to_owned(), path: Some(path.to_owned()) };
        let mut problems = Problems::default();
        let list: Vec<Namespace> = path.map(user).into_iter().collect();
        let namespaces = super::super::namespaces::plan(&list, &linux.time_offsets, &mut problems);
        let user = plan(&linux, &namespaces, host, &mut problems);
        (user, problems.wrong().to_vec())
    }

    #[test]
    fn who_writes_a_map_depends_on_whose_ids_it_has() {
        let ordinary = Host { may_set_ids: false, own_ids: (1000, 1000), ..Host::default() };
        for (host, uids, expected) in [
            (&Host::default(), &[(0, 7, 9)][..], Writer::Privileged),
            (&ordinary, &[(0, 1000, 1)], Writer::Own),
            (&ordinary, &[(0, 1000, 2)], Writer::Program),
            (&ordinary, &[(0, 1000, 1), (1, 5000, 1)], Writer::Program),
        ] {
            let (user, wrong) = planned(uids, Some(""), host);
            assert_eq!(wrong, [""; 0]);
            assert_eq!(user.unwrap().uids.writer, expected);
        }
    }

    #[test]
    fn maps_without_a_namespace_and_a_namespace_without_maps_are_wrong() {
        let host = Host::default();
        let (_, wrong) = planned(&[(0, 7, 9)], None, &host);
        assert_eq!(wrong[0], "/linux/uidMappings: needs a user namespace in /linux/namespaces");
        let (_, wrong) = planned(&[], Some(""), &host);
        assert_eq!(wrong, ["/linux/uidMappings: missing, a new user namespace needs it"]);
        let (user, wrong) = planned(&[(0, 7, 9)], Some("/ns"), &host);
        assert_eq!((user, wrong), (None, vec![]));
    }

    #[test]
    fn an_id_on_the_host_is_as_far_from_the_first_of_its_line() {
        let list = [mapping((0, 1000, 1)), mapping((1, 100_000, 10))];
        assert_eq!(
            [0, 1, 10, 11].map(|id| on_host(id, &list)),
            [Some(1000), Some(100_000), Some(100_009), None]
        );
        assert_eq!(on_host(5, &[]), Some(5));
    }

    #[test]
    fn a_line_that_the_kernel_would_refuse_is_named() {
        let wrong = |uids: &[(u32, u32, u32)]| planned(uids, Some(""), &Host::default()).1;
        assert_eq!(wrong(&[(0, 1, 0)]), ["/linux/uidMappings/0/size: must be at least 1"]);
        assert_eq!(
            wrong(&[(0, u32::MAX, 1)]),
            ["/linux/uidMappings/0/hostID: the last id is beyond 4294967294"]
        );
        assert_eq!(wrong(&[(0, u32::MAX - 1, 1)]), [""; 0]);
        assert_eq!(
            wrong(&[(0, 10, 5), (4, 20, 1)]),
            ["/linux/uidMappings/1: has ids of an earlier line"]
        );
        assert_eq!(wrong(&[(0, 10, 5), (5, 14, 1)]).len(), 1);
        assert_eq!(wrong(&[(0, 10, 5), (5, 15, 1)]), [""; 0]);
    }
}
