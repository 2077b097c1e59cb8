//! Becomes the user of the config: config.md, "User", "capabilities"; credentials(7).

use crate::error::{Context, Result};
use crate::plan::credentials::Credentials;
use crate::plan::process::Process;
use crate::sys::ids::{
    become_user, capset, keep_capabilities, limit_bounding_set, no_new_privs, set_ambient,
};
use crate::sys::process::{ioprio_set, sched_setattr, set_rlimit};

/// Sets what needs the privileges of the runtime: they are given up next.
///
/// # Errors
/// Those of the calls, with the field of the config.
pub fn set_limits(process: &Process) -> Result<()> {
    for (index, (resource, soft, hard)) in process.rlimits.iter().enumerate() {
        set_rlimit(*resource, *soft, *hard)
            .context(|| format!("config.json: /process/rlimits/{index}"))?;
    }
    if let Some(attr) = &process.scheduler {
        sched_setattr(attr).context(|| "config.json: /process/scheduler")?;
    }
    if let Some((class, level)) = process.io_priority {
        ioprio_set(class, level).context(|| "config.json: /process/ioPriority")?;
    }
    if process.no_new_privileges {
        no_new_privs()?;
    }
    Ok(())
}

/// Becomes the user. No file may be opened for the runtime's sake after this.
///
/// # Errors
/// Those of the calls, with the field of the config.
pub fn apply(credentials: &Credentials) -> Result<()> {
    let Credentials { uid, gid, groups, capabilities, .. } = credentials;
    // Before the ids change: clearing the bounding set needs CAP_SETPCAP (capabilities(7)).
    limit_bounding_set(capabilities.bounding)?;
    // Only the change from user 0 to another takes capabilities away.
    if *uid != 0 {
        keep_capabilities(true)?;
    }
    become_user(*uid, *gid, groups).context(|| "config.json: /process/user")?;
    capset(capabilities).context(|| "config.json: /process/capabilities")?;
    if capabilities.ambient != 0 {
        set_ambient(capabilities.ambient)
            .context(|| "config.json: /process/capabilities/ambient")?;
    }
    if *uid != 0 {
        keep_capabilities(false)?;
    }
    Ok(())
}
