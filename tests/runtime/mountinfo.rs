//! /proc/PID/mountinfo (proc(5)) as a container's test asks for it.

use crate::bundle::Bundle;

/// A line of mountinfo.
#[derive(Debug)]
pub struct Mounted {
    /// The options of the mount: `ro`, `nosuid`, `noatime`...
    pub options: Vec<String>,
    /// `shared:N`, `master:N`, `unbindable` or nothing.
    pub propagation: String,
    pub kind: String,
    /// The options of the file system: `size=`, `sync`...
    pub data: Vec<String>,
}

impl Mounted {
    /// The last mount on `destination` in a text of mountinfo.
    pub fn find(mountinfo: &str, destination: &str) -> Option<Self> {
        let line = mountinfo.lines().rfind(|line| line.split(' ').nth(4) == Some(destination))?;
        let (mount, filesystem) = line.split_once(" - ")?;
        let mount: Vec<_> = mount.split(' ').collect();
        let filesystem: Vec<_> = filesystem.split(' ').collect();
        let words = |text: &str| text.split(',').map(str::to_owned).collect();
        Some(Self {
            options: words(mount[5]),
            propagation: mount[6..].join(" "),
            kind: filesystem[0].to_owned(),
            data: words(filesystem[2]),
        })
    }

    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|word| word == option)
    }

    pub fn has_data(&self, option: &str) -> bool {
        self.data.iter().any(|word| word == option)
    }
}

/// The mounts of a container of this bundle.
pub fn of(bundle: Bundle) -> String {
    bundle.args(&["cat", "/proc/self/mountinfo"]).run().ok().stdout
}

/// The mount on `destination` in a container of this bundle.
pub fn at(bundle: Bundle, destination: &str) -> Mounted {
    let mountinfo = of(bundle);
    Mounted::find(&mountinfo, destination)
        .unwrap_or_else(|| panic!("nothing on {destination} in\n{mountinfo}"))
}
