//! A FIFO between a container and its test: an event that is waited for.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::call;

/// A FIFO that the test holds open for reading and writing: its other side never waits, and never sees its end.
pub struct Fifo {
    fd: OwnedFd,
    path: PathBuf,
    rest: RefCell<String>,
}

impl Fifo {
    pub fn new(path: &Path) -> Self {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, Mode::from_raw_mode(0o666)).expect("mkfifo");
        let fd = rustix::fs::open(
            path,
            OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK,
            Mode::empty(),
        )
        .expect("open the fifo");
        // For users of the container too, whatever the umask.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o666)).expect("chmod the fifo");
        Self { fd, path: path.to_owned(), rest: RefCell::default() }
    }

    pub fn path(&self) -> String {
        self.path.to_str().expect("UTF-8").to_owned()
    }

    /// The next line, without its newline.
    pub fn line(&self) -> String {
        let mut rest = self.rest.borrow_mut();
        loop {
            if let Some((line, after)) = rest.split_once('\n') {
                let (line, after) = (line.to_owned(), after.to_owned());
                *rest = after;
                return line;
            }
            assert!(
                call::readable(&self.fd, call::limit()),
                "nothing came through {}; so far: {rest:?}",
                self.path.display()
            );
            let mut buffer = [0; 4096];
            let count = rustix::io::read(&self.fd, &mut buffer).expect("read the fifo");
            rest.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }

    /// Takes out what is there.
    pub fn drain(&self) {
        let mut buffer = [0; 4096];
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|count| count > 0) {}
    }

    /// Puts in lines until there is room for no more: the other side waits for this one.
    pub fn fill(&self, line: &str) {
        let line = format!("{line}\n");
        loop {
            match rustix::io::write(&self.fd, line.as_bytes()) {
                Err(rustix::io::Errno::AGAIN) => return,
                other => assert_eq!(other.expect("write the fifo"), line.len()),
            };
        }
    }

    /// For who only wants to know whether something has come.
    pub fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.fd)
    }

    /// Writes a line for the other side.
    pub fn send(&self, line: &str) {
        rustix::io::write(&self.fd, format!("{line}\n").as_bytes()).expect("write the fifo");
    }
}
