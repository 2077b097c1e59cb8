//! The limits that `update` takes as flags: those of runc and crun.

use clap::ArgMatches;
use serde_json::Value;

use crate::spec::resources::Resources;

/// What a flag is given.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number.
    Number,
    /// Bytes, with a unit if there is one.
    Size,
    /// A list such as `0-2,4`.
    List,
}

/// Flag, section and member of /linux/resources, kind, help. Without a help text it is hidden.
pub const LIMITS: [(&str, &str, &str, Kind, &str); 16] = [
    ("blkio-weight", "blockIO", "weight", Kind::Number, "Weight of IO, 10 to 1000"),
    ("cpu-period", "cpu", "period", Kind::Number, "Period of the quota, in microseconds"),
    ("cpu-quota", "cpu", "quota", Kind::Number, "Processor time in a period; -1: no limit"),
    ("cpu-burst", "cpu", "burst", Kind::Number, "Processor time that may be saved up"),
    ("cpu-share", "cpu", "shares", Kind::Number, "Share beside others, 2 to 262144"),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number, "Only of cgroup v1"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number, "Only of cgroup v1"),
    ("cpuset-cpus", "cpu", "cpus", Kind::List, "Processors, such as 0-2,4"),
    ("cpuset-mems", "cpu", "mems", Kind::List, "Memory nodes"),
    ("cpu-idle", "cpu", "idle", Kind::Number, "1: only when nobody else wants the processor"),
    ("kernel-memory", "memory", "kernel", Kind::Size, ""),
    ("kernel-memory-tcp", "memory", "kernelTCP", Kind::Size, ""),
    ("memory", "memory", "limit", Kind::Size, "Memory, such as 512m; -1: no limit"),
    ("memory-reservation", "memory", "reservation", Kind::Size, "Memory that is taken away last"),
    ("memory-swap", "memory", "swap", Kind::Size, "Memory and swap together; -1: no limit"),
    ("pids-limit", "pids", "limit", Kind::Number, "Processes; -1: no limit"),
];

/// The limits that were given.
///
/// # Errors
/// That a value is none.
pub fn resources(matches: &mut ArgMatches) -> Result<Resources, String> {
    let mut resources = Resources::default();
    for (flag, section, member, kind, _) in LIMITS {
        // An empty one is none (runc).
        let given = matches.remove_one::<String>(flag).filter(|text| !text.is_empty());
        let Some(text) = given else { continue };
        let wrong = || format!("invalid value for {flag}: {text:?}");
        let value = match kind {
            Kind::List => Value::from(text.as_str()),
            Kind::Size => size(&text).ok_or_else(wrong)?.into(),
            Kind::Number => text.parse::<i64>().map_err(|_| wrong())?.into(),
        };
        set(&mut resources, section, member, value).ok_or_else(wrong)?;
    }
    Ok(resources)
}

/// By way of JSON, which knows the names and ranges of the members.
fn set(resources: &mut Resources, section: &str, member: &str, value: Value) -> Option<()> {
    let mut document = serde_json::to_value(&*resources).ok()?;
    document[section][member] = value;
    *resources = serde_json::from_value(document).ok()?;
    Some(())
}

/// Bytes as docker writes them: `512m`, `1.5G`, `64KiB`, `100 mb`; -1 is no limit. The units are
/// powers of 1024.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = ["", "k", "m", "g", "t", "p"].iter().position(|name| *name == unit)?;
    let factor = 1_i64 << (10 * power);
    if let Ok(number) = number.parse::<i64>() {
        return number.checked_mul(factor);
    }
    // Of a part of a unit no more than the whole bytes.
    let bytes = number.parse::<f64>().ok()? * factor as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn a_size_has_the_units_of_docker() {
        for (text, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("1000", 1000),
            ("1b", 1),
            ("64k", 65536),
            ("64KB", 65536),
            ("64KiB", 65536),
            ("1.5m", 1_572_864),
            ("2 g", 2 << 30),
            ("1T", 1 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "m", "-2", "5x", "5mm", "1..5m", ".", "5 m", "99999999p", "0x5"] {
            let is_size = text == "5 m";
            assert_eq!(size(text).is_some(), is_size, "{text}");
        }
    }
}
