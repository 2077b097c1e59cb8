//! The state object: runtime.md, "State". Hooks get it on standard input, `state` prints it.

use std::collections::BTreeMap;

use serde::Serialize;

/// What is told of a container. The last three are runc's, and engines read them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    /// The version of the specification that the object follows.
    pub oci_version: &'static str,
    /// The container's id.
    pub id: &'a str,
    /// The pid of the container process; 0 when it has ended.
    pub pid: i32,
    /// `creating`, `created`, `running` or `stopped`; `paused` is runc's.
    pub status: &'a str,
    /// The absolute path of the bundle.
    pub bundle: &'a str,
    /// The absolute path of the root filesystem.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub rootfs: &'a str,
    /// When the container was created: RFC 3339.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub created: &'a str,
    /// Those of config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
    /// The name of the user who owns the container, or the number without a name.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub owner: &'a str,
}
