//! `Config.Volumes` (image-spec conversion.md, "Optional Fields"): a tmpfs for each, which begins with
//! what the image has there (`tmpcopyup`), so that nothing that the application keeps there is written
//! to the root filesystem.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::spec::defaults::mount;
use crate::spec::path::normalize;

/// Where a volume of an image would hide what isolates the container: a label or a sysctl written to
/// a made-up procfs sets nothing (CVE-2019-16884).
const KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// The mounts, a parent before what is below it.
///
/// # Errors
/// That a volume is the root, or is in a place of the kernel.
pub fn volumes(paths: &[String]) -> Result<Vec<Value>> {
    let mut destinations = BTreeSet::new();
    for path in paths {
        let wrong = |why: &str| Error::new(format!("/config/Volumes: {path:?} {why}"));
        let clean = normalize(path);
        let below = |place: &str| {
            clean.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if clean == "/" {
            return Err(wrong("is the root of the container"));
        }
        if let Some(place) = KERNEL.iter().find(|place| below(place)) {
            return Err(wrong(&format!("is in {place}, which is the kernel's")));
        }
        if clean.contains('\0') {
            return Err(wrong("holds a NUL byte"));
        }
        destinations.insert(clean);
    }
    let options = ["rw", "nosuid", "nodev", "relatime", "tmpcopyup"];
    Ok(destinations.iter().map(|path| mount(path, "tmpfs", "tmpfs", &options)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destinations(paths: &[&str]) -> Result<Vec<String>> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let text = |mount: &Value| mount["destination"].as_str().unwrap().to_owned();
        volumes(&paths).map(|mounts| mounts.iter().map(text).collect())
    }

    #[test]
    fn cve_2022_23648_a_volume_stays_in_the_root() {
        assert_eq!(destinations(&["/../../etc", "etc/"]).unwrap(), ["/etc"]);
        assert_eq!(destinations(&["/b/c", "/a", "/b"]).unwrap(), ["/a", "/b", "/b/c"]);
    }

    #[test]
    fn cve_2019_16884_a_volume_hides_nothing_of_the_kernels() {
        for path in
            ["/", "..", "/proc", "/a/../proc/", "/proc/self/attr", "/sys/fs", "/dev", "a/.."]
        {
            assert!(destinations(&[path]).is_err(), "{path:?}");
        }
        assert_eq!(destinations(&["/process", "/system/dev"]).unwrap().len(), 2);
    }
}
