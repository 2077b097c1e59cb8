//! A length of time as Go writes it: `5s`, `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// What a unit is in nanoseconds.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("\u{b5}s", 1e3),
    ("\u{3bc}s", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads a length of time; `None` if it is none, 0 if it is negative.
pub fn parse(text: &str) -> Option<Duration> {
    let is_negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanoseconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    if text.is_empty() || text.len() == 1 {
        return None;
    }
    // Go has no longer one: 64 bits of nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "292 years, and a microsecond does not matter")]
    if nanoseconds > i64::MAX as f64 {
        return None;
    }
    let seconds = if is_negative { 0.0 } else { nanoseconds / 1e9 };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_duration_has_numbers_and_units() {
        for (text, milliseconds) in [
            ("5s", 5000),
            ("+5s", 5000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            (".5s", 500),
            ("2000\u{b5}s", 2),
            ("0", 0),
            ("0s", 0),
            ("-3s", 0),
        ] {
            let duration = parse(text).map(|duration| duration.as_millis());
            assert_eq!(duration, Some(milliseconds), "{text}");
        }
        for text in ["", "-", "+", "5", "s", "5 s", "5x", "1s2", "1..5s", ".s", "3000000h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
