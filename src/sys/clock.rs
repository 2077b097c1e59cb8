//! The time of day as text: RFC 3339, section 5.6, in UTC with nanoseconds.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present time, such as `2026-11-21T09:35:03.000000000Z`.
#[must_use]
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs(), since.subsec_nanos())
}

fn format(seconds: u64, nanoseconds: u32) -> String {
    let seconds = seconds.try_into().unwrap_or_default();
    // SAFETY: `tm` is plain data, for which all zero bytes are a value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right type; gmtime_r keeps neither.
    unsafe { libc::gmtime_r(&raw const seconds, &raw mut tm) };
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
