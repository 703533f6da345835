//! Texts that nobody is shown: keys and tokens, and messages that had them in them.

use std::fmt;

/// What stands where a secret stood.
const HIDDEN: &str = "xxxxx";

/// Shorter texts are no secrets, and would be found in every other word.
const SHORTEST: usize = 6;

/// A key or a token. It is not shown, not even for debugging.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// A text that is a secret from now on.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for those to whom it is sent.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Hides secrets in what servers say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrubber(Vec<Secret>);

impl Scrubber {
    /// Hides these.
    pub(crate) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self(secrets.into_iter().filter(|secret| secret.0.len() >= SHORTEST).collect())
    }

    /// The text without the secrets.
    pub(crate) fn scrub(&self, text: &str) -> String {
        let scrubbed = |text: String, secret: &Secret| text.replace(secret.reveal(), HIDDEN);
        self.0.iter().fold(text.to_owned(), scrubbed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let secret = Secret::new("s3cr3t-key");
        assert_eq!(format!("{:?}", Some(&secret)), "Some(xxxxx)");
        let scrubber = Scrubber::new([secret, Secret::new("ab")]);
        assert_eq!(scrubber.scrub("no s3cr3t-key for absent"), "no xxxxx for absent");
    }
}
