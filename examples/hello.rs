//! The program that `hack/demo` puts into a container: it prints what it sees
//! there, and ends when it is told to.

use std::process::exit;
use std::{env, fs};

use nix::sys::signal::{SigSet, Signal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Blocked before anything is printed, so that a signal sent after the last
    // line waits for `wait`. Without this, process 1 of a pid namespace ignores
    // SIGTERM (pid_namespaces(7)).
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.thread_block()?;

    println!("hello: I am process {}", std::process::id());
    println!("hello: host name {}", fs::read_to_string("/proc/sys/kernel/hostname")?.trim());
    println!("hello: user {}", nix::unistd::getuid());
    println!("hello: arguments {:?}", env::args().collect::<Vec<_>>());
    println!("hello: mounts");
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let (mount_point, fstype) = mount(line).ok_or_else(|| format!("mountinfo: {line}"))?;
        println!("hello:     {mount_point} ({fstype})");
    }
    println!("hello: waiting for SIGTERM");

    let signal = signals.wait()?;
    println!("hello: {signal}, so I end");
    exit(0)
}

/// The mount point and the file system's type of a line of proc_pid_mountinfo(5).
fn mount(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(" - ")?;
    Some((before.split(' ').nth(4)?, after.split(' ').next()?))
}
