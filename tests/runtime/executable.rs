//! The runtime's own executable, which a container reaches as /proc/PID/exe of a program that is /proc/self/exe: it is
//! on a read-only mount, and that stays so (CVE-2019-5736).

use std::fs;

use serde_json::json;

use crate::bundle::Bundle;
use crate::call::{comes_true, find_program};
use crate::case::table;
use crate::exec::{run, waiting};
use crate::exec_security::with_programs_of_host;
use crate::fifo::Fifo;

table!(Root, Busybox, Program("python3");
    cve_2019_5736_the_mount_of_the_executable_stays_read_only_after_run,
    cve_2019_5736_the_mount_of_the_executable_stays_read_only_after_exec,
    cve_2019_5736_the_mount_of_the_executable_stays_read_only_while_a_hook_runs,
    a_mount_without_a_namespace_is_made_writable_while_a_descriptor_of_it_is_open,
);

/// Makes the mount writable that a process was executed from; says the error of mount_setattr(2), or "writable".
const REMOUNT: &str = r#"
import ctypes, errno, os, subprocess, sys
OPEN_TREE, MOUNT_SETATTR, AT_FDCWD, AT_EMPTY_PATH, CLONE, RDONLY = 428, 442, -100, 0x1000, 1, 1
libc = ctypes.CDLL(None, use_errno=True)

def mount_setattr(fd, attr_set, attr_clr):
    attr = (ctypes.c_uint64 * 4)(attr_set, attr_clr, 0, 0)
    if libc.syscall(MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH, attr, ctypes.sizeof(attr)) == 0:
        return "writable"
    return errno.errorcode[ctypes.get_errno()]

def make_writable(pid):
    fd = os.open("/proc/%s/exe" % pid, os.O_PATH)
    assert os.fstatvfs(fd).f_flag & os.ST_RDONLY
    return mount_setattr(fd, 0, RDONLY)

def is_the_runtime(pid):
    with open("/proc/%s/cmdline" % pid, "rb") as file:
        return file.read().startswith(b"/proc/self/exe\0")
"#;

/// Of the one process that is the runtime as a program of the container.
const OF_THE_RUNTIME: &str = r#"
[pid] = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_the_runtime(pid)]
print(make_writable(pid))
"#;

/// Of init, as a hook.
const OF_INIT: &str = r#"
import json
print(make_writable(json.load(sys.stdin)["pid"]), file=open(sys.argv[1], "w"))
"#;

/// Of a program on a mount that is the script's own, while it has a descriptor of that and when it has none.
const OF_ITS_OWN: &str = r#"
mount = libc.syscall(OPEN_TREE, AT_FDCWD, b"/usr/bin/sleep", CLONE | os.O_CLOEXEC)
mount_setattr(mount, RDONLY, 0)
path = "/proc/%d/fd/%d" % (os.getpid(), mount)
held, not_held = [subprocess.Popen(["sleep", "1000"], executable=path) for _ in range(2)]
print(make_writable(held.pid))
mount_setattr(mount, RDONLY, 0)
os.close(mount)
print(make_writable(not_held.pid))
held.kill(), not_held.kill()
"#;

/// A container that may do with its mounts what it likes, without a user namespace.
fn privileged(bundle: Bundle) -> Bundle {
    let all = json!(["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
    let sets = json!({"bounding": all, "effective": all, "permitted": all});
    let bundle = with_programs_of_host(bundle).set("/process/capabilities", sets);
    bundle.write("runtime.py", &format!("{REMOUNT}{OF_THE_RUNTIME}"));
    bundle.write("own.py", &format!("{REMOUNT}{OF_ITS_OWN}"));
    bundle
}

/// The program /proc/self/exe: the runtime, which waits until it can write to its log.
const RUNTIME: [&str; 5] = ["/proc/self/exe", "--log", "/log", "state", "nothing"];

fn full_log(bundle: &Bundle) -> Fifo {
    let log = bundle.fifo("log");
    log.fill("full");
    log
}

fn wait_for_the_runtime(bundle: &Bundle) {
    let is_the_runtime = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|arguments| arguments.starts_with("/proc/self/exe\0"))
    };
    assert!(comes_true(|| bundle.processes().iter().any(is_the_runtime)));
}

// The runtime that has executed it is there, and waits for its end: what it held open, it would hold still.
fn cve_2019_5736_the_mount_of_the_executable_stays_read_only_after_run() {
    let bundle = privileged(Bundle::new()).args(&RUNTIME);
    let log = full_log(&bundle);
    let runtime = bundle.begin();
    wait_for_the_runtime(&bundle);
    let _ = bundle.exec(&[], &["/usr/bin/python3", "/runtime.py"]).ok().prints("EINVAL");
    log.drain();
    let _ = runtime.finish().exits(1);
}

fn cve_2019_5736_the_mount_of_the_executable_stays_read_only_after_exec() {
    let bundle = privileged(waiting());
    let log = full_log(&bundle);
    run(&bundle);
    let runtime = bundle.exec_call(&[], &RUNTIME).begin();
    wait_for_the_runtime(&bundle);
    let _ = bundle.exec(&[], &["/usr/bin/python3", "/runtime.py"]).ok().prints("EINVAL");
    log.drain();
    let _ = runtime.finish().exits(1);
}

// The first program that can be the container's, if only by its hooks.
fn cve_2019_5736_the_mount_of_the_executable_stays_read_only_while_a_hook_runs() {
    let bundle = Bundle::new();
    let [script, result] = ["hook.py", "result"].map(|name| bundle.beside(name));
    fs::write(&script, format!("{REMOUNT}{OF_INIT}")).expect("write the hook");
    let python = find_program("python3").expect("python3 was found");
    let hook = json!([{"path": python, "args": ["python3", script, result]}]);
    let bundle = bundle.set("/hooks/createRuntime", hook);
    let _ = bundle.run().ok();
    assert_eq!(fs::read_to_string(result).expect("the hook has run"), "EINVAL\n");
}

// The twin, of the same container and the same calls.
fn a_mount_without_a_namespace_is_made_writable_while_a_descriptor_of_it_is_open() {
    let bundle = privileged(waiting());
    run(&bundle);
    let output = bundle.exec(&[], &["/usr/bin/python3", "/own.py"]).ok();
    assert_eq!(output.lines(), ["writable", "EINVAL"], "{output}");
}
