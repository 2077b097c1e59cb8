//! The floor that `hack/bench` measures beside the runtimes: what the kernel alone takes to run
//! a program in new namespaces and in its own rootfs. `floor ROOTFS PROGRAM ARGS...`.
//! No other mounts, no cgroup, no credentials, no state: it is a measure, not a runtime.
#![no_main]
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_long, c_ulong};
use std::ptr;

const NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// Exit status of anything that is not the program's own.
const FAILED: c_int = 125;

// `main` as C has it: the arguments come as execve(2) wants them, and Rust's runtime does not
// start, so nothing but the calls below is measured.
//
// SAFETY: nothing else is linked that defines `main`.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc < 3 {
        return FAILED;
    }
    let mut pidfd: c_int = -1;
    let mut args = libc::clone_args {
        flags: (NAMESPACES | libc::CLONE_PIDFD) as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    // SAFETY: without CLONE_VM this is fork(2), and no other thread runs that could hold a lock;
    // `pidfd` is the only memory that the kernel writes, and it outlives the call.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    if pid < 0 {
        return failed(c"clone3");
    }
    if pid > 0 {
        return wait(pidfd);
    }
    // SAFETY: argc is at least 3, and the kernel ends argv with a null pointer.
    let (rootfs, program) = unsafe { (*argv.add(1), argv.add(2)) };
    init(rootfs, program)
}

/// The child: its own rootfs, then the program. Returns only what failed.
fn init(rootfs: *const c_char, program: *const *const c_char) -> c_int {
    let here = c".".as_ptr();
    if mount(ptr::null(), c"/".as_ptr(), libc::MS_REC | libc::MS_SLAVE) != 0 {
        return failed(c"mount / rslave");
    }
    // pivot_root(2) wants a mount point.
    if mount(rootfs, rootfs, libc::MS_REC | libc::MS_BIND) != 0 {
        return failed(c"bind the rootfs");
    }
    // SAFETY: `rootfs` is an argument of this process: a C string that nobody changes.
    if unsafe { libc::chdir(rootfs) } != 0 {
        return failed(c"chdir to the rootfs");
    }
    // SAFETY: both arguments are the same C string constant.
    if unsafe { libc::syscall(libc::SYS_pivot_root, here, here) } as c_long != 0 {
        return failed(c"pivot_root");
    }
    // The old root lies over the new one, at "." (pivot_root(2), "pivot_root(".", ".")").
    // SAFETY: a C string constant.
    if unsafe { libc::umount2(here, libc::MNT_DETACH) } != 0 {
        return failed(c"umount the old root");
    }
    // SAFETY: a C string constant.
    if unsafe { libc::chdir(c"/".as_ptr()) } != 0 {
        return failed(c"chdir to /");
    }
    let environment: [*const c_char; 1] = [ptr::null()];
    // SAFETY: `program` is the rest of argv, which ends with a null pointer, as the environment
    // does.
    unsafe { libc::execve(*program, program, environment.as_ptr()) };
    failed(c"execve")
}

fn mount(source: *const c_char, target: *const c_char, flags: c_ulong) -> c_int {
    // SAFETY: both are C strings or null, as the flags allow; a bind or a change of propagation
    // reads neither type nor data (mount(2)).
    unsafe { libc::mount(source, target, ptr::null(), flags, ptr::null()) }
}

/// Waits for the child and returns its exit status.
fn wait(pidfd: c_int) -> c_int {
    // SAFETY: siginfo_t is integers and pointers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is a whole siginfo_t, and the kernel writes no more.
    if unsafe { libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &raw mut info, libc::WEXITED) }
        != 0
    {
        return failed(c"waitid");
    }
    if info.si_code != libc::CLD_EXITED {
        return FAILED;
    }
    // SAFETY: after waitid the fields of SIGCHLD are the ones that are set (waitid(2)).
    unsafe { info.si_status() }
}

fn failed(call: &std::ffi::CStr) -> c_int {
    // SAFETY: a C string; perror(3) reads errno of this thread.
    unsafe { libc::perror(call.as_ptr()) };
    FAILED
}
