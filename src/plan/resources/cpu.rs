//! linux.resources.cpu: config-linux.md, "CPU"; cgroup-v2.rst, "CPU", "Cpuset".

use super::{Draft, Missing};
use crate::plan::list::{self, LAST_PROCESSOR};
use crate::spec::resources::Cpu;

/// What every cgroup has.
const DEFAULT_WEIGHT: u64 = 100;

/// Plans cpu.idle, cpu.weight, cpu.max.burst, cpu.max, cpuset.cpus and cpuset.mems.
pub fn plan(cpu: &Cpu, draft: &mut Draft<'_>) {
    // Before the weight: an idle cgroup has none that could be written.
    if let Some(idle) = cpu.idle {
        match idle {
            // What it is without one, and the file is there since 5.15 alone.
            0 => draft.set_if_there("/cpu/idle", "cpu.idle", idle, Missing::Skip),
            1 => draft.set("/cpu/idle", "cpu.idle", idle),
            _ => draft.wrong("/cpu/idle", "must be 0 or 1"),
        }
    }
    // 0 is what engines write for what nobody set.
    match cpu.shares.filter(|shares| *shares != 0) {
        Some(_) if cpu.idle == Some(1) => {
            let place = format!("{}/cpu/shares", draft.base);
            draft.problems.warn(place, "not used: with idle 1 the weight is the lowest");
        }
        Some(shares) => {
            let weight = weight(shares);
            // containerd writes the default into every config: it needs no file.
            let missing = if weight == DEFAULT_WEIGHT { Missing::Skip } else { Missing::Refuse };
            draft.set_if_there("/cpu/shares", "cpu.weight", weight, missing);
        }
        None => {}
    }
    plan_bandwidth(cpu, draft);
    for (place, file, list) in
        [("/cpu/cpus", "cpuset.cpus", &cpu.cpus), ("/cpu/mems", "cpuset.mems", &cpu.mems)]
    {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else { continue };
        if list::parse(list, LAST_PROCESSOR).is_some() {
            draft.set(place, file, list);
        } else {
            let message = format!("{list:?} is no list such as \"0-2,4\", up to {LAST_PROCESSOR}");
            draft.wrong(place, message);
        }
    }
    let realtime = "realtime processes are limited by RLIMIT_RTTIME alone";
    draft.version_1("/cpu/realtimeRuntime", cpu.realtime_runtime.unwrap_or(0) != 0, realtime);
    draft.version_1("/cpu/realtimePeriod", cpu.realtime_period.unwrap_or(0) != 0, realtime);
}

/// The burst comes first: a new cgroup has no quota that it could exceed.
fn plan_bandwidth(cpu: &Cpu, draft: &mut Draft<'_>) {
    let quota = cpu.quota.filter(|quota| *quota != 0);
    let period = cpu.period.filter(|period| *period != 0);
    if let (Some(quota @ 1..), Some(burst)) = (quota, cpu.burst)
        && burst > quota.unsigned_abs()
    {
        draft.wrong("/cpu/burst", format_args!("must not be more than the quota, {quota}"));
    }
    if let Some(burst) = cpu.burst {
        // Since 5.14 (cpu.max.burst), 5.13 and before have none.
        let missing = if burst == 0 { Missing::Skip } else { Missing::Refuse };
        draft.set_if_there("/cpu/burst", "cpu.max.burst", burst, missing);
    }
    match (quota, period) {
        (None, None) => {}
        (Some(..0), None) => {
            draft.set_if_there("/cpu/quota", "cpu.max", "max", Missing::Skip);
        }
        // The period alone limits nothing.
        (None, Some(period)) => draft.set("/cpu/period", "cpu.max", format!("max {period}")),
        (Some(..0), Some(period)) => draft.set("/cpu/quota", "cpu.max", format!("max {period}")),
        // The kernel keeps the period, at first 100000.
        (Some(quota), None) => draft.set("/cpu/quota", "cpu.max", quota),
        (Some(quota), Some(period)) => {
            draft.set("/cpu/quota", "cpu.max", format!("{quota} {period}"));
        }
    }
}

/// Shares of 2 to 262144, 1024 by default, as a weight of 1 to 10000, 100 by default: a parabola on
/// logarithmic scales through these three points, on which Kubernetes, runc and systemd's users have
/// agreed (KEP-2254; the straight line before it gave 1024 shares a weight of 39).
fn weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_the_weight_that_others_compute() {
        for (shares, expected) in [
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (100, 17),
            (256, 35),
            (512, 59),
            (1000, 99),
            (1024, 100),
            (1025, 101),
            (2048, 174),
            (4096, 303),
            (10_000, 627),
            (100_000, 4_340),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert!((3..262_144).is_sorted_by_key(weight));
    }
}
