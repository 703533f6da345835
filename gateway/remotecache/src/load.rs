//! Results of imported caches become refs, whose layers stay in the cache until somebody looks into
//! them.
//!
//! The name of a result comes in, a ref of the store goes out. What cannot be had is a miss that the
//! client is shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures::future::BoxFuture;
use futures::future::try_join_all;
use kiln_frontend::CacheImport;
use kiln_oci::Descriptor;
use kiln_progress::Sender;
use kiln_store::{BlobProvider, ByteStream, LayerBlob, Ref, Requester, Store};

use crate::attributes::{AttributeError, ImportFrom, cache_name};
use crate::import::{ImportedCache, ImportedLayer, parse_name};
use crate::origin::{Cause, Reach};
use crate::policy::CachePolicy;
use crate::progress::chain;

/// The imported caches of all builds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Imports {
    reach: Reach,
    store: Store,
    policy: Arc<CachePolicy>,
    open: Arc<Mutex<BTreeMap<String, Weak<ImportedCache>>>>,
}

impl Imports {
    /// No imported caches yet; the policy says who must have signed them.
    pub fn new(reach: Reach, store: &Store, policy: CachePolicy) -> Self {
        Self { reach, store: store.clone(), policy: Arc::new(policy), open: Arc::default() }
    }

    /// How registries, clouds and clients are reached.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// A cache to import, which is not read yet; also the attributes that have no effect.
    ///
    /// # Errors
    ///
    /// [`AttributeError`] if it cannot be imported as it is asked for.
    pub fn open(
        &self,
        import: &CacheImport,
        session: &str,
        progress: &Sender,
    ) -> Result<(Arc<ImportedCache>, Vec<String>), AttributeError> {
        let (from, unused) = ImportFrom::parse(import, &self.reach.clouds)?;
        let asked = ImportFrom::signer(import)?;
        let required = asked.into_iter().chain(self.policy.signer(&from.address(import)));
        let (required, name) = (required.collect(), cache_name(import));
        let (origin, sessions) = (self.reach.origin(from), vec![session.to_owned()]);
        let cache = ImportedCache::new(name, origin, sessions, required, progress.clone());
        let cache = Arc::new(cache);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, cache| cache.strong_count() > 0);
        open.insert(cache.id().to_owned(), Arc::downgrade(&cache));
        Ok((cache, unused))
    }

    /// The imported cache that has a result, and the number of that; `None` for other results.
    pub(crate) fn find(&self, saved: &str) -> Option<(Arc<ImportedCache>, usize)> {
        let (cache, number) = parse_name(saved)?;
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Some((open.get(cache)?.upgrade()?, number))
    }

    /// Whether the builds of these sessions import any cache.
    pub fn are_imported(&self, sessions: &[String]) -> bool {
        !self.of_sessions(sessions).is_empty()
    }

    /// The caches that the builds of these sessions import.
    pub(crate) fn of_sessions(&self, sessions: &[String]) -> Vec<Arc<ImportedCache>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open: Vec<_> = open.values().filter_map(Weak::upgrade).collect();
        open.into_iter().filter(|cache| cache.is_of(sessions)).collect()
    }

    /// Where what is read of them goes.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether a name is that of an imported result.
    pub fn is_imported(saved: &str) -> bool {
        parse_name(saved).is_some()
    }

    /// Loads an imported result. Its layers stay where they are until somebody looks into them, if they
    /// will be found there by other builds, too; those that only a client of this one has are fetched.
    /// `None` if it cannot be had, which is shown and is a miss.
    pub fn load<'a>(
        &'a self,
        saved: &'a str,
        requester: &'a Requester,
    ) -> BoxFuture<'a, Option<Ref>> {
        Box::pin(async move {
            let (cache, number) = self.find(saved)?;
            let layers = cache.result(number)?.to_vec();
            match self.stacked(&cache, &layers, requester).await {
                Ok(files) => files,
                Err(error) => {
                    let error = chain(&*error);
                    tracing::info!(
                        cache = cache.name(),
                        error,
                        "an imported result could not be used"
                    );
                    let short =
                        format!("a result of cache {} cannot be used: {error}", cache.name());
                    requester.warn(short, "the step runs instead");
                    None
                }
            }
        })
    }

    async fn stacked(
        &self,
        cache: &Arc<ImportedCache>,
        layers: &[ImportedLayer],
        requester: &Requester,
    ) -> Result<Option<Ref>, Cause> {
        if layers.is_empty() {
            return Ok(None);
        }
        let provider = Arc::new(CacheLayers(Arc::clone(cache))) as Arc<dyn BlobProvider>;
        let known = layers.iter().map(|layer| self.known(layer, &*provider, requester));
        let known = try_join_all(known).await?;
        let stacked = self.store.lazy(&known, &provider).await?;
        if let Some(lost) = stacked.layers().iter().position(|layer| layer.is_lost()) {
            let layer = &layers[lost].descriptor.digest;
            return Err(format!("layer {layer} could not be had from it a short while ago").into());
        }
        if !cache.origin.is_lasting() || stacked.is_doubtful() {
            stacked.files(requester).await?;
            return Ok(Some(stacked));
        }
        // What is gone there is found out now, while the step can still run instead.
        let elsewhere = stacked.layers().iter().zip(&known).filter(|(layer, known)| {
            !layer.is_filled() && self.store.blob(&known.descriptor.digest).is_none()
        });
        let sessions = &requester.sessions;
        let asked = elsewhere.map(|(_, layer)| async move {
            match cache.has(sessions, &layer.descriptor).await {
                true => Ok(()),
                false => Err(Cause::from(format!("{} is not there", layer.descriptor.digest))),
            }
        });
        try_join_all(asked.collect::<Vec<_>>()).await?;
        Ok(Some(stacked))
    }

    /// What is in a layer. Of a blob for which the cache does not say it, that takes the blob.
    pub(crate) async fn known(
        &self,
        layer: &ImportedLayer,
        provider: &dyn BlobProvider,
        requester: &Requester,
    ) -> Result<LayerBlob, Cause> {
        let diff_id = match &layer.diff_id {
            Some(diff_id) => diff_id.clone(),
            None => {
                let blob = self.store.fetch(&layer.descriptor, provider, requester).await?;
                self.store.diff_id(&blob).await?
            }
        };
        Ok(LayerBlob { descriptor: layer.descriptor.clone(), diff_id })
    }
}

/// The layers in an imported cache.
pub(crate) struct CacheLayers(pub(crate) Arc<ImportedCache>);

impl BlobProvider for CacheLayers {
    fn name(&self) -> String {
        format!("cache {}", self.0.name())
    }

    fn open(&self, blob: &Descriptor, requester: &Requester) -> ByteStream {
        self.0.open(&requester.sessions, blob)
    }

    /// A cache may be missing, broken or slow: whatever the reason, the step runs instead.
    fn has_lost(&self, _: &(dyn std::error::Error + 'static)) -> bool {
        true
    }
}
