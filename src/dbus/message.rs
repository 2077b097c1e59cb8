//! Messages of D-Bus: D-Bus Specification, "Message Protocol". Calls are written, everything is read.

use super::value::{Reader, Value, pad, signature};
use crate::error::{Error, Result};

/// The longest message that is read. The bus would let 128 MiB pass; the answers that we ask for take
/// less than a hundredth of this.
const LONGEST: usize = 64 * 1024;
/// The part of the header that all messages have: until and with the length of the fields.
const FIXED: usize = 16;
/// The byte order of this machine, in which the bus and systemd write.
const ORDER: u8 = if cfg!(target_endian = "big") { b'B' } else { b'l' };

/// What a message is ("Message Format").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The answer to a call.
    Return = 2,
    /// The refusal of a call.
    Error = 3,
    /// A signal, or a kind that is for nobody here.
    Signal = 4,
}

/// A call of a method.
pub struct Call<'a> {
    /// Of which connection: a name.
    pub destination: &'a str,
    /// Of which object: a path.
    pub path: &'a str,
    /// Of which of its interfaces.
    pub interface: &'a str,
    /// The method.
    pub member: &'a str,
    /// The arguments.
    pub body: Vec<Value>,
}

/// A message that was received.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The number of the call that it answers; 0: none.
    pub reply_to: u32,
    /// Who sent it: the unique name that the bus gave, and wrote here.
    pub sender: String,
    /// The interface of a signal.
    pub interface: String,
    /// The name of a signal; the name of an error.
    pub name: String,
    /// The types of the body.
    pub signature: String,
    body: Vec<u8>,
}

impl Call<'_> {
    /// Appends the message. `serial` is not 0, and no other call's of this connection.
    pub fn write(&self, serial: u32, to: &mut Vec<u8>) {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| value.write(&mut body));
        let mut fields = vec![
            field(1, Value::Path(self.path.to_owned())),
            field(2, Value::text(self.interface)),
            field(3, Value::text(self.member)),
            field(6, Value::text(self.destination)),
        ];
        if !body.is_empty() {
            fields.push(field(8, Value::Signature(signature(&self.body))));
        }
        // A call, no flags, version 1.
        let mut message = vec![ORDER, 1, 0, 1];
        let length = u32::try_from(body.len()).expect("it came of a config shorter than 4 GiB");
        message.extend(length.to_ne_bytes());
        message.extend(serial.to_ne_bytes());
        Value::Array("(yv)".to_owned(), fields).write(&mut message);
        pad(&mut message, 8);
        message.extend(body);
        to.extend(message);
    }
}

fn field(code: u8, value: Value) -> Value {
    Value::Structure(vec![Value::Byte(code), Value::Variant(Box::new(value))])
}

impl Message {
    /// Reads the first message, and says how many bytes it has, though they may not all be there.
    /// `None`: it is not whole yet. Without a message: it is none that could be an answer to us. Anybody
    /// may send us a signal, in the other byte order, of any length, of any types.
    ///
    /// # Errors
    /// That it is no message: nobody knows where the next one would begin.
    pub fn read(bytes: &[u8]) -> Result<Option<(Option<Self>, usize)>> {
        let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
        let number: fn([u8; 4]) -> u32 = match (fixed[0], fixed[3]) {
            (b'l', 1) => u32::from_le_bytes,
            (b'B', 1) => u32::from_be_bytes,
            _ => {
                let message = format!("D-Bus: no message of version 1: {:?}", &fixed[..4]);
                return Err(Error::new(message));
            }
        };
        let number = |at: usize| {
            let four = fixed[at..at + 4].try_into().expect("it is within the sixteen bytes");
            number(four) as usize
        };
        let (body_length, fields_length) = (number(4), number(12));
        let start = (FIXED + fields_length).next_multiple_of(8);
        let end = start + body_length;
        if fixed[0] != ORDER || end > LONGEST {
            return Ok(Some((None, end)));
        }
        let Some(whole) = bytes.get(..end) else { return Ok(None) };
        let message = Self::read_whole(&whole[..FIXED + fields_length], &whole[start..]);
        Ok(Some((message.ok(), end)))
    }

    fn read_whole(header: &[u8], body: &[u8]) -> Result<Self> {
        let mut message = Self {
            kind: match header[1] {
                2 => Kind::Return,
                3 => Kind::Error,
                _ => Kind::Signal,
            },
            reply_to: 0,
            sender: String::new(),
            interface: String::new(),
            name: String::new(),
            signature: String::new(),
            body: body.to_vec(),
        };
        let mut reader = Reader::new(header);
        reader.values("yyyyuuu")?;
        while !reader.is_at_end() {
            reader.align(8);
            let field = reader.values("yv")?;
            let [Value::Byte(code), Value::Variant(value)] = &field[..] else { continue };
            match (code, value.as_ref()) {
                (2, Value::Text(text)) => message.interface.clone_from(text),
                (3 | 4, Value::Text(text)) => message.name.clone_from(text),
                (5, Value::Uint32(serial)) => message.reply_to = *serial,
                (7, Value::Text(text)) => message.sender.clone_from(text),
                (8, Value::Signature(text)) => message.signature.clone_from(text),
                _ => {}
            }
        }
        Ok(message)
    }

    /// The body.
    ///
    /// # Errors
    /// That it has other types than `signature` says.
    pub fn body(&self, signature: &str) -> Result<Vec<Value>> {
        if self.signature != signature {
            let Self { name, signature: found, .. } = self;
            return Err(Error::new(format!("D-Bus: {name:?} of {found:?}, not of {signature:?}")));
        }
        Reader::new(&self.body).values(signature)
    }

    /// What an error says beside its name: by convention the first value.
    #[must_use]
    pub fn text(&self) -> String {
        let first = self.signature.get(..1).unwrap_or_default();
        match Reader::new(&self.body).values(first).as_deref() {
            Ok([Value::Text(text)]) => text.clone(),
            _ => self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_what_the_specification_says() {
        let call = Call {
            destination: "a.b",
            path: "/",
            interface: "c.d",
            member: "M",
            body: vec![Value::Uint32(7)],
        };
        let mut bytes = Vec::new();
        call.write(1, &mut bytes);
        let expected: &[&[u8]] = &[
            b"l\x01\0\x01\x04\0\0\0\x01\0\0\0\x47\0\0\0",
            b"\x01\x01o\0\x01\0\0\0/\0\0\0\0\0\0\0",
            b"\x02\x01s\0\x03\0\0\0c.d\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0",
            b"\x06\x01s\0\x03\0\0\0a.b\0\0\0\0\0",
            b"\x08\x01g\0\x01u\0\0",
            b"\x07\0\0\0",
        ];
        assert_eq!(bytes, expected.concat());
    }

    fn signal() -> Vec<u8> {
        let fields = vec![
            field(2, Value::text("i.f")),
            field(3, Value::text("Gone")),
            field(7, Value::text(":1.4")),
            field(8, Value::Signature("su".to_owned())),
            field(99, Value::Uint64(1)),
        ];
        let mut bytes = vec![b'l', 4, 1, 1];
        bytes.extend([14, 0, 0, 0, 9, 0, 0, 0]);
        Value::Array("(yv)".to_owned(), fields).write(&mut bytes);
        pad(&mut bytes, 8);
        bytes.extend(b"\x01\0\0\0x\0\0\0\x05\0\0\0");
        bytes.extend(b"..");
        bytes
    }

    #[test]
    fn a_message_is_read_when_it_is_whole() {
        let mut bytes = signal();
        let whole = bytes.len();
        for end in 0..whole {
            assert_eq!(Message::read(&bytes[..end]).unwrap(), None, "{end}");
        }
        bytes.extend(b"l");
        let (message, length) = Message::read(&bytes).unwrap().unwrap();
        let message = message.unwrap();
        assert_eq!(length, whole);
        assert_eq!(message.kind, Kind::Signal);
        assert_eq!((message.interface.as_str(), message.name.as_str()), ("i.f", "Gone"));
        assert_eq!((message.sender.as_str(), message.reply_to), (":1.4", 0));
        assert_eq!(message.body("su").unwrap(), [Value::text("x"), Value::Uint32(5)]);
        assert!(message.body("ss").is_err());
        assert_eq!(message.text(), "x");
    }

    #[test]
    fn no_bytes_of_another_process_are_trusted() {
        for (at, byte) in [(0, b'x'), (3, 2)] {
            let mut bytes = signal();
            bytes[at] = byte;
            assert!(Message::read(&bytes).is_err(), "{at}");
        }
        // In the other order, too long, with a field of a type that there is not: passed over.
        let length = signal().len();
        for (at, byte, longer) in [(0, b'B', None), (6, 1, Some(1 << 16)), (18, b'?', Some(0))] {
            let mut bytes = signal();
            bytes[at] = byte;
            let (message, end) = Message::read(&bytes).unwrap().unwrap();
            assert_eq!(message, None, "{at}");
            assert!(longer.is_none_or(|longer| end == length + longer), "{at}: {end}");
        }
        // Whatever it says, it is read without a panic.
        let bytes = signal();
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut wrong = bytes.clone();
                wrong[at] = byte;
                if let Ok(Some((Some(message), _))) = Message::read(&wrong) {
                    message.body(&message.signature).ok();
                }
            }
        }
    }
}
