//! What is recorded of the steps of a build, for those who ask later why they ran.
//!
//! [`BuildBridge::steps`] takes what the engine knows while the build is still there, which costs next to
//! nothing; [`BuildSteps::record`] makes a record of it, which is done when the client has its answer.
//! Of a build in which nothing ran there is no record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_cache::{CacheKey, CacheSource as _, CacheStore, InputKey, KnownInput, Lookup, Sum};
use kiln_engine::{Account, Fate};
use kiln_graph::{Identifier, Op, Vertex};
use kiln_oci::Digest;
use kiln_remotecache::ImportedCache;
use kiln_sources::Metadata;
use kiln_store::Store;
use kiln_why::{
    BuildRecord, CacheRecord, CacheView, Found, InputRecord, ListingRecord, Outcome, Place, Rerun,
    StepKind, StepRecord,
};
use kiln_worker::{Ref, compare_results};

use crate::BuildBridge;

/// A list of files that is not longer than this, in bytes, is a part of the record.
const SHORT_LISTING: usize = 2 << 10;
/// The most operations of an imported cache that are recorded.
const MOST_OPERATIONS: usize = 4096;
/// The most steps that are recorded.
const MOST_STEPS: usize = 10_000;

/// What is known of the steps of a build.
pub struct BuildSteps {
    project: String,
    build_args: BTreeSet<String>,
    accounts: Vec<(Account<Ref>, Option<Found>)>,
    caches: Vec<CacheRecord>,
    /// What the caches know of the steps that ran, by the id of the vertex.
    views: BTreeMap<Digest, Vec<CacheView>>,
    store: Store,
}

impl std::fmt::Debug for BuildSteps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildSteps").field("steps", &self.accounts.len()).finish_non_exhaustive()
    }
}

impl BuildBridge {
    /// What is known of the steps of this build; `None` if nothing ran that might have been in the cache.
    pub fn steps<'a>(&'a self) -> BoxFuture<'a, Option<BuildSteps>> {
        Box::pin(async move {
            let mut accounts = self.jobs().account().await;
            if accounts.is_empty() {
                return None;
            }
            accounts.truncate(MOST_STEPS);
            let accounts = accounts.into_iter().map(|mut account| {
                if matches!(account.vertex.op, Op::Source(_)) {
                    // A client's directory stays reserved as long as somebody holds a view of it.
                    account.results.clear();
                }
                let pin = self.worker().pinned(&account.vertex.id);
                let found = pin.and_then(|pin| found(&pin.metadata));
                (account, found)
            });
            let accounts: Vec<_> = accounts.collect();
            let (caches, views) = self.cache_views(&accounts).await;
            let options = self.asked_options();
            let context = options.get("context").map(String::as_str).unwrap_or_default();
            let caller = self.worker().sessions().find(self.session_id());
            let shared_key =
                caller.map(|caller| caller.shared_key().to_owned()).unwrap_or_default();
            let project = match (context, shared_key.as_str()) {
                ("", "") => String::new(),
                (context, key) => {
                    Digest::sha256(format!("{context}\n{key}")).hex()[..32].to_owned()
                }
            };
            let build_args = options.keys().filter_map(|name| name.strip_prefix("build-arg:"));
            Some(BuildSteps {
                project,
                build_args: build_args.map(str::to_owned).collect(),
                accounts,
                caches,
                views,
                store: self.worker().store().clone(),
            })
        })
    }
}

impl BuildBridge {
    /// What the imported caches have, and what they know of the steps that ran. The caches themselves are
    /// not held on to: they have a share of the progress, which ends with the build.
    async fn cache_views(
        &self,
        accounts: &[(Account<Ref>, Option<Found>)],
    ) -> (Vec<CacheRecord>, BTreeMap<Digest, Vec<CacheView>>) {
        let (mut records, mut views) = (Vec::new(), BTreeMap::<_, Vec<_>>::new());
        // A cache that nobody asked has nothing to do with what ran.
        let caches = self.imported_caches().into_iter().filter(|cache| cache.was_asked());
        for cache in caches {
            let operations = cache.operations();
            for (account, _) in accounts.iter().filter(|(account, _)| account.has_run) {
                let view = view(operations.as_ref(), &cache, account).await;
                views.entry(account.vertex.id.clone()).or_default().push(view);
            }
            let (unread, operations) = (operations.is_none(), operations.unwrap_or_default());
            records.push(CacheRecord {
                name: cache.name().to_owned(),
                cut: operations.len() > MOST_OPERATIONS,
                operations: operations
                    .iter()
                    .take(MOST_OPERATIONS)
                    .map(ToString::to_string)
                    .collect(),
                unread,
            });
        }
        (records, views)
    }
}

fn found(metadata: &Metadata) -> Option<Found> {
    Some(match metadata {
        Metadata::Image { reference, manifest, .. } => {
            Found::Image { digest: reference.digest().unwrap_or(manifest).to_string() }
        }
        Metadata::Http { digest, filename, last_modified } => Found::Download {
            digest: digest.to_string(),
            filename: filename.clone(),
            last_modified: last_modified.map(date).unwrap_or_default(),
        },
        Metadata::Git { reference, checksum, commit_checksum } => Found::Git {
            reference: reference.clone(),
            commit: commit_checksum.as_ref().unwrap_or(checksum).clone(),
            object: checksum.clone(),
        },
        // The source itself says which.
        Metadata::Blob { .. } | Metadata::Local => return None,
    })
}

fn date(time: std::time::SystemTime) -> String {
    let time = kiln_progress::wire::timestamp(time);
    time.to_string()
}

impl BuildSteps {
    /// Makes a record, with the lists of files that are too long to be in it.
    pub fn record<'a>(
        self,
        main: &'a Arc<dyn CacheStore>,
    ) -> BoxFuture<'a, (BuildRecord, Vec<Bytes>)> {
        Box::pin(async move {
            let numbers = self.accounts.iter().enumerate();
            let numbers = numbers.map(|(number, (account, _))| (account.vertex.id.clone(), number));
            let mut writing = Writing { numbers: numbers.collect(), listings: BTreeMap::new() };
            let store = &self.store;
            let mut earlier_runs = EarlierRuns { store, main, records: BTreeMap::new() };
            let mut steps = Vec::with_capacity(self.accounts.len());
            for (account, found) in &self.accounts {
                let mut step = writing.step(account, found.as_ref());
                if step.is_run()
                    && let Some(views) = self.views.get(&account.vertex.id)
                {
                    step.caches.clone_from(views);
                }
                if account.fate == Fate::Ran && !account.results.is_empty() {
                    step.rerun = earlier_runs.compare(account).await;
                }
                steps.push(step);
            }
            let record = BuildRecord {
                project: self.project,
                build_args: self.build_args,
                caches: self.caches,
                steps,
            };
            (record, writing.listings.into_values().collect())
        })
    }
}

/// A record that is being made.
struct Writing {
    /// The numbers of vertices by their ids.
    numbers: BTreeMap<Digest, usize>,
    /// The lists of files that are too long to be in it.
    listings: BTreeMap<Digest, Bytes>,
}

impl Writing {
    fn step(&mut self, account: &Account<Ref>, found: Option<&Found>) -> StepRecord {
        let vertex = &account.vertex;
        let kind = kind(vertex);
        let facts = kiln_why::facts(&vertex.arrived.op, &vertex.platform, found);
        let is_session = account.maps.iter().any(|map| map.session_scoped);
        StepRecord {
            digest: vertex.digest.clone(),
            name: vertex.name.clone(),
            kind,
            keys: account.maps.iter().map(|map| map.digest_text()).collect(),
            session: is_session || kind == StepKind::Local,
            facts: facts.unwrap_or_default(),
            inputs: (0..account.inputs.len()).map(|input| self.input(account, input)).collect(),
            outcome: match account.fate {
                Fate::Ran => Outcome::Ran,
                Fate::Failed if account.has_run => Outcome::Failed,
                Fate::Failed | Fate::Spared => Outcome::Cached,
            },
            ignores_cache: vertex.metadata.ignore_cache,
            lost: account.fate == Fate::Ran && account.was_found && !vertex.metadata.ignore_cache,
            place: place(vertex),
            rerun: None,
            caches: Vec::new(),
        }
    }

    fn input(&mut self, account: &Account<Ref>, number: usize) -> InputRecord {
        let input = &account.inputs[number];
        let selector = account.maps.first().and_then(|map| map.deps.get(number)?.selector.as_ref());
        let listing = match input.listing.len() {
            0 => None,
            1..=SHORT_LISTING => Some(ListingRecord::Here(STANDARD.encode(&input.listing))),
            _ => {
                let digest = Digest::sha256(&input.listing);
                self.listings.insert(digest.clone(), input.listing.clone());
                Some(ListingRecord::Blob(digest))
            }
        };
        InputRecord {
            step: self.numbers.get(&input.edge.vertex).copied().unwrap_or(usize::MAX),
            output: input.edge.index,
            paths: selector.map(|selector| selector.paths.clone()).unwrap_or_default(),
            content: input.content.clone(),
            listing,
        }
    }
}

fn kind(vertex: &Vertex) -> StepKind {
    match &vertex.op {
        Op::Source(source) if matches!(**source, Identifier::Local(_)) => StepKind::Local,
        Op::Source(_) => StepKind::Source,
        Op::Exec(_) => StepKind::Exec,
        Op::File(_) => StepKind::File,
        _ => StepKind::Other,
    }
}

fn place(vertex: &Vertex) -> Option<Place> {
    let location = vertex.locations.iter().find(|location| !location.ranges.is_empty())?;
    let line = location.ranges.first()?.start_line;
    Some(Place { file: location.file.filename.clone(), line })
}

/// What an imported cache knows of a step.
async fn view(
    operations: Option<&BTreeSet<CacheKey>>,
    cache: &ImportedCache,
    account: &Account<Ref>,
) -> CacheView {
    let (Some(operations), Some(map)) = (operations, account.maps.first()) else {
        return CacheView::default();
    };
    let operation = CacheKey::operation(map, 0);
    let known = (0..).zip(&account.inputs).map(|(number, input)| KnownInput {
        number,
        keys: input.keys.clone(),
        is_open: true,
    });
    let lookup = Lookup { operation, inputs: known.collect(), whole: false };
    let linked = cache.look_up(&lookup).await.linked;
    let inputs = 0..u32::try_from(account.inputs.len()).unwrap_or(u32::MAX);
    CacheView {
        operation: operations.contains(&operation),
        linked: inputs.map(|input| linked.contains(&input)).collect(),
    }
}

/// Results of earlier runs of the same steps, as the main cache has them.
struct EarlierRuns<'a> {
    store: &'a Store,
    main: &'a Arc<dyn CacheStore>,
    /// Records of outputs. A step that was told to ignore the cache is saved under a record of its own,
    /// if more or less is known of its inputs this time; others lead on from the earlier one.
    records: BTreeMap<(Digest, usize), Vec<CacheKey>>,
}

impl EarlierRuns<'_> {
    /// Compares the result of a step that ran with the last one before that is still there.
    async fn compare(&mut self, account: &Account<Ref>) -> Option<Rerun> {
        let map = account.maps.first().filter(|map| !map.session_scoped)?;
        let mut rerun = None;
        for (output, now) in &account.results {
            let inputs = account.inputs.iter().enumerate().map(|(number, input)| {
                let selector = map.deps.get(number).and_then(|dep| dep.selector.as_ref());
                let selector = selector.map(|selector| Sum::of(&selector.digest));
                let more = self.records.get(&(input.edge.vertex.clone(), input.edge.index));
                let more = more.into_iter().flatten();
                let more = more.map(|record| InputKey { record: *record, selector });
                let keys = input.keys.iter().copied().chain(more).collect();
                KnownInput {
                    number: u32::try_from(number).unwrap_or(u32::MAX),
                    keys,
                    is_open: false,
                }
            });
            let lookup = Lookup {
                operation: CacheKey::operation(map, *output),
                inputs: inputs.collect(),
                whole: true,
            };
            let found = self.main.look_up(&lookup).await.records;
            let records = found.iter().map(|record| record.key).collect();
            self.records.insert((account.vertex.id.clone(), *output), records);
            let Some(now) = now else { continue };
            let mut earlier: Vec<_> = found.into_iter().flat_map(|found| found.results).collect();
            earlier.retain(|result| !result.id.is_empty() && result.id != now.id());
            earlier.sort_by_key(|result| std::cmp::Reverse(result.created));
            let before = earlier.iter().find_map(|result| self.store.load(&result.id).ok());
            let Some(before) = before.filter(|_| rerun.is_none()) else { continue };
            let now = now.clone();
            let compared = tokio::task::spawn_blocking(move || compare_results(&before, &now));
            rerun = compared.await.ok().flatten();
        }
        rerun
    }
}
