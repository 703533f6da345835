//! The main context: what the user builds in.
//!
//! The option `context` (or the one that `contextkey` names) is a git repository, a URL or nothing;
//! then it is the input or the directory of that name.

use kiln_llb::{Action, Constraints, CopyOptions, Definition, Http, State};

use super::git_ref::{GitRef, GitRefError};
use super::local::LocalContext;
use super::{CONTEXT, Contexts, DEFINITION, marshal};
use crate::options::boolean;
use crate::{FileRange, FrontendError};

/// The name of the file that a URL is downloaded to.
const DOWNLOADED: &str = "context";

/// How many bytes tell whether a file is an archive.
const SNIFFED: u64 = 1024;

/// Where everything is found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The main context, if it is not a directory of the client.
    pub(super) context: Option<State>,
    /// The user's file, if it is not in a directory of the client.
    pub(super) definition: Option<State>,
    /// The name of the user's file, if something names it.
    pub(super) filename: Option<String>,
    /// The directory of the client that has the user's file.
    pub(super) definition_local: String,
}

/// The main context of a build.
#[derive(Clone, Debug)]
pub struct MainContext(pub(super) Kind);

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Remote(Box<State>),
    Local(LocalContext),
}

impl MainContext {
    /// Its state. Of a directory of the client only these paths are transferred, all of them if
    /// there are none; so ask late, when it is known what is needed.
    pub fn state(&self, follow_paths: Vec<String>) -> State {
        match &self.0 {
            Kind::Remote(state) => (**state).clone(),
            Kind::Local(local) => local.state(follow_paths),
        }
    }

    /// Whether it is a directory of the client.
    pub fn is_local(&self) -> bool {
        matches!(self.0, Kind::Local(_))
    }

    /// What the ignore file leaves out.
    pub fn excludes(&self) -> &[String] {
        match &self.0 {
            Kind::Remote(_) => &[],
            Kind::Local(local) => &local.excludes,
        }
    }
}

impl Contexts<'_> {
    /// Finds out where everything is.
    pub(super) async fn find(&self) -> Result<Found, FrontendError> {
        let options = &self.bridge.info().options;
        let mut found = Found {
            filename: options.get("filename").map(str::to_owned),
            definition_local: DEFINITION.to_owned(),
            ..Found::default()
        };
        let own_definition = options.get("dockerfilekey");
        if let Some(name) = own_definition {
            name.clone_into(&mut found.definition_local);
        }
        let address = options.get(options.get("contextkey").unwrap_or(CONTEXT));
        let address = address.unwrap_or_default();
        match self.git_context(address)? {
            Some(state) => {
                found.definition = Some(state.clone());
                found.context = Some(state);
            }
            None if is_url(address) => self.download(address, &mut found).await?,
            None => self.take_inputs(own_definition.is_some(), &mut found).await?,
        }
        if own_definition.is_some() {
            found.definition = None;
        }
        if let (Some(context), Some(dir)) = (&found.context, options.get("contextsubdir")) {
            let all = CopyOptions::default().with_dir_contents_only(true);
            found.context = Some(State::scratch().file(Action::copy(context, dir, "/", all)));
        }
        Ok(found)
    }

    fn git_context(&self, address: &str) -> Result<Option<State>, FrontendError> {
        let options = &self.bridge.info().options;
        let keep = options.build_arg("BUILDKIT_CONTEXT_KEEP_GIT_DIR").and_then(boolean);
        let timed = options.given("build-arg:SOURCE_DATE_EPOCH").is_some();
        git_state(address, keep == Some(true), timed)
    }

    async fn download(&self, url: &str, found: &mut Found) -> Result<(), FrontendError> {
        let state = http_state(url, "[internal] load remote build context".to_owned());
        let downloaded = self.load(&self.marshalled(&state, "httpcontext")?, false).await;
        let downloaded =
            downloaded.map_err(|error| error.context("failed to resolve httpcontext"))?;
        let range = Some(FileRange { offset: 0, length: SNIFFED });
        let head = match &downloaded {
            Some(one) => self.bridge.read_file(one, DOWNLOADED, range).await,
            None => Ok(Default::default()),
        };
        let head = head.map_err(|error| error.context("failed to read downloaded context"))?;
        let context = match super::archive::is_archive(&head) {
            true => {
                let unpack = CopyOptions::default().with_attempt_unpack(true);
                let path = format!("/{DOWNLOADED}");
                State::scratch().file(Action::copy(&state, path, "/", unpack))
            }
            false => {
                found.filename = Some(DOWNLOADED.to_owned());
                state
            }
        };
        found.definition = Some(context.clone());
        found.context = Some(context);
        Ok(())
    }

    async fn take_inputs(
        &self,
        own_definition: bool,
        found: &mut Found,
    ) -> Result<(), FrontendError> {
        let caps = &self.bridge.info().gateway_caps;
        if !caps.is_empty() && !caps.contains("frontend.inputs") {
            return Ok(());
        }
        let inputs = self.bridge.inputs().await;
        let inputs = inputs.map_err(|error| error.context("failed to get frontend inputs"))?;
        if let Some(definition) = inputs.get(DEFINITION).filter(|_| !own_definition) {
            found.definition = Some(input_state(definition)?);
        }
        if let Some(definition) = inputs.get(CONTEXT) {
            found.context = Some(input_state(definition)?);
        }
        Ok(())
    }

    fn marshalled(&self, state: &State, what: &str) -> Result<Definition, FrontendError> {
        marshal(self.bridge.info(), state)
            .map_err(|error| error.context(format!("failed to marshal {what}")))
    }
}

/// The graph of an input as a state.
///
/// On the wire a definition that is not there and one of nothing are the same: an entry that has
/// neither ops nor metadata. Both are refused here, as by BuildKit, which cannot tell them apart either.
pub(super) fn input_state(definition: &Definition) -> Result<State, FrontendError> {
    if definition.is_empty() && !definition.has_metadata() {
        return Err(FrontendError::unknown("invalid nil input definition to definition op"));
    }
    State::from_definition(definition).map_err(|error| FrontendError::unknown(error.to_string()))
}

/// A git repository as a context, or nothing if the address is none.
pub(super) fn git_state(
    address: &str,
    keep_git_dir: bool,
    commit_times: bool,
) -> Result<Option<State>, FrontendError> {
    let git = match GitRef::parse(address) {
        Ok(git) => git,
        Err(GitRefError::Query(error)) => return Err(FrontendError::unknown(error.to_string())),
        Err(_) => return Ok(None),
    };
    let mut options = git.options();
    options.keep_git_dir |= keep_git_dir;
    if commit_times && options.mtime.is_empty() {
        "commit".clone_into(&mut options.mtime);
    }
    options.constraints = Constraints::named(format!("[internal] load git source {address}"));
    Ok(Some(State::git(&git.remote, "", options)))
}

/// A file behind a URL as a context.
pub(super) fn http_state(url: &str, vertex_name: String) -> State {
    let http = Http::default()
        .with_filename(DOWNLOADED.to_owned())
        .with_constraints(Constraints::named(vertex_name));
    State::http(url, http)
}

fn is_url(address: &str) -> bool {
    address.starts_with("http://") || address.starts_with("https://")
}
