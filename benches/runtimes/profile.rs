//! A seccomp profile of an engine: as a section of the config, and what hull's compiler and the
//! kernel's loader take for it, in a process of its own, because only the first time counts.

use std::fs;
use std::path::Path;
use std::time::Instant;

use hull::plan::Problems;
use hull::plan::seccomp::architectures::NATIVE;
use hull::plan::seccomp::{compile, flag, rules};
use hull::spec::seccomp::Seccomp;
use hull::sys::{filter, ids};
use serde_json::{Value, json};

use crate::contender::Result;
use crate::machine::{self, Call};

/// Docker's file has more than the section: for which architectures and capabilities a rule is.
/// What is left is for a container of this architecture with none of the capabilities.
pub fn section(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut section: Value =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let rules = list(&section["syscalls"]);
    let is_for_us = |rule: &Value| {
        let has_amd64 = |which: &str| list(&rule[which]["arches"]).contains(&json!("amd64"));
        let arches = list(&rule["includes"]["arches"]);
        list(&rule["includes"]["caps"]).is_empty()
            && (arches.is_empty() || has_amd64("includes"))
            && !has_amd64("excludes")
    };
    section["syscalls"] = rules.into_iter().filter(is_for_us).collect();
    section["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    Ok(section)
}

/// What `measure` prints: compiling and loading in nanoseconds, the instructions of the filter, and
/// the most that a call of this architecture executes.
pub struct Figures(pub [u64; 4]);

/// The helper: compiles and loads the profile of a config once.
pub fn measure(config: &Path) -> Result<Figures> {
    let text = fs::read_to_string(config).map_err(|error| error.to_string())?;
    let config: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let section = config["linux"]["seccomp"].to_string();
    let section: Seccomp = serde_json::from_str(&section).map_err(|error| error.to_string())?;
    let mut problems = Problems::default();
    let start = Instant::now();
    let program = compile(&rules::check(&section, false, &mut problems), &mut problems);
    let compiled = start.elapsed();
    problems.into_result("the profile").map_err(|error| error.to_string())?;
    let steps = |number: u32, value: u64| {
        let call = Call { number, architecture: NATIVE.audit, args: [value; 6] };
        machine::run(&program, &call).1
    };
    let values = [0, 8, 40, 0x20000, 0xffff_ffff, u64::MAX];
    let all = (0..600).flat_map(|number| values.map(|value| steps(number, value)));
    let most = all.max().unwrap_or_default();
    ids::no_new_privs().map_err(|error| error.to_string())?;
    let start = Instant::now();
    filter::load(&program, flag::SPEC_ALLOW).map_err(|error| error.to_string())?;
    let loaded = start.elapsed();
    let nanoseconds = |it: std::time::Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
    let sizes = [program.len() as u64, most as u64];
    Ok(Figures([nanoseconds(compiled), nanoseconds(loaded), sizes[0], sizes[1]]))
}
