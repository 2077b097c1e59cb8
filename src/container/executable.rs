//! Finds the program, as execvp(3) would, and sees whether it can be executed, so that `create`
//! says what is wrong and not `start`: config.md, "Process", args. In the words that docker and
//! podman turn into the exit codes 126 and 127.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::error::{Error, Result};

/// What execvp(3) searches when PATH is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The path of the program: `name` itself if it has a slash, else the first in PATH that can be
/// executed. Runs in the container, as its user.
///
/// # Errors
/// "executable file not found in $PATH", "no such file or directory", "permission denied", of a
/// directory "is a directory: permission denied", or that its interpreter is missing.
pub fn find(name: &str, env: &[String]) -> Result<CString> {
    let found =
        if name.contains('/') { check(name).map(|()| name.to_owned()) } else { search(name, env) };
    let path = found.map_err(|message| Error::new(format!("exec: {name:?}: {message}")))?;
    check_interpreter(&path).map_err(|message| Error::new(format!("exec: {name:?}: {message}")))?;
    Ok(CString::new(path).expect("the plan refuses NUL bytes"))
}

fn search(name: &str, env: &[String]) -> std::result::Result<String, String> {
    let path = env.iter().find_map(|entry| entry.strip_prefix("PATH="));
    let mut refused = None;
    for directory in path.unwrap_or(DEFAULT_PATH).split(':') {
        // An empty entry is the working directory (execvp(3)).
        let candidate = match directory {
            "" => format!("./{name}"),
            directory => format!("{directory}/{name}"),
        };
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            // Like execvp(3): look further, and if there is no other, this is what was wrong.
            Err(message) if message.contains("permission denied") => refused = Some(message),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| "executable file not found in $PATH".to_owned()))
}

/// Whether execve(2) would take the file.
fn check(path: &str) -> std::result::Result<(), String> {
    let lower = |errno: Errno| errno.desc().to_lowercase();
    let metadata = std::fs::metadata(path).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
        format!("stat {path}: {}", lower(errno))
    })?;
    if metadata.is_dir() {
        // The words of execve(2)'s EACCES too: docker before 23 and podman know only those for 126.
        return Err("is a directory: permission denied".to_owned());
    }
    if !metadata.is_file() {
        return Err("permission denied: not a regular file".to_owned());
    }
    // With the effective ids and capabilities, as execve(2) will have them.
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS).map_err(lower)
}

/// The interpreter is found by the kernel only at execve(2), and then the error names the program.
/// A program that may be executed and not read is left to the kernel.
fn check_interpreter(path: &str) -> std::result::Result<(), String> {
    let mut options = File::options();
    // It was a regular file a moment ago; if it is a FIFO now, nobody is waited for.
    options.read(true).custom_flags(libc_nonblock());
    let Ok(mut file) = options.open(path) else { return Ok(()) };
    // The table of segments is nearly always in the first page.
    let mut head = vec![0; 4096];
    let mut length = 0;
    while length < head.len() {
        match file.read(&mut head[length..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => length += more,
        }
    }
    let interpreter = script_interpreter(&head[..length]).or_else(|| {
        elf_interpreter(&head[..length], |buffer, offset| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            match head[..length].get(start..start.saturating_add(buffer.len())) {
                Some(bytes) => buffer.copy_from_slice(bytes),
                None => return file.read_exact_at(buffer, offset).is_ok(),
            }
            true
        })
    });
    let Some(interpreter) = interpreter else { return Ok(()) };
    let interpreter = Path::new(std::ffi::OsStr::from_bytes(&interpreter));
    if interpreter.exists() {
        return Ok(());
    }
    Err(format!("its interpreter {}: no such file or directory", interpreter.display()))
}

fn libc_nonblock() -> i32 {
    nix::fcntl::OFlag::O_NONBLOCK.bits()
}

/// execve(2), "Interpreter scripts".
fn script_interpreter(head: &[u8]) -> Option<Vec<u8>> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
    words.next().map(<[u8]>::to_vec)
}

/// The PT_INTERP segment (elf(5)) of a 64-bit or 32-bit little-endian program. Nothing else is
/// wrong with a file that is not understood here: the kernel will tell.
fn elf_interpreter(head: &[u8], read_at: impl Fn(&mut [u8], u64) -> bool) -> Option<Vec<u8>> {
    const PT_INTERP: u64 = 3;
    let number = |bytes: &[u8], at: usize, size: usize| -> Option<u64> {
        let bytes = bytes.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let is_64 = match head.get(..6)? {
        [0x7f, b'E', b'L', b'F', 2, 1] => true,
        [0x7f, b'E', b'L', b'F', 1, 1] => false,
        _ => return None,
    };
    // Where: the table's offset, the size and the number of its entries; in an entry, the offset
    // and the length of the segment.
    let (table, word) = if is_64 { ((32, 54, 56), 8) } else { ((28, 42, 44), 4) };
    let (offset_at, length_at) = if is_64 { (8, 32) } else { (4, 16) };
    let start = number(head, table.0, word)?;
    let size = number(head, table.1, 2)?;
    let count = number(head, table.2, 2)?.min(64);
    for index in 0..count {
        let mut entry = [0; 56];
        let entry = &mut entry[..usize::try_from(size.min(56)).ok()?];
        if !read_at(entry, start.checked_add(index * size)?) {
            return None;
        }
        if number(entry, 0, 4)? == PT_INTERP {
            let length = usize::try_from(number(entry, length_at, word)?.min(4096)).ok()?;
            let mut path = vec![0; length];
            if !read_at(&mut path, number(entry, offset_at, word)?) {
                return None;
            }
            path.truncate(path.iter().position(|byte| *byte == 0)?);
            return Some(path);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_its_interpreter_in_its_first_line() {
        for (head, expected) in [
            (&b"#!/bin/sh\nexit"[..], Some(&b"/bin/sh"[..])),
            (b"#! /usr/bin/env  python\n", Some(b"/usr/bin/env")),
            (b"#!\n", None),
            (b"\x7fELF", None),
        ] {
            assert_eq!(script_interpreter(head).as_deref(), expected);
        }
    }

    #[test]
    fn the_interpreter_of_this_very_program_is_there_if_it_has_one() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(check_interpreter(own.to_str().unwrap()), Ok(()));
    }

    #[test]
    fn a_truncated_program_is_left_to_the_kernel() {
        let mut head = [0; 64];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        head[32] = 64;
        (head[54], head[56]) = (56, 255);
        assert_eq!(elf_interpreter(&head, |_, _| false), None);
        assert_eq!(elf_interpreter(&head[..10], |_, _| true), None);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_that_engines_know() {
        let message =
            |name: &str| find(name, &["PATH=/nowhere".to_owned()]).unwrap_err().to_string();
        assert_eq!(message("none"), "exec: \"none\": executable file not found in $PATH");
        assert_eq!(message("/x/y"), "exec: \"/x/y\": stat /x/y: no such file or directory");
        assert_eq!(message("/"), "exec: \"/\": is a directory: permission denied");
        assert!(message("/dev/null").contains("permission denied"));
    }
}
