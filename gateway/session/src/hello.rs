//! What a client says about itself when it opens a session: the metadata of `Control.Session`.

use std::collections::BTreeSet;
use std::time::Duration;

use tonic::metadata::MetadataMap;

const UUID: &str = "x-docker-expose-session-uuid";
const NAME: &str = "x-docker-expose-session-name";
const SHARED_KEY: &str = "x-docker-expose-session-sharedkey";
const METHOD: &str = "x-docker-expose-session-grpc-method";
const HEALTH_TIMEOUT: &str = "x-buildkit-session-health-custom-timeout";

/// The longest id, name or key, in bytes.
const MAX_BYTES: usize = 1024;
/// The most methods one client may offer.
const MAX_METHODS: usize = 1024;

/// The parsed metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// Names the session; the build request carries the same.
    pub id: String,
    /// For people.
    pub name: String,
    /// Says which sessions look at the same files; empty if the client does not know.
    pub shared_key: String,
    /// What the client serves, lower-case, such as `/moby.filesync.v1.filesync/diffcopy`.
    pub methods: BTreeSet<String>,
    /// How long an answer to a health check may take, if the client says so.
    pub health_timeout: Option<Duration>,
}

/// Why a session cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// No id, so no build could ever find it.
    #[error("missing {UUID} in the request's metadata")]
    NoId,
    /// A value that is too long or not text.
    #[error("invalid {0} in the request's metadata")]
    Invalid(&'static str),
}

impl Hello {
    /// Reads the metadata of the request.
    ///
    /// # Errors
    ///
    /// See [`HelloError`].
    pub fn parse(metadata: &MetadataMap) -> Result<Self, HelloError> {
        let id = text(metadata, UUID)?;
        if id.is_empty() {
            return Err(HelloError::NoId);
        }
        let mut methods = BTreeSet::new();
        for method in metadata.get_all(METHOD) {
            let method = method.to_str().map_err(|_| HelloError::Invalid(METHOD))?;
            methods.insert(method.to_ascii_lowercase());
        }
        if methods.len() > MAX_METHODS {
            return Err(HelloError::Invalid(METHOD));
        }
        let health_timeout = health_timeout(&text(metadata, HEALTH_TIMEOUT)?);
        Ok(Self {
            id,
            name: text(metadata, NAME)?,
            shared_key: text(metadata, SHARED_KEY)?,
            methods,
            health_timeout,
        })
    }
}

fn text(metadata: &MetadataMap, key: &'static str) -> Result<String, HelloError> {
    let Some(value) = metadata.get(key) else { return Ok(String::new()) };
    let value = value.to_str().ok().filter(|value| value.len() <= MAX_BYTES);
    value.map(str::to_owned).ok_or(HelloError::Invalid(key))
}

/// A number of milliseconds, but not less than a second; anything else is as good as nothing.
fn health_timeout(text: &str) -> Option<Duration> {
    let milliseconds = text.parse::<u32>().ok().filter(|number| *number > 0)?;
    Some(Duration::from_millis(milliseconds.into()).max(Duration::from_secs(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_health_checks_is_a_number_of_milliseconds() {
        assert_eq!(health_timeout("2500"), Some(Duration::from_millis(2500)));
        assert_eq!(health_timeout("5"), Some(Duration::from_secs(1)));
        for nothing in ["", "0", "-1", "2s", "99999999999"] {
            assert_eq!(health_timeout(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_session_without_an_id_is_refused() {
        assert!(matches!(Hello::parse(&MetadataMap::new()), Err(HelloError::NoId)));
    }

    #[test]
    fn methods_compare_in_lower_case() {
        let mut metadata = MetadataMap::new();
        metadata.insert(UUID, "id".parse().unwrap());
        metadata.append(METHOD, "/moby.filesync.v1.FileSync/DiffCopy".parse().unwrap());
        metadata.append(METHOD, "/moby.filesync.v1.Auth/Credentials".parse().unwrap());
        let hello = Hello::parse(&metadata).unwrap();
        assert!(hello.methods.contains("/moby.filesync.v1.filesync/diffcopy"));
        assert_eq!(hello.methods.len(), 2);
    }
}
