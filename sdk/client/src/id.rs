//! Random ids for builds and sessions.

/// A new id: 25 digits of base 36, as BuildKit makes them (`identity/randomid.go`).
pub fn new_id() -> String {
    let mut number: [u8; 17] = rand::random();
    // With the highest bit set the number always has 27 digits; the first is then not random.
    number[0] |= 0x80;
    base36(number)[1..26].to_owned()
}

fn base36(mut number: [u8; 17]) -> String {
    let mut digits = Vec::with_capacity(27);
    while number.iter().any(|byte| *byte != 0) {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = remainder << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 36).unwrap_or(u8::MAX);
            remainder = value % 36;
        }
        digits.push(char::from_digit(remainder, 36).unwrap_or('0'));
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_digits() {
        let mut number = [0; 17];
        number[16] = 35;
        assert_eq!(base36(number), "z");
        number[15] = 1;
        assert_eq!(base36(number), "83");
        assert_eq!(base36([0xff; 17]).len(), 27);
        let mut lowest = [0; 17];
        lowest[0] = 0x80;
        assert_eq!(base36(lowest).len(), 27);
    }

    #[test]
    fn ids_are_long_and_different() {
        let (one, two) = (new_id(), new_id());
        assert_eq!(one.len(), 25);
        assert!(one.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()));
        assert_ne!(one, two);
    }
}
