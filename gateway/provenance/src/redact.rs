//! Addresses without the names and passwords in them.

/// What stands for a secret.
const HIDDEN: &str = "xxxxx";

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
}
