//! What `events` prints: one JSON object a line, of the shape of runc's, which go-runc decodes. The
//! names are those of cgroup v1, whose figures runc had first; what version 2 does not count is 0 or
//! left out as runc does.

use std::collections::BTreeMap;

use serde::Serialize;

/// A line.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// `stats` or `oom`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The container's id.
    pub id: &'a str,
    /// Of `stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Statistics>,
}

/// What a container uses.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Processors.
    pub cpu: Cpu,
    /// Which processors and memory nodes it may use.
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by their size as in `2MB`.
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// Not counted.
    pub intel_rdt: Empty,
    /// Not counted: runc does so only for the devices that it has made itself.
    pub network_interfaces: Option<Empty>,
}

/// An object without members.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Empty {}

/// cpu.stat, cpu.pressure.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Times.
    pub usage: CpuUsage,
    /// How often the quota was used up.
    pub throttling: Throttling,
    /// Waiting for a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// In nanoseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// All.
    #[serde(skip_serializing_if = "is_0")]
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// In programs.
    pub user: u64,
}

/// cpu.stat.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which something ran.
    #[serde(skip_serializing_if = "is_0")]
    pub periods: u64,
    /// Those of them at whose end something had to wait.
    #[serde(skip_serializing_if = "is_0")]
    pub throttled_periods: u64,
    /// How long it waited, in nanoseconds.
    #[serde(skip_serializing_if = "is_0")]
    pub throttled_time: u64,
}

/// cpuset.cpus.effective, cpuset.mems.effective. All else is of version 1.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpuset {
    /// Numbers of processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// 0.
    pub cpu_exclusive: u64,
    /// Numbers of memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// 0.
    pub mem_hardwall: u64,
    /// 0.
    pub mem_exclusive: u64,
    /// 0.
    pub memory_migrate: u64,
    /// 0.
    pub memory_spread_page: u64,
    /// 0.
    pub memory_spread_slab: u64,
    /// 0.
    pub memory_pressure: u64,
    /// 0.
    pub sched_load_balance: u64,
    /// 0.
    pub sched_relax_domain_level: i64,
}

/// memory.stat and its neighbours; in bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Of files.
    #[serde(skip_serializing_if = "is_0")]
    pub cache: u64,
    /// Memory.
    pub usage: Amount,
    /// Memory and swap together, as version 1 has it.
    pub swap: Amount,
    /// 0.
    pub kernel: Amount,
    /// 0.
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Amount,
    /// memory.stat.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// In bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Amount {
    /// 2^64-1 without one.
    pub limit: u64,
    /// Now.
    #[serde(skip_serializing_if = "is_0")]
    pub usage: u64,
    /// The most so far.
    #[serde(skip_serializing_if = "is_0")]
    pub max: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// pids.current, pids.max.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Tasks; processes where there is no controller.
    #[serde(skip_serializing_if = "is_0")]
    pub current: u64,
    /// 0 without one.
    #[serde(skip_serializing_if = "is_0")]
    pub limit: u64,
}

/// io.stat, io.pressure.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<DeviceCount>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<DeviceCount>,
    /// Waiting for a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A figure of a block device.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct DeviceCount {
    /// The number of its driver.
    #[serde(skip_serializing_if = "is_0")]
    pub major: u64,
    /// Its number at its driver.
    #[serde(skip_serializing_if = "is_0")]
    pub minor: u64,
    /// `Read` or `Write`.
    pub op: &'static str,
    /// How many.
    #[serde(skip_serializing_if = "is_0")]
    pub value: u64,
}

/// hugetlb.SIZE.rsvd.current and its neighbours; in bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    /// Reserved, or used where the kernel does not count what is reserved.
    #[serde(skip_serializing_if = "is_0")]
    pub usage: u64,
    /// How often the limit was reached.
    pub failcnt: u64,
}

/// Pressure stall information: psi.rst of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some tasks waited.
    pub some: Stall,
    /// All tasks waited.
    pub full: Stall,
}

/// In percent of the last so many seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stall {
    /// 10.
    pub avg10: f64,
    /// 60.
    pub avg60: f64,
    /// 300.
    pub avg300: f64,
    /// Since the beginning, in microseconds.
    pub total: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's way to ask")]
fn is_0(number: &u64) -> bool {
    *number == 0
}
