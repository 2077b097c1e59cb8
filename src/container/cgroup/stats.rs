//! What a cgroup uses: cgroup-v2.rst, "Controllers". A file that is missing is a controller that is
//! not enabled, a kernel without it, or pressure that is not counted: its figures stay 0.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::file::{is_gone, read_path};
use super::{errno, processes};
use crate::error::{Error, Result};
use crate::spec::events::{
    Amount, Blkio, Cpu, CpuUsage, Cpuset, DeviceCount, Hugetlb, Memory, Pids, Pressure, Stall,
    Statistics, Throttling,
};

/// The figures of a cgroup and all below it.
///
/// # Errors
/// Those of reading the files, other than that one is not there.
pub fn read(directory: &str) -> Result<Statistics> {
    let directory = Directory(directory);
    Ok(Statistics {
        cpu: Cpu { psi: directory.pressure("cpu.pressure")?, ..cpu(&directory.text("cpu.stat")?) },
        cpuset: Cpuset {
            cpus: numbers(&directory.text("cpuset.cpus.effective")?),
            mems: numbers(&directory.text("cpuset.mems.effective")?),
            ..Cpuset::default()
        },
        memory: memory(&directory)?,
        pids: pids(&directory)?,
        blkio: Blkio {
            psi: directory.pressure("io.pressure")?,
            ..blkio(&directory.text("io.stat")?)
        },
        hugetlb: hugetlb(&directory)?,
        ..Statistics::default()
    })
}

struct Directory<'a>(&'a str);

impl Directory<'_> {
    fn read(&self, name: &str) -> Result<Option<String>> {
        read_path(&format!("{}/{name}", self.0))
    }

    fn text(&self, name: &str) -> Result<String> {
        self.read(name).map(Option::unwrap_or_default)
    }

    /// A file of one number, or `max`.
    fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.read(name)?.map(|text| number(text.trim_end())))
    }

    fn pressure(&self, name: &str) -> Result<Option<Pressure>> {
        Ok(self.read(name)?.map(|text| pressure(&text)))
    }

    fn amount(&self, prefix: &str) -> Result<Amount> {
        let file = |suffix: &str| self.number(&format!("{prefix}.{suffix}"));
        let events = self.text(&format!("{prefix}.events"))?;
        Ok(Amount {
            limit: file("max")?.unwrap_or_default(),
            usage: file("current")?.unwrap_or_default(),
            // memory.peak since 5.19, memory.swap.peak since 6.5.
            max: file("peak")?.unwrap_or_default(),
            failcnt: value_of(&events, "max"),
        })
    }
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap_or_default() }
}

/// The lines of a "flat keyed" file: a name and a number.
fn keyed(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| line.split_once(' ')).map(|(name, value)| (name, number(value)))
}

/// A line of a "flat keyed" file; 0 without it.
pub fn value_of(text: &str, name: &str) -> u64 {
    keyed(text).find(|(it, _)| *it == name).map(|(_, value)| value).unwrap_or_default()
}

fn cpu(stat: &str) -> Cpu {
    let nanoseconds = |name| value_of(stat, name).saturating_mul(1000);
    Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
        },
        throttling: Throttling {
            periods: value_of(stat, "nr_periods"),
            throttled_periods: value_of(stat, "nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
        psi: None,
    }
}

/// A list of numbers and ranges, such as `0-2,7` (cpuset(7), "List format").
fn numbers(list: &str) -> Vec<u16> {
    let mut numbers = Vec::new();
    for range in list.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            numbers.extend(first..=last);
        }
    }
    numbers
}

fn memory(directory: &Directory<'_>) -> Result<Memory> {
    let raw: BTreeMap<String, u64> = keyed(&directory.text("memory.stat")?)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let usage = directory.amount("memory")?;
    let swap = directory.amount("memory.swap")?;
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or_default(),
        swap: with_memory(&swap, &usage),
        usage,
        raw,
        psi: directory.pressure("memory.pressure")?,
        ..Memory::default()
    })
}

/// The sum that version 1 counts. The most of both is not the sum of the most of each.
fn with_memory(swap: &Amount, memory: &Amount) -> Amount {
    Amount {
        limit: swap.limit.saturating_add(memory.limit),
        usage: swap.usage.saturating_add(memory.usage),
        max: 0,
        failcnt: swap.failcnt,
    }
}

fn pids(directory: &Directory<'_>) -> Result<Pids> {
    let Some(current) = directory.number("pids.current")? else {
        let current = processes::list(directory.0)?.len() as u64;
        return Ok(Pids { current, limit: 0 });
    };
    let limit = directory.number("pids.max")?.filter(|limit| *limit != u64::MAX);
    Ok(Pids { current, limit: limit.unwrap_or_default() })
}

/// Lines such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn blkio(stat: &str) -> Blkio {
    let mut blkio = Blkio::default();
    for (device, counts) in stat.lines().filter_map(|line| line.split_once(' ')) {
        let Some((major, minor)) = device.split_once(':') else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (name, value) in counts.split(' ').filter_map(|count| count.split_once('=')) {
            let (list, op) = match name {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(DeviceCount { major, minor, op, value: number(value) });
        }
    }
    blkio
}

fn hugetlb(directory: &Directory<'_>) -> Result<BTreeMap<String, Hugetlb>> {
    let mut sizes = BTreeMap::new();
    let path = directory.0;
    let entries = match std::fs::read_dir(path).map_err(errno) {
        Err(errno) if is_gone(errno) => return Ok(sizes),
        other => other.map_err(|errno| Error::from_call(format!("open({path:?})"), errno))?,
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugetlb.").and_then(|rest| rest.strip_suffix(".events"));
        let Some(size) = size else { continue };
        let reserved = directory.number(&format!("hugetlb.{size}.rsvd.current"))?;
        let usage = match reserved {
            Some(usage) => usage,
            None => directory.number(&format!("hugetlb.{size}.current"))?.unwrap_or_default(),
        };
        let failcnt = value_of(&directory.text(&name)?, "max");
        sizes.insert(size.to_owned(), Hugetlb { usage, failcnt });
    }
    Ok(sizes)
}

/// Lines such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
fn pressure(text: &str) -> Pressure {
    let stall = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        Stall {
            avg10: field(line, "avg10="),
            avg60: field(line, "avg60="),
            avg300: field(line, "avg300="),
            total: field(line, "total="),
        }
    };
    Pressure { some: stall("some "), full: stall("full ") }
}

fn field<T: FromStr + Default>(line: &str, name: &str) -> T {
    let value = line.split(' ').find_map(|field| field.strip_prefix(name));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_processor_are_nanoseconds() {
        let stat = "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 9\nnr_throttled 2\n\
                    throttled_usec 7\nnr_bursts 0\nburst_usec 0\n";
        let expected = Cpu {
            usage: CpuUsage { total: 300_000, kernel: 100_000, user: 200_000 },
            throttling: Throttling { periods: 9, throttled_periods: 2, throttled_time: 7000 },
            psi: None,
        };
        assert_eq!(cpu(stat), expected);
        assert_eq!(cpu(""), Cpu::default());
    }

    #[test]
    fn a_list_of_processors_is_read_as_numbers() {
        for (list, expected) in
            [("\n", &[][..]), ("0\n", &[0]), ("0-2,7\n", &[0, 1, 2, 7]), ("3,5-5\n", &[3, 5])]
        {
            assert_eq!(numbers(list), expected, "{list:?}");
        }
    }

    #[test]
    fn figures_of_a_device_are_split_by_direction() {
        let stat =
            "8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n253:1 \n7:0 cost.usage=1\n";
        let count = |op, value| DeviceCount { major: 8, minor: 0, op, value };
        let expected = Blkio {
            io_service_bytes_recursive: vec![count("Read", 4096), count("Write", 512)],
            io_serviced_recursive: vec![count("Read", 1), count("Write", 2)],
            psi: None,
        };
        assert_eq!(blkio(stat), expected);
    }

    #[test]
    fn pressure_has_two_lines_or_one() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\n";
        let some = Stall { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 42 };
        assert_eq!(pressure(text), Pressure { some, full: Stall::default() });
        let both = format!("{text}{}", text.replace("some", "full"));
        assert_eq!(pressure(&both), Pressure { some, full: some });
    }

    #[test]
    fn memory_and_swap_are_summed_and_no_limit_stays_none() {
        let amount = |limit, usage| Amount { limit, usage, max: 9, failcnt: 1 };
        let sum = |swap, memory| with_memory(&amount(swap, 1), &amount(memory, 2)).limit;
        assert_eq!((sum(10, 20), sum(u64::MAX, 20), sum(0, u64::MAX)), (30, u64::MAX, u64::MAX));
        let both = with_memory(&amount(10, 1), &amount(20, 2));
        assert_eq!((both.usage, both.max, both.failcnt), (3, 0, 1));
    }

    #[test]
    fn a_word_for_no_limit_is_the_largest_number() {
        assert_eq!((number("max"), number("12"), number("")), (u64::MAX, 12, 0));
        assert_eq!((value_of("a 1\nab 2\n", "ab"), value_of("a 1\n", "b")), (2, 0));
    }
}
