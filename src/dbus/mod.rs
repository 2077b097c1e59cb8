//! A client of D-Bus for the few calls of a runtime: D-Bus Specification. Synchronous, over unix
//! sockets, without descriptors. What comes is the word of another process: lengths and time are
//! bounded.
//!
//! The handshake, the greeting and the first calls are one send(2): the other side takes them in their
//! order, and nothing of it is a decision. Why no crate does this, Cargo.toml says at nix.

pub mod address;
pub mod message;
pub mod value;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket,
    sockopt::SendTimeout,
};
use nix::sys::time::TimeVal;

use crate::error::{Call as _, Error, Result};
use address::Address;
use message::{Call, Kind, Message};

/// How long all that is done over a connection may take: as long as runc waits for a job of systemd.
const LONGEST: Duration = Duration::from_secs(30);
/// EXTERNAL, as who the kernel says that we are (SO_PEERCRED, unix(7)): not by a number, which may be
/// another one in a user namespace.
const HANDSHAKE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// As long as a line of the handshake may be.
const LONGEST_LINE: usize = 256;

/// A connection to a bus.
pub struct Connection {
    socket: OwnedFd,
    /// What is sent with the next call that waits.
    output: Vec<u8>,
    input: Vec<u8>,
    /// How many bytes, from the first of `input` on, are of a message that was read.
    used: usize,
    /// Lines of the handshake that the other side still owes.
    lines: u8,
    serial: u32,
    until: Instant,
}

/// What a call came to.
pub enum Answer {
    /// Done.
    Return(Message),
    /// Refused, with the name of the error.
    Refused(String, Error),
}

impl Connection {
    /// Connects to the first address that has a listener. Nothing is sent yet.
    ///
    /// # Errors
    /// Those of connect(2) to the last one; that there is no address.
    pub fn open(addresses: &[Address]) -> Result<Self> {
        let until = Instant::now() + LONGEST;
        let mut result = Err(Error::new("no address of a unix socket"));
        for address in addresses {
            result = connect_to(address);
            if result.is_ok() {
                break;
            }
        }
        let (socket, output, input) = (result?, HANDSHAKE.to_vec(), Vec::new());
        let mut connection = Self { socket, output, input, used: 0, lines: 2, serial: 0, until };
        connection.queue(&bus("Hello", Vec::new()));
        Ok(connection)
    }

    /// Asks for signals, by a match rule. It is sent with the next call that waits.
    pub fn subscribe(&mut self, rule: &str) {
        self.queue(&bus("AddMatch", vec![value::Value::text(rule)]));
    }

    fn queue(&mut self, call: &Call<'_>) -> u32 {
        self.serial += 1;
        call.write(self.serial, &mut self.output);
        self.serial
    }

    /// Calls a method, and waits for the answer. A signal that comes before it is of something older.
    ///
    /// # Errors
    /// That the bus did not let us in, is gone, or did not answer in time.
    pub fn call(&mut self, call: &Call<'_>) -> Result<Answer> {
        let serial = self.queue(call);
        self.flush()?;
        loop {
            let message = self.receive()?;
            let is_ours = message.reply_to == serial;
            match message.kind {
                Kind::Return if is_ours => return Ok(Answer::Return(message)),
                Kind::Error if is_ours => {
                    let text = message.text();
                    return Ok(Answer::Refused(message.name, Error::new(text)));
                }
                // Of what was queued: the bus has no room for us, or for the rule.
                Kind::Error if message.reply_to != 0 => return Err(Error::new(message.text())),
                _ => {}
            }
        }
    }

    /// Waits for a signal of a sender.
    ///
    /// # Errors
    /// That the bus is gone, or that it does not come in time.
    pub fn signal(&mut self, sender: &str, interface: &str, name: &str) -> Result<Message> {
        loop {
            let message = self.receive()?;
            // Anybody may send us a signal; the sender's name is the word of the bus.
            if message.kind == Kind::Signal
                && message.sender == sender
                && message.interface == interface
                && message.name == name
            {
                return Ok(message);
            }
        }
    }

    fn flush(&mut self) -> Result<()> {
        let mut rest = &self.output[..];
        while !rest.is_empty() {
            match send(self.socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::from_call("send(D-Bus)", errno)),
            }
        }
        self.output.clear();
        Ok(())
    }

    fn receive(&mut self) -> Result<Message> {
        loop {
            let gone = self.used.min(self.input.len());
            self.input.drain(..gone);
            self.used -= gone;
            if self.lines > 0 {
                if self.take_line()? {
                    continue;
                }
            } else if self.used == 0
                && let Some((message, length)) = Message::read(&self.input)?
            {
                self.used = length;
                match message {
                    Some(message) => return Ok(message),
                    None => continue,
                }
            }
            self.fill()?;
        }
    }

    /// Takes a line of the handshake, if one is whole: DATA asks for our name, OK lets us in.
    fn take_line(&mut self) -> Result<bool> {
        let Some(end) = self.input.iter().position(|byte| *byte == b'\n') else {
            if self.input.len() > LONGEST_LINE {
                return Err(Error::new("D-Bus: the other side does not speak it"));
            }
            return Ok(false);
        };
        let line: Vec<u8> = self.input.drain(..=end).collect();
        let word = if self.lines == 2 { &b"DATA"[..] } else { &b"OK"[..] };
        if !line.starts_with(word) {
            let line = String::from_utf8_lossy(&line);
            return Err(Error::new(format!("D-Bus: not let in: {:?}", line.trim_end())));
        }
        self.lines -= 1;
        Ok(true)
    }

    /// Waits for more bytes, and takes those that are there.
    fn fill(&mut self) -> Result<()> {
        let rest = self.until.saturating_duration_since(Instant::now());
        // Also while something comes all the time: it may not be for us.
        if rest.is_zero() {
            let seconds = LONGEST.as_secs();
            return Err(Error::new(format!("D-Bus: no answer within {seconds} s")));
        }
        let timeout = PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            // Nothing came: the time is over when it is looked at next.
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(Error::from_call("poll(D-Bus)", errno)),
        }
        let mut chunk = [0; 4096];
        match recv(self.socket.as_raw_fd(), &mut chunk, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Err(Error::new("D-Bus: the bus has closed the connection")),
            Ok(count) => {
                self.input.extend(&chunk[..count]);
                Ok(())
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(()),
            Err(errno) => Err(Error::from_call("recv(D-Bus)", errno)),
        }
    }
}

/// A call of the bus itself ("Message Bus Messages").
fn bus(member: &str, body: Vec<value::Value>) -> Call<'_> {
    Call {
        destination: "org.freedesktop.DBus",
        path: "/org/freedesktop/DBus",
        interface: "org.freedesktop.DBus",
        member,
        body,
    }
}

fn connect_to(address: &Address) -> Result<OwnedFd> {
    let (name, to) = match address {
        Address::Path(path) => (path, UnixAddr::new(path.as_str())),
        Address::Abstract(name) => (name, UnixAddr::new_abstract(name.as_bytes())),
    };
    let call = || format!("connect({name:?})");
    let to = to.call(call)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .call(|| "socket(AF_UNIX)")?;
    // It bounds connect(2) too, which waits for room in the queue of the listener (unix(7)).
    let seconds = i64::try_from(LONGEST.as_secs()).expect("it is 30");
    setsockopt(&socket, SendTimeout, &TimeVal::new(seconds, 0))
        .call(|| "setsockopt(SO_SNDTIMEO)")?;
    loop {
        match connect(socket.as_raw_fd(), &to) {
            Err(Errno::EINTR) => {}
            other => return other.map(|()| socket).call(call),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Anybody on the system's bus may send us signals.
    #[test]
    fn what_others_send_is_passed_over() {
        let (ours, bus) = UnixStream::pair().unwrap();
        let mut connection = Connection {
            socket: ours.into(),
            output: Vec::new(),
            input: Vec::new(),
            used: 0,
            lines: 2,
            serial: 0,
            until: Instant::now() + LONGEST,
        };
        let long = [&b"B\x04\0\x01\0\x01\0\0\0\0\0\x01\0\0\0\0"[..], &[0; 1 << 16]].concat();
        let answer = b"l\x02\0\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\x05\x01u\0\x01\0\0\0";
        let sent = [&b"DATA\r\nOK 1\r\n"[..], &long, answer].concat();
        std::thread::scope(|scope| {
            scope.spawn(|| (&bus).write_all(&sent).unwrap());
            let answer = connection.call(&super::bus("Hello", Vec::new())).unwrap();
            assert!(matches!(answer, Answer::Return(message) if message.reply_to == 1));
        });
    }

    #[test]
    fn who_gets_no_answer_does_not_wait_for_ever() {
        let (ours, _bus) = UnixStream::pair().unwrap();
        let until = Instant::now();
        let (socket, output, input) = (ours.into(), Vec::new(), Vec::new());
        let mut connection =
            Connection { socket, output, input, used: 0, lines: 2, serial: 0, until };
        let answer = connection.call(&bus("Hello", Vec::new()));
        assert!(answer.is_err_and(|error| error.to_string().ends_with("no answer within 30 s")));
    }
}
