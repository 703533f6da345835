//! Runs one build at the daemon.
//!
//! [`Client::solve`] opens the session, asks for the build and follows its progress, all at once.
//! Local caches and layouts are this end's business: they are read and tagged here, and the daemon
//! sees them only as content stores of the session.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use futures::StreamExt;
use kiln_llb::Definition;
use kiln_oci::Descriptor;
use kiln_progress::Sender;
use kiln_wire::proto::control::{
    CacheOptions, CacheOptionsEntry, Exporter, SolveRequest, StatusRequest,
};
use kiln_wire::status::RichStatus;
use serde::Serialize;

use crate::attach::{Content, ExportTarget, read_index, tag_index};
use crate::client::{Client, said};
use crate::request::{CacheEntry, SolveOptions, What};
use crate::session::Session;

/// How long progress may be silent once the build is over.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// How long the daemon may take to explain why a frontend in this process could not go on.
const GRACE: Duration = Duration::from_secs(2);

/// The tag of a cache or layout whose user names none.
const LATEST: &str = "latest";

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// The daemon's own words, with their details.
    #[error(transparent)]
    Daemon(#[from] RichStatus),
    /// An attribute a local cache needs is missing.
    #[error("local cache {direction} needs the attribute {attribute}")]
    CacheAttribute {
        /// `import` or `export`.
        direction: &'static str,
        /// The attribute.
        attribute: &'static str,
    },
    /// A local cache has no entry of this name.
    #[error("the cache in {path} has no entry named {tag:?}; give its digest or another tag")]
    NoCache {
        /// The directory.
        path: PathBuf,
        /// The name.
        tag: String,
    },
    /// A local cache or layout cannot be used.
    #[error("cannot use {path}")]
    Layout {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Two exports want to be layouts; a session has room for one.
    #[error("only one export can be an OCI layout")]
    TwoLayouts,
}

/// What a build gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SolveResult {
    /// What the exporters and caches say about what they wrote, such as `containerimage.digest`.
    pub exporter_response: BTreeMap<String, String>,
}

impl Client {
    /// Runs a build. Progress is sent as it happens; all of it was sent when this returns.
    ///
    /// # Errors
    ///
    /// See [`SolveError`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future hangs up, which cancels the build.
    pub async fn solve(
        &self,
        options: SolveOptions,
        session: Session,
        progress: Sender,
    ) -> Result<SolveResult, SolveError> {
        let prepared = Prepared::new(options, session, false)?;
        self.run(prepared, &progress, |_| std::future::pending()).await
    }

    /// Opens the session and runs the build; `meanwhile` is started with the session's id and can
    /// only end the build early, with an error.
    pub(crate) async fn run<F>(
        &self,
        prepared: Prepared,
        progress: &Sender,
        meanwhile: impl FnOnce(String) -> F,
    ) -> Result<SolveResult, SolveError>
    where
        F: Future<Output = RichStatus>,
    {
        let Prepared { mut request, session, layouts } = prepared;
        let session = session.open(self);
        request.session = session.id().to_owned();
        let build = request.r#ref.clone();
        let mut control = self.control();
        let solve = async {
            let answer = control.solve(request).await.map_err(|status| said(&status))?;
            Ok::<_, RichStatus>(answer.into_inner().exporter_response)
        };
        let solve = async {
            tokio::pin!(solve);
            tokio::select! {
                solved = &mut solve => solved,
                error = meanwhile(session.id().to_owned()) => {
                    // The daemon may be about to say why, which explains more.
                    tokio::time::timeout(GRACE, solve).await.unwrap_or(Err(error))
                }
            }
        };
        let (over, is_over) = tokio::sync::watch::channel(false);
        let solve = async {
            let solved = solve.await;
            over.send_replace(true);
            solved
        };
        let (solved, ()) = tokio::join!(solve, self.follow(&build, progress, is_over));
        let exporter_response = solved?;
        for layout in layouts {
            layout.tag(&exporter_response)?;
        }
        Ok(SolveResult { exporter_response })
    }

    /// Passes progress on until the daemon has told all of it, or is silent after the build.
    async fn follow(
        &self,
        build: &str,
        progress: &Sender,
        mut is_over: tokio::sync::watch::Receiver<bool>,
    ) {
        let mut control = self.control();
        let follow = async {
            let request = StatusRequest { r#ref: build.to_owned() };
            let mut updates = match control.status(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) => return tracing::debug!(%status, "no progress of this build"),
            };
            while let Some(Ok(update)) = updates.next().await {
                kiln_progress::wire::from_response(update)
                    .into_iter()
                    .for_each(|one| progress.send(one));
            }
        };
        let silence = async {
            is_over.wait_for(|over| *over).await.ok();
            tokio::time::sleep(DRAIN_TIME).await;
        };
        tokio::select! {
            () = follow => {}
            () = silence => {}
        }
    }
}

/// A request as it travels, with the session it needs and what is to be done after it.
pub(crate) struct Prepared {
    request: SolveRequest,
    session: Session,
    layouts: Vec<Layout>,
}

/// A directory whose index gets an entry when the build is over.
struct Layout {
    path: PathBuf,
    tag: String,
    source: LayoutSource,
}

/// Where the response describes the manifest.
enum LayoutSource {
    Cache,
    Image,
}

/// A cache as frontends read it from the option `cache-imports`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CacheImport<'a> {
    r#type: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: &'a BTreeMap<String, String>,
}

impl Prepared {
    /// `in_client` says that the frontend runs in this process.
    pub(crate) fn new(
        options: SolveOptions,
        session: Session,
        in_client: bool,
    ) -> Result<Self, SolveError> {
        let SolveOptions {
            id,
            what,
            frontend_attrs,
            entitlements,
            source_policy,
            proxy_network,
            internal,
            ..
        } = options;
        let mut prepared = Self { request: SolveRequest::default(), session, layouts: Vec::new() };
        let exporters = prepared.exports(options.exports)?;
        let exports = options.cache_exports.into_iter().map(|entry| prepared.cache_export(entry));
        let exports = exports.collect::<Result<Vec<_>, _>>()?;
        let imports = options.cache_imports.into_iter().map(|entry| prepared.cache_import(entry));
        let imports = imports.collect::<Result<Vec<_>, _>>()?;
        let frontend_in_use = in_client || matches!(what, What::Frontend { .. });
        let (definition, frontend, frontend_inputs) = match what {
            What::Definition(definition) => {
                (Some((*definition).into()), String::new(), BTreeMap::new())
            }
            What::Frontend { name, inputs } => {
                let message = |(name, graph): (String, Definition)| (name, graph.into());
                (None, name, inputs.into_iter().map(message).collect())
            }
            // Without either, the daemon waits for a frontend in the client.
            What::Nothing if in_client => (None, String::new(), BTreeMap::new()),
            What::Nothing => {
                (Some(kiln_wire::pb::Definition::default()), String::new(), BTreeMap::new())
            }
        };
        let mut frontend_attrs = frontend_attrs;
        if frontend_in_use && !imports.is_empty() {
            let list: Vec<_> = imports
                .iter()
                .map(|i| CacheImport { r#type: &i.r#type, attrs: &i.attrs })
                .collect();
            let json = serde_json::to_string(&list).unwrap_or_default();
            frontend_attrs.insert("cache-imports".to_owned(), json);
        }
        prepared.request = SolveRequest {
            r#ref: id,
            definition,
            frontend,
            frontend_attrs,
            cache: Some(CacheOptions { exports, imports, ..CacheOptions::default() }),
            entitlements,
            frontend_inputs,
            internal,
            source_policy: source_policy.map(Into::into),
            proxy_network,
            exporters,
            ..SolveRequest::default()
        };
        Ok(prepared)
    }

    pub(crate) fn frontend_attrs(&self) -> &BTreeMap<String, String> {
        &self.request.frontend_attrs
    }

    pub(crate) fn id(&self) -> &str {
        &self.request.r#ref
    }

    /// Attaches the targets of exports under their numbers.
    fn exports(
        &mut self,
        exports: Vec<crate::request::Export>,
    ) -> Result<Vec<Exporter>, SolveError> {
        let mut exporters = Vec::new();
        for (number, export) in exports.into_iter().enumerate() {
            match export.target {
                Some(ExportTarget::Layout(path)) => {
                    create(&path)?;
                    let store = Content::writable(path.clone());
                    if self.session.content.insert("export".to_owned(), store).is_some() {
                        return Err(SolveError::TwoLayouts);
                    }
                    let tag =
                        export.attrs.get("name").map_or(LATEST, |name| layout_tag(name)).to_owned();
                    self.layouts.push(Layout { path, tag, source: LayoutSource::Image });
                }
                Some(target) => {
                    self.session.exports.insert(number.to_string(), target);
                }
                None => {}
            }
            exporters.push(Exporter { r#type: export.kind, attrs: export.attrs });
        }
        Ok(exporters)
    }

    fn cache_export(&mut self, entry: CacheEntry) -> Result<CacheOptionsEntry, SolveError> {
        let CacheEntry { kind, attrs } = entry;
        if kind == "local" {
            let missing = SolveError::CacheAttribute { direction: "export", attribute: "dest" };
            let path = attrs.get("dest").filter(|path| !path.is_empty()).ok_or(missing)?;
            create(path.as_ref())?;
            self.session.content.insert(format!("local:{path}"), Content::writable(path));
            let tag = attrs.get("tag").map_or(LATEST, String::as_str).to_owned();
            self.layouts.push(Layout { path: path.into(), tag, source: LayoutSource::Cache });
        }
        Ok(CacheOptionsEntry { r#type: kind, attrs })
    }

    fn cache_import(&mut self, entry: CacheEntry) -> Result<CacheOptionsEntry, SolveError> {
        let CacheEntry { kind, mut attrs } = entry;
        if kind == "local" {
            let missing = SolveError::CacheAttribute { direction: "import", attribute: "src" };
            let path = attrs.get("src").filter(|path| !path.is_empty()).ok_or(missing)?.clone();
            if !attrs.contains_key("digest") {
                let tag = attrs.get("tag").map_or(LATEST, String::as_str).to_owned();
                match read_index(path.as_ref(), &tag) {
                    Ok(Some(digest)) => {
                        attrs.insert("digest".to_owned(), digest.to_string());
                    }
                    Ok(None) => return Err(SolveError::NoCache { path: path.into(), tag }),
                    // The first build of a project has no cache yet; the daemon will warn.
                    Err(error) => tracing::debug!(path, %error, "no local cache"),
                }
            }
            // A store that is exported to as well stays writable.
            self.session
                .content
                .entry(format!("local:{path}"))
                .or_insert_with(|| Content::read_only(path));
        }
        Ok(CacheOptionsEntry { r#type: kind, attrs })
    }
}

impl Layout {
    /// Enters what was written into the layout's index.
    fn tag(&self, response: &BTreeMap<String, String>) -> Result<(), SolveError> {
        let descriptor: Option<Descriptor> = match self.source {
            LayoutSource::Cache => {
                response.get("cache.manifest").and_then(|json| serde_json::from_str(json).ok())
            }
            LayoutSource::Image => response.get("containerimage.descriptor").and_then(|text| {
                let json = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
                serde_json::from_slice(&json).ok()
            }),
        };
        let Some(descriptor) = descriptor else { return Ok(()) };
        tag_index(&self.path, descriptor, &self.tag)
            .map_err(|source| SolveError::Layout { path: self.path.clone(), source })
    }
}

/// The tag of an image's name, which is what layouts are searched by.
fn layout_tag(name: &str) -> &str {
    let last = name.split(',').next().unwrap_or(name);
    match last.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') && !tag.is_empty() => tag,
        _ => LATEST,
    }
}

fn create(path: &std::path::Path) -> Result<(), SolveError> {
    std::fs::create_dir_all(path)
        .map_err(|source| SolveError::Layout { path: path.to_owned(), source })
}
