//! update: other limits for a container that exists. What is not given stays as it is, and if
//! something is refused, everything does.

use std::os::fd::AsFd;

use nix::fcntl::OFlag;

use super::Global;
use super::pause::own_cgroup;
use super::start::find;
use crate::bundle;
use crate::container::cgroup::{change, systemd};
use crate::error::{Context, Error, Result};
use crate::host;
use crate::lifecycle::{Operation, check};
use crate::log::Level;
use crate::plan::cgroup::Cgroup;
use crate::plan::update;
use crate::spec::resources::Resources;
use crate::state::check_id;
use crate::sys::path::open_path;

/// Where the new limits are.
#[derive(Debug)]
pub enum From {
    /// In a file, of the form of /linux/resources in config.json; `-`: on standard input.
    File(String),
    /// In the flags of the command line.
    Flags(Box<Resources>),
}

/// Changes the limits of a container that was created, is running or is paused.
///
/// # Errors
/// "container does not exist", "container not running"; everything that is wrong in what is asked;
/// what the kernel or systemd refuses: then the limits are those that were there before.
pub fn update(global: &Global, id: &str, from: From) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    check(Operation::Update, container.status()?, id).map_err(Error::new)?;
    let (from, document) = match from {
        From::File(path) => {
            let document = format!("--resources {path:?}");
            (read(&path).context(|| document.clone())?, document)
        }
        From::Flags(resources) => (*resources, "command line".to_owned()),
    };
    let own = own_cgroup(&container)?;
    let directory = own.directory.clone();
    let mount = host::cgroup_mount().ok_or_else(|| Error::new("this host has no cgroup v2"))?;

    let cgroup = open_path(&directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    // Two updates at once would write back what the other one has just written.
    let _lock = container.directory.lock_cgroup()?;
    let now = change::now(cgroup.as_fd())?;
    let controllers = host::controllers(mount, true);
    let (plan, warnings) = update::plan(from, &now, &controllers, &document)?;
    for warning in &warnings {
        global.log.write(Level::Warning, warning)?;
    }
    let controllers = plan.controllers().into_iter().map(str::to_owned).collect();
    let (scope, is_optional) = (None, false);
    let of = Cgroup { mount, directory, scope, controllers, owner: None, is_optional };
    change::change(cgroup.as_fd(), &of, &plan, || match &own.scope {
        Some(scope) => systemd::tell(scope, cgroup.as_fd(), plan.settings.clone()),
        None => Ok(()),
    })
}

fn read(path: &str) -> Result<Resources> {
    if path == "-" {
        bundle::parse(&bundle::read_all(std::io::stdin(), 0)?)
    } else {
        bundle::read_document(path)
    }
}
