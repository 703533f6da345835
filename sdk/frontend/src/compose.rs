//! Calling another frontend as a function: one that is linked in, a plugin, or an image.
//!
//! A [`Call`] gets options and graphs and gives a result, whose file systems are states again: a
//! language can be built out of others.

use std::collections::BTreeMap;

use kiln_llb::{Marshal, State};
use kiln_oci::{ImageConfig, Platform};

use crate::{
    Bridge, BuildResult, FrontendError, Inputs, Options, PlatformEntry, Ref, Settings, Solve, keys,
};

/// A call of a frontend, to be made.
///
/// ```no_run
/// # async fn example(bridge: &dyn kiln_frontend::Bridge) -> Result<(), kiln_frontend::FrontendError> {
/// use kiln_frontend::Call;
///
/// let call = Call::image("docker.io/docker/dockerfile:1").option("target", "tools");
/// let tools = call.states(bridge).await?;
/// let state = &tools[0].state; // build on it as on any state
/// # drop(state.clone());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Call {
    frontend: String,
    options: BTreeMap<String, String>,
    inputs: Inputs,
}

/// What a call made for one platform.
#[derive(Clone, Debug)]
pub struct CallResult {
    /// The platform, if the frontend says.
    pub platform: Option<Platform>,
    /// The file system, with the values of its config.
    pub state: State,
    /// The config of its image, if the frontend gives one.
    pub config: Option<ImageConfig>,
}

impl Call {
    /// A frontend by its name: one that is linked in, or a plugin.
    pub fn named(frontend: impl Into<String>) -> Self {
        Self { frontend: frontend.into(), ..Self::default() }
    }

    /// The frontend in an image.
    pub fn image(source: impl Into<String>) -> Self {
        Self::named("gateway.v0").option("source", source)
    }

    /// With an option.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }

    /// With all options of a build, such as platforms, build arguments and named contexts. What was
    /// said before counts more; what this frontend was called by is left out.
    #[must_use]
    pub fn with_options_of(mut self, options: &Options) -> Self {
        for (key, value) in &options.0 {
            if !matches!(key.as_str(), "source" | "cmdline" | "requestid" | "frontend.caps") {
                self.options.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        self
    }

    /// With a graph under a name; `context` and `dockerfile` are what most frontends look for.
    ///
    /// # Errors
    ///
    /// If the state cannot be marshalled.
    pub fn input(mut self, name: &str, state: &State) -> Result<Self, FrontendError> {
        let definition = state.marshal(&Marshal::default());
        let definition = definition.map_err(|error| FrontendError::unknown(error.to_string()))?;
        self.inputs.insert(name.to_owned(), definition);
        Ok(self)
    }

    /// Calls the frontend.
    ///
    /// # Errors
    ///
    /// The frontend's own, or that there is none of this name.
    pub async fn result(self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let request = Solve {
            frontend: self.frontend,
            options: self.options,
            inputs: self.inputs,
            ..Solve::default()
        };
        bridge.solve(request).await
    }

    /// Calls the frontend and takes what it made as states, one per platform.
    ///
    /// # Errors
    ///
    /// As [`Call::result`]; also if the daemon does not tell graphs, or a config is malformed.
    pub async fn states(self, bridge: &dyn Bridge) -> Result<Vec<CallResult>, FrontendError> {
        let result = self.result(bridge).await?;
        let platforms = result.platforms();
        let mut called = Vec::new();
        for (id, reference) in result.iter() {
            let entry = entry(&platforms, id);
            let platform = entry.map(|entry| entry.platform.clone());
            let state = state_of(bridge, reference).await?;
            let config = config_of(&result, id)?;
            let state = match &config {
                Some(config) => state.with_image_config(config),
                None => state,
            };
            called.push(CallResult { platform, state, config });
        }
        Ok(called)
    }
}

/// The platform of one file system of a result.
fn entry<'a>(platforms: &'a [PlatformEntry], id: Option<&str>) -> Option<&'a PlatformEntry> {
    match id {
        Some(id) => platforms.iter().find(|entry| entry.id == id),
        None => platforms.first().filter(|_| platforms.len() == 1),
    }
}

fn config_of(
    result: &BuildResult<Ref>,
    id: Option<&str>,
) -> Result<Option<ImageConfig>, FrontendError> {
    let own = id.and_then(|id| result.metadata.get(&format!("{}/{id}", keys::IMAGE_CONFIG)));
    let Some(json) = own.or_else(|| result.metadata.get(keys::IMAGE_CONFIG)) else {
        return Ok(None);
    };
    serde_json::from_slice(json).map(Some).map_err(|error| {
        FrontendError::unknown(format!("the frontend returned a malformed image config: {error}"))
    })
}

/// A result as a state, to put more on top of it.
///
/// # Errors
///
/// If the daemon does not tell the graphs of results.
pub async fn state_of(
    bridge: &dyn Bridge,
    reference: Option<&Ref>,
) -> Result<State, FrontendError> {
    let Some(reference) = reference else { return Ok(State::scratch()) };
    match bridge.definition(reference).await? {
        None => Ok(State::scratch()),
        Some(definition) => State::from_definition(&definition)
            .map_err(|error| FrontendError::unknown(error.to_string())),
    }
}

/// Passes a whole build on to the frontend in an image, as a `syntax` line asks for. Its options
/// and inputs are those of this build.
///
/// `cmdline` is the line as the user wrote it.
///
/// # Errors
///
/// The frontend's own.
pub async fn forward(
    bridge: &dyn Bridge,
    settings: &Settings,
    source: &str,
    cmdline: &str,
) -> Result<BuildResult<Ref>, FrontendError> {
    let info = bridge.info();
    let mut options = info.options.0.clone();
    // What counts more has been found out here, so that it counts as much over there.
    for (own, arg) in [
        ("multi-platform", "build-arg:BUILDKIT_MULTI_PLATFORM"),
        ("hostname", "build-arg:BUILDKIT_SANDBOX_HOSTNAME"),
    ] {
        if let Some(value) = info.options.given(arg) {
            options.insert(own.to_owned(), value.to_owned());
        }
    }
    options.insert("cmdline".to_owned(), cmdline.to_owned());
    options.insert("source".to_owned(), source.to_owned());
    tracing::debug!(source, target = settings.target, "passing the build on");
    let inputs = match info.gateway_caps.contains("frontend.inputs") {
        true => passed_on(bridge).await?,
        false => Inputs::new(),
    };
    let frontend = "gateway.v0".to_owned();
    bridge.solve(Solve { frontend, options, inputs, ..Solve::default() }).await
}

async fn passed_on(bridge: &dyn Bridge) -> Result<Inputs, FrontendError> {
    let inputs = bridge.inputs().await;
    let inputs = inputs.map_err(|error| error.context("failed to get frontend inputs"))?;
    let mut passed = Inputs::new();
    for (name, definition) in inputs {
        let unfit = |error: &dyn std::fmt::Display| FrontendError::unknown(error.to_string());
        let definition = match definition.is_empty() {
            true => definition,
            // Marshalled anew, because BuildKit does so and the bytes are compared.
            false => State::from_definition(&definition)
                .map_err(|error| unfit(&error))?
                .marshal(&Marshal::default())
                .map_err(|error| unfit(&error))?,
        };
        passed.insert(name, definition);
    }
    Ok(passed)
}
