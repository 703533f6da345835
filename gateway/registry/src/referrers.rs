//! What refers to a manifest: signatures and the like, which a registry lists by what they are about.

use futures::future::BoxFuture;
use kiln_oci::{Descriptor, Digest, Reference};
use serde::Deserialize;

use crate::{Credentials, Registry, RegistryError};

/// The most that is listed.
const MOST: usize = 1024;

/// A manifest that refers to another.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// The manifest.
    pub descriptor: Descriptor,
    /// What it says it is.
    pub artifact_type: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(rename = "artifactType", default)]
    artifact_type: String,
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    manifests: Vec<Listed>,
}

impl Registry {
    /// The manifests of a repository that refer to another one. A registry that cannot list them is asked
    /// for the tag that stands in for the list; without one, none refer to it.
    ///
    /// # Errors
    ///
    /// [`RegistryError`], also if the list does not decode.
    pub fn referrers<'a>(
        &'a self,
        reference: &'a Reference,
        digest: &'a Digest,
        credentials: &'a dyn Credentials,
    ) -> BoxFuture<'a, Result<Vec<Referrer>, RegistryError>> {
        Box::pin(async move {
            let subject = format!("referrers of {}@{digest}", reference.name());
            let stand_in = format!("manifests/{}-{}", digest.algorithm(), digest.hex());
            for tail in [format!("referrers/{digest}"), stand_in] {
                let fetched = self.fetch(reference, &subject, &tail, credentials, |_| Ok(())).await;
                let list = match fetched {
                    Ok(fetched) => serde_json::from_slice::<List>(&fetched.bytes),
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                };
                let list = list.map_err(|error| RegistryError::Document {
                    subject: subject.clone(),
                    what: format!("the list does not decode: {error}"),
                })?;
                let referrer = |listed: Listed| Referrer {
                    descriptor: listed.descriptor,
                    artifact_type: listed.artifact_type,
                };
                return Ok(list.manifests.into_iter().take(MOST).map(referrer).collect());
            }
            Ok(Vec::new())
        })
    }
}
