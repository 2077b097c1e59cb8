//! kill: runtime.md, "Kill".

use std::os::fd::AsFd;

use super::Global;
use super::start::find;
use crate::container::cgroup;
use crate::error::{Error, Result};
use crate::lifecycle::{Operation, Status, check};
use crate::state::{Container, check_id};
use crate::sys::process::{pidfd_open, pidfd_send_signal};

const SIGKILL: i32 = 9;

/// Sends a signal to the container process; with `all`, to every process of the container.
///
/// # Errors
/// "container does not exist", "container not running"; an unknown signal.
pub fn kill(global: &Global, id: &str, signal: &str, all: bool) -> Result<()> {
    let signal = parse_signal(signal)?;
    check_id(id)?;
    let container = find(global, id)?;
    let status = container.status()?;
    let allowed = check(Operation::Kill, status, id).map_err(Error::new);
    let shares_pids = !container.record.own_pid_namespace;
    // What is being created may not have its cgroup yet, but somebody else.
    let group = container.record.cgroup.as_ref().filter(|cgroup| match status {
        Status::Creating => false,
        Status::Stopped => container.record.may_have_left() && cgroup::is_current(cgroup),
        _ => true,
    });
    let group = group.map(|cgroup| cgroup.directory.as_str());
    match (all, group) {
        (true, Some(group)) if signal != SIGKILL => {
            let _lock = container.directory.lock_cgroup()?;
            return cgroup::signal(group, signal);
        }
        (true, Some(group)) => return cgroup::kill(group),
        // A container without processes has got the signal everywhere (runc).
        (true, None) if status == Status::Stopped => return Ok(()),
        // Its other processes outlive init, and nothing else ends them.
        (false, Some(group)) if signal == SIGKILL && shares_pids => {
            if allowed.is_ok() {
                send(&container, signal)?;
            } else if cgroup::list(group)?.is_empty() {
                return allowed;
            }
            return cgroup::kill(group);
        }
        _ => {}
    }
    allowed?;
    send(&container, signal)
}

fn send(container: &Container, signal: i32) -> Result<()> {
    let not_running = || Error::new("container not running");
    let init = pidfd_open(container.record.pid)?.ok_or_else(not_running)?;
    // The pid may have been reused before it was opened, but not after.
    if !container.is_alive()? {
        return Err(not_running());
    }
    pidfd_send_signal(init.as_fd(), signal)
}

/// A number (0 only asks whether the process is there), or a name with or without SIG, in any case; RTMIN+N and RTMAX-N too (signal(7)).
fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || Error::new(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    // The kernel's numbers: 34 is the first that a C library leaves to programs.
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest[1..].parse::<i32>().ok() };
    let real_time = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) if rest.is_empty() || rest.starts_with('+') => {
            offset(rest).map(|by| 34 + by)
        }
        (_, Some(rest)) if rest.is_empty() || rest.starts_with('-') => {
            offset(rest).map(|by| 64 - by)
        }
        _ => None,
    };
    if let Some(number) = real_time {
        return if (34..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        other => other,
    };
    format!("SIG{name}")
        .parse::<nix::sys::signal::Signal>()
        .map(|it| it as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn a_signal_has_many_spellings() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("hup", 1),
            ("SIGPOLL", 29),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("64", 64),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for text in ["", "65", "-1", "SIG", "NOPE", "RTMIN+31", "RTMAX+1", "RTMIN-1", "RTMIN+"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
