//! The question: what is in the image. Its documents, its layers, and where their bytes lie.

pub mod digest;
pub mod document;
pub mod platform;
pub mod reference;

use self::digest::Digest;
use self::document::ImageConfig;

/// An image whose documents were read and checked, and whose layers were found.
#[derive(Debug)]
pub struct Image {
    /// For errors: the reference, and what was selected.
    pub name: String,
    /// Of the manifest; what a docker-archive has is no manifest.
    pub manifest: Option<Digest>,
    /// Of the config, which is what engines call the image's id.
    pub id: Digest,
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
    /// In bytes, as it is stored.
    pub size: u64,
    /// What the manifest says it is; empty where nothing says.
    pub media_type: String,
    /// Of the uncompressed bytes.
    pub diff_id: Digest,
    /// Of this layer on those below it.
    pub chain_id: Digest,
}
