//! Device files and links in /dev: config-linux.md, "Devices", "Default Devices";
//! runtime-linux.md, "Dev symbolic links".

use std::fmt;

use nix::sys::stat::SFlag;

use super::Problems;
use super::mounts::{Mount, Source};
use crate::spec::config;
use crate::spec::path::normalize;

/// What /dev holds, beside what is mounted there.
#[derive(Debug, Default)]
pub struct Devices {
    /// Device files, those of the config first.
    pub nodes: Vec<Node>,
}

/// A device file.
#[derive(Debug, PartialEq, Eq)]
pub struct Node {
    /// Who asks for it, for errors: a place in the config, or the specification.
    pub origin: String,
    /// Where in the container.
    pub path: String,
    /// S_IFCHR, S_IFBLK or S_IFIFO.
    pub kind: SFlag,
    /// The major number; 0 for a FIFO.
    pub major: u64,
    /// The minor number; 0 for a FIFO.
    pub minor: u64,
    /// Permission bits.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Those of config-linux.md; /dev/console and /dev/ptmx are none of them: they are made from the
/// container's own devpts.
const DEFAULTS: [(&str, u64, u64); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links to make in /dev; a link whose target the host does not have is left out.
pub const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
];

/// Plans the device files. `None` if /dev is a bind mount: it is somebody else's, and has its own.
pub fn plan(list: &[config::Device], mounts: &[Mount], problems: &mut Problems) -> Option<Devices> {
    let mut nodes: Vec<Node> = Vec::new();
    for (index, device) in list.iter().enumerate() {
        let pointer = format!("/linux/devices/{index}");
        let Some(node) = plan_node(&pointer, device, problems) else { continue };
        if nodes.iter().any(|other| other.path == node.path) {
            problems.add(format_args!("{pointer}/path"), format_args!("a second {}", node.path));
        }
        // /dev/ptmx belongs to the container's devpts, never to the host's.
        if node.path != "/dev/ptmx" {
            nodes.push(node);
        }
    }
    for (path, major, minor) in DEFAULTS {
        if !nodes.iter().any(|node| node.path == path) {
            let (path, kind) = (path.to_owned(), SFlag::S_IFCHR);
            nodes.push(Node {
                origin: "default device".to_owned(),
                path,
                kind,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
            });
        }
    }
    let is_bound = mounts
        .iter()
        .any(|mount| mount.destination == "/dev" && matches!(mount.source, Source::Bind { .. }));
    (!is_bound).then_some(Devices { nodes })
}

fn plan_node(pointer: &str, device: &config::Device, problems: &mut Problems) -> Option<Node> {
    problems.check_text(format_args!("{pointer}/path"), &device.path);
    let path = normalize(&device.path);
    if !device.path.starts_with('/') || path == "/" {
        problems.add(format_args!("{pointer}/path"), "must be absolute");
        return None;
    }
    let kind = match device.kind.as_str() {
        "c" | "u" => SFlag::S_IFCHR,
        "b" => SFlag::S_IFBLK,
        "p" => SFlag::S_IFIFO,
        other => {
            let message = format!("unknown type {other:?}, known are c, b, u, p");
            problems.add(format_args!("{pointer}/type"), message);
            return None;
        }
    };
    let mut number = |name: &str, last: u64, value: Option<i64>| match value.map(u64::try_from) {
        _ if kind == SFlag::S_IFIFO => 0,
        Some(Ok(number)) if number <= last => number,
        Some(_) => {
            problems
                .add(format_args!("{pointer}/{name}"), format_args!("must be from 0 to {last}"));
            0
        }
        None => {
            problems.add(format_args!("{pointer}/{name}"), "missing");
            0
        }
    };
    // mknod(2) takes 32 bits of both, and cuts off the others without a word: they would make
    // another device (linux/kdev_t.h, MINORBITS).
    let major = number("major", (1 << 12) - 1, device.major);
    let minor = number("minor", (1 << 20) - 1, device.minor);
    // Engines put the whole st_mode here: only the permission bits are asked for.
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    let origin = format!("config.json: {pointer}");
    Some(Node { origin, path, kind, major, minor, mode, uid: device.uid, gid: device.gid })
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            let Node { path, major, minor, mode, .. } = node;
            writeln!(f, "device {path} {major}:{minor} {mode:o}")?;
        }
        Ok(())
    }
}
