//! The program: config.md, "Process"; config-linux.md, "Personality", "Memory policy".

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use super::affinity::{self, Affinity};
use super::credentials::{self, Credentials};
use super::seccomp::Filter;
use super::{Problems, list};
use crate::host::Host;
use crate::spec::config;
use crate::sys::limits::SchedulerAttr;

/// Of a terminal, in character cells (ioctl_tty(2), "TIOCSWINSZ").
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its height.
    pub rows: u16,
    /// Its width.
    pub columns: u16,
}

/// The program and all that is set for it.
#[derive(Debug)]
pub struct Process {
    /// The program, by path or by name, and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: String,
    /// Whether it is made if it is missing: by `create`, not by `exec`.
    pub makes_cwd: bool,
    /// The terminal: its size, if one is given.
    pub terminal: Option<Option<Size>>,
    /// Who it is.
    pub credentials: Credentials,
    /// The kernel's number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// Whether programs that it executes cannot gain privileges.
    pub no_new_privileges: bool,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The processor scheduling.
    pub scheduler: Option<SchedulerAttr>,
    /// Class and level.
    pub io_priority: Option<(u32, u32)>,
    /// What to write, and to which file below /proc/self/attr.
    pub exec_label: Option<(&'static str, String)>,
    /// Whether the runtime sets limits and priorities: from a user namespace of its own the process
    /// may not raise them.
    pub limits_by_runtime: bool,
    /// Where it runs, if `exec` makes it.
    pub affinity: Affinity,
    /// The filter of its system calls.
    pub filter: Option<Filter>,
}

/// For set_mempolicy(2).
#[derive(Debug, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// MPOL_* with MPOL_F_*.
    pub mode: u32,
    /// One bit for each node.
    pub nodes: Vec<u64>,
}

/// Plans the program. `has_user`: whether in a user namespace that is not the runtime's.
pub fn plan(
    process: config::Process,
    host: &Host,
    has_user: bool,
    problems: &mut Problems,
) -> Process {
    if process.args.is_empty() {
        problems.add("/process/args", "must have at least one entry");
    }
    for (index, arg) in process.args.iter().enumerate() {
        problems.check_text(format_args!("/process/args/{index}"), arg);
    }
    if process.args.first().is_some_and(String::is_empty) {
        problems.add("/process/args/0", "is empty");
    }
    problems.check_text("/process/cwd", &process.cwd);
    if !process.cwd.starts_with('/') {
        problems.add("/process/cwd", format_args!("{:?} must be absolute", process.cwd));
    }
    if process.oom_score_adj.is_some_and(|adj| !(-1000..=1000).contains(&adj)) {
        problems.add("/process/oomScoreAdj", "must be from -1000 to 1000");
    }
    let capabilities = process.capabilities.as_ref();
    // Its root has all of them there.
    let permitted = if has_user { u64::MAX } else { host.permitted };
    Process {
        env: plan_env(process.env, problems),
        cwd: process.cwd,
        makes_cwd: true,
        // config.md: the size is ignored without a terminal.
        terminal: process.terminal.then(|| plan_size(process.console_size, problems)),
        rlimits: credentials::plan_rlimits(&process.rlimits, problems),
        no_new_privileges: process.no_new_privileges,
        oom_score_adj: process.oom_score_adj,
        scheduler: process.scheduler.as_ref().map(|wanted| plan_scheduler(wanted, problems)),
        io_priority: process.io_priority.as_ref().map(|wanted| plan_io_priority(wanted, problems)),
        affinity: affinity::plan(process.exec_cpu_affinity.as_ref(), problems),
        // From another part of the config.
        filter: None,
        exec_label: plan_label(process.apparmor_profile, process.selinux_label, host, problems),
        credentials: credentials::plan(process.user, capabilities, permitted, problems),
        args: process.args,
        limits_by_runtime: has_user,
    }
}

fn plan_size(size: Option<config::ConsoleSize>, problems: &mut Problems) -> Option<Size> {
    let mut cells = |name: &str, value: u64| {
        u16::try_from(value).unwrap_or_else(|_| {
            let pointer = format!("/process/consoleSize/{name}");
            problems.add(pointer, format_args!("at most {}", u16::MAX));
            0
        })
    };
    size.map(|size| Size {
        rows: cells("height", size.height),
        columns: cells("width", size.width),
    })
}

/// Of two entries with one name the last counts, at the place of the first.
fn plan_env(mut list: Vec<String>, problems: &mut Problems) -> Vec<String> {
    // Engines give a pod variables for each service of its namespace: thousands.
    let mut places = BTreeMap::new();
    let mut chosen = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let pointer = format!("/process/env/{index}");
        problems.check_text(&pointer, entry);
        match entry.split_once('=') {
            None | Some(("", _)) => {
                problems.add(pointer, format_args!("{entry:?} is not NAME=value"));
            }
            Some((name, _)) => match places.entry(name) {
                Entry::Occupied(place) => chosen[*place.get()] = index,
                Entry::Vacant(place) => {
                    place.insert(chosen.len());
                    chosen.push(index);
                }
            },
        }
    }
    chosen.into_iter().map(|index| std::mem::take(&mut list[index])).collect()
}

/// Sets a variable, `NAME=value`: in the place of an earlier one of that name, if there is one.
pub fn set_env(env: &mut Vec<String>, entry: String) {
    let end = entry.find('=').map_or(entry.len(), |at| at + 1);
    match env.iter_mut().find(|earlier| earlier.starts_with(&entry[..end])) {
        Some(earlier) => *earlier = entry,
        None => env.push(entry),
    }
}

/// The kernel's numbers (sched(7)).
const POLICIES: [(&str, u32); 7] = [
    ("SCHED_OTHER", 0),
    ("SCHED_FIFO", 1),
    ("SCHED_RR", 2),
    ("SCHED_BATCH", 3),
    ("SCHED_ISO", 4),
    ("SCHED_IDLE", 5),
    ("SCHED_DEADLINE", 6),
];

/// The kernel's bits (sched_setattr(2)).
const SCHEDULER_FLAGS: [(&str, u64); 7] = [
    ("SCHED_FLAG_RESET_ON_FORK", 0x1),
    ("SCHED_FLAG_RECLAIM", 0x2),
    ("SCHED_FLAG_DL_OVERRUN", 0x4),
    ("SCHED_FLAG_KEEP_POLICY", 0x8),
    ("SCHED_FLAG_KEEP_PARAMS", 0x10),
    ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
    ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
];

fn find<T: Copy>(
    table: &[(&str, T)],
    word: &str,
    pointer: impl fmt::Display,
    problems: &mut Problems,
) -> Option<T> {
    let found = table.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&str> = table.iter().map(|(known, _)| *known).collect();
        problems
            .add(pointer, format_args!("unknown word {word:?}, known are {}", known.join(", ")));
    }
    found
}

fn plan_scheduler(wanted: &config::Scheduler, problems: &mut Problems) -> SchedulerAttr {
    let at = |name: &str| format!("/process/scheduler/{name}");
    let policy = find(&POLICIES, &wanted.policy, at("policy"), problems).unwrap_or_default();
    let mut flags = 0;
    for (index, word) in wanted.flags.iter().enumerate() {
        let pointer = at(&format!("flags/{index}"));
        flags |= find(&SCHEDULER_FLAGS, word, pointer, problems).unwrap_or_default();
    }
    let nice = wanted.nice.unwrap_or_default();
    if !(-20..=19).contains(&nice) {
        problems.add(at("nice"), "must be from -20 to 19");
    }
    let priority = wanted.priority.unwrap_or_default();
    let is_real_time = ["SCHED_FIFO", "SCHED_RR"].contains(&wanted.policy.as_str());
    if priority != 0 && !is_real_time {
        problems.add(at("priority"), "only for SCHED_FIFO and SCHED_RR");
    }
    if is_real_time && !(1..=99).contains(&priority) {
        problems.add(at("priority"), "must be from 1 to 99");
    }
    let deadline = [wanted.runtime, wanted.deadline, wanted.period];
    let is_deadline = wanted.policy == "SCHED_DEADLINE";
    for (name, _) in ["runtime", "deadline", "period"]
        .iter()
        .zip(deadline)
        .filter(|(_, value)| value.unwrap_or_default() != 0 && !is_deadline)
    {
        problems.add(at(name), "only for SCHED_DEADLINE");
    }
    let [runtime, deadline, period] = deadline.map(Option::unwrap_or_default);
    let priority = u32::try_from(priority).unwrap_or_default();
    SchedulerAttr { policy, flags, nice, priority, runtime, deadline, period }
}

fn plan_io_priority(wanted: &config::IoPriority, problems: &mut Problems) -> (u32, u32) {
    let classes = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    let class = find(&classes, &wanted.class, "/process/ioPriority/class", problems);
    if !(0..=7).contains(&wanted.priority) {
        problems.add("/process/ioPriority/priority", "must be from 0 to 7");
    }
    (class.unwrap_or_default(), u32::try_from(wanted.priority).unwrap_or_default())
}

/// A label is for the security module that the host has; to ignore it would be to start without.
fn plan_label(
    profile: Option<String>,
    label: Option<String>,
    host: &Host,
    problems: &mut Problems,
) -> Option<(&'static str, String)> {
    let profile = profile.filter(|profile| !profile.is_empty()).map(|profile| {
        problems.check_text("/process/apparmorProfile", &profile);
        if !host.has_apparmor {
            problems.add("/process/apparmorProfile", "this host has no AppArmor");
        }
        // Beside other modules, AppArmor has a directory of its own (5.8).
        ("apparmor/exec", format!("exec {profile}"))
    });
    let label = label.filter(|label| !label.is_empty()).map(|label| {
        problems.check_text("/process/selinuxLabel", &label);
        if !host.has_selinux {
            problems.add("/process/selinuxLabel", "this host has no SELinux");
        }
        ("exec", label)
    });
    profile.or(label)
}

/// The execution domain, for personality(2).
pub fn personality(wanted: Option<&config::Personality>, problems: &mut Problems) -> Option<u64> {
    let wanted = wanted?;
    if !wanted.flags.is_empty() {
        problems.add("/linux/personality/flags/0", "no flag is defined");
    }
    let domains = [("LINUX", 0x0), ("LINUX32", 0x8)];
    find(&domains, &wanted.domain, "/linux/personality/domain", problems)
}

/// The kernel's numbers (set_mempolicy(2)), and whether the mode takes nodes: never, if wanted,
/// always.
pub const MODES: [(&str, (u32, [bool; 2])); 7] = [
    ("MPOL_DEFAULT", (0, [true, false])),
    ("MPOL_PREFERRED", (1, [true, true])),
    ("MPOL_BIND", (2, [false, true])),
    ("MPOL_INTERLEAVE", (3, [false, true])),
    ("MPOL_LOCAL", (4, [true, false])),
    ("MPOL_PREFERRED_MANY", (5, [false, true])),
    ("MPOL_WEIGHTED_INTERLEAVE", (6, [false, true])),
];

/// The kernel's bits (set_mempolicy(2)).
pub const MODE_FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

/// More nodes no kernel is built for (NODES_SHIFT).
const LAST_NODE: usize = 1023;

/// Plans the NUMA memory policy.
pub fn memory_policy(
    wanted: Option<&config::MemoryPolicy>,
    problems: &mut Problems,
) -> Option<MemoryPolicy> {
    let wanted = wanted?;
    let (mut mode, takes) = find(&MODES, &wanted.mode, "/linux/memoryPolicy/mode", problems)?;
    for (index, word) in wanted.flags.iter().enumerate() {
        let pointer = format!("/linux/memoryPolicy/flags/{index}");
        mode |= find(&MODE_FLAGS, word, pointer, problems).unwrap_or_default();
    }
    let text = wanted.nodes.as_deref().unwrap_or_default();
    let pointer = "/linux/memoryPolicy/nodes";
    let Some(nodes) = list::parse(text, LAST_NODE) else {
        problems.add(pointer, format_args!("{text:?} is no list such as \"0,2-3\", up to 1023"));
        return None;
    };
    if !takes[usize::from(!nodes.is_empty())] {
        let what = if nodes.is_empty() { "needs nodes" } else { "takes no nodes" };
        problems.add(pointer, format_args!("{} {what}", wanted.mode));
    }
    Some(MemoryPolicy { mode, nodes })
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credentials { uid, gid, groups, capabilities, .. } = &self.credentials;
        writeln!(f, "user {uid}:{gid} groups {groups:?} {capabilities:x?}")?;
        for (resource, soft, hard) in &self.rlimits {
            writeln!(f, "rlimit {resource} {soft} {hard}")?;
        }
        writeln!(f, "execute {:?} in {}", self.args, self.cwd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_values_the_last_counts() {
        let mut problems = Problems::default();
        let list = ["A=1", "AB=2", "A=3", "=x", "novalue"].map(str::to_owned).to_vec();
        assert_eq!(plan_env(list, &mut problems), ["A=3", "AB=2"]);
        assert_eq!(problems.wrong().len(), 2);
        assert_eq!(problems.wrong()[0], "/process/env/3: \"=x\" is not NAME=value");
    }

    #[test]
    fn a_policy_takes_the_values_that_are_its_own() {
        let wanted = |policy: &str| config::Scheduler {
            policy: policy.to_owned(),
            priority: Some(5),
            runtime: Some(1),
            ..Default::default()
        };
        let count = |policy| {
            let mut problems = Problems::default();
            plan_scheduler(&wanted(policy), &mut problems);
            problems.wrong().len()
        };
        assert_eq!(count("SCHED_OTHER"), 2);
        assert_eq!(count("SCHED_FIFO"), 1);
        assert_eq!(count("SCHED_DEADLINE"), 1);
        assert_eq!(count("SCHED_NEW"), 3);
    }
}
