//! config.json: config.md and config-linux.md of the runtime specification 1.3, as types.
//!
//! A value that the specification names by a word stays a word here: an unknown one is reported
//! by the plan, with its place in the document, together with everything else that is wrong.
//! Unknown properties are ignored (config.md, "Extensibility").

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::json::{named_objects, nullable, nullable_object, object, objects};
use super::resources::Resources;
use super::seccomp::Seccomp;

/// The whole document.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Spec {
    /// The version of the specification that the document follows.
    pub oci_version: String,
    /// The root filesystem.
    #[serde(deserialize_with = "object")]
    pub root: Option<Root>,
    /// Additional mounts, in the order in which they are made.
    #[serde(deserialize_with = "objects")]
    pub mounts: Vec<Mount>,
    /// The program. May be absent until `start`.
    #[serde(deserialize_with = "object")]
    pub process: Option<Process>,
    /// The host name, in the container's UTS namespace.
    pub hostname: Option<String>,
    /// The NIS domain name, in the container's UTS namespace.
    pub domainname: Option<String>,
    /// Programs to run at points of the container's life.
    #[serde(deserialize_with = "nullable_object")]
    pub hooks: Hooks,
    /// Free text for whoever looks at the container.
    #[serde(deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// What only Linux has.
    #[serde(deserialize_with = "nullable_object")]
    pub linux: Linux,
}

/// config.md, "Root".
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: String,
    /// Whether the root filesystem is read-only inside.
    #[serde(default)]
    pub readonly: bool,
}

/// config.md, "Mounts".
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Mount {
    /// A path in the container.
    pub destination: String,
    /// A device, a name, or the file or directory of a bind mount.
    pub source: Option<String>,
    /// A filesystem type of the kernel.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Words of config.md's tables; any other word is for the filesystem.
    #[serde(deserialize_with = "nullable")]
    pub options: Vec<String>,
    /// For an id-mapped mount.
    #[serde(deserialize_with = "objects")]
    pub uid_mappings: Vec<IdMapping>,
    /// For an id-mapped mount.
    #[serde(deserialize_with = "objects")]
    pub gid_mappings: Vec<IdMapping>,
}

/// config.md, "Process".
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Process {
    /// Whether a terminal is attached.
    pub terminal: bool,
    /// The size of the terminal.
    #[serde(deserialize_with = "object")]
    pub console_size: Option<ConsoleSize>,
    /// The working directory, absolute.
    pub cwd: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "nullable")]
    pub env: Vec<String>,
    /// The program and its arguments, as for execvp(3).
    #[serde(deserialize_with = "nullable")]
    pub args: Vec<String>,
    /// Who the process is.
    #[serde(deserialize_with = "nullable_object")]
    pub user: User,
    /// What the process may do. Absent: no capability at all.
    #[serde(deserialize_with = "object")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits.
    #[serde(deserialize_with = "objects")]
    pub rlimits: Vec<Rlimit>,
    /// Whether programs may gain privileges by being executed.
    pub no_new_privileges: bool,
    /// How eagerly the kernel ends the process when memory runs out: -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The processor scheduling.
    #[serde(deserialize_with = "object")]
    pub scheduler: Option<Scheduler>,
    /// The input and output priority.
    #[serde(rename = "ioPriority", deserialize_with = "object")]
    pub io_priority: Option<IoPriority>,
    /// The AppArmor profile of the program.
    pub apparmor_profile: Option<String>,
    /// The SELinux label of the program.
    pub selinux_label: Option<String>,
    /// Where processes of `exec` run; not for the container's own.
    #[serde(rename = "execCPUAffinity", deserialize_with = "object")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// Lists of processors such as `0-3,7` (cpuset(7), "List format").
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExecCpuAffinity {
    /// Before the process is in the container's cgroup.
    pub initial: Option<String>,
    /// From then on.
    #[serde(rename = "final")]
    pub last: Option<String>,
}

/// In character cells.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ConsoleSize {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// config.md, "POSIX-platform User".
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct User {
    /// The user id in the container.
    pub uid: u32,
    /// The group id in the container.
    pub gid: u32,
    /// The file mode creation mask; unset: the caller's.
    pub umask: Option<u32>,
    /// Supplementary group ids in the container.
    #[serde(deserialize_with = "nullable")]
    pub additional_gids: Vec<u32>,
}

/// Names such as `CAP_KILL` (capabilities(7)).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// The bounding set.
    #[serde(deserialize_with = "nullable")]
    pub bounding: Vec<String>,
    /// The effective set.
    #[serde(deserialize_with = "nullable")]
    pub effective: Vec<String>,
    /// The inheritable set.
    #[serde(deserialize_with = "nullable")]
    pub inheritable: Vec<String>,
    /// The permitted set.
    #[serde(deserialize_with = "nullable")]
    pub permitted: Vec<String>,
    /// The ambient set.
    #[serde(deserialize_with = "nullable")]
    pub ambient: Vec<String>,
}

/// One resource limit (getrlimit(2)).
#[derive(Debug, Deserialize)]
pub struct Rlimit {
    /// A name such as `RLIMIT_NOFILE`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the kernel enforces.
    pub soft: u64,
    /// What the soft limit may be raised to.
    pub hard: u64,
}

/// config.md, "scheduler".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Scheduler {
    /// A name such as `SCHED_OTHER`.
    pub policy: String,
    /// -20 to 19.
    pub nice: Option<i32>,
    /// 1 to 99.
    pub priority: Option<i32>,
    /// Names such as `SCHED_FLAG_RESET_ON_FORK`.
    #[serde(deserialize_with = "nullable")]
    pub flags: Vec<String>,
    /// Nanoseconds.
    pub runtime: Option<u64>,
    /// Nanoseconds.
    pub deadline: Option<u64>,
    /// Nanoseconds.
    pub period: Option<u64>,
}

/// config.md, "ioPriority".
#[derive(Debug, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`.
    pub class: String,
    /// 0 (highest) to 7.
    pub priority: i64,
}

/// config.md, "POSIX-platform Hooks". Each list runs in its order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hooks {
    /// Deprecated; as createRuntime, and before it.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub prestart: Vec<Hook>,
    /// During create, in the runtime namespace.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub create_runtime: Vec<Hook>,
    /// During create, in the container namespace, before the root changes.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub create_container: Vec<Hook>,
    /// During start, in the container, before the program.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub start_container: Vec<Hook>,
    /// After the program was started.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// After the container was deleted.
    #[serde(deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
}

/// One program to run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Hook {
    /// An absolute path.
    pub path: String,
    /// The arguments, the program's name first.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds until it is ended and counts as failed; more than 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// config-linux.md.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Linux {
    /// Which namespaces are new or joined; all others are inherited.
    #[serde(deserialize_with = "objects")]
    pub namespaces: Vec<Namespace>,
    /// User ids inside and outside.
    #[serde(deserialize_with = "objects")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids inside and outside.
    #[serde(deserialize_with = "objects")]
    pub gid_mappings: Vec<IdMapping>,
    /// Offsets of the clocks `monotonic` and `boottime`.
    #[serde(deserialize_with = "named_objects")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
    /// Device files to make.
    #[serde(deserialize_with = "objects")]
    pub devices: Vec<Device>,
    /// Interfaces of the host to move in, by their name there.
    #[serde(deserialize_with = "named_objects")]
    pub net_devices: BTreeMap<String, NetDevice>,
    /// The cgroup, absolute below the cgroup mount or relative to where the runtime puts it.
    pub cgroups_path: Option<String>,
    /// Limits and allowed devices.
    #[serde(deserialize_with = "object")]
    pub resources: Option<Resources>,
    /// Cache and memory bandwidth allocation of Intel processors.
    pub intel_rdt: Option<IgnoredAny>,
    /// The NUMA memory policy.
    #[serde(deserialize_with = "object")]
    pub memory_policy: Option<MemoryPolicy>,
    /// Kernel parameters, by name.
    #[serde(deserialize_with = "nullable")]
    pub sysctl: BTreeMap<String, String>,
    /// The filter of system calls.
    #[serde(deserialize_with = "object")]
    pub seccomp: Option<Seccomp>,
    /// `shared`, `slave`, `private` or `unbindable`, with an `r` before it for all mounts below.
    pub rootfs_propagation: Option<String>,
    /// Paths that show nothing.
    #[serde(deserialize_with = "nullable")]
    pub masked_paths: Vec<String>,
    /// Paths that are read-only.
    #[serde(deserialize_with = "nullable")]
    pub readonly_paths: Vec<String>,
    /// The SELinux label of the mounts.
    pub mount_label: Option<String>,
    /// The execution domain.
    #[serde(deserialize_with = "object")]
    pub personality: Option<Personality>,
}

/// config-linux.md, "User namespace mappings": so many ids from these on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct IdMapping {
    /// The first id in the user namespace.
    #[serde(rename = "containerID")]
    pub container: u32,
    /// The first id in the runtime's user namespace.
    #[serde(rename = "hostID")]
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// config-linux.md, "Namespaces".
#[derive(Debug, Deserialize)]
pub struct Namespace {
    /// `pid`, `network`, `mount`, `ipc`, `uts`, `user`, `cgroup` or `time`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The namespace file to join; absent or empty: a new namespace.
    pub path: Option<String>,
}

/// Added to a clock.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

/// config-linux.md, "Devices".
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Device {
    /// `c`, `b`, `u` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where in the container.
    pub path: String,
    /// The major number; not for `p`.
    pub major: Option<i64>,
    /// The minor number; not for `p`.
    pub minor: Option<i64>,
    /// Permission bits; absent: 0666.
    pub file_mode: Option<u32>,
    /// The owner in the container.
    pub uid: u32,
    /// The group in the container.
    pub gid: u32,
}

/// config-linux.md, "Network Devices".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NetDevice {
    /// The name in the container; absent: as on the host.
    pub name: Option<String>,
}

/// config-linux.md, "Memory policy".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct MemoryPolicy {
    /// A name such as `MPOL_BIND`.
    pub mode: String,
    /// Numbers and ranges such as `0,2-3`.
    pub nodes: Option<String>,
    /// Names such as `MPOL_F_STATIC_NODES`.
    #[serde(deserialize_with = "nullable")]
    pub flags: Vec<String>,
}

/// config-linux.md, "Personality".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None is defined.
    #[serde(deserialize_with = "nullable")]
    pub flags: Vec<String>,
}
