//! What a test of filters cannot do without.

use std::path::Path;

use hull::plan::seccomp::architectures::NATIVE;

/// What a test cannot do without.
#[derive(Clone, Copy)]
pub enum Need {
    /// A compiler of C: an oracle is a program.
    Compiler,
    /// That, and what is needed to link with libseccomp.
    Libseccomp,
    /// A processor that makes calls of x86_64 and of x86.
    X86,
    /// A path of the host.
    File(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
}

impl Need {
    /// Why this host does not meet the need.
    pub fn missing(self) -> Option<String> {
        let has = |path: &str| Path::new(path).exists();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has_cc = || std::env::split_paths(&path).any(|path| path.join("cc").is_file());
        let (met, reason) = match self {
            Self::Compiler => (has_cc(), "needs cc".to_owned()),
            Self::Libseccomp => (
                has_cc() && has("/usr/include/seccomp.h"),
                "needs cc and libseccomp-dev".to_owned(),
            ),
            Self::X86 => (NATIVE.name == "SCMP_ARCH_X86_64", "needs x86_64".to_owned()),
            Self::File(path) => (has(path), format!("needs {path}")),
            Self::Variable(name) => {
                (std::env::var_os(name).is_some(), format!("needs {name} to be set"))
            }
        };
        (!met).then_some(reason)
    }
}
