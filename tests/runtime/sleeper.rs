//! A process of the host that is no container's, and waits until it is killed.

use std::process::{Child, Command};

/// Ended when it is dropped.
pub struct Sleeper(Child);

impl Sleeper {
    pub fn new() -> Self {
        Self::begin(&["sleep", "1000"])
    }

    /// What else waits.
    pub fn begin(argv: &[&str]) -> Self {
        Self(Command::new(argv[0]).args(&argv[1..]).spawn().expect(argv[0]))
    }

    pub fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }

    /// Whether nobody has ended it.
    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
