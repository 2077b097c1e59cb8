//! Descriptors that are passed on and those that are not: runtime-linux.md, "File descriptors"; `--preserve-fds`,
//! LISTEN_FDS, NOTIFY_SOCKET, `--pidfd-socket`; the session keyring.

use std::fs;
use std::os::unix::net::{UnixDatagram, UnixListener};

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::terminal::receive_fd;

table!(Root, Busybox;
    only_the_standard_streams_are_open,
    descriptors_of_the_caller_are_not_passed_on,
    a_created_container_holds_no_descriptor_of_the_host[Hull("runc 1.1.5 holds its state directory until start")],
    a_created_container_holds_no_descriptor_of_the_caller,
    preserved_descriptors_are_passed_on,
    preserved_descriptors_are_passed_on_by_create,
    a_descriptor_past_the_preserved_ones_is_not_passed_on,
    preserved_descriptors_that_are_not_there_are_refused[Hull("runc 1.1.5 passes its own")],
    listen_fds_are_passed_on_with_their_variables,
    listen_fds_of_another_process_are_not_passed_on,
    listen_fds_come_before_the_preserved_descriptors,
    the_notify_socket_is_reachable_from_the_container[Program("python3")],
    the_pidfd_socket_receives_the_process[Hull("runc 1.1.5 has no --pidfd-socket")],
    a_pidfd_socket_that_is_missing_fails_create[Hull("runc 1.1.5 has no --pidfd-socket")],
    the_session_keyring_is_new[File("/proc/keys")],
    no_new_keyring_keeps_that_of_the_caller[File("/proc/keys")],
    without_pivot_root_procfs_shows_no_more_than_it_is_to,
    no_pivot_still_isolates_the_root,
);

const OPEN: &str = "cd /proc/self/fd; for fd in *; do test -e $fd && echo $fd; done | tr '\\n' ' '";

/// The runtime called with these redirections of a shell.
fn with_redirections(bundle: Bundle, redirections: &str) -> Bundle {
    bundle.through(&["sh", "-c", &format!("exec \"$@\" {redirections}"), "sh"])
}

// "By default, only the stdin, stdout and stderr file descriptors are kept open for the application by the runtime."
fn only_the_standard_streams_are_open() {
    assert_eq!(open_once_running(Bundle::new(), &[]).len(), 3);
}

/// The descriptors of a program that runs: runc's start returns before it does.
fn open_once_running(bundle: Bundle, options: &[&str]) -> Vec<String> {
    let ready = bundle.fifo("ready");
    // In a subshell: the shell itself keeps a copy of its standard output for a moment.
    let bundle = bundle.script("(echo ready > /ready); exec sleep 1000");
    let container = bundle.create_with(options);
    bundle.start();
    ready.line();
    open_fds(container.pid)
        .iter()
        .map(|fd| format!("{fd} {}", container.proc_link(&format!("fd/{fd}"))))
        .collect()
}

fn open_fds(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd").flatten();
    let mut fds: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    fds.sort();
    fds
}

fn descriptors_of_the_caller_are_not_passed_on() {
    let bundle = with_redirections(Bundle::new(), "3< /etc/hostname 9< / 8> /dev/null");
    let bundle = bundle.script(OPEN);
    let output = bundle.run().ok();
    // The fourth is the directory that the shell's own glob reads.
    assert!(["0 1 2 ", "0 1 2 3 "].contains(&output.stdout.as_str()), "{output}");
}

fn a_created_container_holds_no_descriptor_of_the_host() {
    let bundle = Bundle::new();
    let container = bundle.create();
    let directories: Vec<_> = open_fds(container.pid)
        .iter()
        .map(|fd| container.proc_link(&format!("fd/{fd}")))
        .filter(|target| std::path::Path::new(target).is_dir())
        .collect();
    assert_eq!(directories, [""; 0]);
}

// It may wait for its start for ever; whoever reads the other end of a pipe of the caller would wait as long.
fn a_created_container_holds_no_descriptor_of_the_caller() {
    let bundle = with_redirections(Bundle::new(), "3< /etc/hostname 4< /etc/passwd 9> /dev/full");
    let container = bundle.create_with(&["--preserve-fds", "1"]);
    let names = |fd: &String| container.proc_link(&format!("fd/{fd}"));
    let open: Vec<_> = open_fds(container.pid).iter().map(names).collect();
    assert!(open.iter().any(|name| name == "/etc/hostname"), "{open:?}");
    assert!(!open.iter().any(|name| name == "/etc/passwd" || name == "/dev/full"), "{open:?}");
}

fn preserved_descriptors_are_passed_on() {
    let bundle = with_redirections(Bundle::new(), "3< /etc/passwd 4< /etc/group")
        .script("head -1 <&3; head -1 <&4");
    let first =
        |path| fs::read_to_string(path).expect("read").lines().next().expect("a line").to_owned();
    let expected = format!("{}\n{}", first("/etc/passwd"), first("/etc/group"));
    let _ = bundle.call_with("run", &["--preserve-fds", "2"]).finish().ok().prints(&expected);
}

fn preserved_descriptors_are_passed_on_by_create() {
    let fds = open_once_running(
        with_redirections(Bundle::new(), "3< /etc/passwd"),
        &["--preserve-fds=1"],
    );
    assert_eq!(fds[3..], ["3 /etc/passwd"]);
}

fn a_descriptor_past_the_preserved_ones_is_not_passed_on() {
    let bundle = with_redirections(Bundle::new(), "3< /etc/passwd 4< /etc/group 5< /");
    assert_eq!(open_once_running(bundle, &["--preserve-fds", "1"])[3..], ["3 /etc/passwd"]);
}

// runc#5474: a count larger than what was supplied passes the runtime's own descriptors.
fn preserved_descriptors_that_are_not_there_are_refused() {
    let bundle = with_redirections(Bundle::new(), "3< /etc/passwd 5< /etc/group");
    for count in ["2", "3", "100", "4294967295"] {
        for command in ["create", "run"] {
            let call = bundle.call_with(command, &["--preserve-fds", count]);
            let _ = call.finish().refused().names("preserve-fds");
        }
    }
    crate::lifecycle::assert_nothing_left(&bundle);
    // The first that is not there is one of the runtime's own, of its executable.
    for (redirections, count) in [("", "1"), ("3< /etc/passwd", "2"), ("4< /etc/passwd", "1")] {
        let bundle = with_redirections(Bundle::new(), redirections);
        let call = bundle.call_with("run", &["--preserve-fds", count]);
        let _ = call.finish().refused().names("preserve-fds");
    }
    let _ = bundle.try_create_with(&["--preserve-fds", "-1"]).refused();
    let _ = bundle.try_create_with(&["--preserve-fds", "x"]).refused();
    let _ = bundle.try_create_with(&["--preserve-fds", "1"]).ok();
}

/// The runtime called as systemd calls a socket-activated service, with `count` descriptors.
fn socket_activated(bundle: Bundle, count: u32, redirections: &str) -> Bundle {
    let script = format!("export LISTEN_FDS={count} LISTEN_PID=$$; exec \"$@\" {redirections}");
    bundle.through(&["sh", "-c", &script, "sh"])
}

// sd_listen_fds(3): LISTEN_PID is the process that gets them.
fn listen_fds_are_passed_on_with_their_variables() {
    let bundle = socket_activated(Bundle::new(), 2, "3< /etc/passwd 4< /etc/group");
    let bundle =
        bundle.script("echo $LISTEN_FDS $LISTEN_PID $$; head -c 4 <&3; echo; head -c 4 <&4");
    let output = bundle.run().ok();
    assert_eq!(output.lines(), ["2 1 1", "root", "root"]);
}

fn listen_fds_of_another_process_are_not_passed_on() {
    let bundle = with_redirections(Bundle::new(), "3< /etc/passwd")
        .script("echo x${LISTEN_FDS}x; test -e /proc/self/fd/3");
    let output =
        bundle.call_with("run", &[]).env("LISTEN_FDS", "1").env("LISTEN_PID", "1").finish();
    assert_eq!(output.lines()[0], "xx", "{output}");
}

fn listen_fds_come_before_the_preserved_descriptors() {
    let bundle =
        socket_activated(Bundle::new(), 1, "3< /etc/passwd 4< /etc/group 5< /etc/hostname");
    let bundle =
        bundle.script("echo $LISTEN_FDS; for fd in 3 4 5; do readlink /proc/self/fd/$fd; done");
    let output = bundle.call_with("run", &["--preserve-fds", "1"]).finish();
    assert_eq!(output.lines(), ["1", "/etc/passwd", "/etc/group"], "{output}");
}

// sd_notify(3) from inside: `READY=1` reaches the caller's socket.
fn the_notify_socket_is_reachable_from_the_container() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let path = bundle.beside("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("bind");
    let create = bundle.call_with("create", &[]).env("NOTIFY_SOCKET", &path).finish();
    let _ = create.ok();
    // `start` waits for READY=1 and forwards it.
    let start = bundle.call(&["start", bundle.id()]).env("NOTIFY_SOCKET", &path).begin();
    let pid =
        bundle.state()["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    // Nobody is told when `start` waits; the environment of the config is that of the program.
    let is_program = || {
        let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.contains("TERM=xterm\0") && environ.contains("NOTIFY_SOCKET=")
    };
    assert!(call::comes_true(is_program));
    let send = "import socket, sys\n\
                env = open(f'/proc/{sys.argv[1]}/environ').read()\n\
                name = [e for e in env.split(chr(0)) if e.startswith('NOTIFY_SOCKET=')][0].split('=', 1)[1]\n\
                s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                s.connect(f'/proc/{sys.argv[1]}/root' + name)\n\
                s.send(b'READY=1')\n";
    call::host(&["python3", "-c", send, &pid.to_string()]);
    assert!(call::readable(&socket, call::limit()), "nothing came through the notify socket");
    let mut buffer = [0; 1000];
    let count = socket.recv(&mut buffer).expect("recv");
    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
    assert!(text.contains("READY=1"), "{text}");
    let _ = start.finish().ok();
}

fn the_pidfd_socket_receives_the_process() {
    let bundle = Bundle::new().args(&["sleep", "1000"]);
    let path = bundle.beside("pidfd");
    let listener = UnixListener::bind(&path).expect("bind");
    let container = bundle.create_with(&["--pidfd-socket", path.to_str().expect("UTF-8")]);
    let (stream, _) = listener.accept().expect("accept");
    let (pidfd, _) = receive_fd(&stream);
    let info = fs::read_to_string(format!(
        "/proc/self/fdinfo/{}",
        std::os::fd::AsRawFd::as_raw_fd(&pidfd)
    ))
    .expect("fdinfo");
    assert!(
        info.lines().any(|line| line.split_whitespace().eq(["Pid:", &container.pid.to_string()])),
        "{info}"
    );
}

fn a_pidfd_socket_that_is_missing_fails_create() {
    let bundle = Bundle::new();
    let _ = bundle
        .try_create_with(&["--pidfd-socket", "/no/such/socket"])
        .refused()
        .says("no such file or directory");
    crate::lifecycle::assert_nothing_left(&bundle);
}

/// The keyrings that a container sees and that are named for it; keyctl is not in busybox.
fn own_keyrings(options: &[&str]) -> usize {
    let bundle = Bundle::new().without("/linux/maskedPaths").args(&["cat", "/proc/keys"]);
    let output = bundle.call_with("run", options).finish().ok();
    output
        .lines()
        .iter()
        .filter(|line| line.contains("keyring") && line.contains(bundle.id()))
        .count()
}

fn the_session_keyring_is_new() {
    assert_eq!(own_keyrings(&[]), 1);
}

fn no_new_keyring_keeps_that_of_the_caller() {
    assert_eq!(own_keyrings(&["--no-new-keyring"]), 0);
}

// The host's /proc, out of reach and yet mounted, lets the kernel mount one in which nothing is masked.
fn without_pivot_root_procfs_shows_no_more_than_it_is_to() {
    let script = "unshare -mrpf mount -t proc none /proc || echo refused";
    for options in [&[][..], &["--no-pivot"]] {
        let bundle = Bundle::new().script(script);
        let _ = bundle.call_with("run", options).finish().ok().prints("refused");
    }
    // The twin: where nothing is masked.
    let bundle = Bundle::new().script(script);
    let bundle = bundle.without("/linux/maskedPaths").without("/linux/readonlyPaths");
    let _ = bundle.run().ok().prints("");
}

fn no_pivot_still_isolates_the_root() {
    let bundle = Bundle::new()
        .script("ls /bin/busybox; ls / | grep -c -E '^(work|root|home)$'; ls -d /..//bin/busybox");
    let output = bundle.call_with("run", &["--no-pivot"]).finish().ok();
    assert_eq!(output.lines(), ["/bin/busybox", "0", "/..//bin/busybox"]);
}
