//! The command line: syntax alone. It takes what runc takes, in every spelling that engines use:
//! `--flag value`, `--flag=value`, `-flag` as Go writes it, `--switch=true`, a flag twice (the last
//! one counts), global flags before and after the command.
//!
//! clap's builder with `defer`: only the arguments of the command that was given are constructed.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command as Parser};

use crate::log::{Level, Log};
use crate::ops::create::Options;
use crate::ops::list::Format;
use crate::ops::run::RunOptions;
use crate::plan::cgroup::Manager;

/// Flags of every command.
#[derive(Clone, Debug, Default)]
pub struct GlobalFlags {
    /// `--root`.
    pub root: Option<String>,
    /// `--log`, `--log-format`, `--log-level`, `--debug`.
    pub log: Log,
    /// `--cgroup-manager`, `--systemd-cgroup`.
    pub cgroup_manager: Manager,
}

/// Which containers are meant.
#[derive(Debug)]
pub enum Ids {
    /// The one of this id.
    One(String),
    /// All whose ids match a regular expression.
    Matching(String),
}

/// What is asked.
#[derive(Debug)]
pub enum Command {
    /// `create`.
    Create(Options),
    /// `run`.
    Run(Options, RunOptions),
    /// `start`.
    Start(String),
    /// `state`.
    State(String),
    /// `kill`.
    Kill {
        /// Which containers.
        ids: Ids,
        /// A number or a name.
        signal: String,
        /// Whether every process of the container.
        all: bool,
    },
    /// `delete`.
    Delete {
        /// Which containers.
        ids: Ids,
        /// In any status.
        force: bool,
    },
    /// `list`.
    List(Format),
    /// `spec`.
    Spec {
        /// Where to write it.
        bundle: String,
        /// For an ordinary user.
        rootless: bool,
    },
    /// `features`.
    Features,
}

/// What a command line says.
pub enum Parsed {
    /// A command.
    Command(GlobalFlags, Command),
    /// A text was asked for: help, or the version.
    Print(String),
    /// It is wrong.
    Wrong(Log, String),
}

/// Every flag with a name of more than one letter: Go takes them after one dash too.
const FLAGS: [&str; 28] = [
    "all",
    "bundle",
    "cgroup-manager",
    "config",
    "console-socket",
    "debug",
    "detach",
    "force",
    "format",
    "help",
    "keep",
    "log",
    "log-format",
    "log-level",
    "no-new-keyring",
    "no-pivot",
    "no-subreaper",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
    "quiet",
    "regex",
    "root",
    "rootless",
    "systemd-cgroup",
    "usage",
    "version",
    "criu",
];

/// Whether a command line may be one that puts a process into a container. Known before it is read:
/// the executable is sealed first, by executing it again.
pub fn may_make_a_process(mut args: impl Iterator<Item = OsString>) -> bool {
    args.any(|arg| arg == "create" || arg == "run")
}

/// Reads a command line; the first argument is the program's own name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Parsed {
    let args = args.map(two_dashes);
    let mut matches = match parser().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp) => {
            return Parsed::Print(error.to_string());
        }
        Err(error) => return Parsed::Wrong(Log::default(), one_line(&error)),
    };
    if switch(&matches, "version") {
        return Parsed::Print(version());
    }
    // Not a global one: `spec` has a switch of this name.
    match take(&mut matches, "rootless").as_deref() {
        None | Some("true" | "false" | "auto") => {}
        Some(other) => return Parsed::Wrong(Log::default(), format!("invalid rootless: {other}")),
    }
    let Some((name, mut sub)) = matches.remove_subcommand() else {
        return Parsed::Print(parser().render_help().to_string());
    };
    let global = match global(&matches, &sub) {
        Ok(global) => global,
        Err((log, message)) => return Parsed::Wrong(log, message),
    };
    match command(&name, &mut sub) {
        Ok(command) => Parsed::Command(global, command),
        Err(message) => Parsed::Wrong(global.log, message),
    }
}

fn two_dashes(arg: OsString) -> OsString {
    let is_long = arg
        .to_str()
        .and_then(|text| text.strip_prefix('-'))
        .is_some_and(|name| FLAGS.contains(&name.split_once('=').map_or(name, |(name, _)| name)));
    if !is_long {
        return arg;
    }
    let mut long = OsString::from("-");
    long.push(arg);
    long
}

/// clap explains over several lines; a log takes one.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
    {
        line = format!("missing argument: {}", missing.join(" "));
    }
    line
}

fn version() -> String {
    let commit = option_env!("HULL_COMMIT").unwrap_or("unknown");
    let version = env!("CARGO_PKG_VERSION");
    format!("hull version {version}\ncommit: {commit}\nspec: {}\n", crate::spec::VERSION)
}

fn parser() -> Parser {
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
        .subcommand(command("list", "Print all containers", |parser| {
            globals(parser)
                .arg(value("format", "FORMAT", "table (default) or json").short('f'))
                .arg(flag("quiet", "Ids alone").short('q'))
        }))
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

fn switch(matches: &ArgMatches, name: &str) -> bool {
    matches.get_one::<bool>(name).copied().unwrap_or_default()
}

fn take(matches: &mut ArgMatches, name: &str) -> Option<String> {
    matches.remove_one::<String>(name)
}

/// What stands after the command counts more than what stands before it.
fn global(before: &ArgMatches, after: &ArgMatches) -> Result<GlobalFlags, (Log, String)> {
    let text = |name: &str| {
        let found = after.get_one::<String>(name).or_else(|| before.get_one::<String>(name));
        found.map(String::as_str)
    };
    let switch = |name: &str| {
        let found = after.get_one::<bool>(name).or_else(|| before.get_one::<bool>(name));
        found.copied().unwrap_or_default()
    };
    let mut log = Log {
        file: text("log").filter(|path| !path.is_empty()).map(str::to_owned),
        ..Log::default()
    };
    let wrong = |log: &Log, message: String| Err((log.clone(), message));
    match text("log-format") {
        None | Some("text" | "") => {}
        Some("json") => log.is_json = true,
        Some(other) => return wrong(&log, format!("invalid log-format: {other}")),
    }
    log.level = match text("log-level") {
        None => None,
        Some("error") => Some(Level::Error),
        Some("warning" | "warn" | "info") => Some(Level::Warning),
        Some("debug") => Some(Level::Debug),
        Some(other) => return wrong(&log, format!("invalid log-level: {other}")),
    };
    if switch("debug") {
        log.level = Some(Level::Debug);
    }
    let cgroup_manager = match text("cgroup-manager") {
        None | Some("cgroupfs") if switch("systemd-cgroup") => Manager::Systemd,
        None | Some("cgroupfs") => Manager::Cgroupfs,
        Some("systemd") => Manager::Systemd,
        Some("disabled") => Manager::Disabled,
        Some(other) => return wrong(&log, format!("invalid cgroup-manager: {other}")),
    };
    Ok(GlobalFlags { root: text("root").map(str::to_owned), log, cgroup_manager })
}

fn options(matches: &mut ArgMatches) -> Options {
    Options {
        id: take(matches, "id").unwrap_or_default(),
        bundle: take(matches, "bundle"),
        config: take(matches, "config"),
        console_socket: take(matches, "console-socket"),
        pidfd_socket: take(matches, "pidfd-socket"),
        pid_file: take(matches, "pid-file").filter(|path| !path.is_empty()),
        no_pivot: switch(matches, "no-pivot"),
        no_new_keyring: switch(matches, "no-new-keyring"),
        preserve_fds: matches.get_one::<u32>("preserve-fds").copied().unwrap_or_default(),
    }
}

fn ids(matches: &mut ArgMatches) -> Ids {
    let id = take(matches, "id").unwrap_or_default();
    if switch(matches, "regex") { Ids::Matching(id) } else { Ids::One(id) }
}

fn command(name: &str, matches: &mut ArgMatches) -> Result<Command, String> {
    Ok(match name {
        "create" => Command::Create(options(matches)),
        "run" => {
            let how = RunOptions {
                detach: switch(matches, "detach"),
                keep: switch(matches, "keep"),
                no_subreaper: switch(matches, "no-subreaper"),
            };
            Command::Run(options(matches), how)
        }
        "start" => Command::Start(take(matches, "id").unwrap_or_default()),
        "state" => Command::State(take(matches, "id").unwrap_or_default()),
        "kill" => Command::Kill {
            ids: ids(matches),
            signal: take(matches, "signal").unwrap_or_default(),
            all: switch(matches, "all"),
        },
        "delete" => Command::Delete { ids: ids(matches), force: switch(matches, "force") },
        "list" => {
            let format = match take(matches, "format").as_deref() {
                None | Some("table" | "") => Format::Table,
                Some("json") => Format::Json,
                Some(other) => return Err(format!("invalid format option: {other}")),
            };
            Command::List(if switch(matches, "quiet") { Format::Quiet } else { format })
        }
        "spec" => Command::Spec {
            bundle: take(matches, "bundle").unwrap_or_else(|| ".".to_owned()),
            rootless: switch(matches, "rootless"),
        },
        _ => Command::Features,
    })
}
