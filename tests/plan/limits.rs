//! What is written for limits is what libcgroups writes, an implementation by others (of youki), as far
//! as that is right. 0.7 writes nothing for memory and swap that are equal ("no swap"), a weight of
//! block devices above 16 with an overflow, and 1 for a limit of 0 processes: those the tables of
//! `plan::resources` alone show.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hull::plan::Problems;
use hull::plan::resources::{self, Missing};
use libcgroups::common::{CgroupManager, ControllerOpt};
use libcgroups::v2::manager::Manager;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::random::holds;

/// What a kernel without the scheduler bfq has in a cgroup with all controllers.
const FILES: [&str; 16] = [
    "cpu.idle",
    "cpu.max",
    "cpu.max.burst",
    "cpu.weight",
    "cpuset.cpus",
    "cpuset.mems",
    "hugetlb.2MB.max",
    "hugetlb.2MB.rsvd.max",
    "io.max",
    "io.weight",
    "memory.high",
    "memory.low",
    "memory.max",
    "memory.swap.max",
    "misc.max",
    "pids.max",
];

/// A directory with such files, which is no cgroup.
struct Fixture(PathBuf);

impl Fixture {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("hull-limits-{}", std::process::id()));
        fs::create_dir_all(root.join("container")).expect("a directory for files");
        fs::write(root.join("cgroup.controllers"), "cpuset cpu io memory hugetlb pids\n")
            .expect("a file");
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("container").join(name)
    }

    /// What libcgroups writes.
    fn apply(&self, resources: &Value) -> Result<BTreeMap<String, String>, String> {
        for name in FILES {
            // It keeps the quota when the period alone is given.
            let text = if name == "cpu.max" { "max" } else { "" };
            fs::write(self.path(name), text).expect("a file");
        }
        let resources = serde_json::from_value(resources.clone()).expect("oci-spec reads it");
        let manager = Manager::new(self.0.clone(), Path::new("container").to_owned());
        let options = ControllerOpt {
            resources: &resources,
            disable_oom_killer: false,
            oom_score_adj: None,
            freezer_state: None,
        };
        let manager = manager.map_err(|error| error.to_string())?;
        manager.apply(&options).map_err(|error| error.to_string())?;
        let text = |name: &str| fs::read_to_string(self.path(name)).expect("a file");
        let files = FILES.into_iter().map(|name| (name.to_owned(), text(name)));
        let was_there = |(name, text): &(String, String)| {
            text.is_empty() || name == "cpu.max" && text == "max" && has_no_quota(&resources)
        };
        Ok(files.filter(|file| !was_there(file)).collect())
    }
}

/// Nothing was written where "max" was.
fn has_no_quota(resources: &oci_spec::runtime::LinuxResources) -> bool {
    resources.cpu().as_ref().is_none_or(|cpu| cpu.quota().is_none())
}

impl Drop for Fixture {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// What hull writes into the same files.
fn planned(resources: &Value) -> Result<BTreeMap<String, String>, String> {
    let from = serde_json::from_value(resources.clone()).expect("hull reads it");
    let mut problems = Problems::default();
    let plan = resources::plan("", &from, &mut problems);
    problems.into_result("resources").map_err(|error| error.to_string())?;
    let mut files = BTreeMap::new();
    for setting in plan.settings.into_iter().chain(plan.late) {
        let is_there = FILES.contains(&setting.file.as_str());
        match setting.missing {
            _ if is_there => files.insert(setting.file, setting.value),
            Missing::Instead(file, value) => files.insert(file.to_owned(), value),
            Missing::Skip => None,
            Missing::Refuse => return Err(format!("{} is missing", setting.file)),
        };
    }
    Ok(files)
}

/// Without what is `None`.
fn object(pairs: Vec<(&str, Option<Value>)>) -> Value {
    pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn number<T: Into<Value> + std::fmt::Debug>(
    of: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<Value>> {
    option::of(of.prop_map(Into::into))
}

/// A limit or none, and what memory and swap together may be: more than it, less, no limit.
fn memory() -> impl Strategy<Value = Value> {
    let limit = prop_oneof![Just(-1_i64), 1..1_i64 << 40];
    let swap = prop_oneof![Just(-1_i64), 1..1_i64 << 41];
    // -1 without a limit of memory is an error there, and to runc and hull no limit.
    let is_right = |(limit, swap, _): &(Option<Value>, Option<Value>, Option<Value>)| {
        let no_limit = Some(json!(-1));
        swap.is_none() || limit != swap && !(limit.is_none() && *swap == no_limit)
    };
    (number(limit), number(swap), number(prop_oneof![Just(-1_i64), 1..1_i64 << 40]))
        .prop_filter("what libcgroups does otherwise", is_right)
        .prop_map(|(limit, swap, low)| {
            object(vec![("limit", limit), ("swap", swap), ("reservation", low)])
        })
}

fn cpu() -> impl Strategy<Value = Value> {
    let quota = prop_oneof![Just(-1_i64), 1000..1_000_000_i64];
    (
        number(0..300_000_u64),
        number(quota),
        number(1000..1_000_000_u64),
        number(1..1000_u64),
        number("[0-7]-[89]"),
        number("[0-7]"),
    )
        .prop_map(|(shares, quota, period, burst, cpus, mems)| {
            object(vec![
                ("shares", shares),
                ("quota", quota),
                ("period", period),
                ("burst", burst),
                ("cpus", cpus),
                ("mems", mems),
            ])
        })
}

const RATES: &[&str] = &[
    "throttleReadBpsDevice",
    "throttleWriteBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteIOPSDevice",
];

fn block_io() -> impl Strategy<Value = Value> {
    let device = (proptest::sample::select(RATES), 1..300_u32, 0..300_u32, 1..1_u64 << 40);
    (number(10..=16_u16), option::of(device)).prop_map(|(weight, device)| {
        let mut io = object(vec![("weight", weight)]);
        if let Some((kind, major, minor, rate)) = device {
            io[kind] = json!([{ "major": major, "minor": minor, "rate": rate }]);
        }
        io
    })
}

fn limits() -> impl Strategy<Value = Value> {
    (
        option::of(memory()),
        option::of(cpu()),
        option::of(block_io()),
        number(prop_oneof![Just(-1_i64), 1..100_000_i64]),
        number(0..1_u64 << 40),
        number("[1-9][0-9]{0,8}"),
    )
        .prop_map(|(memory, cpu, io, pids, huge, high)| {
            let huge = huge.map(|limit| json!([{ "pageSize": "2MB", "limit": limit }]));
            object(vec![
                ("memory", memory),
                ("cpu", cpu),
                ("blockIO", io),
                ("pids", pids.map(|limit| json!({ "limit": limit }))),
                ("hugepageLimits", huge),
                ("unified", high.map(|high| json!({ "memory.high": high }))),
            ])
        })
}

#[test]
fn limits_are_written_as_libcgroups_writes_them() {
    let fixture = Fixture::new();
    holds(limits(), |resources| {
        match (planned(&resources), fixture.apply(&resources)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{}", resources),
            (ours, theirs) => prop_assert_eq!(ours.is_err(), theirs.is_err(), "{}", resources),
        }
        Ok(())
    });
}
