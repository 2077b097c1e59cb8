//! Text for people: tables, sizes, and what images say, of which a terminal must not obey a byte.

use std::fmt::Write as _;
use std::io::{self, Write as _};

/// Writes a line to standard error.
pub fn say(line: &str) {
    // Nothing can be said about a standard error that is full or closed: the command goes on, and its
    // exit status tells. A panic would leave behind what was begun.
    io::stderr().write_all(format!("{line}\n").as_bytes()).ok();
}

/// With what a terminal would obey, or show in another order than it is, written as escapes.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        // Marks of direction (Unicode Standard Annex 9) can make one command look like another.
        let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if letter.is_control() || turns {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// A number of bytes: `84.9 MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be shown as 1000.0 is 1.0 of the next.
    while value >= 999.95 {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Of a column, in characters. A longer text moves the rest of its own row alone: an image could make
/// every row as long as its longest name, and `format!` takes no width beyond 16 bits.
const WIDEST: usize = 200;

/// Rows in columns, as wide as their widest text; the last is not filled up.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let texts = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        texts.map(|text: &String| text.chars().count()).max().unwrap_or_default().min(WIDEST)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("a String takes all");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_an_image_says() {
        assert_eq!(printable("a\u{1b}[2J\u{9b}b\u{202e}é"), "a\\u{1b}[2J\\u{9b}b\\u{202e}é");
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (84_900_000, "84.9 MB"),
            (999_949, "999.9 kB"),
            (999_999, "1.0 MB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let rows = [["é", "bb", "c"], ["aaa", "b", ""]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(table(&rows), "é    bb  c\naaa  b\n");
    }
    #[test]
    fn a_text_that_is_longer_than_any_column_moves_its_own_row() {
        let long = "a".repeat(100_000);
        let rows = [vec![long.clone(), "b".to_owned()], vec!["a".to_owned(), "b".to_owned()]];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("{long}  b"));
        assert_eq!(lines[1], format!("a{}b", " ".repeat(WIDEST + 1)));
    }
}
