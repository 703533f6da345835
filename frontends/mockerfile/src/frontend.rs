//! The frontend itself: reads the file, asks for base images, solves, and returns what came of it.
//!
//! Everything that decides is elsewhere; this file only waits and passes on.

use async_trait::async_trait;
use kiln_sdk::document::{Diagnostic, Source};
use kiln_sdk::frontend::{
    BaseImage, Bridge, BuildResult, Contexts, Frontend, FrontendError, PlatformResults, Ref,
    Settings, Solve, Warning, base_image, keys,
};
use kiln_sdk::llb::Marshal;
use kiln_sdk::oci::Platform;

use crate::choices::Choices;
use crate::lower::{Made, Request, lower, question};
use crate::plan::Plan;

/// Names the file may have, the preferred one first, unless the option `filename` names it.
const NAMES: &[&str] = &["Mockerfile.yaml", "Mockerfile.yml", "mockerfile.yaml"];

/// The mockerfile language.
///
/// # Options
///
/// `filename`; `target`, the name of an image, the last of the file by default; `platform`;
/// `build-arg:NAME`, seen by commands in their environment (`http_proxy` and the like as proxies,
/// `SOURCE_DATE_EPOCH` as the time of everything); `label:NAME`; `no-cache`; `image-resolve-mode`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mockerfile;

#[async_trait]
impl Frontend for Mockerfile {
    async fn build(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let settings = Settings::read(bridge.info())?;
        let contexts = Contexts::new(bridge, &settings);
        let file = contexts.definition_file(NAMES, "Mockerfile").await?;
        let source = file.source()?;
        let options = &bridge.info().options;
        let choices = Choices::read(options)?;
        let (plan, warnings) = Plan::read(&source)
            .map_err(|mistakes| FrontendError::diagnostics(&source, &mistakes))?;
        let target = plan.target(options.target()).map_err(FrontendError::invalid)?;
        warn(bridge, &source, &warnings).await;

        let mut platforms = options.platforms()?;
        if platforms.is_empty() {
            platforms.push(bridge.info().default_platform());
        }
        let many = options.multi_platform()?.unwrap_or(platforms.len() > 1);
        let mut results = PlatformResults::new(many);
        let mut base_configs = Vec::new();
        for platform in platforms {
            let base = ask(bridge, &source, &plan, target, &platform).await?;
            let made = lower(&Request {
                source: &source,
                plan: &plan,
                target,
                platform: &platform,
                many_platforms: many,
                choices: &choices,
                base: base.as_ref(),
                session_id: bridge.info().local_session(),
            });
            let file_system = solve(bridge, &made, &platform).await?;
            base_configs.extend(base.map(|base| (platform.clone(), base.config)));
            results.push(platform, file_system, &made.config);
        }
        let mut result = results.finish();
        for (platform, config) in base_configs {
            let key = if many {
                format!("{}/{}", keys::BASE_CONFIG, platform.format_all())
            } else {
                keys::BASE_CONFIG.to_owned()
            };
            // A config is made of strings and numbers, so it can always be written.
            result.metadata.insert(key, serde_json::to_vec(&config).unwrap_or_default().into());
        }
        if let Some(epoch) = choices.epoch {
            result.metadata.insert(keys::SOURCE_DATE_EPOCH.to_owned(), epoch.to_string().into());
        }
        Ok(result)
    }
}

/// Finds the base image of the target. That there is none of this name is said with the line.
async fn ask(
    bridge: &dyn Bridge,
    source: &Source,
    plan: &Plan,
    target: usize,
    platform: &Platform,
) -> Result<Option<BaseImage>, FrontendError> {
    let Some(reference) = question(plan, target) else { return Ok(None) };
    let found = base_image(bridge, &reference.to_string(), platform).await;
    found.map(Some).map_err(|error| {
        let mistake =
            Diagnostic::error(format!("base image {} cannot be used: {error}", *reference));
        FrontendError::diagnostics(source, &[mistake.at(reference.span)])
    })
}

async fn solve(
    bridge: &dyn Bridge,
    made: &Made,
    platform: &Platform,
) -> Result<Option<Ref>, FrontendError> {
    if made.state.is_scratch() {
        return Ok(None);
    }
    let definition = made
        .state
        .marshal(&Marshal::on(platform.clone()))
        .map_err(|error| FrontendError::internal(format!("{error}")))?;
    let request = Solve { definition: Some(definition.into()), ..Solve::default() };
    bridge.solve(request).await?.into_single().map_err(FrontendError::internal)
}

/// Shows warnings. That they cannot be shown is no reason to fail a build.
async fn warn(bridge: &dyn Bridge, source: &Source, warnings: &[Diagnostic]) {
    for warning in warnings {
        let detail = warning.render(source).lines().map(str::to_owned).collect();
        let shown =
            Warning { level: 1, short: warning.summary(source), detail, ..Warning::default() };
        let sent = bridge.warn(shown).await;
        drop(sent);
    }
}
