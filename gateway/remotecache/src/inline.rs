//! A cache that rides in the config of an image: the records, with results by the layers of the image.

use kiln_oci::Digest;
use kiln_solver::Step;
use kiln_store::PackError;

use crate::collect::BuildCache;

/// The records of a build as JSON, for an image with layers of these diff ids; `None` if no result
/// consists of layers of the image.
///
/// # Errors
///
/// [`PackError`] if the store fails.
pub async fn inline(
    cache: &BuildCache,
    trail: &[Step],
    diff_ids: &[Digest],
) -> Result<Option<Vec<u8>>, PackError> {
    let chains = cache.collect_inline(std::slice::from_ref(&trail.to_vec())).await?;
    let records = chains.config_within(diff_ids);
    Ok(records.and_then(|records| serde_json::to_vec(&records).ok()))
}
