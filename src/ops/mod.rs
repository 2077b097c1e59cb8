//! The deed, by operation: one file for each operation of runtime.md and for each command.

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
mod foreground;
mod handover;
mod inside;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
mod undo;
pub mod update;

use std::io::Write;

use crate::cli::GlobalFlags;
use crate::error::{Call, Error, Result};
use crate::host;
use crate::log::Log;
use crate::plan::cgroup::Manager;

/// What holds for every command.
#[derive(Clone, Debug)]
pub struct Global {
    /// The absolute directory of all containers' state.
    pub root: String,
    /// Whether `root` was given: the default one need not exist.
    pub is_root_given: bool,
    /// Where messages go.
    pub log: Log,
    /// Who makes cgroups.
    pub cgroup_manager: Manager,
}

/// Writes a command's answer to standard output.
///
/// # Errors
/// Those of write(2): a full disk, a closed pipe.
pub fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).call(|| "write(standard output)")
}

impl Global {
    /// Completes the flags of the command line with what the environment says.
    ///
    /// # Errors
    /// "Option --root argument should not be set to /"; that the working directory is gone.
    pub fn new(flags: GlobalFlags) -> Result<Self> {
        flags.log.check()?;
        let is_root_given = flags.root.is_some();
        let root = match flags.root {
            Some(root) => absolute(&root)?,
            None => default_root(),
        };
        Ok(Self { root, is_root_given, log: flags.log, cgroup_manager: flags.cgroup_manager })
    }
}

fn absolute(path: &str) -> Result<String> {
    let path = std::path::absolute(path).call(|| format!("--root {path:?}"))?;
    let path = path.to_string_lossy().trim_end_matches('/').to_owned();
    if path.is_empty() {
        return Err(Error::new("Option --root argument should not be set to /"));
    }
    Ok(path)
}

/// As for runc, with its own name.
fn default_root() -> String {
    let of_user = std::env::var("XDG_RUNTIME_DIR").ok().filter(|path| path.starts_with('/'));
    // The root of a namespace that a user made may not write to /run.
    let is_of_user = || host::user_of_services().is_some();
    match of_user {
        Some(directory) if is_of_user() => format!("{directory}/hull"),
        _ => "/run/hull".to_owned(),
    }
}
