//! The ids of a new user namespace: user_namespaces(7), "Defining user and group ID mappings".

use std::process::{Command, Stdio};

use crate::error::{Call, Context, Error, Result};
use crate::plan::Plan;
use crate::plan::namespaces::USER;
use crate::plan::user::{Map, User, Writer};
use crate::sys::ids;
use crate::sys::proc::Procfs;

/// What only the runtime may do for an init in a new user namespace, while init waits: its ids and its
/// OOM score. Init must be dumpable still, if the runtime has no privileges:
/// else its files in /proc are not the runtime's (proc(5)).
///
/// # Errors
/// Those of write(2); what newuidmap(1) or newgidmap(1) says, for ids that are not granted.
pub fn give_ids(plan: &Plan, init: i32) -> Result<()> {
    if let Some(user) = &plan.user {
        write_maps(init, user)?;
    }
    let is_new = plan.namespaces.new & USER != 0;
    match plan.process.as_ref().filter(|_| is_new).and_then(|process| process.oom_score_adj) {
        Some(adj) => Procfs::open()?
            .write(&format!("{init}/oom_score_adj"), &adj.to_string())
            .context(|| "config.json: /process/oomScoreAdj"),
        None => Ok(()),
    }
}

/// Gives the user namespace of a process its ids.
///
/// # Errors
/// As [`give_ids`].
pub fn write_maps(pid: i32, user: &User) -> Result<()> {
    let procfs = Procfs::open()?;
    let file = |name: &str| format!("{pid}/{name}");
    if user.gids.writer == Writer::Own {
        // Or a group that denies something could be dropped (CVE-2014-8989).
        procfs.write(&file("setgroups"), "deny")?;
    }
    for (name, program, map, pointer) in [
        ("gid_map", "newgidmap", &user.gids, "/linux/gidMappings"),
        ("uid_map", "newuidmap", &user.uids, "/linux/uidMappings"),
    ] {
        match map.writer {
            Writer::Privileged | Writer::Own => procfs.write(&file(name), &map.text()),
            Writer::Program => run(program, pid, map),
        }
        .context(|| format!("config.json: {pointer}"))?;
    }
    Ok(())
}

fn run(program: &str, pid: i32, map: &Map) -> Result<()> {
    let numbers = map.lines.iter().flat_map(|line| [line.container, line.host, line.size]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .call(|| format!("exec {program:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::new(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Becomes the root of the user namespace, if that has one: what is made from here on must belong to
/// somebody there.
///
/// # Errors
/// Those of setresuid(2) other than that there is no id 0.
pub fn become_root() -> Result<()> {
    match ids::become_user(0, 0, &[]) {
        Err(error) if error.errno() == Some(nix::errno::Errno::EINVAL) => Ok(()),
        other => other,
    }
}
