//! `--rootless`: a user namespace with the caller's subordinate ids (subuid(5), subgid(5)), made by
//! newuidmap(1) and newgidmap(1), in which files can have other owners than the caller. Where there
//! are none, all files become the caller's.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use nix::unistd::{User, getegid, geteuid, getpid};

use super::owners::{Owners, Range};
use crate::error::{Call, Context, Error, Result};
use crate::sys::process::{Cloned, clone3, exit_status, unshare};

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Whose {
    /// `--uid-map`.
    pub uids: Vec<Range>,
    /// `--gid-map`.
    pub gids: Vec<Range>,
    /// `--rootless`.
    pub rootless: bool,
}

/// The longest subuid(5), in bytes.
const LONGEST: u64 = 1024 * 1024;

/// Whose file becomes whose. There must be no other thread: a user namespace is a process's.
///
/// # Errors
/// That ranges are wrong; that newuidmap or newgidmap refused what the files say.
pub fn owners(whose: &Whose) -> Result<Owners> {
    if !whose.rootless {
        return Owners::moved(whose.uids.clone(), whose.gids.clone());
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let name = User::from_uid(geteuid()).ok().flatten().map(|user| user.name);
    let ranges = |file, own| {
        let ranges = subordinate(file, uid, name.as_deref())?;
        Ok::<_, Error>((!ranges.is_empty()).then(|| container(own, &ranges)))
    };
    let (uids, gids) = (ranges("/etc/subuid", uid)?, ranges("/etc/subgid", gid)?);
    let (Some(uids), Some(gids)) = (uids, gids) else {
        return Ok(Owners::own(uid, gid));
    };
    if !can_run("newuidmap") || !can_run("newgidmap") {
        return Ok(Owners::own(uid, gid));
    }
    enter(&uids, &gids).context(|| "a user namespace with the ids of /etc/subuid")?;
    Ok(Owners::inside(uids, gids))
}

/// Root of the container is the caller; from 1 on come the subordinate ids, one range after the other.
fn container(own: u32, ranges: &[(u32, u32)]) -> Vec<Range> {
    let mut map = vec![Range { container: 0, host: own, size: 1 }];
    let mut next: u32 = 1;
    for &(host, size) in ranges {
        let size = size.min(u32::MAX - next).min(u32::MAX - host);
        if size > 0 {
            map.push(Range { container: next, host, size });
            next += size;
        }
    }
    map
}

/// First ids and counts of a user's lines, `NAME:FIRST:COUNT` or `UID:FIRST:COUNT`. No file: none.
fn subordinate(path: &str, uid: u32, name: Option<&str>) -> Result<Vec<(u32, u32)>> {
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.call(|| format!("open({path:?})"))?,
    };
    let lines = BufReader::new(file.take(LONGEST)).lines();
    let mut ranges = Vec::new();
    for line in lines {
        let line = line.call(|| format!("read({path:?})"))?;
        ranges.extend(parse(&line, uid, name));
    }
    Ok(ranges)
}

fn parse(line: &str, uid: u32, name: Option<&str>) -> Option<(u32, u32)> {
    let [owner, first, count] = line.split(':').collect::<Vec<_>>().try_into().ok()?;
    let is_own = Some(owner) == name || owner.parse() == Ok(uid);
    is_own.then(|| Some((first.trim().parse().ok()?, count.trim().parse().ok()?))).flatten()
}

fn can_run(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// A process that stays outside has the maps written: inside, nobody has the right to the ids outside.
fn enter(uids: &[Range], gids: &[Range]) -> Result<()> {
    let (mut hear, mut tell) = std::io::pipe().call(|| "pipe2()")?;
    let pid = getpid().to_string();
    match clone3(0, None)? {
        Cloned::Init => {
            drop(tell);
            let is_inside = hear.read(&mut [0]).is_ok_and(|length| length == 1);
            let is_mapped = is_inside
                && write_map("newuidmap", &pid, uids)
                && write_map("newgidmap", &pid, gids);
            std::process::exit(i32::from(!is_mapped));
        }
        Cloned::Runtime(child) => {
            drop(hear);
            let unshared = unshare(libc::CLONE_NEWUSER.cast_unsigned().into());
            if unshared.is_ok() {
                tell.write_all(&[1]).call(|| "write(pipe)")?;
            }
            drop(tell);
            let status = exit_status(std::os::fd::AsFd::as_fd(&child.pidfd))?;
            unshared?;
            match status {
                0 => Ok(()),
                _ => Err(Error::new("newuidmap or newgidmap refused")),
            }
        }
    }
}

/// What it says goes to standard error.
fn write_map(program: &str, pid: &str, ranges: &[Range]) -> bool {
    let numbers = ranges.iter().flat_map(|range| [range.container, range.host, range.size]);
    let status = Command::new(program)
        .arg(pid)
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_users_by_name_or_by_number() {
        assert_eq!(parse("web:100000:65536", 1000, Some("web")), Some((100_000, 65_536)));
        assert_eq!(parse("1000:200000:5", 1000, Some("web")), Some((200_000, 5)));
        for line in ["", "other:1:2", "1001:1:2", "web:1", "web:x:2", "web:1:2:3", "web:-1:2"] {
            assert_eq!(parse(line, 1000, Some("web")), None, "{line:?}");
        }
    }

    #[test]
    fn subordinate_ids_follow_the_own_one() {
        let map = container(1000, &[(100_000, 65_536), (300_000, 10)]);
        let text: Vec<String> = map.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["0:1000:1", "1:100000:65536", "65537:300000:10"]);
        assert_eq!(container(0, &[(5, u32::MAX)])[1].size, u32::MAX - 5);
    }
}
