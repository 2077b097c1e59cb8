//! What /proc tells of a process: proc_pid_stat(5), proc_pid_status(5), proc_pid_cmdline(5).

use std::fs::File;
use std::io::Read;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use crate::error::{Call, Error, Result};
use crate::ops::state::owner_name;
use crate::sys::clock;

/// How much of a file is read, in bytes. A command line is as long as its process wants it to be
/// (prctl(2), PR_SET_MM_MAP), execve(2) takes at least this.
const LONGEST: u64 = 128 * 1024;

/// A process. The names are those of proc_pid_stat(5).
#[derive(Debug, Default, PartialEq)]
pub struct Process {
    pub pid: i32,
    pub comm: String,
    pub state: char,
    pub ppid: i32,
    pub pgrp: i32,
    pub session: i32,
    pub tty_nr: u32,
    pub tpgid: i32,
    /// User and system time, in clock ticks.
    pub time: u64,
    pub nice: i64,
    pub num_threads: u64,
    /// In clock ticks since boot.
    pub starttime: u64,
    /// The size of its address space, in KiB.
    pub vsize: u64,
    /// How much of it is in memory, in KiB.
    pub rss: u64,
    /// Whether pages of it are locked into memory.
    pub has_locked_pages: bool,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The arguments; none for a thread of the kernel and a process that has ended.
    pub arguments: Vec<String>,
}

/// What the figures are measured against.
pub struct Host {
    /// Clock ticks per second.
    pub ticks: u64,
    /// KiB of memory.
    pub memory: u64,
    /// Since boot, in clock ticks.
    pub uptime: u64,
    /// Now, in seconds since 1970.
    pub now: u64,
}

impl Host {
    /// Asks.
    ///
    /// # Errors
    /// Those of reading /proc/uptime and /proc/meminfo.
    pub fn ask() -> Result<Self> {
        let number = |path: &str, word: usize| {
            let text = std::fs::read_to_string(path).call(|| format!("read({path:?})"))?;
            let word = text.split_ascii_whitespace().nth(word).unwrap_or_default();
            Ok::<f64, Error>(word.parse().unwrap_or_default())
        };
        let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten();
        let ticks = ticks.and_then(|ticks| ticks.try_into().ok()).filter(|it| *it > 0);
        let ticks = ticks.unwrap_or(100);
        Ok(Self {
            ticks,
            // "MemTotal:       4032108 kB" is the first line.
            memory: number("/proc/meminfo", 1)? as u64,
            uptime: (number("/proc/uptime", 0)? * ticks as f64) as u64,
            now: clock::seconds(),
        })
    }

    /// When a process was started, in seconds since 1970.
    pub fn start(&self, process: &Process) -> u64 {
        self.now.saturating_sub(self.age(process))
    }

    /// How long it exists, in seconds.
    pub fn age(&self, process: &Process) -> u64 {
        self.uptime.saturating_sub(process.starttime) / self.ticks
    }

    /// How long it has run, in seconds.
    pub fn time(&self, process: &Process) -> u64 {
        process.time / self.ticks
    }

    /// How much of a processor it has had, in thousandths.
    pub fn share(&self, process: &Process) -> u64 {
        let age = self.uptime.saturating_sub(process.starttime).max(1);
        process.time.saturating_mul(1000) / age
    }
}

impl Process {
    /// Looks at a process; `None` if it is gone.
    ///
    /// # Errors
    /// Those of reading the files other than that there is no such process.
    pub fn read(pid: i32) -> Result<Option<Self>> {
        let mut texts = Vec::new();
        for name in ["stat", "status", "cmdline"] {
            let path = format!("/proc/{pid}/{name}");
            let mut text = Vec::new();
            match File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut text)) {
                Ok(_) => texts.push(text),
                Err(error)
                    if [Some(Errno::ENOENT as i32), Some(Errno::ESRCH as i32)]
                        .contains(&error.raw_os_error()) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(Error::from_io(format!("read({path:?})"), &error)),
            }
        }
        Ok(Self::parse(&texts[0], &texts[1], &texts[2]))
    }

    fn parse(stat: &[u8], status: &[u8], cmdline: &[u8]) -> Option<Self> {
        let stat = String::from_utf8_lossy(stat);
        // The name may itself hold spaces and parentheses.
        let (pid, rest) = stat.split_once(" (")?;
        let (comm, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Counted as in the manual page, where the state is the third.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
        let signed = |number| field(number).parse::<i64>().unwrap_or_default();
        let id = |number| field(number).parse::<i32>().unwrap_or_default();
        let unsigned = |number| field(number).parse::<u64>().unwrap_or_default();

        let status = String::from_utf8_lossy(status);
        // Real, effective, saved and filesystem; or a size and its unit.
        let line = |name: &str, word: usize| -> Option<u64> {
            let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
            rest.split_ascii_whitespace().nth(word)?.parse().ok()
        };
        let arguments = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
        let arguments = arguments.split(|byte| *byte == 0);
        Some(Self {
            pid: pid.parse().ok()?,
            comm: comm.to_owned(),
            state: field(3).chars().next()?,
            ppid: id(4),
            pgrp: id(5),
            session: id(6),
            tty_nr: field(7).parse::<i32>().unwrap_or_default().cast_unsigned(),
            tpgid: id(8),
            time: unsigned(14) + unsigned(15),
            nice: signed(19),
            num_threads: unsigned(20),
            starttime: unsigned(22),
            vsize: unsigned(23) / 1024,
            // Not the field of `stat`: that one is not exact.
            rss: line("VmRSS:", 0).unwrap_or_default(),
            has_locked_pages: line("VmLck:", 0).is_some_and(|size| size > 0),
            uid: line("Uid:", 1)?.try_into().ok()?,
            gid: line("Gid:", 1)?.try_into().ok()?,
            arguments: if cmdline.is_empty() {
                Vec::new()
            } else {
                arguments.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
            },
        })
    }

    /// The name of the effective user on the host, or the number.
    pub fn user(&self) -> String {
        owner_name(self.uid)
    }

    /// The controlling terminal as ps(1) names it (devices.txt of the kernel: 4 consoles and serial
    /// lines, 5:1 the system console, 136 to 143 pseudoterminals).
    pub fn tty(&self) -> String {
        let (major, minor) =
            ((self.tty_nr >> 8) & 0xfff, (self.tty_nr & 0xff) | ((self.tty_nr >> 12) & 0xfff00));
        match (major, minor) {
            (4, 0..64) => format!("tty{minor}"),
            (4, _) => format!("ttyS{}", minor - 64),
            (5, 1) => "console".to_owned(),
            (136..=143, _) => format!("pts/{}", minor + ((major - 136) << 8)),
            _ => "?".to_owned(),
        }
    }

    /// The state with the letters of ps(1), "PROCESS STATE CODES".
    pub fn stat(&self) -> String {
        let marks = [
            (self.nice < 0, '<'),
            (self.nice > 0, 'N'),
            (self.has_locked_pages, 'L'),
            (self.session == self.pid, 's'),
            (self.num_threads > 1, 'l'),
            (self.tpgid == self.pgrp, '+'),
        ];
        let marks = marks.into_iter().filter(|(is_set, _)| *is_set).map(|(_, mark)| mark);
        std::iter::once(self.state).chain(marks).collect()
    }

    /// The command line, or the name where there is none.
    pub fn command(&self) -> String {
        match (self.state, self.arguments.is_empty()) {
            ('Z', _) => format!("[{}] <defunct>", self.comm),
            (_, true) => format!("[{}]", self.comm),
            (_, false) => self.arguments.join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &[u8] = b"42 (a) b) S 1 42 42 34817 42 4194560 90 0 0 0 150 50 0 0 20 5 3 0 4200 \
                          2048000 300 18446744073709551615 0 0";

    #[test]
    fn a_process_is_read_whatever_its_name_and_arguments_hold() {
        let status =
            b"Name:\ta\nUid:\t1\t1000\t1\t1\nGid:\t2\t100\t2\t2\nVmRSS:\t 1380 kB\nVmLck:\t 4 kB\n";
        let process = Process::parse(STAT, status, b"sh\0-c\0two words\0\0").unwrap();
        let expected = Process {
            pid: 42,
            comm: "a) b".to_owned(),
            state: 'S',
            ppid: 1,
            pgrp: 42,
            session: 42,
            tty_nr: 34817,
            tpgid: 42,
            time: 200,
            nice: 5,
            num_threads: 3,
            starttime: 4200,
            vsize: 2000,
            rss: 1380,
            has_locked_pages: true,
            uid: 1000,
            gid: 100,
            arguments: ["sh", "-c", "two words", ""].map(str::to_owned).to_vec(),
        };
        assert_eq!(process, expected);
        assert_eq!((process.tty(), process.stat()), ("pts/1".to_owned(), "SNLsl+".to_owned()));
        assert_eq!(process.command(), "sh -c two words ");
    }

    #[test]
    fn a_process_without_arguments_has_its_name_in_brackets() {
        let process = Process { comm: "kthreadd".to_owned(), state: 'S', ..Process::default() };
        assert_eq!(process.command(), "[kthreadd]");
        let ended = Process { comm: "sh".to_owned(), state: 'Z', ..Process::default() };
        assert_eq!(ended.command(), "[sh] <defunct>");
    }
}
