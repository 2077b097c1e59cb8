//! POSIX extended regular expressions, of the C library: regex(3).

use std::ffi::CString;
use std::mem::MaybeUninit;

use crate::error::{Error, Result};

/// A compiled expression.
pub struct Regex(libc::regex_t);

impl Regex {
    /// Compiles an expression.
    ///
    /// # Errors
    /// That it is none.
    pub fn new(pattern: &str) -> Result<Self> {
        let wrong = || Error::new(format!("{pattern:?} is no regular expression"));
        let text = CString::new(pattern).map_err(|_| wrong())?;
        let mut compiled = MaybeUninit::uninit();
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: a live C string, and room for the result.
        if unsafe { libc::regcomp(compiled.as_mut_ptr(), text.as_ptr(), flags) } != 0 {
            return Err(wrong());
        }
        // SAFETY: regcomp answered 0: the result is complete.
        Ok(Self(unsafe { compiled.assume_init() }))
    }

    /// Whether a part of the text matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the expression is compiled, the text is a live C string, no match is stored.
        unsafe { libc::regexec(&raw const self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: it was compiled, and is freed once.
        unsafe { libc::regfree(&raw mut self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::Regex;

    #[test]
    fn a_part_of_the_text_is_enough_unless_it_is_anchored() {
        assert!(Regex::new("^web-[0-9]+$").unwrap().matches("web-12"));
        assert!(!Regex::new("^web-[0-9]+$").unwrap().matches("web-12x"));
        assert!(Regex::new("b-1").unwrap().matches("web-12"));
        assert!(Regex::new("(").is_err());
    }
}
