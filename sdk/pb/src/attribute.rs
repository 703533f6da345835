//! Values of attributes, which travel as text.

/// Reads a number as Go does one of any base: `0o640` and `0640` are octal, `0x1a0` is hexadecimal.
pub fn number(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.as_str() {
        text if text.starts_with("0x") => (&text[2..], 16),
        text if text.starts_with("0o") => (&text[2..], 8),
        text if text.starts_with("0b") => (&text[2..], 2),
        text if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        text => (text, 10),
    };
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_says_the_base() {
        for (text, value) in [
            ("0", Some(0)),
            ("420", Some(420)),
            ("0644", Some(0o644)),
            ("0o644", Some(0o644)),
            ("0X1A4", Some(0o644)),
            ("0b11", Some(3)),
            ("08", None),
            ("-1", None),
            ("4294967296", None),
            ("", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }
}
