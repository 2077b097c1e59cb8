//! Other values for a cgroup in use: all of them, or none. The kernel has no such call, so what was
//! there is read first and written back when something is refused.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::file::{self, write};
use super::{controllers, devices, settings};
use crate::error::{Context, Error, Result};
use crate::plan::cgroup::Cgroup;
use crate::plan::resources::{Missing, Resources, Setting};
use crate::plan::update::Now;

/// What the plan of an update needs to know.
///
/// # Errors
/// Those of reading the files, other than that one is not there.
pub fn now(cgroup: BorrowedFd<'_>) -> Result<Now> {
    let number = |file: &str| -> Result<Option<i64>> {
        let text =
            read(cgroup, file).map_err(|it| Error::from_call(format!("read({file})"), it))?;
        // Of cpu.max the first word is the quota.
        let word = text.as_deref().and_then(|text| text.split_ascii_whitespace().next());
        Ok(word.and_then(|word| if word == "max" { Some(-1) } else { word.parse().ok() }))
    };
    Ok(Now {
        quota: number("cpu.max")?,
        memory: number("memory.max")?,
        swap: number("memory.swap.max")?,
        memory_in_use: number("memory.current")?.map(i64::unsigned_abs),
    })
}

/// Writes all values, has `tell` tell them to who else keeps them, and puts the device rules in their
/// place; or writes back what was there, and has that told. A cgroup that lacks a controller gets it.
///
/// # Errors
/// The place in the document, the file, the value and what the kernel says of them; that of `tell`;
/// what could not be written back.
pub fn change(
    cgroup: BorrowedFd<'_>,
    of: &Cgroup,
    plan: &Resources,
    tell: impl Fn() -> Result<()>,
) -> Result<()> {
    controllers::enable(cgroup, of, &plan.controllers())?;
    // What may go wrong with the rules goes wrong before anything is changed.
    let has_rules = plan.devices.are_asked_for;
    let rules = if has_rules { devices::load(&plan.devices).context(|| "/devices")? } else { None };
    let mut before = Vec::new();
    for setting in &plan.settings {
        before.push(
            undo(cgroup, setting).map_err(|it| settings::wrong("", &of.directory, setting, it))?,
        );
    }
    let mut written = Vec::new();
    let mut is_told = false;
    let result = settings::write_each(cgroup, &plan.settings, |index| written.push(index))
        .map_err(|(setting, errno)| settings::wrong("", &of.directory, &setting, errno))
        .and_then(|()| tell())
        .and_then(|()| {
            is_told = true;
            // Last: what the rules were cannot be read, and so not be written back.
            if has_rules {
                devices::replace(cgroup, rules.as_ref().map(AsFd::as_fd))
            } else {
                Ok(())
            }
        });
    let Err(mut error) = result else { return Ok(()) };
    // The last one first: what had to grow first has to shrink last.
    for (file, value) in written.into_iter().rev().flat_map(|index| &before[index]) {
        if let Err(errno) = write(cgroup, file, value) {
            let call = format!("write(\"{}/{file}\", {value:?})", of.directory);
            let why = Error::from_call(call, errno);
            error = error.context(format!("{file} stays changed ({why}), because"));
        }
    }
    if is_told && let Err(why) = tell() {
        error = error.context(format!("systemd keeps what it was told ({why}), because"));
    }
    Err(error)
}

/// What undoes a setting: lines for files, in their order.
fn undo(cgroup: BorrowedFd<'_>, setting: &Setting) -> nix::Result<Vec<(String, String)>> {
    let (file, value) = match (&setting.missing, read(cgroup, &setting.file)?) {
        (_, Some(text)) => return with_weight(cgroup, &setting.file, &setting.value, &text),
        (Missing::Instead(file, value), None) => ((*file).to_owned(), value),
        (_, None) => return Ok(Vec::new()),
    };
    match read(cgroup, &file)? {
        Some(text) => with_weight(cgroup, &file, value, &text),
        None => Ok(Vec::new()),
    }
}

/// The weight of an idle cgroup is not kept for when it is not idle any more (sched/fair.c).
fn with_weight(
    cgroup: BorrowedFd<'_>,
    file: &str,
    value: &str,
    text: &str,
) -> nix::Result<Vec<(String, String)>> {
    let mut lines = vec![(file.to_owned(), old_line(file, value, text))];
    if file == "cpu.idle" && text.trim_end() == "0" {
        let weight = read(cgroup, "cpu.weight")?;
        lines.extend(weight.map(|weight| ("cpu.weight".to_owned(), weight.trim_end().to_owned())));
    }
    Ok(lines)
}

/// What to write so that the file has `text` again after `value` was written: the whole of it, or the
/// line of a device, or the end of one ("nested keyed" and per-device files, cgroup-v2.rst).
fn old_line(file: &str, value: &str, text: &str) -> String {
    let key = value.split(' ').next().unwrap_or_default();
    let is_device = key.contains(':') || file == "rdma.max";
    let line = text.lines().find(|line| line.split(' ').next() == Some(key));
    match (is_device, line, file) {
        (true, Some(line), _) => line.to_owned(),
        (true, None, "io.max") => format!("{key} rbps=max wbps=max riops=max wiops=max"),
        (true, None, _) => format!("{key} default"),
        // Their first line is the one of all devices.
        (false, _, "io.weight" | "io.bfq.weight") => {
            text.lines().next().unwrap_or_default().to_owned()
        }
        // As `echo > cpuset.cpus`: the value of the cgroup above.
        (false, ..) if text.trim().is_empty() => "\n".to_owned(),
        (false, ..) => text.trim_end().to_owned(),
    }
}

/// The text of an interface file; `None` if there is none, or none that can be read: such a file
/// holds no value either.
fn read(cgroup: BorrowedFd<'_>, file: &str) -> nix::Result<Option<String>> {
    match file::read_if_there(cgroup, file) {
        Err(Errno::EACCES | Errno::EINVAL) => Ok(None),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::old_line;

    #[test]
    fn what_was_there_is_written_in_the_way_of_its_file() {
        let io = "8:0 rbps=1048576 wbps=max riops=max wiops=max\n";
        let weights = "default 100\n8:0 50\n";
        for (file, value, text, expected) in [
            ("memory.max", "5", "max\n", "max"),
            ("cpu.max", "5 6", "max 100000\n", "max 100000"),
            ("cpuset.cpus", "0", "\n", "\n"),
            ("cpuset.cpus", "0", "0-1\n", "0-1"),
            ("io.max", "8:0 wbps=5", io, "8:0 rbps=1048576 wbps=max riops=max wiops=max"),
            ("io.max", "8:16 wbps=5", io, "8:16 rbps=max wbps=max riops=max wiops=max"),
            ("io.weight", "200", weights, "default 100"),
            ("io.weight", "8:0 70", weights, "8:0 50"),
            ("io.weight", "8:16 70", weights, "8:16 default"),
            (
                "rdma.max",
                "mlx hca_handle=2",
                "mlx hca_handle=max hca_object=7\n",
                "mlx hca_handle=max hca_object=7",
            ),
        ] {
            assert_eq!(old_line(file, value, text), expected, "{file} {value}");
        }
    }
}
