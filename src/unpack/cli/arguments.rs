//! The arguments of the commands that write: `unpack`, `mount`, `umount`, `rm`, `gc`.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command as Parser};

use super::Change;
use crate::unpack::config::Wishes;
use crate::unpack::extract::Limits;
use crate::unpack::image::reference::Reference;
use crate::unpack::owners::Range;
use crate::unpack::unpacking::{Layout, Options};
use crate::unpack::user_namespace::Whose;

/// Entries: four times what the largest distributions have in an image.
const MAX_ENTRIES: &str = "2000000";
/// Bytes: what a disk may be expected to have.
const MAX_SIZE: &str = "64G";

/// The parser of `unpack`, which is what is meant where no command is named.
pub fn unpack() -> Parser {
    let value = |name: &'static str, what: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(what).help(help)
    };
    let map = |name: &'static str, help: &'static str| {
        value(name, "C:H:S", help)
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<Range>().map_err(|error| error.to_string()))
    };
    let flag = super::flag;
    Parser::new("unpack")
        .about("Unpack an image into a bundle (the default command)")
        .arg(super::platform())
        .arg(
            value(
                "layout",
                "LAYOUT",
                "copy (default): the bundle has all files, those of a store by reference where the \
                 filesystem can; shared: an overlay of layers in a store",
            )
            .value_parser(["copy", "shared"]),
        )
        .arg(
            value("store", "DIR", "Where layers are kept, each once")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            value(
                "args",
                "ARG",
                "The program and its arguments instead of the image's; again for each",
            )
            .action(ArgAction::Append)
            .allow_hyphen_values(true),
        )
        .arg(
            value("env", "NAME=VALUE", "A variable, instead of the image's")
                .short('e')
                .action(ArgAction::Append),
        )
        .arg(value("user", "USER[:GROUP]", "The user instead of the image's").short('u'))
        .arg(value("cwd", "DIR", "The working directory instead of the image's"))
        .arg(value("hostname", "NAME", "The host name; default: hull"))
        .arg(flag("tty", "The process gets a terminal").short('t'))
        .arg(flag("readonly", "The root filesystem is read-only"))
        .arg(flag("no-config", "Write no config.json"))
        .arg(map("uid-map", "Users of the image from C on are S users of the host from H on"))
        .arg(map("gid-map", "The same of groups"))
        .arg(
            flag("rootless", "For an ordinary user: subordinate ids, or all files the own user's")
                .conflicts_with_all(["uid-map", "gid-map"]),
        )
        .arg(
            value("max-entries", "N", "Refuse more entries of tar, of all layers together")
                .default_value(MAX_ENTRIES)
                .value_parser(clap::value_parser!(u64)),
        )
        .arg(
            value(
                "max-size",
                "BYTES",
                "Refuse more bytes of tar, of all layers together; K, M, G, T: powers of 1024",
            )
            .default_value(MAX_SIZE)
            .value_parser(bytes),
        )
        .arg(super::no_sandbox())
        .arg(flag("sync", "Write all to disk before the bundle appears"))
        .arg(flag("quiet", "Say nothing but errors").short('q'))
        .arg(flag("json", "Progress as records of JSON on standard output"))
        .arg(super::image())
        .arg(bundle())
}

/// The other commands.
pub fn others() -> [Parser; 4] {
    [
        Parser::new("mount")
            .about("Mount the root filesystem of a bundle with shared layers")
            .arg(bundle()),
        Parser::new("umount").about("Unmount it").arg(bundle()),
        Parser::new("rm")
            .about("Remove a bundle with shared layers, and what its container wrote")
            .arg(bundle()),
        Parser::new("gc")
            .about("Remove the layers of a store that no bundle uses")
            .arg(super::flag("dry-run", "Only say what would be removed"))
            .arg(
                Arg::new("store")
                    .long("store")
                    .value_name("DIR")
                    .required(true)
                    .help("Where layers are kept")
                    .value_parser(clap::value_parser!(PathBuf)),
            ),
    ]
}

fn bundle() -> Arg {
    Arg::new("bundle")
        .value_name("BUNDLE")
        .required(true)
        .help("The bundle's directory")
        .value_parser(clap::value_parser!(PathBuf))
}

/// The command of these matches; what clap cannot check is an error.
pub fn change(name: &str, matches: &ArgMatches) -> Result<Change, String> {
    let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
    let bundle = || path("bundle").expect("clap requires it");
    match name {
        "mount" => Ok(Change::Mount(bundle())),
        "umount" => Ok(Change::Umount(bundle())),
        "rm" => Ok(Change::Remove(bundle())),
        "gc" => Ok(Change::Collect {
            store: path("store").expect("clap requires it"),
            dry_run: matches.get_flag("dry-run"),
        }),
        _ => options(matches).map(|options| Change::Unpack(Box::new(options))),
    }
}

fn options(matches: &ArgMatches) -> Result<Options, String> {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let texts = |name: &str| matches.get_many(name).into_iter().flatten().cloned().collect();
    let ranges = |name: &str| matches.get_many(name).into_iter().flatten().copied().collect();
    let is_set = |name: &str| matches.get_flag(name);
    let number = |name: &str| *matches.get_one::<u64>(name).expect("it has a default");
    let store = matches.get_one::<PathBuf>("store").cloned();
    let layout = match (text("layout").as_deref(), store) {
        (Some("shared"), Some(store)) => Layout::Shared(store),
        (Some("shared"), None) => return Err("--layout shared needs --store DIR".to_owned()),
        (_, store) => Layout::Copy(store),
    };
    let wishes = Wishes {
        args: texts("args"),
        env: texts("env"),
        user: text("user"),
        cwd: text("cwd"),
        hostname: text("hostname"),
        tty: is_set("tty"),
        readonly: is_set("readonly"),
    };
    Ok(Options {
        image: matches.get_one::<Reference>("image").cloned().expect("clap requires it"),
        bundle: matches.get_one::<PathBuf>("bundle").cloned().expect("clap requires it"),
        platform: matches.get_one("platform").cloned(),
        layout,
        whose: Whose {
            uids: ranges("uid-map"),
            gids: ranges("gid-map"),
            rootless: is_set("rootless"),
        },
        wishes: (!is_set("no-config")).then_some(wishes),
        limits: Limits { entries: number("max-entries"), size: number("max-size") },
        sandbox: !is_set("no-sandbox"),
        sync: is_set("sync"),
        is_quiet: is_set("quiet"),
        is_json: is_set("json"),
    })
}

/// A number of bytes, with a power of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let powers = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let power = powers.into_iter().find_map(|(letter, power)| {
        text.strip_suffix(letter)
            .or_else(|| text.strip_suffix(letter.to_ascii_lowercase()))
            .map(|number| (number, power))
    });
    let (number, power) = power.unwrap_or((text, 0));
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << power));
    number.ok_or_else(|| format!("{text:?} is no number of bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::cli::{Command, Parsed, parse};

    fn parsed(line: &str) -> Parsed {
        parse(line.split(' ').map(Into::into))
    }

    fn options(line: &str) -> Options {
        match parsed(line) {
            Parsed::Command(Command::Change(Change::Unpack(options))) => *options,
            Parsed::Wrong(message) => panic!("{line}: {message}"),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn unpack_is_meant_where_no_command_is_named() {
        for line in ["hull-unpack oci:a b", "hull-unpack unpack oci:a b", "hull-unpack -q oci:a b"]
        {
            let options = options(line);
            assert_eq!((options.image.path.as_str(), options.bundle), ("a", PathBuf::from("b")));
            assert!(options.sandbox && options.wishes.is_some());
        }
    }

    #[test]
    fn wishes_and_maps_are_read() {
        let line = "hull-unpack --args sh --args -c --env=A=1 --user 7:8 --tty --uid-map 0:1:2 \
            --gid-map 0:3:4 --uid-map 5:6:7 --max-size 3M --layout shared --store s a b";
        let options = options(&line.replace("            ", ""));
        let wishes = options.wishes.unwrap();
        assert_eq!(wishes.args, ["sh", "-c"]);
        assert_eq!((wishes.user.as_deref(), wishes.tty), (Some("7:8"), true));
        assert_eq!(options.whose.uids.len(), 2);
        assert_eq!(options.limits.size, 3 << 20);
        assert_eq!(options.layout, Layout::Shared(PathBuf::from("s")));
    }

    #[test]
    fn a_copy_needs_no_store_and_takes_one() {
        for (line, store) in [
            ("hull-unpack a b", None),
            ("hull-unpack --store s a b", Some("s")),
            ("hull-unpack --layout copy --store s a b", Some("s")),
        ] {
            assert_eq!(options(line).layout, Layout::Copy(store.map(PathBuf::from)));
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for line in [
            "hull-unpack a",
            "hull-unpack --layout shared a b",
            "hull-unpack --layout other a b",
            "hull-unpack --rootless --uid-map 0:0:1 a b",
            "hull-unpack --uid-map 0:0 a b",
            "hull-unpack --max-size 1X a b",
            "hull-unpack --max-size 99999999T a b",
            "hull-unpack gc",
            "hull-unpack mount",
        ] {
            assert!(matches!(parsed(line), Parsed::Wrong(_)), "{line}");
        }
    }
}
