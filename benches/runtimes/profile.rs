//! A seccomp profile of an engine, as a section of the config.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::contender::Result;

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
