//! Where the data of a sparse file belongs (tar(5), "Sparse formats"). Pure.

use super::header::{BLOCK, Header};
use super::pax::decimal;
use crate::error::{Error, Result};

/// Data between holes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub offset: u64,
    pub length: u64,
}

/// Where the data of an entry goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The size of the file, in bytes.
    pub size: u64,
    /// In ascending order.
    pub segments: Vec<Segment>,
}

impl Map {
    /// A map for as many bytes of data as are stored.
    ///
    /// # Errors
    /// Segments that overlap, go beyond the file or are not what is stored.
    pub fn new(size: u64, segments: Vec<Segment>, stored: u64) -> Result<Self> {
        let mut end = 0;
        let mut data = 0_u64;
        for segment in &segments {
            let next = segment.offset.checked_add(segment.length).filter(|next| *next <= size);
            let Some(next) = next.filter(|_| segment.offset >= end) else {
                return Err(Error::new("a sparse file whose segments are out of order"));
            };
            end = next;
            data += segment.length;
        }
        // off_t has a sign.
        if i64::try_from(size).is_err() || data != stored {
            return Err(Error::new(format!(
                "a sparse file of {stored} bytes whose map has {data}"
            )));
        }
        Ok(Self { size, segments })
    }
}

/// Offsets and lengths in turn.
pub fn pairs(numbers: &[u64]) -> Result<Vec<Segment>> {
    let (pairs, []) = numbers.as_chunks::<2>() else {
        return Err(Error::new("a sparse file with an offset without a length"));
    };
    Ok(pairs.iter().map(|[offset, length]| Segment { offset: *offset, length: *length }).collect())
}

/// GNU's own form: the header's four places, and 21 in each block that follows.
pub struct Old {
    pub segments: Vec<Segment>,
    /// Whether another block follows.
    pub continues: bool,
    ended: bool,
}

impl Old {
    pub fn of_header(header: &Header<'_>) -> Result<Self> {
        let mut old = Self { segments: Vec::new(), continues: header.0[482] != 0, ended: false };
        old.read(header, 386, 4)?;
        Ok(old)
    }

    pub fn add(&mut self, block: &[u8; BLOCK]) -> Result<()> {
        self.continues = block[504] != 0;
        self.read(&Header(block), 0, 21)
    }

    fn read(&mut self, block: &Header<'_>, start: usize, places: usize) -> Result<()> {
        for at in (0..places).map(|place| start + place * 24) {
            self.ended |= block.0[at] == 0;
            if !self.ended {
                let offset = block.length("offset of a segment", at..at + 12)?;
                let length = block.length("length of a segment", at + 12..at + 24)?;
                self.segments.push(Segment { offset, length });
            }
        }
        Ok(())
    }
}

/// Version 1.0 of GNU's pax form: the number of segments, then offsets and lengths, each on a line,
/// before the data, filled up to whole blocks.
#[derive(Default)]
pub struct Lines {
    numbers: Vec<u64>,
    line: Vec<u8>,
}

/// A line has a number of 64 bits.
const LONGEST_LINE: usize = 20;

impl Lines {
    /// Takes the next block. Returns the segments once they are complete.
    pub fn add(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<Segment>>> {
        for byte in block {
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > LONGEST_LINE {
                    return Err(Error::new("a sparse file whose map is not made of numbers"));
                }
                continue;
            }
            self.numbers.push(decimal(&self.line)?);
            self.line.clear();
            // Compared so that the count, which may be any, is in no product.
            let (count, numbers) = (self.numbers[0], &self.numbers[1..]);
            if numbers.len() % 2 == 0 && numbers.len() as u64 / 2 == count {
                return pairs(numbers).map(Some);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_in_order_inside_the_file_and_of_what_is_stored() {
        let table: [(u64, &[u64], u64, bool); 9] = [
            (100, &[0, 10, 90, 10], 20, true),
            (100, &[100, 0], 0, true),
            (100, &[], 0, true),
            (100, &[0, 10, 5, 10], 20, false),
            (100, &[90, 10, 0, 10], 20, false),
            (100, &[95, 10], 10, false),
            (100, &[0, 10], 9, false),
            (u64::MAX, &[0, 10], 10, false),
            (100, &[u64::MAX, 2], 2, false),
        ];
        for (size, numbers, stored, good) in table {
            let map = Map::new(size, pairs(numbers).unwrap(), stored);
            assert_eq!(map.is_ok(), good, "{size} {numbers:?} {stored}");
        }
        assert!(pairs(&[1]).is_err());
    }

    #[test]
    fn the_map_of_1_0_ends_with_its_last_number() {
        let mut block = [0; BLOCK];
        block[..10].copy_from_slice(b"1\n512\n10\n\0");
        let segments = Lines::default().add(&block).unwrap().unwrap();
        assert_eq!(segments, [Segment { offset: 512, length: 10 }]);
        block[..2].copy_from_slice(b"0\n");
        assert_eq!(Lines::default().add(&block).unwrap().unwrap(), []);
        block[..6].copy_from_slice(b"9\nx\n9\n");
        assert!(Lines::default().add(&block).is_err());
        assert!(Lines::default().add(&[b'1'; BLOCK]).is_err());
    }
}
