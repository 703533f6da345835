//! What passed through a proxy: requests, what came for them, and what is not known exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use kiln_oci::Digest;

/// How many requests are noted.
const MAX_REQUESTS: usize = 20_000;
/// How long all addresses together may be, in bytes.
const MAX_URL_BYTES: usize = 4 << 20;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Such as `GET`.
    pub method: String,
    /// Where to, without credentials.
    pub url: String,
    /// Where the answer leads, if it leads elsewhere.
    pub redirect: Option<String>,
    /// The answer's status.
    pub status: u16,
}

/// Something that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// From where, without credentials.
    pub url: String,
    /// What it was.
    pub digest: Digest,
}

/// Something that was asked for of which is not known what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// Such as `POST`.
    pub method: String,
    /// Where to, without credentials.
    pub url: String,
    /// Why it is not known.
    pub reason: Reason,
}

/// Why it is not known exactly what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Only what is got has a content of its own.
    Method,
    /// It was a part of a whole.
    Partial,
    /// It did not come to its end.
    BodyFailed,
    /// The server said that it failed.
    Unsuccessful,
    /// There was no server, or it did not speak HTTP.
    Upstream,
    /// There was too much to be noted.
    TooMuch,
    /// The result was made earlier, and what was fetched then is no longer known.
    Cached,
}

impl Reason {
    /// As provenance says it; BuildKit's words where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method_not_materializable",
            Self::Partial => "partial_response",
            Self::BodyFailed => "body_read_failed",
            Self::Unsuccessful => "unsuccessful_response",
            Self::Upstream => "upstream_error",
            Self::TooMuch => "too_many_requests",
            Self::Cached => "cached_result",
        }
    }
}

/// What passed, at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// Requests, in the order in which they were answered.
    pub requests: Vec<Request>,
    /// What was fetched, redirected requests included.
    pub materials: Vec<Material>,
    /// What is not known exactly.
    pub gaps: Vec<Gap>,
}

/// Notes what passes.
#[derive(Debug, Default)]
pub struct Capture(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    captured: Captured,
    url_bytes: usize,
    is_full: bool,
}

impl State {
    /// Whether there is room for one more.
    fn has_room(&mut self, url: &str) -> bool {
        let count = self.captured.requests.len().max(self.captured.gaps.len());
        self.is_full |= count >= MAX_REQUESTS || self.url_bytes + url.len() > MAX_URL_BYTES;
        if !self.is_full {
            self.url_bytes += url.len();
        }
        !self.is_full
    }
}

impl Capture {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn request(&self, request: Request) {
        let mut state = self.state();
        let redirect = request.redirect.as_deref().unwrap_or_default();
        if state.has_room(&format!("{}{redirect}", request.url)) {
            state.captured.requests.push(request);
        }
    }

    pub(crate) fn material(&self, url: String, digest: Digest) {
        let mut state = self.state();
        if state.has_room(&url) {
            state.captured.materials.push(Material { url, digest });
        }
    }

    pub(crate) fn gap(&self, gap: Gap) {
        let mut state = self.state();
        if state.has_room(&gap.url) {
            state.captured.gaps.push(gap);
        }
    }

    /// What has passed until now.
    pub fn captured(&self) -> Captured {
        let state = self.state();
        let mut captured = state.captured.clone();
        if state.is_full {
            let (method, url) = (String::new(), String::new());
            captured.gaps.push(Gap { method, url, reason: Reason::TooMuch });
        }
        drop(state);
        captured.follow_redirects();
        captured
    }
}

impl Captured {
    /// What was fetched by way of another address was fetched from that, too.
    fn follow_redirects(&mut self) {
        let mut known: BTreeMap<&str, &Digest> =
            self.materials.iter().map(|it| (it.url.as_str(), &it.digest)).collect();
        let redirects: BTreeSet<(&str, &str)> = self
            .requests
            .iter()
            .filter_map(|request| Some((request.url.as_str(), request.redirect.as_deref()?)))
            .collect();
        // From each address whose content is known back to those that lead there.
        let mut leads: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        redirects.iter().for_each(|(from, to)| leads.entry(to).or_default().push(from));
        let mut open: Vec<&str> = known.keys().copied().collect();
        let mut more = Vec::new();
        while let Some(to) = open.pop() {
            let digest = known[to];
            for from in leads.get(to).into_iter().flatten() {
                if !known.contains_key(from) {
                    known.insert(from, digest);
                    more.push(Material { url: (*from).to_owned(), digest: digest.clone() });
                    open.push(from);
                }
            }
        }
        self.materials.extend(more);
    }

    /// How much memory it takes, about.
    pub fn len_bytes(&self) -> usize {
        const EACH: usize = 200;
        let requests = self.requests.iter().map(|it| it.url.len() + EACH);
        let materials = self.materials.iter().map(|it| it.url.len() + EACH);
        let gaps = self.gaps.iter().map(|it| it.url.len() + EACH);
        EACH + requests.chain(materials).chain(gaps).sum::<usize>()
    }

    /// The lines that are shown to who builds; nothing, if there were no requests.
    pub fn lines(&self) -> String {
        if self.requests.is_empty() {
            return String::new();
        }
        let mut text = "proxy network requests:\n".to_owned();
        for Request { method, url, status, .. } in &self.requests {
            text.push_str(&format!("- {method} {url} -> {status}\n"));
        }
        text
    }
}
