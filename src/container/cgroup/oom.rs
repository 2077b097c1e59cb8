//! Whether the kernel ended a process of the cgroup because its memory was used up: cgroup-v2.rst,
//! "memory.events".

use super::file::read_path;
use super::stats::value_of;

/// What to say of it, with the limit; `None` if no process was ended so.
#[must_use]
pub fn story(directory: &str) -> Option<String> {
    let read = |file: &str| read_path(&format!("{directory}/{file}")).ok().flatten();
    let events = read("memory.events")?;
    if value_of(&events, "oom_kill") == 0 {
        return None;
    }
    let limit = read("memory.max").unwrap_or_default();
    Some(match limit.trim() {
        "max" | "" => "memory was used up, and the OOM killer ended it".to_owned(),
        limit => format!(
            "the OOM killer ended it: memory.max of {directory:?} is {limit} bytes \
             (/linux/resources/memory/limit), too little to start in"
        ),
    })
}
