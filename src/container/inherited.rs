//! The descriptors that the program gets beside 0, 1 and 2: `--preserve-fds`, and those of socket
//! activation (sd_listen_fds(3)).

use crate::error::{Error, Result};
use crate::sys::process::{close_from, close_on_exec_from, is_open};
use crate::sys::seal::Sealed;

/// Descriptors from 3 on, which the caller of the runtime has opened.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// How many there are.
    pub count: u32,
    /// How many of them, the first, are for socket activation.
    listen_fds: u32,
}

impl Inherited {
    /// Counts them, before the runtime opens anything but `sealed`: with a number that is larger than
    /// what the caller gave, the program would get descriptors of the runtime (runc#5474). All others
    /// are closed: a process on its way to the program would hold them, and a created container may
    /// never come to its program. Hooks get none at all.
    ///
    /// # Errors
    /// That one of them is not open, or is `sealed`.
    pub fn take(preserve_fds: u32, sealed: &Sealed) -> Result<Self> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        // With another pid they were meant for another process, and are not ours.
        let is_ours = number("LISTEN_PID") == Some(std::process::id());
        let listen_fds = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
        Self::take_both(preserve_fds, listen_fds, sealed)
    }

    /// As [`Inherited::take`], for a program that is not the first of its container: the descriptors
    /// of socket activation are the first one's, and "1" is not its pid.
    ///
    /// # Errors
    /// As [`Inherited::take`].
    pub fn take_preserved(preserve_fds: u32, sealed: &Sealed) -> Result<Self> {
        Self::take_both(preserve_fds, 0, sealed)
    }

    fn take_both(preserve_fds: u32, listen_fds: u32, sealed: &Sealed) -> Result<Self> {
        let count = preserve_fds.saturating_add(listen_fds);
        for number in 3..count.saturating_add(3) {
            if !i32::try_from(number).is_ok_and(|fd| is_open(fd) && !sealed.is(fd)) {
                let what = format!("--preserve-fds {preserve_fds}, LISTEN_FDS {listen_fds}");
                return Err(Error::new(format!("{what}: descriptor {number} is not open")));
            }
        }
        close_from(count.saturating_add(3), sealed.descriptor())?;
        if count > 0 {
            close_on_exec_from(3)?;
        }
        Ok(Self { count, listen_fds })
    }

    /// What tells the program of the descriptors for socket activation. Its pid is 1 in a pid
    /// namespace of its own, and engines expect the same without one.
    #[must_use]
    pub fn env(&self) -> Vec<String> {
        match self.listen_fds {
            0 => Vec::new(),
            count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
        }
    }
}
