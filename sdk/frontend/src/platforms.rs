//! One build per platform, put together to one result.
//!
//! A language makes a [`PlatformResult`] for each of [`Settings::targets`]; [`build_platforms`] marshals and
//! solves them at the same time and assembles the result: refs, platforms, configs, epochs.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::try_join_all;
use kiln_llb::{CapSet, Definition, Marshal, State};
use kiln_oci::{ImageConfig, Platform};

use crate::{Bridge, BuildInfo, BuildResult, FrontendError, PlatformResults, Ref, Settings, Solve};

/// One of the platforms of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPlatform {
    /// The platform.
    pub platform: Platform,
    /// Its place in the user's list, from 0. Warnings are for the first only.
    pub index: usize,
    /// Whether the user asked for it; else it is the daemon's own.
    pub requested: bool,
    /// Whether the result is an index.
    pub multi: bool,
}

impl Settings {
    /// The platforms to build for, in the user's order.
    pub fn targets(&self) -> Vec<TargetPlatform> {
        let requested = !self.target_platforms.is_empty();
        let multi = self.multi_platform;
        let platforms = self.platforms().into_iter().enumerate();
        platforms
            .map(|(index, platform)| TargetPlatform { platform, index, requested, multi })
            .collect()
    }
}

/// What a language made for one platform.
#[derive(Clone, Debug)]
pub struct PlatformResult {
    /// The file system to come.
    pub graph: MadeGraph,
    /// The config of its image, as JSON.
    pub config: Bytes,
    /// The config of the image it is based on, if there is one, as JSON.
    pub base_config: Option<Bytes>,
    /// The time of everything, in seconds since 1970.
    pub epoch: Option<i64>,
    /// The platform to export it as, if it is not the one that was asked for.
    pub platform: Option<Platform>,
}

/// A file system to come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MadeGraph {
    /// As a state, to be marshalled for the platform.
    State(Box<State>),
    /// As a graph that is marshalled already.
    Definition(Box<Definition>),
}

impl PlatformResult {
    /// A state and the config of its image.
    pub fn new(state: State, config: &ImageConfig) -> Self {
        Self {
            graph: MadeGraph::State(Box::new(state)),
            config: config.to_json().into(),
            base_config: None,
            epoch: None,
            platform: None,
        }
    }

    /// The same on a base image.
    #[must_use]
    pub fn based_on(mut self, base: Option<&ImageConfig>) -> Self {
        self.base_config = base.map(|base| base.to_json().into());
        self
    }

    /// The same with a time of everything.
    #[must_use]
    pub fn at(mut self, epoch: Option<i64>) -> Self {
        self.epoch = epoch;
        self
    }

    /// The same with labels of the user in the config. Those that the language has put there are left.
    ///
    /// # Errors
    ///
    /// If the config is none.
    pub(crate) fn labelled(
        mut self,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self, FrontendError> {
        if labels.is_empty() {
            return Ok(self);
        }
        let read = serde_json::from_slice::<ImageConfig>(&self.config);
        let mut config = read.map_err(|error| {
            FrontendError::internal(format!("the config of the image cannot be read: {error}"))
        })?;
        if labels.iter().any(|(name, value)| config.config.labels.get(name) != Some(value)) {
            config.config.labels.extend(labels.clone());
            self.config = config.to_json().into();
        }
        Ok(self)
    }

    /// The graph, marshalled for a platform.
    ///
    /// # Errors
    ///
    /// If the state cannot be.
    pub fn definition(
        &self,
        info: &BuildInfo,
        platform: &Platform,
    ) -> Result<Definition, FrontendError> {
        match &self.graph {
            MadeGraph::Definition(definition) => Ok((**definition).clone()),
            MadeGraph::State(state) => {
                let caps: CapSet = info.llb_caps.iter().cloned().collect();
                let caps = (!info.llb_caps.is_empty()).then_some(caps);
                let options = Marshal::on(platform.clone()).with_caps(caps);
                state.marshal(&options).map_err(|error| FrontendError::unknown(error.to_string()))
            }
        }
    }
}

/// Builds all platforms at the same time and puts them together.
///
/// Push the futures in a loop over [`Settings::targets`].
///
/// # Errors
///
/// The first error of any platform.
///
/// # Cancellation
///
/// Dropping the future drops all builds.
pub async fn build_platforms<Build>(
    bridge: &dyn Bridge,
    settings: &Settings,
    builds: Vec<(TargetPlatform, Build)>,
) -> Result<BuildResult<Ref>, FrontendError>
where
    Build: Future<Output = Result<PlatformResult, FrontendError>>,
{
    let mut running = Vec::with_capacity(builds.len());
    for (target, build) in builds {
        running.push(one(bridge, settings, target, build));
    }
    let done = try_join_all(running).await?;
    let mut results = PlatformResults::new(settings.multi_platform);
    for (target, made, reference) in done {
        results.add(made.platform.clone().unwrap_or(target.platform), reference, made);
    }
    Ok(results.finish())
}

async fn one<Build>(
    bridge: &dyn Bridge,
    settings: &Settings,
    target: TargetPlatform,
    build: Build,
) -> Result<(TargetPlatform, PlatformResult, Option<Ref>), FrontendError>
where
    Build: Future<Output = Result<PlatformResult, FrontendError>>,
{
    let made = build.await?;
    let definition = made.definition(bridge.info(), &target.platform)?;
    if definition.is_empty() {
        return Ok((target, made, None));
    }
    let cache_imports = settings.cache_imports.clone();
    let request = Solve { definition: Some(definition), cache_imports, ..Solve::default() };
    let reference = bridge.solve(request).await?.into_single().map_err(FrontendError::unknown)?;
    Ok((target, made, reference))
}
