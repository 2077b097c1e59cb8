//! execve(2), and what happens to a thread on the way there.

use std::ffi::CString;
use std::sync::atomic::AtomicI32;

use nix::errno::Errno;

/// When this thread ends, by whatever, the kernel writes 0 there (set_tid_address(2)).
pub fn clear_at_the_end(word: &'static AtomicI32) {
    // SAFETY: the kernel writes one word, which lives as long as the process.
    unsafe { libc::syscall(libc::SYS_set_tid_address, word.as_ptr()) };
}

/// A program and what it gets, in the kernel's form: nothing is left to be done but the call.
pub struct Executable {
    path: CString,
    texts: [Vec<CString>; 2],
    pointers: [Vec<*const libc::c_char>; 2],
}

// SAFETY: the pointers are to texts of the same structure, and nobody changes either.
unsafe impl Sync for Executable {}

impl Executable {
    /// Takes the texts; the pointers are to them.
    #[must_use]
    pub fn new(path: CString, args: Vec<CString>, env: Vec<CString>) -> Self {
        let texts = [args, env];
        let pointers = [0, 1].map(|list: usize| {
            let texts = texts[list].iter().map(|text| text.as_ptr());
            texts.chain(std::iter::once(std::ptr::null())).collect()
        });
        Self { path, texts, pointers }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &CString {
        &self.path
    }

    /// Becomes the program; returns only if that failed. Makes exactly one call.
    #[must_use]
    pub fn execve(&self) -> Errno {
        debug_assert!(self.texts.iter().zip(&self.pointers).all(|(a, b)| a.len() + 1 == b.len()));
        let [args, env] = &self.pointers;
        // SAFETY: both lists end with a null pointer, and the others are to C strings that live in
        // `texts`: the heap memory of each stays where it is when the vector moves.
        unsafe { libc::execve(self.path.as_ptr(), args.as_ptr(), env.as_ptr()) };
        Errno::last()
    }
}
