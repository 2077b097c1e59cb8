//! Which image of several: by name, then by platform. Pure.

use super::digest::Digest;
use super::document::Descriptor;
use super::platform::Platform;
use crate::error::{Error, Result};

/// What an index of a layout names, if it is a manifest.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole name, as containerd and `docker save` write it.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// How buildkit marks what is attached to an image (attestation-storage.md).
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// A manifest that an index lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Of the manifest.
    pub descriptor: Descriptor,
    /// The names that the layout gives it, or the index that it is in.
    pub names: Vec<String>,
    /// The indexes on the way to it, each of which may be asked for.
    pub indexes: Vec<Digest>,
}

impl Candidate {
    /// Whether the index says already that this is no image but attached to one.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let unknown = |platform: &Platform| platform.os == "unknown";
        self.descriptor.artifact_type.is_some()
            || self.descriptor.annotations.contains_key(REFERENCE_TYPE)
            || self.descriptor.platform.as_ref().is_some_and(unknown)
    }

    /// Whether it is asked for by this name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let digests: Vec<&Digest> = self.indexes.iter().chain([&self.descriptor.digest]).collect();
        is_named(name, &self.names, &digests)
    }
}

/// Whether a name, a tag or a digest is one of these.
#[must_use]
pub fn is_named(name: &str, names: &[String], digests: &[&Digest]) -> bool {
    match name.parse::<Digest>() {
        Ok(digest) => digests.contains(&&digest),
        Err(_) => names.iter().any(|own| own == name || whole(own) == whole(name)),
    }
}

/// The names that a descriptor of a layout's own index gives what it points to.
#[must_use]
pub fn names(descriptor: &Descriptor) -> Vec<String> {
    let mut names = Vec::new();
    for key in [IMAGE_NAME, REF_NAME] {
        if let Some(name) = descriptor.annotations.get(key)
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}

/// A name with what engines leave away: the registry (podman's own images have one of their own),
/// the tag.
fn whole(name: &str) -> String {
    let name = name.strip_prefix("localhost/").unwrap_or(name);
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains([':', '@']) { name.to_owned() } else { format!("{name}:latest") }
}

/// An image that may be meant.
#[derive(Clone, Debug)]
pub struct Choice<T> {
    /// What it is called.
    pub names: Vec<String>,
    /// What it is for.
    pub platform: Platform,
    /// What tells it from others.
    pub digest: Digest,
    /// The image.
    pub image: T,
}

/// The one that suits; without a platform asked for, a single one suits whatever it is for.
///
/// # Errors
/// None, or several, with what there is.
pub fn one<T>(mut choices: Vec<Choice<T>>, wanted: Option<&Platform>) -> Result<Choice<T>> {
    // The same image under two names is one.
    let mut seen = Vec::new();
    choices.retain(|choice| {
        let is_new = !seen.contains(&choice.digest);
        seen.push(choice.digest.clone());
        is_new
    });
    let all = list(&choices);
    if choices.is_empty() {
        return Err(Error::new("there is no image"));
    }
    if wanted.is_none() && choices.len() == 1 {
        return Ok(choices.remove(0));
    }
    let wanted = wanted.cloned().unwrap_or_else(Platform::host);
    let best = choices.iter().filter_map(|choice| choice.platform.suits(&wanted)).max();
    choices.retain(|choice| best.is_some() && choice.platform.suits(&wanted) == best);
    match choices.len() {
        1 => Ok(choices.remove(0)),
        0 => Err(Error::new(format!("no image is for {wanted}; there are: {all}"))),
        _ => Err(Error::new(format!(
            "several images are meant, choose by name or digest: {}",
            list(&choices)
        ))),
    }
}

fn list<T>(choices: &[Choice<T>]) -> String {
    const SHOWN: usize = 20;
    let one = |choice: &Choice<T>| {
        let name =
            if choice.names.is_empty() { "no name".to_owned() } else { choice.names.join(", ") };
        format!("{name} ({}, {})", choice.platform, choice.digest)
    };
    let mut list: Vec<String> = choices.iter().take(SHOWN).map(one).collect();
    if choices.len() > SHOWN {
        list.push(format!("{} more", choices.len() - SHOWN));
    }
    list.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(name: &str, platform: &str) -> Choice<()> {
        let digest = Digest::of(format!("{name} {platform}").as_bytes());
        let names = if name.is_empty() { Vec::new() } else { vec![name.to_owned()] };
        Choice { names, platform: platform.parse().unwrap(), digest, image: () }
    }

    fn selected(choices: &[(&str, &str)], wanted: &str) -> std::result::Result<String, String> {
        let choices = choices.iter().map(|(name, platform)| choice(name, platform)).collect();
        let wanted = (!wanted.is_empty()).then(|| wanted.parse().unwrap());
        let one = one(choices, wanted.as_ref()).map_err(|error| error.to_string())?;
        Ok(format!("{} {}", one.names.join(" "), one.platform))
    }

    #[test]
    fn one_image_is_meant_whatever_it_is_for_unless_a_platform_was_asked_for() {
        let foreign = [("a", "windows/arm64")];
        assert_eq!(selected(&foreign, "").unwrap(), "a windows/arm64");
        let error = selected(&foreign, "linux/amd64").unwrap_err();
        assert!(
            error.starts_with("no image is for linux/amd64; there are: a (windows/arm64, sha256:")
        );
        assert_eq!(selected(&[], "").unwrap_err(), "there is no image");
    }

    #[test]
    fn of_several_the_platform_decides() {
        let several = [("a", "linux/arm/v5"), ("a", "linux/arm/v6"), ("a", "linux/s390x")];
        assert_eq!(selected(&several, "linux/arm/v7").unwrap(), "a linux/arm/v6");
        assert_eq!(selected(&several, "linux/arm/v5").unwrap(), "a linux/arm/v5");
    }

    #[test]
    fn an_ambiguity_lists_the_candidates() {
        let error =
            selected(&[("a", "linux/s390x"), ("b", "linux/s390x")], "linux/s390x").unwrap_err();
        assert!(error.starts_with("several images are meant, choose by name or digest: a (linux/"));
        assert!(error.contains("; b (linux/s390x, sha256:"));
    }

    #[test]
    fn the_same_image_under_two_names_is_one() {
        let mut twice = vec![choice("a", "linux/s390x"), choice("a", "linux/s390x")];
        twice[1].names = vec!["b".to_owned()];
        assert!(one(twice, None).is_ok());
    }

    #[test]
    fn docker_leaves_the_registry_and_the_tag_away() {
        let candidate = |name: &str| {
            let json = format!(
                r#"{{"digest":"{}","size":0,"annotations":{{"{REF_NAME}":"{name}"}}}}"#,
                Digest::of(b"")
            );
            let descriptor: Descriptor = serde_json::from_str(&json).unwrap();
            Candidate { names: names(&descriptor), descriptor, indexes: Vec::new() }
        };
        for (own, name, is_named) in [
            ("docker.io/library/alpine:latest", "alpine", true),
            ("alpine:3", "docker.io/library/alpine:3", true),
            ("localhost:5000/a", "localhost:5000/a:latest", true),
            ("localhost/t:one", "t:one", true),
            ("latest", "latest", true),
            ("alpine:3", "alpine", false),
            ("alpine:3", "3", false),
            ("a/alpine:3", "alpine:3", false),
        ] {
            assert_eq!(candidate(own).is_named(name), is_named, "{name} for {own}");
        }
    }
}
