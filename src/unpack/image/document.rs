//! The documents of an image: image-spec descriptor.md, image-index.md, manifest.md, config.md,
//! image-layout.md, and the manifest.json of `docker save`. What is not read is not checked:
//! images carry properties of many builders.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;
use super::platform::Platform;
use crate::error::{Error, Result};

/// The largest JSON document that is read, in bytes (CVE-2023-25153). Registries take manifests of
/// up to 4 MiB.
pub const MAX_JSON: u64 = 8 * 1024 * 1024;
/// The most layers an image may have: as many as one overlay mount takes (linux/fs/overlayfs,
/// OVL_MAX_STACK), four times what engines make.
pub const MAX_LAYERS: usize = 500;
/// The most descriptors one index may list.
pub const MAX_MANIFESTS: usize = 10_000;

/// What points to a blob: descriptor.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Of what the blob says it is. Old writers leave it away.
    #[serde(default)]
    pub media_type: String,
    /// Of the blob's bytes.
    pub digest: Digest,
    /// In bytes. A negative one is refused when it is read.
    pub size: u64,
    /// What the index says the image is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Names among them: `org.opencontainers.image.ref.name`.
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Present if it is an artifact, which is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The blob itself, in base64.
    #[serde(default, skip_serializing)]
    pub data: Option<String>,
}

/// An image index or a Docker manifest list: image-index.md.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2.
    pub schema_version: u64,
    /// Absent in old documents.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Images, further indexes, artifacts.
    #[serde(deserialize_with = "or_null")]
    pub manifests: Vec<Descriptor>,
    /// Of a manifest: an index that has one could be read as either (CVE-2021-41190).
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// An image manifest: manifest.md.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2.
    pub schema_version: u64,
    /// Absent in old documents.
    #[serde(default)]
    pub media_type: Option<String>,
    /// Present if it is an artifact.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// From the lowest to the highest.
    #[serde(deserialize_with = "or_null")]
    pub layers: Vec<Descriptor>,
    /// An image has none; what is attached to an image has (manifest.md, "subject").
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// Of an index, and of Docker's schema 1 (CVE-2021-41190).
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

/// What an image says of itself: config.md.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ImageConfig {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// `v7`; empty if there is none.
    #[serde(default, deserialize_with = "or_null")]
    pub variant: String,
    /// The version of the host that the image is for.
    #[serde(rename = "os.version", default, deserialize_with = "or_null")]
    pub os_version: String,
    /// What it needs of that host.
    #[serde(rename = "os.features", default, deserialize_with = "or_null")]
    pub os_features: Vec<String>,
    /// When, by RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// Who.
    #[serde(default)]
    pub author: Option<String>,
    /// How a container is to run.
    #[serde(default, deserialize_with = "or_null")]
    pub config: Execution,
    /// The layers.
    pub rootfs: Rootfs,
    /// How the layers came to be.
    #[serde(default, deserialize_with = "or_null")]
    pub history: Vec<History>,
}

/// The execution parameters: config.md, `config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// `user`, `uid`, `user:group`, `uid:gid`, and the mixed forms; empty for root.
    #[serde(deserialize_with = "or_null")]
    pub user: String,
    /// `port/protocol`, `port`.
    #[serde(deserialize_with = "keys")]
    pub exposed_ports: Vec<String>,
    /// `NAME=value`.
    #[serde(deserialize_with = "or_null")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(deserialize_with = "or_null")]
    pub entrypoint: Vec<String>,
    /// The further arguments, or the program.
    #[serde(deserialize_with = "or_null")]
    pub cmd: Vec<String>,
    /// Paths in the container that hold what is no part of the image.
    #[serde(deserialize_with = "keys")]
    pub volumes: Vec<String>,
    /// Where the program starts.
    #[serde(deserialize_with = "or_null")]
    pub working_dir: String,
    /// Free text.
    #[serde(deserialize_with = "or_null")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM`, `SIGRTMIN+3`, or a number.
    #[serde(deserialize_with = "or_null")]
    pub stop_signal: String,
}

/// The layers, as the config knows them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Rootfs {
    /// `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the layers' uncompressed bytes.
    #[serde(deserialize_with = "or_null")]
    pub diff_ids: Vec<Digest>,
}

/// A step of the build.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct History {
    /// When, by RFC 3339.
    pub created: Option<String>,
    /// The instruction.
    #[serde(deserialize_with = "or_null")]
    pub created_by: String,
    /// Who.
    #[serde(deserialize_with = "or_null")]
    pub author: String,
    /// Free text.
    #[serde(deserialize_with = "or_null")]
    pub comment: String,
    /// It changed no file.
    #[serde(deserialize_with = "or_null")]
    pub empty_layer: bool,
}

/// `oci-layout`: image-layout.md.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayoutVersion {
    /// `1.0.0`.
    pub image_layout_version: String,
}

/// One image of the `manifest.json` of `docker save`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// The config's path in the archive.
    pub config: String,
    /// `name:tag`.
    #[serde(default, deserialize_with = "or_null")]
    pub repo_tags: Vec<String>,
    /// The layers' paths in the archive, from the lowest to the highest.
    #[serde(deserialize_with = "or_null")]
    pub layers: Vec<String>,
}

impl ImageConfig {
    /// What the image is for.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
        }
    }
}

impl Index {
    /// Reads one, and that it can be read as nothing else.
    ///
    /// # Errors
    /// A JSON pointer and what is wrong there.
    pub fn parse(bytes: &[u8], expected: Option<&str>) -> Result<Self> {
        let index: Self = parse(bytes)?;
        check_head(index.schema_version, index.media_type.as_deref(), expected)?;
        if index.config.or(index.layers).or(index.fs_layers).is_some() {
            return Err(ambiguous("an index", "manifests"));
        }
        if index.manifests.len() > MAX_MANIFESTS {
            let count = index.manifests.len();
            let text = format!("/manifests: {count} descriptors, at most {MAX_MANIFESTS}");
            return Err(Error::new(text));
        }
        Ok(index)
    }
}

impl Manifest {
    /// Reads one, and that it can be read as nothing else.
    ///
    /// # Errors
    /// A JSON pointer and what is wrong there.
    pub fn parse(bytes: &[u8], expected: Option<&str>) -> Result<Self> {
        let manifest: Self = parse(bytes)?;
        check_head(manifest.schema_version, manifest.media_type.as_deref(), expected)?;
        if manifest.manifests.or(manifest.fs_layers).is_some() {
            return Err(ambiguous("a manifest", "layers"));
        }
        Ok(manifest)
    }
}

/// What an index and a manifest begin with. `expected` is what the descriptor said.
fn check_head(version: u64, says: Option<&str>, expected: Option<&str>) -> Result<()> {
    if version != 2 {
        return Err(Error::new(format!("/schemaVersion: {version}, and only 2 is known")));
    }
    match (says, expected) {
        (Some(says), Some(expected)) if says != expected => {
            Err(Error::new(format!("/mediaType: {says:?}, but its descriptor says {expected:?}")))
        }
        _ => Ok(()),
    }
}

fn ambiguous(kind: &str, has: &str) -> Error {
    Error::new(format!("{kind} with \"{has}\" and properties of the other kind (CVE-2021-41190)"))
}

/// Reads a document. A property that is there twice is an error, for those that are read.
///
/// # Errors
/// A JSON pointer and what is wrong there.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = pointer(error.path());
        let cause = Error::new(error.inner().to_string());
        if path.is_empty() { cause } else { cause.context(path) }
    })?;
    json.end().map_err(|error| Error::new(error.to_string()))?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let segment = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => String::new(),
    };
    path.iter().map(segment).collect()
}

/// Go writes what is empty as `null`.
fn or_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    json: D,
) -> std::result::Result<T, D::Error> {
    Option::deserialize(json).map(Option::unwrap_or_default)
}

/// A set, as Go writes one: `{"a": {}, "b": {}}`.
fn keys<'de, D: Deserializer<'de>>(json: D) -> std::result::Result<Vec<String>, D::Error> {
    let set: Option<BTreeMap<String, IgnoredAny>> = Option::deserialize(json)?;
    Ok(set.unwrap_or_default().into_keys().collect())
}
