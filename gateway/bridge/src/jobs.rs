//! The jobs in which a build is solved: one after the other, if results are lost.
//!
//! A cache may name results that it does not have. When that is found out, steps may have read other
//! results of it already; a new job finds out anew what is there, and keeps what was made meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_cache::CacheSource;
use kiln_engine::{Engine, Job, JobOptions};
use kiln_worker::Ref;

/// How often a build begins again.
const MOST: usize = 4;

/// The jobs of a build.
pub struct BuildJobs {
    engine: Engine<Ref>,
    state: Mutex<State>,
}

struct State {
    /// What the next job is opened with.
    options: JobOptions,
    job: Arc<Job<Ref>>,
    begun: usize,
}

impl BuildJobs {
    /// The first job of a build.
    pub fn open(engine: &Engine<Ref>, options: JobOptions) -> Self {
        let job = Arc::new(engine.open(options.clone()));
        Self { engine: engine.clone(), state: Mutex::new(State { options, job, begun: 1 }) }
    }

    /// The job that solves.
    pub(crate) fn current(&self) -> Arc<Job<Ref>> {
        Arc::clone(&self.state().job)
    }

    /// Whether a job is the one that solves.
    pub(crate) fn is_current(&self, job: &Arc<Job<Ref>>) -> bool {
        Arc::ptr_eq(&self.state().job, job)
    }

    /// Lets a cache be asked in this job and those that follow.
    pub(crate) fn add_cache(&self, cache: Arc<dyn CacheSource>) {
        let mut state = self.state();
        state.options.caches.push(Arc::clone(&cache));
        state.job.add_cache(cache);
    }

    /// Ends a job in which results were lost and opens the next, unless somebody else did; then `tell`
    /// is not called. False if that was done too often.
    pub(crate) fn begin_again(&self, lost: &Arc<Job<Ref>>, tell: impl FnOnce()) -> bool {
        let mut state = self.state();
        if !Arc::ptr_eq(&state.job, lost) {
            return true;
        }
        if state.begun == MOST {
            return false;
        }
        state.begun += 1;
        // Closed first, so that the next shares nothing with it.
        state.job.close();
        state.job = Arc::new(self.engine.open(state.options.clone()));
        drop(state);
        tell();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
