//! The frontend itself: reads options and file, forwards to another frontend if the file asks for
//! one, answers sub-requests, and builds for every platform.
//!
//! Everything that decides is elsewhere; here is what waits: for the daemon, through a bridge.

mod answers;
mod forward;
mod platforms;
mod scan;
mod world;

use async_trait::async_trait;
use kiln_sdk::document::render_all;
use kiln_sdk::frontend::{
    Bridge, BuildResult, Contexts, DefinitionFile, Frontend, FrontendError, Ref, Settings,
};

use crate::diagnose;
use crate::directives::{DirectiveName, find};
use crate::instruction::Channel;
use crate::lint::{LintConfig, Linter};
use crate::lower::{Failure, File};
use world::World;

/// What a caller may require of this frontend.
const CAPABILITIES: &[&str] = &[
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// The names a Dockerfile may have, the usual one first.
const NAMES: &[&str] = &["Dockerfile", "dockerfile"];

/// The Dockerfile language.
///
/// # Options
///
/// Those of BuildKit's own frontend: `filename`, `target`, `platform`, `build-arg:NAME`,
/// `label:NAME`, `context:NAME`, `no-cache`, `image-resolve-mode`, `add-hosts`, `shm-size`, `ulimit`,
/// `cgroup-parent`, `force-network-mode`, `hostname`, `cache-imports`, `attest:sbom` and the rest.
/// Sub-requests: outline, targets, lint, convertllb and describe.
#[derive(Clone, Copy, Debug)]
pub struct Dockerfile {
    channel: Channel,
}

impl Dockerfile {
    /// The stable language.
    pub fn mainline() -> Self {
        Self { channel: Channel::Mainline }
    }

    /// The language with what is being tried out.
    pub fn labs() -> Self {
        Self { channel: Channel::Labs }
    }
}

#[async_trait]
impl Frontend for Dockerfile {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let settings = Settings::read(bridge.info())?;
        let check = settings.check.as_deref().map(LintConfig::parse).transpose();
        let check = check.map_err(|mistake| {
            let mistake = mistake.context("failed to parse build-arg:BUILDKIT_DOCKERFILE_CHECK");
            FrontendError::unknown(mistake.message)
        })?;
        settings.check_caps(CAPABILITIES, true)?;
        let contexts = Contexts::new(bridge, &settings);
        let definition = contexts.definition_file(NAMES, "Dockerfile").await?;
        let text = String::from_utf8_lossy(&definition.data);
        if settings.cmdline.is_none()
            && let Some(result) = forward::forward(bridge, &settings, &definition, &text).await?
        {
            return Ok(result);
        }
        settings.check_caps(CAPABILITIES, false)?;
        let world = World::new(bridge, &settings, &contexts, &definition);
        let source = Source { text: &text, channel: self.channel, check };
        if let Some(request) = &settings.request {
            return answers::answer(&world, &source, request).await;
        }
        let mut lint = Linter::silent();
        let built = platforms::build(&world, &source, &mut lint).await;
        warn(bridge, &definition, &lint).await;
        built.map_err(|failure| with_others(located(failure, &definition), &definition))
    }
}

/// The text to lower and how to read it.
struct Source<'a> {
    text: &'a str,
    channel: Channel,
    /// Which rules apply, if an option says so.
    check: Option<LintConfig>,
}

impl Source<'_> {
    /// A linter with the rules of the option or else of the file.
    fn linter(&self) -> Result<Linter, Failure> {
        let config = match &self.check {
            Some(config) => config.clone(),
            None => {
                let directive = find(DirectiveName::Check, self.text);
                let text =
                    directive.as_ref().map(|directive| directive.first_word()).unwrap_or_default();
                LintConfig::parse(text)
                    .map_err(|mistake| mistake.context("failed to parse check options"))?
            }
        };
        Ok(Linter::new(config))
    }

    /// The file, understood. That it is empty counts more than what is wrong with its rules.
    fn read(&self, lint: &mut Linter) -> Result<File, Failure> {
        if self.text.is_empty() {
            return Err(Failure::new("the Dockerfile cannot be empty"));
        }
        *lint = self.linter()?;
        Ok(File::read(self.text, lint)?)
    }
}

/// Shows what the linter found. That it cannot be shown is no reason to fail a build.
async fn warn(bridge: &dyn Bridge, definition: &DefinitionFile, lint: &Linter) {
    for found in lint.warnings() {
        let ranges = world::ranges(found.lines);
        let mut warning = definition.warning(found.short(), ranges);
        warning.detail = vec![found.rule.description.to_owned()];
        warning.url = found.rule.url.to_owned();
        drop(bridge.warn(warning).await);
    }
}

/// A failure as it travels: with the file and every place.
fn located(failure: Failure, definition: &DefinitionFile) -> FrontendError {
    let Failure { error, places } = failure;
    places
        .into_iter()
        .fold(error, |error, lines| error.with_source(definition.info(), world::ranges(lines)))
}

/// The error, and below it what else is wrong with the file. What a program reads of it stays the
/// same.
fn with_others(error: FrontendError, definition: &DefinitionFile) -> FrontendError {
    let Ok(source) = definition.source() else { return error };
    // Of an empty file nothing else can be said than that it is.
    if source.text().trim().is_empty() {
        return error;
    }
    let told = error.to_string();
    let mut others = diagnose::diagnose(&source);
    others.retain(|diagnostic| diagnostic.message != told);
    match others.as_slice() {
        [] => error,
        others => error.also(render_all(others, &source)),
    }
}
