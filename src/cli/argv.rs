//! What runc takes and clap does not: one dash before a long flag, as Go's flag package has it; and
//! behind the container's id a command line of somebody else, of which no word is ours.

use std::ffi::OsString;
use std::iter::Peekable;

/// Flags with a name of more than one letter that are on or off.
const SWITCHES: [&str; 17] = [
    "all",
    "debug",
    "detach",
    "force",
    "help",
    "ignore-paused",
    "keep",
    "no-new-keyring",
    "no-new-privs",
    "no-pivot",
    "no-subreaper",
    "quiet",
    "regex",
    "stats",
    "systemd-cgroup",
    "tty",
    "version",
];

/// Flags with a name of more than one letter that take a value.
const VALUES: [&str; 42] = [
    "additional-gids",
    "apparmor",
    "blkio-weight",
    "bundle",
    "cap",
    "cgroup",
    "cgroup-manager",
    "config",
    "console-socket",
    "cpu-burst",
    "cpu-idle",
    "cpu-period",
    "cpu-quota",
    "cpu-rt-period",
    "cpu-rt-runtime",
    "cpu-share",
    "cpuset-cpus",
    "cpuset-mems",
    "cwd",
    "env",
    "format",
    "interval",
    "kernel-memory",
    "kernel-memory-tcp",
    "l3-cache-schema",
    "log",
    "log-format",
    "log-level",
    "mem-bw-schema",
    "memory",
    "memory-reservation",
    "memory-swap",
    "pid-file",
    "pidfd-socket",
    "pids-limit",
    "preserve-fds",
    "process",
    "process-label",
    "resources",
    "root",
    "rootless",
    "user",
];

/// Commands whose arguments behind the id are another program's, with their flags of one letter
/// that take a value.
const OTHERS: [(&str, &str); 2] = [("exec", "pugec"), ("ps", "f")];

/// Rewrites a command line; the first argument is the program's own name.
pub fn rewrite(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.peekable();
    let mut written: Vec<OsString> = args.next().into_iter().collect();
    let mut other = None;
    let mut has_command = false;
    while let Some(arg) = args.next() {
        if arg == "--" {
            written.push(arg);
            break;
        }
        if arg.as_encoded_bytes().len() > 1 && arg.as_encoded_bytes().starts_with(b"-") {
            let arg = two_dashes(arg);
            let takes_next = takes_next(&arg, other);
            written.push(arg);
            written.extend(args.next_if(|_| takes_next));
            continue;
        }
        if !has_command {
            has_command = true;
            other = OTHERS.iter().find(|(name, _)| arg == *name).map(|(_, letters)| *letters);
            written.push(arg);
        } else {
            written.push(arg);
            if other.is_some() {
                begin_other(&mut args, &mut written);
                break;
            }
        }
    }
    written.extend(args);
    written
}

/// What follows is not ours: "--" says so, unless the user has said it.
fn begin_other(args: &mut Peekable<impl Iterator<Item = OsString>>, written: &mut Vec<OsString>) {
    if args.peek().is_some() {
        args.next_if(|arg| arg == "--");
        written.push("--".into());
    }
}

fn two_dashes(arg: OsString) -> OsString {
    let is_long = arg.to_str().and_then(|text| text.strip_prefix('-')).is_some_and(|name| {
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        SWITCHES.contains(&name) || VALUES.contains(&name)
    });
    if !is_long {
        return arg;
    }
    let mut long = OsString::from("-");
    long.push(arg);
    long
}

/// Whether the value of a flag is the next argument. `letters`: the short flags that take one; those
/// of other commands need not be known, because nothing depends on where their id is.
fn takes_next(arg: &OsString, letters: Option<&str>) -> bool {
    let Some(text) = arg.to_str() else { return false };
    match text.strip_prefix("--") {
        Some(name) => VALUES.contains(&name),
        // The first letter that takes a value takes what is behind it, if there is something.
        None => letters.is_some_and(|letters| {
            text.find(|letter| letters.contains(letter)).is_some_and(|at| at + 1 == text.len())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{SWITCHES, VALUES, rewrite};
    use crate::cli::grammar::parser;

    #[test]
    fn the_long_flags_are_those_of_the_parser() {
        let mut parser = parser();
        parser.build();
        let mut long = [Vec::new(), Vec::new()];
        for command in std::iter::once(&parser).chain(parser.get_subcommands()) {
            for flag in command.get_arguments().filter(|flag| flag.get_long().is_some()) {
                let takes_next = flag.get_num_args().is_some_and(|it| it.min_values() > 0);
                let long = &mut long[usize::from(takes_next)];
                long.extend(flag.get_long());
                long.extend(flag.get_all_aliases().unwrap_or_default());
            }
        }
        // Of `spec` it is a switch; one before the command takes a value.
        long[0].retain(|name| *name != "rootless");
        for (found, known) in long.iter_mut().zip([SWITCHES.as_slice(), &VALUES]) {
            found.sort_unstable();
            found.dedup();
            let mut known = known.to_vec();
            known.sort_unstable();
            assert_eq!(*found, known);
        }
    }

    #[test]
    fn behind_the_id_of_exec_no_word_is_ours() {
        for (given, expected) in [
            ("hull -root /r state -debug a", "hull --root /r state --debug a"),
            ("hull kill -all a", "hull kill --all a"),
            ("hull exec a ls -all", "hull exec a -- ls -all"),
            ("hull exec -tty a -- -t", "hull exec --tty a -- -t"),
            ("hull exec -u 5 -cwd /x a ls -u 1", "hull exec -u 5 --cwd /x a -- ls -u 1"),
            ("hull exec -u5 -tu 5 a ls", "hull exec -u5 -tu 5 a -- ls"),
            ("hull exec --user=5 a -x", "hull exec --user=5 a -- -x"),
            ("hull exec -p f a", "hull exec -p f a"),
            ("hull exec -- a ls -all", "hull exec -- a ls -all"),
            ("hull --log exec exec a -v", "hull --log exec exec a -- -v"),
            ("hull ps -f json a -ef", "hull ps -f json a -- -ef"),
            ("hull", "hull"),
        ] {
            let args = rewrite(given.split(' ').map(Into::into));
            let text: Vec<_> = args.iter().map(|arg| arg.to_str().unwrap()).collect();
            assert_eq!(text.join(" "), expected);
        }
    }
}
