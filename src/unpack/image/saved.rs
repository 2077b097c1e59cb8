//! What was saved: a directory or an archive with images, in one of the forms.

use std::collections::BTreeSet;
use std::fmt;

use super::blobs::{Blob, Blobs};
use super::digest::Digest;
use super::docker;
use super::document::{Descriptor, DockerImage, ImageConfig};
use super::layout::{self, Found};
use super::platform::Platform;
use super::reference::{Form, Reference};
use super::select::{Candidate, Choice, is_named};
use crate::error::{Error, Result};

/// A directory or an archive, open.
#[derive(Debug)]
pub struct Saved {
    blobs: Blobs,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Layout(Vec<Candidate>),
    Docker(Vec<DockerImage>),
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

/// An image that may be meant.
#[derive(Debug)]
pub enum Image {
    /// Its documents.
    Read(Box<Documents>),
    /// It is for another platform, as its index says: no need to read it, or to have it.
    Unread(Box<Candidate>),
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
    fn candidate(candidate: &Candidate, listed: Result<Listed>) -> Self {
        let says = candidate.descriptor.platform.clone();
        Self {
            names: candidate.names.clone(),
            digest: Some(candidate.descriptor.digest.clone()),
            platform: match &listed {
                Ok(Listed::Image(_, platform)) => Some(platform.clone()),
                _ => says,
            },
            listed,
        }
    }

    fn docker(image: &DockerImage, documents: Result<Documents>) -> Self {
        let known = documents.as_ref().ok();
        Self {
            names: image.repo_tags.clone(),
            digest: known.map(|documents| documents.id.clone()),
            platform: known.map(|documents| documents.config.platform()),
            listed: documents.map(|documents| {
                let platform = documents.config.platform();
                Listed::Image(Box::new(documents), platform)
            }),
        }
    }

    fn is_named(&self, name: &str) -> bool {
        let digests: Vec<&Digest> = self.digest.iter().collect();
        is_named(name, &self.names, &digests)
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
        let contents = if reference.form != Form::DockerArchive && layout::is_layout(&blobs)? {
            Contents::Layout(layout::candidates(&blobs)?)
        } else if matches!(reference.form, Form::Any | Form::DockerArchive)
            && let Some(images) = docker::images(&blobs)?
        {
            Contents::Docker(images)
        } else {
            return Err(Error::new(match reference.form {
                Form::DockerArchive => "is no docker-archive: it has no manifest.json",
                Form::Any => "is no image: it has neither oci-layout nor manifest.json",
                _ => "is no image layout: it has no oci-layout",
            }));
        };
        Ok(Self { blobs, contents })
    }

    /// The images of a name, or all: those that `wanted`, or the host, may run were read, and what
    /// turned out to be no image was left out.
    ///
    /// # Errors
    /// That none is of this name, with what there is; that what is meant is no image, or not here;
    /// what is wrong in a document.
    pub fn choices(
        &self,
        name: Option<&str>,
        wanted: Option<&Platform>,
    ) -> Result<Vec<Choice<Image>>> {
        match &self.contents {
            Contents::Layout(candidates) => self.candidates(candidates, name, wanted),
            Contents::Docker(images) => self.docker_images(images, name),
        }
    }

    fn candidates(
        &self,
        candidates: &[Candidate],
        name: Option<&str>,
        wanted: Option<&Platform>,
    ) -> Result<Vec<Choice<Image>>> {
        let is_meant = |one: &&Candidate| name.is_none_or(|name| one.is_named(name));
        let mut meant: Vec<&Candidate> = candidates.iter().filter(is_meant).collect();
        if let Some(name) = name
            && meant.is_empty()
        {
            return Err(unknown(name, candidates.iter().flat_map(|one| &one.names)));
        }
        // What is attached to an image is meant only if it is named itself.
        if meant.iter().any(|one| !one.is_attached()) {
            meant.retain(|one| !one.is_attached());
        }
        let wanted = wanted.cloned().unwrap_or_else(Platform::host);
        let mut choices = Vec::new();
        let mut others = Vec::new();
        for candidate in meant {
            let digest = candidate.descriptor.digest.clone();
            let names = candidate.names.clone();
            if let Some(platform) = &candidate.descriptor.platform
                && platform.suits(&wanted).is_none()
            {
                let image = Image::Unread(Box::new(candidate.clone()));
                choices.push(Choice { names, platform: platform.clone(), digest, image });
                continue;
            }
            match self.list(candidate)? {
                Listed::Image(documents, platform) => {
                    choices.push(Choice { names, platform, digest, image: Image::Read(documents) });
                }
                Listed::Artifact(what, _) => others.push(format!("{digest} is {what}")),
                // Where the index says what it is for, it is said when it is the one that is meant.
                Listed::Absent => match &candidate.descriptor.platform {
                    Some(platform) => {
                        let image = Image::Unread(Box::new(candidate.clone()));
                        choices.push(Choice { names, platform: platform.clone(), digest, image });
                    }
                    None => others.push(format!("the blobs of {digest} are not here")),
                },
            }
        }
        if choices.is_empty() && !others.is_empty() {
            return Err(Error::new(format!("there is no image: {}", others.join("; "))));
        }
        Ok(choices)
    }

    fn docker_images(
        &self,
        images: &[DockerImage],
        name: Option<&str>,
    ) -> Result<Vec<Choice<Image>>> {
        let mut choices = Vec::new();
        for image in images {
            let documents = self.read_docker(image)?;
            let digest = documents.id.clone();
            if name.is_none_or(|name| is_named(name, &image.repo_tags, &[&digest])) {
                let platform = documents.config.platform();
                let (names, image) = (image.repo_tags.clone(), Image::Read(Box::new(documents)));
                choices.push(Choice { names, platform, digest, image });
            }
        }
        match name {
            Some(name) if choices.is_empty() => {
                Err(unknown(name, images.iter().flat_map(|image| &image.repo_tags)))
            }
            _ => Ok(choices),
        }
    }

    /// Reads all that it holds; with a name or a platform, what of it is meant.
    #[must_use]
    pub fn held(&self, name: Option<&str>, platform: Option<&Platform>) -> Vec<Held> {
        let mut all: Vec<Held> = match &self.contents {
            Contents::Layout(candidates) => candidates
                .iter()
                .filter(|candidate| name.is_none_or(|name| candidate.is_named(name)))
                .map(|candidate| Held::candidate(candidate, self.list(candidate)))
                .collect(),
            Contents::Docker(images) => images
                .iter()
                .map(|image| Held::docker(image, self.read_docker(image)))
                .filter(|held| name.is_none_or(|name| held.is_named(name)))
                .collect(),
        };
        all.retain(|held| match (platform, &held.platform) {
            (Some(wanted), Some(platform)) => platform.suits(wanted).is_some(),
            // What it is for is not known: that it cannot be read is said.
            (Some(_), None) => held.listed.is_err(),
            (None, _) => true,
        });
        all
    }

    /// Reads what a candidate is.
    ///
    /// # Errors
    /// What is wrong in its documents.
    pub fn list(&self, candidate: &Candidate) -> Result<Listed> {
        let descriptor = &candidate.descriptor;
        Ok(match layout::read(&self.blobs, descriptor)? {
            Found::Artifact(what, blobs) => Listed::Artifact(what, blobs),
            Found::Absent => Listed::Absent,
            Found::Image(parts) => {
                let platform = layout::platform(candidate, &parts);
                let places = parts.manifest.layers.into_iter().map(Box::new).map(Place::Blob);
                let documents = Documents {
                    manifest: Some(descriptor.digest.clone()),
                    id: parts.manifest.config.digest,
                    config: parts.config,
                    config_bytes: parts.config_bytes,
                    layers: places.collect(),
                };
                Listed::Image(Box::new(documents), platform)
            }
        })
    }

    /// Reads an image that was chosen.
    ///
    /// # Errors
    /// Those of [`Saved::list`]; that it is none, or not here.
    pub fn read(&self, candidate: &Candidate) -> Result<Box<Documents>> {
        let digest = &candidate.descriptor.digest;
        match self.list(candidate)? {
            Listed::Image(documents, _) => Ok(documents),
            Listed::Artifact(what, _) => Err(Error::new(format!("{digest} is {what}"))),
            Listed::Absent => Err(Error::new(format!("the blobs of {digest} are not here"))),
        }
    }

    fn read_docker(&self, image: &DockerImage) -> Result<Documents> {
        let (config, config_bytes, id) = docker::config(&self.blobs, image)?;
        let layers = image.layers.iter().cloned().map(Place::Path).collect();
        Ok(Documents { manifest: None, id, config, config_bytes, layers })
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
