//! One header block of a tar: "ustar Interchange Format" of pax in POSIX.1, tar(5) for GNU's. Pure.

use crate::error::{Error, Result};

/// A tar is made of these, in bytes.
pub const BLOCK: usize = 512;

/// A block, read as a header.
pub struct Header<'a>(pub &'a [u8; BLOCK]);

/// Who wrote the header says what its last fields mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Before POSIX: no device numbers and no prefix.
    V7,
    /// POSIX: the name may have a prefix.
    Ustar,
    /// GNU: what would be the prefix are times and the map of a sparse file.
    Gnu,
}

impl Header<'_> {
    /// Whether it is a block of zeros, two of which end an archive.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// Checks the sum of the bytes; of signed ones, as old tars had it, too.
    pub fn check_sum(&self) -> Result<()> {
        let (before, field, after) = (&self.0[..148], &self.0[148..156], &self.0[156..]);
        let others = || before.iter().chain(after);
        let unsigned: i64 = others().map(|byte| i64::from(*byte)).sum();
        let signed: i64 = others().map(|byte| i64::from(byte.cast_signed())).sum();
        let spaces = 8 * i64::from(b' ');
        match number(field) {
            Some(sum) if sum == unsigned + spaces || sum == signed + spaces => Ok(()),
            _ => Err(Error::new("the checksum of the header is wrong")),
        }
    }

    pub fn format(&self) -> Format {
        match &self.0[257..265] {
            b"ustar\x0000" => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            _ => Format::V7,
        }
    }

    pub fn kind(&self) -> u8 {
        self.0[156]
    }

    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.0[..100]);
        let prefix = match self.format() {
            // star keeps times behind a shorter prefix, and signs at the end.
            Format::Ustar if &self.0[508..] == b"tar\0" => text(&self.0[345..476]),
            Format::Ustar => text(&self.0[345..500]),
            Format::V7 | Format::Gnu => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub fn link(&self) -> &[u8] {
        text(&self.0[157..257])
    }

    /// Permission bits, set-id bits and the sticky bit.
    pub fn mode(&self) -> Result<u32> {
        Ok(self.field("mode", 100..108)? as u32 & 0o7777)
    }

    pub fn uid(&self) -> Result<u32> {
        self.small("uid", 108..116)
    }

    pub fn gid(&self) -> Result<u32> {
        self.small("gid", 116..124)
    }

    /// Of the data that follows, in bytes.
    pub fn size(&self) -> Result<u64> {
        self.length("size", 124..136)
    }

    /// In seconds since the epoch.
    pub fn mtime(&self) -> Result<i64> {
        self.field("mtime", 136..148)
    }

    /// Major and minor number.
    pub fn device(&self) -> Result<(u32, u32)> {
        if self.format() == Format::V7 {
            return Err(Error::new("a device without numbers"));
        }
        Ok((self.small("devmajor", 329..337)?, self.small("devminor", 337..345)?))
    }

    /// A number at a place that only some headers have, not negative.
    pub fn length(&self, what: &str, place: std::ops::Range<usize>) -> Result<u64> {
        let number = self.field(what, place)?;
        u64::try_from(number).map_err(|_| Error::new(format!("the {what} {number} is negative")))
    }

    fn small(&self, what: &str, place: std::ops::Range<usize>) -> Result<u32> {
        let number = self.field(what, place)?;
        u32::try_from(number)
            .map_err(|_| Error::new(format!("the {what} {number} is not of 32 bits")))
    }

    fn field(&self, what: &str, place: std::ops::Range<usize>) -> Result<i64> {
        let field = &self.0[place];
        number(field).ok_or_else(|| {
            Error::new(format!("the {what} \"{}\" is no number", field.escape_ascii()))
        })
    }
}

/// Octal digits between spaces and NULs; nothing is 0. GNU's base 256 has the first bit set, and
/// the second one if it is negative.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { field[0] } else { field[0] & 0x7f };
        let start = i128::from(if negative { first.cast_signed() } else { first as i8 });
        return field[1..]
            .iter()
            .try_fold(start, |sum, byte| sum.checked_mul(256)?.checked_add(i128::from(*byte)))
            .and_then(|number| i64::try_from(number).ok());
    }
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|byte| matches!(byte, b' ' | 0)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if rest.iter().any(|byte| !matches!(byte, b' ' | 0)) {
        return None;
    }
    digits.iter().try_fold(0_i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_of_base_256() {
        let table: [(&[u8], Option<i64>); 14] = [
            (b"0000644\0", Some(0o644)),
            (b"    644 ", Some(0o644)),
            (b"644\0\0\0\0\0", Some(0o644)),
            (b"77777777", Some(0o7777_7777)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000648\0", None),
            (b"644 1\0\0\0", None),
            (b"-644\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\0", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
        ];
        for (field, expected) in table {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn only_posix_has_a_prefix() {
        let mut block = [0; BLOCK];
        block[..4].copy_from_slice(b"name");
        block[345..351].copy_from_slice(b"prefix");
        assert_eq!(Header(&block).name(), b"name");
        block[257..265].copy_from_slice(b"ustar  \0");
        assert_eq!(Header(&block).name(), b"name");
        block[257..265].copy_from_slice(b"ustar\x0000");
        assert_eq!(Header(&block).name(), b"prefix/name");
    }
}
