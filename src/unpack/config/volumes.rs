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

/// The mounts, a parent before what is below it, and sentences about volumes that are left out: those in
/// a place of the kernel, which is there without them.
///
/// # Errors
/// That a volume is the root.
pub fn volumes(paths: &[String]) -> Result<(Vec<Value>, Vec<String>)> {
    let mut destinations = BTreeSet::new();
    let mut left_out = Vec::new();
    for path in paths {
        let wrong = |why: &str| Error::new(format!("/config/Volumes: {path:?} {why}"));
        let clean = normalize(path);
        let below = |place: &str| {
            clean.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if clean == "/" {
            return Err(wrong("is the root of the container"));
        }
        if clean.contains('\0') {
            return Err(wrong("holds a NUL byte"));
        }
        if let Some(place) = KERNEL.iter().find(|place| below(place)) {
            left_out.push(format!("the volume {path:?} is left out: {place} is the kernel's"));
            continue;
        }
        destinations.insert(clean);
    }
    let options = ["rw", "nosuid", "nodev", "relatime", "tmpcopyup"];
    let mounts = destinations.iter().map(|path| mount(path, "tmpfs", "tmpfs", &options));
    Ok((mounts.collect(), left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The destinations, and how many volumes are left out.
    fn destinations(paths: &[&str]) -> Result<(Vec<String>, usize)> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let text = |mount: &Value| mount["destination"].as_str().unwrap().to_owned();
        volumes(&paths)
            .map(|(mounts, left_out)| (mounts.iter().map(text).collect(), left_out.len()))
    }

    #[test]
    fn cve_2022_23648_a_volume_stays_in_the_root() {
        assert_eq!(destinations(&["/../../etc", "etc/"]).unwrap().0, ["/etc"]);
        assert_eq!(destinations(&["/b/c", "/a", "/b"]).unwrap().0, ["/a", "/b", "/b/c"]);
    }

    #[test]
    fn cve_2019_16884_a_volume_hides_nothing_of_the_kernels() {
        for path in ["/proc", "/a/../proc/", "/proc/self/attr", "/sys/fs", "/dev", "dev/shm"] {
            let others = ["/process", "/system/dev"];
            let (mounts, left_out) = destinations(&[others[0], path, others[1]]).unwrap();
            assert_eq!(
                (mounts.as_slice(), left_out),
                (&others.map(str::to_owned)[..], 1),
                "{path}"
            );
        }
        let (_, said) = volumes(&["/a/../proc/self".to_owned()]).unwrap();
        assert_eq!(said, [r#"the volume "/a/../proc/self" is left out: /proc is the kernel's"#]);
    }

    #[test]
    fn the_root_is_no_volume() {
        for path in ["/", "..", "a/..", "", "/dev/.."] {
            assert!(destinations(&[path]).is_err(), "{path:?}");
        }
    }
}
