//! On which processors a process of a container runs: on those of its cgroup, whatever the runtime was
//! called with, and of `exec` on those of config.md, "execCPUAffinity"; sched_setaffinity(2).
//!
//! A process in a new cgroup had all processors of the cgroup, until 6.2 made the kernel remember what
//! its parent had asked for, as systemd does for a service with CPUAffinity= and an engine in it.

use super::Problems;
use super::list::{self, LAST_PROCESSOR};
use crate::spec::config::ExecCpuAffinity;

/// One bit for each processor.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Until the process is in the container's cgroup.
    pub initial: Option<Vec<u64>>,
    /// From then on; `None`: those of its cgroup.
    pub last: Option<Vec<u64>>,
}

/// All that there may be: the kernel reduces it to those of the cgroup.
pub const ALL: [u64; (LAST_PROCESSOR + 1) / 64] = [u64::MAX; (LAST_PROCESSOR + 1) / 64];

/// Plans it.
pub fn plan(wanted: Option<&ExecCpuAffinity>, problems: &mut Problems) -> Affinity {
    let mut mask = |name: &str, text: Option<&String>| {
        let text = text.filter(|text| !text.is_empty())?;
        let mask = list::parse(text, LAST_PROCESSOR);
        if mask.is_none() {
            let pointer = format!("/process/execCPUAffinity/{name}");
            let message = format!("{text:?} is no list such as \"0,2-3\", up to {LAST_PROCESSOR}");
            problems.add(pointer, message);
        }
        mask
    };
    let Some(wanted) = wanted else { return Affinity::default() };
    let initial = mask("initial", wanted.initial.as_ref());
    Affinity { last: mask("final", wanted.last.as_ref()), initial }
}
