//! What of a request may be written down: nothing secret that is in an address, nothing huge.

use std::collections::BTreeMap;

/// The longest value that is remembered, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// The longest map that is remembered, in bytes.
const MAX_MAP: usize = 1 << 20;
/// What stands for a secret.
const HIDDEN: &str = "xxxxx";

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

/// A text without the name and password of the address that it is.
pub fn without_credentials(text: String) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text };
    if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    {
        return text;
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@').map(|(user, host)| (user.contains(':'), host)) {
        None => text,
        Some((true, host)) => format!("{scheme}://{HIDDEN}:{HIDDEN}@{host}{path}"),
        // A name alone is that of a service's account for SSH, and a token for HTTP.
        Some((false, _)) if scheme.contains("ssh") => text,
        Some((false, host)) => format!("{scheme}://{HIDDEN}@{host}{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_its_credentials_and_other_texts_nothing() {
        let stories = [
            ("https://me:token@example.com/a.git#v1", "https://xxxxx:xxxxx@example.com/a.git#v1"),
            ("https://token@example.com", "https://xxxxx@example.com"),
            ("ssh://git@example.com/a.git", "ssh://git@example.com/a.git"),
            ("https://example.com/a@b", "https://example.com/a@b"),
            ("say: http://a:b@c", "say: http://a:b@c"),
            ("git@example.com:a.git", "git@example.com:a.git"),
            ("", ""),
        ];
        for (given, shown) in stories {
            assert_eq!(without_credentials(given.to_owned()), shown);
        }
    }

    #[test]
    fn a_huge_map_is_cut() {
        let long = "é".repeat(MAX_VALUE);
        let map = bounded((0..40).map(|key| (key.to_string(), long.clone())));
        assert!(map.len() < 20 && map.len() > 10, "{}", map.len());
        assert!(map["0"].ends_with("é…"));
    }
}
