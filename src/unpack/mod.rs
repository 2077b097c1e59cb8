//! `hull-unpack`: an image becomes a bundle. It knows nothing of the runtime; threads are fine here.
//!
//! In the way of the data: [`cli`], [`image`] (what is in it), [`owners`] (whose file becomes whose),
//! [`extract`] (tar bytes become files), [`config`] (config.json), [`bundle`] and [`store`] (where
//! both go); [`unpacking`] is the story. [`list`], [`inspect`] and [`verify`] look at images and write
//! nothing.

pub mod bundle;
pub mod cli;
pub mod config;
pub mod extract;
pub mod image;
pub mod inspect;
pub mod interrupt;
pub mod list;
pub mod owners;
pub mod progress;
pub mod sandbox;
pub mod staging;
pub mod store;
pub mod text;
pub mod unpacking;
pub mod user_namespace;
pub mod verify;

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;

use nix::fcntl::OFlag;

use self::cli::{Change, Command, Parsed, Query};
use self::interrupt::Interrupt;
use self::sandbox::Needs;
use self::store::{collect, overlay};
use crate::error::{Call, Context, Error, Result};
use crate::sys::path::open_path;

/// The unpacker: reads the command line, does what is asked, prints what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let result = match cli::parse(std::env::args_os()) {
        Parsed::Command(command) => execute(command),
        Parsed::Print(text) => print(&text),
        Parsed::Wrong(message) => {
            text::say(&format!("error: {}", message.trim_end()));
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error);
            ExitCode::FAILURE
        }
    }
}

/// What an image says goes to a terminal too.
fn tell(error: &Error) {
    text::say(&format!("error: {}", text::printable(&error.to_string())));
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::List(query) => look(&query, list::list),
        Command::Inspect(query) => look(&query, inspect::inspect),
        Command::Verify(query) => look(&query, verify::verify),
        Command::Change(wanted) => {
            let interrupt = Interrupt::new()?;
            let result = change(wanted, &interrupt);
            if let Err(error) = &result
                && interrupt.has_come()
            {
                tell(error);
                interrupt.end();
            }
            result
        }
    }
}

/// The commands that only read: of what is on this host, the image alone.
fn look(query: &Query, command: fn(&Query) -> Result<()>) -> Result<()> {
    let enter_sandbox = || {
        let source = open_path(&query.image.path, OFlag::O_PATH)?;
        sandbox::enter(&Needs { read: vec![source.as_fd()], ..Needs::default() })
    };
    let sandbox = if query.sandbox { enter_sandbox() } else { Ok(()) };
    sandbox.and_then(|()| command(query)).context(|| query.image.to_string())
}

/// The commands that write, of which a signal leaves nothing half done.
fn change(wanted: Change, interrupt: &Interrupt) -> Result<()> {
    match wanted {
        Change::Unpack(options) => {
            unpacking::unpack(&options, interrupt).context(|| options.image.to_string())
        }
        Change::Mount(bundle) => {
            overlay::mount(&bundle, interrupt).context(|| format!("mount {bundle:?}"))
        }
        Change::Umount(bundle) => overlay::umount(&bundle).context(|| format!("umount {bundle:?}")),
        Change::Remove(bundle) => {
            overlay::remove(&bundle, interrupt).context(|| format!("rm {bundle:?}"))
        }
        Change::Collect { store, dry_run } => {
            let garbage = collect::collect(&store, dry_run, interrupt)
                .context(|| format!("gc of {store:?}"))?;
            print(&garbage.to_string())
        }
    }
}

/// Writes to standard output.
///
/// # Errors
/// Those of write(2).
pub fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).call(|| "write(standard output)")
}

/// Writes one JSON document to standard output.
///
/// # Errors
/// Those of write(2).
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("strings, numbers and lists are JSON");
    print(&(text + "\n"))
}
