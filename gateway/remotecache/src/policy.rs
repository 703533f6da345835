//! Whose signatures caches need, as whoever runs the daemon has it.
//!
//! Rules come in, in their order; the address of a cache goes in, and the signer that it needs comes out.
//! What a signature covers, and what becomes of a cache without it, is in [`signing`](crate::signing).

use crate::signing::RequiredSigner;

/// A rule for the caches with these addresses.
#[derive(Clone, Debug)]
pub struct CacheRule {
    /// Patterns of addresses, in which `*` is any text; all caches if there are none.
    /// An address is what a build names a cache by, such as the reference of a registry's.
    pub caches: Vec<String>,
    /// Who must have signed them; `None` if nobody must.
    pub signer: Option<RequiredSigner>,
}

/// Rules in their order. Without any, no cache needs a signature.
#[derive(Clone, Debug, Default)]
pub struct CachePolicy(pub Vec<CacheRule>);

impl CachePolicy {
    /// Who must have signed the cache with this address, by the first rule that fits it.
    ///
    /// The address of a cache in a registry is its whole reference, such as
    /// `registry.example.com/app:cache`; that of others is their type, `://`, and where the client says they
    /// are: `local:///home/me/cache`, `s3://bucket`.
    pub(crate) fn signer(&self, address: &str) -> Option<RequiredSigner> {
        let fits = |rule: &&CacheRule| {
            rule.caches.is_empty() || rule.caches.iter().any(|pattern| matches(pattern, address))
        };
        self.0.iter().find(fits)?.signer.clone()
    }
}

/// Whether a text is as a pattern says, in which `*` is any text, slashes among it.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        // The first place is the best: what is left for the others is longest.
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &[u8] = include_bytes!("../../signatures/fixtures/ssh-ed25519.pub");
    const RSA: &[u8] = include_bytes!("../../signatures/fixtures/ssh-rsa.pub");

    #[test]
    fn patterns_fit_whole_addresses() {
        for (pattern, text, expected) in [
            ("a/b:1", "a/b:1", true),
            ("a/b", "a/b:1", false),
            ("a/*", "a/b:1", true),
            ("a/*", "a/", true),
            ("*", "", true),
            ("*/b:*", "a/b:1", true),
            ("*b*b", "abab", true),
            ("*b*b", "ab", false),
            ("a*b", "ab", true),
            ("a*a", "a", false),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let signer = |keys| Some(RequiredSigner::parse(keys, "the policy").unwrap());
        let rule = |caches: &[&str], signer| CacheRule {
            caches: caches.iter().map(|pattern| (*pattern).into()).collect(),
            signer,
        };
        let policy = CachePolicy(vec![
            rule(&["local://*", "r.example.com/team/*"], signer(RSA)),
            rule(&["r.example.com/*"], None),
            rule(&[], signer(ED25519)),
        ]);
        let of = |address| policy.signer(address).map(|signer| signer.fingerprints());
        let known = |keys| signer(keys).map(|signer| signer.fingerprints());
        assert_eq!(of("r.example.com/team/app:1"), known(RSA));
        assert_eq!(of("local:///x"), known(RSA));
        assert_eq!(of("r.example.com/other:1"), None);
        assert_eq!(of("other.example.com/x:1"), known(ED25519));
        assert!(CachePolicy::default().signer("x").is_none());
    }
}
