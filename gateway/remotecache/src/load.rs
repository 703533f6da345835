//! Results of imported caches become refs: their layers are pulled, checked and unpacked.
//!
//! The name of a result comes in, a ref of the store goes out. What cannot be had, or is not what the
//! cache says, is a miss that the client is shown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use futures::TryStreamExt as _;
use kiln_frontend::CacheImport;
use kiln_oci::{Descriptor, Digest};
use kiln_progress::{Progress, Sender, VertexStatus, Warning};
use kiln_store::{ApplyError, Blob, LayerBlob, Ref, Store};
use tokio::io::AsyncWriteExt as _;
use tokio_util::task::AbortOnDropHandle;

use crate::attributes::{AttributeError, ImportFrom, cache_name};
use crate::import::{ImportedCache, ImportedLayer, parse_name};
use crate::origin::{Cause, Reach};
use crate::progress::chain;

/// The imported caches of all builds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Imports {
    reach: Reach,
    store: Store,
    open: Arc<Mutex<BTreeMap<String, Weak<ImportedCache>>>>,
}

/// For whom a result is loaded.
#[derive(Clone, Debug)]
pub struct LoadFor {
    /// The sessions whose credentials and stores may be used.
    pub sessions: Vec<String>,
    /// The step.
    pub vertex: Digest,
    /// Who watches.
    pub progress: Sender,
}

impl Imports {
    /// No imported caches yet.
    pub fn new(reach: Reach, store: &Store) -> Self {
        Self { reach, store: store.clone(), open: Arc::default() }
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
        let (origin, sessions) = (self.reach.origin(from), vec![session.to_owned()]);
        let cache = ImportedCache::new(cache_name(import), origin, sessions, progress.clone());
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

    /// Whether a name is that of an imported result.
    pub fn is_imported(saved: &str) -> bool {
        parse_name(saved).is_some()
    }

    /// Pulls an imported result. `None` if it cannot be had, which is shown and is a miss.
    pub async fn load(&self, saved: &str, whom: &LoadFor) -> Option<Ref> {
        let (cache, number) = self.find(saved)?;
        let layers = cache.result(number)?.to_vec();
        match self.unpack(&cache, &layers, whom).await {
            Ok(files) => files,
            Err(error) => {
                let error = chain(&*error);
                tracing::info!(cache = cache.name(), error, "an imported result could not be used");
                let short = format!("a result of cache {} cannot be used: {error}", cache.name());
                whom.progress.send(Progress::Warning(Warning {
                    vertex: whom.vertex.clone(),
                    level: 1,
                    short,
                    detail: vec!["the step runs instead".into()],
                    url: String::new(),
                    info: None,
                    ranges: Vec::new(),
                }));
                None
            }
        }
    }

    async fn unpack(
        &self,
        cache: &Arc<ImportedCache>,
        layers: &[ImportedLayer],
        whom: &LoadFor,
    ) -> Result<Option<Ref>, Cause> {
        let mut top: Option<Ref> = None;
        let mut left = layers.iter().peekable();
        // Layers that were unpacked before are shared, and their blobs need not be here.
        while let Some(layer) = left.peek() {
            let Some(known) = known(layer) else { break };
            match self.store.apply(top.as_ref(), &known).await {
                Ok(applied) => top = Some(applied),
                Err(ApplyError::NoBlob(_)) => break,
                Err(error) => return Err(error.into()),
            }
            left.next();
        }
        let downloads: Vec<_> = left
            .map(|layer| {
                let (this, cache, whom) = (self.clone(), Arc::clone(cache), whom.clone());
                let wanted = layer.descriptor.clone();
                let task = async move { this.download(&cache, &wanted, &whom).await };
                (layer, AbortOnDropHandle::new(tokio::spawn(task)))
            })
            .collect();
        for (layer, download) in downloads {
            let blob = download.await??;
            let known = match known(layer) {
                Some(known) => known,
                None => self.measured(layer, &blob).await?,
            };
            top = Some(self.store.apply(top.as_ref(), &known).await?);
            drop(blob);
        }
        Ok(top)
    }

    /// The layer of a blob for which the cache does not say what is in it.
    async fn measured(&self, layer: &ImportedLayer, blob: &Blob) -> Result<LayerBlob, Cause> {
        let diff_id = self.store.diff_id(blob).await?;
        Ok(LayerBlob { descriptor: layer.descriptor.clone(), diff_id })
    }

    /// Brings a blob into the store.
    async fn download(
        &self,
        cache: &ImportedCache,
        descriptor: &Descriptor,
        whom: &LoadFor,
    ) -> Result<Blob, Cause> {
        let digest = &descriptor.digest;
        if let Some(blob) = self.store.blob(digest) {
            return Ok(blob);
        }
        let started = SystemTime::now();
        let status = |current, completed| VertexStatus {
            id: digest.to_string(),
            vertex: whom.vertex.clone(),
            name: String::new(),
            current,
            total: descriptor.size,
            timestamp: SystemTime::now(),
            started: Some(started),
            completed,
        };
        whom.progress.status(status(0, None));
        let mut writer = self.store.writer().await?;
        let mut stream = cache.origin.blob(&whom.sessions, descriptor);
        let mut received = 0;
        while let Some(chunk) = stream.try_next().await? {
            received += chunk.len() as u64;
            if received > descriptor.size {
                return Err(format!("{digest} has more than {} bytes", descriptor.size).into());
            }
            writer.write_all(&chunk).await?;
        }
        let blob = writer.commit(Some(digest), Some(descriptor.size)).await?;
        whom.progress.status(status(received, Some(SystemTime::now())));
        Ok(blob)
    }
}

fn known(layer: &ImportedLayer) -> Option<LayerBlob> {
    let diff_id = layer.diff_id.clone()?;
    Some(LayerBlob { descriptor: layer.descriptor.clone(), diff_id })
}
