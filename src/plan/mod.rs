//! The answer: what will be done for this config on this host. Pure: nothing here talks to the
//! kernel. Everything that is wrong in the config is found here, before anything is created.

pub mod affinity;
pub mod cgroup;
pub mod credentials;
pub mod devices;
pub mod exec;
pub mod hooks;
pub mod list;
pub mod mount_options;
pub mod mounts;
pub mod namespaces;
pub mod network;
pub mod process;
pub mod resources;
pub mod rootfs;
pub mod seccomp;
pub mod sysctl;
pub mod unit;
pub mod update;
pub mod user;

use std::collections::BTreeMap;
use std::fmt;

use crate::error::{Error, Result};
use crate::host::Host;
use crate::spec::config::{Hooks, Spec};

/// What `create` and `run` were asked, beside the config.
pub struct Request<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The absolute path of the bundle.
    pub bundle: &'a str,
    /// Which cgroup the container gets.
    pub cgroup_manager: cgroup::Manager,
    /// Whether the root changes by pivot_root(2).
    pub pivot: bool,
    /// Whether the container gets a session keyring of its own.
    pub new_keyring: bool,
    /// The directory of the socket for sd_notify(3), if the caller has a service manager.
    pub notify: Option<&'a str>,
}

/// All that create does, in the order in which it does it.
#[derive(Debug)]
pub struct Plan {
    /// Where the container process is counted.
    pub cgroup: Option<cgroup::Cgroup>,
    /// What it may use.
    pub resources: resources::Resources,
    /// Namespaces to make and to join.
    pub namespaces: namespaces::Namespaces,
    /// Whether the runtime has privileges over the whole host.
    pub is_privileged: bool,
    /// The ids of a new user namespace.
    pub user: Option<user::User>,
    /// Interfaces to move in.
    pub net_devices: Vec<network::NetDevice>,
    /// The name of the new session keyring.
    pub keyring: Option<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// The root filesystem.
    pub rootfs: rootfs::Rootfs,
    /// Mounts, in their order.
    pub mounts: Vec<mounts::Mount>,
    /// Device files, links and console; `None` if /dev is somebody else's.
    pub devices: Option<devices::Devices>,
    /// Kernel parameters: a path below /proc/sys, and the value.
    pub sysctls: Vec<(String, String)>,
    /// All hooks.
    pub hooks: Hooks,
    /// Whether the container has a socket for sd_notify(3).
    pub notify: bool,
    /// For the state object.
    pub annotations: BTreeMap<String, String>,
    /// The execution domain.
    pub personality: Option<u64>,
    /// The NUMA memory policy.
    pub memory_policy: Option<process::MemoryPolicy>,
    /// The program; without it `start` is an error.
    pub process: Option<process::Process>,
    /// What the user should know, though the container is made.
    pub warnings: Vec<String>,
}

/// Collects what is wrong, each with its place in the document (RFC 6901).
#[derive(Default)]
pub struct Problems {
    wrong: Vec<String>,
    warnings: Vec<String>,
}

impl Problems {
    /// Something that makes the config unusable.
    pub fn add(&mut self, pointer: impl fmt::Display, message: impl fmt::Display) {
        self.wrong.push(format!("{pointer}: {message}"));
    }

    /// Something that the specification wants to be a warning.
    pub fn warn(&mut self, pointer: impl fmt::Display, message: impl fmt::Display) {
        self.warnings.push(format!("{pointer}: {message}"));
    }

    /// A text that will be a C string.
    pub fn check_text(&mut self, pointer: impl fmt::Display, text: &str) {
        if text.contains('\0') {
            self.add(pointer, "holds a NUL byte");
        }
    }

    /// The document is a process alone: its properties are not below /process.
    fn are_of_a_process(&mut self) {
        for problem in self.wrong.iter_mut().chain(&mut self.warnings) {
            *problem = problem.replacen("/process/", "/", 1);
        }
    }

    /// The warnings, each naming the document.
    ///
    /// # Errors
    /// All that is wrong, in one error that names the document.
    pub fn into_result(self, document: &str) -> Result<Vec<String>> {
        if self.wrong.is_empty() {
            let named = self.warnings.iter().map(|warning| format!("{document}: {warning}"));
            return Ok(named.collect());
        }
        Err(Error::new(self.wrong.join("; ")).context(document))
    }

    /// How many make the config unusable so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.wrong.len()
    }

    #[cfg(test)]
    pub(crate) fn wrong(&self) -> &[String] {
        &self.wrong
    }
}

/// Makes the plan.
///
/// # Errors
/// Everything that is wrong in the config, in one error.
pub fn plan(spec: Spec, request: &Request<'_>, host: &Host) -> Result<Plan> {
    let mut problems = Problems::default();
    check_support(&spec, &mut problems);

    let linux = spec.linux;
    let namespaces = namespaces::plan(&linux.namespaces, &linux.time_offsets, &mut problems);
    let user = user::plan(&linux, &namespaces, host, &mut problems);
    let has_user = namespaces.is_own(namespaces::USER);
    if !host.is_privileged && !has_user {
        problems.add("/linux/namespaces", "an ordinary user needs a user namespace here");
    }
    let question = mounts::Question {
        bundle: request.bundle,
        namespaces: &namespaces,
        cgroup_mount: host.cgroup_mount,
        label: linux.mount_label.as_deref().filter(|label| !label.is_empty()),
    };
    let mut mounts = mounts::plan(&spec.mounts, &question, &mut problems);
    let mut process =
        spec.process.map(|process| process::plan(process, host, has_user, &mut problems));
    check_mount_label(linux.mount_label.as_deref(), host, &mut problems);
    let devices = devices::plan(&linux.devices, &mounts, &mut problems);
    let mut rootfs = rootfs::plan(
        spec.root.as_ref(),
        linux.rootfs_propagation.as_deref(),
        &linux.masked_paths,
        &linux.readonly_paths,
        request,
        host,
        &mut problems,
    );
    mounts::choose_place(&namespaces, &mounts, &mut rootfs, &mut problems);
    // A container without mounts of its own cannot be shown the socket.
    let notify = request.notify.filter(|_| namespaces.has_own_mounts());
    if let Some(directory) = notify {
        mounts.push(mounts::notify_mount(directory, mounts.len()));
        if let Some(process) = &mut process {
            process::set_env(&mut process.env, mounts::NOTIFY_VARIABLE.to_owned());
        }
    }
    uts_name("/hostname", spec.hostname.as_deref(), &namespaces, &mut problems);
    uts_name("/domainname", spec.domainname.as_deref(), &namespaces, &mut problems);
    hooks::check(&spec.hooks, &mut problems);
    seccomp::plan(&linux, &spec.annotations, process.as_mut(), host, &mut problems);

    let nothing = Default::default();
    let from = linux.resources.as_ref().unwrap_or(&nothing);
    let mut resources = resources::plan("/linux/resources", from, &mut problems);
    let annotated = unit::annotations::plan(&spec.annotations, request, &mut problems);
    let mut cgroup = cgroup::plan(linux.cgroups_path.as_deref(), request, host, &mut problems);
    if let Some(cgroup) = &mut cgroup {
        resources.check(&host.controllers, &mut problems);
        cgroup.choose_controllers(&resources, host);
        let uid = process.as_ref().map_or(0, |process| process.credentials.uid);
        cgroup.choose_owner(&namespaces, &mounts, uid, &linux.uid_mappings);
        cgroup.describe_scope(request.id, annotated, &mut resources);
    } else if request.cgroup_manager == cgroup::Manager::Disabled && linux.resources.is_some() {
        problems.warn("/linux/resources", "not applied: the container has no cgroup of its own");
    }

    let plan = Plan {
        cgroup,
        resources,
        net_devices: network::plan(&linux.net_devices, &namespaces, &mut problems),
        keyring: request.new_keyring.then(|| format!("_ses.{}", request.id)),
        hostname: spec.hostname.filter(|name| !name.is_empty()),
        domainname: spec.domainname.filter(|name| !name.is_empty()),
        sysctls: sysctl::plan(&linux.sysctl, &namespaces, &mut problems),
        personality: process::personality(linux.personality.as_ref(), &mut problems),
        memory_policy: process::memory_policy(linux.memory_policy.as_ref(), &mut problems),
        hooks: spec.hooks,
        notify: notify.is_some(),
        annotations: spec.annotations,
        namespaces,
        is_privileged: host.is_privileged,
        user,
        rootfs,
        mounts,
        devices,
        process,
        warnings: Vec::new(),
    };
    problems.into_result("config.json").map(|warnings| Plan { warnings, ..plan })
}

/// Every document of major version 1 is taken: minor versions only add (runtime-spec, "SemVer").
/// What a property asks for and this runtime cannot do is never ignored.
fn check_support(spec: &Spec, problems: &mut Problems) {
    let version = &spec.oci_version;
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let is_number = |text: &str| text.parse::<u32>().is_ok_and(|number| number.to_string() == text);
    let numbers: Vec<&str> = core.split('.').collect();
    match numbers[..] {
        ["1", minor, patch] if is_number(minor) && is_number(patch) => {}
        _ => problems.add("/ociVersion", format!("{version:?} is not a version 1.x.y")),
    }
    if spec.linux.intel_rdt.is_some() {
        problems.add("/linux/intelRdt", "not supported yet");
    }
}

/// A property name in a JSON pointer (RFC 6901, section 3).
pub(crate) fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn check_mount_label(label: Option<&str>, host: &Host, problems: &mut Problems) {
    let Some(label) = label.filter(|label| !label.is_empty()) else { return };
    problems.check_text("/linux/mountLabel", label);
    if !host.has_selinux {
        problems.add("/linux/mountLabel", "this host has no SELinux");
    }
}

fn uts_name(
    pointer: &str,
    name: Option<&str>,
    namespaces: &namespaces::Namespaces,
    problems: &mut Problems,
) {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return };
    if !namespaces.is_own(namespaces::UTS) {
        problems.add(pointer, "needs a uts namespace in /linux/namespaces");
    }
    problems.check_text(pointer, name);
    if name.len() > 64 {
        problems.add(pointer, format!("{} bytes, at most 64", name.len()));
    }
}

impl Plan {
    /// Whether init waits, when it is born, until the runtime has given ids to its user namespace or to
    /// its mounts.
    #[must_use]
    pub fn gets_ids(&self) -> bool {
        self.namespaces.new & namespaces::USER != 0
            || self.mounts.iter().any(|mount| mount.idmap.is_some())
    }

    /// Whether init waits, when the mounts are there, for the runtime: for network devices, for hooks
    /// of the runtime namespace, or for the device rules, which hold its own hooks.
    #[must_use]
    pub fn waits_for_runtime(&self) -> bool {
        let hooks = &self.hooks;
        [&hooks.prestart, &hooks.create_runtime, &hooks.create_container]
            .iter()
            .any(|hooks| !hooks.is_empty())
            || !self.net_devices.is_empty()
    }

    /// The environment of the program, if there is a program.
    #[must_use]
    pub fn env(&self) -> &[String] {
        self.process.as_ref().map_or(&[], |process| &process.env)
    }
}

impl fmt::Display for Plan {
    /// One line for each step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cgroup) = &self.cgroup {
            writeln!(f, "cgroup {}", cgroup.directory)?;
            if let Some(scope) = &cgroup.scope {
                write!(f, "{scope}")?;
            }
            write!(f, "{}", self.resources)?;
        }
        write!(f, "{}", self.namespaces)?;
        if let Some(user) = &self.user {
            write!(f, "{user}")?;
        }
        for device in &self.net_devices {
            writeln!(f, "move network device {} as {}", device.host, device.name)?;
        }
        writeln!(f, "rootfs {}", self.rootfs)?;
        for mount in &self.mounts {
            writeln!(f, "{mount}")?;
        }
        if let Some(devices) = &self.devices {
            write!(f, "{devices}")?;
        }
        for (path, value) in &self.sysctls {
            writeln!(f, "sysctl {path} = {value}")?;
        }
        for path in &self.rootfs.masked {
            writeln!(f, "mask {path}")?;
        }
        for path in &self.rootfs.readonly_paths {
            writeln!(f, "read-only {path}")?;
        }
        if let Some(process) = &self.process {
            write!(f, "{process}")?;
        }
        Ok(())
    }
}
