//! linux.resources as what is written where: config-linux.md, "Control groups" and what follows it;
//! cgroup-v2.rst, "Controllers". The values are those of cgroup v1 and are converted; what v2 has
//! no equal of is an error, as the specification wants it ("Unified").
//!
//! `update` plans with the same functions: a base says where the document begins.

mod cpu;
pub mod devices;
mod hugetlb;
mod io;
mod memory;
pub mod program;
mod rdma;
mod unified;

use std::collections::BTreeSet;
use std::fmt;

use super::{Problems, escape};
use crate::host::{Controllers, Where};
use crate::spec::resources;
use devices::Rules;

/// What a cgroup is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Written in this order, before a process is in the cgroup.
    pub settings: Vec<Setting>,
    /// Written when init is in it: they would keep it from being born.
    pub late: Vec<Setting>,
    /// Which devices may be used.
    pub devices: Rules,
    /// Whether `update` refuses a memory limit below what is in use.
    pub check_before_update: bool,
}

/// A value for an interface file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The place in the document: a JSON pointer.
    pub origin: String,
    /// The name of the file.
    pub file: String,
    /// The value, without a line break.
    pub value: String,
    /// What to do where the cgroup has no such file.
    pub missing: Missing,
}

/// What to do where the cgroup has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is an error.
    Refuse,
    /// Nothing: what is asked for is so without the file.
    Skip,
    /// Write this value into this file.
    Instead(&'static str, String),
}

impl Setting {
    /// The controller whose file it is; `None` for a file that every cgroup has.
    #[must_use]
    pub fn controller(&self) -> Option<&str> {
        let (controller, _) = self.file.split_once('.')?;
        (controller != "cgroup").then_some(controller)
    }
}

impl Resources {
    /// The controllers without which it cannot be done.
    #[must_use]
    pub fn controllers(&self) -> BTreeSet<&str> {
        self.needed().map(|(name, _)| name).collect()
    }

    /// Each controller with a setting that cannot do without it.
    fn needed(&self) -> impl Iterator<Item = (&str, &Setting)> {
        let settings = self.settings.iter().chain(&self.late);
        let needed = settings.filter(|setting| setting.missing != Missing::Skip);
        needed.filter_map(|setting| Some((setting.controller()?, setting)))
    }

    /// Reports each setting whose controller is not here.
    pub fn check(&self, controllers: &Controllers, problems: &mut Problems) {
        for (name, setting) in self.needed() {
            let place = controllers.get(name);
            if place != Some(&Where::Here) {
                problems.add(&setting.origin, why_missing(name, place));
            }
        }
    }
}

/// Why a controller is not to be had, and what to do.
fn why_missing(name: &str, place: Option<&Where>) -> String {
    let why = match place {
        Some(Where::Version1(Some(mount))) => format!(
            "it is mounted as cgroup v1 at {mount}; boot with systemd.unified_cgroup_hierarchy=1, \
             or unmount it there when nobody uses it"
        ),
        Some(Where::Version1(None)) => "it is bound to a hierarchy of cgroup v1 that still has \
             cgroups; boot with systemd.unified_cgroup_hierarchy=1"
            .to_owned(),
        Some(Where::Disabled) => format!(
            "it is turned off by cgroup_disable={} on the command line of the kernel",
            if name == "io" { "blkio" } else { name }
        ),
        Some(Where::Withheld) => format!(
            "it is not delegated to this cgroup namespace; write \"+{name}\" to \
             cgroup.subtree_control in the cgroups above (systemd: Delegate={name})"
        ),
        Some(Where::Here) | None => "this kernel does not have it".to_owned(),
    };
    format!("needs the controller {name:?} in cgroup v2: {why}")
}

/// A plan that is being made.
struct Draft<'a> {
    base: &'a str,
    settings: Vec<Setting>,
    problems: &'a mut Problems,
}

impl Draft<'_> {
    /// Writes `value` into `file`, for what is at `place` below the base.
    fn set(&mut self, place: &str, file: impl Into<String>, value: impl fmt::Display) {
        self.set_if_there(place, file, value, Missing::Refuse);
    }

    fn set_if_there(
        &mut self,
        place: &str,
        file: impl Into<String>,
        value: impl fmt::Display,
        missing: Missing,
    ) {
        let (file, value) = (file.into(), value.to_string());
        let origin = format!("{}{place}", self.base);
        self.settings.push(Setting { origin, file, value, missing });
    }

    fn wrong(&mut self, place: &str, message: impl fmt::Display) {
        self.problems.add(format_args!("{}{place}", self.base), message);
    }

    /// What only cgroup v1 has, unless it asks for what is so in v2 anyway.
    fn version_1(&mut self, place: &str, is_set: bool, message: &str) {
        if is_set {
            self.wrong(place, format_args!("cgroup v2 has no equal: {message}"));
        }
    }

    /// -1 as the kernel writes it. What has no limit needs no file for that.
    fn limit(&mut self, place: &str, file: &str, value: i64) {
        match value {
            -1 => self.set_if_there(place, file, "max", Missing::Skip),
            0.. => self.set(place, file, value),
            _ => self.wrong(place, "must be -1 (no limit) or more"),
        }
    }
}

/// Plans what is limited, and, of a new container, which devices it may use.
pub fn plan(base: &str, from: &resources::Resources, problems: &mut Problems) -> Resources {
    let mut draft = Draft { base, settings: Vec::new(), problems };
    if let Some(memory) = &from.memory {
        memory::plan(memory, &mut draft);
    }
    if let Some(cpu) = &from.cpu {
        cpu::plan(cpu, &mut draft);
    }
    if let Some(io) = &from.block_io {
        io::plan(io, &mut draft);
    }
    hugetlb::plan(&from.hugepage_limits, &mut draft);
    rdma::plan(&from.rdma, &mut draft);
    if let Some(limit) = from.pids.as_ref().and_then(|pids| pids.limit) {
        draft.limit("/pids/limit", "pids.max", limit);
    }
    if let Some(network) = &from.network {
        let instead = "the device may be chosen by a BPF program or by the firewall";
        draft.version_1("/network/classID", network.class_id.unwrap_or(0) != 0, instead);
        draft.version_1("/network/priorities", !network.priorities.is_empty(), instead);
    }
    // Last, so that it wins over what was converted.
    unified::plan(&from.unified, &mut draft);
    let (late, settings) = draft.settings.into_iter().partition(refuses_init);
    Resources {
        settings,
        late,
        devices: devices::plan(&format!("{base}/devices"), &from.devices, problems),
        check_before_update: from
            .memory
            .as_ref()
            .is_some_and(|memory| memory.check_before_update == Some(true)),
    }
}

/// A container of one process may be asked for: a process that comes from elsewhere is counted, and
/// not refused (cgroup-v2.rst, "PID").
fn refuses_init(setting: &Setting) -> bool {
    setting.file == "pids.max" && setting.value == "0"
}

impl fmt::Display for Resources {
    /// One line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Setting { file, value, missing, .. } in self.settings.iter().chain(&self.late) {
            write!(f, "{file} = {}", value.escape_debug())?;
            match missing {
                Missing::Refuse => writeln!(f)?,
                Missing::Skip => writeln!(f, " (if it is there)")?,
                Missing::Instead(file, value) => writeln!(f, " (else {file} = {value})")?,
            }
        }
        write!(f, "{}", self.devices)
    }
}
