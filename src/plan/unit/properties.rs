//! Limits as properties of a unit: systemd.resource-control(5). systemd writes the interface files of
//! its units again when it reads its configuration again (`systemctl daemon-reload`), so it has to
//! know what is in those that it writes. Those that it does not know it leaves alone.

use super::Property;
use crate::dbus::value::Value;
use crate::plan::list::{self, LAST_PROCESSOR};
use crate::plan::resources::{Missing, Setting};

/// What every container's scope is told.
#[must_use]
pub fn of_every_scope(id: &str, slice: &str) -> Vec<Property> {
    let yes = |name| Property::new(name, Value::Boolean(true));
    vec![
        Property::new("Description", Value::text(format!("hull container {id}"))),
        Property::new("Slice", Value::text(slice)),
        // The container may make cgroups below its own, and has all controllers.
        yes("Delegate"),
        // The engine that made the container ends it, at shutdown too.
        Property::new("DefaultDependencies", Value::Boolean(false)),
        // One that has failed, by the OOM killer, does not stay and keep its name (since 236).
        Property::new("CollectMode", Value::text("inactive-or-failed")),
        yes("CPUAccounting"),
        yes("IOAccounting"),
        yes("MemoryAccounting"),
        yes("TasksAccounting"),
    ]
}

/// The properties of settings. A quota of the processor is one of systemd's precision from then on:
/// it keeps whole percents of one processor, and would write the rounded one later.
pub fn of(settings: &mut [Setting]) -> Vec<Property> {
    let mut properties = Vec::new();
    for setting in settings.iter_mut() {
        if setting.file == "cpu.max" {
            round_up(&mut setting.value);
        }
        match &setting.missing {
            // systemd makes the weight of bfq from the other one.
            Missing::Instead(file, value) => of_one(file, value, &mut properties),
            _ => of_one(&setting.file, &setting.value, &mut properties),
        }
    }
    // Both are one file's value: cpu.weight of an idle cgroup is 0.
    if let Some(idle) = properties.iter().position(is_idle) {
        let idle = properties.remove(idle);
        properties.retain(|property| property.name != "CPUWeight");
        properties.push(idle);
    }
    properties
}

fn is_idle(property: &Property) -> bool {
    property.name == "CPUWeight" && property.value == Value::Uint64(0)
}

fn of_one(file: &str, value: &str, properties: &mut Vec<Property>) {
    let mut add = |name: &str, value: Option<Value>| {
        properties.extend(value.map(|value| Property::new(name, value)));
    };
    match file {
        "memory.max" => add("MemoryMax", bytes(value)),
        "memory.high" => add("MemoryHigh", bytes(value)),
        "memory.low" => add("MemoryLow", bytes(value)),
        "memory.min" => add("MemoryMin", bytes(value)),
        "memory.swap.max" => add("MemorySwapMax", bytes(value)),
        // systemd does not start what may have no task.
        "pids.max" => add("TasksMax", limit(value).map(at_least_one)),
        "cpu.weight" => add("CPUWeight", limit(value)),
        "cpu.max" => {
            let (quota, period) = quota_and_period(value);
            let per_second = match (quota, quota.parse::<u64>(), period.parse::<u64>()) {
                ("max", ..) => Some(u64::MAX),
                (_, Ok(quota), Ok(period @ 1..)) => {
                    quota.checked_mul(1_000_000).map(|it| it / period)
                }
                _ => None,
            };
            add("CPUQuotaPerSecUSec", per_second.map(Value::Uint64));
            add("CPUQuotaPeriodUSec", period.parse().ok().map(Value::Uint64));
        }
        "cpuset.cpus" => add("AllowedCPUs", mask(value)),
        "cpuset.mems" => add("AllowedMemoryNodes", mask(value)),
        "io.weight" => add("IOWeight", limit(value.strip_prefix("default").unwrap_or(value))),
        "cpu.idle" if value == "1" => properties.push(optional("CPUWeight", Value::Uint64(0))),
        "memory.zswap.max" => {
            properties.extend(bytes(value).map(|value| optional("MemoryZSwapMax", value)));
        }
        "memory.oom.group" => {
            let policy = if value == "1" { "kill" } else { "continue" };
            properties.push(optional("OOMPolicy", Value::text(policy)));
        }
        _ => {}
    }
}

/// `CPUWeight=0` since 252, `MemoryZSwapMax=` since 253, `OOMPolicy=` of a scope since 253.
fn optional(name: &str, value: Value) -> Property {
    Property { is_optional: true, ..Property::new(name, value) }
}

/// A number, or `max`. What the kernel does not read, systemd is not told.
fn limit(value: &str) -> Option<Value> {
    let value = value.trim();
    let number = if value == "max" { Some(u64::MAX) } else { number(value) };
    number.map(Value::Uint64)
}

/// A number as the kernel reads it (kstrtoull with base 0): 010 and 0x8 are 8.
fn number(text: &str) -> Option<u64> {
    let (digits, base) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // A sign before the digits is none of this.
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_number { u64::from_str_radix(digits, base).ok() } else { None }
}

/// The same with K, M, G, T, P or E behind it, in either case: bytes (memparse of the kernel). An
/// engine's `unified` may have "1G", which is written as it is.
fn bytes(value: &str) -> Option<Value> {
    const UNITS: &str = "KMGTPE";
    let value = value.trim();
    let unit = value.chars().last().and_then(|last| UNITS.find(last.to_ascii_uppercase()));
    // A hexadecimal number may end with E.
    let (Some(unit), None) = (unit, number(value)) else { return limit(value) };
    let factor = 1_u64 << (10 * (unit + 1));
    number(&value[..value.len() - 1])?.checked_mul(factor).map(Value::Uint64)
}

/// Of cpu.max; a new cgroup has this period.
fn quota_and_period(value: &str) -> (&str, &str) {
    let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
    (quota, period.trim())
}

fn at_least_one(value: Value) -> Value {
    if value == Value::Uint64(0) { Value::Uint64(1) } else { value }
}

/// Microseconds in a second that are one percent of a processor.
const PERCENT: u64 = 10_000;

/// `QUOTA PERIOD` with the quota of whole percents, and of a millisecond at least.
fn round_up(value: &mut String) {
    let (quota, period) = quota_and_period(value);
    if let (Ok(quota), Ok(period)) = (quota.parse::<u64>(), period.parse::<u64>())
        && let (1.., Some(scaled)) = (period, quota.checked_mul(1_000_000))
    {
        let per_second = scaled.div_ceil(period).next_multiple_of(PERCENT);
        if per_second.saturating_mul(period) / 1_000_000 != quota {
            let quota = (u128::from(per_second) * u128::from(period) / 1_000_000).max(1000);
            *value = format!("{quota} {period}");
        }
    }
}

/// A list such as "0-2,4" as bits, the first byte's lowest first. systemd knows no other form.
fn mask(list: &str) -> Option<Value> {
    let words = list::parse(list, LAST_PROCESSOR)?;
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    Some(Value::Array("y".to_owned(), bytes.into_iter().map(Value::Byte).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(settings: &[(&str, &str)]) -> Vec<(String, Value)> {
        let setting = |(file, value): &(&str, &str)| Setting {
            origin: String::new(),
            file: (*file).to_owned(),
            value: (*value).to_owned(),
            missing: Missing::Refuse,
        };
        let mut settings: Vec<Setting> = settings.iter().map(setting).collect();
        of(&mut settings).into_iter().map(|it| (it.name, it.value)).collect()
    }

    #[test]
    fn a_limit_is_a_property() {
        let number = Value::Uint64;
        for (file, value, name, expected) in [
            ("memory.max", "1048576", "MemoryMax", number(1_048_576)),
            ("memory.max", "max", "MemoryMax", number(u64::MAX)),
            ("memory.max", "1G", "MemoryMax", number(1 << 30)),
            ("memory.max", "0x10k", "MemoryMax", number(16 << 10)),
            ("memory.max", "0x1e", "MemoryMax", number(30)),
            ("memory.max", "010", "MemoryMax", number(8)),
            ("memory.max", " 2e\n", "MemoryMax", number(2 << 60)),
            ("pids.max", "0x10", "TasksMax", number(16)),
            ("memory.high", "1", "MemoryHigh", number(1)),
            ("memory.low", "1", "MemoryLow", number(1)),
            ("memory.min", "1", "MemoryMin", number(1)),
            ("memory.swap.max", "0", "MemorySwapMax", number(0)),
            ("memory.zswap.max", "0", "MemoryZSwapMax", number(0)),
            ("memory.oom.group", "1", "OOMPolicy", Value::text("kill")),
            ("memory.oom.group", "0", "OOMPolicy", Value::text("continue")),
            ("cpu.weight", "39", "CPUWeight", number(39)),
            ("cpu.idle", "1", "CPUWeight", number(0)),
            ("pids.max", "max", "TasksMax", number(u64::MAX)),
            ("pids.max", "0", "TasksMax", number(1)),
            ("io.weight", "default 200", "IOWeight", number(200)),
            ("io.weight", "200", "IOWeight", number(200)),
        ] {
            assert_eq!(properties(&[(file, value)]), [(name.to_owned(), expected)], "{file}");
        }
        for (file, value) in [
            ("memory.max", "G"),
            ("memory.max", "1GB"),
            ("memory.max", "+1"),
            ("memory.max", "16E"),
            ("memory.max", "09"),
            ("pids.max", "1k"),
            ("cpu.idle", "0"),
            ("io.max", "8:0 rbps=1"),
            ("hugetlb.2MB.max", "0"),
            ("cpuset.cpus", "0-x"),
            ("cpuset.cpus", "0-99999"),
            ("io.weight", "8:0 100"),
        ] {
            assert_eq!(properties(&[(file, value)]), [], "{file} {value}");
        }
    }

    #[test]
    fn an_idle_cgroup_has_no_other_weight() {
        let idle = [("CPUWeight".to_owned(), Value::Uint64(0))];
        assert_eq!(properties(&[("cpu.idle", "1"), ("cpu.weight", "100")]), idle);
        assert_eq!(properties(&[("cpu.weight", "100"), ("cpu.idle", "1")]), idle);
    }

    #[test]
    fn a_quota_is_of_whole_percents() {
        for (value, rounded, per_second, period) in [
            ("50000 100000", "50000 100000", 500_000, 100_000),
            ("50000", "50000", 500_000, 100_000),
            ("33333 100000", "34000 100000", 340_000, 100_000),
            ("1000 1000000", "10000 1000000", 10_000, 1_000_000),
            ("150000 50000", "150000 50000", 3_000_000, 50_000),
            ("max 50000", "max 50000", u64::MAX, 50_000),
        ] {
            let mut text = value.to_owned();
            round_up(&mut text);
            assert_eq!(text, rounded, "{value}");
            let expected = [("CPUQuotaPerSecUSec", per_second), ("CPUQuotaPeriodUSec", period)];
            let expected = expected.map(|(name, value)| (name.to_owned(), Value::Uint64(value)));
            assert_eq!(properties(&[("cpu.max", value)]), expected, "{value}");
        }
    }

    #[test]
    fn a_list_is_bits() {
        for (list, expected) in
            [("0", vec![1]), ("0-2,4", vec![0x17]), ("1, 9", vec![2, 2]), ("16", vec![0, 0, 1])]
        {
            let bytes = expected.into_iter().map(Value::Byte).collect();
            assert_eq!(mask(list), Some(Value::Array("y".to_owned(), bytes)), "{list}");
        }
    }
}
