//! Whether the hooks can be run: config.md, "POSIX-platform Hooks".

use super::Problems;
use crate::spec::config::Hooks;

/// Checks every hook of every kind.
pub fn check(hooks: &Hooks, problems: &mut Problems) {
    for (kind, list) in by_kind(hooks) {
        for (index, hook) in list.iter().enumerate() {
            let pointer = format!("/hooks/{kind}/{index}");
            problems.check_text(format_args!("{pointer}/path"), &hook.path);
            if !hook.path.starts_with('/') {
                let message = format!("{:?} must be absolute", hook.path);
                problems.add(format_args!("{pointer}/path"), message);
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                problems.add(format_args!("{pointer}/timeout"), "must be more than 0");
            }
            for (place, arg) in hook.args.iter().enumerate() {
                problems.check_text(format_args!("{pointer}/args/{place}"), arg);
            }
            for (place, entry) in hook.env.iter().flatten().enumerate() {
                let pointer = format!("{pointer}/env/{place}");
                problems.check_text(&pointer, entry);
                if entry.find('=').is_none_or(|at| at == 0) {
                    problems.add(pointer, format_args!("{entry:?} is not NAME=value"));
                }
            }
        }
    }
}

/// The kinds by the specification's words, in the order in which they run.
#[must_use]
pub fn by_kind(hooks: &Hooks) -> [(&'static str, &[crate::spec::config::Hook]); 6] {
    [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ]
}
