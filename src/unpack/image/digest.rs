//! Digests: image-spec descriptor.md, "Digests", and the chain ids of config.md, "Layer ChainID".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

use crate::error::Error;

/// The algorithms that every implementation is to know (descriptor.md, "Registered Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `sha256`.
    Sha256,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// As digests and the folders of a layout write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the encoded part, in letters.
    fn letters(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// What some bytes are identified by. It prints as `sha256:` and hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    /// Hexadecimal, in lower case: safe as a file's name.
    encoded: String,
}

impl Digest {
    /// Of some bytes, by SHA-256.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// How it was computed.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// What people know it by: the first twelve digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.encoded[..12]
    }

    /// The chain id of a layer with this diff id on top of the layers with the chain id `parent`.
    #[must_use]
    pub fn chained(&self, parent: Option<&Self>) -> Self {
        match parent {
            None => self.clone(),
            Some(parent) => Self::of(format!("{parent} {self}").as_bytes()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.encoded)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::new(format!("{text:?} is no digest: {why}"));
        let (name, encoded) =
            text.split_once(':').ok_or_else(|| wrong("it has no algorithm before a colon"))?;
        let known = [Algorithm::Sha256, Algorithm::Sha512];
        let algorithm = known
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
            .ok_or_else(|| wrong("its algorithm is neither sha256 nor sha512"))?;
        // Upper case is refused: the digest is compared as text, and names a file.
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if encoded.len() != algorithm.letters() || !encoded.bytes().all(is_digit) {
            let letters = algorithm.letters();
            return Err(wrong(&format!("{name} has {letters} digits of 0-9 and a-f")));
        }
        Ok(Self { algorithm, encoded: encoded.to_owned() })
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: Error| error.to_string())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Computes a digest of bytes that come in pieces.
pub enum Hasher {
    /// By SHA-256.
    Sha256(Sha256),
    /// By SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// Of no bytes so far.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest {
                algorithm: Algorithm::Sha256,
                encoded: hexadecimal(hasher.finalize().as_slice()),
            },
            Self::Sha512(hasher) => Digest {
                algorithm: Algorithm::Sha512,
                encoded: hexadecimal(hasher.finalize().as_slice()),
            },
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_digests_of_no_bytes_are_the_known_ones() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        let sha512 = Hasher::new(Algorithm::Sha512).finish();
        assert!(
            sha512.to_string().starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b")
        );
        for digest in [Digest::of(b""), sha512] {
            assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }
    }

    #[test]
    fn what_could_name_another_file_is_no_digest() {
        let digits = &EMPTY[7..];
        for text in [
            "",
            "sha256:",
            digits,
            &format!("sha256:{}", digits.to_uppercase()),
            &format!("sha256:{}", &digits[1..]),
            &format!("sha256:0{digits}"),
            &format!("sha512:{digits}"),
            &format!("md5:{digits}"),
            &format!("SHA256:{digits}"),
            &format!("sha256:../{}", &digits[3..]),
            &format!("sha256:{}\0", &digits[1..]),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_chain_id_is_that_of_the_specification() {
        // config.md: ChainID(A) = DiffID(A); ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B)).
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(a.chained(None), a);
        assert_eq!(b.chained(Some(&a)), Digest::of(format!("{a} {b}").as_bytes()));
    }
}
