//! Who the process is: config.md, "User", "capabilities", "rlimits".

use std::str::FromStr;

use caps::Capability;

use super::Problems;
use crate::spec::config::{self, Capabilities, Rlimit};
use crate::sys::ids::CapabilitySets;

/// Who the process is.
#[derive(Debug)]
pub struct Credentials {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// The file mode creation mask; `None`: the caller's.
    pub umask: Option<u32>,
    /// What it may do.
    pub capabilities: CapabilitySets,
}

/// The names of getrlimit(2) with the kernel's numbers, which are these on every architecture
/// that is supported (asm-generic/resource.h).
const RLIMITS: [(&str, u32); 16] = [
    ("RLIMIT_AS", 9),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_CPU", 0),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_STACK", 3),
];

/// Plans user, groups and capabilities. `permitted` is what the runtime itself may give away.
pub fn plan(
    user: config::User,
    capabilities: Option<&Capabilities>,
    permitted: u64,
    problems: &mut Problems,
) -> Credentials {
    if user.umask.is_some_and(|umask| umask > 0o777) {
        problems.add("/process/user/umask", "at most 511 (octal 777)");
    }
    for (pointer, id) in [("/process/user/uid", user.uid), ("/process/user/gid", user.gid)] {
        // (uid_t) -1 means "no change" to setresuid(2): the process would stay root.
        if id == u32::MAX {
            problems.add(pointer, "4294967295 is no id");
        }
    }
    if let Some(index) = user.additional_gids.iter().position(|gid| *gid == u32::MAX) {
        problems.add(format_args!("/process/user/additionalGids/{index}"), "4294967295 is no id");
    }
    Credentials {
        uid: user.uid,
        gid: user.gid,
        groups: user.additional_gids,
        umask: user.umask,
        capabilities: capabilities
            .map(|sets| plan_capabilities(sets, user.uid, permitted, problems))
            .unwrap_or_default(),
    }
}

/// What cannot be granted is a warning (config.md, "capabilities"), and is left out here, so that
/// no call is made that the kernel must refuse.
fn plan_capabilities(
    sets: &Capabilities,
    uid: u32,
    permitted_to_runtime: u64,
    problems: &mut Problems,
) -> CapabilitySets {
    let mut mask = |set: &str, names: &[String], possible: u64, why: &str| {
        let mut mask = 0;
        for (index, name) in names.iter().enumerate() {
            let pointer = format!("/process/capabilities/{set}/{index}");
            match Capability::from_str(name) {
                Err(_) => problems.warn(pointer, format_args!("unknown capability {name:?}")),
                Ok(known) if possible & known.bitmask() == 0 => {
                    problems.warn(pointer, format_args!("{name} cannot be granted: {why}"));
                }
                Ok(known) => mask |= known.bitmask(),
            }
        }
        mask
    };
    let runtime = "the runtime does not have it";
    let bounding = mask("bounding", &sets.bounding, permitted_to_runtime, runtime);
    let permitted = mask("permitted", &sets.permitted, permitted_to_runtime, runtime);
    let effective = mask("effective", &sets.effective, permitted, "it is not permitted");
    let inheritable = mask(
        "inheritable",
        &sets.inheritable,
        permitted_to_runtime & bounding,
        "it is not in the bounding set",
    );
    // User 0 keeps over execve what is permitted and in the bounding set, ambient or not, and loses
    // its ambient set when it becomes another (capabilities(7)): nothing to warn of. The engines ask
    // for it in every config, and buildah shows each warning to who builds.
    let raisable = permitted & inheritable;
    let without_ambient = if uid == 0 { permitted & bounding } else { 0 };
    let ambient = raisable
        & mask(
            "ambient",
            &sets.ambient,
            raisable | without_ambient,
            "it is not both permitted and inheritable",
        );
    CapabilitySets { bounding, effective, inheritable, permitted, ambient }
}

/// Plans the resource limits: the kernel's number, soft, hard.
pub fn plan_rlimits(list: &[Rlimit], problems: &mut Problems) -> Vec<(u32, u64, u64)> {
    let mut limits: Vec<(u32, u64, u64)> = Vec::new();
    for (index, limit) in list.iter().enumerate() {
        let pointer = format!("/process/rlimits/{index}");
        let found = RLIMITS.binary_search_by_key(&limit.kind.as_str(), |(name, _)| name);
        let Ok(place) = found else {
            let message = format!("unknown type {:?}", limit.kind);
            problems.add(format_args!("{pointer}/type"), message);
            continue;
        };
        let number = RLIMITS[place].1;
        if limits.iter().any(|(other, ..)| *other == number) {
            problems.add(format_args!("{pointer}/type"), format_args!("a second {}", limit.kind));
        }
        if limit.soft > limit.hard {
            let message = format!("{} is above the hard limit, {}", limit.soft, limit.hard);
            problems.add(format_args!("{pointer}/soft"), message);
        }
        limits.push((number, limit.soft, limit.hard));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = (1 << 41) - 1;
    const KILL: u64 = 1 << 5;

    fn sets(bounding: &[&str], permitted: &[&str], rest: &[&str]) -> Capabilities {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Capabilities {
            bounding: list(bounding),
            permitted: list(permitted),
            effective: list(rest),
            inheritable: list(rest),
            ambient: list(rest),
        }
    }

    #[test]
    fn an_unknown_capability_is_a_warning_and_left_out() {
        let mut problems = Problems::default();
        let names = ["CAP_KILL", "CAP_FUTURE"];
        let planned = plan_capabilities(&sets(&names, &names, &names), 0, ALL, &mut problems);
        let all = [planned.bounding, planned.effective, planned.permitted, planned.ambient];
        assert_eq!(all, [KILL; 4]);
        assert!(problems.wrong().is_empty());
        assert_eq!(problems.warnings.len(), 5);
    }

    #[test]
    fn no_set_is_larger_than_the_kernel_would_grant() {
        let mut problems = Problems::default();
        let kill = ["CAP_KILL"];
        let planned = plan_capabilities(&sets(&[], &kill, &kill), 0, ALL, &mut problems);
        let CapabilitySets { bounding, effective, inheritable, ambient, .. } = planned;
        assert_eq!((bounding, effective, inheritable, ambient), (0, KILL, 0, 0));
        let planned = plan_capabilities(&sets(&kill, &kill, &kill), 0, 0, &mut problems);
        assert_eq!(planned, CapabilitySets::default());
    }

    #[test]
    fn what_root_gets_by_execve_is_no_warning_as_ambient() {
        let kill = ["CAP_KILL"];
        let asked = Capabilities { inheritable: Vec::new(), ..sets(&kill, &kill, &kill) };
        for (uid, warnings) in [(0, 0), (1000, 1)] {
            let mut problems = Problems::default();
            let planned = plan_capabilities(&asked, uid, ALL, &mut problems);
            assert_eq!((planned.permitted, planned.ambient), (KILL, 0));
            assert_eq!(problems.warnings.len(), warnings, "user {uid}");
        }
    }

    #[test]
    fn the_limits_are_sorted_for_the_search() {
        assert!(RLIMITS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn a_second_limit_of_a_type_is_wrong() {
        let limit = |kind: &str, soft| Rlimit { kind: kind.to_owned(), soft, hard: 2 };
        let mut problems = Problems::default();
        let list = [limit("RLIMIT_CORE", 1), limit("RLIMIT_CORE", 3), limit("RLIMIT_X", 0)];
        assert_eq!(plan_rlimits(&list, &mut problems)[0], (4, 1, 2));
        let wrong = problems.wrong();
        assert_eq!(wrong[0], "/process/rlimits/1/type: a second RLIMIT_CORE");
        assert_eq!(wrong[1], "/process/rlimits/1/soft: 3 is above the hard limit, 2");
        assert_eq!(wrong[2], "/process/rlimits/2/type: unknown type \"RLIMIT_X\"");
    }
}
