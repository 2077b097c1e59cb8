//! What is mounted where: config.md, "Mounts"; config-linux.md, "Default Filesystems".

use std::fmt;

use super::Problems;
use super::mount_options::{Effect, apply, effect};
use super::namespaces::{self, Namespaces, USER};
use super::rootfs::{Place, Rootfs};
use super::user::{self, User};
use crate::spec::config;
use crate::spec::path::normalize;
use crate::sys::mount::MountAttr;
use crate::sys::mount::attribute::{NODEV, NOEXEC, NOSUID, RDONLY};

/// What is mounted.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A new filesystem.
    Filesystem {
        /// The kernel's word for it.
        kind: String,
        /// For fsconfig(2): words, some with values.
        options: Vec<(String, Option<String>)>,
        /// Whether it starts with what the directory below it holds.
        copy_up: bool,
    },
    /// A file or directory of the runtime namespace.
    Bind {
        /// Its absolute path.
        path: String,
        /// Whether with all that is mounted below it.
        recursive: bool,
    },
    /// Nothing new: the mount that is at the destination is changed.
    Existing {
        /// For the filesystem, if it is to be reconfigured.
        options: Vec<(String, Option<String>)>,
    },
}

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its place in the config, for errors.
    pub index: usize,
    /// Where, below the rootfs.
    pub destination: String,
    /// What.
    pub source: Source,
    /// Attributes of this mount.
    pub attr: MountAttr,
    /// Attributes of this mount and of all below it.
    pub recursive_attr: MountAttr,
    /// MS_SHARED and its like, and whether for all below.
    pub propagation: Option<(u64, bool)>,
    /// Whether no part of the destination may be a symbolic link: an image that has one at /proc
    /// would have its paths masked somewhere else (CVE-2019-19921, CVE-2023-27561).
    pub no_symlinks: bool,
    /// Whether it may cover a file or directory of a procfs.
    pub covers_proc: bool,
    /// Whose the files are here.
    pub idmap: Option<IdMap>,
    /// Read-only at last: device files and mount points are still to be made in it.
    pub read_only_at_last: bool,
}

/// An id-mapped mount (mount_setattr(2)).
#[derive(Debug, PartialEq, Eq)]
pub struct IdMap {
    /// The ids; `None`: those of the container's user namespace.
    pub ids: Option<User>,
    /// Whether also all mounts below.
    pub recursive: bool,
}

/// What the mounts depend on.
pub struct Question<'a> {
    /// The absolute path of the bundle.
    pub bundle: &'a str,
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// Where the cgroup v2 hierarchy is on the host.
    pub cgroup_mount: Option<&'static str>,
    /// The SELinux label.
    pub label: Option<&'a str>,
}

/// Plans every mount of the config.
pub fn plan(
    list: &[config::Mount],
    question: &Question<'_>,
    problems: &mut Problems,
) -> Vec<Mount> {
    list.iter()
        .enumerate()
        .filter_map(|(index, mount)| plan_one(index, mount, question, problems))
        .collect()
}

/// The option words of one mount, read.
#[derive(Default)]
struct Options {
    attr: MountAttr,
    recursive_attr: MountAttr,
    propagation: Option<(u64, bool)>,
    bind: Option<bool>,
    remount: bool,
    copy_up: bool,
    idmap: Option<bool>,
    /// Words for the filesystem, each with its place in the list.
    data: Vec<(usize, String)>,
}

fn plan_one(
    index: usize,
    mount: &config::Mount,
    question: &Question<'_>,
    problems: &mut Problems,
) -> Option<Mount> {
    let pointer = format!("/mounts/{index}");
    let destination = plan_destination(&pointer, &mount.destination, problems)?;
    for (name, text) in [("source", &mount.source), ("type", &mount.kind)] {
        problems.check_text(format_args!("{pointer}/{name}"), text.as_deref().unwrap_or_default());
    }
    let mut options = read_options(&pointer, &mount.options, problems);
    let source = plan_source(&pointer, mount, &mut options, question, problems)?;
    let idmap = plan_idmap(&pointer, mount, options.idmap, &source, question, problems);
    let kind = match &source {
        Source::Filesystem { kind, .. } => kind.as_str(),
        _ => "",
    };
    let no_symlinks = ["proc", "sysfs"].contains(&kind)
        || ["/proc", "/sys", "/dev"].contains(&destination.as_str());
    let read_only_at_last = kind == "tmpfs" && options.attr.set & RDONLY != 0;
    if read_only_at_last {
        options.attr.set &= !RDONLY;
    }
    Some(Mount {
        index,
        covers_proc: may_cover_proc(&destination),
        destination,
        source,
        attr: options.attr,
        recursive_attr: options.recursive_attr,
        propagation: options.propagation,
        no_symlinks,
        idmap,
        read_only_at_last,
    })
}

/// What may be mounted below /proc: files in which a container sees its own limits (lxcfs), as runc
/// allows it. Anything else there could stand in for a file that decides something.
const IN_PROC: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

fn may_cover_proc(destination: &str) -> bool {
    destination == "/proc" || IN_PROC.contains(&destination)
}

/// Absolute and without "." and "..": the comparison with "/proc" is of what it means.
fn plan_destination(pointer: &str, text: &str, problems: &mut Problems) -> Option<String> {
    let pointer = format!("{pointer}/destination");
    problems.check_text(&pointer, text);
    if text.is_empty() {
        problems.add(&pointer, "missing");
        return None;
    }
    if !text.starts_with('/') {
        // config.md: relative destinations are deprecated, and mean "/" before them.
        problems.warn(&pointer, format_args!("{text:?} should be absolute"));
    }
    let destination = normalize(text);
    if destination.starts_with("/proc/") && !may_cover_proc(&destination) {
        let message = format!("{destination:?} cannot be mounted because it is inside /proc");
        problems.add(&pointer, message);
        return None;
    }
    if destination == "/" {
        problems.add(&pointer, "a mount over the root of the container is not supported");
        return None;
    }
    Some(destination)
}

fn read_options(pointer: &str, words: &[String], problems: &mut Problems) -> Options {
    let mut options = Options::default();
    for (place, entry) in words.iter().enumerate() {
        problems.check_text(format_args!("{pointer}/options/{place}"), entry);
        // A list in one entry is as many words: "ro,nosuid" must not be lost.
        for word in entry.split(',').filter(|word| !word.is_empty()) {
            match effect(word) {
                Some(Effect::Attribute(set, clear)) => apply(&mut options.attr, set, clear),
                Some(Effect::Recursive(set, clear)) => {
                    apply(&mut options.recursive_attr, set, clear)
                }
                Some(Effect::Propagation(kind, all)) => options.propagation = Some((kind, all)),
                Some(Effect::Bind(recursive)) => {
                    options.bind = Some(recursive || options.bind.unwrap_or_default());
                }
                Some(Effect::Remount) => options.remount = true,
                Some(Effect::CopyUp) => options.copy_up = true,
                Some(Effect::Nothing) => {}
                Some(Effect::IdMap(recursive)) => {
                    options.idmap = Some(recursive || options.idmap.unwrap_or_default());
                }
                Some(Effect::Filesystem) | None => options.data.push((place, word.to_owned())),
            }
        }
    }
    options
}

fn plan_source(
    pointer: &str,
    mount: &config::Mount,
    options: &mut Options,
    question: &Question<'_>,
    problems: &mut Problems,
) -> Option<Source> {
    let mut kind = mount.kind.as_deref().unwrap_or_default();
    if options.copy_up && (kind != "tmpfs" || options.bind.is_some() || options.remount) {
        problems.add(format_args!("{pointer}/options"), "tmpcopyup is for tmpfs");
    }
    if options.bind.is_some() {
        for (place, word) in options.data.iter().filter(|(_, word)| effect(word).is_none()) {
            // The filesystem is there with its own (mount(8), "Bind mounts"). The conformance tests
            // of the specification want such a mount to be made.
            let pointer = format!("{pointer}/options/{place}");
            problems.warn(pointer, format_args!("{word:?} has no effect on a bind mount"));
        }
        if options.remount {
            return Some(Source::Existing { options: Vec::new() });
        }
        let Some(source) = mount.source.as_deref().filter(|source| !source.is_empty()) else {
            problems.add(format_args!("{pointer}/source"), "missing, a bind mount needs it");
            return None;
        };
        let path = match source.strip_prefix('/') {
            Some(_) => source.to_owned(),
            None => format!("{}/{source}", question.bundle),
        };
        return Some(Source::Bind { path, recursive: options.bind == Some(true) });
    }
    if options.remount || ["", "none"].contains(&kind) && options.propagation.is_some() {
        return Some(Source::Existing { options: split(&options.data) });
    }
    if kind == "cgroup" || kind == "cgroup2" {
        if let Some(source) = plan_cgroup(pointer, question, problems) {
            return Some(source);
        }
        // The options of a version 1 controller mean nothing to the one hierarchy of version 2.
        options.data.clear();
        kind = "cgroup2";
    }
    if kind.is_empty() {
        problems.add(format_args!("{pointer}/type"), "missing, only a bind mount needs none");
        return None;
    }
    let mut data = split(&options.data);
    if let Some(source) = mount.source.as_deref().filter(|source| !source.is_empty()) {
        data.insert(0, ("source".to_owned(), Some(source.to_owned())));
    }
    if let Some(label) = question.label.filter(|_| !["proc", "sysfs", "cgroup2"].contains(&kind)) {
        data.push(("context".to_owned(), Some(label.to_owned())));
    }
    // On a device, "read-only" must reach the filesystem too: it may replay its journal.
    if options.attr.set & RDONLY != 0
        && mount.source.as_deref().is_some_and(|s| s.starts_with("/dev/"))
    {
        data.push(("ro".to_owned(), None));
    }
    Some(Source::Filesystem { kind: kind.to_owned(), options: data, copy_up: options.copy_up })
}

/// config.md, "uidMappings", "gidMappings", "idmap". Mappings without the word mean it, as with runc.
fn plan_idmap(
    pointer: &str,
    mount: &config::Mount,
    word: Option<bool>,
    source: &Source,
    question: &Question<'_>,
    problems: &mut Problems,
) -> Option<IdMap> {
    let lists = [("uidMappings", &mount.uid_mappings), ("gidMappings", &mount.gid_mappings)];
    let missing: Vec<&str> =
        lists.iter().filter(|(_, list)| list.is_empty()).map(|(name, _)| *name).collect();
    for (name, list) in lists {
        user::check(&format!("{pointer}/{name}"), list, problems);
    }
    let ids = match missing[..] {
        [] => Some(User::privileged(&mount.uid_mappings, &mount.gid_mappings)),
        [name] => {
            problems.add(format_args!("{pointer}/{name}"), "missing, one of the two is given");
            return None;
        }
        _ => {
            word?;
            if !question.namespaces.is_own(USER) {
                let message = "needs uidMappings and gidMappings, or a user namespace";
                problems.add(format_args!("{pointer}/options"), message);
            }
            None
        }
    };
    if !matches!(source, Source::Bind { .. }) {
        problems.add(pointer, "only a bind mount can be id-mapped");
    }
    Some(IdMap { ids, recursive: word.unwrap_or_default() })
}

/// Without a cgroup namespace of its own the container gets the host's mount, not a new one: a
/// new cgroup2 mount would reset the options of the whole hierarchy (nsdelegate, cgroup-v2.rst).
fn plan_cgroup(pointer: &str, question: &Question<'_>, problems: &mut Problems) -> Option<Source> {
    let Some(path) = question.cgroup_mount else {
        problems.add(pointer, "this host has no cgroup v2 hierarchy at /sys/fs/cgroup");
        return None;
    };
    if question.namespaces.is_own(namespaces::CGROUP) {
        return None;
    }
    Some(Source::Bind { path: path.to_owned(), recursive: true })
}

fn split(data: &[(usize, String)]) -> Vec<(String, Option<String>)> {
    let pair = |(_, word): &(usize, String)| match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (word.clone(), None),
    };
    data.iter().map(pair).collect()
}

/// Where the mounts are made. A user namespace has no right to change a mount namespace that is not
/// its own (mount_namespaces(7)).
pub fn choose_place(
    namespaces: &Namespaces,
    mounts: &[Mount],
    rootfs: &mut Rootfs,
    problems: &mut Problems,
) {
    if namespaces.has_own_mounts() {
        return;
    }
    let needing = [
        ("/mounts", !mounts.is_empty()),
        ("/linux/maskedPaths", !rootfs.masked.is_empty()),
        ("/linux/readonlyPaths", !rootfs.readonly_paths.is_empty()),
        ("/linux/rootfsPropagation", rootfs.propagation.is_some()),
        ("/root/readonly", rootfs.readonly),
    ];
    let mut needing = needing.into_iter().filter(|(_, is_set)| *is_set).peekable();
    rootfs.place = if needing.peek().is_some() { Place::Beside } else { Place::Nowhere };
    for (pointer, _) in needing.filter(|_| namespaces.is_own(USER)) {
        problems.add(pointer, "needs a new mount namespace in /linux/namespaces");
    }
}

/// Tells the program where the socket for sd_notify(3) is.
pub const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

/// The directory with the socket for sd_notify(3), as runc shows it to a container.
#[must_use]
pub fn notify_mount(directory: &str, index: usize) -> Mount {
    Mount {
        index,
        destination: "/run/notify".to_owned(),
        source: Source::Bind { path: directory.to_owned(), recursive: false },
        attr: MountAttr::new(RDONLY | NOSUID | NODEV | NOEXEC, 0),
        recursive_attr: MountAttr::default(),
        propagation: None,
        no_symlinks: false,
        covers_proc: false,
        idmap: None,
        read_only_at_last: false,
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Filesystem { kind, options, .. } => {
                write!(f, "mount {kind} at {}", self.destination)?;
                for (key, value) in options {
                    match value {
                        Some(value) => write!(f, " {key}={value}")?,
                        None => write!(f, " {key}")?,
                    }
                }
            }
            Source::Bind { path, recursive } => {
                let word = if *recursive { "rbind" } else { "bind" };
                write!(f, "{word} {path} at {}", self.destination)?;
            }
            Source::Existing { .. } => write!(f, "change mount at {}", self.destination)?,
        }
        for (name, attr) in [("", &self.attr), ("recursive ", &self.recursive_attr)] {
            if !attr.is_empty() {
                write!(f, " {name}set={:#x} clear={:#x}", attr.set, attr.clear)?;
            }
        }
        if let Some(idmap) = &self.idmap {
            let whose = idmap.ids.as_ref().map_or_else(
                || "the container's".to_owned(),
                |ids| format!("{:?} {:?}", ids.uids.text(), ids.gids.text()),
            );
            write!(f, " ids {whose} recursive={}", idmap.recursive)?;
        }
        match self.propagation {
            Some((kind, recursive)) => write!(f, " propagation={kind:#x} recursive={recursive}"),
            None => Ok(()),
        }
    }
}
