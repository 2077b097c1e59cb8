//! HOME of a program whose config has none: the directory that the container's passwd gives its
//! user, as runc does; "/" if there is none. The file is the container's, so hostile: it is read
//! only if it is a regular file, and only the first mebibyte of it (CVE-2024-9676).

use std::fs::File;
use std::io::Read;

use nix::fcntl::OFlag;

use crate::sys::path::InRoot;

const LONGEST: u64 = 1024 * 1024;

/// The home directory of a user.
#[must_use]
pub fn find(root: &InRoot, uid: u32) -> String {
    let text = read(root).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text), uid).unwrap_or("/").to_owned()
}

fn read(root: &InRoot) -> Option<Vec<u8>> {
    // Looked at before it is opened: to open a device can have an effect, and a FIFO never opens. It
    // may be another file by then, of a container that shares the rootfs.
    let is_regular = |file: &File| file.metadata().is_ok_and(|metadata| metadata.is_file());
    let seen = File::from(root.open("etc/passwd", OFlag::O_PATH).ok()?);
    if !is_regular(&seen) {
        return None;
    }
    let file = root.open("etc/passwd", OFlag::O_RDONLY | OFlag::O_NONBLOCK).ok()?;
    let file = File::from(file);
    let mut text = Vec::new();
    let is_read = is_regular(&file) && file.take(LONGEST).read_to_end(&mut text).is_ok();
    is_read.then_some(text)
}

/// passwd(5): name, password, uid, gid, comment, directory, shell.
fn parse(text: &str, uid: u32) -> Option<&str> {
    let directory = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.nth(2)?.parse() == Ok(uid)).then(|| fields.nth(2)).flatten()
    });
    directory.filter(|directory| !directory.is_empty() && !directory.contains('\0'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_directory_is_that_of_the_number() {
        let text =
            "root:x:0:0::/root:/bin/sh\nbroken\nweb:x:33:33:w:/var/www:/bin/sh\nx:x:7:7:::\n";
        assert_eq!(super::parse(text, 0), Some("/root"));
        assert_eq!(super::parse(text, 33), Some("/var/www"));
        assert_eq!(super::parse(text, 7), None);
        assert_eq!(super::parse(text, 8), None);
    }
}
