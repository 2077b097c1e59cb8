//! `unpack`: an image becomes a bundle. The story; either the whole bundle appears or nothing.

use std::io::BufReader;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};

use super::bundle::{Bundle, Place};
use super::config::user::{Account, UserName};
use super::config::{self, ROOTFS, Wishes};
use super::extract::lowers::Lowers;
use super::extract::{Extractor, Limits, Options as Extraction, Spent, Whiteouts};
use super::image::platform::Platform;
use super::image::reference::Reference;
use super::image::stream::LayerStream;
use super::image::{Image, Layer};
use super::interrupt::Interrupt;
use super::owners::Owners;
use super::progress::{Progress, Watched};
use super::sandbox::{self, Needs};
use super::store::files::{open_layered, open_merged};
use super::store::overlay;
use super::store::{Kind, LayerName, Store};
use super::text::{printable, say};
use super::user_namespace::{self, Whose};
use crate::error::{Call, Context, Error, Result};
use crate::sys::limits::raise_open_files;
use crate::sys::path::{InRoot, open_path};

/// What is asked.
#[derive(Debug)]
pub struct Options {
    /// IMAGE.
    pub image: Reference,
    /// BUNDLE.
    pub bundle: PathBuf,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// `--layout`, `--store`.
    pub layout: Layout,
    /// `--uid-map`, `--gid-map`, `--rootless`.
    pub whose: Whose,
    /// What config.json is to say otherwise; none: `--no-config`.
    pub wishes: Option<Wishes>,
    /// `--max-entries`, `--max-size`.
    pub limits: Limits,
    /// Not `--no-sandbox`.
    pub sandbox: bool,
    /// `--sync`.
    pub sync: bool,
    /// `--quiet`.
    pub is_quiet: bool,
    /// `--json`.
    pub is_json: bool,
}

/// How the root filesystem is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One merged tree; of layers in a store, if there is one.
    Copy(Option<PathBuf>),
    /// An overlay of layers in a store.
    Shared(PathBuf),
}

/// What the steps have in common.
struct Unpacking<'a> {
    options: &'a Options,
    image: &'a Image,
    owners: Owners,
    progress: Progress,
    interrupt: &'a Interrupt,
    /// Sentences for the caller, told when the bundle is there.
    remarks: Vec<String>,
}

/// Unpacks an image into a bundle.
///
/// # Errors
/// What is wrong with the image, naming the layer and the entry; that the bundle is there already; the
/// call that failed; that a signal came. Nothing is left then but layers that were complete.
pub fn unpack(options: &Options, interrupt: &Interrupt) -> Result<()> {
    // 1. Whose files will be whose, with the modes that are said, and as many as it takes. May enter a
    // user namespace, so no other thread is there yet.
    let owners = user_namespace::owners(&options.whose)?;
    umask(Mode::empty());
    // Each blob is open, and each layer of a store.
    raise_open_files()?;
    // 2. Where everything goes.
    let place = Place::new(&options.bundle)?;
    let source = open_path(&options.image.path, OFlag::O_PATH)?;
    let store = match &options.layout {
        Layout::Copy(store) => store.as_deref(),
        Layout::Shared(store) => Some(store.as_path()),
    };
    let store = store.map(|path| Store::open_or_make(path, interrupt)).transpose()?;
    let kind = Kind::new(&owners)?;
    let parent = place.parent.try_clone().call(|| "dup()")?;
    let path = place.path.clone();
    let bundle = Bundle::begin(place, interrupt)?;
    // 3. From here on everything that is read is hostile.
    if options.sandbox {
        enter_sandbox(&source, &parent, &bundle, store.as_ref(), &kind)?;
    }
    let image = Image::open(&options.image, options.platform.as_ref())?;
    let progress = Progress::new(options.is_quiet, options.is_json);
    let remarks = Vec::new();
    let mut unpacking = Unpacking { options, image: &image, owners, progress, interrupt, remarks };
    // 4. Layers become files, and who the process is is looked up in them.
    let user = unpacking.user()?;
    let account = match &store {
        None => {
            let rootfs = bundle.make_directory(ROOTFS, Mode::S_IRWXU)?;
            let account = rootfs.try_clone().call(|| "dup()")?;
            unpacking.copy(rootfs)?;
            let root = InRoot::new(account);
            user.resolve(|path| Ok(open_merged(&root, path)?.map(BufReader::new)))
        }
        Some(store) => {
            let (names, layers) = unpacking.share(store, &kind)?;
            let layers = Lowers { prefix: kind.prefix, directories: layers };
            match options.layout {
                Layout::Copy(_) => {
                    unpacking.merge(bundle.make_directory(ROOTFS, Mode::S_IRWXU)?, &layers)?;
                }
                Layout::Shared(_) => {
                    overlay::make_directories(&bundle, &layers)?;
                    store.enter(bundle.directory(), &path, kind.prefix, &names)?;
                }
            }
            user.resolve(|path| Ok(open_layered(&layers, path)?.map(BufReader::new)))
        }
    };
    // 5. config.json.
    if let Some(wishes) = &options.wishes {
        let document = account.and_then(|account| unpacking.config(wishes, &account))?;
        bundle.make_file("config.json", document.as_bytes())?;
    }
    // 6. The bundle appears.
    interrupt.check()?;
    if let Some(store) = store.as_ref().filter(|_| options.sync) {
        store.sync()?;
    }
    bundle.publish(&unpacking.owners, options.sync)?;
    unpacking.tell();
    Ok(())
}

fn enter_sandbox(
    source: &OwnedFd,
    parent: &OwnedFd,
    bundle: &Bundle,
    store: Option<&Store>,
    kind: &Kind,
) -> Result<()> {
    let mut write = vec![bundle.directory()];
    write.extend(store.map(Store::directories).into_iter().flatten());
    sandbox::enter(&Needs {
        read: vec![source.as_fd()],
        write,
        rename: vec![parent.as_fd()],
        extract: true,
        trusted_attributes: store.is_some() && kind.is_trusted(),
    })
}

impl Unpacking<'_> {
    /// Whom the process is to be, before anything is extracted in vain.
    fn user(&self) -> Result<UserName> {
        let wish = self.options.wishes.as_ref().and_then(|wishes| wishes.user.as_deref());
        match wish {
            Some(wish) => wish.parse().context(|| "--user"),
            None if self.options.wishes.is_none() => Ok(UserName::default()),
            None => self.image.config.config.user.parse().context(|| "/config/User"),
        }
    }

    /// `--layout copy`: all layers into one tree.
    fn copy(&mut self, rootfs: OwnedFd) -> Result<()> {
        let mut extractor = Extractor::new(rootfs, self.extraction(Whiteouts::Apply))?;
        let layers = &self.image.layers;
        for (layer, stream) in layers.iter().zip(self.image.streams(layers)) {
            let extracted = stream
                .and_then(|stream| self.watch(layer, stream))
                .and_then(|stream| extract(&mut extractor, stream));
            extracted.context(|| self.image.describe(layer))?;
        }
        self.remarks.extend(extractor.finish()?);
        Ok(())
    }

    /// `--layout copy --store DIR`: what the layers of the store show, as one tree.
    fn merge(&mut self, rootfs: OwnedFd, layers: &Lowers) -> Result<()> {
        let mut extractor = Extractor::new(rootfs, self.extraction(Whiteouts::Apply))?;
        extractor.merge(layers, &|| self.interrupt.check())?;
        self.remarks.extend(extractor.finish()?);
        Ok(())
    }

    /// `--store DIR`: the layers that the store does not have yet. All of them, the topmost first.
    fn share(&mut self, store: &Store, kind: &Kind) -> Result<(Vec<LayerName>, Vec<Rc<OwnedFd>>)> {
        let mut names: Vec<LayerName> =
            self.image.layers.iter().map(|layer| kind.layer(Some(&layer.chain_id))).collect();
        if names.is_empty() {
            let name = kind.layer(None);
            let empty = store.layer_or_make(&name, self.interrupt, |_| Ok(()))?;
            return Ok((vec![name], vec![Rc::new(empty)]));
        }
        let there = names.iter().map(|name| store.layer(name)).collect::<Result<Vec<_>>>()?;
        let missing = self.image.layers.iter().zip(&there).filter(|(_, there)| there.is_none());
        let mut streams = self.image.streams(missing.map(|(layer, _)| layer));
        let mut layers: Vec<Rc<OwnedFd>> = Vec::with_capacity(names.len());
        let mut spent = Spent::default();
        for ((layer, name), there) in self.image.layers.iter().zip(&names).zip(there) {
            let opened = match there {
                Some(there) => there,
                None => {
                    let stream = streams.next().expect("one for each layer that is missing");
                    let lowers = layers.iter().rev().cloned().collect();
                    let whiteouts = Whiteouts::Overlay { prefix: kind.prefix, lowers };
                    let mut remarks = Vec::new();
                    let made = stream.and_then(|stream| {
                        let options = self.extraction(whiteouts);
                        store.layer_or_make(name, self.interrupt, |directory| {
                            let root = owned(directory)?;
                            let mut extractor = Extractor::new(root, options)?;
                            extractor.spent = spent;
                            extract(&mut extractor, self.watch(layer, stream)?)?;
                            spent = extractor.spent;
                            remarks = extractor.finish()?;
                            Ok(())
                        })
                    });
                    self.remarks.extend(remarks);
                    made.context(|| self.image.describe(layer))?
                }
            };
            layers.push(Rc::new(opened));
        }
        names.reverse();
        layers.reverse();
        Ok((names, layers))
    }

    fn watch(&self, layer: &Layer, stream: LayerStream) -> Result<Watched<'_>> {
        // What decompresses to nothing is in no count of bytes of tar.
        let most = self.options.limits.size;
        if layer.size() > most {
            return Err(Error::new(format!("more than {most} bytes, as it is stored")));
        }
        self.progress.watch(self.image, layer, stream, "extracted", Some(self.interrupt))
    }

    fn extraction(&self, whiteouts: Whiteouts) -> Extraction {
        Extraction { owners: self.owners.clone(), whiteouts, limits: self.options.limits }
    }

    fn config(&mut self, wishes: &Wishes, account: &Account) -> Result<String> {
        let document = config::document(&self.image.config, wishes, account, &self.owners)
            .context(|| format!("config {}", self.image.id))?;
        self.remarks.extend(document.remarks);
        Ok(document.text)
    }

    fn tell(&self) {
        if !self.options.is_quiet {
            for remark in &self.remarks {
                say(&format!("warning: {}", printable(remark)));
            }
        }
    }
}

fn extract(extractor: &mut Extractor, mut stream: Watched<'_>) -> Result<()> {
    extractor.layer(&mut stream)?;
    stream.finish()
}

fn owned(directory: BorrowedFd<'_>) -> Result<OwnedFd> {
    directory.try_clone_to_owned().call(|| "dup()")
}
