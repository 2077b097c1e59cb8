//! What `create` and `run` are given: options, a bundle, descriptors.

use crate::bundle::{self, Bundle};
use crate::container::inherited::Inherited;
use crate::error::Result;
use crate::state::check_id;
use crate::sys::seal::Sealed;

/// What the command line says of a new container.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// The directory of the bundle.
    pub bundle: Option<String>,
    /// A config instead of the bundle's config.json.
    pub config: Option<String>,
    /// Where to send the terminal's master.
    pub console_socket: Option<String>,
    /// Where to send the pidfd of init.
    pub pidfd_socket: Option<String>,
    /// Where to write init's pid.
    pub pid_file: Option<String>,
    /// Whether not to use pivot_root(2).
    pub no_pivot: bool,
    /// Whether to keep the session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors from 3 on the program gets.
    pub preserve_fds: u32,
}

/// What the caller gives beside [`Options`].
pub struct Given {
    pub(super) bundle: Bundle,
    pub(super) inherited: Inherited,
    pub(super) sealed: Sealed,
}

impl Given {
    /// Reads the bundle and takes the descriptors, before the runtime opens one that stays open.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn take(options: &Options, sealed: Sealed) -> Result<Self> {
        check_id(&options.id)?;
        // Before the descriptors of the caller are closed: a shell gives /dev/fd/N for `<(...)`.
        let directory = options.bundle.as_deref().unwrap_or(".");
        let bundle = bundle::read(directory, options.config.as_deref())?;
        let inherited = Inherited::take(options.preserve_fds, &sealed)?;
        Ok(Self { bundle, inherited, sealed })
    }
}
