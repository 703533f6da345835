//! A cache that rides in the config of an image: the records, with results by the layers of the image.

use futures::future::BoxFuture;
use kiln_oci::Digest;
use kiln_solver::Step;
use kiln_store::PackError;

use crate::collect::BuildCache;
use crate::signing::{self, CacheSigner};

/// A cache for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineRecords {
    /// The records as JSON.
    pub records: Vec<u8>,
    /// Signatures of the records and the layers of the image.
    pub signatures: Vec<String>,
}

/// The layers of an image that is to carry a cache, bottom first.
#[derive(Clone, Copy, Debug)]
pub struct InlineLayers<'a> {
    /// As the store has them, by diff id: results are known by these.
    pub stored: &'a [Digest],
    /// As the image has them, by diff id.
    pub exported: &'a [Digest],
}

/// The records of a build for an image with these layers, signed by each of these; `None` if no result
/// consists of layers of the image.
///
/// # Errors
///
/// [`PackError`] if the store fails.
pub fn inline<'a>(
    cache: &'a BuildCache,
    trail: &'a [Step],
    layers: InlineLayers<'a>,
    signers: &'a [&'a CacheSigner],
) -> BoxFuture<'a, Result<Option<InlineRecords>, PackError>> {
    Box::pin(async move {
        let chains = cache.collect_inline(std::slice::from_ref(&trail.to_vec())).await?;
        let Some(records) = chains.config_within(layers.stored) else { return Ok(None) };
        let statement = signing::inline_statement(&records, layers.exported);
        let signatures = signers.iter().map(|signer| signer.sign(&statement)).collect();
        let json = serde_json::to_vec(&records).ok();
        Ok(json.map(|records| InlineRecords { records, signatures }))
    })
}
