//! A root directory that is empty at the start of each run, with a file beside it that must not change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use hull::unpack::extract::{Extractor, Limits, Options, Whiteouts};
use hull::unpack::owners::Owners;

pub const LIMITS: Limits = Limits { entries: 1000, size: 16 << 20 };

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("hull-fuzz-{}", std::process::id()));
        fs::remove_dir_all(&path).ok();
        fs::create_dir(&path).expect("create the folder of a run");
        fs::write(path.join("outside"), "1").expect("write the file outside");
        Self(path)
    }

    pub fn extractor(&self, name: &str, whiteouts: Whiteouts) -> Extractor {
        let root = self.0.join(name);
        fs::create_dir(&root).expect("create a root");
        let owners = own();
        let root = fs::File::open(&root).expect("open a root").into();
        Extractor::new(root, Options { owners, whiteouts, limits: LIMITS }).expect("a root")
    }

    #[allow(dead_code, reason = "one target looks into its roots")]
    pub fn root(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Nothing but the roots may have changed.
    pub fn check(self, roots: usize) {
        assert_eq!(fs::read(self.0.join("outside")).expect("the file outside is there"), b"1");
        assert_eq!(fs::read_dir(&self.0).expect("list the folder").count(), roots + 1);
        remove(&self.0);
    }
}

/// All files become those of whoever owns /proc/self: this process.
fn own() -> Owners {
    let stat = fs::metadata("/proc/self").expect("procfs");
    Owners::own(stat.uid(), stat.gid())
}

/// Trees may be deeper than paths are long.
fn remove(path: &std::path::Path) {
    if fs::remove_dir_all(path).is_err() {
        std::process::Command::new("rm").arg("-rf").arg(path).status().expect("run rm");
    }
}
