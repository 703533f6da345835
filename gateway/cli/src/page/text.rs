//! Times, sizes and long texts as the page shows them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

/// A time span: `12 ms`, `3.4 s`, `2 min 05 s`, `1 h 02 min`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_millis() < 1000 => format!("{} ms", time.as_millis()),
        0..10 => format!("{:.2} s", time.as_secs_f64()),
        10..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A moment, to the second, in UTC.
pub(super) fn moment(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (date, clock) = (time.date(), time.time());
    let (hour, minute, second) = clock.as_hms();
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A part of a whole in percent, for styles.
pub(super) fn percent(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        return 0.0;
    }
    (part.as_secs_f64() / whole.as_secs_f64() * 100.0).clamp(0.0, 100.0)
}

/// `1 step`, `2 steps`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_said_as_exactly_as_it_matters() {
        let said = |millis| span(Duration::from_millis(millis));
        assert_eq!([said(0), said(999), said(1500)], ["0 ms", "999 ms", "1.50 s"]);
        assert_eq!([said(12_345), said(125_000)], ["12.3 s", "2 min 05 s"]);
        assert_eq!(said(3_720_000), "1 h 02 min");
        let moment = moment(SystemTime::UNIX_EPOCH + Duration::from_secs(86_399));
        assert_eq!(moment, "1970-01-01 23:59:59 UTC");
    }

    #[test]
    fn nothing_of_nothing_is_nothing() {
        assert!(percent(Duration::ZERO, Duration::ZERO).abs() < f64::EPSILON);
        assert_eq!(count(1, "step", "steps"), "1 step");
    }
}
