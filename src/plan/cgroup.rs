//! Where the container process is counted: config-linux.md, "Cgroups Path"; cgroups(7).

use std::collections::BTreeSet;

use super::mounts::{Mount, Source};
use super::namespaces::{CGROUP, Namespaces, USER};
use super::resources::Resources;
use super::unit::{self, Property, Scope};
use super::user::on_host;
use super::{Problems, Request};
use crate::host::{Host, Where};
use crate::spec::config::IdMapping;
use crate::sys::mount::attribute::RDONLY;

/// Who makes the cgroup: `--cgroup-manager`, `--systemd-cgroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// The runtime, in the cgroup filesystem.
    #[default]
    Cgroupfs,
    /// systemd, as a scope.
    Systemd,
    /// Nobody: the container stays in the cgroup of who called.
    Disabled,
}

/// A cgroup of the unified hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub struct Cgroup {
    /// Where the hierarchy is mounted.
    pub mount: &'static str,
    /// The absolute directory of the cgroup. Of a scope it is a guess, until systemd has made it.
    pub directory: String,
    /// What systemd is asked for, if it is not the runtime that makes the cgroup.
    pub scope: Option<Scope>,
    /// Those that it is to have: what limits need, and what counts for `events` and for engines.
    /// All of them are at the mount.
    pub controllers: Vec<String>,
    /// The user of the host who may use it to make cgroups of his own, if it is not the runtime's
    /// (config-linux.md, "Cgroup ownership").
    pub owner: Option<u32>,
    /// Whether the container can do without, if the runtime may not make it: it has no privileges, and
    /// nothing is asked that needs a cgroup. As with runc.
    pub is_optional: bool,
}

/// Those that count what a container uses, whether or not it is limited.
const COUNTING: [&str; 4] = ["cpu", "io", "memory", "pids"];

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
    if request.cgroup_manager == Manager::Disabled {
        return None;
    }
    let Some(mount) = host.cgroup_mount else {
        let message = "this host has no cgroup v2 hierarchy at /sys/fs/cgroup or below; \
                       mount one, or ask for --cgroup-manager disabled";
        problems.add(pointer, message);
        return None;
    };
    if request.cgroup_manager == Manager::Systemd {
        return plan_scope(path, mount, request, host, problems);
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
    // ".." could name a cgroup that is not meant to be anybody's (config-linux.md says nothing). The
    // runtime's own begins so if it lies outside its cgroup namespace (cgroup_namespaces(7)).
    if below.split('/').any(|name| name == "..") {
        problems.add(pointer, format_args!("{below:?} must not contain \"..\""));
        return None;
    }
    if below.is_empty() {
        problems.add(pointer, "the root of the hierarchy cannot be a container's cgroup");
        return None;
    }
    let directory = format!("{mount}{below}");
    let is_optional = !host.is_privileged && path.is_empty();
    let controllers = Vec::new();
    Some(Cgroup { mount, directory, scope: None, controllers, owner: None, is_optional })
}

fn plan_scope(
    path: &str,
    mount: &'static str,
    request: &Request<'_>,
    host: &Host,
    problems: &mut Problems,
) -> Option<Cgroup> {
    let scope = unit::names(path, request.id, host.user_of_services, problems)?;
    // Below the service of the user's manager (user@.service(5)).
    let manager = scope.user.map(|uid| format!("/user.slice/user-{uid}.slice/user@{uid}.service"));
    let slice = unit::nested(&scope.slice).expect("unit::names has looked at it");
    let directory = format!("{mount}{}{slice}/{}", manager.unwrap_or_default(), scope.unit);
    let (scope, controllers) = (Some(scope), Vec::new());
    Some(Cgroup { mount, directory, scope, controllers, owner: None, is_optional: false })
}

impl Cgroup {
    /// Chooses the controllers from those that are needed and those that are here.
    pub fn choose_controllers(&mut self, resources: &Resources, host: &Host) {
        let is_here = |name: &&str| host.controllers.get(*name) == Some(&Where::Here);
        let wanted: BTreeSet<&str> = resources.controllers().into_iter().chain(COUNTING).collect();
        self.controllers = wanted.into_iter().filter(is_here).map(str::to_owned).collect();
        self.is_optional &= resources.settings.is_empty() && resources.late.is_empty();
    }

    /// If systemd makes it, systemd is told what it is given.
    pub fn describe_scope(&mut self, id: &str, annotated: Vec<Property>, to: &mut Resources) {
        if let Some(scope) = &mut self.scope {
            scope.describe(id, annotated, to);
        }
    }

    /// Gives it to the container's user, if the container sees it as the root of its own cgroup
    /// namespace, and may write there: "Cgroup ownership" says when. `user` is the
    /// container's number, `ids` what the config says of its numbers on the host.
    pub fn choose_owner(
        &mut self,
        namespaces: &Namespaces,
        mounts: &[Mount],
        user: u32,
        ids: &[IdMapping],
    ) {
        let is_writable = |mount: &Mount| {
            let is_cgroup =
                matches!(&mount.source, Source::Filesystem { kind, .. } if kind == "cgroup2");
            let is_read_only = (mount.attr.set | mount.recursive_attr.set) & RDONLY != 0;
            mount.destination == "/sys/fs/cgroup" && is_cgroup && !is_read_only
        };
        let is_own = namespaces.new & CGROUP != 0;
        // The ids of a user namespace that is joined are not in the config.
        let is_known = namespaces.new & USER != 0 || !namespaces.is_own(USER);
        // Root has made it, and has it already.
        let owner = on_host(user, ids).filter(|user| is_known && *user != 0);
        self.owner = owner.filter(|_| is_own && mounts.iter().any(is_writable));
    }
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
