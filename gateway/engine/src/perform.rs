//! What a task does, as a future that says how it ended. Nothing is decided here.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use kiln_cache::{
    Answer, CacheKey, CacheSource, CacheStore, KnownInput, Lookup, SavedRecord, SavedResult, Saving,
};
use kiln_graph::Vertex;
use kiln_keys::{CacheMap, ContentQuery};
use kiln_solver::{Answers, SourceId};
use tokio::sync::{Semaphore, watch};

use crate::{Content, ErrorKind, JobContext, OpError, Operator, Operators, Output, Subject};

/// How long a result waits before it is saved, unless someone waits for that: writing to the disk
/// slows down the next step, and many quick steps are saved together.
const SAVE_DELAY: Duration = Duration::from_millis(50);

/// What an empty result is saved as. Operators save no such text: theirs name something.
const EMPTY: &str = "";

/// How a task ended.
pub(crate) enum Ended<R> {
    Mapped(CacheMap, bool),
    LookedUp(Answers),
    Prepared(Option<Content>),
    Loaded(Output<R>),
    NotLoaded,
    Executed(Vec<Output<R>>),
    Saved,
    Failed(Failure<R>),
}

/// Why a task failed, with what it was done on and what it left.
pub(crate) struct Failure<R> {
    pub(crate) error: OpError,
    pub(crate) inputs: Vec<Output<R>>,
    pub(crate) mounts: Vec<Output<R>>,
}

impl<R> From<OpError> for Failure<R> {
    fn from(error: OpError) -> Self {
        Self { error, inputs: Vec::new(), mounts: Vec::new() }
    }
}

pub(crate) type Performance<R> = BoxFuture<'static, Ended<R>>;

/// Asks how a vertex is keyed.
pub(crate) fn map<R: Send + Sync + 'static>(
    operator: Arc<dyn Operator<R>>,
    job: JobContext,
    index: usize,
) -> Performance<R> {
    Box::pin(async move {
        match operator.cache_map(&job, index).await {
            Ok(keyed) => Ended::Mapped(keyed.map, keyed.is_last),
            Err(error) => Ended::Failed(error.context("failed to load cache key").into()),
        }
    })
}

/// Asks all caches: the engine's own first, and where others may know more than it, these at the same
/// time. A cache that is far away does not delay what is at hand.
pub(crate) fn look_up<R: Send + 'static>(
    main: Arc<dyn CacheSource>,
    others: Vec<(SourceId, Arc<dyn CacheSource>)>,
    lookup: Lookup,
) -> Performance<R> {
    Box::pin(async move {
        let own = main.look_up(&lookup).await;
        let is_enough = !others.is_empty() && is_enough(&lookup, &own);
        let others = others.iter().filter(|_| !is_enough);
        let asked = others.map(|(id, source)| async { (*id, source.look_up(&lookup).await) });
        let mut answered = vec![(SourceId::MAIN, own)];
        answered.extend(futures::future::join_all(asked).await);
        let mut answers = Answers::default();
        for (id, answer) in answered {
            answers.records.extend(answer.records.into_iter().map(|record| (id, record)));
            answers.linked.extend(answer.linked);
        }
        answers.linked.sort_unstable();
        Ended::LookedUp(answers)
    })
}

/// Whether no other cache can add to an answer anything that matters.
fn is_enough(lookup: &Lookup, own: &Answer) -> bool {
    if own.records.iter().any(|record| !record.results.is_empty()) {
        return true;
    }
    // What means something within a session only is in no other cache.
    let lasts = |input: &KnownInput| input.keys.iter().any(|key| !key.record.is_session_scoped());
    let is_linked = |input: &KnownInput| own.linked.binary_search(&input.number).is_ok();
    let finds = lookup.whole && lookup.inputs.iter().all(lasts);
    let links =
        lookup.inputs.iter().any(|input| input.is_open && lasts(input) && !is_linked(input));
    !finds && !links
}

/// An input that is to be prepared.
pub(crate) struct Preparing<R> {
    pub(crate) input: usize,
    pub(crate) result: Output<R>,
    pub(crate) content: Option<ContentQuery>,
    pub(crate) preprocess: bool,
}

/// Makes an input usable and finds out what is in it.
pub(crate) fn prepare<R: Send + Sync + 'static>(
    operator: Arc<dyn Operator<R>>,
    job: JobContext,
    preparing: Preparing<R>,
) -> Performance<R> {
    Box::pin(async move {
        let Preparing { input, result, content, preprocess } = preparing;
        let prepared = async {
            if preprocess {
                operator.preprocess(&job, input, &result).await?;
            }
            match &content {
                Some(query) => operator.content(&job, input, query, &result).await.map(Some),
                None => Ok(None),
            }
        };
        match prepared.await {
            Ok(content) => Ended::Prepared(content),
            Err(error) => {
                let error = error.context("failed to compute cache key");
                let error = error.about(Subject::Content(input));
                Ended::Failed(Failure { error, inputs: vec![result], mounts: Vec::new() })
            }
        }
    })
}

/// Loads a saved result.
pub(crate) fn load<R: Send + 'static>(
    operators: Arc<dyn Operators<R>>,
    job: JobContext,
    saved: String,
) -> Performance<R> {
    Box::pin(async move {
        if saved == EMPTY {
            return Ended::Loaded(None);
        }
        let loaded = operators.load(&job, &saved).await;
        loaded.map_or(Ended::NotLoaded, |result| Ended::Loaded(Some(result)))
    })
}

/// Runs a vertex, once there is a permit if it needs one.
pub(crate) fn exec<R: Clone + Send + Sync + 'static>(
    operator: Arc<dyn Operator<R>>,
    job: JobContext,
    inputs: Vec<Output<R>>,
    outputs: usize,
    permits: Option<Arc<Semaphore>>,
) -> Performance<R> {
    Box::pin(async move {
        let _permit = match permits {
            Some(permits) => permits.acquire_owned().await.ok(),
            None => None,
        };
        match operator.exec(&job, inputs.clone()).await {
            Ok(results) if results.len() >= outputs => Ended::Executed(results),
            Ok(results) => {
                let message = format!("the operation gave {} of {outputs} results", results.len());
                Ended::Failed(OpError::new(ErrorKind::Failed, message).into())
            }
            Err(failed) => {
                Ended::Failed(Failure { error: failed.error, inputs, mounts: failed.mounts })
            }
        }
    })
}

/// What is to be saved of a vertex.
pub(crate) struct ToSave<R> {
    pub(crate) vertex: Arc<Vertex>,
    pub(crate) records: Vec<SavedRecord>,
    /// Results, each with the records that it is for.
    pub(crate) results: Vec<(Output<R>, Vec<CacheKey>)>,
    /// When the results were made, if that was not just now.
    pub(crate) created: Option<u64>,
}

/// Saves results and how they are reached, a little later or when someone waits for it.
pub(crate) fn save<R: Clone + Send + Sync + 'static>(
    operators: Arc<dyn Operators<R>>,
    cache: Arc<dyn CacheStore>,
    to_save: ToSave<R>,
    mut flush: watch::Receiver<()>,
) -> Performance<R> {
    Box::pin(async move {
        tokio::time::timeout(SAVE_DELAY, flush.changed()).await.ok();
        let name = to_save.vertex.name.clone();
        match persist(&*operators, to_save).await {
            // A panic of the store is trouble like any other it has.
            Ok(saving) => drop(tokio::task::spawn_blocking(move || cache.save(&saving)).await.ok()),
            Err(error) => tracing::warn!(vertex = name, %error, "a result could not be saved"),
        }
        Ended::Saved
    })
}

async fn persist<R: Clone + Send + Sync>(
    operators: &dyn Operators<R>,
    to_save: ToSave<R>,
) -> Result<Saving, OpError> {
    let ToSave { vertex, records, results, created } = to_save;
    let there: Vec<R> = results.iter().filter_map(|(result, _)| result.clone()).collect();
    let mut ids = match there.is_empty() {
        true => Vec::new(),
        false => operators.save(&vertex, &there).await?,
    }
    .into_iter();
    let created = created.unwrap_or_else(now);
    let mut saved = Vec::new();
    for (result, keys) in results {
        let id = if result.is_some() { ids.next() } else { Some(EMPTY.to_owned()) };
        let id = id.unwrap_or_default();
        saved.extend(keys.into_iter().map(|key| (key, SavedResult { created, id: id.clone() })));
    }
    Ok(Saving { records, results: saved })
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use kiln_cache::{FoundRecord, InputKey};

    use super::*;

    fn input(number: u32, key: CacheKey, is_open: bool) -> KnownInput {
        KnownInput { number, keys: vec![InputKey { record: key, selector: None }], is_open }
    }

    fn lookup(inputs: Vec<KnownInput>, whole: bool) -> Lookup {
        Lookup { operation: key("run"), inputs, whole }
    }

    fn key(name: &str) -> CacheKey {
        CacheKey::of_digest(&kiln_oci::Digest::sha256(name))
    }

    #[test]
    fn caches_far_away_are_asked_only_where_they_may_know_more() {
        let result = SavedResult { created: 1, id: "result".into() };
        let found = |results| Answer {
            records: vec![FoundRecord { key: key("found"), results, unlinked: Vec::new() }],
            linked: vec![0],
        };
        let linked = |linked| Answer { records: Vec::new(), linked };
        let inputs = || vec![input(0, key("a"), true), input(1, key("b"), true)];
        assert!(is_enough(&lookup(inputs(), true), &found(vec![result])));
        // A step on the way to others: its result may be far away.
        assert!(!is_enough(&lookup(inputs(), true), &found(Vec::new())));
        assert!(!is_enough(&lookup(Vec::new(), true), &linked(Vec::new())));
        // Which inputs lead anywhere is known once it is known here.
        assert!(is_enough(&lookup(inputs(), false), &linked(vec![0, 1])));
        assert!(!is_enough(&lookup(inputs(), false), &linked(vec![1])));
        assert!(!is_enough(&lookup(inputs(), true), &linked(vec![0, 1])));
        // The directory of a client leads nowhere in the cache of another.
        let session = CacheKey::session(&kiln_oci::Digest::sha256("session"));
        let own = || input(0, session, true);
        assert!(is_enough(&lookup(vec![own()], true), &linked(Vec::new())));
        assert!(is_enough(
            &lookup(vec![own(), input(1, key("b"), false)], true),
            &linked(Vec::new())
        ));
        assert!(!is_enough(
            &lookup(vec![own(), input(1, key("b"), true)], true),
            &linked(Vec::new())
        ));
    }
}
