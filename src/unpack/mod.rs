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
use std::process::ExitCode;

use self::cli::{Command, Parsed};
use self::interrupt::Interrupt;
use self::store::{collect, overlay};
use crate::error::{Call, Context, Result};

/// The unpacker: reads the command line, does what is asked, prints what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let result = match cli::parse(std::env::args_os()) {
        Parsed::Command(command) => execute(command),
        Parsed::Print(text) => print(&text),
        Parsed::Wrong(message) => {
            eprintln!("error: {}", message.trim_end());
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What an image says goes to a terminal too.
            eprintln!("error: {}", text::printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    match command {
        Command::List(query) => list::list(&query).context(|| query.image.to_string()),
        Command::Inspect(query) => inspect::inspect(&query).context(|| query.image.to_string()),
        Command::Verify(query) => verify::verify(&query).context(|| query.image.to_string()),
        command => {
            let interrupt = Interrupt::new()?;
            let result = change(command, &interrupt);
            if let Err(error) = &result
                && interrupt.has_come()
            {
                eprintln!("error: {error}");
                interrupt.end();
            }
            result
        }
    }
}

/// The commands that write, of which a signal leaves nothing half done.
fn change(command: Command, interrupt: &Interrupt) -> Result<()> {
    match command {
        Command::Unpack(options) => {
            unpacking::unpack(&options, interrupt).context(|| options.image.to_string())
        }
        Command::Mount(bundle) => {
            overlay::mount(&bundle, interrupt).context(|| format!("mount {bundle:?}"))
        }
        Command::Umount(bundle) => {
            overlay::umount(&bundle).map(drop).context(|| format!("umount {bundle:?}"))
        }
        Command::Remove(bundle) => {
            overlay::remove(&bundle, interrupt).context(|| format!("rm {bundle:?}"))
        }
        Command::Collect { store, dry_run } => {
            let garbage = collect::collect(&store, dry_run, interrupt)
                .context(|| format!("gc of {store:?}"))?;
            print(&garbage.to_string())
        }
        Command::List(_) | Command::Inspect(_) | Command::Verify(_) => Ok(()),
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
