//! What a test of the unpacker cannot do without.

use std::path::Path;

/// What a test cannot do without.
#[derive(Clone, Copy)]
pub enum Need {
    /// Effective user 0.
    Root,
    /// Another one.
    NoRoot,
    /// A program of the host, found in PATH or where an administrator's are.
    Program(&'static str),
    /// A variable of the environment, because of what the test costs.
    Variable(&'static str, &'static str),
}

impl Need {
    /// Why this host does not meet the need.
    pub fn missing(self) -> Option<String> {
        let is_root = rustix::process::geteuid().is_root();
        let (met, reason) = match self {
            Self::Root => (is_root, "needs root".to_owned()),
            Self::NoRoot => (!is_root, "needs an ordinary user".to_owned()),
            Self::Program(name) => (has_program(name), format!("needs {name}")),
            Self::Variable(name, why) => {
                (std::env::var_os(name).is_some(), format!("needs {name} to be set: {why}"))
            }
        };
        (!met).then_some(reason)
    }
}

fn has_program(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':').any(|directory| Path::new(directory).join(name).is_file())
}
