//! Caches in clouds: S3, Azure's blobs, and the cache service of GitHub's workflows.
//!
//! Attributes come in as text, caches that are made of objects go out. Objects have the names and
//! contents that BuildKit gives them, so that each reads what the other wrote. A new kind is a file
//! with an [`ObjectCache`](objects::ObjectCache), and a line in [`BACKENDS`].

mod asked;
mod azblob;
mod blocks;
mod duration;
mod environment;
mod error;
mod gha;
mod http;
mod login;
mod objects;
mod parts;
mod s3;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::asked::Asked;
pub(crate) use self::asked::without_login;
pub use self::environment::CloudEnvironment;
use self::http::{Attempts, Connections, Http, Patience};
use self::objects::Backend;
pub use self::objects::CloudCache;
pub(crate) use self::objects::{InObjects, annotate, layers_of};
use self::secret::Scrubber;
use crate::attributes::AttributeError;

/// All kinds of clouds.
const BACKENDS: &[Backend] = &[azblob::BACKEND, gha::BACKEND, s3::BACKEND];

/// How to reach clouds. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clouds {
    environment: Arc<CloudEnvironment>,
    connections: Arc<Connections>,
    patience: Patience,
}

impl Clouds {
    /// With logins from this environment, where attributes have none.
    pub fn new(environment: CloudEnvironment) -> Self {
        Self { environment: Arc::new(environment), ..Self::default() }
    }

    fn http(&self, attempts: Attempts, scrubber: Scrubber) -> Http {
        Http::new(&self.connections, self.patience, attempts, scrubber)
    }

    /// The cache of this type with these attributes; `None` if there is no such kind of cloud.
    /// Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`AttributeError`].
    pub(crate) fn open(
        &self,
        kind: &str,
        attrs: &BTreeMap<String, String>,
    ) -> Result<Option<CloudCache>, AttributeError> {
        let Some(backend) = BACKENDS.iter().find(|backend| backend.kind == kind) else {
            return Ok(None);
        };
        let asked = Asked { kind: backend.kind, attrs, environment: &self.environment };
        (backend.open)(&asked, self).map(CloudCache).map(Some)
    }
}
