//! The label that the program gets from AppArmor or SELinux: config.md, "apparmorProfile",
//! "selinuxLabel". The file is opened early, on the procfs of the runtime namespace, and written
//! late: a hook that init starts in between is not confined by it (CVE-2019-16884, CVE-2025-52881).

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;

use crate::error::{Call, Result};
use crate::sys::proc::Procfs;

/// The file to write the label to, and the label.
pub struct Label {
    file: OwnedFd,
    path: &'static str,
    label: String,
}

/// Opens the file of the label, which is init's own.
///
/// # Errors
/// That the kernel has none.
pub fn open(planned: Option<&(&'static str, String)>, procfs: &Procfs) -> Result<Option<Label>> {
    let Some((path, label)) = planned else { return Ok(None) };
    let file = procfs.file(&format!("self/attr/{path}"), OFlag::O_WRONLY)?;
    Ok(Some(Label { file, path, label: label.clone() }))
}

impl Label {
    /// Asks for the label at the next execve.
    ///
    /// # Errors
    /// ENOENT for a profile that is not loaded; EINVAL for a label that the policy does not know.
    pub fn write(&self) -> Result<()> {
        nix::unistd::write(&self.file, self.label.as_bytes())
            .map(drop)
            .call(|| format!("write(\"/proc/self/attr/{}\", {:?})", self.path, self.label))
    }
}
