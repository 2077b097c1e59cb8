//! The time of day as text: RFC 3339, section 5.6, in UTC with nanoseconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present time, such as `2026-11-21T09:35:03.000000000Z`.
#[must_use]
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs(), since.subsec_nanos())
}

/// The present time in seconds since 1970.
#[must_use]
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// When something began, as the column STIME of ps(1): the hour today, else the day this year, else
/// the year; local time (tzset(3)). Both in seconds since 1970.
#[must_use]
pub fn start_time(start: u64, now: u64) -> String {
    let (start, now) = (broken_down(start, true), broken_down(now, true));
    if start.tm_year != now.tm_year {
        return (start.tm_year + 1900).to_string();
    }
    if start.tm_yday != now.tm_yday {
        return format!("{}{:02}", month(&start), start.tm_mday);
    }
    format!("{:02}:{:02}", start.tm_hour, start.tm_min)
}

fn month(tm: &libc::tm) -> &'static str {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    MONTHS[usize::try_from(tm.tm_mon).unwrap_or_default() % 12]
}

fn broken_down(seconds: u64, is_local: bool) -> libc::tm {
    let seconds = seconds.try_into().unwrap_or_default();
    // SAFETY: `tm` is plain data, for which all zero bytes are a value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let convert = if is_local { libc::localtime_r } else { libc::gmtime_r };
    // SAFETY: both pointers are to live values of the right type; neither function keeps them. That
    // localtime_r reads TZ races nobody: there is one thread.
    unsafe { convert(&raw const seconds, &raw mut tm) };
    tm
}

fn format(seconds: u64, nanoseconds: u32) -> String {
    let tm = broken_down(seconds, false);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{nanoseconds:09}Z",
        tm.tm_year + 1900,
        tm.tm_mon + 1,
        tm.tm_mday,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_leap_day_is_written_as_rfc_3339() {
        assert_eq!(super::format(1_709_164_799, 5), "2024-02-28T23:59:59.000000005Z");
        assert_eq!(super::format(1_709_164_800, 0), "2024-02-29T00:00:00.000000000Z");
    }
}
