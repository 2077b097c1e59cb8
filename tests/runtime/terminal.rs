//! The terminal: config.md, `process.terminal`, `process.consoleSize`; `--console-socket`; a foreground `run`.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::Winsize;
use serde_json::json;

use crate::bundle::Bundle;
use crate::call;
use crate::case::table;
use crate::exec::{run, waiting};

table!(Root, Busybox;
    the_console_socket_receives_the_terminal,
    the_payload_of_the_console_socket_names_the_terminal,
    the_program_has_the_terminal_on_all_three_streams,
    the_terminal_is_the_controlling_one,
    dev_console_is_the_terminal,
    the_console_size_is_set,
    the_console_size_is_ignored_without_a_terminal,
    a_resize_reaches_the_program,
    the_terminal_belongs_to_the_user,
    input_reaches_the_program,
    without_a_terminal_there_is_no_dev_console,
    create_with_a_terminal_needs_a_console_socket,
    run_detached_with_a_terminal_needs_a_console_socket,
    a_console_socket_without_a_terminal_is_refused,
    a_console_socket_that_is_missing_is_refused,
    a_console_socket_where_nobody_listens_is_refused,
    run_detached_sends_the_terminal,
    run_in_the_foreground_passes_the_terminal_through[Program("setsid")],
    run_in_the_foreground_leaves_line_feeds_as_they_are,
    run_in_the_foreground_makes_the_callers_terminal_raw_and_restores_it[Program("setsid")],
    run_in_the_foreground_takes_over_the_size_and_its_changes[Program("setsid")],
    output_that_does_not_end_is_not_waited_for[Hull("runc 1.1.5 waits for it")],
);

/// A socket that waits for a terminal.
pub struct Console {
    listener: UnixListener,
    pub path: String,
}

impl Console {
    pub fn new(bundle: &Bundle) -> Self {
        let path = bundle.beside("console").to_str().expect("UTF-8").to_owned();
        Self { listener: UnixListener::bind(&path).expect("bind"), path }
    }

    /// The terminal's other side and the payload that came with it.
    pub fn receive(&self) -> (OwnedFd, String) {
        assert!(
            call::readable(&self.listener, call::limit()),
            "nobody connected to the console socket"
        );
        let (stream, _) = self.listener.accept().expect("accept");
        receive_fd(&stream)
    }
}

/// Nobody listens any more: not even a child of another test, which has the descriptor until its execve(2).
pub fn stop_listening(listener: UnixListener) {
    rustix::net::shutdown(listener, rustix::net::Shutdown::Both).expect("shutdown");
}

/// A descriptor and its payload from a socket.
pub fn receive_fd(stream: &UnixStream) -> (OwnedFd, String) {
    assert!(call::readable(stream, call::limit()), "nothing came through the socket");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 4096];
    let mut pieces = [std::io::IoSliceMut::new(&mut buffer)];
    let received = rustix::net::recvmsg(stream, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("recvmsg");
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    assert_eq!(fds.len(), 1, "one descriptor");
    let payload = String::from_utf8_lossy(&buffer[..received.bytes]).into_owned();
    (fds.remove(0), payload)
}

/// What comes out of a terminal until `end`, without carriage returns.
pub fn read_until(terminal: impl AsFd, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        assert!(call::readable(&terminal, call::limit()), "{end:?} did not come; so far: {text:?}");
        let mut buffer = [0; 4096];
        match rustix::io::read(&terminal, &mut buffer) {
            // EIO: the last descriptor of the other side is closed.
            Ok(0) | Err(rustix::io::Errno::IO) => panic!("{end:?} did not come: {text:?}"),
            Ok(count) => {
                text.push_str(&String::from_utf8_lossy(&buffer[..count]).replace('\r', ""))
            }
            Err(error) => panic!("read: {error}"),
        }
    }
    text
}

fn with_terminal(script: &str) -> Bundle {
    Bundle::new().set("/process/terminal", true).script(script)
}

/// What a container with a terminal writes until it writes `END`.
fn written(bundle: Bundle) -> String {
    let console = Console::new(&bundle);
    bundle.create_with(&["--console-socket", &console.path]);
    let (terminal, _) = console.receive();
    bundle.start();
    let text = read_until(&terminal, "END\n");
    text.trim_end_matches("END\n").to_owned()
}

fn the_console_socket_receives_the_terminal() {
    let bundle = with_terminal("echo hello; sleep 1000");
    let console = Console::new(&bundle);
    bundle.create_with(&["--console-socket", &console.path]);
    let (terminal, _) = console.receive();
    assert!(rustix::termios::isatty(&terminal));
    bundle.start();
    read_until(&terminal, "hello\n");
}

fn the_payload_of_the_console_socket_names_the_terminal() {
    let bundle = with_terminal("true");
    let console = Console::new(&bundle);
    bundle.create_with(&["--console-socket", &console.path]);
    let (_, payload) = console.receive();
    assert!(payload.contains("ptmx") || payload.contains("pts"), "{payload:?}");
}

// "a pseudoterminal pair is allocated for the process and the pseudoterminal pty is duplicated on the process's
// standard streams."
fn the_program_has_the_terminal_on_all_three_streams() {
    let script = "test -t 0 && test -t 1 && test -t 2 && tty && for n in 0 1 2; do readlink /proc/self/fd/$n; done; echo END";
    let text = written(with_terminal(script));
    assert_eq!(text, "/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n/dev/pts/0\n");
}

fn the_terminal_is_the_controlling_one() {
    let text = written(with_terminal(
        "echo to the tty > /dev/tty; cut -d' ' -f6,7,8 /proc/self/stat; echo END",
    ));
    // Session 1, terminal 136:0.
    assert!(text.contains("to the tty\n") && text.contains("1 34816 "), "{text}");
}

// "/dev/console is set up if terminal is enabled in the config by bind mounting the pseudoterminal pty to
// /dev/console."
fn dev_console_is_the_terminal() {
    let script = "stat -c %t:%T /dev/console; stat -c %F /dev/console; echo console > /dev/console; echo END";
    let text = written(with_terminal(script));
    assert_eq!(text, "88:0\ncharacter special file\nconsole\n");
}

// "consoleSize specifies the console size in characters of the terminal."
fn the_console_size_is_set() {
    let bundle = with_terminal("stty size; echo END")
        .set("/process/consoleSize", json!({"height": 33, "width": 111}));
    assert_eq!(written(bundle), "33 111\n");
}

// "Runtimes MUST ignore consoleSize if terminal is false or unset."
fn the_console_size_is_ignored_without_a_terminal() {
    let bundle = Bundle::new().set("/process/consoleSize", json!({"height": 33, "width": 111}));
    let _ = bundle.run().ok();
}

fn a_resize_reaches_the_program() {
    let bundle = with_terminal(
        "trap 'stty size; echo END; exit' WINCH; echo ready; while :; do sleep 1000 & wait; done",
    );
    let console = Console::new(&bundle);
    bundle.create_with(&["--console-socket", &console.path]);
    let (terminal, _) = console.receive();
    bundle.start();
    read_until(&terminal, "ready\n");
    let size = Winsize { ws_row: 44, ws_col: 55, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).expect("resize");
    assert_eq!(read_until(&terminal, "END\n"), "44 55\nEND\n");
}

fn the_terminal_belongs_to_the_user() {
    let bundle = with_terminal("stat -c %u /dev/pts/0; echo written > /dev/pts/0; echo END");
    let bundle = bundle.set("/process/user", json!({"uid": 1001, "gid": 1001}));
    assert_eq!(written(bundle), "1001\nwritten\n");
}

fn input_reaches_the_program() {
    let bundle = with_terminal("stty -echo; echo ready; read line; echo got $line; echo END");
    let console = Console::new(&bundle);
    bundle.create_with(&["--console-socket", &console.path]);
    let (terminal, _) = console.receive();
    bundle.start();
    read_until(&terminal, "ready\n");
    rustix::io::write(&terminal, b"a line\n").expect("write");
    assert_eq!(read_until(&terminal, "END\n"), "got a line\nEND\n");
}

fn without_a_terminal_there_is_no_dev_console() {
    let _ = Bundle::new().args(&["ls", "/dev/console"]).run().exits(1);
}

fn create_with_a_terminal_needs_a_console_socket() {
    let _ = with_terminal("true").try_create().refused().says("console socket");
}

fn run_detached_with_a_terminal_needs_a_console_socket() {
    let bundle = with_terminal("true");
    let _ = bundle.call_with("run", &["--detach"]).finish().refused().says("console socket");
}

fn a_console_socket_without_a_terminal_is_refused() {
    let bundle = Bundle::new();
    let console = Console::new(&bundle);
    let _ = bundle
        .try_create_with(&["--console-socket", &console.path])
        .refused()
        .says("console socket");
}

fn a_console_socket_that_is_missing_is_refused() {
    let bundle = with_terminal("true");
    let _ = bundle
        .try_create_with(&["--console-socket", "/no/such/socket"])
        .refused()
        .says("no such file or directory");
    crate::lifecycle::assert_nothing_left(&bundle);
}

fn a_console_socket_where_nobody_listens_is_refused() {
    let bundle = with_terminal("true");
    let console = Console::new(&bundle);
    let path = console.path.clone();
    stop_listening(console.listener);
    let _ =
        bundle.try_create_with(&["--console-socket", &path]).refused().says("connection refused");
    crate::lifecycle::assert_nothing_left(&bundle);
}

fn run_detached_sends_the_terminal() {
    let bundle = with_terminal("echo hello; sleep 1000");
    let console = Console::new(&bundle);
    let _ = bundle.call_with("run", &["--detach", "--console-socket", &console.path]).finish().ok();
    let (terminal, _) = console.receive();
    read_until(&terminal, "hello\n");
    assert_eq!(bundle.status(), "running");
}

/// A pseudoterminal of the test: its own side and that of a runtime in the foreground.
pub fn own_terminal(rows: u16, columns: u16) -> (OwnedFd, OwnedFd) {
    let flags = rustix::pty::OpenptFlags::RDWR
        | rustix::pty::OpenptFlags::NOCTTY
        | rustix::pty::OpenptFlags::CLOEXEC;
    let own = rustix::pty::openpt(flags).expect("openpt");
    rustix::pty::unlockpt(&own).expect("unlockpt");
    let name = rustix::pty::ptsname(&own, Vec::new()).expect("ptsname");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let other = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect("open");
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&own, size).expect("set the size");
    (own, other)
}

/// A `run` in the foreground whose controlling terminal is `other`.
fn run_on(bundle: &Bundle, other: &OwnedFd) -> call::Running {
    bundle.call_with("run", &[]).stdio(other).begin()
}

fn run_in_the_foreground_passes_the_terminal_through() {
    let bundle = with_terminal("tty; read line; echo got $line; exit 7")
        .through(&["setsid", "--ctty", "--wait"]);
    let (own, other) = own_terminal(24, 80);
    let run = run_on(&bundle, &other);
    read_until(&own, "/dev/pts/0\n");
    rustix::io::write(&own, b"a line\r").expect("write");
    read_until(&own, "got a line\n");
    let _ = run.finish().exits(7);
}

// The terminal of the caller turns them into new lines, where there is one. Twenty times: before the program writes.
fn run_in_the_foreground_leaves_line_feeds_as_they_are() {
    let bundle = with_terminal("echo one; echo two");
    for _ in 0..20 {
        assert_eq!(bundle.run().ok().stdout, "one\ntwo\n");
        let _ = bundle.operate(&["delete", "--force"]);
    }
}

fn run_in_the_foreground_makes_the_callers_terminal_raw_and_restores_it() {
    use rustix::termios::LocalModes;
    let bundle =
        with_terminal("echo ready; read line; echo END").through(&["setsid", "--ctty", "--wait"]);
    let (own, other) = own_terminal(24, 80);
    let before = rustix::termios::tcgetattr(&other).expect("tcgetattr");
    assert!(before.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG));
    let run = run_on(&bundle, &other);
    read_until(&own, "ready\n");
    let during = rustix::termios::tcgetattr(&other).expect("tcgetattr");
    assert!(
        !during.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG),
        "{during:?}"
    );
    rustix::io::write(&own, b"\r").expect("write");
    read_until(&own, "END\n");
    let _ = run.finish().ok();
    let after = rustix::termios::tcgetattr(&other).expect("tcgetattr");
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(after.output_modes, before.output_modes);
}

fn run_in_the_foreground_takes_over_the_size_and_its_changes() {
    let script = "stty size; trap 'stty size; echo END; exit 0' WINCH; echo ready; while :; do sleep 1000 & wait; done";
    let bundle = with_terminal(script).through(&["setsid", "--ctty", "--wait"]);
    let (own, other) = own_terminal(31, 97);
    let run = run_on(&bundle, &other);
    let text = read_until(&own, "ready\n");
    assert!(text.starts_with("31 97\n") || call::is_peer(), "{text}");
    let size = Winsize { ws_row: 44, ws_col: 55, ws_xpixel: 0, ws_ypixel: 0 };
    // SIGWINCH goes to the foreground group of this terminal: the runtime's.
    rustix::termios::tcsetwinsize(&own, size).expect("resize");
    assert!(read_until(&own, "END\n").contains("44 55\n"));
    let _ = run.finish().ok();
}

// The program has ended, and another one goes on writing to its terminal.
fn output_that_does_not_end_is_not_waited_for() {
    let bundle = waiting();
    run(&bundle);
    let script = "trap '' HUP; (while :; do echo more; done) & echo first; exit 3";
    let output = bundle.exec_script(&["-t"], script).exits(3);
    assert!(output.stdout.contains("first\n"), "{output}");
}
