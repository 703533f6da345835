//! What of a request may be written down: nothing huge.

use std::collections::BTreeMap;

/// The longest value that is remembered, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// The longest map that is remembered, in bytes.
const MAX_MAP: usize = 1 << 20;

/// A map that may be remembered: long values are cut, and what is beyond 1 MiB is left out, so that
/// no request makes the list of builds too long to be sent.
pub fn bounded(map: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let mut left = MAX_MAP;
    let mut bounded = BTreeMap::new();
    for (key, mut value) in map {
        if value.len() > MAX_VALUE {
            let end = (0..=MAX_VALUE).rev().find(|at| value.is_char_boundary(*at));
            value.truncate(end.unwrap_or_default());
            value.push('…');
        }
        let Some(rest) = left.checked_sub(key.len() + value.len()) else { continue };
        left = rest;
        bounded.insert(key, value);
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_map_is_cut() {
        let long = "é".repeat(MAX_VALUE);
        let map = bounded((0..40).map(|key| (key.to_string(), long.clone())));
        assert!(map.len() < 20 && map.len() > 10, "{}", map.len());
        assert!(map["0"].ends_with("é…"));
    }
}
