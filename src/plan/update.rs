//! What `update` writes: the conversions of `create` ([`super::resources`]), for a cgroup that has
//! values already. What is not given stays as it is; where two values are one in cgroup v2, the one
//! that is not given is taken from the cgroup.

use super::Problems;
use super::resources::{Resources, Setting, plan as plan_resources};
use crate::error::Result;
use crate::host::Controllers;
use crate::spec::resources as spec;

/// What the cgroup has now; `None` without the file, -1 without a limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// cpu.max, in microseconds.
    pub quota: Option<i64>,
    /// memory.max, in bytes.
    pub memory: Option<i64>,
    /// memory.swap.max, in bytes.
    pub swap: Option<i64>,
    /// memory.current, in bytes.
    pub memory_in_use: Option<u64>,
}

/// Plans an update: what to write, in this order, and what should be said of it. `document`: what
/// it was asked in.
///
/// # Errors
/// Everything that is wrong, in one error.
pub fn plan(
    mut from: spec::Resources,
    now: &Now,
    controllers: &Controllers,
    document: &str,
) -> Result<(Resources, Vec<String>)> {
    let mut problems = Problems::default();
    if let Some(cpu) = &mut from.cpu {
        complete_cpu(cpu, now);
    }
    if let Some(memory) = &mut from.memory {
        complete_memory(memory, now, &mut problems);
    }
    let mut plan = plan_resources("", &from, &mut problems);
    // Init is in it already.
    plan.settings.append(&mut plan.late);
    order_memory(&mut plan.settings, now);
    plan.check(controllers, &mut problems);
    let warnings = problems.into_result(document)?;
    Ok((plan, warnings))
}

/// 0 is what engines write for what nobody set.
fn given(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value != 0)
}

/// The kernel keeps the period when the quota alone is written, but not the other way round.
fn complete_cpu(cpu: &mut spec::Cpu, now: &Now) {
    if cpu.period.is_some_and(|period| period != 0) && given(cpu.quota).is_none() {
        cpu.quota = now.quota;
    }
}

/// The config limits memory and swap together, the kernel swap alone. So the limit of both together
/// is what stays when memory alone is given: docker counts on that. No swap stays no swap, though.
fn complete_memory(memory: &mut spec::Memory, now: &Now, problems: &mut Problems) {
    match (given(memory.limit), given(memory.swap), now.memory, now.swap) {
        (Some(limit @ 1..), None, Some(old @ 1..), Some(swap @ 1..)) => {
            let both = old.saturating_add(swap);
            if limit > both {
                let message = format!(
                    "is more than memory and swap together may be now, {both}: \
                     memory+swap limit should be >= memory limit"
                );
                problems.add("/memory/limit", message);
            } else {
                memory.swap = Some(both);
            }
        }
        (None, Some(1..), Some(old @ 1..), _) => memory.limit = Some(old),
        _ => {}
    }
    let Some(in_use) = now.memory_in_use.filter(|_| memory.check_before_update == Some(true))
    else {
        return;
    };
    for (place, what, value) in [
        ("/memory/swap", "memory+swap", given(memory.swap)),
        ("/memory/limit", "memory", given(memory.limit)),
    ] {
        if let Some(limit @ 1..) = value
            && limit.unsigned_abs() <= in_use
        {
            problems.add(place, format!("rejecting {what} limit {limit} <= usage {in_use}"));
        }
    }
}

/// What grows comes first: memory that shrinks beside swap that has not grown yet could only be won
/// by killing.
fn order_memory(settings: &mut [Setting], now: &Now) {
    let at = |file: &str| settings.iter().position(|setting| setting.file == file);
    let (Some(memory), Some(swap)) = (at("memory.max"), at("memory.swap.max")) else { return };
    let grows = match (settings[swap].value.parse::<i64>(), now.swap) {
        (_, Some(-1)) => false,
        (Ok(new), Some(old)) => new > old,
        // "max".
        (Err(_), _) | (_, None) => true,
    };
    if grows == (memory < swap) {
        settings.swap(memory, swap);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::host::Where;

    const MIB: i64 = 1 << 20;

    fn planned(from: Value, now: &Now) -> std::result::Result<Vec<String>, String> {
        let names = ["memory", "cpu", "pids", "io", "cpuset"];
        let here = names.map(|name| (name.to_owned(), Where::Here));
        let from = serde_json::from_value(from).unwrap();
        let planned = plan(from, now, &here.into_iter().collect(), "limits");
        let line = |it: &Setting| format!("{}={}", it.file, it.value);
        planned
            .map(|(plan, _)| plan.settings.iter().map(line).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_is_not_written() {
        let now = Now { quota: Some(5000), memory: Some(MIB), swap: Some(0), memory_in_use: None };
        for (from, expected) in [
            (json!({}), &[][..]),
            (json!({"cpu": {}, "memory": {}, "pids": {}, "blockIO": {}}), &[]),
            (json!({"cpu": {"quota": 0, "period": 0, "shares": 0}}), &[]),
            (json!({"memory": {"limit": 0, "swap": 0, "reservation": 0}}), &[]),
            (json!({"pids": {"limit": 0}}), &["pids.max=0"]),
            (json!({"devices": [{"allow": false}]}), &[]),
            (json!({"memory": {"limit": 7}}), &["memory.max=7"]),
        ] {
            assert_eq!(planned(from.clone(), &now).unwrap(), expected, "{from}");
        }
    }

    #[test]
    fn quota_and_period_can_be_given_alone() {
        let now = |quota| Now { quota, ..Now::default() };
        for (cpu, old, expected) in [
            (json!({"quota": 7000}), Some(5000), "cpu.max=7000"),
            (json!({"quota": -1}), Some(5000), "cpu.max=max"),
            (json!({"period": 20000}), Some(5000), "cpu.max=5000 20000"),
            (json!({"period": 20000}), Some(-1), "cpu.max=max 20000"),
            (json!({"period": 20000, "quota": 7000}), Some(-1), "cpu.max=7000 20000"),
        ] {
            assert_eq!(planned(json!({ "cpu": cpu }), &now(old)).unwrap(), [expected]);
        }
    }

    #[test]
    fn memory_and_swap_together_stay_what_they_are_when_memory_alone_is_given() {
        let now = |memory, swap| Now { memory: Some(memory), swap: Some(swap), ..Now::default() };
        for (memory, now, expected) in [
            // 100 and 200 together.
            (json!({"limit": 150}), now(100, 100), &["memory.max=150", "memory.swap.max=50"][..]),
            (json!({"limit": 50}), now(100, 100), &["memory.swap.max=150", "memory.max=50"]),
            (json!({"limit": 200}), now(100, 100), &["memory.max=200", "memory.swap.max=0"]),
            (json!({"limit": 50}), now(100, 0), &["memory.max=50"]),
            (json!({"limit": 50}), now(100, -1), &["memory.max=50"]),
            (json!({"limit": 50}), now(-1, 100), &["memory.max=50"]),
            (json!({"limit": -1}), now(100, 100), &["memory.swap.max=max", "memory.max=max"]),
            (json!({"swap": 180}), now(100, 100), &["memory.max=100", "memory.swap.max=80"]),
            (json!({"swap": -1}), now(100, 100), &["memory.swap.max=max"]),
        ] {
            let text = memory.to_string();
            let lines = planned(json!({ "memory": memory }), &now).unwrap();
            assert_eq!(lines, expected, "{text} {now:?}");
        }
        let words = "memory+swap limit should be >= memory limit";
        let wrong = planned(json!({"memory": {"limit": 201}}), &now(100, 100)).unwrap_err();
        assert!(wrong.contains(words), "{wrong}");
        assert!(planned(json!({"memory": {"swap": 90}}), &now(100, 100)).is_err());
        assert!(planned(json!({"memory": {"swap": 90}}), &now(-1, -1)).is_err());
    }

    #[test]
    fn of_memory_and_swap_the_one_that_grows_is_written_first() {
        let both = |limit, swap| json!({"memory": {"limit": limit, "swap": swap}});
        let now = |swap| Now { memory: Some(100), swap: Some(swap), ..Now::default() };
        let first = |from, now| planned(from, &now).unwrap().remove(0);
        assert_eq!(first(both(50, 100), now(0)), "memory.swap.max=50");
        assert_eq!(first(both(50, 50), now(20)), "memory.max=50");
        assert_eq!(first(both(200, 210), now(20)), "memory.max=200");
        assert_eq!(first(both(50, 100), now(-1)), "memory.max=50");
        assert_eq!(first(both(50, -1), now(10)), "memory.swap.max=max");
    }

    #[test]
    fn a_limit_below_what_is_in_use_is_refused_on_demand() {
        let now = Now { memory: Some(-1), memory_in_use: Some(100), ..Now::default() };
        let memory = |limit, check| json!({"memory": {"limit": limit, "checkBeforeUpdate": check}});
        let wrong = planned(memory(100, true), &now).unwrap_err();
        assert!(wrong.contains("rejecting memory limit 100 <= usage 100"), "{wrong}");
        assert!(planned(memory(101, true), &now).is_ok());
        assert!(planned(memory(100, false), &now).is_ok());
        assert!(planned(memory(-1, true), &now).is_ok());
    }

    #[test]
    fn a_controller_that_is_missing_is_named() {
        let wrong = planned(json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), &Now::default());
        assert!(wrong.unwrap_err().contains("/rdma/mlx5_1: needs the controller \"rdma\""));
    }
}
