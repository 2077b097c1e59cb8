//! linux.resources.unified: config-linux.md, "Unified". A file that nobody here knows is written all
//! the same.

use std::collections::BTreeMap;

use super::{Draft, escape};

/// Plans what is written as it is. A line is a write of its own: the kernel reads one line at a time.
pub fn plan(files: &BTreeMap<String, String>, draft: &mut Draft<'_>) {
    for (file, text) in files {
        let place = format!("/unified/{}", escape(file));
        if file.contains(['/', '\0']) || file.starts_with('.') || !file.contains('.') {
            draft.wrong(&place, "is no interface file, must be CONTROLLER.NAME");
            continue;
        }
        if text.contains('\0') {
            draft.wrong(&place, "holds a NUL byte");
            continue;
        }
        let lines = text.lines().filter(|line| !line.is_empty());
        let before = draft.settings.len();
        lines.for_each(|line| draft.set(&place, file, line));
        if draft.settings.len() == before {
            // As `echo > cpuset.cpus`: the value of the cgroup above.
            draft.set(&place, file, "\n");
        }
    }
}
