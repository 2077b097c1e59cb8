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
    // O_NONBLOCK: a FIFO would never open.
    let Ok(file) = root.open("etc/passwd", OFlag::O_RDONLY | OFlag::O_NONBLOCK) else {
        return "/".to_owned();
    };
    let file = File::from(file);
    let mut text = Vec::new();
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_regular || file.take(LONGEST).read_to_end(&mut text).is_err() {
        return "/".to_owned();
    }
    parse(&String::from_utf8_lossy(&text), uid).unwrap_or("/").to_owned()
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
