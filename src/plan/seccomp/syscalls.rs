//! Names and numbers of system calls: `syscalls.tbl`, which `hack/syscalls` writes. It is read by
//! the compiler, so that the program holds 8 KB of names and 18 KB of numbers, and of these touches
//! only what a profile names: no list of pointers, which would be relocated at every start.

/// One row for each call, sorted by name; the first two lines are comments, the third names the
/// columns.
const TEXT: &[u8] = include_bytes!("syscalls.tbl");

/// How many calls there are.
const CALLS: usize = lines(TEXT) - HEADER;
const HEADER: usize = 3;
/// The order of the columns.
pub const COLUMNS: [&str; 18] = [
    "x86_64",
    "x86",
    "x32",
    "arm",
    "aarch64",
    "loongarch64",
    "m68k",
    "mips",
    "mips64",
    "mips64n32",
    "parisc",
    "parisc64",
    "ppc",
    "ppc64",
    "riscv64",
    "s390",
    "s390x",
    "sh",
];

/// An architecture does not have the call.
const NONE: u16 = u16::MAX;
/// The calls of ARM alone begin at 0xf0000 (asm/unistd.h): here at 0x8000.
const OF_ARM: u16 = 0x8000;
/// Their first number.
pub const ARM_PRIVATE: u32 = 0x000f_0000;

/// All names, one behind the other.
static NAMES: [u8; Table::LENGTH] = Table::READ.names;
/// Where each name ends.
static ENDS: [u16; CALLS] = Table::READ.ends;
static NUMBERS: [[u16; COLUMNS.len()]; CALLS] = Table::READ.numbers;
/// The rows by the hash of their names: each in the first free slot from there on. A profile has
/// hundreds of names, and to halve the sorted table for each is a third of what a filter costs.
static ROWS: [u16; SLOTS] = Table::READ.rows;

/// Twice as many as there are calls, so that a name is nearly always in its own slot.
const SLOTS: usize = 1024;
/// No row.
const FREE: u16 = u16::MAX;

/// A call, by its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(u16);

impl Call {
    /// Looks a name up.
    #[must_use]
    pub const fn named(name: &str) -> Option<Self> {
        let name = name.as_bytes();
        let mut slot = slot(name);
        while ROWS[slot] != FREE {
            let call = Self(ROWS[slot]);
            if call.is_named(name) {
                return Some(call);
            }
            slot = (slot + 1) % SLOTS;
        }
        None
    }

    /// Every call that any architecture has.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..CALLS as u16).map(Self)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let (start, end) = self.place();
        std::str::from_utf8(&NAMES[start..end]).unwrap_or_default()
    }

    /// Where its name begins and ends.
    const fn place(self) -> (usize, usize) {
        let row = self.0 as usize;
        (if row == 0 { 0 } else { ENDS[row - 1] as usize }, ENDS[row] as usize)
    }

    const fn is_named(self, name: &[u8]) -> bool {
        let (start, end) = self.place();
        let mut at = 0;
        while at < name.len() && start + at < end && NAMES[start + at] == name[at] {
            at += 1;
        }
        at == name.len() && start + at == end
    }

    /// Its number in a column of the table.
    #[must_use]
    pub fn number(self, column: usize) -> Option<u32> {
        match NUMBERS[usize::from(self.0)][column] {
            NONE => None,
            number if number >= OF_ARM => Some(ARM_PRIVATE + u32::from(number - OF_ARM)),
            number => Some(number.into()),
        }
    }
}

/// A call that the table is known to have: for constants.
#[must_use]
pub const fn call(name: &str) -> Call {
    Call::named(name).expect("the table has it")
}

/// Where the search for a name begins: FNV-1a.
const fn slot(name: &[u8]) -> usize {
    let (mut hash, mut at) = (0x811c_9dc5_u32, 0);
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash as usize % SLOTS
}

/// The table as the compiler reads it.
struct Table {
    names: [u8; Self::LENGTH],
    ends: [u16; CALLS],
    numbers: [[u16; COLUMNS.len()]; CALLS],
    rows: [u16; SLOTS],
}

impl Table {
    const LENGTH: usize = length_of_names(TEXT);
    const READ: Self = read(TEXT);
}

const fn lines(text: &[u8]) -> usize {
    let (mut at, mut lines) = (0, 0);
    while at < text.len() {
        lines += (text[at] == b'\n') as usize;
        at += 1;
    }
    lines
}

/// The start of the line behind the one at `at`.
const fn next_line(text: &[u8], mut at: usize) -> usize {
    while text[at] != b'\n' {
        at += 1;
    }
    at + 1
}

const fn first_row(text: &[u8]) -> usize {
    let (mut at, mut line) = (0, 0);
    while line < HEADER {
        at = next_line(text, at);
        line += 1;
    }
    at
}

const fn length_of_names(text: &[u8]) -> usize {
    let (mut at, mut length) = (first_row(text), 0);
    while at < text.len() {
        let start = at;
        while text[at] != b' ' {
            at += 1;
        }
        length += at - start;
        at = next_line(text, at);
    }
    length
}

const fn read(text: &[u8]) -> Table {
    let mut table = Table {
        names: [0; Table::LENGTH],
        ends: [0; CALLS],
        numbers: [[NONE; COLUMNS.len()]; CALLS],
        rows: [FREE; SLOTS],
    };
    let (mut at, mut row, mut end) = (first_row(text), 0, 0);
    while row < CALLS {
        let start = end;
        while text[at] != b' ' {
            table.names[end] = text[at];
            end += 1;
            at += 1;
        }
        table.ends[row] = end as u16;
        let mut slot = slot(table.names.split_at(end).0.split_at(start).1);
        while table.rows[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        table.rows[slot] = row as u16;
        let mut column = 0;
        while column < COLUMNS.len() {
            while text[at] == b' ' {
                at += 1;
            }
            let mut number = 0;
            while text[at].is_ascii_digit() {
                number = number * 10 + (text[at] - b'0') as u32;
                at += 1;
                table.numbers[row][column] = if number >= ARM_PRIVATE {
                    OF_ARM + (number - ARM_PRIVATE) as u16
                } else {
                    number as u16
                };
            }
            // What is no number is a "-": not there.
            if text[at] == b'-' {
                at += 1;
            }
            column += 1;
        }
        at = next_line(text, at);
        row += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_are_those_of_the_table() {
        let text = std::str::from_utf8(TEXT).unwrap();
        let header = text.lines().nth(HEADER - 1).unwrap();
        assert!(header.split_whitespace().skip(1).eq(COLUMNS));
    }

    #[test]
    fn every_number_of_the_text_is_found_by_its_name() {
        let text = std::str::from_utf8(TEXT).unwrap();
        let mut calls = Call::all();
        for line in text.lines().skip(HEADER) {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap();
            let call = Call::named(name).expect(name);
            assert_eq!((calls.next(), call.name()), (Some(call), name));
            for (column, word) in words.enumerate() {
                assert_eq!(call.number(column), word.parse().ok(), "{name} {}", COLUMNS[column]);
            }
        }
        assert_eq!(calls.next(), None);
        assert_eq!([Call::named("no_such_call"), Call::named(""), Call::named("zzz")], [None; 3]);
    }

    #[test]
    fn the_numbers_of_this_machine_are_those_of_its_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("clone3", libc::SYS_clone3),
            ("futex_waitv", libc::SYS_futex_waitv),
        ] {
            let column = super::super::architectures::NATIVE.column;
            let found = Call::named(name).and_then(|call| call.number(column));
            assert_eq!(found.map(i64::from), Some(number), "{name}");
        }
    }
}
