//! A cache that was imported: read when it is first asked, then a source like the one on disk.
//!
//! A manifest comes in, a config without one, or an image with a cache in its config; records and links go out, and results
//! that are layers elsewhere. Nothing of a layer is read here. A cache that is missing, broken or late
//! is shown as a warning, and knows nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _};
use kiln_cache::{
    Answer, Answering, CacheKey, CacheSource, CacheStore, ExportGraph, InputKey, LinkStore, Lookup,
    MemoryKeyValue, SavedRecord, SavedResult, Saving, Sum,
};
use kiln_oci::{Descriptor, Digest, Index, Manifest, MediaKind};
use kiln_progress::Sender;
use kiln_registry::{DOCUMENT_LIMIT, media_type_of};
use kiln_store::estargz;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::cloud::layers_of;
use crate::config::{
    CACHE_CONFIG, CacheConfig, ConfigError, ConfigLayer, ConfigRecord, LARGEST_CONFIG, index,
    parse_time,
};
use crate::origin::{ByteStream, CacheOrigin, Cause, Root, heard, read};
use crate::progress::{Reporter, chain};
use crate::signing::{self, RequiredSigner, Untrusted};

/// How long it may take to read what a cache has.
const LIMIT: Duration = Duration::from_secs(120);

/// The most images of an index that are looked at for a cache.
const MOST_IMAGES: usize = 64;

/// The annotation of a layer with the digest of its tar.
pub(crate) const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// The annotation of a layer with when it was made.
pub(crate) const CREATED: &str = "buildkit/createdat";

/// The annotations of a layer that are believed.
const KEPT: &[&str] = &[CREATED, estargz::TABLE_DIGEST, estargz::UNCOMPRESSED_SIZE];

/// Whether something follows from an annotation of a layer, so that it is signed with the rest.
pub(crate) fn is_believed(annotation: &str) -> bool {
    annotation == UNCOMPRESSED || KEPT.contains(&annotation)
}

/// Begins the names of imported results.
const PREFIX: &str = "imported:";

/// A layer of an imported result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedLayer {
    /// The blob that holds it.
    pub descriptor: Descriptor,
    /// The digest of its tar, if the cache says so.
    pub diff_id: Option<Digest>,
}

/// A cache that was imported.
pub struct ImportedCache {
    id: String,
    name: String,
    pub(crate) origin: Arc<dyn CacheOrigin>,
    /// The sessions of the build that imports it.
    sessions: Vec<String>,
    /// Whose signatures it needs to be read.
    required: Vec<RequiredSigner>,
    progress: Sender,
    known: OnceCell<Option<Known>>,
    /// Whether blobs are there, as far as that was asked.
    there: Mutex<BTreeMap<Digest, bool>>,
    /// It was asked for a blob and did not answer in time, so that it is asked no more.
    is_silent: AtomicBool,
}

/// What a cache has.
struct Known {
    links: LinkStore<MemoryKeyValue>,
    /// The layers of its results, bottom first.
    results: Vec<Vec<ImportedLayer>>,
    /// The first result of each record without inputs, and when it was made.
    roots: BTreeMap<Digest, (usize, u64)>,
}

impl std::fmt::Debug for ImportedCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImportedCache").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ImportedCache {
    pub(crate) fn new(
        name: String,
        origin: Arc<dyn CacheOrigin>,
        sessions: Vec<String>,
        required: Vec<RequiredSigner>,
        progress: Sender,
    ) -> Self {
        let id = format!("{:032x}", rand::random::<u128>());
        Self {
            id,
            name,
            origin,
            sessions,
            required,
            progress,
            known: OnceCell::new(),
            there: Mutex::default(),
            is_silent: AtomicBool::new(false),
        }
    }

    /// Tells it from all other imported caches of this process.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layers of one of its results.
    pub(crate) fn result(&self, number: usize) -> Option<&[ImportedLayer]> {
        self.known.get()?.as_ref()?.results.get(number).map(Vec::as_slice)
    }

    /// Whether a build with one of these sessions imports it. Nobody's session is no one's.
    pub(crate) fn is_of(&self, sessions: &[String]) -> bool {
        let own = self.sessions.iter().filter(|session| !session.is_empty());
        own.into_iter().any(|session| sessions.contains(session))
    }

    /// The result of a record without inputs, and when it was made, in nanoseconds since 1970.
    pub(crate) async fn mount(&self, record: &Digest) -> Option<(usize, u64)> {
        self.known().await?.roots.get(record).copied()
    }

    /// Everything in it that leads to these records; nothing if it was not read yet.
    pub(crate) fn graph(&self, records: &[CacheKey]) -> ExportGraph {
        let known = self.known.get().and_then(Option::as_ref);
        known.and_then(|known| known.links.export(records).ok()).unwrap_or_default()
    }

    /// Whether a build has asked it for something.
    pub fn was_asked(&self) -> bool {
        self.known.initialized()
    }

    /// The operations that it has records of, without their inputs; `None` if it was not read.
    pub fn operations(&self) -> Option<BTreeSet<CacheKey>> {
        self.known.get()?.as_ref()?.links.operations().ok()
    }

    /// Whether a blob is still there; asked once.
    pub(crate) async fn has(&self, sessions: &[String], descriptor: &Descriptor) -> bool {
        if self.is_silent.load(Ordering::Relaxed) {
            return false;
        }
        let known = |of: &Self| {
            of.there.lock().unwrap_or_else(PoisonError::into_inner).get(&descriptor.digest).copied()
        };
        if let Some(known) = known(self) {
            return known;
        }
        let has = self.origin.has(sessions, descriptor);
        let has = heard(has).await.unwrap_or_else(|_| {
            self.is_silent.store(true, Ordering::Relaxed);
            false
        });
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.insert(descriptor.digest.clone(), has);
        has
    }

    /// Opens a blob for who has one of these sessions; who has none asks as the build that imports the
    /// cache.
    pub(crate) fn open(&self, sessions: &[String], blob: &Descriptor) -> ByteStream {
        let sessions = if sessions.is_empty() { &self.sessions } else { sessions };
        self.origin.blob(sessions, blob)
    }

    async fn known(&self) -> Option<&Known> {
        self.known.get_or_init(|| self.read()).await.as_ref()
    }

    async fn read(&self) -> Option<Known> {
        let title = format!("importing cache manifest from {}", self.name);
        let reporter = Reporter::start(&self.progress, &format!("{title} {}", self.id), &title);
        let read = tokio::time::timeout(LIMIT, self.read_all()).await;
        let read = read.unwrap_or_else(|_| {
            Err(format!("it was not read within {} seconds", LIMIT.as_secs()).into())
        });
        match read {
            Ok(known) => {
                reporter.finish(None);
                Some(known)
            }
            Err(error) => {
                let error = chain(&*error);
                tracing::info!(cache = self.name, error, "a cache could not be imported");
                let short = format!("cache {} is not imported: {error}", self.name);
                reporter.warn(short, "the build goes on without it".into());
                reporter.finish(Some(&error));
                None
            }
        }
    }

    async fn read_all(&self) -> Result<Known, Cause> {
        let mut collected = Collected::new(&self.id);
        let root = match heard(self.origin.root(&self.sessions)).await?? {
            Root::Manifest(root) => root,
            Root::Configs(configs) => {
                for config in configs {
                    let config = CacheConfig::parse(&config)?;
                    let layers = believed(layers_of(&config).into_values());
                    self.check(&config.signatures, || signing::statement(&config, &layers))?;
                    collected.add(&config, &self.marked(layers))?;
                }
                return Ok(collected.known());
            }
        };
        match CacheManifest::parse(&root)? {
            CacheManifest::Config { config, layers } => {
                let bytes = self.document(&config, LARGEST_CONFIG).await?;
                let (config, layers) = (CacheConfig::parse(&bytes)?, believed(layers));
                self.check(&config.signatures, || signing::statement(&config, &layers))?;
                collected.add(&config, &self.marked(layers))?;
            }
            CacheManifest::Image(manifest) => self.read_image(*manifest, &mut collected).await?,
            CacheManifest::Index(index) => self.read_images(index, &mut collected).await?,
        }
        Ok(collected.known())
    }

    /// Reads the caches in the images of an index. One that has none is passed over.
    async fn read_images(&self, index: Index, collected: &mut Collected<'_>) -> Result<(), Cause> {
        let images = index.manifests.into_iter().take(MOST_IMAGES);
        let images = images.filter(|image| MediaKind::of(&image.media_type) == MediaKind::Manifest);
        let read = stream::iter(images.collect::<Vec<_>>())
            .map(|image| async move { self.document(&image, DOCUMENT_LIMIT).await });
        let mut read = read.buffered(8);
        while let Some(bytes) = read.next().await {
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes?) else { continue };
            self.read_image(manifest, collected).await?;
        }
        Ok(())
    }

    async fn read_image(
        &self,
        manifest: Manifest,
        collected: &mut Collected<'_>,
    ) -> Result<(), Cause> {
        if manifest.layers.is_empty()
            || MediaKind::of(&manifest.config.media_type) != MediaKind::Other
        {
            return Ok(());
        }
        let bytes = self.document(&manifest.config, LARGEST_CONFIG).await?;
        // Other artifacts than images have configs of other forms.
        let Ok(image) = serde_json::from_slice::<ImageWithCache>(&bytes) else { return Ok(()) };
        let Some((config, layers)) = image.cache(manifest.layers)? else { return Ok(()) };
        let diff_ids = || layers.iter().map(|(_, diff_id)| diff_id.clone()).collect::<Vec<_>>();
        let statement = || signing::inline_statement(&config.records, &diff_ids());
        self.check(&config.signatures, statement)?;
        let layers = layers.into_iter().map(|(mut layer, diff_id)| {
            // Of a layer of an image nothing is signed but what it is uncompressed.
            if !self.required.is_empty() {
                layer.annotations.retain(|name, _| name == CREATED);
            }
            ImportedLayer::believed(layer, Some(diff_id))
        });
        let layers = layers.map(|layer| (layer.descriptor.digest.clone(), layer)).collect();
        Ok(collected.add(&config, &self.marked(layers))?)
    }

    /// Refuses what is not signed by everyone whose signature it needs.
    fn check(
        &self,
        signatures: &[String],
        statement: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), Untrusted> {
        signing::check(&self.required, signatures, statement)
    }

    async fn document(&self, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Cause> {
        if descriptor.size > limit {
            return Err(format!("{} has more than {limit} bytes", descriptor.digest).into());
        }
        read(self.origin.blob(&self.sessions, descriptor), &descriptor.digest, limit).await
    }

    /// The layers with where they come from.
    fn marked(&self, mut layers: Layered) -> Layered {
        layers.values_mut().for_each(|layer| self.origin.mark(&mut layer.descriptor));
        layers
    }
}

/// Layers by the blobs that hold them.
type Layered = BTreeMap<Digest, ImportedLayer>;

/// What is believed of layers as a cache lists them.
pub(crate) fn believed(layers: impl IntoIterator<Item = Descriptor>) -> Layered {
    let layers = layers.into_iter().map(|layer| ImportedLayer::believed(layer, None));
    layers.map(|layer| (layer.descriptor.digest.clone(), layer)).collect()
}

impl ImportedLayer {
    /// What is believed of a layer as a cache describes it.
    fn believed(mut descriptor: Descriptor, diff_id: Option<Digest>) -> Self {
        let annotated = || descriptor.annotations.get(UNCOMPRESSED)?.parse().ok();
        let diff_id = diff_id.or_else(annotated);
        descriptor.urls.clear();
        descriptor.platform = None;
        descriptor.annotations.retain(|key, _| KEPT.contains(&key.as_str()));
        if let Some(diff_id) = &diff_id {
            descriptor.annotations.insert(UNCOMPRESSED.into(), diff_id.to_string());
        }
        Self { descriptor, diff_id }
    }
}

impl CacheSource for ImportedCache {
    fn look_up<'a>(&'a self, lookup: &'a Lookup) -> Answering<'a, Answer> {
        Box::pin(async move {
            match self.known().await {
                Some(known) => known.links.look_up(lookup).await,
                None => Answer::default(),
            }
        })
    }
}

/// The name of a result of an imported cache.
fn name_of(cache: &str, number: usize) -> String {
    format!("{PREFIX}{cache}/{number}")
}

/// The cache and the number that the name of a result says, if it is that of an imported one.
pub(crate) fn parse_name(saved: &str) -> Option<(&str, usize)> {
    let (cache, number) = saved.strip_prefix(PREFIX)?.split_once('/')?;
    Some((cache, number.parse().ok()?))
}

/// What the manifest of a cache is.
enum CacheManifest {
    /// A cache of its own.
    Config { config: Descriptor, layers: Vec<Descriptor> },
    /// An image that may have a cache in its config.
    Image(Box<Manifest>),
    /// Several images.
    Index(Index),
}

impl CacheManifest {
    fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        if MediaKind::of(&media_type_of(bytes)) == MediaKind::Index {
            let mut index: Index = serde_json::from_slice(bytes)?;
            let config = index.manifests.iter().position(|part| part.media_type == CACHE_CONFIG);
            return Ok(match config {
                Some(at) => {
                    let config = index.manifests.remove(at);
                    Self::Config { config, layers: index.manifests }
                }
                None => Self::Index(index),
            });
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        Ok(match manifest.config.media_type == CACHE_CONFIG {
            true => Self::Config { config: manifest.config, layers: manifest.layers },
            false => Self::Image(Box::new(manifest)),
        })
    }
}

/// The parts of an image config that matter here.
#[derive(Deserialize)]
struct ImageWithCache {
    #[serde(default)]
    rootfs: Layers,
    #[serde(rename = "moby.buildkit.cache.v0", default)]
    cache: Option<String>,
    #[serde(rename = "kiln.cache.signatures", default)]
    signatures: Option<Vec<String>>,
    #[serde(default)]
    history: Option<Vec<HistoryEntry>>,
}

#[derive(Default, Deserialize)]
struct Layers {
    #[serde(default)]
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct HistoryEntry {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    empty_layer: bool,
}

type ImageCache = (CacheConfig, Vec<(Descriptor, Digest)>);

impl ImageWithCache {
    /// The cache of the image, whose layers are numbered as they are in it; with the layers and their
    /// diff ids. `None` if it has none, or manifest and config do not fit together.
    fn cache(self, layers: Vec<Descriptor>) -> Result<Option<ImageCache>, Cause> {
        use base64::Engine as _;
        let Some(cache) = self.cache else { return Ok(None) };
        if self.rootfs.diff_ids.len() != layers.len() {
            tracing::debug!("an image with a cache has other layers than its config says");
            return Ok(None);
        }
        let json = base64::engine::general_purpose::STANDARD.decode(cache)?;
        let records = serde_json::from_slice::<Option<Vec<ConfigRecord>>>(&json)?;
        let number = |layer: usize| ConfigLayer {
            blob: layers[layer].digest.clone(),
            parent: layer as i64 - 1,
            annotations: None,
        };
        let numbered = (0..layers.len()).map(number).collect();
        let config = CacheConfig {
            layers: numbered,
            records: records.unwrap_or_default(),
            signatures: self.signatures.unwrap_or_default(),
        };
        config.check_size()?;
        let history = self.history.unwrap_or_default().into_iter();
        let mut created = history.filter(|entry| !entry.empty_layer).map(|entry| entry.created);
        let dated = |mut layer: Descriptor| {
            if let Some(time) = created.next().flatten() {
                layer.annotations.insert(CREATED.into(), time);
            }
            layer
        };
        let layers = layers.into_iter().map(dated).zip(self.rootfs.diff_ids).collect();
        Ok(Some((config, layers)))
    }
}

/// Records and results that are read, as they are saved.
struct Collected<'a> {
    cache: &'a str,
    saving: Saving,
    results: Vec<Vec<ImportedLayer>>,
    roots: BTreeMap<Digest, (usize, u64)>,
}

impl<'a> Collected<'a> {
    fn new(cache: &'a str) -> Self {
        Self { cache, saving: Saving::default(), results: Vec::new(), roots: BTreeMap::new() }
    }

    /// Adds the records of a config. Results with layers that are not there are left out.
    fn add(
        &mut self,
        config: &CacheConfig,
        layers: &BTreeMap<Digest, ImportedLayer>,
    ) -> Result<(), ConfigError> {
        let mut keys: Vec<Option<CacheKey>> = vec![None; config.records.len()];
        for number in ordered(config)? {
            let record = &config.records[number];
            let operation = CacheKey::of_digest(&record.digest);
            let mut inputs: Vec<Vec<InputKey>> = Vec::with_capacity(record.inputs.len());
            for ways in &record.inputs {
                let mut input = Vec::with_capacity(ways.len());
                for way in ways {
                    let from = index(way.link, keys.len(), "record")?;
                    let selector = match way.selector.as_str() {
                        "" => None,
                        text => {
                            let digest = text.parse();
                            let digest = digest.map_err(|_| ConfigError::Selector(number))?;
                            Some(Sum::of(&digest))
                        }
                    };
                    input.extend(keys[from].map(|record| InputKey { record, selector }));
                }
                inputs.push(input);
            }
            let key = match inputs.is_empty() {
                true => operation,
                false => CacheKey::derived(operation, &inputs),
            };
            keys[number] = Some(key);
            if !inputs.is_empty() {
                let numbered = (0u32..).zip(&inputs);
                let inputs = numbered.flat_map(|(at, ways)| ways.iter().map(move |way| (at, *way)));
                let inputs = inputs.collect();
                self.saving.records.push(SavedRecord { key, operation, inputs });
            }
            self.add_results(config, record, key, layers)?;
        }
        Ok(())
    }

    fn add_results(
        &mut self,
        config: &CacheConfig,
        record: &ConfigRecord,
        key: CacheKey,
        layers: &BTreeMap<Digest, ImportedLayer>,
    ) -> Result<(), ConfigError> {
        let mut found = Vec::new();
        for result in &record.results {
            found.push((config.layers_below(result.layer)?, &result.created_at));
        }
        for chain in &record.chains {
            let numbers = chain.layers.iter();
            let numbers = numbers.map(|number| index(*number, config.layers.len(), "layer"));
            found.push((numbers.collect::<Result<_, _>>()?, &chain.created_at));
        }
        for (numbers, created_at) in found {
            let blobs =
                numbers.iter().map(|number| layers.get(&config.layers[*number].blob).cloned());
            let Some(blobs) = blobs.collect::<Option<Vec<_>>>() else { continue };
            if blobs.is_empty() {
                continue;
            }
            let id = name_of(self.cache, self.results.len());
            let created = parse_time(created_at);
            if record.inputs.is_empty() {
                let first = (self.results.len(), created);
                self.roots.entry(record.digest.clone()).or_insert(first);
            }
            self.saving.results.push((key, SavedResult { created, id }));
            self.results.push(blobs);
        }
        Ok(())
    }

    fn known(self) -> Known {
        let links = LinkStore::new(MemoryKeyValue::default());
        links.save(&self.saving);
        Known { links, results: self.results, roots: self.roots }
    }
}

/// The numbers of the records, each after those that lead to it.
fn ordered(config: &CacheConfig) -> Result<Vec<usize>, ConfigError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let records = &config.records;
    let mut seen = vec![Seen::No; records.len()];
    let mut order = Vec::with_capacity(records.len());
    for start in 0..records.len() {
        let mut open = vec![(start, false)];
        while let Some((number, is_left)) = open.pop() {
            if is_left {
                seen[number] = Seen::Done;
                order.push(number);
                continue;
            }
            match seen[number] {
                Seen::Done => continue,
                Seen::Open => return Err(ConfigError::Loop("records")),
                Seen::No => seen[number] = Seen::Open,
            }
            open.push((number, true));
            for ways in &records[number].inputs {
                if ways.is_empty() {
                    return Err(ConfigError::EmptyInput(number));
                }
                for way in ways {
                    let from = index(way.link, records.len(), "record")?;
                    match seen[from] {
                        Seen::Done => {}
                        Seen::Open => return Err(ConfigError::Loop("records")),
                        Seen::No => open.push((from, false)),
                    }
                }
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests;
