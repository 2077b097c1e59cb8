//! What a test of the runtime cannot do without.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::{call, kernel};

/// What a test cannot do without.
#[derive(Clone, Copy)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// A static busybox: the container's programs.
    Busybox,
    /// A program of the host, found in PATH.
    Program(&'static str),
    /// A kernel of at least this version.
    Kernel(u32, u32),
    /// A path of the host.
    File(&'static str),
    /// A controller, in cgroup v2.
    Controller(&'static str),
    /// A controller that cgroup v2 does not have here.
    NoController(&'static str),
    /// A path that the host must not have.
    NoFile(&'static str),
    /// A processor and not its emulation, in which one look takes longer than what is looked at.
    Speed,
    /// The runtime under test is hull; with another one, the text says what that one does instead.
    Hull(&'static str),
}

impl Need {
    /// Why this host does not meet the need.
    pub fn missing(self) -> Option<String> {
        let (met, reason) = match self {
            Need::Root => (rustix::process::geteuid().is_root(), "needs root".to_owned()),
            Need::Busybox => (busybox_is_static(), "needs busybox-static".to_owned()),
            Need::Program(name) => (call::find_program(name).is_some(), format!("needs {name}")),
            Need::Kernel(major, minor) => {
                (kernel::version() >= (major, minor), format!("needs Linux {major}.{minor}"))
            }
            Need::File(path) => (Path::new(path).exists(), format!("needs {path}")),
            Need::Controller(name) => {
                (has_controller(name), format!("needs the controller {name} in cgroup v2"))
            }
            Need::NoController(name) => {
                (!has_controller(name), format!("needs a host without {name} in cgroup v2"))
            }
            Need::NoFile(path) => {
                (!Path::new(path).exists(), format!("needs a host without {path}"))
            }
            Need::Speed => {
                (call::slowness() == 1, "needs a processor, not its emulation".to_owned())
            }
            Need::Hull(why) => (!call::is_peer(), format!("other runtime: {why}")),
        };
        (!met).then_some(reason)
    }
}

/// Whether containers can have a controller.
fn has_controller(name: &str) -> bool {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().any(|mount| {
        let names = std::fs::read_to_string(format!("{mount}/cgroup.controllers"));
        names.is_ok_and(|names| names.split_whitespace().any(|it| it == name))
    })
}

/// Whether the host's busybox is a static executable: asked once.
fn busybox_is_static() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let Some(program) = call::find_program("busybox") else {
            return false;
        };
        let ldd = Command::new("ldd").arg(program).output();
        // A static executable needs no library; a host without ldd has to be believed.
        ldd.map_or(true, |ldd| !String::from_utf8_lossy(&ldd.stdout).contains("=>"))
    })
}
