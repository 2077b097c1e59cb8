//! linux.resources.blockIO: config-linux.md, "Block IO"; cgroup-v2.rst, "IO".

use super::{Draft, Missing};
use crate::spec::resources::{BlockIo, ThrottleDevice};

/// Plans io.weight, or io.bfq.weight where the scheduler BFQ has it, and io.max.
pub fn plan(io: &BlockIo, draft: &mut Draft<'_>) {
    let leaf = "a weight beside the cgroups below is that of no process";
    draft.version_1("/blockIO/leafWeight", io.leaf_weight.unwrap_or(0) != 0, leaf);
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        plan_weight("/blockIO/weight", "", weight, draft);
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let place = format!("/blockIO/weightDevice/{index}");
        let leaf_weight = device.leaf_weight.unwrap_or(0);
        draft.version_1(&format!("{place}/leafWeight"), leaf_weight != 0, leaf);
        let number = number(&place, device.major, device.minor, draft);
        match (number, device.weight) {
            (None, _) => {}
            (_, Some(0)) => {}
            (Some(number), Some(weight)) => {
                plan_weight(&format!("{place}/weight"), &format!("{number} "), weight, draft);
            }
            (_, None) if device.leaf_weight.is_some() => {}
            (_, None) => draft.wrong(&format!("{place}/weight"), "missing"),
        }
    }
    plan_throttles(io, draft);
}

/// A line that begins with `device`, which is empty for all devices.
fn plan_weight(place: &str, device: &str, weight: u16, draft: &mut Draft<'_>) {
    if !(10..=1000).contains(&weight) {
        return draft.wrong(place, format_args!("{weight} is not from 10 to 1000"));
    }
    let instead = Missing::Instead("io.weight", format!("{device}{}", io_weight(weight)));
    draft.set_if_there(place, "io.bfq.weight", format!("{device}{weight}"), instead);
}

/// 10 to 1000 as 1 to 10000: a straight line, as with runc and crun.
fn io_weight(weight: u16) -> u32 {
    1 + (u32::from(weight) - 10) * 9_999 / 990
}

/// One line for each device, with all of its limits.
fn plan_throttles(io: &BlockIo, draft: &mut Draft<'_>) {
    let lists: [(&str, &str, &[ThrottleDevice]); 4] = [
        ("throttleReadBpsDevice", "rbps", &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", "wbps", &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", "riops", &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", "wiops", &io.throttle_write_iops_device),
    ];
    let mut lines: Vec<(String, String, String)> = Vec::new();
    for (list, key, devices) in lists {
        for (index, device) in devices.iter().enumerate() {
            let place = format!("/blockIO/{list}/{index}");
            let Some(number) = number(&place, device.major, device.minor, draft) else { continue };
            // cgroup v1 lifts a limit with 0; v2 refuses it.
            let rate = match device.rate {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            let limit = format!(" {key}={rate}");
            match lines.iter_mut().find(|(_, of, _)| *of == number) {
                Some((_, _, limits)) => limits.push_str(&limit),
                None => lines.push((place, number, limit)),
            }
        }
    }
    for (place, number, limits) in lines {
        draft.set(&place, "io.max", format!("{number}{limits}"));
    }
}

/// The device as the kernel writes it.
fn number(place: &str, major: i64, minor: i64, draft: &mut Draft<'_>) -> Option<String> {
    for (name, number) in [("major", major), ("minor", minor)] {
        if u32::try_from(number).is_err() {
            draft.wrong(&format!("{place}/{name}"), "must be from 0 to 4294967295");
            return None;
        }
    }
    Some(format!("{major}:{minor}"))
}

#[cfg(test)]
mod tests {
    use super::io_weight;

    #[test]
    fn weights_are_on_a_straight_line() {
        for (weight, expected) in
            [(10, 1), (11, 11), (100, 910), (300, 2930), (500, 4950), (999, 9989), (1000, 10_000)]
        {
            assert_eq!(io_weight(weight), expected, "{weight}");
        }
    }
}
