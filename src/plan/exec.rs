//! What `exec` will do: another program in a container, planned from what is asked and from the
//! container's own config.

use super::Problems;
use super::namespaces::{self, MOUNT, PID, USER};
use super::process::{self, Process};
use super::seccomp;
use crate::error::Result;
use crate::host::Host;
use crate::spec::config::{self, Capabilities, Spec};

/// What is asked.
#[derive(Debug)]
pub enum Wanted {
    /// `--process`: all of it.
    File {
        /// The file's path.
        path: String,
        /// What is in it.
        process: Box<config::Process>,
    },
    /// The config's process with these changes.
    Changes(Changes),
}

/// What a command line changes of the config's process.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The working directory.
    pub cwd: Option<String>,
    /// `UID[:GID]`.
    pub user: Option<String>,
    /// More groups.
    pub additional_gids: Vec<String>,
    /// More variables, `NAME=value`.
    pub env: Vec<String>,
    /// More capabilities.
    pub capabilities: Vec<String>,
    /// Whether to gain no privileges; unset: as the config says.
    pub no_new_privileges: Option<bool>,
    /// The label of SELinux.
    pub selinux_label: Option<String>,
    /// The profile of AppArmor.
    pub apparmor_profile: Option<String>,
    /// Whether it has a terminal.
    pub terminal: bool,
}

impl Wanted {
    /// Whether the program may get a label, its own or that of the container's config.
    #[must_use]
    pub fn has_label(&self, config: &Spec) -> bool {
        let [profile, label] = match self {
            Self::File { process, .. } => [&process.apparmor_profile, &process.selinux_label],
            Self::Changes(changes) => [&changes.apparmor_profile, &changes.selinux_label],
        };
        let of_config = config.process.as_ref();
        profile.is_some()
            || label.is_some()
            || of_config.is_some_and(|process| {
                process.apparmor_profile.is_some() || process.selinux_label.is_some()
            })
    }
}

/// All that exec does.
#[derive(Debug)]
pub struct Exec {
    /// The program.
    pub process: Process,
    /// The CLONE_NEW* flags of the namespaces that the container does not share with the runtime,
    /// other than the pid namespace.
    pub namespaces: u64,
    /// Whether the container has a pid namespace that is not the runtime's.
    pub joins_pid: bool,
    /// Whether its root is that of its mount namespace; else init has a root of its own.
    pub has_own_mounts: bool,
    /// The execution domain.
    pub personality: Option<u64>,
    /// Where memory is taken from.
    pub memory_policy: Option<process::MemoryPolicy>,
    /// Whether the runtime has privileges over the whole host.
    pub is_privileged: bool,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Exec {
    /// Whether the process waits, before it becomes the program, until the runtime has done something.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.process.terminal.is_some() || self.process.limits_by_runtime
    }
}

/// Makes the plan. `config` is what the container was made of.
///
/// # Errors
/// Everything that is wrong in what is asked, in one error.
pub fn plan(config: Spec, wanted: Wanted, host: &Host) -> Result<Exec> {
    let mut problems = Problems::default();
    let container = config.process.unwrap_or_default();
    let is_file = matches!(wanted, Wanted::File { .. });
    let (document, process) = match wanted {
        Wanted::File { path, process } => (path, complete(*process, container)),
        Wanted::Changes(changes) => {
            ("command line".to_owned(), change(container, changes, &mut problems))
        }
    };
    let linux = config.linux;
    let namespaces = namespaces::plan(&linux.namespaces, &linux.time_offsets, &mut problems);
    let mut process = process::plan(process, host, namespaces.is_own(USER), &mut problems);
    process.makes_cwd = false;
    seccomp::plan(&linux, &config.annotations, Some(&mut process), host, &mut problems);
    let own = |kind: &&(_, u64)| namespaces.is_own(kind.1) && kind.1 != PID;
    let exec = Exec {
        process,
        namespaces: namespaces::TYPES.iter().filter(own).fold(0, |flags, (_, kind)| flags | kind),
        joins_pid: namespaces.is_own(PID),
        has_own_mounts: namespaces.new & MOUNT != 0,
        personality: process::personality(linux.personality.as_ref(), &mut problems),
        memory_policy: process::memory_policy(linux.memory_policy.as_ref(), &mut problems),
        is_privileged: host.is_privileged,
        warnings: Vec::new(),
    };
    if is_file {
        problems.are_of_a_process();
    }
    problems.into_result(&document).map(|warnings| Exec { warnings, ..exec })
}

/// What a process file leaves out is the container's, as with runc.
fn complete(mut process: config::Process, container: config::Process) -> config::Process {
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    process.capabilities = process.capabilities.or(container.capabilities);
    if process.rlimits.is_empty() {
        process.rlimits = container.rlimits;
    }
    if !is_set(&process.apparmor_profile) {
        process.apparmor_profile = container.apparmor_profile;
    }
    if !is_set(&process.selinux_label) {
        process.selinux_label = container.selinux_label;
    }
    process.oom_score_adj = process.oom_score_adj.or(container.oom_score_adj);
    process.scheduler = process.scheduler.or(container.scheduler);
    process.io_priority = process.io_priority.or(container.io_priority);
    process.exec_cpu_affinity = process.exec_cpu_affinity.or(container.exec_cpu_affinity);
    process
}

fn change(
    mut process: config::Process,
    changes: Changes,
    problems: &mut Problems,
) -> config::Process {
    process.args = changes.args;
    process.terminal = changes.terminal;
    process.cwd = changes.cwd.filter(|cwd| !cwd.is_empty()).unwrap_or(process.cwd);
    process.env.extend(changes.env);
    process.no_new_privileges = changes.no_new_privileges.unwrap_or(process.no_new_privileges);
    process.apparmor_profile = changes.apparmor_profile.or(process.apparmor_profile);
    process.selinux_label = changes.selinux_label.or(process.selinux_label);
    if let Some(user) = changes.user {
        set_user(&mut process.user, &user, problems);
    }
    for gid in changes.additional_gids {
        match number(&gid) {
            Some(gid) => process.user.additional_gids.push(gid),
            None => problems.add("--additional-gids", format_args!("{gid:?} is not a number")),
        }
    }
    if !changes.capabilities.is_empty() {
        add_capabilities(process.capabilities.get_or_insert_default(), &changes.capabilities);
    }
    process
}

/// A number and nothing else: a name would be looked up in a file of the container's, and "1" is
/// user 1 whatever its passwd says (CVE-2026-30892).
fn set_user(user: &mut config::User, text: &str, problems: &mut Problems) {
    let (uid, gid) = text.split_once(':').map_or((text, None), |(uid, gid)| (uid, Some(gid)));
    match (number(uid), gid.map(number)) {
        (Some(uid), None) => user.uid = uid,
        (Some(uid), Some(Some(gid))) => (user.uid, user.gid) = (uid, gid),
        _ => problems.add("--user", format_args!("{text:?} is not UID[:GID], by number")),
    }
}

/// Without a sign, which `parse` would take.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Not the inheritable set, which would give them to whatever file has them as inheritable
/// (CVE-2022-29162); and the ambient set only if the container has inheritable ones.
fn add_capabilities(sets: &mut Capabilities, names: &[String]) {
    let ambient = (!sets.inheritable.is_empty()).then_some(&mut sets.ambient);
    let lists = [&mut sets.bounding, &mut sets.effective, &mut sets.permitted];
    for list in lists.into_iter().chain(ambient) {
        list.extend_from_slice(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Spec {
        serde_json::from_str(
            r#"{"ociVersion": "1.0.2",
                "process": {"cwd": "/", "args": ["sleep"], "env": ["A=1"], "user": {"uid": 7, "gid": 8},
                    "oomScoreAdj": 5, "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
                    "capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"]}},
                "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts", "path": "/u"}]}}"#,
        )
        .unwrap()
    }

    fn changed(changes: Changes) -> Result<Exec> {
        let args = vec!["ls".to_owned()];
        plan(container(), Wanted::Changes(Changes { args, ..changes }), &Host::default())
    }

    #[test]
    fn what_is_not_asked_is_as_in_the_config() {
        let exec = changed(Changes { env: vec!["B=2".to_owned()], ..Changes::default() }).unwrap();
        assert_eq!(exec.process.env, ["A=1", "B=2"]);
        assert_eq!((exec.process.credentials.uid, exec.process.credentials.gid), (7, 8));
        assert_eq!(exec.process.args, ["ls"]);
        assert_eq!(exec.namespaces, MOUNT | namespaces::UTS);
        assert!(exec.joins_pid && exec.has_own_mounts);
    }

    #[test]
    fn a_file_that_leaves_something_out_gets_it_from_the_config() {
        let text = r#"{"cwd": "/tmp", "args": ["ls"], "user": {"uid": 1, "gid": 0}}"#;
        let process = serde_json::from_str(text).unwrap();
        let file = Wanted::File { path: "p.json".to_owned(), process };
        let process = plan(container(), file, &Host::default()).unwrap().process;
        assert_eq!((process.oom_score_adj, process.rlimits), (Some(5), vec![(4, 1, 2)]));
        assert_eq!((process.credentials.uid, process.credentials.gid), (1, 0));
        assert_eq!(process.credentials.capabilities.permitted, 1 << 5);
        assert_eq!(process.env, [""; 0]);
    }

    /// CVE-2022-29162
    #[test]
    fn a_capability_that_is_added_is_not_inheritable() {
        let capabilities = vec!["CAP_CHOWN".to_owned()];
        let sets = changed(Changes { capabilities, ..Changes::default() }).unwrap();
        let sets = sets.process.credentials.capabilities;
        assert_eq!((sets.bounding, sets.effective, sets.permitted), (0x21, 1, 0x21));
        assert_eq!((sets.inheritable, sets.ambient), (0, 0));
    }

    /// CVE-2026-30892
    #[test]
    fn a_user_is_a_number() {
        let ids = |user: &str| {
            let user = Some(user.to_owned());
            changed(Changes { user, ..Changes::default() })
                .map(|exec| (exec.process.credentials.uid, exec.process.credentials.gid))
                .map_err(|error| error.to_string())
        };
        assert_eq!(ids("1"), Ok((1, 8)));
        assert_eq!(ids("1:2"), Ok((1, 2)));
        for wrong in ["", "root", "1:", ":1", "+1", "-1", "1:2:3", "4294967296"] {
            let message = format!("command line: --user: {wrong:?} is not UID[:GID], by number");
            assert_eq!(ids(wrong), Err(message));
        }
    }
}
