//! What `docker save` writes: a tar with manifest.json. In its old form each layer lies in a folder
//! of its own, or is a link to one; since Docker 25 the files lie as in an image layout.

use super::blobs::{Blob, Blobs, check_digest};
use super::digest::{Algorithm, Digest};
use super::document::{DockerImage, ImageConfig, MAX_MANIFESTS, parse};
use super::saved::{Documents, Listed, Place};
use crate::error::{Context, Error, Result};

/// The images of an archive; none if it is no such archive.
///
/// # Errors
/// What is wrong in manifest.json.
pub fn images(blobs: &Blobs) -> Result<Option<Vec<DockerImage>>> {
    let Some(bytes) = blobs.document("manifest.json")? else { return Ok(None) };
    let images: Vec<DockerImage> = parse(&bytes).context(|| "manifest.json")?;
    if images.len() > MAX_MANIFESTS {
        let count = images.len();
        return Err(Error::new(format!("manifest.json: {count} images, at most {MAX_MANIFESTS}")));
    }
    Ok(Some(images))
}

/// Reads the config of an image. Its digest must be the one that its name says.
///
/// # Errors
/// What is wrong in the config.
pub fn read(blobs: &Blobs, image: &DockerImage) -> Result<Listed> {
    let place = || format!("config {:?}", image.config);
    let missing = || Error::new("is not in the archive").context(place());
    let config_bytes = blobs.document(&image.config)?.ok_or_else(missing)?;
    let id = Digest::of(&config_bytes);
    if let Some(promised) = digest_in_name(&image.config) {
        check_digest(&id, &promised).context(place)?;
    }
    let config: ImageConfig = parse(&config_bytes).context(place)?;
    let platform = config.platform();
    let layers = image.layers.iter().cloned().map(Place::Path).collect();
    let documents = Documents { manifest: None, id, config, config_bytes, layers };
    Ok(Listed::Image(Box::new(documents), platform))
}

/// The file of a layer, and its digest where its name says it.
///
/// # Errors
/// That it is not in the archive.
pub fn layer(blobs: &Blobs, path: &str) -> Result<(Blob, Option<Digest>)> {
    let missing = || Error::new(format!("{path:?} is not in the archive"));
    let blob = blobs.file(path)?.ok_or_else(missing)?;
    // Elsewhere the name is an id of Docker's own, or of the layer in one form or the other.
    let digest = path.strip_prefix("blobs/sha256/").map(sha256).transpose()?;
    Ok((blob, digest))
}

/// `DIGITS.json`, `blobs/sha256/DIGITS`, or `sha256:DIGITS`, as other writers have it.
fn digest_in_name(name: &str) -> Option<Digest> {
    let digits = name.strip_prefix("blobs/sha256/").or_else(|| name.strip_prefix("sha256:"));
    sha256(digits.or_else(|| name.strip_suffix(".json"))?).ok()
}

fn sha256(digits: &str) -> Result<Digest> {
    format!("{}:{digits}", Algorithm::Sha256.name()).parse()
}
