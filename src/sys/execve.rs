//! execve(2), and the end of a process that it did not change.

use std::ffi::CString;

use nix::errno::Errno;

/// A program and what it gets, in the kernel's form: nothing is left to be done but the call.
pub struct Executable {
    path: CString,
    texts: [Vec<CString>; 2],
    pointers: [Vec<*const libc::c_char>; 2],
}

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

/// Ends this process, whatever its filter says of exit_group(2): then by abort(3), whose last resort
/// is an instruction that ends even init. exit(3) would go on trying for ever.
pub fn end(status: u8) -> ! {
    // SAFETY: the call takes a number.
    unsafe { libc::syscall(libc::SYS_exit_group, libc::c_long::from(status)) };
    std::process::abort()
}
