//! Named contexts (`context:NAME=…`): images, layouts, repositories, URLs, directories and inputs
//! that the user gives for a name of the file.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kiln_llb::{Constraints, Image, OciLayout, OciStore, ResolveMode, State};
use kiln_oci::{Digest, ImageConfig, Platform, Reference, excerpt, quoted};

use super::local::{FollowPaths, LocalContext, Told};
use super::main_context::{git_state, http_state, input_state};
use super::{Contexts, IGNORE_FILE, marshal};

use crate::{
    FrontendError, ImageConfigRequest, JsonType, LayoutStore, image_config_error, json_error, keys,
};

/// What is known of an input: bytes by name.
const METADATA: JsonType = JsonType::Map("map[string][]uint8", &JsonType::Text("[]uint8"));

/// How often a policy may turn one context into another.
const MOST_TURNS: usize = 10;

/// What is wanted of a named context.
#[derive(Clone, Debug, Default)]
pub struct NamedRequest {
    /// For this platform; it is asked for first under `NAME::PLATFORM`.
    pub platform: Option<Platform>,
    /// How images are found.
    pub resolve_mode: ResolveMode,
    /// Take all files, whatever the ignore file of a directory says.
    pub without_ignore_file: bool,
    /// What is needed of a directory of the client; may be extended until marshalling.
    pub paths: FollowPaths,
}

/// A named context that the user gives. Nothing has been asked yet.
#[derive(Debug)]
pub struct NamedContext<'a> {
    contexts: &'a Contexts<'a>,
    name: String,
    key: String,
    value: String,
    request: NamedRequest,
}

/// A named context, ready to build on.
#[derive(Clone, Debug)]
pub struct LoadedContext {
    /// Its file system.
    pub state: State,
    /// The config of its image, if it is one, without the time at which a registry's was made.
    pub config: Option<ImageConfig>,
    /// That config as it came.
    pub raw_config: Option<Bytes>,
    /// The digest that the name of an image stands for.
    pub digest: Option<Digest>,
}

impl From<State> for LoadedContext {
    fn from(state: State) -> Self {
        Self { state, config: None, raw_config: None, digest: None }
    }
}

impl<'a> Contexts<'a> {
    /// The context that the user gives for a name, if there is one.
    ///
    /// # Errors
    ///
    /// If the name could be none of an image's; such names cannot be given.
    pub fn named(
        &'a self,
        name: &str,
        request: NamedRequest,
    ) -> Result<Option<NamedContext<'a>>, FrontendError> {
        let reference = Reference::parse_untagged(name).map_err(|error| {
            let text = error.docker_text();
            FrontendError::unknown(format!("invalid context name {name}: {text}"))
        })?;
        let name = reference.short();
        let platform = request.platform.clone().unwrap_or_else(Platform::host).normalized();
        let options = &self.bridge.info().options;
        for key in [format!("{name}::{}", platform.format_all()), name.clone()] {
            if let Some(value) = options.get(&format!("context:{key}")) {
                let value = value.to_owned();
                return Ok(Some(NamedContext { contexts: self, name, key, value, request }));
            }
        }
        Ok(None)
    }
}

impl NamedContext<'_> {
    /// What it was found under: the name, or `NAME::PLATFORM`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What the user gives, such as `docker-image://alpine`.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Asks all there is to ask, and makes a state of it.
    ///
    /// # Errors
    ///
    /// If the user's value makes no sense, or what it names is not found.
    pub async fn load(&self) -> Result<LoadedContext, FrontendError> {
        let mut value = self.value.clone();
        for _ in 0..=MOST_TURNS {
            match self.load_one(&value).await? {
                Step::Loaded(loaded) => return Ok(*loaded),
                Step::Turned(other) => value = other,
            }
        }
        Err(FrontendError::unknown(format!(
            "context recursion limit exceeded; this may indicate a cycle in the provided source policies: {value}"
        )))
    }

    async fn load_one(&self, value: &str) -> Result<Step, FrontendError> {
        let Some((scheme, rest)) = value.split_once(':') else {
            let key = &self.key;
            let message = format!("invalid context specifier {value} for {key}");
            return Err(FrontendError::unknown(message));
        };
        let loaded = match scheme {
            "docker-image" => return self.image(rest).await,
            "oci-layout" => self.layout(rest).await?,
            "local" => self.local(rest).await?,
            "input" => self.input(rest).await?,
            "http" | "https" => match git_state(value, false, false)? {
                Some(state) => state.into(),
                None => http_state(value, format!("[context {}] {value}", self.key)).into(),
            },
            // Addresses of repositories need no protocol: `git@example.com:acme/app`.
            scheme if scheme == "git" || scheme.starts_with("git@") => {
                let invalid = || FrontendError::unknown(format!("invalid git context {value}"));
                git_state(value, false, false)?.ok_or_else(invalid)?.into()
            }
            scheme => {
                let message = format!("unsupported context source {scheme} for {}", self.key);
                return Err(FrontendError::unknown(message));
            }
        };
        Ok(Step::Loaded(Box::new(loaded)))
    }

    fn constraints(&self, vertex_name: String) -> Constraints {
        Constraints::named(vertex_name).with_platform(self.request.platform.clone())
    }

    async fn image(&self, rest: &str) -> Result<Step, FrontendError> {
        let written = rest.strip_prefix("//").unwrap_or(rest);
        if written == "scratch" {
            return Ok(Step::Loaded(Box::new(State::scratch().into())));
        }
        let reference: Reference = written.parse().map_err(|error: kiln_oci::ReferenceError| {
            FrontendError::unknown(error.docker_text())
        })?;
        let request = ImageConfigRequest {
            platform: self.request.platform.clone(),
            resolve_mode: self.request.resolve_mode.as_str().to_owned(),
            log_name: format!("[context {}] load metadata for {written}", self.key),
            ..ImageConfigRequest::default()
        };
        let bridge = self.contexts.bridge;
        let found = bridge.resolve_image(&reference.to_string(), request).await?;
        if let Some(other) = found.non_image {
            return match other.split_once("://") {
                Some((scheme, rest)) => Ok(Step::Turned(format!("{scheme}:{rest}"))),
                None => Err(FrontendError::unknown(format!("could not parse ref: {other}"))),
            };
        }
        let mut config = parsed(&found.config)?;
        let image = Image::default()
            .with_constraints(self.constraints(format!("[context {}] {written}", self.key)));
        let state = State::image_with(&found.reference, image).with_image_config(&config);
        config.created = None;
        Ok(Step::Loaded(Box::new(LoadedContext {
            state,
            config: Some(config),
            raw_config: Some(found.config),
            digest: found.digest,
        })))
    }

    async fn layout(&self, rest: &str) -> Result<LoadedContext, FrontendError> {
        let text = rest.strip_prefix("//").unwrap_or(rest);
        let malformed = |text: &str, error: &kiln_oci::ReferenceError| {
            let (text, error) = (quoted(text), error.docker_text());
            FrontendError::unknown(format!("could not parse oci-layout reference {text}: {error}"))
        };
        let verbatim = Reference::parse_verbatim(text).map_err(|error| malformed(text, &error))?;
        let digest = verbatim.digest.ok_or_else(|| {
            let text = quoted(text);
            FrontendError::unknown(format!("oci-layout reference {text} has no digest"))
        })?;
        // The layout knows the image by its digest; the name is for people.
        let name = Reference::parse_untagged(&self.name);
        let name = name.map_err(|error| malformed(&self.name, &error))?.with_digest(digest);
        let bridge = self.contexts.bridge;
        let session_id = bridge.info().session_id.clone();
        let store = LayoutStore { session_id: session_id.clone(), store_id: verbatim.name.clone() };
        let request = ImageConfigRequest {
            platform: self.request.platform.clone(),
            resolve_mode: String::new(),
            log_name: format!("[context {}] load metadata for {name}", self.key),
            layout: Some(store),
            ..ImageConfigRequest::default()
        };
        let found = bridge.resolve_image(&name.to_string(), request).await?;
        let config = parsed(&found.config)
            .map_err(|error| error.context("could not parse oci-layout image config"))?;
        let layout = OciLayout::default()
            .with_store(Some(
                OciStore::default().with_session_id(session_id).with_store_id(verbatim.name),
            ))
            .with_constraints(
                self.constraints(format!("[context {}] OCI load from client", self.key)),
            );
        let state = State::oci_layout(&name.to_string(), layout).with_image_config(&config);
        Ok(LoadedContext {
            state,
            config: Some(config),
            raw_config: Some(found.config),
            digest: found.digest,
        })
    }

    async fn local(&self, name: &str) -> Result<LoadedContext, FrontendError> {
        let session_id = self.contexts.session_of(name);
        let key = &self.key;
        let told = Told {
            shared_key_hint: format!("context:{key}-{IGNORE_FILE}"),
            vertex_name: format!("[context {key}] load {IGNORE_FILE}"),
        };
        let state = LocalContext::files(name, &session_id, vec![IGNORE_FILE.into()], told);
        let bridge = self.contexts.bridge;
        let found = self.contexts.load(&marshal(bridge.info(), &state)?, true).await?;
        let mut excludes = Vec::new();
        if let Some(found) = found.filter(|_| !self.request.without_ignore_file)
            && let Ok(bytes) = bridge.read_file(&found, IGNORE_FILE, None).await
        {
            excludes = kiln_filesync::ignore_file::parse(&String::from_utf8_lossy(&bytes));
        }
        let shared = bridge.info().options.get(&format!("sharedkey:localdir:{key}"));
        let context = LocalContext {
            name: name.to_owned(),
            session_id,
            excludes,
            shared_key_hint: format!("context:{key}-{}", shared.unwrap_or_default()),
            vertex_name: format!("[context {key}] load from client"),
        };
        Ok(context.late_state(self.request.paths.clone()).into())
    }

    async fn input(&self, name: &str) -> Result<LoadedContext, FrontendError> {
        let bridge = self.contexts.bridge;
        let inputs = bridge.inputs().await?;
        let Some(definition) = inputs.get(name) else {
            let message = format!("invalid input {name} for {}", self.key);
            return Err(FrontendError::unknown(message));
        };
        let mut loaded = LoadedContext::from(input_state(definition)?);
        let Some(metadata) = bridge.info().options.get(&format!("input-metadata:{name}")) else {
            return Ok(loaded);
        };
        let malformed = |error: &dyn std::fmt::Display| {
            let metadata = excerpt(metadata);
            FrontendError::unknown(format!("failed to parse input metadata {metadata}: {error}"))
        };
        if let Some(error) = json_error(metadata.as_bytes(), &METADATA) {
            return Err(malformed(&error));
        }
        let map: Option<BTreeMap<String, Option<String>>> =
            serde_json::from_str(metadata).map_err(|error| malformed(&error))?;
        let map = map.unwrap_or_default();
        if let Some(Some(config)) = map.get(keys::IMAGE_CONFIG) {
            let raw = STANDARD.decode(config).map_err(|error| malformed(&error))?;
            let config = parsed(&raw)?;
            loaded.state = loaded.state.with_image_config(&config);
            loaded.config = Some(config);
            loaded.raw_config = Some(raw.into());
        }
        Ok(loaded)
    }
}

enum Step {
    Loaded(Box<LoadedContext>),
    /// A policy turned it into this.
    Turned(String),
}

fn parsed(config: &[u8]) -> Result<ImageConfig, FrontendError> {
    serde_json::from_slice(config)
        .map_err(|error| FrontendError::unknown(image_config_error(config, &error)))
}
