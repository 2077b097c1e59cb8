//! The root filesystem: config.md, "Root"; config-linux.md, "Rootfs Mount Propagation",
//! "Masked Paths", "Readonly Paths".

use std::fmt;

use super::mount_options::propagation;
use super::{Problems, Request};
use crate::host::Host;
use crate::spec::config::Root;
use crate::spec::path::normalize;

/// Where the container's mounts are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In a mount namespace of its own.
    #[default]
    Own,
    /// On the rootfs, which is mounted over itself, in a mount namespace that others are in.
    Beside,
    /// Nowhere: there are none, and the mount namespace is not its own.
    Nowhere,
}

/// The root of the container.
#[derive(Debug, Default)]
pub struct Rootfs {
    /// An absolute path of the runtime namespace; a directory and no symbolic link.
    pub path: String,
    /// Where its mounts are made.
    pub place: Place,
    /// Whether it is read-only inside.
    pub readonly: bool,
    /// MS_SHARED and its like, and whether for all below.
    pub propagation: Option<(u64, bool)>,
    /// Whether the root changes by pivot_root(2).
    pub pivot: bool,
    /// Paths that show nothing.
    pub masked: Vec<String>,
    /// Paths that are read-only.
    pub readonly_paths: Vec<String>,
}

/// Checks what the config says of the root.
pub fn plan(
    root: Option<&Root>,
    propagation_word: Option<&str>,
    masked: &[String],
    readonly_paths: &[String],
    request: &Request<'_>,
    host: &Host,
    problems: &mut Problems,
) -> Rootfs {
    let Some(root) = root else {
        problems.add("/root", "missing");
        return Rootfs::default();
    };
    problems.check_text("/root/path", &root.path);
    if let Err(message) = &host.rootfs {
        problems.add("/root/path", message);
    }
    let pointer = "/linux/rootfsPropagation";
    let propagation = propagation_word.filter(|word| !word.is_empty()).and_then(|word| {
        let found = propagation(word);
        if found.is_none() {
            let known = "shared, slave, private, unbindable, and r before each";
            problems.add(pointer, format_args!("unknown word {word:?}, known are {known}"));
        }
        found
    });
    Rootfs {
        path: host.rootfs.clone().unwrap_or_default(),
        place: Place::Own,
        readonly: root.readonly,
        propagation,
        pivot: request.pivot,
        masked: paths("/linux/maskedPaths", masked, problems),
        readonly_paths: paths("/linux/readonlyPaths", readonly_paths, problems),
    }
}

fn paths(pointer: &str, list: &[String], problems: &mut Problems) -> Vec<String> {
    for (index, path) in list.iter().enumerate() {
        let pointer = format!("{pointer}/{index}");
        problems.check_text(&pointer, path);
        if !path.starts_with('/') {
            problems.add(&pointer, format_args!("{path:?} must be absolute"));
        } else if normalize(path) == "/" {
            problems.add(&pointer, "the root itself cannot be masked or read-only by its path");
        }
    }
    // The same mount once more would change nothing.
    let mut paths: Vec<String> = Vec::new();
    for path in list {
        if !paths.contains(path) {
            paths.push(path.clone());
        }
    }
    paths
}

impl fmt::Display for Rootfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.place == Place::Beside {
            write!(f, " mounted over itself")?;
        }
        if self.readonly {
            write!(f, " read-only")?;
        }
        if !self.pivot {
            write!(f, " without pivot_root")?;
        }
        match self.propagation {
            Some((kind, recursive)) => write!(f, " propagation={kind:#x} recursive={recursive}"),
            None => Ok(()),
        }
    }
}
