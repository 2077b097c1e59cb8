//! The question: what is in the image. Its documents, its layers, and their verified bytes.
//!
//! In the way of the data: [`reference`] (what the user names), [`blobs`] and [`archive`] (where
//! bytes lie), [`layout`] and [`docker`] (the forms), [`saved`] (what images there are), [`select`]
//! (which one is meant), and [`stream`] (a layer's bytes).

pub mod archive;
pub mod blobs;
pub mod compression;
pub mod digest;
pub mod docker;
pub mod document;
pub mod layout;
pub mod media_type;
mod pieces;
pub mod platform;
pub mod reference;
pub mod saved;
pub mod select;
pub mod stream;
mod turn;

use self::blobs::Blob;
use self::digest::Digest;
use self::document::{ImageConfig, MAX_LAYERS};
use self::platform::Platform;
use self::reference::Reference;
use self::saved::{Documents, Saved};
use self::stream::Streams;
use crate::error::{Context, Error, Result};

/// An image whose documents were read and verified, and whose layers were found and are open.
#[derive(Debug)]
pub struct Image {
    /// Of the manifest; what a docker-archive has is no manifest.
    pub manifest: Option<Digest>,
    /// Of the config, which is what engines call the image's id.
    pub id: Digest,
    /// The names that it was saved under.
    pub names: Vec<String>,
    /// What it is for.
    pub platform: Platform,
    /// The config.
    pub config: ImageConfig,
    /// Its bytes.
    pub config_bytes: Vec<u8>,
    /// From the lowest to the highest.
    pub layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Clone, Debug)]
pub struct Layer {
    /// From 1, the lowest.
    pub number: usize,
    /// Of the blob; what an old docker-archive has is no blob.
    pub digest: Option<Digest>,
    /// What the manifest says it is; empty where nothing says.
    pub media_type: String,
    /// Of the uncompressed bytes.
    pub diff_id: Digest,
    /// Of this layer on those below it.
    pub chain_id: Digest,
    blob: Blob,
}

impl Layer {
    /// In bytes, as it is stored.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blob.size()
    }
}

impl Image {
    /// Opens the image that a reference means. `platform`: the host's, unless one is asked for; of
    /// an image that is there for one platform alone, that one.
    ///
    /// # Errors
    /// That there is none or that several are meant, with what there is; what is wrong in a
    /// document, with its digest and a JSON pointer; a layer that is missing or of another size.
    pub fn open(reference: &Reference, platform: Option<&Platform>) -> Result<Self> {
        // 1. Open the directory or the archive, and see what form it has.
        let saved = Saved::open(reference)?;
        // 2. Look at what may be meant, and choose.
        let choices = saved.choices(reference.name.as_deref(), platform)?;
        let choice = select::one(choices, platform)?;
        let documents = saved.read(choice.image)?;
        // 3. Open the layers, and see that the config knows as many.
        Self::assemble(&saved, *documents, choice.names, choice.platform)
    }

    /// Finds the layers that the documents name.
    ///
    /// # Errors
    /// Those of [`Image::open`].
    pub fn assemble(
        saved: &Saved,
        documents: Documents,
        names: Vec<String>,
        platform: Platform,
    ) -> Result<Self> {
        let rootfs = &documents.config.rootfs;
        let config = || format!("config {}", documents.id);
        if rootfs.kind != "layers" {
            let text = format!("/rootfs/type: {:?}, and only \"layers\" is known", rootfs.kind);
            return Err(Error::new(text).context(config()));
        }
        let (count, known) = (documents.layers.len(), rootfs.diff_ids.len());
        if count != known {
            let text =
                format!("/rootfs/diff_ids: {known} of them, and the image has {count} layers");
            return Err(Error::new(text).context(config()));
        }
        if count > MAX_LAYERS {
            return Err(Error::new(format!("{count} layers, at most {MAX_LAYERS} are read")));
        }
        let mut layers: Vec<Layer> = Vec::with_capacity(count);
        for (place, diff_id) in documents.layers.iter().zip(&rootfs.diff_ids) {
            let number = layers.len() + 1;
            let (blob, digest, media_type) =
                saved.layer(place).context(|| format!("layer {number} of {count} ({place})"))?;
            let chain_id = diff_id.chained(layers.last().map(|layer| &layer.chain_id));
            let diff_id = diff_id.clone();
            layers.push(Layer { number, digest, media_type, diff_id, chain_id, blob });
        }
        Ok(Self {
            manifest: documents.manifest,
            id: documents.id,
            names,
            platform,
            config: documents.config,
            config_bytes: documents.config_bytes,
            layers,
        })
    }

    /// The bytes of some of the layers, in this order. Threads begin with the first that is asked
    /// for.
    #[must_use]
    pub fn streams<'a>(&self, layers: impl IntoIterator<Item = &'a Layer>) -> Streams {
        Streams::new(layers.into_iter().cloned().collect())
    }

    /// What errors say of a layer.
    #[must_use]
    pub fn describe(&self, layer: &Layer) -> String {
        let digest = layer.digest.as_ref().unwrap_or(&layer.diff_id);
        format!("layer {} of {} ({digest})", layer.number, self.layers.len())
    }
}
