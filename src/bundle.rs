//! The bundle: bundle.md. Finds and reads config.json.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use serde::de::DeserializeOwned;

use crate::error::{Call, Context, Error, Result};
use crate::spec::config::Spec;
use crate::sys::path::{open_directory, open_path, real_path};

/// The largest config that is read: a thousand times what engines write.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// A bundle on disk.
#[derive(Debug)]
pub struct Bundle {
    /// Its absolute path.
    pub path: String,
    /// Its config.
    pub spec: Spec,
    /// The text of the config.
    pub text: String,
}

/// Reads a bundle: `directory` or the working directory, and in it config.json, or the file
/// `config` instead.
///
/// # Errors
/// That there is none, or that it is no JSON, with the place of what is wrong.
pub fn read(directory: &str, config: Option<&str>) -> Result<Bundle> {
    let path = open_directory(directory)
        .and_then(|open| real_path(open.as_fd()))
        .context(|| format!("open the bundle {directory:?}"))?;
    let file = config.map_or_else(|| format!("{path}/config.json"), str::to_owned);
    let text = read_text(&file)?;
    let spec = parse(&text).context(|| "config.json")?;
    Ok(Bundle { path, spec, text })
}

/// Reads a document of JSON.
///
/// # Errors
/// As [`read`], with the path.
pub fn read_document<T: DeserializeOwned>(path: &str) -> Result<T> {
    parse(&read_text(path)?).context(|| path)
}

fn read_text(path: &str) -> Result<String> {
    // O_NONBLOCK: a FIFO would never open.
    let file = File::from(open_path(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
    let metadata = file.metadata().call(|| format!("fstat({path:?})"))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a directory" } else { "is not a regular file" };
        return Err(Error::new(format!("open({path:?}): {what}")));
    }
    let size = metadata.len();
    if size > LARGEST {
        return Err(Error::new(format!("{path:?} has {size} bytes, at most {LARGEST} are read")));
    }
    // It may grow meanwhile, or be no regular file.
    let mut text = String::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.take(LARGEST).read_to_string(&mut text).call(|| format!("read({path:?})"))?;
    Ok(text)
}

/// Parses a document of JSON. The place of an error is looked for only when there is one: it costs a
/// third more.
///
/// # Errors
/// What is wrong, and where: a JSON pointer.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| {
        let mut json = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) => {
                let pointer = pointer(error.path());
                let error = Error::new(error.inner().to_string());
                if pointer.is_empty() { error } else { error.context(pointer) }
            }
            // The document itself is right: what follows it is not.
            Ok(_) => Error::new(match json.end() {
                Err(error) => error.to_string(),
                Ok(()) => "not JSON".to_owned(),
            }),
        }
    })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", crate::plan::escape(key)),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => "/?".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_type_is_named_by_its_place() {
        let error = |text| parse::<Spec>(text).unwrap_err().to_string();
        let wrong = error(r#"{"mounts": [{"destination": "/a"}, {"destination": 7}]}"#);
        assert!(wrong.starts_with("/mounts/1/destination: invalid type: integer `7`"), "{wrong}");
        let wrong = error(r#"{"process": {"user": {"uid": -1}}}"#);
        assert!(wrong.starts_with("/process/user/uid: invalid value: integer `-1`"), "{wrong}");
        assert!(error("{\"root\":").contains("EOF"));
        assert!(error("{} x").contains("trailing"));
        assert!(error("").contains("EOF"));
    }

    #[test]
    fn null_and_unknown_properties_are_no_errors() {
        let text = r#"{"future": {"a": 1}, "mounts": null, "linux": {"devices": null, "x": []}}"#;
        let spec = parse::<Spec>(text).unwrap();
        assert!(spec.mounts.is_empty() && spec.linux.devices.is_empty());
    }
}
