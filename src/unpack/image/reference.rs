//! How the command line names an image: `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`,
//! `docker-archive:FILE[:REF]`, or a path alone, whose form is seen when it is opened.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// How an image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `oci`: an image layout, in a directory (image-layout.md).
    Layout,
    /// `oci-archive`: the same in a tar file.
    LayoutArchive,
    /// `docker-archive`: what `docker save` writes, in a tar file.
    DockerArchive,
    /// Not said: the content tells.
    Any,
}

/// An image on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// How it is stored.
    pub form: Form,
    /// The directory or the file.
    pub path: String,
    /// Which image of several: a tag, a reference name, or a digest.
    pub name: Option<String>,
}

const FORMS: [(&str, Form); 3] = [
    ("oci:", Form::Layout),
    ("oci-archive:", Form::LayoutArchive),
    ("docker-archive:", Form::DockerArchive),
];

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = FORMS.iter().find_map(|(word, form)| Some((*form, text.strip_prefix(word)?)));
        let (form, path, name) = match named {
            // As skopeo and umoci divide it: a path of these forms holds no colon.
            Some((form, rest)) => match rest.split_once(':') {
                Some((path, name)) => (form, path, Some(name)),
                None => (form, rest, None),
            },
            // No colon divides a bare path: it is any path that exists, "./a:b" too.
            None => (Form::Any, text, None),
        };
        if path.is_empty() {
            return Err(Error::new(format!("{text:?} names no file")));
        }
        if name.is_some_and(str::is_empty) {
            return Err(Error::new(format!("{text:?} names no image behind its last colon")));
        }
        Ok(Self { form, path: path.to_owned(), name: name.map(str::to_owned) })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = FORMS.iter().find(|(_, form)| *form == self.form).map_or("", |(word, _)| word);
        write!(f, "{word}{}", self.path)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_printed_as_it_was() {
        use Form::{Any, DockerArchive, Layout, LayoutArchive};
        for (text, form, path, name) in [
            ("oci:/a/b", Layout, "/a/b", None),
            ("oci:b:latest", Layout, "b", Some("latest")),
            ("oci:b:registry.example:5000/a:1", Layout, "b", Some("registry.example:5000/a:1")),
            ("oci-archive:f.tar:x", LayoutArchive, "f.tar", Some("x")),
            ("docker-archive:f.tar:a/b:1", DockerArchive, "f.tar", Some("a/b:1")),
            ("image.tar", Any, "image.tar", None),
            ("./a:b", Any, "./a:b", None),
            ("other:x", Any, "other:x", None),
        ] {
            let reference: Reference = text.parse().unwrap();
            let name = name.map(str::to_owned);
            assert_eq!(reference, Reference { form, path: path.to_owned(), name });
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn a_reference_without_a_path_or_with_an_empty_name_is_refused() {
        for text in ["", "oci:", "oci::x", "docker-archive:f:"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
