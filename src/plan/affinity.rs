//! On which processors a process of `exec` runs: config.md, "execCPUAffinity"; sched_setaffinity(2).

use super::{Problems, list};
use crate::spec::config::ExecCpuAffinity;

/// More processors no kernel is built for (NR_CPUS).
const LAST_PROCESSOR: usize = 8191;

/// One bit for each processor.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Until the process is in the container's cgroup.
    pub initial: Option<Vec<u64>>,
    /// From then on.
    pub last: Option<Vec<u64>>,
}

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
    // config.md: without it those of the container's cgroup, to which the kernel reduces all.
    let all = initial.is_some().then(|| vec![u64::MAX; (LAST_PROCESSOR + 1) / 64]);
    Affinity { last: mask("final", wanted.last.as_ref()).or(all), initial }
}
