//! Who asked for what in a build: a tree of calls to frontends, and what each of them used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_frontend::{Inputs, Ref};
use kiln_llb::Definition;
use kiln_provenance::{Request, Requested, Used, UsedImage};

use crate::producers::Producers;

/// What the frontend that is linked in and gateway.v0 call the same.
const DOCKERFILE: &str = "dockerfile.v0";

/// What a frontend, or the build itself, was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    frontend: String,
    options: BTreeMap<String, String>,
    inputs: Inputs,
}

impl Asked {
    /// A request for a frontend; of the linked Dockerfile frontend under either name.
    pub(crate) fn new(
        frontend: &str,
        mut options: BTreeMap<String, String>,
        inputs: Inputs,
    ) -> Self {
        let context = format!("context:{DOCKERFILE}");
        let is_given = |key: &String| {
            key.strip_prefix(&context).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let is_linked = frontend == "gateway.v0"
            && options.get("source").is_some_and(|source| source == DOCKERFILE)
            && !options.keys().any(is_given);
        if is_linked {
            options.remove("source");
        }
        let frontend = if is_linked { DOCKERFILE } else { frontend };
        Self { frontend: frontend.to_owned(), options, inputs }
    }

    fn is_empty(&self) -> bool {
        self.frontend.is_empty() && self.options.is_empty() && self.inputs.is_empty()
    }

    fn request(&self, producers: &Producers) -> Request {
        let options = self.options.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut request = Request::new(&self.frontend, options);
        let made =
            |(name, graph): (&String, &Definition)| Some((name.clone(), producers.of(&graph.def)?));
        request.inputs = self.inputs.iter().filter_map(made).collect();
        request
    }
}

/// One call to a frontend, or the build itself.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Nothing for the build itself.
    asked: Option<Asked>,
    /// What the client asked for.
    root: Option<Arc<Asked>>,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// Images whose configs were asked for.
    images: Vec<UsedImage>,
    /// Graphs that were to be solved.
    refs: Vec<Ref>,
    /// Frontends that were called.
    calls: Vec<Arc<Trace>>,
}

impl Trace {
    /// The build itself.
    pub(crate) fn of_build(asked: Asked) -> Self {
        Self { asked: None, root: Some(Arc::new(asked)), found: Mutex::default() }
    }

    /// A call to a frontend from here. It counts once it has returned.
    pub(crate) fn call(&self, asked: Asked) -> Self {
        let root = self.root.clone().filter(|root| !root.is_empty());
        let root = root.or_else(|| self.asked.clone().map(Arc::new));
        Self { asked: Some(asked), root, found: Mutex::default() }
    }

    /// A call has returned.
    pub(crate) fn returned(&self, call: Arc<Self>) {
        self.found().calls.push(call);
    }

    /// A graph is to be solved.
    pub(crate) fn defined(&self, graph: Ref) {
        self.found().refs.push(graph);
    }

    /// The config of an image was asked for.
    pub(crate) fn resolved(&self, image: UsedImage) {
        self.found().images.push(image);
    }

    /// All graphs of this call and of those from here.
    pub(crate) fn refs(&self) -> Vec<Ref> {
        let found = self.found();
        let calls = found.calls.iter().flat_map(|call| call.refs());
        found.refs.iter().cloned().chain(calls).collect()
    }

    /// All images, likewise.
    pub(crate) fn images(&self) -> Vec<UsedImage> {
        let found = self.found();
        let calls = found.calls.iter().flat_map(|call| call.images());
        found.images.iter().cloned().chain(calls).collect()
    }

    /// What was asked for, with what the client asked for if that is something else.
    pub(crate) fn request(&self, used: &Used, producers: &Producers) -> Request {
        let Some(asked) = &self.asked else { return Request::default() };
        let mut request = asked.request(producers);
        let root = self.root.as_ref().map(|root| root.request(producers).requested(used));
        let root = root.filter(|root| !root.request.is_empty());
        request.root = root.filter(|root| *root != request.clone().requested(used)).map(Box::new);
        request
    }

    /// The same with its context apart; `None` for the build itself.
    pub(crate) fn requested(&self, used: &Used, producers: &Producers) -> Option<Requested> {
        self.asked.as_ref()?;
        Some(self.request(used, producers).requested(used))
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
