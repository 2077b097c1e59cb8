//! state: runtime.md, "Query State".

use super::Global;
use super::start::find;
use crate::error::Result;
use crate::state::check_id;

/// Prints the state object.
///
/// # Errors
/// "container does not exist".
pub fn state(global: &Global, id: &str) -> Result<()> {
    check_id(id)?;
    let container = find(global, id)?;
    let owner = owner_name(container.directory.owner()?);
    let state = container.record.state(container.status()?, &owner);
    let text = serde_json::to_string_pretty(&state).expect("a state is JSON");
    super::print(&(text + "\n"))
}

/// The name of a user of the host, or the number if there is no name (passwd(5)).
#[must_use]
pub fn owner_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = uid.to_string();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}
