//! The image's passwd and group (passwd(5), group(5)), which are hostile: read line by line, and no
//! further than a limit (CVE-2026-47262); a number in them is a number that fits (CVE-2024-40635).

use std::io::{BufRead, Read};

use super::user::MAX_ID;
use crate::error::{Call, Error, Result};

/// The longest file, in bytes: that of an organisation with 100,000 users.
pub const MAX_FILE: u64 = 8 * 1024 * 1024;
/// The longest line, in bytes: a group with some thousand members.
const MAX_LINE: u64 = 64 * 1024;

/// A user that passwd knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Field 3.
    pub uid: u32,
    /// Field 4, the group that the user is in without being listed there.
    pub gid: u32,
}

/// The first user of this name.
///
/// # Errors
/// That the file is too large, or the user's ids are no ids; those of reading.
pub fn user_by_name(file: impl BufRead, name: &str) -> Result<Option<User>> {
    let found = find(file, |line| match fields(line)[..] {
        [own, _, uid, gid, ..] if own == name.as_bytes() => Some((uid.to_vec(), gid.to_vec())),
        _ => None,
    })?;
    let Some((uid, gid)) = found else {
        return Ok(None);
    };
    match (id(&uid), id(&gid)) {
        (Some(uid), Some(gid)) => Ok(Some(User { uid, gid })),
        _ => Err(Error::new(format!("user {name:?}: its ids are not numbers up to {MAX_ID}"))),
    }
}

/// The group of the first user that has this number. No name is looked at (CVE-2026-46680).
///
/// # Errors
/// That the file is too large; those of reading.
pub fn group_of_user(file: impl BufRead, uid: u32) -> Result<Option<u32>> {
    find(file, |line| match fields(line)[..] {
        [_, _, own, gid, ..] if id(own) == Some(uid) => id(gid),
        _ => None,
    })
}

/// The number of the first group of this name.
///
/// # Errors
/// That the file is too large, or the group's id is no id; those of reading.
pub fn group_by_name(file: impl BufRead, name: &str) -> Result<Option<u32>> {
    let found = find(file, |line| match fields(line)[..] {
        [own, _, gid, ..] if own == name.as_bytes() => Some(gid.to_vec()),
        _ => None,
    })?;
    let number = |gid: Vec<u8>| {
        id(&gid).ok_or_else(|| {
            Error::new(format!("group {name:?}: its id is not a number up to {MAX_ID}"))
        })
    };
    found.map(number).transpose()
}

/// The numbers of all groups that list this user, in the order of the file.
///
/// # Errors
/// That the file is too large; those of reading.
pub fn groups_of_member(file: impl BufRead, name: &str) -> Result<Vec<u32>> {
    let mut gids = Vec::new();
    find(file, |line| {
        if let [_, _, gid, members] = fields(line)[..]
            && members.split(|byte| *byte == b',').any(|member| member == name.as_bytes())
        {
            gids.extend(id(gid));
        }
        None::<()>
    })?;
    Ok(gids)
}

/// The first line that answers.
fn find<T>(file: impl BufRead, mut answer: impl FnMut(&[u8]) -> Option<T>) -> Result<Option<T>> {
    // One byte more than allowed tells a file that is too large from one that fits.
    let mut file = file.take(MAX_FILE + 1);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut file).take(MAX_LINE + 1).read_until(b'\n', &mut line);
        if length.call(|| "read()")? == 0 {
            return Ok(None);
        }
        if file.limit() == 0 {
            return Err(Error::new(format!("the file has more than {MAX_FILE} bytes")));
        }
        if line.len() as u64 > MAX_LINE {
            return Err(Error::new(format!("a line has more than {MAX_LINE} bytes")));
        }
        if let Some(found) = answer(line.trim_ascii()) {
            return Ok(Some(found));
        }
    }
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    // A line of colons alone would be as many fields; the most that counts is the fourth.
    line.splitn(7, |byte| *byte == b':').collect()
}

fn id(text: &[u8]) -> Option<u32> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()?;
    (number <= MAX_ID).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        \n# a comment\nbroken\n\
        1000:x:0:0:a number for a name:/:/bin/sh\n\
        web:x:33:34:\xff:/var/www:/bin/false\r\n\
        web:x:0:0:the second of this name:/:/bin/sh\n\
        huge:x:2147483648:0::/:/\n\
        wraps:x:4294967296:0::/:/\n\
        last:x:7:8";
    const GROUP: &[u8] =
        b"root:x:0:\nadm:x:4:web,last\nweb:x:34:\nwww:x:40:other,web\nhuge:x:4294967295:web\n";

    #[test]
    fn a_user_is_found_by_name_and_the_first_one_counts() {
        let found = |name| user_by_name(PASSWD, name).unwrap().map(|user| (user.uid, user.gid));
        assert_eq!(found("web"), Some((33, 34)));
        assert_eq!(found("last"), Some((7, 8)));
        assert_eq!(found("we"), None);
        assert_eq!(found("broken"), None);
        assert!(user_by_name(PASSWD, "huge").is_err());
        assert!(user_by_name(PASSWD, "wraps").is_err());
    }

    #[test]
    fn a_number_finds_the_group_of_the_user_of_that_number() {
        assert_eq!(group_of_user(PASSWD, 33).unwrap(), Some(34));
        assert_eq!(group_of_user(PASSWD, 1000).unwrap(), None);
    }

    #[test]
    fn groups_are_found_by_name_and_by_member() {
        assert_eq!(group_by_name(GROUP, "www").unwrap(), Some(40));
        assert_eq!(group_by_name(GROUP, "none").unwrap(), None);
        assert!(group_by_name(GROUP, "huge").is_err());
        assert_eq!(groups_of_member(GROUP, "web").unwrap(), [4, 40]);
        assert_eq!(groups_of_member(GROUP, "we").unwrap(), [0_u32; 0]);
    }

    #[test]
    fn a_file_and_a_line_end_somewhere() {
        let endless = || std::io::BufReader::new(std::io::repeat(b'\n'));
        let error = |result: Result<Option<u32>>| result.unwrap_err().to_string();
        assert!(error(group_by_name(endless(), "web")).contains("8388608 bytes"));
        let line = || std::io::BufReader::new(std::io::repeat(b'x'));
        assert!(error(group_by_name(line(), "web")).contains("65536 bytes"));
        let fits = [&b"#".repeat(65_535)[..], b"\n", GROUP].concat();
        assert_eq!(group_by_name(&fits[..], "www").unwrap(), Some(40));
    }
}
