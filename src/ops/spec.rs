//! spec: a config.json to start from.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Call, Error, Result};
use crate::spec::{VERSION, defaults};

/// Writes config.json into a bundle; for an ordinary user if `rootless`.
///
/// # Errors
/// That there is one; those of writing it.
pub fn spec(bundle: &str, rootless: bool) -> Result<()> {
    let path = Path::new(bundle).join("config.json");
    let text = serde_json::to_string_pretty(&document(rootless)).expect("a value is JSON") + "\n";
    match File::create_new(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(Error::new("File config.json exists. Remove it first"))
        }
        other => other
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .call(|| format!("write({path:?})")),
    }
}

fn document(rootless: bool) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount", "cgroup"];
    namespaces.push(if rootless { "user" } else { "network" });
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({ "type": kind })).collect();
    let capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": defaults::MASKED_PATHS,
        "readonlyPaths": defaults::READONLY_PATHS,
    });
    if rootless {
        let own = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        linux["uidMappings"] = own(nix::unistd::geteuid().as_raw());
        linux["gidMappings"] = own(nix::unistd::getegid().as_raw());
    } else {
        // Of devices the default ones alone.
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    }
    json!({
        "ociVersion": VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": [defaults::PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "hull",
        "mounts": defaults::mounts(!rootless, !rootless),
        "linux": linux,
    })
}
