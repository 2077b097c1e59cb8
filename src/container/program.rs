//! The last steps of a process on its way to the program: config.md, "Process". `create` and `exec`
//! take the same ones.

use std::ffi::CString;

use nix::sys::stat::{Mode, umask};

use super::inherited::Inherited;
use super::labels::Label;
use super::seccomp::{self, Agent};
use super::{credentials, executable, home, terminal, working_directory};
use crate::error::{Error, Result};
use crate::plan::process::{Process, set_env};
use crate::plan::seccomp::Filter;
use crate::sys::execve::Executable;
use crate::sys::path::InRoot;
use crate::sys::process;

/// What there is to execute.
pub struct Program<'a> {
    /// Its environment, with HOME, which only the container's own passwd tells.
    pub env: Vec<String>,
    executable: Executable,
    label: Option<Label>,
    filter: Option<&'a Filter>,
}

/// Goes to the working directory, becomes the user and finds the program. `root` is the root of
/// this process by now; `callers_umask` counts unless the config has one.
///
/// # Errors
/// Those of the calls, with the field of the config; what is wrong with the program.
pub fn become_user<'a>(
    root: &InRoot,
    plan: &'a Process,
    label: Option<Label>,
    callers_umask: Mode,
) -> Result<Program<'a>> {
    let env = with_home(plan, root);
    if plan.terminal.is_none() {
        terminal::give_streams(plan.credentials.uid)?;
    }
    // Before the limits, of which one is the number of descriptors.
    let directory = working_directory::open(root, &plan.cwd, plan.makes_cwd)?;
    if !plan.limits_by_runtime {
        credentials::set_limits(0, plan)?;
    }
    // As root if it may: the user need not be able to enter what the engine chose. On a network
    // filesystem it may be the user alone who can.
    let is_there = working_directory::enter(&directory).is_ok();
    credentials::apply(plan)?;
    // The change of ids has cleared it (prctl(2)).
    process::die_with_runtime(true)?;
    // So it has the other, if fs.suid_dumpable says so (proc_sys_fs(5)).
    process::not_dumpable()?;
    if !is_there {
        working_directory::enter(&directory)?;
    }
    working_directory::check(&plan.cwd)?;
    let mask = plan.credentials.umask.map(Mode::from_bits_truncate);
    umask(mask.unwrap_or(callers_umask));
    let path = executable::find(&plan.args[0], &env)?;
    let executable = Executable::new(path, c_strings(&plan.args), c_strings(&env));
    Ok(Program { env, executable, label, filter: plan.filter.as_ref() })
}

impl Program<'_> {
    /// The last changes before [`Program::execute`].
    ///
    /// # Errors
    /// Those of the calls; a label that the security module does not know.
    pub fn get_ready(&self, inherited: Inherited) -> Result<()> {
        if let Some(label) = &self.label {
            label.write()?;
        }
        process::reset_signals()?;
        process::close_on_exec_from(3)?;
        process::keep_on_exec(inherited.count)
    }

    /// Loads the filter and becomes the program. Returns what went wrong.
    #[must_use]
    pub fn execute(&self, agent: Option<Agent>) -> Error {
        if let Some(filter) = self.filter
            && let Err(error) = seccomp::load(filter, agent)
        {
            return error;
        }
        let errno = self.executable.execve();
        Error::from_call(format!("exec {:?}", self.executable.path()), errno)
    }
}

fn with_home(plan: &Process, root: &InRoot) -> Vec<String> {
    let mut env = plan.env.clone();
    if !env.iter().any(|entry| entry.starts_with("HOME=") && entry != "HOME=") {
        set_env(&mut env, format!("HOME={}", home::find(root, plan.credentials.uid)));
    }
    env
}

fn c_strings(list: &[String]) -> Vec<CString> {
    list.iter()
        .map(|text| CString::new(text.as_str()).expect("the plan refuses NUL bytes"))
        .collect()
}
