//! The bundle: bundle.md. Finds and reads config.json.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::de::DeserializeOwned;

use crate::error::{Call, Context, Error, Result};
use crate::spec::config::Spec;
use crate::spec::json::Object;
use crate::sys::mount::filesystem_magic;
use crate::sys::path::{open_directory, open_path, real_path};

/// The largest config that is read: a thousand times what engines write.
pub const LARGEST: u64 = 16 * 1024 * 1024;

/// statfs(2): pipes that have no name.
const PIPEFS_MAGIC: i64 = 0x5049_5045;

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

/// Reads a document of JSON from a file, or from the pipe that a shell gives for `<(...)`.
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
    // Who made a pipe without a name will write into it, or end; of a FIFO nobody knows.
    let is_pipe = metadata.file_type().is_fifo() && filesystem_magic(&file)? == PIPEFS_MAGIC;
    if is_pipe {
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).call(|| "fcntl(F_SETFL, 0)")?;
    } else if !metadata.is_file() {
        let what = if metadata.is_dir() { "is a directory" } else { "is not a regular file" };
        return Err(Error::new(format!("open({path:?}): {what}")));
    }
    read_all(file, metadata.len()).context(|| path)
}

/// Reads all that there is; `size` is what is expected.
///
/// # Errors
/// Those of read(2); that it is more than [`LARGEST`], or not UTF-8.
pub fn read_all(source: impl Read, size: u64) -> Result<String> {
    let mut text = String::with_capacity(usize::try_from(size.min(LARGEST)).unwrap_or(0) + 1);
    source.take(LARGEST + 1).read_to_string(&mut text).call(|| "read()")?;
    if text.len() as u64 > LARGEST {
        return Err(Error::new(format!("has more than the {LARGEST} bytes that are read")));
    }
    Ok(text)
}

/// Parses a document of JSON that is an object. The place of an error is looked for only when there is
/// one: it costs a third more.
///
/// # Errors
/// What is wrong, and where: a JSON pointer.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str::<Object<T>>(text).map(|document| document.0).map_err(|_| {
        let mut json = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, Object<T>>(&mut json) {
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
        // Serde would take a list for a structure, field by field.
        for (document, place) in [
            (r#"["1.0.0"]"#, ""),
            (r#"{"mounts": [["/a"]]}"#, "/mounts/0: "),
            (r#"{"mounts": [null]}"#, "/mounts/0: "),
            (r#"{"process": {"rlimits": [["RLIMIT_CORE", 0, 0]]}}"#, "/process/rlimits/0: "),
            (r#"{"hooks": {"poststop": [["/bin/true"]]}}"#, "/hooks/poststop/0: "),
            (r#"{"linux": {"netDevices": {"eth0": ["a"]}}}"#, "/linux/netDevices/eth0: "),
            (r#"{"linux": {"resources": {"devices": [[true]]}}}"#, "/linux/resources/devices/0: "),
            (
                r#"{"linux": {"seccomp": {"syscalls": [[["read"]]]}}}"#,
                "/linux/seccomp/syscalls/0: ",
            ),
        ] {
            let wrong = error(document);
            assert!(wrong.starts_with(&format!("{place}invalid type: ")), "{wrong}");
            assert!(wrong.contains("expected an object"), "{wrong}");
        }
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
