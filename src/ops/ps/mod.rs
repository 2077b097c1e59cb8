//! ps: the processes of a container, as runc shows them: their pids as JSON, or the table of ps(1).
//! The table is made here, from /proc: a host need not have a ps, and of one that has, its ps would
//! list every process of the host first.

mod column;
mod process;

use std::fmt::Write as _;

use column::{Column, layout};
use process::{Host, Process};

use super::Global;
use super::pause::own_cgroup;
use super::start::find;
use crate::container::cgroup;
use crate::error::{Error, Result};
use crate::state::check_id;

/// How the processes are printed.
#[derive(Debug)]
pub enum Format {
    /// An array of pids.
    Json,
    /// A table, with the options of ps(1).
    Table(Vec<String>),
}

/// Prints the processes of a container, those of cgroups below its own too. One that has ended has
/// none.
///
/// # Errors
/// "container does not exist"; an option of the table that is not known here.
pub fn ps(global: &Global, id: &str, format: &Format) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    let pids = cgroup::list(&own_cgroup(&container)?.directory)?;
    let text = match format {
        Format::Json => serde_json::to_string(&pids).expect("numbers are JSON") + "\n",
        Format::Table(options) => {
            let columns = layout(options).map_err(Error::new)?;
            table(&columns, &pids)?
        }
    };
    super::print(&text)
}

fn table(columns: &[Column], pids: &[i32]) -> Result<String> {
    let host = Host::ask()?;
    let mut text = String::new();
    line(&mut text, columns, |column| column.header.clone());
    for pid in pids {
        // One that has ended since is none.
        if let Some(process) = Process::read(*pid)? {
            line(&mut text, columns, |column| column.value(&process, &host));
        }
    }
    Ok(text)
}

fn line(text: &mut String, columns: &[Column], cell: impl Fn(&Column) -> String) {
    for (index, column) in columns.iter().enumerate() {
        let separator = if index == 0 { "" } else { " " };
        // What a program says of itself must not reach the terminal as a command.
        let cell = cell(column).replace(char::is_control, "?");
        let width = column.width;
        let written = if column.right {
            write!(text, "{separator}{cell:>width$}")
        } else if index + 1 == columns.len() {
            write!(text, "{separator}{cell}")
        } else {
            write!(text, "{separator}{cell:width$}")
        };
        written.expect("a String takes all");
    }
    text.push('\n');
}
