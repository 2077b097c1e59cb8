//! The filter of system calls: config-linux.md, "Seccomp". In three steps: the section becomes a
//! checked rule set ([`rules`]), that a decision tree ([`tree`]), and that a program ([`bpf`]).
//!
//! A call that no rule names gets the default action, but one that is newer than all that the
//! profile names gets ENOSYS if the default refuses: so a C library takes the older call, as it
//! would on an older kernel (runc does the same, crun does not).

pub mod architectures;
pub mod bpf;
mod conditions;
pub mod rules;
pub mod syscalls;
pub mod tree;

use std::collections::BTreeMap;
use std::fmt;

use super::Problems;
use super::process::Process;
use crate::host::Host;
use crate::spec::config::Linux;
use crate::spec::seccomp::Seccomp;
use crate::sys::filter::Instruction;
use crate::sys::ids::CapabilitySets;
use rules::{RuleSet, action};

/// What init loads.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The program.
    pub instructions: Vec<Instruction>,
    /// SECCOMP_FILTER_FLAG_*.
    pub flags: u32,
    /// Who decides some of the calls.
    pub listener: Option<Listener>,
    /// The capabilities with which it is loaded, if not those of the config: without no_new_privs
    /// the kernel wants CAP_SYS_ADMIN. Of what is permitted and effective before execve, nothing
    /// is after it (capabilities(7), "Transformation of capabilities during execve()").
    pub loaded_with: Option<CapabilitySets>,
}

/// Who decides the calls of `SCMP_ACT_NOTIFY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its socket, in the runtime namespace.
    pub path: String,
    /// What is passed to it.
    pub metadata: String,
    /// The filter that is loaded when it has the descriptor: see `container::seccomp`.
    pub last: Vec<Instruction>,
}

/// SECCOMP_FILTER_FLAG_* (linux/seccomp.h).
pub mod flag {
    /// All threads of the process.
    pub const TSYNC: u32 = 1 << 0;
    /// What is not allowed is logged.
    pub const LOG: u32 = 1 << 1;
    /// Without the mitigation of speculative store bypass.
    pub const SPEC_ALLOW: u32 = 1 << 2;
    /// The call returns a descriptor for the listener.
    pub const NEW_LISTENER: u32 = 1 << 3;
    /// Who waits for the listener is not interrupted by a signal that does not kill.
    pub const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// The flags by their names in the config.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", flag::TSYNC),
    ("SECCOMP_FILTER_FLAG_LOG", flag::LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", flag::SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", flag::WAIT_KILLABLE_RECV),
];

/// With it, a name that is no system call is wrong: crun's.
pub const STRICT: &str = "run.oci.seccomp_fail_unknown_syscall";

const EXECVE: syscalls::Call = syscalls::call("execve");

/// The longest path of a socket (unix(7)).
const LONGEST_PATH: usize = 107;

/// CAP_SYS_ADMIN.
const SYS_ADMIN: u64 = 1 << 21;

/// Plans the filter of the process, if there is one.
pub fn plan(
    linux: &Linux,
    annotations: &BTreeMap<String, String>,
    process: Option<&mut Process>,
    host: &Host,
    problems: &mut Problems,
) {
    let Some(section) = &linux.seccomp else { return };
    let set = rules::check(section, annotations.contains_key(STRICT), problems);
    let listener = plan_listener(section, &set, problems);
    let flags = plan_flags(section, listener.is_some(), host, problems);
    let instructions = compile(&set, problems);
    let Some(process) = process else { return };
    let refuses = [action::KILL_PROCESS, action::KILL_THREAD, action::TRAP, action::ERRNO];
    if let Some((action, pointer)) = set.verdict(EXECVE)
        && refuses.contains(&(action & action::MASK))
    {
        problems.add(pointer, "refuses execve, without which there is no program");
    }
    let sets = process.credentials.capabilities;
    let loaded_with = (!process.no_new_privileges).then_some(CapabilitySets {
        effective: sets.effective | SYS_ADMIN,
        permitted: sets.permitted | SYS_ADMIN,
        ..sets
    });
    process.filter = Some(Filter { instructions, flags, listener, loaded_with });
}

/// The second and the third step.
pub fn compile(set: &RuleSet, problems: &mut Problems) -> Vec<Instruction> {
    let tree = match tree::build(set) {
        Ok(tree) => tree,
        Err(tree::Contradiction(first, second)) => {
            let pointer = format!("/linux/seccomp/syscalls/{second}");
            let message = format_args!("contradicts syscalls/{first}: another action for the same");
            problems.add(pointer, message);
            return Vec::new();
        }
    };
    let program = bpf::assemble(&tree);
    if program.len() > bpf::LONGEST {
        let (size, name) = tree.largest;
        problems.add(
            "/linux/seccomp/syscalls",
            format_args!(
                "{} instructions, the kernel takes {}; the arguments of {name} alone take {size}",
                program.len(),
                bpf::LONGEST
            ),
        );
    }
    program
}

fn plan_listener(section: &Seccomp, set: &RuleSet, problems: &mut Problems) -> Option<Listener> {
    let path = section.listener_path.as_deref().filter(|path| !path.is_empty());
    let metadata = section.listener_metadata.as_deref().unwrap_or_default();
    if path.is_none() && !metadata.is_empty() {
        problems.add("/linux/seccomp/listenerMetadata", "needs a listenerPath");
    }
    if !set.has_listener {
        // config-linux.md: then the path is ignored.
        return None;
    }
    let Some(path) = path else {
        let named = section.syscalls.iter().position(|rule| rule.action == "SCMP_ACT_NOTIFY");
        let pointer = match named {
            Some(index) if set.default != action::NOTIFY => {
                format!("/linux/seccomp/syscalls/{index}/action")
            }
            _ => "/linux/seccomp/defaultAction".to_owned(),
        };
        problems.add(pointer, "SCMP_ACT_NOTIFY needs a listenerPath");
        return None;
    };
    let pointer = "/linux/seccomp/listenerPath";
    problems.check_text(pointer, path);
    if path.len() > LONGEST_PATH {
        problems.add(pointer, format_args!("{} bytes, at most {LONGEST_PATH}", path.len()));
    }
    let last = bpf::assemble(&tree::without_own_calls());
    Some(Listener { path: path.to_owned(), metadata: metadata.to_owned(), last })
}

/// Without any, SPEC_ALLOW, as with runc and crun: the mitigation makes interpreters slow.
fn plan_flags(section: &Seccomp, has_listener: bool, host: &Host, problems: &mut Problems) -> u32 {
    let Some(names) = &section.flags else {
        return flag::SPEC_ALLOW | if has_listener { flag::NEW_LISTENER } else { 0 };
    };
    let mut flags = if has_listener { flag::NEW_LISTENER } else { 0 };
    for (index, name) in names.iter().enumerate() {
        let pointer = format!("/linux/seccomp/flags/{index}");
        match FLAGS.iter().find(|(known, _)| known == name) {
            None => problems.add(pointer, format_args!("unknown flag {name:?}")),
            // Init has no other thread that should be filtered.
            Some((_, flag::TSYNC)) => {}
            // The kernel takes it only with a listener.
            Some((_, flag::WAIT_KILLABLE_RECV)) if !has_listener => {}
            Some((_, flag)) if host.seccomp_flags & flag == 0 => {
                problems.add(pointer, format_args!("this kernel has no {name}"));
            }
            Some((_, flag)) => flags |= flag,
        }
    }
    flags
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.instructions.len();
        write!(f, "seccomp {length} instructions, flags {:#x}", self.flags)?;
        if let Some(listener) = &self.listener {
            write!(f, ", listener {}", listener.path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(names: Option<&[&str]>, has_listener: bool) -> (u32, Vec<String>) {
        let names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let section = Seccomp { flags: names, ..Seccomp::default() };
        let host = Host { seccomp_flags: flag::LOG | flag::SPEC_ALLOW, ..Host::default() };
        let mut problems = Problems::default();
        let flags = plan_flags(&section, has_listener, &host, &mut problems);
        (flags, problems.wrong().to_vec())
    }

    #[test]
    fn flags_that_are_absent_are_not_flags_that_are_empty() {
        let names = ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"];
        assert_eq!(flags(None, false), (flag::SPEC_ALLOW, Vec::new()));
        assert_eq!(flags(Some(&[]), false), (0, Vec::new()));
        assert_eq!(flags(Some(&names), false), (flag::LOG, Vec::new()));
        assert_eq!(flags(None, true), (flag::SPEC_ALLOW | flag::NEW_LISTENER, Vec::new()));
    }

    #[test]
    fn a_flag_that_the_kernel_lacks_is_wrong_where_it_would_do_something() {
        let wait = ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"];
        assert_eq!(flags(Some(&wait), false), (0, Vec::new()));
        let (_, wrong) = flags(Some(&wait), true);
        assert_eq!(wrong, [format!("/linux/seccomp/flags/0: this kernel has no {}", wait[0])]);
    }
}
