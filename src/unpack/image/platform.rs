//! Platforms: image-spec image-index.md, "Platform Variants". `os/architecture[/variant]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What an image is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// As Go names it: `linux`.
    #[serde(default)]
    pub os: String,
    /// As Go names it: `amd64`, `arm64`.
    #[serde(default)]
    pub architecture: String,
    /// `v7`, `v8`; empty if there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// Of the host, as far as the build knows it.
    #[must_use]
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            // riscv64, s390x.
            other => (other, ""),
        };
        let os = "linux".to_owned();
        Self { os, architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// How well an image for `self` suits `wanted`: the higher the better, none if it cannot run.
    /// The variants of arm and of amd64 are levels, of which the lower run on the higher; an image
    /// without one is for the level that its architecture began with.
    #[must_use]
    pub fn suits(&self, wanted: &Self) -> Option<u32> {
        if self.os != wanted.os || self.architecture != wanted.architecture {
            return None;
        }
        let (has, wants) = (self.level(), wanted.level());
        match (has, wants) {
            _ if self.variant == wanted.variant => Some(u32::MAX),
            (Some(has), Some(wants)) if has <= wants => Some(has),
            _ => None,
        }
    }

    /// The level that a variant stands for; none for a variant that is only a name.
    fn level(&self) -> Option<u32> {
        let begins_with = match self.architecture.as_str() {
            "arm64" => 8,
            // Go's default of GOARM, and what engines take an arm image without a variant for.
            "arm" => 7,
            "amd64" => 1,
            _ => 0,
        };
        if self.variant.is_empty() {
            return Some(begins_with);
        }
        self.variant.strip_prefix('v')?.parse().ok()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] if !variant.is_empty() => (os, architecture, variant),
            _ => ("", "", ""),
        };
        if os.is_empty() || architecture.is_empty() {
            let form = "a platform is os/architecture or os/architecture/variant";
            return Err(Error::new(format!("{text:?}: {form}, as linux/arm64/v8")));
        }
        // What uname(1) says is a common slip.
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let own = str::to_owned;
        Ok(Self { os: own(os), architecture: own(architecture), variant: own(variant) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_suits_by_os_architecture_and_level() {
        for (image, wanted, suits) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", true),
            ("linux/amd64/v2", "linux/amd64/v3", true),
            ("linux/amd64/v3", "linux/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm64/v9", "linux/arm64/v8", false),
            ("linux/arm/v6", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", false),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm64", "linux/amd64", false),
            ("windows/amd64", "linux/amd64", false),
            ("linux/riscv64/rva23", "linux/riscv64/rva23", true),
            ("linux/riscv64/rva23", "linux/riscv64", false),
        ] {
            let (image, wanted) = (image.parse::<Platform>(), wanted.parse::<Platform>());
            let (image, wanted) = (image.unwrap(), wanted.unwrap());
            assert_eq!(image.suits(&wanted).is_some(), suits, "{image} on {wanted}");
        }
    }

    #[test]
    fn of_two_that_suit_the_higher_level_suits_better_and_the_same_best() {
        let wanted: Platform = "linux/arm/v7".parse().unwrap();
        let level = |text: &str| text.parse::<Platform>().unwrap().suits(&wanted);
        assert!(level("linux/arm/v7") > level("linux/arm/v6"));
        assert!(level("linux/arm/v6") > level("linux/arm/v5"));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/amd64/", "linux/arm/v7/x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
        let slip: Platform = "linux/aarch64".parse().unwrap();
        assert_eq!(slip.to_string(), "linux/arm64");
    }
}
