//! The columns of a table of processes: ps(1), "STANDARD FORMAT SPECIFIERS".

use super::process::{Host, Process};
use crate::sys::clock;

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    what: What,
    /// The first line.
    pub header: String,
    /// How wide it is at least.
    pub width: usize,
    /// Whether it is aligned to the right.
    pub right: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    User,
    Uid,
    Gid,
    Pid,
    Ppid,
    Pgid,
    Sid,
    /// The share of a processor since the start, in whole percent.
    C,
    Cpu,
    Mem,
    Vsz,
    Rss,
    Tty,
    State,
    Stat,
    Nice,
    Threads,
    /// The time, or the day, or the year of the start.
    Stime,
    Elapsed,
    Time,
    BsdTime,
    Comm,
    Command,
}

/// Words, what they name, header, width, alignment to the right.
const COLUMNS: [(&[&str], What, &str, usize, bool); 24] = [
    (&["user", "euser", "uname"], What::User, "USER", 8, false),
    (&["uid", "euid"], What::Uid, "UID", 5, true),
    (&["gid", "egid"], What::Gid, "GID", 5, true),
    (&["pid", "tgid"], What::Pid, "PID", 7, true),
    (&["ppid"], What::Ppid, "PPID", 7, true),
    (&["pgid", "pgrp"], What::Pgid, "PGID", 7, true),
    (&["sid", "sess", "session"], What::Sid, "SID", 7, true),
    (&["c"], What::C, "C", 2, true),
    (&["%cpu", "pcpu"], What::Cpu, "%CPU", 4, true),
    (&["%mem", "pmem"], What::Mem, "%MEM", 4, true),
    (&["vsz", "vsize"], What::Vsz, "VSZ", 6, true),
    (&["rss", "rssize", "rsz"], What::Rss, "RSS", 5, true),
    (&["tname"], What::Tty, "TTY", 8, false),
    (&["tty", "tt"], What::Tty, "TT", 8, false),
    (&["s", "state"], What::State, "S", 1, false),
    (&["stat"], What::Stat, "STAT", 4, false),
    (&["ni", "nice"], What::Nice, "NI", 3, true),
    (&["nlwp", "thcount"], What::Threads, "NLWP", 4, true),
    (&["stime", "start_time"], What::Stime, "STIME", 5, false),
    (&["etime"], What::Elapsed, "ELAPSED", 11, true),
    (&["time", "cputime"], What::Time, "TIME", 8, true),
    (&["bsdtime"], What::BsdTime, "TIME", 6, true),
    (&["comm", "ucmd", "ucomm"], What::Comm, "COMMAND", 15, false),
    (&["cmd", "args", "command"], What::Command, "CMD", 27, false),
];

/// `ps -f`: the first column has another name than its word.
const FULL: &str = "user=UID,pid,ppid,c,stime,tname,time,cmd";
/// `ps u`.
const BY_USER: &str = "user,pid,%cpu,%mem,vsz,rss,tname,stat,stime=START,bsdtime,args=COMMAND";
/// `ps` alone.
const SHORT: &str = "pid,tname,time,comm=CMD";

/// The columns that options of ps(1) ask for; without any, those of `-ef`. Which processes they
/// choose has no effect: it is those of the container.
pub fn layout(options: &[String]) -> Result<Vec<Column>, String> {
    let mut list = if options.is_empty() { FULL.to_owned() } else { SHORT.to_owned() };
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let is_unix = word.starts_with('-');
        let letters = word.trim_start_matches('-');
        for (at, letter) in letters.char_indices() {
            match letter {
                'f' if is_unix => FULL.clone_into(&mut list),
                'u' => BY_USER.clone_into(&mut list),
                'e' | 'A' | 'a' | 'x' | 'w' => {}
                'o' => {
                    let rest = &letters[at + 1..];
                    let given = if rest.is_empty() { words.next().cloned() } else { None };
                    list = given.unwrap_or_else(|| rest.to_owned());
                    break;
                }
                _ => {
                    let known = "those of -ef, aux and -o LIST are known";
                    return Err(format!("unknown ps option {word:?}: {known}"));
                }
            }
        }
    }
    columns(&list)
}

fn columns(list: &str) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for item in list.split([',', ' ']).filter(|item| !item.is_empty()) {
        let (word, header) = match item.split_once('=') {
            Some((word, header)) => (word, Some(header)),
            None => (item, None),
        };
        let (_, what, title, width, right) = *COLUMNS
            .iter()
            .find(|(words, ..)| words.contains(&word))
            .ok_or_else(|| format!("unknown ps column {word:?}"))?;
        // As ps(1): by the word where several name the same.
        let header =
            header.unwrap_or(if word == "args" || word == "command" { "COMMAND" } else { title });
        let width = width.max(header.len());
        columns.push(Column { what, header: header.to_owned(), width, right });
    }
    if columns.is_empty() { Err("no ps columns are named".to_owned()) } else { Ok(columns) }
}

impl Column {
    /// What a process has in this column.
    pub fn value(&self, process: &Process, host: &Host) -> String {
        match self.what {
            What::User => shorten(process.user(), self.width),
            What::Uid => process.uid.to_string(),
            What::Gid => process.gid.to_string(),
            What::Pid => process.pid.to_string(),
            What::Ppid => process.ppid.to_string(),
            What::Pgid => process.pgrp.to_string(),
            What::Sid => process.session.to_string(),
            What::C => (host.share(process) / 10).min(99).to_string(),
            What::Cpu => tenths(host.share(process)),
            What::Mem => tenths(process.rss * 1000 / host.memory.max(1)),
            What::Vsz => process.vsize.to_string(),
            What::Rss => process.rss.to_string(),
            What::Tty => process.tty(),
            What::State => process.state.to_string(),
            What::Stat => process.stat(),
            What::Nice => process.nice.to_string(),
            What::Threads => process.num_threads.to_string(),
            What::Stime => clock::start_time(host.start(process), host.now),
            What::Elapsed => clock_of(host.age(process), false),
            What::Time => clock_of(host.time(process), true),
            What::BsdTime => {
                let seconds = host.time(process);
                format!("{}:{:02}", seconds / 60, seconds % 60)
            }
            What::Comm => process.comm.clone(),
            What::Command => process.command(),
        }
    }
}

/// A name that is too long ends with a plus sign.
fn shorten(name: String, width: usize) -> String {
    if name.chars().count() <= width {
        return name;
    }
    name.chars().take(width - 1).chain(['+']).collect()
}

/// Thousandths as percent: four characters.
fn tenths(thousandths: u64) -> String {
    if thousandths > 999 {
        return (thousandths / 10).to_string();
    }
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

/// `[DD-]HH:MM:SS`; the hours are left out where there are none and that is allowed.
fn clock_of(seconds: u64, with_hours: bool) -> String {
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) if !with_hours => rest,
        (0, _) => format!("{hours:02}:{rest}"),
        _ => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(options: &[&str]) -> String {
        let options: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
        let columns = layout(&options).unwrap();
        columns.iter().map(|column| column.header.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn options_choose_columns() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        let by_user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for (options, expected) in [
            (&[][..], full),
            (&["-ef"], full),
            (&["-e", "-f"], full),
            (&["aux"], by_user),
            (&["-aux"], by_user),
            (&["-e"], "PID TTY TIME CMD"),
            (&["-o", "pid,cmd"], "PID CMD"),
            (&["-eo", "pid=,args"], " COMMAND"),
            (&["-opid,user=WHO"], "PID WHO"),
        ] {
            assert_eq!(headers(options), expected, "{options:?}");
        }
        for options in [&["-Z"][..], &["--forest"], &["-o"], &["-o", "nope"], &["f"]] {
            let options: Vec<String> = options.iter().map(|word| (*word).to_owned()).collect();
            assert!(layout(&options).is_err(), "{options:?}");
        }
    }

    #[test]
    fn every_word_names_one_column() {
        let mut words: Vec<&str> = COLUMNS.iter().flat_map(|(words, ..)| *words).copied().collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn values_are_written_as_ps_does() {
        assert_eq!(shorten("administrator".to_owned(), 8), "adminis+");
        assert_eq!(shorten("root".to_owned(), 8), "root");
        assert_eq!(
            (tenths(0), tenths(123), tenths(2000)),
            ("0.0".into(), "12.3".into(), "200".into())
        );
        assert_eq!(clock_of(59, true), "00:00:59");
        assert_eq!(clock_of(59, false), "00:59");
        assert_eq!(clock_of(2 * 86400 + 3661, true), "2-01:01:01");
    }
}
