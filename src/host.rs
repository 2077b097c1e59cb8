//! Facts about this host, asked once, before the plan is made, and only those that this config
//! needs: each is a system call or three on the way to the start.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::stat::{SFlag, lstat};
use nix::unistd::{getegid, geteuid};

use crate::error::Result;
use crate::plan::cgroup::Manager;
use crate::plan::seccomp::FLAGS;
use crate::plan::seccomp::flag::{NEW_LISTENER, WAIT_KILLABLE_RECV};
use crate::spec::config::Spec;
use crate::sys::mount::filesystem_magic;
use crate::sys::path::{kind_of, open_directory};
use crate::sys::{filter, ids};

/// CGROUP2_SUPER_MAGIC (statfs(2)).
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// CAP_SYS_ADMIN.
const SYS_ADMIN: u64 = 1 << 21;
/// CAP_SETGID and CAP_SETUID.
const SET_IDS: u64 = 1 << 6 | 1 << 7;

/// What the plan needs to know.
#[derive(Debug)]
pub struct Host {
    /// Whether the runtime may make namespaces and mounts.
    pub is_privileged: bool,
    /// The capabilities that it can give to a container.
    pub permitted: u64,
    /// Whether it may give any ids to a user namespace: CAP_SETUID and CAP_SETGID.
    pub may_set_ids: bool,
    /// The user and the group of the runtime.
    pub own_ids: (u32, u32),
    /// Where cgroup v2 is mounted.
    pub cgroup_mount: Option<&'static str>,
    /// Where the controllers are. What is not in cgroup v2 is looked for only if the config has
    /// limits.
    pub controllers: Controllers,
    /// The parent of the runtime's own cgroup, where one without an absolute path is made:
    /// the own one has processes, so it could not hand out controllers (cgroup-v2.rst,
    /// "No Internal Process Constraint").
    pub parent_cgroup: String,
    /// The user whose service manager makes scopes; `None` is the system's. Asked only if systemd
    /// makes the cgroup.
    pub user_of_services: Option<u32>,
    /// Whether AppArmor is enabled. Asked only if the config has a profile.
    pub has_apparmor: bool,
    /// Whether SELinux is enabled. Asked only if the config has a label.
    pub has_selinux: bool,
    /// The flags of seccomp(2) that the kernel has. Asked only if the config names one.
    pub seccomp_flags: u32,
    /// The absolute path of the root filesystem, or what is wrong with it.
    pub rootfs: std::result::Result<String, String>,
}

/// Where a controller is on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Where {
    /// In cgroup v2, at its mount.
    Here,
    /// In a hierarchy of cgroup v1, and mounted there if it is mounted.
    Version1(Option<String>),
    /// Turned off on the kernel's command line.
    Disabled,
    /// The kernel has it, and the cgroup that is the root here was not given it.
    Withheld,
}

/// By the name of the controller, such as `memory`. One that is not in it, no kernel is known to
/// have here.
pub type Controllers = BTreeMap<String, Where>;

impl Default for Host {
    fn default() -> Self {
        Self {
            is_privileged: true,
            permitted: u64::MAX,
            may_set_ids: true,
            own_ids: (0, 0),
            cgroup_mount: None,
            controllers: Controllers::new(),
            parent_cgroup: "/".to_owned(),
            user_of_services: None,
            has_apparmor: false,
            has_selinux: false,
            seccomp_flags: 0,
            rootfs: Ok("/rootfs".to_owned()),
        }
    }
}

impl Host {
    /// Asks.
    ///
    /// # Errors
    /// Those of capget(2); what is wrong with the rootfs is for the plan.
    pub fn ask(spec: &Spec, bundle: &str, manager: Manager) -> Result<Self> {
        let permitted = ids::permitted()?;
        let process = spec.process.as_ref();
        let is_set = |text: Option<&String>| text.is_some_and(|text| !text.is_empty());
        let apparmor = is_set(process.and_then(|process| process.apparmor_profile.as_ref()));
        let selinux = is_set(process.and_then(|process| process.selinux_label.as_ref()))
            || spec.linux.mount_label.is_some();
        let is_absolute =
            spec.linux.cgroups_path.as_ref().is_some_and(|path| path.starts_with('/'));
        let cgroup_mount = cgroup_mount();
        let has_limits = spec.linux.resources.is_some();
        Ok(Self {
            is_privileged: permitted & SYS_ADMIN != 0,
            permitted,
            may_set_ids: permitted & SET_IDS == SET_IDS,
            own_ids: (geteuid().as_raw(), getegid().as_raw()),
            cgroup_mount,
            controllers: cgroup_mount
                .map(|mount| controllers(mount, has_limits))
                .unwrap_or_default(),
            parent_cgroup: if is_absolute || manager != Manager::Cgroupfs {
                String::new()
            } else {
                parent_cgroup()
            },
            user_of_services: if manager == Manager::Systemd { user_of_services() } else { None },
            has_apparmor: apparmor && has_apparmor(),
            has_selinux: selinux && has_selinux(),
            seccomp_flags: seccomp_flags(spec),
            rootfs: rootfs(spec, bundle),
        })
    }

    /// Asks what `exec` needs; of the security modules only if there is a label.
    ///
    /// # Errors
    /// Those of capget(2).
    pub fn ask_for_exec(has_label: bool) -> Result<Self> {
        let permitted = ids::permitted()?;
        Ok(Self {
            is_privileged: permitted & SYS_ADMIN != 0,
            permitted,
            has_apparmor: has_label && has_apparmor(),
            has_selinux: has_label && has_selinux(),
            // `create` has seen to it.
            seccomp_flags: u32::MAX,
            ..Self::default()
        })
    }
}

/// The unified hierarchy, or on a hybrid host the version 2 part of it (systemd's layout).
#[must_use]
pub fn cgroup_mount() -> Option<&'static str> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].into_iter().find(|path| {
        let magic = open_directory(path).and_then(filesystem_magic);
        magic.is_ok_and(|magic| magic == CGROUP2_MAGIC)
    })
}

/// Who calls is the user of a session, or the root of a user namespace that he made (podman, which
/// keeps his name in USER). The root of another one, as of a system in a container, has the system's.
#[must_use]
pub fn user_of_services() -> Option<u32> {
    let own = geteuid().as_raw();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let first: Vec<&str> = map.split_whitespace().take(3).collect();
    let is_of_user = match first[..] {
        _ if own != 0 => true,
        ["0", "0", "4294967295"] => false,
        _ => std::env::var("USER").is_ok_and(|user| !["", "root"].contains(&user.as_str())),
    };
    let outside = first.get(1).and_then(|uid| uid.parse().ok());
    is_of_user.then(|| outside.filter(|_| own == 0).unwrap_or(own))
}

/// Those that cgroup v2 has at its mount; with `all` also where the others are.
#[must_use]
pub fn controllers(mount: &str, all: bool) -> Controllers {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let here = read(&format!("{mount}/cgroup.controllers"));
    let mut controllers = Controllers::new();
    if all && here.split_whitespace().count() < KNOWN_CONTROLLERS {
        let mounts = read("/proc/self/mountinfo");
        controllers = elsewhere(&read("/proc/cgroups"), &mounts);
    }
    controllers.extend(here.split_whitespace().map(|name| (name.to_owned(), Where::Here)));
    controllers
}

/// cpuset, cpu, io, memory, hugetlb, pids, rdma, misc: a host with all of them has the rest too.
const KNOWN_CONTROLLERS: usize = 8;

/// What /proc/cgroups and /proc/self/mountinfo say of controllers that cgroup v2 does not have:
/// name, number of the hierarchy (0: none of version 1), number of cgroups, enabled (cgroups(7)).
fn elsewhere(cgroups: &str, mounts: &str) -> Controllers {
    let mount_of = |controller: &str| {
        mounts.lines().find_map(|line| {
            let (place, filesystem) = line.split_once(" - cgroup ")?;
            let options = filesystem.rsplit(' ').next()?;
            options.split(',').any(|option| option == controller).then_some(())?;
            place.split(' ').nth(4).map(str::to_owned)
        })
    };
    let lines = cgroups.lines().filter(|line| !line.starts_with('#'));
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let places = fields.filter_map(|fields| {
        let [name, hierarchy, _, enabled] = fields[..] else { return None };
        let place = match (hierarchy, enabled) {
            (_, "0") => Where::Disabled,
            ("0", _) => Where::Withheld,
            _ => Where::Version1(mount_of(name)),
        };
        // blkio is called io in version 2.
        Some((if name == "blkio" { "io" } else { name }.to_owned(), place))
    });
    places.collect()
}

/// The line of the unified hierarchy is the one with number 0 and no controllers (cgroups(7)).
fn parent_cgroup() -> String {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    match own.rsplit_once('/') {
        Some((parent, _)) => parent.to_owned(),
        None => String::new(),
    }
}

fn has_apparmor() -> bool {
    let path = "/sys/module/apparmor/parameters/enabled";
    std::fs::read(path).is_ok_and(|text| text.starts_with(b"Y"))
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn seccomp_flags(spec: &Spec) -> u32 {
    let names = spec.linux.seccomp.iter().flat_map(|section| &section.flags);
    if names.flatten().next().is_none() {
        return 0;
    }
    known_seccomp_flags()
}

/// Those of the config's flags that the kernel has.
#[must_use]
pub fn known_seccomp_flags() -> u32 {
    FLAGS.iter().map(|(_, flag)| *flag).filter(|flag| knows_seccomp_flag(*flag)).sum()
}

/// One of them is known only beside the one that makes a listener.
fn knows_seccomp_flag(flag: u32) -> bool {
    let beside = if flag == WAIT_KILLABLE_RECV { NEW_LISTENER } else { 0 };
    filter::knows_flag(flag | beside)
}

fn rootfs(spec: &Spec, bundle: &str) -> std::result::Result<String, String> {
    let Some(root) = &spec.root else { return Ok(String::new()) };
    let trimmed = root.path.trim_end_matches('/');
    let path =
        if root.path.starts_with('/') { trimmed.to_owned() } else { format!("{bundle}/{trimmed}") };
    if root.path.is_empty() {
        return Err("missing".to_owned());
    }
    if path.is_empty() {
        return Err("the root of the host cannot be a container's".to_owned());
    }
    let stat =
        lstat(path.as_str()).map_err(|errno| format!("lstat({path:?}): {}", errno.desc()))?;
    let kind = kind_of(&stat);
    if kind == SFlag::S_IFLNK {
        return Err(format!("{path:?} is a symbolic link, must be a directory"));
    }
    if kind != SFlag::S_IFDIR {
        return Err(format!("{path:?} is not a directory"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_not_in_version_2_is_somewhere_else() {
        let cgroups = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
                       cpu\t2\t10\t1\nblkio\t3\t1\t1\nmemory\t0\t1\t0\npids\t0\t1\t1\n";
        let mounts = "22 1 0:20 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      23 22 0:21 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct\n";
        let version1 = |mount: &str| Some(Where::Version1(Some(mount.to_owned())));
        let controllers = elsewhere(cgroups, mounts);
        for (name, expected) in [
            ("cpu", version1("/sys/fs/cgroup/cpu,cpuacct")),
            ("io", Some(Where::Version1(None))),
            ("memory", Some(Where::Disabled)),
            ("pids", Some(Where::Withheld)),
            ("blkio", None),
            ("misc", None),
        ] {
            assert_eq!(controllers.get(name), expected.as_ref(), "{name}");
        }
    }
}
