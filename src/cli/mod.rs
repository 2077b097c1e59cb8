//! The command line: syntax alone. It takes what runc takes, in every spelling that engines use:
//! `--flag value`, `--flag=value`, `-flag` as Go writes it, `--switch=true`, a flag twice (the last
//! one counts), global flags before and after the command.
//! What is Go's alone is rewritten first ([`argv`]), then clap reads it ([`grammar`]).

mod argv;
mod duration;
mod grammar;
mod limits;

use std::ffi::OsString;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use self::grammar::parser;
use crate::log::{Level, Log};
use crate::ops::create::Options;
use crate::ops::events::Watch;
use crate::ops::exec;
use crate::ops::list;
use crate::ops::ps;
use crate::ops::run::RunOptions;
use crate::ops::update;
use crate::plan::cgroup::Manager;
use crate::plan::exec::Changes;

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
    /// `exec`.
    Exec(Box<exec::Options>),
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
    List(list::Format),
    /// `pause`.
    Pause(String),
    /// `resume`.
    Resume(String),
    /// `events`.
    Events {
        /// The container.
        id: String,
        /// What is printed.
        watch: Watch,
    },
    /// `update`.
    Update {
        /// The container.
        id: String,
        /// Its new limits.
        from: update::From,
    },
    /// `ps`.
    Ps {
        /// The container.
        id: String,
        /// How to print it.
        format: ps::Format,
    },
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

impl Command {
    /// The exit status of an error. That of `exec` is one that programs seldom have, as with runc.
    #[must_use]
    pub fn failure(&self) -> u8 {
        if matches!(self, Self::Exec(_)) { 255 } else { 1 }
    }
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

/// Whether a command line may be one that puts a process into a container. Known before it is read:
/// the executable is sealed first, by executing it again.
pub fn may_make_a_process(mut args: impl Iterator<Item = OsString>) -> bool {
    args.any(|arg| arg == "create" || arg == "run" || arg == "exec")
}

/// Reads a command line; the first argument is the program's own name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Parsed {
    let args = argv::rewrite(args);
    let mut matches = match parser().try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp) => {
            return Parsed::Print(error.to_string());
        }
        Err(error) => return Parsed::Wrong(log_of(args), one_line(&error)),
    };
    if switch(&matches, "version") {
        return Parsed::Print(version());
    }
    // Not a global one: `spec` has a switch of this name.
    match take(&mut matches, "rootless").as_deref() {
        None | Some("true" | "false" | "auto") => {}
        Some(other) => return Parsed::Wrong(log_of(args), format!("invalid rootless: {other}")),
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

/// Where the message belongs if the command line is wrong: what it says of a log before that.
fn log_of(args: Vec<OsString>) -> Log {
    let matches = parser().ignore_errors(true).try_get_matches_from(args);
    let log = matches.map(|matches| match global(&matches, &matches) {
        Ok(flags) => flags.log,
        Err((log, _)) => log,
    });
    log.unwrap_or_default()
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

fn exec_options(matches: &mut ArgMatches) -> Result<exec::Options, String> {
    let mut list = |name| matches.remove_many::<String>(name).map(Iterator::collect);
    let mut list = |name| -> Vec<String> { list(name).unwrap_or_default() };
    let [args, env] = ["args", "env"].map(&mut list);
    let [additional_gids, capabilities, cgroups] =
        ["additional-gids", "cap", "cgroup"].map(&mut list);
    let process = take(matches, "process").filter(|path| !path.is_empty());
    if args.is_empty() && process.is_none() {
        return Err("missing argument: the program, or --process FILE".to_owned());
    }
    let cgroup = match &cgroups[..] {
        [] => None,
        [path] => Some(path.clone()),
        _ => return Err("--cgroup: one path, cgroup v2 has one hierarchy".to_owned()),
    };
    Ok(exec::Options {
        id: take(matches, "id").unwrap_or_default(),
        process,
        changes: Changes {
            args,
            cwd: take(matches, "cwd"),
            user: take(matches, "user"),
            additional_gids,
            env,
            capabilities,
            no_new_privileges: matches.get_one::<bool>("no-new-privs").copied(),
            selinux_label: take(matches, "process-label"),
            apparmor_profile: take(matches, "apparmor"),
            terminal: switch(matches, "tty"),
        },
        detach: switch(matches, "detach"),
        console_socket: take(matches, "console-socket"),
        pidfd_socket: take(matches, "pidfd-socket"),
        pid_file: take(matches, "pid-file").filter(|path| !path.is_empty()),
        preserve_fds: matches.get_one::<u32>("preserve-fds").copied().unwrap_or_default(),
        cgroup,
        ignore_paused: switch(matches, "ignore-paused"),
        no_subreaper: switch(matches, "no-subreaper"),
    })
}

/// `--format`.
fn format<T>(matches: &mut ArgMatches, table: T, json: T) -> Result<T, String> {
    match take(matches, "format").as_deref() {
        None | Some("table" | "") => Ok(table),
        Some("json") => Ok(json),
        Some(other) => Err(format!("invalid format option: {other}")),
    }
}

/// `--interval` and `--stats`.
fn watch(matches: &mut ArgMatches) -> Result<Watch, String> {
    let interval = take(matches, "interval").unwrap_or_default();
    let Some(duration) = duration::parse(&interval) else {
        return Err(format!("invalid value {interval:?} for --interval, such as 5s or 1m30s"));
    };
    if duration.is_zero() {
        return Err("duration interval must be greater than 0".to_owned());
    }
    Ok(if switch(matches, "stats") { Watch::Once } else { Watch::Every(duration) })
}

/// With a file all other flags are ignored (runc).
fn new_limits(matches: &mut ArgMatches) -> Result<update::From, String> {
    if let Some(path) = take(matches, "resources").filter(|path| !path.is_empty()) {
        return Ok(update::From::File(path));
    }
    for (flag, message) in [
        ("l3-cache-schema", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("mem-bw-schema", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        if take(matches, flag).is_some_and(|schema| !schema.is_empty()) {
            return Err(message.to_owned());
        }
    }
    Ok(update::From::Flags(Box::new(limits::resources(matches)?)))
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
        "exec" => Command::Exec(Box::new(exec_options(matches)?)),
        "start" => Command::Start(take(matches, "id").unwrap_or_default()),
        "state" => Command::State(take(matches, "id").unwrap_or_default()),
        "kill" => Command::Kill {
            ids: ids(matches),
            signal: take(matches, "signal").unwrap_or_default(),
            all: switch(matches, "all"),
        },
        "delete" => Command::Delete { ids: ids(matches), force: switch(matches, "force") },
        "list" => {
            let format = format(matches, list::Format::Table, list::Format::Json)?;
            Command::List(if switch(matches, "quiet") { list::Format::Quiet } else { format })
        }
        "pause" => Command::Pause(take(matches, "id").unwrap_or_default()),
        "resume" => Command::Resume(take(matches, "id").unwrap_or_default()),
        "events" => {
            let watch = watch(matches)?;
            Command::Events { id: take(matches, "id").unwrap_or_default(), watch }
        }
        "update" => {
            let from = new_limits(matches)?;
            Command::Update { id: take(matches, "id").unwrap_or_default(), from }
        }
        "ps" => {
            let options = matches.remove_many::<String>("options").map(Iterator::collect);
            let table = ps::Format::Table(options.unwrap_or_default());
            let format = format(matches, table, ps::Format::Json)?;
            Command::Ps { id: take(matches, "id").unwrap_or_default(), format }
        }
        "spec" => Command::Spec {
            bundle: take(matches, "bundle").unwrap_or_else(|| ".".to_owned()),
            rootless: switch(matches, "rootless"),
        },
        _ => Command::Features,
    })
}
