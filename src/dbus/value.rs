//! Values of D-Bus and their bytes: D-Bus Specification, "Marshaling (Wire Format)". In the byte order
//! of this machine, on which the other side is too.
//!
//! What is read is what the bus and systemd answer: basic types, and variants of them.

use std::fmt;

use crate::error::{Error, Result};

/// The longest text, and the longest list in bytes, that is read: nothing that we ask for comes near.
const LONGEST: usize = 64 * 1024;

/// A value of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `y`.
    Byte(u8),
    /// `b`.
    Boolean(bool),
    /// `i`.
    Int32(i32),
    /// `u`.
    Uint32(u32),
    /// `x`.
    Int64(i64),
    /// `t`.
    Uint64(u64),
    /// `d`.
    Double(f64),
    /// `s`.
    Text(String),
    /// `o`.
    Path(String),
    /// `g`.
    Signature(String),
    /// `a` and the signature of all elements.
    Array(String, Vec<Value>),
    /// `(` and `)` around the members.
    Structure(Vec<Value>),
    /// `v`.
    Variant(Box<Value>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The type, as a signature has it.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Self::Byte(_) => "y".to_owned(),
            Self::Boolean(_) => "b".to_owned(),
            Self::Int32(_) => "i".to_owned(),
            Self::Uint32(_) => "u".to_owned(),
            Self::Int64(_) => "x".to_owned(),
            Self::Uint64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::Text(_) => "s".to_owned(),
            Self::Path(_) => "o".to_owned(),
            Self::Signature(_) => "g".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Structure(members) => format!("({})", signature(members)),
            Self::Variant(_) => "v".to_owned(),
        }
    }

    /// Appends the bytes. Offsets, and so the padding, count from the start of `to`.
    pub fn write(&self, to: &mut Vec<u8>) {
        pad(to, alignment(self.signature().as_bytes()[0]));
        match self {
            Self::Byte(value) => to.push(*value),
            Self::Boolean(value) => to.extend(u32::from(*value).to_ne_bytes()),
            Self::Int32(value) => to.extend(value.to_ne_bytes()),
            Self::Uint32(value) => to.extend(value.to_ne_bytes()),
            Self::Int64(value) => to.extend(value.to_ne_bytes()),
            Self::Uint64(value) => to.extend(value.to_ne_bytes()),
            Self::Double(value) => to.extend(value.to_ne_bytes()),
            Self::Text(text) | Self::Path(text) => {
                to.extend(length(text.len()).to_ne_bytes());
                to.extend(text.as_bytes());
                to.push(0);
            }
            Self::Signature(text) => write_signature(text, to),
            Self::Array(element, values) => {
                let at = to.len();
                to.extend([0; 4]);
                // The padding before the first element does not count, and is there without one.
                pad(to, alignment(element.as_bytes()[0]));
                let start = to.len();
                values.iter().for_each(|value| value.write(to));
                let bytes = length(to.len() - start).to_ne_bytes();
                to[at..at + 4].copy_from_slice(&bytes);
            }
            Self::Structure(members) => members.iter().for_each(|member| member.write(to)),
            Self::Variant(value) => {
                write_signature(&value.signature(), to);
                value.write(to);
            }
        }
    }
}

impl fmt::Display for Value {
    /// For people: without the types of numbers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, values: &[Self]| {
            for (index, value) in values.iter().enumerate() {
                write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
            }
            Ok(())
        };
        match self {
            Self::Byte(value) => write!(f, "{value:#04x}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Int32(value) => write!(f, "{value}"),
            Self::Uint32(value) => write!(f, "{value}"),
            Self::Int64(value) => write!(f, "{value}"),
            Self::Uint64(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Text(text) | Self::Path(text) | Self::Signature(text) => write!(f, "{text:?}"),
            Self::Array(_, values) => {
                f.write_str("[")?;
                list(f, values)?;
                f.write_str("]")
            }
            Self::Structure(values) => {
                f.write_str("(")?;
                list(f, values)?;
                f.write_str(")")
            }
            Self::Variant(value) => write!(f, "{value}"),
        }
    }
}

/// The types of a list of values.
#[must_use]
pub fn signature(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

fn write_signature(text: &str, to: &mut Vec<u8>) {
    to.push(u8::try_from(text.len()).expect("our signatures are shorter than 256 bytes"));
    to.extend(text.as_bytes());
    to.push(0);
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("what is sent was read from a config, which is shorter than 4 GiB")
}

fn alignment(first: u8) -> usize {
    match first {
        b'y' | b'g' | b'v' => 1,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 4,
    }
}

/// Fills with zeros up to a multiple of `to`.
pub fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

/// Reads values out of bytes of another process: each length is checked.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Begins at the first byte, from which the padding counts.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// Skips the padding.
    pub fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    /// Reads one value for each type of a signature.
    ///
    /// # Errors
    /// That the bytes end before, or that a type is none that is read here.
    pub fn values(&mut self, signature: &str) -> Result<Vec<Value>> {
        signature.bytes().map(|kind| self.value(kind, 0)).collect()
    }

    fn value(&mut self, kind: u8, depth: u8) -> Result<Value> {
        self.align(alignment(kind));
        Ok(match kind {
            b'y' => Value::Byte(self.take(1)?[0]),
            b'b' => Value::Boolean(self.number()? != 0),
            b'u' => Value::Uint32(self.number()?),
            b'i' => Value::Int32(i32::from_ne_bytes(self.take_array()?)),
            b'x' => Value::Int64(i64::from_ne_bytes(self.take_array()?)),
            b't' => Value::Uint64(u64::from_ne_bytes(self.take_array()?)),
            b'd' => Value::Double(f64::from_ne_bytes(self.take_array()?)),
            b's' => Value::Text(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' if depth == 0 => match self.signature()?.as_bytes() {
                [kind] => Value::Variant(Box::new(self.value(*kind, 1)?)),
                other => return Err(unexpected(other)),
            },
            other => return Err(unexpected(&[other])),
        })
    }

    /// A number of four bytes.
    ///
    /// # Errors
    /// That the bytes end before.
    pub fn number(&mut self) -> Result<u32> {
        self.align(4);
        self.take_array().map(u32::from_ne_bytes)
    }

    fn text(&mut self) -> Result<String> {
        let length = self.number()? as usize;
        self.string(length)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.take(1)?[0];
        self.string(length.into())
    }

    /// The bytes and the zero behind them.
    fn string(&mut self, length: usize) -> Result<String> {
        if length > LONGEST {
            return Err(Error::new(format!("D-Bus: a text of {length} bytes")));
        }
        let bytes = self.take(length + 1)?;
        let text = std::str::from_utf8(&bytes[..length]);
        text.map(str::to_owned).map_err(|_| Error::new("D-Bus: a text that is not UTF-8"))
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take gives as many as were asked for"))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at + count);
        self.at += count;
        taken.ok_or_else(|| Error::new("D-Bus: a message that ends too early"))
    }
}

fn unexpected(signature: &[u8]) -> Error {
    Error::new(format!("D-Bus: a value of type {:?}", String::from_utf8_lossy(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        bytes
    }

    #[test]
    fn values_are_padded_to_their_own_size() {
        let pair = Value::Structure(vec![Value::Byte(1), Value::Uint64(2)]);
        assert_eq!(pair.signature(), "(yt)");
        assert_eq!(bytes(&pair), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        let variant = Value::Variant(Box::new(Value::text("ab")));
        assert_eq!(bytes(&variant), b"\x01s\0\0\x02\0\0\0ab\0");
    }

    #[test]
    fn the_length_of_an_array_is_that_of_its_elements() {
        let empty = Value::Array("(sv)".to_owned(), Vec::new());
        assert_eq!((empty.signature(), bytes(&empty)), ("a(sv)".to_owned(), vec![0; 8]));
        let two = Value::Array("t".to_owned(), vec![Value::Uint64(1), Value::Uint64(2)]);
        let mut expected = vec![16, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes(&two), expected);
    }

    #[test]
    fn what_is_written_is_read() {
        let values = [
            Value::Byte(7),
            Value::Boolean(true),
            Value::Int32(-7),
            Value::Uint32(7),
            Value::Int64(i64::MIN),
            Value::Uint64(u64::MAX),
            Value::Double(0.5),
            Value::text("é"),
            Value::Path("/a".to_owned()),
            Value::Signature("a(sv)".to_owned()),
            Value::Variant(Box::new(Value::text(""))),
        ];
        let mut bytes = Vec::new();
        values.iter().for_each(|value| value.write(&mut bytes));
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.values(&signature(&values)).unwrap(), values);
        assert!(reader.is_at_end());
        for end in 0..bytes.len() {
            assert!(Reader::new(&bytes[..end]).values(&signature(&values)).is_err(), "{end}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong: [(&str, &[u8]); 5] = [
            ("s", b"\xff\xff\xff\xff"),
            ("s", b"\x01\0\0\0\xff\0"),
            ("v", b"\x01v\0\x01v\0\x01y\0\x01"),
            ("v", b"\x02ay\0\0\0\0\0"),
            ("as", b"\0\0\0\0"),
        ];
        for (signature, bytes) in wrong {
            assert!(Reader::new(bytes).values(signature).is_err(), "{signature} {bytes:?}");
        }
    }
}
