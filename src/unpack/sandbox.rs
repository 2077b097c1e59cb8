//! What hostile input could make of this process: little. Before the first byte of an image is read it
//! gives up what reading and extracting do not need: capabilities, all files but the image, the
//! bundle in the making and the store (Landlock, since Linux 5.19), all system calls but those of a
//! list (seccomp), and every way to gain privileges. Of what lies beside the bundle it can still make
//! and remove directories, those that are empty: the bundle's gets its name there.
//!
//! All of it is the calling thread's and that of threads that it starts: so there must be no other.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;

use caps::Capability;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, Scope,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::error::{Error, Result};
use crate::sys::ids::{
    CapabilitySets, capset, limit_bounding_set, no_new_privs, permitted, set_ambient,
};

/// What is still needed.
#[derive(Default)]
pub struct Needs<'a> {
    /// Files, or directories with all below them, to read.
    pub read: Vec<BorrowedFd<'a>>,
    /// Directories to make anything in, and to remove it.
    pub write: Vec<BorrowedFd<'a>>,
    /// Directories in which a directory gets another name. Landlock's rules are of all that is below:
    /// there too, directories can be made, and empty ones removed.
    pub rename: Vec<BorrowedFd<'a>>,
    /// Files of others are made, with their attributes.
    pub extract: bool,
    /// Overlayfs's attributes in the first user namespace are read and written (`trusted.overlay.*`).
    pub trusted_attributes: bool,
}

/// Gives up what is not needed, for good.
///
/// # Errors
/// Those of the calls. A kernel without Landlock, or with an older one, is none.
pub fn enter(needs: &Needs<'_>) -> Result<()> {
    // 1. Capabilities, the bounding set first: clearing it needs one (capabilities(7)).
    limit_capabilities(capabilities(needs))?;
    // 2. No program gives back what is given up; seccomp(2) and Landlock want that too.
    no_new_privs()?;
    // 3. Files.
    restrict_files(needs).map_err(|error| Error::new(format!("landlock: {error}")))?;
    // 4. System calls: last, because the calls above are none of the list.
    for program in [no_clone3()?, only(&allowed())?] {
        seccompiler::apply_filter(&program)
            .map_err(|error| Error::new(format!("seccomp: {error}")))?;
    }
    Ok(())
}

fn capabilities(needs: &Needs<'_>) -> u64 {
    let extract: &[Capability] = &[
        Capability::CAP_CHOWN,
        Capability::CAP_DAC_OVERRIDE,
        Capability::CAP_FOWNER,
        // A set-group-ID bit stays when the group is another one than ours.
        Capability::CAP_FSETID,
        Capability::CAP_MKNOD,
        Capability::CAP_SETFCAP,
    ];
    // An image that an ordinary user saved is read by root as by cat(1).
    let read: &[Capability] = &[Capability::CAP_DAC_READ_SEARCH];
    let trusted: &[Capability] = &[Capability::CAP_SYS_ADMIN];
    let mut mask = 0;
    for (list, is_needed) in
        [(read, true), (extract, needs.extract), (trusted, needs.trusted_attributes)]
    {
        if is_needed {
            mask |= list.iter().fold(0, |mask, capability| mask | 1 << capability.index());
        }
    }
    mask
}

fn limit_capabilities(keep: u64) -> Result<()> {
    let have = permitted()?;
    // Without the right to, there is none to gain: no_new_privs sees to that.
    if have & 1 << Capability::CAP_SETPCAP.index() != 0 {
        limit_bounding_set(keep)?;
    }
    set_ambient(0)?;
    let keep = keep & have;
    let sets = CapabilitySets { effective: keep, permitted: keep, ..CapabilitySets::default() };
    capset(&sets)
}

/// The rights of Linux 6.12 and older; newer ones are only for what is not a file.
const RIGHTS: ABI = ABI::V6;

fn restrict_files(needs: &Needs<'_>) -> std::result::Result<(), landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_all(RIGHTS) & !(AccessFs::Execute | AccessFs::IoctlDev);
    let rename = AccessFs::MakeDir | AccessFs::RemoveDir;
    let lists: [(&[BorrowedFd<'_>], BitFlags<AccessFs>); 3] =
        [(&needs.read, read), (&needs.write, write), (&needs.rename, rename)];
    let mut ruleset = Ruleset::default()
        // Without this right, so before Linux 5.19, Landlock refuses every link and every rename from
        // one directory to another (landlock(7)): there it is not used.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::from_all(RIGHTS))?
        .scope(Scope::from_all(RIGHTS))?
        .create()?;
    for (directories, rights) in lists {
        for directory in directories {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, rights))?;
        }
    }
    ruleset.restrict_self().map(drop)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter that looks into arguments cannot look into clone3's, which are in memory. The C library
/// tries clone(2) when there is no such call. Of two filters that refuse, the newer one's error
/// number counts, so the list that follows has the call.
fn no_clone3() -> Result<BpfProgram> {
    let rules = Rules::from([(libc::SYS_clone3, Vec::new())]);
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()))
}

fn only(allowed: &Rules) -> Result<BpfProgram> {
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    compile(allowed.clone(), refuse, SeccompAction::Allow)
}

fn compile(rules: Rules, others: SeccompAction, these: SeccompAction) -> Result<BpfProgram> {
    let wrong = |error: seccompiler::BackendError| Error::new(format!("seccomp: {error}"));
    let architecture = std::env::consts::ARCH.try_into().map_err(wrong)?;
    let filter = SeccompFilter::new(rules, others, these, architecture).map_err(wrong)?;
    filter.try_into().map_err(wrong)
}

/// The calls that reading an image, extracting it and showing progress need, on any C library. None
/// that starts a program, makes a socket, traces, mounts, changes ids or namespaces, or loads code
/// into the kernel.
fn allowed() -> Rules {
    let mut rules: Rules = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    #[cfg(target_arch = "x86_64")]
    rules.extend(OLD_CALLS.iter().map(|call| (*call, Vec::new())));
    // A thread, and no process.
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    rules.insert(libc::SYS_clone, vec![first(0, SeccompCmpOp::MaskedEq(thread), thread)]);
    // The size of the terminal. Not TIOCSTI, by which one types for the caller.
    let ioctls = [libc::TIOCGWINSZ as u64, libc::TCGETS as u64];
    rules.insert(libc::SYS_ioctl, ioctls.map(|call| first(1, SeccompCmpOp::Eq, call)).into());
    let names = [libc::PR_SET_NAME, libc::PR_SET_VMA].map(i64::from);
    let names = names.map(|option| first(0, SeccompCmpOp::Eq, option.cast_unsigned()));
    rules.insert(libc::SYS_prctl, names.into());
    // Signals and limits are this process's: where it is root, others would be in reach. A thread's
    // number is the process's for the first one alone.
    let own = u64::from(std::process::id());
    for (call, process) in
        [(libc::SYS_tgkill, own), (libc::SYS_tkill, own), (libc::SYS_prlimit64, 0)]
    {
        rules.insert(call, vec![first(0, SeccompCmpOp::Eq, process)]);
    }
    rules
}

fn first(argument: u8, operator: SeccompCmpOp, value: u64) -> SeccompRule {
    // The kernel takes the lower half of a word for flags, requests and options.
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value);
    SeccompRule::new(vec![condition.expect("an argument of six")]).expect("one condition")
}

const CALLS: &[libc::c_long] = &[
    // Descriptors.
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    // Bytes.
    libc::SYS_copy_file_range,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_syncfs,
    libc::SYS_write,
    libc::SYS_writev,
    // Names.
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_linkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    // Attributes.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_newfstatat,
    // Where there is no setxattrat(2).
    libc::SYS_lsetxattr,
    SETXATTRAT,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_umask,
    libc::SYS_utimensat,
    // Memory.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Threads; clone(2) has a condition, and clone3 a filter of its own.
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_membarrier,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals; tgkill(2) and tkill(2) have a condition.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Who and when.
    libc::SYS_capget,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_uname,
];

/// Linux 6.13; the same number on all architectures that Rust has.
const SETXATTRAT: libc::c_long = 463;

/// Their successors have other names, and C libraries use these.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_gettimeofday,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_nanosleep,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_unlink,
];

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};

    use nix::errno::Errno;
    use nix::sys::resource::{Resource, getrlimit};

    use super::*;
    use crate::sys::limits::set_rlimit;

    struct Scratch(PathBuf);

    impl Scratch {
        /// With the directories `image`, `bundle` and `other`, a file in each.
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("hull-{name}-{}", std::process::id()));
            for directory in ["image", "bundle", "other"] {
                fs::create_dir_all(path.join(directory)).unwrap();
                fs::write(path.join(directory).join("file"), "text").unwrap();
            }
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// What a thread of its own answers, outside the sandbox and inside it: all of it is the thread's.
    fn both<T: Send>(scratch: &Path, ask: impl Fn(&Path) -> T + Sync) -> [T; 2] {
        std::thread::scope(|threads| {
            let outside = threads.spawn(|| ask(scratch)).join().unwrap();
            let inside = threads.spawn(|| {
                let open = |name: &str| File::open(scratch.join(name)).unwrap();
                let (image, bundle) = (open("image"), open("bundle"));
                enter(&Needs {
                    read: vec![image.as_fd()],
                    write: vec![bundle.as_fd()],
                    extract: true,
                    ..Needs::default()
                })
                .unwrap();
                ask(scratch)
            });
            [outside, inside.join().unwrap()]
        })
    }

    fn errno<T>(result: std::io::Result<T>) -> Option<Errno> {
        result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
    }

    #[test]
    fn no_program_is_executed() {
        let scratch = Scratch::new("sandbox-exec");
        let run = |_: &Path| errno(std::process::Command::new("/bin/true").status());
        assert_eq!(both(&scratch.0, run), [None, Some(Errno::EPERM)]);
    }

    #[test]
    fn no_socket_is_made() {
        let scratch = Scratch::new("sandbox-socket");
        let make = |_: &Path| errno(std::net::UdpSocket::bind("127.0.0.1:0"));
        assert_eq!(both(&scratch.0, make), [None, Some(Errno::EPERM)]);
        let pair = |_: &Path| errno(std::os::unix::net::UnixStream::pair());
        assert_eq!(both(&scratch.0, pair), [None, Some(Errno::EPERM)]);
    }

    #[test]
    fn nothing_is_mounted_and_no_namespace_is_made() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let scratch = Scratch::new("sandbox-mount");
        let unshare = |_: &Path| crate::sys::process::unshare(libc::CLONE_NEWNS as u64).is_ok();
        assert_eq!(both(&scratch.0, unshare), [true, false]);
        let open = |_: &Path| crate::sys::mount::fsopen("tmpfs").is_ok();
        assert_eq!(both(&scratch.0, open), [true, false]);
    }

    #[test]
    fn no_process_is_traced() {
        let scratch = Scratch::new("sandbox-trace");
        // Of one that does not exist, so that none is stopped.
        let seize = |_: &Path| {
            let pid = nix::unistd::Pid::from_raw(i32::MAX);
            let mut byte = [0];
            let here = &mut [std::io::IoSliceMut::new(&mut byte)];
            let there = [nix::sys::uio::RemoteIoVec { base: 4096, len: 1 }];
            nix::sys::uio::process_vm_readv(pid, here, &there).unwrap_err()
        };
        assert_eq!(both(&scratch.0, seize), [Errno::ESRCH, Errno::EPERM]);
    }

    #[test]
    fn limits_of_others_are_out_of_reach() {
        let scratch = Scratch::new("sandbox-limits");
        // Of a process that does not exist, so that none is changed.
        let set =
            |pid| move |_: &Path| set_rlimit(pid, 4, 0, 0).err().and_then(|error| error.errno());
        assert_eq!(both(&scratch.0, set(i32::MAX)), [Some(Errno::ESRCH), Some(Errno::EPERM)]);
        let own = |_: &Path| getrlimit(Resource::RLIMIT_CORE).err();
        assert_eq!(both(&scratch.0, own), [None, None]);
    }

    #[test]
    fn files_are_read_in_the_image_and_written_in_the_bundle() {
        let scratch = Scratch::new("sandbox-files");
        let read = |name: &'static str| move |path: &Path| errno(fs::read(path.join(name)));
        assert_eq!(both(&scratch.0, read("image/file")), [None, None]);
        assert_eq!(both(&scratch.0, read("bundle/file")), [None, None]);
        assert_eq!(both(&scratch.0, read("other/file")), [None, Some(Errno::EACCES)]);
        let write = |name: &'static str| move |path: &Path| errno(fs::write(path.join(name), "x"));
        assert_eq!(both(&scratch.0, write("bundle/new")), [None, None]);
        assert_eq!(both(&scratch.0, write("image/new")), [None, Some(Errno::EACCES)]);
        assert_eq!(both(&scratch.0, write("other/new")), [None, Some(Errno::EACCES)]);
    }

    #[test]
    fn capabilities_are_those_of_extraction() {
        let scratch = Scratch::new("sandbox-capabilities");
        let [outside, inside] = both(&scratch.0, |_| permitted().unwrap());
        let extract = capabilities(&Needs { extract: true, ..Needs::default() });
        assert_eq!(inside, outside & extract);
        assert_eq!(extract & 1 << Capability::CAP_SYS_ADMIN.index(), 0);
    }

    #[test]
    fn threads_are_started_and_processes_are_not() {
        let scratch = Scratch::new("sandbox-threads");
        let start = |_: &Path| std::thread::spawn(|| 7).join().unwrap();
        assert_eq!(both(&scratch.0, start), [7, 7]);
    }
}
