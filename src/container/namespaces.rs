//! Makes and joins namespaces: namespaces(7), setns(2), time_namespaces(7).

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;

use crate::error::{Context, Error, Result};
use crate::plan::namespaces::{CGROUP, Joiner, NETWORK, Namespaces, TIME, TYPES};
use crate::sys::netlink::loopback_up;
use crate::sys::path::open_path;
use crate::sys::proc::Procfs;
use crate::sys::process::{namespace_type, setns, unshare};

/// A namespace that exists, open.
#[derive(Debug)]
pub struct Joined {
    /// Its CLONE_NEW* flag.
    pub kind: u64,
    /// The namespace file.
    pub file: OwnedFd,
    /// Who joins it.
    pub by: Joiner,
}

/// Opens the namespaces to join, in the runtime namespace, and checks that each is of its type.
///
/// # Errors
/// That one is not there or is of another type, with its place in the config.
pub fn open_joins(namespaces: &Namespaces) -> Result<Vec<Joined>> {
    let open_one = |join: &crate::plan::namespaces::Join| {
        let path = join.path.as_str();
        // A FIFO in its place must not hold us.
        let file = open_path(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let kind = namespace_type(file.as_fd())
            .map_err(|_| Error::new(format!("{path:?} is not a namespace")))?;
        if kind != join.kind {
            let name =
                |kind| TYPES.iter().find(|(_, flag)| *flag == kind).map_or("?", |(name, _)| name);
            let (is, wanted) = (name(kind), name(join.kind));
            return Err(Error::new(format!("{path:?} is a {is} namespace, not a {wanted} one")));
        }
        Ok(Joined { kind, file, by: join.by })
    };
    let mut joined = Vec::new();
    for join in &namespaces.joins {
        joined.push(open_one(join).context(|| format!("config.json: {}", join.pointer))?);
    }
    Ok(joined)
}

/// In the runtime: joins those into which init is to be born. Returns the runtime's own, to come back
/// to with [`leave`].
///
/// # Errors
/// Those of setns(2).
pub fn enter(joined: &[Joined]) -> Result<Vec<Joined>> {
    let mut own = Vec::new();
    let joins: Vec<_> = joined.iter().filter(|join| join.by == Joiner::Runtime).collect();
    if joins.is_empty() {
        return Ok(own);
    }
    let procfs = Procfs::open()?;
    for join in joins {
        let file = procfs.magic_file(&format!("self/ns/{}", file_name(join.kind)))?;
        own.push(Joined { kind: join.kind, file, by: Joiner::Runtime });
        if let Err(error) = setns(join.file.as_fd(), join.kind) {
            // What create unmakes, it unmakes where it came from.
            leave(&own).ok();
            return Err(error);
        }
    }
    Ok(own)
}

/// Goes back to the runtime's own namespaces.
///
/// # Errors
/// Those of setns(2).
pub fn leave(own: &[Joined]) -> Result<()> {
    own.iter().try_for_each(|own| setns(own.file.as_fd(), own.kind))
}

/// The name of a namespace in /proc/PID/ns (namespaces(7)).
fn file_name(kind: u64) -> &'static str {
    let word = TYPES.iter().find(|(_, flag)| *flag == kind).map_or("?", |(word, _)| word);
    match word {
        "mount" => "mnt",
        "network" => "net",
        word => word,
    }
}

/// In init: joins those that are left to it, then makes those that clone3 could not make.
///
/// # Errors
/// EPERM, EINVAL of setns(2) and unshare(2).
pub fn join_and_make(namespaces: &Namespaces, joined: &[Joined], procfs: &Procfs) -> Result<()> {
    for join in joined.iter().filter(|join| join.by == Joiner::Init) {
        setns(join.file.as_fd(), join.kind)?;
    }
    if namespaces.new & CGROUP != 0 {
        unshare(CGROUP)?;
    }
    if namespaces.new & TIME != 0 {
        make_time(&namespaces.time_offsets, procfs)?;
    }
    if namespaces.new & NETWORK != 0 {
        loopback_up()?;
    }
    Ok(())
}

/// The offsets are set while nobody is in the namespace; then init goes in.
fn make_time(offsets: &[String], procfs: &Procfs) -> Result<()> {
    unshare(TIME)?;
    for line in offsets {
        procfs.write("self/timens_offsets", line).context(|| "config.json: /linux/timeOffsets")?;
    }
    let namespace = procfs.magic_file("self/ns/time_for_children")?;
    setns(namespace.as_fd(), TIME)
}
