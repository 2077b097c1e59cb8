//! The one error type: what was being done, to what, and why it did not work.
//! It is returned with context, never logged on the way, and printed once, by `lib.rs`.

use std::fmt;

use nix::errno::Errno;

/// The result of everything that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// What was being done (outermost first), and the cause.
#[derive(Debug)]
pub struct Error {
    /// Innermost first: each caller adds its own words at the end.
    context: Vec<String>,
    cause: String,
    errno: Option<Errno>,
}

impl Error {
    /// An error of the configuration, of the command line, or of a container's status.
    pub fn new(cause: impl Into<String>) -> Self {
        Self { context: Vec::new(), cause: cause.into(), errno: None }
    }

    /// A system call that failed, with its arguments as strace would print them.
    pub fn from_call(call: impl fmt::Display, errno: Errno) -> Self {
        Self { context: Vec::new(), cause: format!("{call}: {}", errno.desc()), errno: Some(errno) }
    }

    /// Something of the standard library that failed.
    pub fn from_io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::from_call(what, Errno::from_raw(number)),
            None => Self::new(format!("{what}: {error}")),
        }
    }

    /// The error number of the call that failed, if it was a call.
    pub fn errno(&self) -> Option<Errno> {
        self.errno
    }

    /// Adds what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.context.push(doing.into());
        self
    }
}

impl fmt::Display for Error {
    /// One line: a config or a file name may hold line breaks, and a log reader takes lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.context.iter().rev().chain([&self.cause]);
        for (i, part) in parts.enumerate() {
            if i > 0 {
                f.write_str(": ")?;
            }
            f.write_str(&part.replace(['\n', '\r'], " "))?;
        }
        Ok(())
    }
}

/// Adds context to a `Result`.
pub trait Context<T> {
    /// `doing` is computed only when there is an error.
    ///
    /// # Errors
    /// The error it was called on, with the context added.
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<S: Into<String>>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| error.context(doing()))
    }
}

/// Turns an error number into an [`Error`] that names the call.
pub trait Call<T> {
    /// `call` is the call with its arguments, computed only when there is an error.
    ///
    /// # Errors
    /// The error number it was called on, with the call.
    fn call<D: fmt::Display>(self, call: impl FnOnce() -> D) -> Result<T>;
}

impl<T> Call<T> for nix::Result<T> {
    fn call<D: fmt::Display>(self, call: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|errno| Error::from_call(call(), errno))
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call<D: fmt::Display>(self, call: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|error| Error::from_io(call(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outermost_context_comes_first_and_all_is_one_line() {
        let error: Result<()> = Err(Errno::ENOENT).call(|| "openat(3, \"a\nb\")");
        let error = error.context(|| "mounts[4]").context(|| "create \"web\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "create \"web\": mounts[4]: openat(3, \"a b\"): No such file or directory"
        );
        assert_eq!(error.errno(), Some(Errno::ENOENT));
    }
}
