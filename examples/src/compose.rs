//! Composition: one YAML file puts together what other frontends make.
//!
//! ```yaml
//! parts:
//! - frontend: dockerfile.v0
//!   file: Dockerfile.tools
//! - frontend: mockerfile.v0
//!   file: Mockerfile.yaml
//! ```
//!
//! Each part is a build of its own, cached and parallel like every other; the results are merged,
//! later parts over earlier ones, and the first part's config describes the image.

use kiln_sdk::frontend::{Call, Contexts, PlatformResult, Ref, Settings, build_platforms};
use kiln_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// The name a file has unless the option `filename` gives another.
const FILE: &str = "parts.yaml";

/// What an image is put together from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Assembly {
    /// Builds, in the order in which they are laid over each other.
    parts: Vec<Spanned<Part>>,
}

/// One build.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The name of a frontend, such as `dockerfile.v0`, or of its image.
    frontend: String,
    /// Its build file.
    file: String,
    /// The target in it.
    target: Option<String>,
}

/// The frontend.
#[derive(Clone, Copy, Debug)]
pub struct Compose;

#[async_trait]
impl Frontend for Compose {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let settings = Settings::read(bridge.info())?;
        let file = Contexts::new(bridge, &settings).definition_file(&[FILE], "YAML").await?;
        let source = file.source()?;
        let refused = |mistakes: Vec<Diagnostic>| FrontendError::diagnostics(&source, &mistakes);
        let assembly: Assembly =
            parse(&source, Language::Yaml, &Limits::default()).map_err(refused)?;
        let mut builds = Vec::new();
        for target in settings.targets() {
            builds.push((target.clone(), assemble(bridge, &assembly, target.platform)));
        }
        build_platforms(bridge, &settings, builds).await
    }
}

/// All parts for one platform, laid over each other.
async fn assemble(
    bridge: &dyn Bridge,
    assembly: &Assembly,
    platform: Platform,
) -> Result<PlatformResult, FrontendError> {
    let (mut layers, mut config) = (Vec::new(), None);
    for part in &assembly.parts {
        let call = match part.frontend.ends_with(".v0") {
            true => Call::named(&part.frontend),
            false => Call::image(&part.frontend),
        };
        let call = call.option("filename", &part.file).option("platform", platform.to_string());
        let call = call.option("target", part.target.as_deref().unwrap_or_default());
        for made in call.with_options_of(&bridge.info().options).states(bridge).await? {
            layers.push(made.state);
            config = config.or(made.config);
        }
    }
    let config = config.unwrap_or_else(|| ImageConfig::new(&platform));
    Ok(PlatformResult::new(State::merge(&layers), &config))
}
