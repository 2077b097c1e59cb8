//! Lists of processors and memory nodes: cpuset(7), "List format".

/// More processors no kernel is built for (NR_CPUS).
pub const LAST_PROCESSOR: usize = 8191;

/// One bit for each number; `None` if the text is no list of numbers and ranges up to `last`.
#[must_use]
pub fn parse(text: &str, last: usize) -> Option<Vec<u64>> {
    let mut mask = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let (from, to): (usize, usize) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        if from > to || to > last {
            return None;
        }
        mask.resize(mask.len().max(to / 64 + 1), 0);
        for number in from..=to {
            mask[number / 64] |= 1 << (number % 64);
        }
    }
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_list_has_numbers_and_ranges() {
        assert_eq!(parse("", 1023), Some(vec![]));
        assert_eq!(parse("0,2-3", 1023), Some(vec![0b1101]));
        assert_eq!(parse("64", 1023), Some(vec![0, 1]));
        assert_eq!(parse("0, 2", 1023), Some(vec![0b101]));
        for wrong in ["x", "3-1", "1024", "1,,2", "-1", ",", "0,", "0-", "0--1", "0-3/2x", "\0"] {
            assert_eq!(parse(wrong, 1023), None, "{wrong}");
        }
    }
}
