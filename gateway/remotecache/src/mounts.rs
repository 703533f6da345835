//! Cache mounts in caches: each is a record of its own, whose result has one layer.
//!
//! The record has no inputs, and a digest that is made of the id alone; so it goes to every type of cache
//! as others do, and means nothing to a reader that does not know of it.

use futures::future::BoxFuture;
use kiln_cache::CacheKey;
use kiln_oci::Digest;
use kiln_store::{Blob, BlobProvider, Requester};

use crate::chains::{ChainResult, Chains};
use crate::collect::{BuildCache, ExportLayer, stored_layer};
use crate::import::ImportedCache;
use crate::load::{CacheLayers, Imports};
use crate::origin::Cause;
use crate::progress::chain;

/// Which cache mounts are exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountExport {
    /// Their ids.
    pub ids: Vec<String>,
    /// The most bytes that the files of one may have; a larger one is not exported.
    pub limit: u64,
}

/// What the files of a cache mount may have, if nothing else is said: 1 GiB.
pub(crate) const LIMIT: u64 = 1 << 30;

impl Default for MountExport {
    fn default() -> Self {
        Self { ids: Vec::new(), limit: LIMIT }
    }
}

/// The digest of the record of a cache mount.
pub(crate) fn record_of(id: &str) -> Digest {
    Digest::sha256(format!("kiln.cache-mount.v1 {id}"))
}

/// How an id may be spelled in a graph: Dockerfile's frontend puts the namespace of a build, which is
/// empty as a rule, and a slash before what the user wrote.
fn spellings(id: &str) -> [String; 2] {
    [id.to_owned(), format!("/{id}")]
}

impl BuildCache {
    /// Adds cache mounts to what is exported; gives why some are not.
    pub(crate) async fn add_mounts(
        &self,
        mounts: &MountExport,
        compression: kiln_store::Compression,
        chains: &mut Chains<ExportLayer>,
    ) -> Vec<String> {
        let mut problems = Vec::new();
        for id in &mounts.ids {
            let mut is_known = false;
            for id in spellings(id) {
                match self.store.carry(&(self.mount_key)(&id), mounts.limit, compression).await {
                    Ok(Some(carried)) => {
                        let item = chains.add(CacheKey::of_digest(&record_of(&id)), Vec::new());
                        let layers = vec![stored_layer(carried.layer, carried.blob)];
                        chains.add_result(item, ChainResult { created: carried.changed, layers });
                    }
                    Ok(None) => continue,
                    Err(error) => {
                        let problem = chain(&error);
                        problems.push(format!("cache mount {id} is not exported: {problem}"));
                    }
                }
                is_known = true;
            }
            if !is_known {
                let problem = "there is none of this id that has anything in it and stands alone";
                problems.push(format!("cache mount {id} is not exported: {problem}"));
            }
        }
        problems
    }
}

impl Imports {
    /// What a cache mount had in it where one of the caches was exported that the builds of these sessions
    /// import: the blob of a layer, and the digest of its tar. What is known but cannot be had is shown
    /// and is a miss.
    pub fn mount<'a>(
        &'a self,
        id: &'a str,
        requester: &'a Requester,
    ) -> BoxFuture<'a, Option<(Blob, Digest)>> {
        Box::pin(async move {
            let mut known = Vec::new();
            for cache in self.of_sessions(&requester.sessions) {
                if let Some((number, created)) = cache.mount(&record_of(id)).await {
                    known.push((created, cache, number));
                }
            }
            known.sort_by_key(|(created, ..)| std::cmp::Reverse(*created));
            for (_, cache, number) in known {
                match self.mounted(&cache, number, requester).await {
                    Ok(found) => return Some(found),
                    Err(error) => warn(requester, id, &cache, &chain(&*error)),
                }
            }
            None
        })
    }

    async fn mounted(
        &self,
        cache: &std::sync::Arc<ImportedCache>,
        number: usize,
        requester: &Requester,
    ) -> Result<(Blob, Digest), Cause> {
        let [layer] = cache.result(number).unwrap_or_default() else {
            return Err("it is not one layer".into());
        };
        let provider = CacheLayers(std::sync::Arc::clone(cache));
        let known = self.known(layer, &provider as &dyn BlobProvider, requester).await?;
        let blob = self.store().fetch(&known.descriptor, &provider, requester).await?;
        Ok((blob, known.diff_id))
    }
}

fn warn(requester: &Requester, id: &str, cache: &ImportedCache, problem: &str) {
    tracing::info!(id, cache = cache.name(), problem, "an imported cache mount could not be had");
    let short = format!("cache mount {id} of cache {} cannot be used: {problem}", cache.name());
    requester.warn(short, "it begins empty, unless another cache has it");
}
