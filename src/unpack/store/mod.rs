//! `--store`: a store holds each layer once, and a bundle is an overlay of layers with a writable
//! directory of its own, or a copy of what they show, which needs them no more.
//!
//! ```text
//! STORE/                      mode 0700: what an image brings is for no other user of this host
//!   hull-unpack-store         marks it as one; locked: shared by who unpacks or mounts, alone by gc
//!   layers/KIND/sha256-...    complete, or not there: by rename(2) from staging
//!   staging/...               in the making, each locked by who makes it
//!   bundles/N                 a record for each bundle, see `record`
//! ```
//!
//! A layer is named by its chain id, not by its diff id: what overlayfs is to be told of a layer
//! depends on the layers below it (whether a whiteout hides something, where a symbolic link in a name
//! leads, the attributes of a directory that it has no entry for).

pub mod collect;
pub mod files;
pub mod overlay;
pub mod record;

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use caps::Capability;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, fstat, mkdirat};

use super::extract::{LIST, Prefix, removal};
use super::image::digest::Digest;
use super::interrupt::Interrupt;
use super::owners::{Owners, Range};
use super::staging::{Other, Staging};
use crate::error::{Call, Context, Error, Result};
use crate::sys::ids::permitted;
use crate::sys::path::{open_path, real_path, sync_filesystem};

const MARK: &str = "hull-unpack-store";
const LAYERS: &str = "layers";
const STAGING: &str = "staging";
const BUNDLES: &str = "bundles";

/// A store that is open, and locked as long as it is.
pub struct Store {
    /// Its absolute path.
    pub path: String,
    lock: OwnedFd,
    layers: OwnedFd,
    staging: OwnedFd,
    bundles: OwnedFd,
}

/// Which of a store's layers can be of use to a bundle: those with the same attributes of overlayfs and
/// the same owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The namespace of overlayfs's attributes.
    pub prefix: Prefix,
    name: String,
}

/// What a layer is called in its store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerName {
    kind: String,
    layer: String,
}

impl Kind {
    /// Of layers that this process makes.
    ///
    /// # Errors
    /// Those of stat(2) of the user namespace, and of capget(2).
    pub fn new(owners: &Owners) -> Result<Self> {
        let is_trusted = is_first_user_namespace()? && !owners.is_rootless();
        // Who lacks it reads `trusted.` as if nothing had any (xattr(7)): what is hidden would be shown.
        let may_read = permitted()? & 1 << Capability::CAP_SYS_ADMIN.index() != 0;
        let (prefix, name) = match (is_trusted, may_read) {
            (true, true) => (Prefix::Trusted, "trusted"),
            (true, false) => (Prefix::User, "untrusted"),
            (false, _) => (Prefix::User, "user"),
        };
        let mut name = name.to_owned();
        if let Some((uids, gids)) = owners.mappings() {
            let list = |ranges: &[Range]| ranges.iter().map(|range| format!("{range} ")).collect();
            let (uids, gids): (String, String) = (list(uids), list(gids));
            // Inside a user namespace an id is itself, so that its ranges make no difference.
            let text = if owners.is_unprivileged() && !owners.is_rootless() {
                "inside".to_owned()
            } else {
                format!("{uids}/{gids}")
            };
            name = format!("{name}-{}", Digest::of(text.as_bytes()).short());
        }
        Ok(Self { prefix, name })
    }

    /// Whether they are those that only the first user namespace has.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.prefix == Prefix::Trusted
    }

    /// The layer of this chain id; of an image without layers, an empty one.
    #[must_use]
    pub fn layer(&self, chain_id: Option<&Digest>) -> LayerName {
        let layer = chain_id.map_or_else(
            || "empty".to_owned(),
            |id| format!("{}-{}", id.algorithm().name(), id.encoded()),
        );
        LayerName { kind: self.name.clone(), layer }
    }
}

/// Elsewhere, trusted.overlay.* cannot be written nor read (overlayfs.rst, "User xattr").
fn is_first_user_namespace() -> Result<bool> {
    /// PROC_USER_INIT_INO (linux/proc_ns.h).
    const FIRST: u64 = 0xeffffffd;
    let own = open_path("/proc/self/ns/user", OFlag::O_PATH)?;
    Ok(fstat(&own).call(|| "fstat(\"/proc/self/ns/user\")")?.st_ino == FIRST)
}

impl LayerName {
    /// As a record has it, `KIND/LAYER`.
    ///
    /// # Errors
    /// That it is no such name.
    pub fn parse(text: &str) -> Result<Self> {
        let is_name = |part: &str| {
            let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !part.is_empty() && part.bytes().all(is_safe)
        };
        match text.split_once('/') {
            Some((kind, layer)) if is_name(kind) && is_name(layer) => {
                Ok(Self { kind: kind.to_owned(), layer: layer.to_owned() })
            }
            _ => Err(Error::new(format!("{text:?} is no name of a layer"))),
        }
    }
}

impl std::fmt::Display for LayerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind, self.layer)
    }
}

impl Store {
    /// Opens a store to use its layers, and makes it if the directory is absent or empty.
    ///
    /// # Errors
    /// That the directory holds something else or belongs to somebody else; those of the calls; that a
    /// signal came while gc had it locked.
    pub fn open_or_make(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        make(directory)?;
        let store = Self::open(directory)?;
        interrupt.lock_shared(store.lock.as_fd())?;
        Ok(store)
    }

    /// Opens a store that is there, to use its layers.
    ///
    /// # Errors
    /// That it is none; as [`Store::open_or_make`].
    pub fn open_existing(directory: &Path, interrupt: &Interrupt) -> Result<Self> {
        let store = Self::open(directory)?;
        interrupt.lock_shared(store.lock.as_fd())?;
        Ok(store)
    }

    fn open(directory: &Path) -> Result<Self> {
        let root = open_own(directory)?;
        let lock = match openat(&root, MARK, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(Errno::ENOENT) => {
                return Err(Error::new(format!("{directory:?} is no store: it has no {MARK}")));
            }
            other => other.call(|| format!("openat({MARK:?})"))?,
        };
        let part = |name| {
            openat(&root, name, LIST, Mode::empty())
                .call(|| format!("openat({name:?}, O_DIRECTORY)"))
        };
        Ok(Self {
            path: real_path(root.as_fd())?,
            lock,
            layers: part(LAYERS)?,
            staging: part(STAGING)?,
            bundles: part(BUNDLES)?,
        })
    }

    /// The directories that it writes in.
    #[must_use]
    pub fn directories(&self) -> [BorrowedFd<'_>; 3] {
        [self.layers.as_fd(), self.staging.as_fd(), self.bundles.as_fd()]
    }

    /// Writes all of it to disk: what others made too, whoever relies on it from here on.
    ///
    /// # Errors
    /// Those of syncfs(2).
    pub fn sync(&self) -> Result<()> {
        sync_filesystem(self.layers.as_fd())
    }

    /// Opens a complete layer; `None` if the store does not have it.
    ///
    /// # Errors
    /// Those of openat(2).
    pub fn layer(&self, name: &LayerName) -> Result<Option<OwnedFd>> {
        let layer = openat(&self.layers, name.kind.as_str(), LIST, Mode::empty())
            .and_then(|kind| openat(kind, name.layer.as_str(), LIST, Mode::empty()));
        match layer {
            Ok(layer) => Ok(Some(layer)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).call(|| format!("openat({name})")),
        }
    }

    /// The layer of this name, which `make` makes in an empty directory if nobody else does meanwhile.
    /// If somebody does, it is awaited.
    ///
    /// # Errors
    /// Those of `make`; those of the calls; that a signal came.
    pub fn layer_or_make(
        &self,
        name: &LayerName,
        interrupt: &Interrupt,
        make: impl FnOnce(BorrowedFd<'_>) -> Result<()>,
    ) -> Result<OwnedFd> {
        let missing = || Error::new(format!("the layer {name} has gone again"));
        let temporary = OsString::from(format!("{}.{}", name.kind, name.layer));
        let staging = Staging::claim(self.staging.as_fd(), &temporary, Other::Await, interrupt)?;
        // Whom we waited for may have made it.
        if let Some(layer) = self.layer(name)? {
            return Ok(layer);
        }
        make(staging.directory())?;
        let kind = directory(self.layers.as_fd(), &name.kind)?;
        staging.publish(kind.as_fd(), OsStr::new(&name.layer))?;
        self.layer(name)?.ok_or_else(missing)
    }
}

/// Opens a directory of this user's: in somebody else's nothing is looked for, made or changed.
fn open_own(path: &Path) -> Result<OwnedFd> {
    let root = openat(AT_FDCWD, path, LIST - OFlag::O_NOFOLLOW, Mode::empty())
        .call(|| format!("open({path:?}, O_DIRECTORY)"))?;
    let owner = fstat(&root).call(|| "fstat()")?.st_uid;
    if owner != nix::unistd::geteuid().as_raw() {
        return Err(Error::new(format!("{path:?} belongs to user {owner}")));
    }
    Ok(root)
}

/// The directories first and the mark last: what has a mark is whole.
fn make(path: &Path) -> Result<()> {
    match mkdirat(AT_FDCWD, path, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).call(|| format!("mkdir({path:?}, 700)")),
    }
    let root = open_own(path)?;
    let names = removal::names(root.as_fd())?;
    if names.iter().any(|name| name == MARK.as_bytes()) {
        return Ok(());
    }
    let ours = [LAYERS, STAGING, BUNDLES].map(str::as_bytes);
    if let Some(other) = names.iter().find(|name| !ours.contains(&name.as_slice())) {
        let other = String::from_utf8_lossy(other);
        return Err(Error::new(format!("{path:?} is no store, and not empty: it has {other:?}")));
    }
    nix::sys::stat::fchmod(&root, Mode::S_IRWXU).call(|| format!("fchmod({path:?}, 700)"))?;
    for name in [LAYERS, STAGING, BUNDLES] {
        directory(root.as_fd(), name)?;
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC;
    openat(&root, MARK, flags, Mode::S_IRUSR | Mode::S_IWUSR)
        .map(drop)
        .call(|| format!("openat({MARK:?}, O_CREAT)"))
        .context(|| format!("make the store {path:?}"))
}

/// Opens a directory, and makes it if it is not there.
fn directory(parent: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    match mkdirat(parent, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).call(|| format!("mkdirat({name:?}, 700)")),
    }
    openat(parent, name, LIST, Mode::empty()).call(|| format!("openat({name:?}, O_DIRECTORY)"))
}
