//! The flags and arguments of each command, for clap. Its builder with `defer`: only the arguments
//! of the command that was given are constructed.

use super::limits::{Kind, LIMITS};
use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command as Parser};

/// All commands.
pub fn parser() -> Parser {
    let command = |name: &'static str, about: &'static str, rest: fn(Parser) -> Parser| {
        Parser::new(name).about(about).defer(rest)
    };
    globals(Parser::new("hull"))
        .about("A low-level OCI container runtime")
        .disable_version_flag(true)
        .args_override_self(true)
        .subcommand_required(false)
        .arg(value("rootless", "WORD", "true, false or auto; accepted for runc's sake"))
        .arg(flag("version", "Print the version").short('v').visible_short_alias('V'))
        .subcommand(command("create", "Create a container", create_arguments))
        .subcommand(command("start", "Execute the program of a created container", |parser| {
            globals(parser).arg(id())
        }))
        .subcommand(command("state", "Print the state of a container", |parser| {
            globals(parser).arg(id())
        }))
        .subcommand(command("kill", "Send a signal to a container", |parser| {
            globals(parser)
                .arg(flag("all", "To every process of the container").short('a'))
                .arg(flag("regex", "The id is a regular expression").short('r'))
                .arg(id())
                .arg(Arg::new("signal").value_name("SIGNAL").default_value("SIGTERM"))
        }))
        .subcommand(command("delete", "Remove a container", |parser| {
            globals(parser)
                .arg(flag("force", "End it first, in any status").short('f'))
                .arg(flag("regex", "The id is a regular expression").short('r'))
                .arg(id())
        }))
        .subcommand(command("run", "Create and start a container", |parser| {
            create_arguments(parser)
                .arg(flag("detach", "Leave as soon as the program was executed").short('d'))
                .arg(flag("keep", "Do not delete the container when it has ended"))
        }))
        .subcommand(command("exec", "Execute another program in a container", exec_arguments))
        .subcommand(command("list", "Print all containers", |parser| {
            globals(parser)
                .arg(value("format", "FORMAT", "table (default) or json").short('f'))
                .arg(flag("quiet", "Ids alone").short('q'))
        }))
        .subcommand(command("pause", "Suspend all processes of a container", |parser| {
            globals(parser).arg(id())
        }))
        .subcommand(command("resume", "Let the processes of a paused container go on", |parser| {
            globals(parser).arg(id())
        }))
        .subcommand(command("ps", "Print the processes of a container", |parser| {
            let options = Arg::new("options").value_name("PS OPTION").num_args(0..);
            globals(parser)
                .arg(value("format", "FORMAT", "table (default) or json").short('f'))
                .arg(id())
                .arg(options.help("For the table: those of -ef, aux or -o LIST, as ps(1)"))
        }))
        .subcommand(command(
            "events",
            "Print what a container uses, and that memory ran out",
            |parser| {
                globals(parser)
                    .arg(value("interval", "TIME", "How often, such as 1m30s").default_value("5s"))
                    .arg(flag("stats", "Once, then exit"))
                    .arg(id())
            },
        ))
        .subcommand(command("update", "Change the limits of a container", update_arguments))
        .subcommand(command("spec", "Write a config.json to start from", |parser| {
            globals(parser)
                .arg(value("bundle", "DIR", "Where to write it").short('b'))
                .arg(flag("rootless", "For an ordinary user"))
        }))
        .subcommand(command("features", "Print what this runtime can do", globals))
}

/// Flags that may stand before and after the command. Not clap's global arguments: those are copied
/// into every command, the ones that are not asked for too, which takes 60 KB of them.
fn globals(parser: Parser) -> Parser {
    parser
        .arg(value("root", "DIR", "Where the state of containers is kept"))
        .arg(value("log", "FILE", "Where to write messages, instead of standard error"))
        .arg(value("log-format", "FORMAT", "text (default) or json"))
        .arg(value("log-level", "LEVEL", "error, warning or debug"))
        .arg(flag("debug", "As --log-level debug"))
        .arg(flag("systemd-cgroup", "As --cgroup-manager systemd"))
        .arg(value("cgroup-manager", "NAME", "cgroupfs (default), systemd or disabled"))
}

fn create_arguments(parser: Parser) -> Parser {
    globals(parser)
        .arg(value("bundle", "DIR", "The bundle; default: the working directory").short('b'))
        .arg(value("config", "FILE", "A config instead of the bundle's config.json").short('f'))
        .arg(value("console-socket", "PATH", "Where to send the terminal's master"))
        .arg(value("pidfd-socket", "PATH", "Where to send a pidfd of the container process"))
        .arg(value("pid-file", "FILE", "Where to write the pid of the container process"))
        .arg(flag("no-pivot", "Do not use pivot_root(2)"))
        .arg(flag("no-new-keyring", "Keep the session keyring"))
        .arg(
            value("preserve-fds", "N", "Pass N descriptors from 3 on")
                .value_parser(clap::value_parser!(u32)),
        )
        .arg(flag("no-subreaper", "Leave orphans of the container to somebody else"))
        .arg(id())
}

fn exec_arguments(parser: Parser) -> Parser {
    let list = |arg: Arg| arg.action(ArgAction::Append);
    globals(parser)
        .arg(value("process", "FILE", "The process, as in config.json").short('p'))
        .arg(flag("detach", "Leave as soon as the program was executed").short('d'))
        .arg(flag("tty", "With a terminal").short('t'))
        .arg(value("console-socket", "PATH", "Where to send the terminal's master"))
        .arg(value("pidfd-socket", "PATH", "Where to send a pidfd of the process"))
        .arg(value("pid-file", "FILE", "Where to write the pid of the process"))
        .arg(value("cwd", "DIR", "The working directory, in the container"))
        .arg(value("user", "UID[:GID]", "The user, by number").short('u'))
        .arg(list(value("additional-gids", "GID", "One more group").short('g')))
        .arg(list(value("env", "NAME=VALUE", "One more variable").short('e')))
        .arg(list(value("cap", "CAP", "One more capability").short('c')))
        .arg(flag("no-new-privs", "It and its children gain no privileges"))
        .arg(value("process-label", "LABEL", "The label of SELinux"))
        .arg(value("apparmor", "PROFILE", "The profile of AppArmor"))
        .arg(
            value("preserve-fds", "N", "Pass N descriptors from 3 on")
                .value_parser(clap::value_parser!(u32)),
        )
        .arg(list(value("cgroup", "PATH", "A cgroup below the container's")))
        .arg(flag("ignore-paused", "In a paused container too"))
        .arg(flag("no-subreaper", "Leave orphans of the process to somebody else"))
        .arg(id())
        .arg(Arg::new("args").value_name("ARG").num_args(0..).help("The program and its arguments"))
}

fn update_arguments(parser: Parser) -> Parser {
    let file = "The limits, as /linux/resources of config.json; -: standard input";
    let limits = LIMITS.map(|(flag, _, _, kind, help)| {
        let what = match kind {
            Kind::Number => "N",
            Kind::Size => "BYTES",
            Kind::List => "LIST",
        };
        value(flag, what, help).hide(help.is_empty()).allow_hyphen_values(true)
    });
    globals(parser)
        .arg(value("resources", "FILE", file).short('r').allow_hyphen_values(true))
        .args(limits)
        .arg(value("l3-cache-schema", "TEXT", "Of Intel RDT: not supported"))
        .arg(value("mem-bw-schema", "TEXT", "Of Intel RDT: not supported"))
        .arg(id())
}

fn value(name: &'static str, what: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(what).help(help)
}

/// As Go's flag package takes a switch: alone, or with `=true`, `=false`.
fn flag(name: &'static str, help: &'static str) -> Arg {
    let parse = |text: &str| match text {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false"),
    };
    Arg::new(name)
        .long(name)
        .help(help)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .hide_possible_values(true)
        .value_parser(ValueParser::new(parse))
}

fn id() -> Arg {
    Arg::new("id").value_name("ID").required(true).help("The container's id")
}
