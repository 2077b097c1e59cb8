//! exec: what a container sees of the process before it is the program. Each denial has its twin that succeeds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::bundle::{Bundle, Created};
use crate::call;
use crate::case::table;
use crate::exec::{run, waiting};
use crate::fifo::Fifo;

table!(Root, Busybox;
    cve_2016_9962_a_process_that_joins_shows_nothing[Speed, Program("python3"), Hull("runc 1.1.5 shows its memory map at times")],
    a_process_that_shows_something_is_found[Program("python3")],
    cve_2019_5736_the_runtime_cannot_be_written_through_exec,
    a_working_directory_through_a_descriptor_is_refused,
    a_program_through_a_descriptor_of_the_host_is_not_found,
    what_the_container_mounted_over_proc_is_not_written_to[Hull("runc 1.1.5 needs its own proc")],
    a_dev_pts_that_is_no_devpts_is_refused,
    a_passwd_file_that_is_a_fifo_does_not_hang[Hull("runc 1.1.5 hangs")],
);

/// A program of the container that looks at every new process as soon as its pid exists, until there is a file
/// /stop. Says when it looks at the first one that is not yet the program of the path given to it, and in the end what
/// it could see of those.
const SCANNER: &str = r#"
import ctypes, errno, os, sys
SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
program, ready, result = sys.argv[1:]
looked, seen = False, set()

def read(path):
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(65536)
    except OSError:
        return None

# Of a process that has ended, Linux 6.1 opens the file of a memory that is gone; nothing is read from it.
def shows_memory(path):
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(1) != b""
    except OSError as error:
        # Of mem: nothing is mapped at 0.
        return error.errno == errno.EIO

def joins(process):
    # The executable changes together with the memory, and before the process may be looked into.
    try:
        return os.readlink(process + "exe") != program
    except PermissionError:
        return True
    except OSError:
        return False

OWN = {file: read("/proc/self/" + file) for file in ("mountinfo", "net/dev", "net/unix")}

def look(pid):
    global looked
    process = "/proc/%d/" % pid
    arguments = read(process + "cmdline")
    if pid == os.getpid() or arguments is None or not joins(process):
        return
    if not looked:
        looked = True
        with open(ready, "w") as file:
            file.write("looked\n")
    # The program, as soon as it is one, may be seen: whether it was not is asked behind each look.
    for file, own in OWN.items():
        other = read(process + file)
        if other and other != own and joins(process):
            seen.add(file)
    if arguments.strip(b"\0") not in (b"", b"runc\0init") and joins(process):
        seen.add("cmdline")
    for file in ("mem", "environ", "maps"):
        if shows_memory(process + file) and joins(process):
            seen.add(file)
    for link in ("exe", "cwd", "root", "fd/0"):
        try:
            os.readlink(process + link)
            if joins(process):
                seen.add(link)
        except OSError:
            pass
    if joins(process) and libc.ptrace(SEIZE, pid, None, None) == 0:
        if joins(process):
            seen.add("ptrace")
        libc.ptrace(INTERRUPT, pid, None, None)
        try:
            os.waitpid(pid, WALL)
        except OSError:
            pass
        libc.ptrace(DETACH, pid, None, None)

with open(ready, "w") as file:
    file.write("ready\n")
newest_pid, last = os.open("/proc/loadavg", os.O_RDONLY), os.getpid()
stops = False
while not stops:
    # What was there before /stop is looked at behind it.
    stops = os.path.exists("/stop")
    for _ in range(500):
        newest = int(os.pread(newest_pid, 100, 0).split()[-1])
        # What is there still is looked at again.
        for pid in range(min(last + 1, newest), newest + 1):
            look(pid)
        last = newest
with open(result, "w") as file:
    file.write(" ".join(sorted(seen)) + "\n")
"#;

/// A container that scans, and how it says what it found.
pub fn scanner(program: &str) -> (Bundle, Fifo, Fifo) {
    let bundle = Bundle::new();
    let (ready, result) = (bundle.fifo("ready"), bundle.fifo("result"));
    bundle.write("scanner.py", SCANNER);
    let bundle = bundle.args(&["/usr/bin/python3", "/scanner.py", program, "/ready", "/result"]);
    (with_programs_of_host(bundle), ready, result)
}

/// With the programs of the host, which here are merged into /usr or are not.
pub fn with_programs_of_host(bundle: Bundle) -> Bundle {
    let bundle = bundle.mount("bind", "/usr", "/usr", &["rbind", "ro"]);
    ["lib", "lib64"].into_iter().fold(bundle, |bundle, name| {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(target) => {
                symlink(target, bundle.rootfs().join(name)).map(|()| bundle).expect("link")
            }
            Err(_) if path.is_dir() => {
                let path = path.to_str().expect("UTF-8");
                bundle.mount("bind", path, path, &["rbind", "ro"])
            }
            Err(_) => bundle,
        }
    })
}

/// What it saw.
pub fn found(bundle: &Bundle, result: &Fifo) -> String {
    bundle.write("stop", "");
    result.line()
}

// "The joining process shows the container neither its memory, nor its fds, nor its executable", nor the mounts, the
// network and the command line of the host.
fn cve_2016_9962_a_process_that_joins_shows_nothing() {
    let (bundle, ready, result) = scanner("/bin/true");
    run(&bundle);
    ready.line();
    let exec = || _ = bundle.exec(&["-e", "SECRET=1"], &["true"]).ok();
    (0..1000).for_each(|_| exec());
    // A busy machine may have let the scanner wait.
    let has_looked = || {
        exec();
        call::readable(ready.as_fd(), Duration::ZERO)
    };
    assert!(call::comes_true(has_looked), "no process was looked at before it was the program");
    assert_eq!(found(&bundle, &result), "");
}

// The twin: the scanner takes a program of another path for one that joins, and it may be seen.
fn a_process_that_shows_something_is_found() {
    let (bundle, ready, result) = scanner("/bin/true");
    run(&bundle);
    ready.line();
    bundle.exec_detached(&[], &["sleep", "1000"]);
    assert_eq!(found(&bundle, &result), "cmdline cwd environ exe fd/0 maps mem ptrace root");
}

// The rootfs replaces the program by one whose interpreter is the runtime, and keeps its executable open.
fn cve_2019_5736_the_runtime_cannot_be_written_through_exec() {
    let before = fs::read(call::runtime()).expect("read");
    let bundle = waiting();
    bundle.write_program("entry", "#!/proc/self/exe\n");
    run(&bundle);
    // The interpreter is the runtime, or its copy, as a program of the container: it does nothing of worth.
    let output = bundle.exec(&[], &["/entry"]);
    assert!(output.code != 0 || output.stdout.is_empty(), "{output}");
    let _ = bundle.exec(&[], &["/proc/self/exe", "--version"]);
    assert!(fs::read(call::runtime()).expect("read") == before, "the runtime has changed");
    let _ = bundle.exec(&[], &["/bin/true"]).ok();
}

/// CVE-2024-21626
fn a_working_directory_through_a_descriptor_is_refused() {
    let bundle = waiting();
    bundle.link("/proc/self/fd/7", "link");
    run(&bundle);
    for number in 3..15 {
        let output = bundle.exec(&["--cwd", &format!("/proc/self/fd/{number}")], &["pwd"]);
        let _ = output.not_executed();
    }
    let _ = bundle.exec(&["--cwd", "/link"], &["pwd"]).not_executed();
    let _ = bundle.exec(&["--cwd", "/proc/self/task"], &["true"]).ok();
}

fn a_program_through_a_descriptor_of_the_host_is_not_found() {
    let bundle = waiting();
    run(&bundle);
    for number in 3..15 {
        let path = format!("/proc/self/fd/{number}/../../bin/true");
        let _ = bundle.exec(&[], &[&path]).not_executed();
    }
    let _ = bundle.exec(&[], &["/proc/self/root/bin/true"]).ok();
}

/// CVE-2019-16884, CVE-2025-52881: with a tmpfs over /proc, whose files are the container's.
fn what_the_container_mounted_over_proc_is_not_written_to() {
    let bundle = waiting().without_mount("/proc").set("/process/oomScoreAdj", 300);
    let bundle = bundle.without("/linux/maskedPaths").without("/linux/readonlyPaths");
    for file in ["oom_score_adj", "attr/exec", "stat"] {
        bundle.write(&format!("proc/self/{file}"), "untouched");
    }
    let container = run(&bundle);
    let pid = bundle.exec_detached(&[], &["sleep", "2000"]);
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("oom_score_adj");
    assert_eq!(score, "300\n");
    for file in ["oom_score_adj", "attr/exec", "stat"] {
        assert_eq!(bundle.read(&format!("proc/self/{file}")), "untouched");
    }
    assert_eq!(container.proc("oom_score_adj"), "300\n");
}

fn a_dev_pts_that_is_no_devpts_is_refused() {
    let bundle = waiting().without_mount("/dev/pts");
    let container: Created<'_> = run(&bundle);
    let console = crate::terminal::Console::new(&bundle);
    let flags = ["-d", "-t", "--console-socket", &console.path];
    let _ = bundle.exec(&flags, &["true"]).not_executed();
    assert_eq!(bundle.processes(), [container.pid]);
    let _ = bundle.exec(&[], &["true"]).ok();
}

fn a_passwd_file_that_is_a_fifo_does_not_hang() {
    let bundle = waiting();
    run(&bundle);
    let _fifo = bundle.fifo("etc/passwd");
    let _ = bundle.exec_script(&["-u", "5"], "echo $HOME").ok().prints("/");
    let bundle = waiting().set("/process/user", json!({"uid": 5, "gid": 5}));
    let container = run(&bundle);
    assert_eq!(container.status_line("Uid"), "5\t5\t5\t5");
}
