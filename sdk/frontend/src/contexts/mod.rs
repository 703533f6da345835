//! What a build is made from: the user's file, the main context, named contexts and ignore files.
//!
//! [`Contexts`] finds them as users of Docker expect: a context is a directory of the client, a git
//! repository, a URL, or what another frontend hands over. It asks the bridge and gives states;
//! which paths of a directory are needed may be said later ([`FollowPaths`]).

mod age;
mod archive;
mod definition;
mod git_ref;
mod local;
mod main_context;
mod named;

use kiln_llb::{CapSet, Definition, Marshal, State};
use kiln_oci::quoted;
use tokio::sync::OnceCell;

use crate::{Bridge, BuildInfo, FrontendError, Ref, Settings, Solve};

pub use age::Age;
pub use definition::DefinitionFile;
pub use git_ref::{GitRef, GitRefError, QueryError};
pub use local::FollowPaths;
pub use main_context::MainContext;
pub use named::{LoadedContext, NamedContext, NamedRequest};

use local::{LocalContext, Told};
use main_context::{Found, Kind};

/// The local directory and the input that are the main context.
const CONTEXT: &str = "context";
/// The local directory and the input that have the user's file.
const DEFINITION: &str = "dockerfile";
/// The language whose every word is known to users.
const DOCKERFILE: &str = "Dockerfile";
/// The ignore file of a directory.
const IGNORE_FILE: &str = ".dockerignore";

/// All contexts of one build. What is found out is remembered.
pub struct Contexts<'a> {
    bridge: &'a dyn Bridge,
    settings: &'a Settings,
    found: OnceCell<Found>,
    ignored: OnceCell<IgnoreFile>,
}

impl std::fmt::Debug for Contexts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contexts").field("found", &self.found).finish_non_exhaustive()
    }
}

/// What is left out of the main context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    /// The file; empty if there is none, or if the context has none by its nature.
    pub name: String,
    /// Its patterns, in order.
    pub patterns: Vec<String>,
}

impl<'a> Contexts<'a> {
    /// The contexts of a build; nothing is asked yet.
    pub fn new(bridge: &'a dyn Bridge, settings: &'a Settings) -> Self {
        Self { bridge, settings, found: OnceCell::new(), ignored: OnceCell::new() }
    }

    /// Loads the user's file: the one that the option `filename` names, else the first of `names`
    /// that exists. If the user names a file as the first of `names`, in whatever directory, the
    /// other names count too.
    ///
    /// An ignore file that is beside it (`<name>.dockerignore`) is loaded with it.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub async fn definition_file(
        &self,
        names: &[&str],
        language: &str,
    ) -> Result<DefinitionFile, FrontendError> {
        let found = self.found().await?;
        let first = names.first().copied().unwrap_or(DEFINITION);
        let name = found.filename.clone().unwrap_or_else(|| first.to_owned());
        let base = kiln_filesync::path::name(name.trim_end_matches('/'));
        let others = names.iter().skip(1).filter(|_| base == first);
        let others: Vec<String> = others.map(|other| beside(&name, other)).collect();
        let ignore_file = format!("{name}{IGNORE_FILE}");
        let state = found.definition.clone().unwrap_or_else(|| {
            let local = &found.definition_local;
            let mut files = vec![name.clone(), ignore_file.clone()];
            files.extend(others.iter().cloned());
            let told = Told {
                shared_key_hint: local.clone(),
                vertex_name: format!("[internal] load build definition from {name}"),
            };
            LocalContext::files(local, &self.session_of(local), files, told)
        });
        let definition = marshal(self.bridge.info(), &state)
            .map_err(|error| error.context("failed to marshal local source"))?;
        let what = language.to_lowercase();
        let loaded = self.load(&definition, false).await;
        let loaded = loaded.map_err(|error| error.context(format!("failed to resolve {what}")))?;
        let Some(loaded) = loaded else {
            let message = format!("failed to read {what}: open {name}: no such file or directory");
            return Err(FrontendError::unknown(message));
        };
        let mut data = self.bridge.read_file(&loaded, &name, None).await;
        let mut shown = name.clone();
        for other in &others {
            if data.is_err()
                && let Ok(found) = self.bridge.read_file(&loaded, other, None).await
            {
                data = Ok(found);
                // The peer calls its file by the name it looked for first.
                if language != DOCKERFILE {
                    shown.clone_from(other);
                }
            }
        }
        let data = data.map_err(|error| {
            let error = error.context(format!("failed to read {what}"));
            match language {
                // The peer's text, to the letter.
                DOCKERFILE => error,
                _ => error.hint("pass its directory with --local dockerfile=DIR, and another name with --opt filename=NAME"),
            }
        })?;
        if let Ok(bytes) = self.bridge.read_file(&loaded, &ignore_file, None).await {
            let ignored = IgnoreFile::read(&ignore_file, &bytes);
            // Whoever asked first for the ignore file has its answer.
            self.ignored.set(ignored).unwrap_or_default();
        }
        DefinitionFile::new(shown, language, data, definition)
    }

    /// Loads another file that the user's file names, such as one it includes. `name` is relative to
    /// the directory that the file `of` is in.
    ///
    /// # Errors
    ///
    /// If the name leads out of the directory, or there is no such file.
    pub async fn included_file(
        &self,
        of: &DefinitionFile,
        name: &str,
    ) -> Result<DefinitionFile, FrontendError> {
        let found = self.found().await?;
        let path = beside(&of.name, name);
        if name.starts_with('/') || path == ".." || path.starts_with("../") {
            let message = format!("{} is not below the directory of {}", quoted(name), of.name);
            return Err(FrontendError::invalid(message));
        }
        let state = found.definition.clone().unwrap_or_else(|| {
            let local = &found.definition_local;
            let told = Told {
                // A key of its own, so that the transfer does not take the place of the first file's.
                shared_key_hint: format!("{local}-{path}"),
                vertex_name: format!("[internal] load {path}, which {} includes", of.name),
            };
            LocalContext::files(local, &self.session_of(local), vec![path.clone()], told)
        });
        let definition = marshal(self.bridge.info(), &state)?;
        let loaded = self.load(&definition, false).await?;
        let missing = || FrontendError::unknown(format!("{path} does not exist"));
        let data = self.bridge.read_file(&loaded.ok_or_else(missing)?, &path, None).await;
        let data = data.map_err(|error| error.context(format!("failed to read {path}")))?;
        DefinitionFile::new(path, &of.language, data, definition)
    }

    /// The ignore file of the main context. Ask for the user's file first: one beside it counts
    /// more than `.dockerignore`.
    ///
    /// # Errors
    ///
    /// The daemon's. That there is none is no error.
    pub async fn ignore_file(&self) -> Result<&IgnoreFile, FrontendError> {
        let found = self.found().await?;
        self.ignored.get_or_try_init(|| self.load_ignore_file(found)).await
    }

    async fn load_ignore_file(&self, found: &Found) -> Result<IgnoreFile, FrontendError> {
        if found.context.is_some() {
            return Ok(IgnoreFile::default());
        }
        let told = Told {
            shared_key_hint: format!("{CONTEXT}-{IGNORE_FILE}"),
            vertex_name: format!("[internal] load {IGNORE_FILE}"),
        };
        let session = self.session_of(CONTEXT);
        let state = LocalContext::files(CONTEXT, &session, vec![IGNORE_FILE.into()], told);
        let loaded = self.load(&marshal(self.bridge.info(), &state)?, false).await?;
        let Some(loaded) = loaded else { return Ok(IgnoreFile::default()) };
        match self.bridge.read_file(&loaded, IGNORE_FILE, None).await {
            Ok(bytes) => Ok(IgnoreFile::read(IGNORE_FILE, &bytes)),
            Err(_) => Ok(IgnoreFile::default()),
        }
    }

    /// The main context.
    ///
    /// # Errors
    ///
    /// If it cannot be found, or its ignore file cannot be read.
    pub async fn main_context(&self) -> Result<MainContext, FrontendError> {
        if let Some(state) = &self.found().await?.context {
            return Ok(MainContext(Kind::Remote(Box::new(state.clone()))));
        }
        let ignored = self.ignore_file().await;
        let ignored =
            ignored.map_err(|error| error.context("failed to read dockerignore patterns"))?;
        Ok(MainContext(Kind::Local(LocalContext {
            name: CONTEXT.to_owned(),
            session_id: self.session_of(CONTEXT),
            excludes: ignored.patterns.clone(),
            shared_key_hint: CONTEXT.to_owned(),
            vertex_name: "[internal] load build context".to_owned(),
        })))
    }

    async fn found(&self) -> Result<&Found, FrontendError> {
        self.found.get_or_try_init(|| self.find()).await
    }

    /// The session to name in the source of a local directory.
    fn session_of(&self, local: &str) -> String {
        let own = || self.bridge.info().local_session().to_owned();
        self.settings.local_sessions.get(local).cloned().unwrap_or_else(own)
    }

    /// Solves a graph that has one result.
    async fn load(
        &self,
        definition: &Definition,
        evaluate: bool,
    ) -> Result<Option<Ref>, FrontendError> {
        let definition = Some(definition.clone());
        let request = Solve { definition, evaluate, ..Solve::default() };
        self.bridge.solve(request).await?.into_single().map_err(FrontendError::unknown)
    }
}

impl IgnoreFile {
    fn read(name: &str, bytes: &[u8]) -> Self {
        let patterns = kiln_filesync::ignore_file::parse(&String::from_utf8_lossy(bytes));
        Self { name: name.to_owned(), patterns }
    }
}

/// The small graphs of this module. They are gated by what the gateway can do rather than by what
/// LLB can, because BuildKit's are.
fn marshal(info: &BuildInfo, state: &State) -> Result<Definition, FrontendError> {
    let caps: CapSet = info.gateway_caps.iter().cloned().collect();
    let options = Marshal::default().with_caps(Some(caps));
    state.marshal(&options).map_err(|error| FrontendError::unknown(error.to_string()))
}

/// Another name in the directory of a file, in its shortest spelling.
fn beside(file: &str, name: &str) -> String {
    let dir = file.rfind('/').map_or("", |slash| &file[..=slash]);
    kiln_filesync::path::clean(&format!("{dir}{name}"))
}
