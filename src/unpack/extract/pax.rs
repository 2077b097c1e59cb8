//! The records of a pax header: "pax Extended Header" in POSIX.1, GNU's for sparse files (tar(5)),
//! SCHILY.xattr for attributes (image-spec, layer.md, "File Attributes"). Pure.

use std::collections::BTreeMap;

use nix::sys::time::TimeSpec;

use super::sparse::{self, Segment};
use crate::error::{Context, Error, Result};

/// The most bytes that the names of a file's attributes have, each with a NUL (XATTR_LIST_MAX in
/// linux/limits.h): with more they could not be listed.
const LONGEST_LIST: usize = 65536;

/// What pax headers say of an entry. What they do not say, its own header says.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<TimeSpec>,
    /// Names and values.
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: Sparse,
}

/// GNU's three ways to write a sparse file in pax headers.
#[derive(Clone, Debug, Default)]
pub struct Sparse {
    /// The version, from 0.1 on.
    pub major: Option<u64>,
    pub minor: Option<u64>,
    /// Instead of the path, which then says where a reader that does not know puts it.
    pub name: Option<Vec<u8>>,
    /// The size with the holes, in bytes.
    pub size: Option<u64>,
    /// Offsets and lengths; those of 1.0 stand before the data instead.
    pub map: Vec<u64>,
}

impl Records {
    /// Reads the data of a pax header.
    ///
    /// # Errors
    /// The record that is no record, or whose value is none; more attributes than a file can have.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes)
                .ok_or_else(|| Error::new("a pax header that is not made of records"))?;
            self.set(key, value)
                .context(|| format!("pax record {:?}", key.escape_ascii().to_string()))?;
            bytes = rest;
        }
        let length: usize = self.attributes.keys().map(|name| name.len() + 1).sum();
        if length > LONGEST_LIST {
            return Err(Error::new(format!(
                "names of attributes of {length} bytes, of {LONGEST_LIST} at most"
            )));
        }
        Ok(())
    }

    /// Whether it says what cannot be true of every entry that follows.
    pub fn is_of_one_entry(&self) -> bool {
        let sparse = &self.sparse;
        let says = self.path.is_some() || self.link.is_some() || self.size.is_some();
        says || !self.attributes.is_empty()
            || sparse.name.is_some()
            || sparse.size.is_some()
            || !sparse.map.is_empty()
    }

    /// An empty value takes back what was said before; an attribute's value may be empty.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            text(name)?;
            self.attributes.insert(name.to_vec(), value.to_vec());
            return Ok(());
        }
        let said = !value.is_empty();
        let number = || if said { decimal(value).map(Some) } else { Ok(None) };
        let name = || if said { text(value).map(|value| Some(value.to_vec())) } else { Ok(None) };
        match key {
            b"path" => self.path = name()?,
            b"linkpath" => self.link = name()?,
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?.map(id).transpose()?,
            b"gid" => self.gid = number()?.map(id).transpose()?,
            b"mtime" => self.mtime = if said { Some(time(value)?) } else { None },
            b"GNU.sparse.major" => self.sparse.major = number()?,
            b"GNU.sparse.minor" => self.sparse.minor = number()?,
            b"GNU.sparse.name" => self.sparse.name = name()?,
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = number()?,
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(decimal(value)?),
            b"GNU.sparse.map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal);
                self.sparse.map = numbers.collect::<Result<_>>()?;
            }
            // Times that layers do not have, names of users, character sets: names here are bytes.
            _ => {}
        }
        Ok(())
    }
}

impl Sparse {
    /// Whether the map stands before the data.
    pub fn is_1_0(&self) -> bool {
        self.major == Some(1) && self.minor == Some(0)
    }

    /// The map of the versions before 1.0, if there is one.
    ///
    /// # Errors
    /// A version that is not known; an offset without a length.
    pub fn map(&self) -> Result<Option<Vec<Segment>>> {
        let version = (self.major, self.minor);
        if !matches!(version, (None | Some(0), None | Some(0 | 1)) | (Some(1), Some(0))) {
            return Err(Error::new(format!("a sparse file of unknown version {version:?}")));
        }
        if self.map.is_empty() && self.size.is_none() {
            return Ok(None);
        }
        sparse::pairs(&self.map).map(Some)
    }
}

/// Splits `LENGTH KEY=VALUE\n` off.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space]).ok()?).ok()?;
    let (record, rest) = bytes.split_at_checked(length)?;
    let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (equals > 0).then(|| (&record[..equals], &record[equals + 1..], rest))
}

/// Digits and nothing else.
pub fn decimal(digits: &[u8]) -> Result<u64> {
    let number = digits.iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    });
    let no_number = || Error::new(format!("\"{}\" is no number", shortened(digits).escape_ascii()));
    number.filter(|_| !digits.is_empty()).ok_or_else(no_number)
}

fn shortened(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(40)]
}

fn id(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::new(format!("{number} is not of 32 bits")))
}

fn text(value: &[u8]) -> Result<&[u8]> {
    if value.contains(&0) {
        return Err(Error::new("a NUL in a name"));
    }
    Ok(value)
}

/// Seconds since the epoch, with a sign and a fraction perhaps; of that nine digits count.
fn time(value: &[u8]) -> Result<TimeSpec> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = decimal(parts.next().unwrap_or_default())?;
    let whole =
        i64::try_from(whole).map_err(|_| Error::new(format!("{whole} is not of 63 bits")))?;
    let mut nanoseconds = 0;
    if let Some(fraction) = parts.next().filter(|fraction| !fraction.is_empty()) {
        fraction
            .iter()
            .all(u8::is_ascii_digit)
            .then_some(())
            .ok_or_else(|| Error::new("no time"))?;
        let nine = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(9);
        nanoseconds = nine.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => TimeSpec::new(whole, nanoseconds),
        (true, 0) => TimeSpec::new(-whole, 0),
        // The fraction of a time counts upwards (timespec(3type)).
        (true, _) => TimeSpec::new(-whole - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_sign_and_nanoseconds() {
        let table: [(&str, Option<(i64, i64)>); 10] = [
            ("1", Some((1, 0))),
            ("1.5", Some((1, 500_000_000))),
            ("1.1234567899", Some((1, 123_456_789))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("1.", Some((1, 0))),
            ("", None),
            ("1.x", None),
            ("+1", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in table {
            let read = time(text.as_bytes()).ok().map(|time| (time.tv_sec(), time.tv_nsec()));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (bytes, is_record) in [
            (&b"9 path=a\n"[..], true),
            (b"11 path=a\n", false),
            (b"8 path=a\n", false),
            (b"9 path=a", false),
            (b"9path=a\n ", false),
            (b"7 patha\n", false),
            (b"5 =a\n", false),
            (b"-9 path=a\n", false),
            (b"18446744073709551616 path=a\n", false),
            (b"3 \n", false),
            (b"0 ", false),
        ] {
            let result = Records::default().read(bytes);
            assert_eq!(result.is_ok(), is_record, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_later_record_wins_and_an_empty_one_takes_back() {
        let mut records = Records::default();
        records.read(b"9 path=a\n9 path=b\n9 size=3\n8 size=\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(&b"b"[..]));
        assert_eq!(records.size, None);
        records.read(b"24 SCHILY.xattr.user.a=\n").unwrap();
        assert_eq!(records.attributes, BTreeMap::from([(b"user.a".to_vec(), Vec::new())]));
    }

    #[test]
    fn a_file_has_as_many_attributes_as_can_be_listed() {
        let header = |count: usize| -> Vec<u8> {
            // Names of 16 bytes with their NUL; one of the names again counts once.
            let numbers = (0..count).chain([0]);
            let records = numbers.map(|number| format!("34 SCHILY.xattr.user.{number:010}=v\n"));
            records.collect::<String>().into_bytes()
        };
        Records::default().read(&header(4096)).unwrap();
        let error = Records::default().read(&header(4097)).unwrap_err().to_string();
        assert_eq!(error, "names of attributes of 65552 bytes, of 65536 at most");
    }

    #[test]
    fn a_name_with_a_nul_is_refused() {
        assert!(Records::default().read(b"11 path=a\0\n").is_err());
        assert!(Records::default().read(b"11 path=ab\n").is_ok());
    }
}
