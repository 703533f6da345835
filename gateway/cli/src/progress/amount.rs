//! Bytes and times as people read them.

use std::time::Duration;

const UNITS: &[&str] = &["B", "kB", "MB", "GB", "TB", "PB"];

/// A number of bytes in decimal units: `524B`, `2.10MB`.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1000 {
        return format!("{count}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// ` 1.00MB / 2.00MB`, ` 1.00MB` or nothing.
pub(crate) fn transferred(current: u64, total: u64) -> String {
    match (current, total) {
        (0, 0) => String::new(),
        (current, 0) => format!(" {}", bytes(current)),
        (current, total) => format!(" {} / {}", bytes(current), bytes(total)),
    }
}

/// `1.2s`.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// The time before a line of a log: `0.123`, `12.34`, `123.4`.
pub(crate) fn log_stamp(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let decimals = match seconds {
        s if s < 10.0 => 3,
        s if s < 100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_decimal() {
        assert_eq!(bytes(999), "999B");
        assert_eq!(bytes(1000), "1.00kB");
        assert_eq!(bytes(27_090_000), "27.09MB");
        assert_eq!(transferred(0, 2000), " 0B / 2.00kB");
        assert_eq!(transferred(5, 0), " 5B");
        assert_eq!(transferred(0, 0), "");
    }

    #[test]
    fn log_stamps_keep_their_width() {
        assert_eq!(log_stamp(Duration::from_millis(123)), "0.123");
        assert_eq!(log_stamp(Duration::from_millis(12_345)), "12.35");
        assert_eq!(log_stamp(Duration::from_millis(123_456)), "123.5");
    }
}
