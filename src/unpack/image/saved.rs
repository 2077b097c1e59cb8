//! What was saved: a directory or an archive with images, in one of the forms.

use std::collections::BTreeSet;
use std::fmt;

use super::blobs::{Blob, Blobs};
use super::digest::Digest;
use super::docker;
use super::document::{Descriptor, DockerImage, ImageConfig};
use super::layout;
use super::platform::Platform;
use super::reference::{Form, Reference};
use super::select::{Candidate, Choice, is_named};
use crate::error::{Error, Result};

/// A directory or an archive, open.
#[derive(Debug)]
pub struct Saved {
    blobs: Blobs,
    sources: Vec<Source>,
}

/// Something that is saved, before its documents are read: they are held of one image at a time.
#[derive(Debug)]
pub enum Source {
    /// In a layout.
    Layout(Box<Candidate>),
    /// In a docker-archive.
    Docker(DockerImage),
}

impl Source {
    fn names(&self) -> &[String] {
        match self {
            Self::Layout(candidate) => &candidate.names,
            Self::Docker(image) => &image.repo_tags,
        }
    }

    /// What its index says that it is for.
    fn platform(&self) -> Option<&Platform> {
        match self {
            Self::Layout(candidate) => candidate.descriptor.platform.as_ref(),
            Self::Docker(_) => None,
        }
    }

    /// Of its manifest, if it has one.
    fn manifest(&self) -> Option<&Digest> {
        match self {
            Self::Layout(candidate) => Some(&candidate.descriptor.digest),
            Self::Docker(_) => None,
        }
    }

    fn is_attached(&self) -> bool {
        matches!(self, Self::Layout(candidate) if candidate.is_attached())
    }

    /// Whether it may be asked for by this name. An image of a docker-archive may be so by the digest
    /// of its config, which is still to be read.
    fn may_be(&self, name: &str) -> bool {
        match self {
            Self::Layout(candidate) => candidate.is_named(name),
            Self::Docker(_) => true,
        }
    }
}

/// What an image consists of.
#[derive(Debug)]
pub struct Documents {
    /// Of the manifest, in a layout.
    pub manifest: Option<Digest>,
    /// Of the config.
    pub id: Digest,
    /// The config.
    pub config: ImageConfig,
    /// Its bytes.
    pub config_bytes: Vec<u8>,
    /// From the lowest to the highest.
    pub layers: Vec<Place>,
}

/// Where a layer lies.
#[derive(Clone, Debug)]
pub enum Place {
    /// In a layout.
    Blob(Box<Descriptor>),
    /// A path in a docker-archive.
    Path(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(descriptor) => write!(f, "{}", descriptor.digest),
            Self::Path(path) => write!(f, "{path:?}"),
        }
    }
}

/// What something that is saved turned out to be.
#[derive(Debug)]
pub enum Listed {
    /// An image.
    Image(Box<Documents>, Platform),
    /// Something else: what, and the blobs that it consists of.
    Artifact(String, Vec<Descriptor>),
    /// Its blobs are not here.
    Absent,
}

/// Something that is saved.
#[derive(Debug)]
pub struct Held {
    /// Its names.
    pub names: Vec<String>,
    /// Of the manifest; of the config in a docker-archive, if that can be read.
    pub digest: Option<Digest>,
    /// What it is for, if that is known.
    pub platform: Option<Platform>,
    /// What it is.
    pub listed: Result<Listed>,
}

impl Held {
    fn new(source: &Source, listed: Result<Listed>) -> Self {
        let image = match &listed {
            Ok(Listed::Image(documents, platform)) => Some((&documents.id, platform)),
            _ => None,
        };
        let digest = source.manifest().or(image.map(|(id, _)| id)).cloned();
        let platform = image.map(|(_, platform)| platform).or(source.platform()).cloned();
        Self { names: source.names().to_vec(), digest, platform, listed }
    }

    /// Whether it is asked for by this name; `source` is what it was read from.
    fn is_named(&self, name: &str, source: &Source) -> bool {
        let digests: Vec<&Digest> = self.digest.iter().collect();
        match source {
            Source::Layout(candidate) => candidate.is_named(name),
            Source::Docker(_) => is_named(name, &self.names, &digests),
        }
    }
}

impl Saved {
    /// Opens what a reference names, and reads its indexes.
    ///
    /// # Errors
    /// Those of open(2); that it has not the form that the reference says, or none.
    pub fn open(reference: &Reference) -> Result<Self> {
        let blobs = Blobs::open(&reference.path)?;
        let is_directory = matches!(blobs, Blobs::Directory(_));
        match reference.form {
            Form::Layout if !is_directory => {
                return Err(Error::new(
                    "is a file, which oci-archive: or docker-archive: would name",
                ));
            }
            Form::LayoutArchive if is_directory => {
                return Err(Error::new("is a directory, which oci: would name"));
            }
            _ => {}
        }
        // What `docker save` writes since Docker 25 is a layout too; it names more.
        let sources = if reference.form != Form::DockerArchive && layout::is_layout(&blobs)? {
            layout::candidates(&blobs)?.into_iter().map(Box::new).map(Source::Layout).collect()
        } else if matches!(reference.form, Form::Any | Form::DockerArchive)
            && let Some(images) = docker::images(&blobs)?
        {
            images.into_iter().map(Source::Docker).collect()
        } else {
            return Err(Error::new(match reference.form {
                Form::DockerArchive => "is no docker-archive: it has no manifest.json",
                Form::Any => "is no image: it has neither oci-layout nor manifest.json",
                _ => "is no image layout: it has no oci-layout",
            }));
        };
        Ok(Self { blobs, sources })
    }

    /// The images of a name, or all: those that `wanted`, or the host, may run were looked at, and
    /// what turned out to be no image was left out.
    ///
    /// # Errors
    /// That none is of this name, with what there is; that what is meant is no image, or not here;
    /// what is wrong in a document.
    pub fn choices(
        &self,
        name: Option<&str>,
        wanted: Option<&Platform>,
    ) -> Result<Vec<Choice<&Source>>> {
        let is_meant = |source: &&Source| name.is_none_or(|name| source.may_be(name));
        let mut meant: Vec<&Source> = self.sources.iter().filter(is_meant).collect();
        // What is attached to an image is meant only if it is named itself.
        if meant.iter().any(|source| !source.is_attached()) {
            meant.retain(|source| !source.is_attached());
        }
        let wanted = wanted.cloned().unwrap_or_else(Platform::host);
        let mut choices = Vec::new();
        let mut others = Vec::new();
        for source in meant {
            let held = match source.platform() {
                // As its index says: no need to read it, or to have it.
                Some(platform) if platform.suits(&wanted).is_none() => {
                    Held::new(source, Ok(Listed::Absent))
                }
                _ => Held::new(source, self.list(source)),
            };
            if held.listed.is_ok() && name.is_some_and(|name| !held.is_named(name, source)) {
                continue;
            }
            let what = held.digest.as_ref().map(Digest::to_string).unwrap_or_default();
            match (held.listed?, held.digest, held.platform) {
                (Listed::Artifact(kind, _), ..) => others.push(format!("{what} is {kind}")),
                // Where the index says what it is for, that it is absent is said when it is meant.
                (_, Some(digest), Some(platform)) => {
                    choices.push(Choice { names: held.names, platform, digest, image: source });
                }
                _ => others.push(format!("the blobs of {what} are not here")),
            }
        }
        match name {
            _ if !choices.is_empty() => Ok(choices),
            _ if !others.is_empty() => {
                Err(Error::new(format!("there is no image: {}", others.join("; "))))
            }
            Some(name) => Err(unknown(name, self.sources.iter().flat_map(Source::names))),
            None => Ok(choices),
        }
    }

    /// Reads all that it holds, one after the other; with a name or a platform, what of it is meant.
    pub fn held<'a>(
        &'a self,
        name: Option<&'a str>,
        platform: Option<&'a Platform>,
    ) -> impl Iterator<Item = Held> + 'a {
        self.sources.iter().filter_map(move |source| {
            if name.is_some_and(|name| !source.may_be(name)) {
                return None;
            }
            let held = Held::new(source, self.list(source));
            let is_named = name.is_none_or(|name| held.is_named(name, source));
            let is_suitable = match (platform, &held.platform) {
                (Some(wanted), Some(platform)) => platform.suits(wanted).is_some(),
                // What it is for is not known: that it cannot be read is said.
                (Some(_), None) => held.listed.is_err(),
                (None, _) => true,
            };
            (is_named && is_suitable).then_some(held)
        })
    }

    fn list(&self, source: &Source) -> Result<Listed> {
        match source {
            Source::Layout(candidate) => layout::read(&self.blobs, candidate),
            Source::Docker(image) => docker::read(&self.blobs, image),
        }
    }

    /// Reads an image that was chosen.
    ///
    /// # Errors
    /// What is wrong in its documents; that it is none, or not here.
    pub fn read(&self, source: &Source) -> Result<Box<Documents>> {
        let digest = || source.manifest().map(Digest::to_string).unwrap_or_default();
        match self.list(source)? {
            Listed::Image(documents, _) => Ok(documents),
            Listed::Artifact(what, _) => Err(Error::new(format!("{} is {what}", digest()))),
            Listed::Absent => Err(Error::new(format!("the blobs of {} are not here", digest()))),
        }
    }

    /// How large a layer is, as it is stored, in bytes.
    ///
    /// # Errors
    /// That a docker-archive does not have it.
    pub fn stored_size(&self, place: &Place) -> Result<u64> {
        match place {
            Place::Path(path) => docker::layer(&self.blobs, path).map(|(blob, _)| blob.size()),
            Place::Blob(descriptor) => Ok(descriptor.size),
        }
    }

    /// The blob of a descriptor, if it is here.
    ///
    /// # Errors
    /// Those of opening it; another size.
    pub fn blob(&self, descriptor: &Descriptor) -> Result<Option<Blob>> {
        self.blobs.blob(descriptor)
    }

    /// The blob of a layer, its digest where it is known, its media type.
    ///
    /// # Errors
    /// That it is not here, that its size is another, that it is encrypted.
    pub fn layer(&self, place: &Place) -> Result<(Blob, Option<Digest>, String)> {
        match place {
            Place::Path(path) => {
                let (blob, digest) = docker::layer(&self.blobs, path)?;
                Ok((blob, digest, String::new()))
            }
            Place::Blob(descriptor) => {
                let blob = layout::layer(&self.blobs, descriptor)?;
                Ok((blob, Some(descriptor.digest.clone()), descriptor.media_type.clone()))
            }
        }
    }
}

fn unknown<'a>(name: &str, names: impl Iterator<Item = &'a String>) -> Error {
    const SHOWN: usize = 20;
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    let shown: Vec<&str> = names.iter().copied().take(SHOWN).collect();
    let there = match (shown.len(), names.len()) {
        (0, _) => "nothing here has a name".to_owned(),
        (_, all) if all > SHOWN => {
            format!("there are {} and {} more", shown.join(", "), all - SHOWN)
        }
        _ => format!("there are: {}", shown.join(", ")),
    };
    Error::new(format!("no image is named {name:?}; {there}"))
}
