//! What looks like a secret. The secret itself is never repeated.

/// How well-known tokens begin, how long they are at least, and whose they are.
const TOKENS: &[(&str, usize, &str)] = &[
    ("ghp_", 36, "a GitHub token"),
    ("gho_", 36, "a GitHub token"),
    ("ghs_", 36, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("npm_", 36, "an npm token"),
    ("pypi-AgE", 40, "a PyPI token"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("AKIA", 20, "an AWS key"),
    ("ASIA", 20, "an AWS key"),
    ("AIza", 35, "a Google key"),
    ("sk_live_", 20, "a Stripe key"),
    ("dckr_pat_", 24, "a Docker token"),
    ("hf_", 30, "a Hugging Face token"),
];

/// Parts of names of variables that hold secrets.
const NAMES: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
];

/// Ends of names of variables that hold something about a secret, but not the secret.
const ABOUT: &[&str] = &["_FILE", "_PATH", "_DIR", "_NAME", "_ID", "_URL", "_URI", "_LENGTH"];

/// What a variable seems to hold, by its name and value.
pub(super) fn in_variable(name: &str, value: &str) -> Option<&'static str> {
    if let Some(what) = in_text(value) {
        return Some(what);
    }
    let name = name.to_ascii_uppercase();
    let named = NAMES.iter().any(|part| name.contains(part));
    let about = ABOUT.iter().any(|end| name.ends_with(end));
    // Paths, references to other variables and switches are not the secret itself.
    let literal = value.len() >= 4 && !value.starts_with(['/', '$']) && value != "true";
    (named && !about && literal && value != "false").then_some("what its name calls a secret")
}

/// What a text seems to hold.
pub(super) fn in_text(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_-.".contains(c));
    let mut words = words.filter(|word| word.len() >= 20);
    let token = words.find_map(|word| {
        let known =
            TOKENS.iter().find(|(start, least, _)| word.starts_with(start) && word.len() >= *least);
        known.map(|(_, _, what)| *what).or_else(|| is_jwt(word).then_some("a signed token (JWT)"))
    });
    token.or_else(|| {
        let mut addresses = text.split(|c: char| c.is_whitespace() || "'\"".contains(c));
        addresses.any(in_address).then_some("an address with a password")
    })
}

/// Whether an address has a user and a password before its host.
pub(super) fn in_address(address: &str) -> bool {
    let Some((_, rest)) = address.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    let password = user.split_once(':').map_or("", |(_, password)| password);
    !password.is_empty() && !password.starts_with('$')
}

fn is_jwt(word: &str) -> bool {
    let mut parts = word.split('.');
    let header = parts.next().is_some_and(|part| part.starts_with("eyJ") && part.len() > 10);
    header && parts.next().is_some_and(|part| part.starts_with("eyJ")) && parts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_how_they_begin() {
        let token = format!("ghp_{}", "a1".repeat(18));
        assert_eq!(in_text(&format!("curl -H 'Authorization: {token}' x")), Some("a GitHub token"));
        assert_eq!(in_text("npm_config_loglevel=silent"), None);
        assert_eq!(in_text("ghp_short"), None);
        assert_eq!(in_text("-----BEGIN RSA PRIVATE KEY-----\nx"), Some("a private key"));
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln";
        assert_eq!(in_text(jwt), Some("a signed token (JWT)"));
        assert_eq!(in_text("a 100% plain 'text' with sha256:abc and é"), None);
    }

    #[test]
    fn variables_are_known_by_their_names_too() {
        for (name, value, found) in [
            ("DB_PASSWORD", "hunter22", true),
            ("api_key", "abcd1234", true),
            ("DB_PASSWORD_FILE", "hunter22", false),
            ("TOKEN", "/run/secrets/token", false),
            ("TOKEN", "$OTHER", false),
            ("USE_TOKEN", "true", false),
            ("TOKEN", "", false),
            ("PATH", "/bin:/usr/bin", false),
        ] {
            assert_eq!(in_variable(name, value).is_some(), found, "{name}={value}");
        }
    }

    #[test]
    fn addresses_may_hold_passwords() {
        assert!(in_address("https://bot:hunter2@example.com/a.git"));
        for fine in ["https://bot@example.com/a", "https://a:$P@b/", "ssh://git@h:22/x", "a:b@c"] {
            assert!(!in_address(fine), "{fine}");
        }
    }
}
