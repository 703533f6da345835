//! The jobs in which a build is solved: one after the other, if results are lost.
//!
//! A cache may name results that it does not have. When that is found out, steps may have read other
//! results of it already; a new job finds out anew what is there, and keeps what was made meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use kiln_cache::CacheSource;
use kiln_engine::{Account, Engine, Job, JobOptions};
use kiln_worker::Ref;

/// How often a build begins again.
const MOST: usize = 4;

/// What became of the vertices of a job.
type Accounts = Vec<Account<Ref>>;

/// A job of a build, for who may find out later that results of it are lost.
#[derive(Clone)]
pub struct BuildJob(pub(crate) Arc<Job<Ref>>);

/// The jobs of a build.
pub struct BuildJobs {
    engine: Engine<Ref>,
    state: Mutex<State>,
}

struct State {
    /// What the next job is opened with.
    options: JobOptions,
    job: Arc<Job<Ref>>,
    /// What became of the vertices of those before it.
    ended: Vec<BoxFuture<'static, Accounts>>,
}

impl BuildJobs {
    /// The first job of a build.
    pub fn open(engine: &Engine<Ref>, options: JobOptions) -> Self {
        let job = Arc::new(engine.open(options.clone()));
        Self {
            engine: engine.clone(),
            state: Mutex::new(State { options, job, ended: Vec::new() }),
        }
    }

    /// The job that solves.
    pub(crate) fn current(&self) -> BuildJob {
        BuildJob(Arc::clone(&self.state().job))
    }

    /// Whether a job is the one that solves.
    pub(crate) fn is_current(&self, job: &BuildJob) -> bool {
        Arc::ptr_eq(&self.state().job, &job.0)
    }

    /// Lets a cache be asked in this job and those that follow.
    pub(crate) fn add_cache(&self, cache: Arc<dyn CacheSource>) {
        let mut state = self.state();
        state.options.caches.push(Arc::clone(&cache));
        state.job.add_cache(cache);
    }

    /// Ends a job in which results were lost and opens the next, unless somebody else did; then `tell`
    /// is not called. False if that was done too often.
    pub(crate) fn begin_again(&self, lost: &BuildJob, tell: impl FnOnce()) -> bool {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.job, &lost.0) {
            return true;
        }
        if state.ended.len() + 1 == MOST {
            return false;
        }
        let ended = Box::pin(state.job.account());
        state.ended.push(ended);
        // Closed first, so that the next shares nothing with it.
        state.job.close();
        state.job = Arc::new(self.engine.open(state.options.clone()));
        drop(state);
        tell();
        true
    }

    /// What became of the vertices of all jobs so far: what ran in one of them is told, though it is found in
    /// the cache by those that follow. Told once.
    pub(crate) async fn account(&self) -> Accounts {
        let (ended, last) = {
            let mut state = self.state();
            (std::mem::take(&mut state.ended), state.job.account())
        };
        let mut all = last.await;
        for accounts in ended.into_iter().rev() {
            let key = |account: &Account<Ref>| account.vertex.id.clone();
            all = joined(accounts.await, all, key, |account| account.has_run);
        }
        all
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of two jobs, one after the other: of what both have, that of the later, unless it ran in the
/// earlier alone.
fn joined<T, K: Ord>(
    earlier: Vec<T>,
    mut later: Vec<T>,
    key: impl Fn(&T) -> K,
    has_run: impl Fn(&T) -> bool,
) -> Vec<T> {
    let places = later.iter().enumerate();
    let places: BTreeMap<K, usize> = places.map(|(place, told)| (key(told), place)).collect();
    let mut all = Vec::new();
    for told in earlier {
        match places.get(&key(&told)) {
            Some(&place) if has_run(&told) && !has_run(&later[place]) => later[place] = told,
            Some(_) => {}
            None => all.push(told),
        }
    }
    all.extend(later);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_in_a_job_is_told_though_a_later_one_found_it() {
        let job = |told: &[(&'static str, bool, u8)]| told.to_vec();
        let first = job(&[("only here", true, 1), ("base", true, 1), ("lost", false, 1)]);
        let second = job(&[("base", false, 2), ("lost", true, 2), ("new", true, 2)]);
        let all = joined(first, second, |told| told.0, |told| told.1);
        let expected =
            job(&[("only here", true, 1), ("base", true, 1), ("lost", true, 2), ("new", true, 2)]);
        assert_eq!(all, expected);
    }
}
