//! Dates of HTTP headers, in the three forms there are (RFC 9110, section 5.6.7).

use std::time::SystemTime;

/// Reads a date as Go does, which takes any name of a time zone in the second form for Greenwich's.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    if let Ok(time) = httpdate::parse_http_date(text) {
        return Some(time);
    }
    // `Friday, 27-Nov-26 15:11:59 UTC`
    let (date, zone) = text.rsplit_once(' ')?;
    let is_zone = zone.len() >= 3 && zone.bytes().all(|byte| byte.is_ascii_uppercase());
    let second_form = is_zone && date.contains('-');
    second_form.then(|| httpdate::parse_http_date(&format!("{date} GMT")).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let want = httpdate::parse_http_date("Fri, 27 Nov 2026 15:11:59 GMT").ok();
        assert!(want.is_some());
        for text in [
            "Fri, 27 Nov 2026 15:11:59 GMT",
            "Friday, 27-Nov-26 15:11:59 GMT",
            "Friday, 27-Nov-26 15:11:59 UTC",
            "Fri Nov 27 15:11:59 2026",
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        for text in ["", "yesterday", "UTC", "Fri, 27 Nov 2026 15:11:59 UTC", "27-Nov-26 UTC"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
