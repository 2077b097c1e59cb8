//! Which operation is allowed in which status: runtime.md, "State" and "Operations". One table.

/// Where a container is in its life (runtime.md, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// `create` has finished; the program was not started.
    Created,
    /// The program was started and has not ended.
    Running,
    /// Its processes were suspended; a status that the specification leaves to runtimes.
    Paused,
    /// The container process has ended.
    Stopped,
}

/// What is asked of a container that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Execute the program.
    Start,
    /// Execute another program.
    Exec,
    /// Send a signal.
    Kill,
    /// Remove what is left.
    Delete,
    /// End what runs, and remove what is left.
    ForceDelete,
    /// Suspend the processes.
    Pause,
    /// Let them go on.
    Resume,
    /// Change the limits.
    Update,
    /// Watch what is used, and whether memory ran out.
    Events,
}

impl Status {
    /// The specification's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether the operation is allowed; else why not, in the words of runc, which engines look for.
/// As with runc, a container that was never started may be deleted without force.
///
/// # Errors
/// The message.
pub fn check(operation: Operation, status: Status, id: &str) -> Result<(), String> {
    use Operation::{Delete, Events, Exec, ForceDelete, Kill, Pause, Resume, Start, Update};
    use Status::{Created, Creating, Paused, Running, Stopped};
    match (operation, status) {
        (Start | Delete, Created)
        | (Delete, Stopped)
        | (ForceDelete, _)
        | (Exec | Pause, Created | Running)
        | (Resume, Paused)
        | (Kill | Update | Events, Created | Running | Paused) => Ok(()),
        (Start, Running) => Err("cannot start an already running container".to_owned()),
        (Start, Stopped) => Err("cannot start a container that has stopped".to_owned()),
        (Start, Creating | Paused) => {
            Err(format!("cannot start a container in the {} state", status.word()))
        }
        (Exec, Stopped) => Err("cannot exec in a stopped container".to_owned()),
        (Exec, Creating) => Err("cannot exec in a container in the creating state".to_owned()),
        (Exec, Paused) => {
            let message = "cannot exec in a paused container (use --ignore-paused to override)";
            Err(message.to_owned())
        }
        (Kill | Update, Creating | Stopped) | (Pause, Creating | Paused | Stopped) => {
            Err("container not running".to_owned())
        }
        (Resume, Creating | Created | Running | Stopped) => Err("container not paused".to_owned()),
        (Events, Creating | Stopped) => Err(format!("container with id {id} is not running")),
        (Delete, Creating | Running | Paused) => {
            Err(format!("cannot delete container {id} that is not stopped: {}", status.word()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_specification() {
        use Operation::{Delete, Events, Exec, ForceDelete, Kill, Pause, Resume, Start, Update};
        let operations = [Start, Exec, Kill, Delete, ForceDelete, Pause, Resume, Update, Events];
        let rows = [
            (Status::Creating, [false, false, false, false, true, false, false, false, false]),
            (Status::Created, [true, true, true, true, true, true, false, true, true]),
            (Status::Running, [false, true, true, false, true, true, false, true, true]),
            (Status::Paused, [false, false, true, false, true, false, true, true, true]),
            (Status::Stopped, [false, false, false, true, true, false, false, false, false]),
        ];
        for (status, allowed) in rows {
            for (operation, allowed) in operations.into_iter().zip(allowed) {
                let result = check(operation, status, "web");
                assert_eq!(result.is_ok(), allowed, "{operation:?} {status:?}");
            }
        }
    }
}
