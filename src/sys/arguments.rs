//! The command line of this process, as any process that sees it reads it in /proc/PID/cmdline,
//! dumpable or not (proc_pid_cmdline(5)). It is in the process' own memory.

use super::proc::Procfs;
use crate::error::{Error, Result};

/// Fields 48 and 49 of /proc/PID/stat (proc_pid_stat(5)), counted from the one behind the name.
const ARG_START: usize = 45;

/// Overwrites it: paths of the runtime namespace, and what others may not know of the environment.
/// After this std::env::args tells nothing.
///
/// # Errors
/// Those of reading /proc/self/stat.
pub fn hide(procfs: &Procfs) -> Result<()> {
    let stat = procfs.read("self/stat")?;
    let (start, length) =
        place(&stat).ok_or_else(|| Error::new("/proc/self/stat: no arguments"))?;
    // SAFETY: the kernel tells where it has put the arguments of this program: writable memory at
    // the end of the stack, of which nobody holds a reference; std copies them when it is asked.
    unsafe { std::ptr::write_bytes(std::ptr::with_exposed_provenance_mut::<u8>(start), 0, length) };
    Ok(())
}

fn place(stat: &str) -> Option<(usize, usize)> {
    // The name may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(ARG_START);
    let [start, end] = [fields.next()?.parse().ok()?, fields.next()?.parse().ok()?];
    (start != 0 && start <= end).then_some((start, end - start))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_place_is_found_behind_any_name() {
        let line = |name: &str| format!("7 ({name}) S {} 100 110 120 0", "1 ".repeat(44).trim());
        assert_eq!(place(&line("a) 1 2 (b")), Some((100, 10)));
        assert_eq!(place("7 (a) S 1"), None);
    }

    #[test]
    fn what_is_hidden_is_no_longer_read() {
        let text = std::fs::read("/proc/self/stat")
            .map(|text| String::from_utf8_lossy(&text).into_owned());
        let (_, length) = place(&text.unwrap()).unwrap();
        assert_eq!(length, std::fs::read("/proc/self/cmdline").unwrap().len());
    }
}
