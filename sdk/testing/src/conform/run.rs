//! One build of a sample: what the frontend is given, what it does, and what comes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kiln_frontend::{BuildResult, Frontend, Ref, Refs, keys};
use kiln_llb::Definition;
use kiln_wire::status::RichStatus;
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;

use super::fake_daemon::{Age, FakeDaemon, Seen};
use super::samples::Sample;

/// A build that is over.
pub(crate) struct Run {
    pub(crate) outcome: Result<Done, Wrong>,
    pub(crate) seen: Seen,
    pub(crate) took: Duration,
}

/// What a frontend returned.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Done {
    /// One per platform.
    pub(crate) images: Vec<Image>,
    /// Whether the result is a map of platforms.
    pub(crate) by_platform: bool,
    /// Everything else.
    pub(crate) metadata: BTreeMap<String, Bytes>,
    /// Refs that no solve has given.
    pub(crate) strange_refs: Vec<String>,
}

/// The file system and the config of one platform.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Image {
    /// The id of the platform; empty in a result of one.
    pub(crate) id: String,
    pub(crate) definition: Definition,
    /// The config as it came.
    pub(crate) config: Option<Bytes>,
}

impl Image {
    /// The config as JSON; null if there is none or it is no JSON.
    pub(crate) fn config(&self) -> Value {
        let config = self.config.as_deref().unwrap_or_default();
        serde_json::from_slice(config).unwrap_or_default()
    }
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Wrong {
    /// The frontend says why.
    Said(RichStatus),
    /// It ended, panicked or spoke nonsense.
    Crashed(String),
    /// It did not come back.
    Hung(Duration),
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(status) => write!(f, "{} ({:?})", status.message.trim_end(), status.code),
            Self::Crashed(how) => f.write_str(how),
            Self::Hung(limit) => write!(f, "it did not come back within {} s", limit.as_secs_f32()),
        }
    }
}

/// What a frontend is asked to build, and by which daemon.
#[derive(Clone)]
pub(crate) struct Order<'a> {
    pub(crate) sample: &'a Sample,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) age: Age,
}

impl<'a> Order<'a> {
    /// The sample as it is.
    pub(crate) fn plain(sample: &'a Sample) -> Self {
        let mut options = sample.options.clone();
        options.insert("filename".to_owned(), sample.file.clone());
        Self { sample, options, age: Age::Current }
    }

    /// With one more option.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.options.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without an option.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.options.remove(key);
        self
    }

    /// By a daemon of this age.
    pub(crate) fn by(mut self, age: Age) -> Self {
        self.age = age;
        self
    }

    /// Has it built.
    pub(crate) async fn run(self, frontend: &dyn Frontend, limit: Duration) -> Run {
        let stage = FakeDaemon::new(self.sample, self.options, self.age);
        let started = Instant::now();
        let built = tokio::time::timeout(limit, kiln_frontend::run(frontend, &stage)).await;
        let took = started.elapsed();
        let outcome = match built {
            Err(_) => Err(Wrong::Hung(limit)),
            Ok(Ok(result)) => Ok(done(&stage, result)),
            Ok(Err(error)) => Err(wrong(error.into_status())),
        };
        Run { outcome, seen: stage.seen(), took }
    }
}

/// Tells an error from the end of a frontend that has none.
fn wrong(status: RichStatus) -> Wrong {
    let panicked = status.code == Code::Internal && status.message.starts_with("frontend panicked");
    // What a process does wrong has this code, see `kiln_frontend::process`.
    let ended = status.code == Code::Unavailable && status.message.starts_with("frontend ");
    match panicked || ended {
        true => Wrong::Crashed(status.message),
        false => Wrong::Said(status),
    }
}

fn done(stage: &FakeDaemon, result: BuildResult<Ref>) -> Done {
    let by_platform = matches!(result.refs, Refs::ByPlatform(_));
    let mut strange_refs = Vec::new();
    let mut images = Vec::new();
    for (id, one) in result.iter() {
        let definition = stage.graph(one).unwrap_or_else(|| {
            strange_refs.extend(one.map(|one| one.0.clone()));
            Definition::default()
        });
        let key = match id {
            Some(id) => format!("{}/{id}", keys::IMAGE_CONFIG),
            None => keys::IMAGE_CONFIG.to_owned(),
        };
        let config = result.metadata.get(&key).cloned();
        images.push(Image { id: id.unwrap_or_default().to_owned(), definition, config });
    }
    Done { images, by_platform, metadata: result.metadata, strange_refs }
}
