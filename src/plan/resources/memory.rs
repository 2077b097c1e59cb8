//! linux.resources.memory: config-linux.md, "Memory"; cgroup-v2.rst, "Memory".

use super::{Draft, Missing};
use crate::spec::resources::Memory;

/// Plans memory.max, memory.swap.max and memory.low.
pub fn plan(memory: &Memory, draft: &mut Draft<'_>) {
    // runc and what calls it write 0 for what nobody set.
    let set = |value: Option<i64>| value.filter(|value| *value != 0);
    let (limit, reservation) = (set(memory.limit), set(memory.reservation));
    if let Some(limit) = limit {
        draft.limit("/memory/limit", "memory.max", limit);
    }
    // One that is wrong is reported already.
    if limit.is_none_or(|limit| limit >= -1) {
        plan_swap(limit, set(memory.swap), draft);
    }
    if let Some(reservation) = reservation {
        draft.limit("/memory/reservation", "memory.low", reservation);
    }

    let is_limit = |value: Option<i64>| value.is_some_and(|value| value > 0);
    let kernel = "memory.max covers the memory of the kernel too";
    draft.version_1("/memory/kernel", is_limit(memory.kernel), kernel);
    let tcp = "memory.max covers the buffers of sockets too";
    draft.version_1("/memory/kernelTCP", is_limit(memory.kernel_tcp), tcp);
    let swappiness = "swappiness is one value for the host, vm.swappiness";
    draft.version_1("/memory/swappiness", memory.swappiness.is_some(), swappiness);
    let killer = "the OOM killer cannot be turned off";
    draft.version_1("/memory/disableOOMKiller", memory.disable_oom_killer == Some(true), killer);
    let hierarchy = "limits always hold for the cgroups below";
    draft.version_1("/memory/useHierarchy", memory.use_hierarchy == Some(false), hierarchy);
}

/// `swap` is memory and swap together, memory.swap.max is swap alone. Both are not 0.
fn plan_swap(limit: Option<i64>, swap: Option<i64>, draft: &mut Draft<'_>) {
    let place = "/memory/swap";
    let (origin, value) = match (limit, swap) {
        (Some(-1), None) => ("/memory/limit", None),
        (_, None) => return,
        (_, Some(-1)) => (place, None),
        (_, Some(swap)) if swap < -1 => {
            return draft.wrong(place, "must be -1 (no limit) or more");
        }
        (Some(-1), Some(swap)) => (place, Some(swap)),
        (Some(limit), Some(swap)) if swap >= limit => (place, Some(swap - limit)),
        (Some(limit), Some(_)) => {
            let message = format!("is memory and swap together, so at least the limit, {limit}");
            return draft.wrong(place, message);
        }
        (None, Some(_)) => {
            return draft.wrong(place, "is memory and swap together, and needs a limit");
        }
    };
    let value = value.map_or("max".to_owned(), |value| value.to_string());
    // A kernel or a host without swap swaps nothing: "no swap" and "all swap" are true there.
    let missing = if value == "max" || value == "0" { Missing::Skip } else { Missing::Refuse };
    draft.set_if_there(origin, "memory.swap.max", value, missing);
}
