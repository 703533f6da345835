//! Signals of `STOPSIGNAL`.

/// The signals of Linux by name, but for the real-time ones.
const SIGNALS: &[(&str, i64)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The lowest and the highest real-time signal.
const REAL_TIME: (i64, i64) = (34, 64);

/// The number of a signal: `9`, `KILL`, `SIGKILL`, `RTMIN+3`, `SIGRTMAX-1`, in any case.
///
/// Any number but 0 is taken as it is.
///
/// # Errors
///
/// The reference's text: there is no such signal.
pub fn parse_signal(text: &str) -> Result<i64, String> {
    let number = match super::parse_int(text, 10, 64) {
        Ok(number) => Some(number).filter(|number| *number != 0),
        Err(_) => named(&text.to_uppercase()),
    };
    number.ok_or_else(|| format!("invalid signal: {text}"))
}

fn named(name: &str) -> Option<i64> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return offset_of(offset, '+', 15).map(|offset| REAL_TIME.0 + offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return offset_of(offset, '-', 14).map(|offset| REAL_TIME.1 - offset);
    }
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Nothing is 0; a sign and a number from 1 to `most`, written without leading zeros, is that.
fn offset_of(text: &str, sign: char, most: i64) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    let offset = digits.parse().ok().filter(|offset| (1..=most).contains(offset))?;
    (offset.to_string() == digits).then_some(offset)
}
