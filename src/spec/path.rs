//! A path of a config, by its text alone: config.md, "Mounts".

/// The same path, absolute, without empty names, `.` and `..`; the root has no parent (CVE-2022-23648).
#[must_use]
pub fn normalize(path: &str) -> String {
    let mut names = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    format!("/{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_down_from_the_root() {
        for (path, expected) in [
            ("/data", "/data"),
            ("data/", "/data"),
            ("//a/./b//", "/a/b"),
            ("/a/../../b", "/b"),
            ("/a/...", "/a/..."),
            ("..", "/"),
            ("", "/"),
        ] {
            assert_eq!(normalize(path), expected, "{path:?}");
        }
    }
}
