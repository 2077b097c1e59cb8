//! Where messages go: `--log`, `--log-format`, `--log-level`. Engines read the file, take the
//! error from it, and some of them take nothing else: without being asked for more, the file gets
//! one record, the error that ended the command.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use crate::error::{Call, Result};
use crate::sys::clock;

/// How important a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What was planned, step by step.
    Debug,
    /// Something that the user should know, though the command goes on.
    Warning,
    /// What ended the command.
    Error,
}

/// What the command line says of messages.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The file; without one, standard error.
    pub file: Option<String>,
    /// JSON, one object a line; else text.
    pub is_json: bool,
    /// The least important level that is written. Without one: warnings on standard error, in
    /// a file errors alone.
    pub level: Option<Level>,
}

impl Log {
    /// Makes the file, so that a command whose error could not be told does not begin.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn check(&self) -> Result<()> {
        self.file.as_deref().map_or(Ok(()), |path| open(path).map(drop))
    }

    /// Writes a message, if its level is wanted. An error is written to standard error as well
    /// when it goes to a file: engines show that to their user.
    ///
    /// # Errors
    /// Those of opening and writing the file.
    pub fn write(&self, level: Level, message: &str) -> Result<()> {
        let default = if self.file.is_some() { Level::Error } else { Level::Warning };
        if level < self.level.unwrap_or(default) {
            return Ok(());
        }
        let Some(path) = &self.file else {
            print(&if self.is_json { json(level, message) } else { text(level, message) });
            return Ok(());
        };
        if level == Level::Error {
            print(&text(level, message));
        }
        let line = if self.is_json { json(level, message) } else { text(level, message) };
        open(path)?.write_all(line.as_bytes()).call(|| format!("write the log {path:?}"))
    }

    /// Writes what will be done, line by line, if that is wanted.
    ///
    /// # Errors
    /// As [`Log::write`].
    pub fn write_plan(&self, plan: &dyn Display) -> Result<()> {
        if self.level != Some(Level::Debug) {
            return Ok(());
        }
        plan.to_string().lines().try_for_each(|line| self.write(Level::Debug, line))
    }
}

fn open(path: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(0o644).open(path);
    file.call(|| format!("open the log {path:?}"))
}

fn print(line: &str) {
    // Nothing can be said about a standard error that is closed.
    std::io::stderr().write_all(line.as_bytes()).ok();
}

fn word(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn text(level: Level, message: &str) -> String {
    format!("{}: {message}\n", word(level))
}

/// The record of runc, which the engines decode.
fn json(level: Level, message: &str) -> String {
    let message = serde_json::Value::from(message);
    format!("{{\"level\":\"{}\",\"msg\":{message},\"time\":\"{}\"}}\n", word(level), clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_json_whatever_the_message_holds() {
        let line = json(Level::Error, "a \"b\"\n\u{1}c");
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "a \"b\"\n\u{1}c");
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
    }
}
