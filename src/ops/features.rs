//! features: features.md and features-linux.md of the runtime specification. Made from the tables
//! that the plan itself uses, so that it says what is true.

use serde_json::json;

use crate::error::Result;
use crate::host::known_seccomp_flags;
use crate::plan::hooks::by_kind;
use crate::plan::mount_options::WORDS;
use crate::plan::namespaces::TYPES;
use crate::plan::process::{MODE_FLAGS, MODES};
use crate::plan::seccomp::architectures::ARCHITECTURES;
use crate::plan::seccomp::rules::{ACTIONS, OPERATORS};
use crate::plan::seccomp::{FLAGS, STRICT};
use crate::plan::unit::annotations::PREFIX;
use crate::spec::VERSION;
use crate::spec::config::Hooks;

/// Prints the document. Nothing else may be printed: engines parse both outputs together.
///
/// # Errors
/// Those of writing it.
pub fn features() -> Result<()> {
    let document = document();
    let text = serde_json::to_string_pretty(&document).expect("a value is JSON");
    super::print(&(text + "\n"))
}

fn document() -> serde_json::Value {
    let nothing = Hooks::default();
    let hooks = by_kind(&nothing).map(|(kind, _)| kind);
    let options: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
    let mut capabilities: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    capabilities.sort();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": VERSION,
        "hooks": hooks,
        "mountOptions": options,
        "linux": {
            "namespaces": TYPES.map(|(word, _)| word),
            "capabilities": capabilities,
            "cgroup": {
                "v1": false, "v2": true, "systemd": true, "systemdUser": true, "rdma": true,
            },
            "seccomp": {
                "enabled": true,
                "actions": ACTIONS.map(|(name, _)| name),
                "operators": OPERATORS.map(|(name, _)| name),
                "archs": ARCHITECTURES.each_ref().map(|architecture| architecture.name),
                "knownFlags": FLAGS.map(|(name, _)| name),
                "supportedFlags": supported_flags(),
            },
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {
                "modes": MODES.map(|(word, _)| word),
                "flags": MODE_FLAGS.map(|(word, _)| word),
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
        "annotations": {
            "run.oci.hull.version": env!("CARGO_PKG_VERSION"),
        },
        "potentiallyUnsafeConfigAnnotations": [PREFIX, STRICT],
    })
}

/// The flags of the config that this kernel has (features-linux.md, "Seccomp").
fn supported_flags() -> Vec<&'static str> {
    let known = known_seccomp_flags();
    let supported = FLAGS.iter().filter(|(_, flag)| known & flag != 0);
    supported.map(|(name, _)| *name).collect()
}
