//! list: all containers below `--root`, as runc shows them.

use std::fmt::Write as _;

use super::Global;
use super::state::owner_name;
use crate::error::{Error, Result};
use crate::state::{Root, check_id};
use crate::sys::regex::Regex;

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With a header line, in columns.
    Table,
    /// An array of state objects.
    Json,
    /// Ids alone.
    Quiet,
}

/// Prints the containers, sorted by id.
///
/// # Errors
/// That a directory given with `--root` does not exist; those of reading it.
pub fn list(global: &Global, format: Format) -> Result<()> {
    let containers = containers(global)?;
    let mut text = String::new();
    match format {
        Format::Quiet => {
            for (container, ..) in &containers {
                text += &container.record.id;
                text.push('\n');
            }
        }
        Format::Json => {
            let states: Vec<_> = containers
                .iter()
                .map(|(container, status, owner)| container.record.state(*status, owner))
                .collect();
            text = serde_json::to_string(&states).expect("states are JSON") + "\n";
        }
        Format::Table => table(&mut text, &containers),
    }
    super::print(&text)
}

type Row = (crate::state::Container, crate::lifecycle::Status, String);

fn containers(global: &Global) -> Result<Vec<Row>> {
    let Some(root) = Root::open(&global.root)? else {
        if global.is_root_given {
            let message = format!("open({:?}): no such file or directory", global.root);
            return Err(Error::new(message));
        }
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for (id, uid) in root.ids()? {
        // Not ours, or deleted meanwhile: the others are listed all the same.
        if check_id(&id).is_err() {
            continue;
        }
        let Some(root) = Root::open(&global.root)? else { break };
        let Ok(container) = root.container(&id) else { continue };
        // Claimed a moment ago, or the directory of somebody else.
        if container.record.bundle.is_empty() {
            continue;
        }
        let Ok(status) = container.status() else { continue };
        rows.push((container, status, owner_name(uid)));
    }
    Ok(rows)
}

/// The columns of runc: at least 12 wide, three spaces between.
fn table(text: &mut String, rows: &[Row]) {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let cells = rows.iter().map(|(container, status, owner)| {
        let state = container.record.state(*status, owner);
        [state.id, &state.pid.to_string(), state.status, state.bundle, state.created, owner]
            .map(str::to_owned)
    });
    let lines: Vec<[String; 6]> = std::iter::once(header).chain(cells).collect();
    let width = |column: usize| {
        let longest = lines.iter().map(|line| line[column].len()).max().unwrap_or_default();
        (longest + 3).max(12)
    };
    let widths: Vec<usize> = (0..5).map(width).collect();
    for line in &lines {
        for (cell, width) in line.iter().zip(&widths) {
            write!(text, "{cell:width$}").expect("a String takes all");
        }
        text.push_str(&line[5]);
        text.push('\n');
    }
}

/// The ids that match a regular expression, sorted.
///
/// # Errors
/// That it is none; those of reading the directory.
pub fn matching(global: &Global, pattern: &str) -> Result<Vec<String>> {
    let regex = Regex::new(pattern)?;
    let Some(root) = Root::open(&global.root)? else { return Ok(Vec::new()) };
    let ids = root.ids()?.into_iter().map(|(id, _)| id);
    Ok(ids.filter(|id| check_id(id).is_ok() && regex.matches(id)).collect())
}
