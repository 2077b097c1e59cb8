//! Where the container process is counted: config-linux.md, "Cgroups Path"; cgroups(7).

use super::{Problems, Request};
use crate::host::Host;

/// Who makes the cgroup: `--cgroup-manager`, `--systemd-cgroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// The runtime, in the cgroup filesystem.
    #[default]
    Cgroupfs,
    /// systemd. Has its own issue.
    Systemd,
    /// Nobody: the container stays in the cgroup of who called.
    Disabled,
}

/// A cgroup of the unified hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Where the hierarchy is mounted.
    pub mount: &'static str,
    /// The absolute directory of the cgroup.
    pub directory: String,
}

/// Plans the cgroup. `None`: the container stays where the runtime is.
pub fn plan(
    path: Option<&str>,
    request: &Request<'_>,
    host: &Host,
    problems: &mut Problems,
) -> Option<Cgroup> {
    let pointer = "/linux/cgroupsPath";
    let path = path.unwrap_or_default();
    problems.check_text(pointer, path);
    match request.cgroup_manager {
        Manager::Disabled => return None,
        Manager::Systemd => {
            problems.add(pointer, "systemd as the manager of cgroups is not supported yet");
            return None;
        }
        Manager::Cgroupfs => {}
    }
    let Some(mount) = host.cgroup_mount else {
        let message = "this host has no cgroup v2 hierarchy at /sys/fs/cgroup or below; \
                       mount one, or ask for --cgroup-manager disabled";
        problems.add(pointer, message);
        return None;
    };
    // ".." could name a cgroup that is not meant to be anybody's (config-linux.md says nothing).
    if path.split('/').any(|name| name == "..") {
        problems.add(pointer, format_args!("{path:?} must not contain \"..\""));
        return None;
    }
    let names = |path: &str| {
        let names = path.split('/').filter(|name| !name.is_empty() && *name != ".");
        names.map(|name| format!("/{name}")).collect::<String>()
    };
    let below = match path {
        "" => format!("{}/{}", names(&host.parent_cgroup), request.id),
        absolute if absolute.starts_with('/') => names(absolute),
        relative => names(&host.parent_cgroup) + &names(relative),
    };
    if below.is_empty() {
        problems.add(pointer, "the root of the hierarchy cannot be a container's cgroup");
        return None;
    }
    Some(Cgroup { mount, directory: format!("{mount}{below}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(path: Option<&str>) -> Option<String> {
        let host = Host {
            cgroup_mount: Some("/sys/fs/cgroup"),
            parent_cgroup: "/user/".to_owned(),
            ..Host::default()
        };
        let request = Request {
            id: "web",
            bundle: "/b",
            cgroup_manager: Manager::Cgroupfs,
            pivot: true,
            new_keyring: true,
            notify: None,
        };
        let mut problems = Problems::default();
        let cgroup = plan(path, &request, &host, &mut problems);
        assert_eq!(cgroup.is_none(), !problems.wrong().is_empty());
        cgroup.map(|cgroup| cgroup.directory)
    }

    #[test]
    fn a_path_is_absolute_below_the_mount_or_relative_to_the_parent_of_our_own() {
        for (path, expected) in [
            (None, Some("/sys/fs/cgroup/user/web")),
            (Some(""), Some("/sys/fs/cgroup/user/web")),
            (Some("/a/b"), Some("/sys/fs/cgroup/a/b")),
            (Some("//a/./b/"), Some("/sys/fs/cgroup/a/b")),
            (Some("a/b"), Some("/sys/fs/cgroup/user/a/b")),
            (Some("/"), None),
            (Some("/a/../b"), None),
            (Some("../b"), None),
        ] {
            assert_eq!(planned(path).as_deref(), expected, "{path:?}");
        }
    }
}
