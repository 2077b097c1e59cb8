//! The command line of `hull-unpack`: syntax alone.

mod arguments;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command as Parser};

use super::image::platform::Platform;
use super::image::reference::Reference;
use super::unpacking::Options;

/// What is asked.
#[derive(Debug)]
pub enum Command {
    /// `list`.
    List(Query),
    /// `inspect`.
    Inspect(Query),
    /// `verify`.
    Verify(Query),
    /// What writes.
    Change(Change),
}

/// What is to be made or removed.
#[derive(Debug)]
pub enum Change {
    /// `unpack`.
    Unpack(Box<Options>),
    /// `mount` of a bundle.
    Mount(PathBuf),
    /// `umount` of a bundle.
    Umount(PathBuf),
    /// `rm` of a bundle.
    Remove(PathBuf),
    /// `gc`.
    Collect {
        /// `--store`.
        store: PathBuf,
        /// `--dry-run`.
        dry_run: bool,
    },
}

/// A question about what is saved.
#[derive(Debug)]
pub struct Query {
    /// IMAGE.
    pub image: Reference,
    /// `--platform`.
    pub platform: Option<Platform>,
    /// `--json`.
    pub is_json: bool,
    /// `--quiet`.
    pub is_quiet: bool,
    /// Not `--no-sandbox`.
    pub sandbox: bool,
}

/// What a command line says.
pub enum Parsed {
    /// A command.
    Command(Command),
    /// A text was asked for: help, or the version.
    Print(String),
    /// It is wrong.
    Wrong(String),
}

/// Reads a command line; the first argument is the program's own name.
pub fn parse(args: impl Iterator<Item = OsString>) -> Parsed {
    let matches = match parser().try_get_matches_from(with_command(args)) {
        Ok(matches) => matches,
        Err(error) => {
            let text = error.to_string();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Parsed::Print(text),
                // Of clap's explanation the usage helps too.
                _ => Parsed::Wrong(text.strip_prefix("error: ").unwrap_or(&text).to_owned()),
            };
        }
    };
    let command = match matches.subcommand() {
        Some(("list", matches)) => Command::List(query(matches)),
        Some(("inspect", matches)) => Command::Inspect(query(matches)),
        Some(("verify", matches)) => Command::Verify(query(matches)),
        Some((name, matches)) => match arguments::change(name, matches) {
            Ok(change) => Command::Change(change),
            Err(message) => return Parsed::Wrong(message),
        },
        None => return Parsed::Print(parser().render_help().to_string()),
    };
    Parsed::Command(command)
}

/// Where the first argument is no command and asks for no help, `unpack` is meant.
fn with_command(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let is_known = |first: &OsString| {
        let words = ["help", "-h", "--help", "-V", "--version"];
        words.iter().any(|word| first == word)
            || parser().get_subcommands().any(|command| first == command.get_name())
    };
    if args.get(1).is_some_and(|first| !is_known(first)) {
        args.insert(1, "unpack".into());
    }
    args
}

fn parser() -> Parser {
    let query = |name: &'static str, about: &'static str| {
        Parser::new(name)
            .about(about)
            .arg(flag("json", "One JSON document instead of text"))
            .arg(no_sandbox())
            .arg(platform())
            .arg(image())
    };
    Parser::new("hull-unpack")
        .about("Unpacks a layered image into a bundle")
        .after_help(FORMS)
        .subcommand(arguments::unpack())
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand(query("list", "List the images that are saved, their platforms and sizes"))
        .subcommand(query("inspect", "Show what an image says of itself, and what made its layers"))
        .subcommand(
            query("verify", "Read every blob and compare sizes, digests and diff ids")
                .arg(flag("quiet", "Say nothing but errors").short('q')),
        )
        .subcommands(arguments::others())
}

const FORMS: &str = "\
IMAGE is one of
  oci:DIR[:NAME]               an OCI image layout
  oci-archive:FILE[:NAME]      a tar of one
  docker-archive:FILE[:NAME]   what `docker save` or `podman save` writes
  PATH                         any of them
where NAME is a tag, a reference name or a digest.";

fn image() -> Arg {
    Arg::new("image")
        .value_name("IMAGE")
        .required(true)
        .value_parser(|text: &str| text.parse::<Reference>().map_err(|error| error.to_string()))
}

fn platform() -> Arg {
    Arg::new("platform")
        .long("platform")
        .value_name("OS/ARCH[/VARIANT]")
        .help("Which image of several; default: the host's")
        .value_parser(|text: &str| text.parse::<Platform>().map_err(|error| error.to_string()))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn no_sandbox() -> Arg {
    flag("no-sandbox", "Do not give up privileges before the image is read")
}

fn query(matches: &ArgMatches) -> Query {
    Query {
        image: matches.get_one::<Reference>("image").cloned().expect("clap requires it"),
        platform: matches.get_one::<Platform>("platform").cloned(),
        is_json: matches.get_flag("json"),
        is_quiet: matches.try_get_one::<bool>("quiet").is_ok_and(|quiet| quiet == Some(&true)),
        sandbox: !matches.get_flag("no-sandbox"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Parsed {
        parse(line.split(' ').map(Into::into))
    }

    #[test]
    fn a_question_is_read() {
        let line = "hull-unpack inspect --json --platform linux/arm/v7 oci:dir:tag";
        let Parsed::Command(Command::Inspect(query)) = parsed(line) else { panic!("{line}") };
        assert_eq!(query.image.name.as_deref(), Some("tag"));
        assert_eq!(query.platform.unwrap().to_string(), "linux/arm/v7");
        assert!(query.is_json && !query.is_quiet);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for line in [
            "hull-unpack list",
            "hull-unpack list oci:",
            "hull-unpack list a b",
            "hull-unpack list --platform linux a",
            "hull-unpack verify --nothing a",
        ] {
            assert!(matches!(parsed(line), Parsed::Wrong(_)), "{line}");
        }
    }

    #[test]
    fn help_names_the_forms_and_the_version_is_the_packages() {
        let Parsed::Print(help) = parsed("hull-unpack --help") else { panic!("no help") };
        assert!(help.contains("docker-archive:FILE"));
        let Parsed::Print(version) = parsed("hull-unpack --version") else { panic!("no version") };
        assert_eq!(version, format!("hull-unpack {}\n", env!("CARGO_PKG_VERSION")));
    }
}
