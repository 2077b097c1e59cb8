//! Image layouts: image-layout.md, image-index.md, manifest.md.

use std::collections::HashSet;

use super::blobs::{Blob, Blobs};
use super::digest::Digest;
use super::document::{
    Descriptor, ImageConfig, Index, LayoutVersion, MAX_MANIFESTS, Manifest, parse,
};
use super::media_type::{Kind, kind};
use super::saved::{Documents, Listed, Place};
use super::select::{Candidate, names};
use crate::error::{Context, Error, Result};

/// How deep an index may lie in others: buildkit's lies in one. A cycle would need a digest of
/// itself, but the way down must end for a chain of indexes too.
const MAX_DEPTH: usize = 8;

/// Whether a store is a layout.
///
/// # Errors
/// An `oci-layout` that is none.
pub fn is_layout(blobs: &Blobs) -> Result<bool> {
    let Some(bytes) = blobs.document("oci-layout")? else { return Ok(false) };
    let layout: LayoutVersion = parse(&bytes).context(|| "oci-layout")?;
    if layout.image_layout_version != "1.0.0" {
        let version = layout.image_layout_version;
        let text = format!("oci-layout: /imageLayoutVersion: {version:?}, and only 1.0.0 is known");
        return Err(Error::new(text));
    }
    Ok(true)
}

/// All manifests of a layout, as its indexes list them.
///
/// # Errors
/// What is wrong in an index, with its digest.
pub fn candidates(blobs: &Blobs) -> Result<Vec<Candidate>> {
    let bytes = blobs.document("index.json")?.ok_or_else(|| Error::new("has no index.json"))?;
    let index = Index::parse(&bytes, None).context(|| "index.json")?;
    let mut walk = Walk { blobs, candidates: Vec::new(), entered: HashSet::new() };
    for descriptor in index.manifests {
        // Names of manifests in indexes below are none (annotations.md, "ref.name").
        let names = names(&descriptor);
        walk.enter(descriptor, &names, &[])?;
    }
    Ok(walk.candidates)
}

struct Walk<'a> {
    blobs: &'a Blobs,
    candidates: Vec<Candidate>,
    /// Indexes under a name: twice would give the same candidates, and doubles at each depth.
    entered: HashSet<(Digest, Vec<String>)>,
}

impl Walk<'_> {
    fn enter(&mut self, descriptor: Descriptor, names: &[String], above: &[Digest]) -> Result<()> {
        if self.candidates.len() >= MAX_MANIFESTS {
            return Err(Error::new(format!("more than {MAX_MANIFESTS} manifests")));
        }
        if kind(&descriptor.media_type) != Kind::Index {
            let (names, indexes) = (names.to_vec(), above.to_vec());
            self.candidates.push(Candidate { descriptor, names, indexes });
            return Ok(());
        }
        if !self.entered.insert((descriptor.digest.clone(), names.to_vec())) {
            return Ok(());
        }
        let place = || format!("index {}", descriptor.digest);
        if above.len() >= MAX_DEPTH {
            return Err(Error::new(format!("{}: lies in {MAX_DEPTH} others", place())));
        }
        let Some(bytes) = self.blobs.verified(&descriptor).context(place)? else { return Ok(()) };
        let index = Index::parse(&bytes, Some(&descriptor.media_type)).context(place)?;
        let above = [above, std::slice::from_ref(&descriptor.digest)].concat();
        for descriptor in index.manifests {
            self.enter(descriptor, names, &above)?;
        }
        Ok(())
    }
}

/// Reads what a candidate is.
///
/// # Errors
/// What is wrong in the manifest or in the config, with its digest.
pub fn read(blobs: &Blobs, candidate: &Candidate) -> Result<Listed> {
    let descriptor = &candidate.descriptor;
    let what = || format!("manifest {}", descriptor.digest);
    match kind(&descriptor.media_type) {
        Kind::Manifest => {}
        _ if descriptor.media_type.is_empty() => {}
        _ => {
            let what = format!("a blob of type {:?}", descriptor.media_type);
            return Ok(Listed::Artifact(what, vec![descriptor.clone()]));
        }
    }
    let Some(bytes) = blobs.verified(descriptor).context(what)? else { return Ok(Listed::Absent) };
    let expected = (!descriptor.media_type.is_empty()).then_some(descriptor.media_type.as_str());
    let manifest = Manifest::parse(&bytes, expected).context(what)?;
    if let Some(reason) = why_no_image(&manifest) {
        let blobs = std::iter::once(manifest.config).chain(manifest.layers).collect();
        return Ok(Listed::Artifact(reason, blobs));
    }
    let place = || format!("config {}", manifest.config.digest);
    let Some(config_bytes) = blobs.verified(&manifest.config).context(place)? else {
        return Ok(Listed::Absent);
    };
    let config: ImageConfig = parse(&config_bytes).context(place)?;
    // As the index says, else as the config says.
    let platform = descriptor.platform.clone().unwrap_or_else(|| config.platform());
    let documents = Documents {
        manifest: Some(descriptor.digest.clone()),
        id: manifest.config.digest,
        config,
        config_bytes,
        layers: manifest.layers.into_iter().map(Box::new).map(Place::Blob).collect(),
    };
    Ok(Listed::Image(Box::new(documents), platform))
}

/// An artifact has a manifest as an image has, of other types (manifest.md, "Guidelines for Artifact
/// Usage"); attestations and signatures may even have an image's config.
fn why_no_image(manifest: &Manifest) -> Option<String> {
    if let Some(name) = &manifest.artifact_type {
        return Some(format!("an artifact of type {name:?}"));
    }
    let config = &manifest.config.media_type;
    if kind(config) != Kind::Config {
        return Some(format!("an artifact with a config of type {config:?}"));
    }
    let is_other =
        |layer: &&Descriptor| !matches!(kind(&layer.media_type), Kind::Layer | Kind::Encrypted);
    let other = manifest.layers.iter().find(is_other)?;
    Some(format!("an artifact with a layer of type {:?}", other.media_type))
}

/// The blob of a layer.
///
/// # Errors
/// That it is not here, or of another size.
pub fn layer(blobs: &Blobs, descriptor: &Descriptor) -> Result<Blob> {
    if kind(&descriptor.media_type) == Kind::Encrypted {
        return Err(Error::new(format!("is encrypted, by its type {:?}", descriptor.media_type)));
    }
    let missing = || Error::new("its blob is not in the image layout");
    blobs.blob(descriptor)?.ok_or_else(missing)
}
