//! Becomes the user of the config: config.md, "User", "capabilities"; credentials(7).

use crate::error::{Context, Result};
use crate::plan::credentials::Credentials;
use crate::plan::process::Process;
use crate::sys::ids::{
    CapabilitySets, become_user, capset, keep_capabilities, limit_bounding_set, no_new_privs,
    set_ambient,
};
use crate::sys::limits::{ioprio_set, sched_setattr, set_rlimit};

/// Sets what needs the privileges of the runtime, for a process, 0 for this one: they are given up
/// next. A process in a user namespace of its own does not have them, so the runtime does it.
///
/// # Errors
/// Those of the calls, with the field of the config.
pub fn set_limits(pid: i32, process: &Process) -> Result<()> {
    for (index, (resource, soft, hard)) in process.rlimits.iter().enumerate() {
        set_rlimit(pid, *resource, *soft, *hard)
            .context(|| format!("config.json: /process/rlimits/{index}"))?;
    }
    if let Some(attr) = &process.scheduler {
        sched_setattr(pid, attr).context(|| "config.json: /process/scheduler")?;
    }
    if let Some((class, level)) = process.io_priority {
        ioprio_set(pid, class, level).context(|| "config.json: /process/ioPriority")?;
    }
    Ok(())
}

/// Becomes the user. No file may be opened for the runtime's sake after this. What a filter needs
/// that is loaded last stays permitted.
///
/// # Errors
/// Those of the calls, with the field of the config.
pub fn apply(process: &Process) -> Result<()> {
    if process.no_new_privileges {
        no_new_privs()?;
    }
    let credentials = &process.credentials;
    let Credentials { uid, gid, groups, capabilities, .. } = credentials;
    // Before the ids change: clearing the bounding set needs CAP_SETPCAP (capabilities(7)).
    limit_bounding_set(capabilities.bounding)?;
    // Only the change from user 0 to another takes capabilities away.
    if *uid != 0 {
        keep_capabilities(true)?;
    }
    become_user(*uid, *gid, groups).context(|| "config.json: /process/user")?;
    let for_filter = process.filter.as_ref().and_then(|filter| filter.loaded_with);
    let permitted = for_filter.map_or(capabilities.permitted, |sets| sets.permitted);
    let sets = CapabilitySets { permitted, ..*capabilities };
    capset(&sets).context(|| "config.json: /process/capabilities")?;
    if capabilities.ambient != 0 {
        set_ambient(capabilities.ambient)
            .context(|| "config.json: /process/capabilities/ambient")?;
    }
    if *uid != 0 {
        keep_capabilities(false)?;
    }
    Ok(())
}
