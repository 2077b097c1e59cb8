//! config-linux.md, "Seccomp", as types; and the container process state, which a listener gets.

use serde::{Deserialize, Serialize};

use super::json::{nullable, objects};
use super::state::State;

/// The section.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Seccomp {
    /// What happens to a call that no rule matches: a name such as `SCMP_ACT_ERRNO`.
    pub default_action: String,
    /// The error number that goes with it.
    pub default_errno_ret: Option<u64>,
    /// Names such as `SCMP_ARCH_X86_64`.
    #[serde(deserialize_with = "nullable")]
    pub architectures: Vec<String>,
    /// Names such as `SECCOMP_FILTER_FLAG_LOG`. Absent is not the same as empty.
    pub flags: Option<Vec<String>>,
    /// The socket of who decides the calls of `SCMP_ACT_NOTIFY`.
    pub listener_path: Option<String>,
    /// Passed to it as it is.
    pub listener_metadata: Option<String>,
    /// The rules.
    #[serde(deserialize_with = "objects")]
    pub syscalls: Vec<Rule>,
}

/// What happens to some calls.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// Names of system calls.
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<String>,
    /// A name such as `SCMP_ACT_ALLOW`.
    pub action: String,
    /// The error number that goes with it.
    pub errno_ret: Option<u64>,
    /// All must hold; but if two are of one argument, each alone.
    #[serde(deserialize_with = "objects")]
    pub args: Vec<Argument>,
}

/// A condition on an argument.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Argument {
    /// Which one: 0 to 5.
    pub index: u64,
    /// What it is compared with; of `SCMP_CMP_MASKED_EQ` the mask.
    pub value: u64,
    /// What the masked argument is compared with.
    #[serde(default)]
    pub value_two: u64,
    /// A name such as `SCMP_CMP_EQ`.
    pub op: String,
}

/// config-linux.md, "The Container Process State".
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerProcessState<'a> {
    /// The version of the specification that the object follows.
    pub oci_version: &'static str,
    /// What the descriptors are that come with it.
    pub fds: [&'static str; 1],
    /// The pid of the container process in the runtime namespace.
    pub pid: i32,
    /// As in the config.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub metadata: &'a str,
    /// The container.
    pub state: State<'a>,
}
