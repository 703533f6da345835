//! A whole build language: images in YAML, for every platform, with mistakes shown where they are.
//!
//! ```yaml
//! from: debian:12
//! copy:
//!   /srv/site: site
//! run:
//! - chmod -R a+rX /srv/site
//! entrypoint: [httpd, -f]
//! ```
//!
//! What the SDK does without being asked: options of `docker build` and `buildctl`, build files in
//! git or behind HTTP, ignore files, the config of the base image, the index of several platforms.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kiln_sdk::document::{Language, Limits, Source, parse};
use kiln_sdk::frontend::{
    Contexts, DefinitionFile, Made, Ref, Settings, base_image, build_platforms,
};
use kiln_sdk::llb::FileActions;
use kiln_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// An image.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The image it starts from.
    from: Spanned<String>,
    /// Paths of the build context, by where they go.
    #[serde(default)]
    copy: BTreeMap<String, Spanned<String>>,
    /// Shell commands, in order.
    #[serde(default)]
    run: Vec<Spanned<String>>,
    /// The program of the image.
    entrypoint: Option<Vec<String>>,
}

/// The frontend.
#[derive(Clone, Copy, Debug)]
pub struct Tiny;

#[async_trait]
impl Frontend for Tiny {
    async fn build(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let settings = Settings::read(bridge.info())?;
        let contexts = Contexts::new(bridge, &settings);
        let file = contexts.definition_file(&["tiny.yaml"], "YAML").await?;
        let source = file.source()?;
        let recipe: Recipe = parse(&source, Language::Yaml, &Limits::default())
            .and_then(check)
            .map_err(|mistakes| FrontendError::diagnostics(&source, &mistakes))?;
        let paths = recipe.copy.values().map(|path| path.value.clone()).collect();
        let context = contexts.main_context().await?.state(paths);
        let work = Work { recipe, file, source, context, bridge, settings: &settings };
        let targets = settings.targets().into_iter();
        let builds = targets.map(|target| (target.clone(), work.lower(target.platform))).collect();
        build_platforms(bridge, &settings, builds).await
    }
}

/// What a schema cannot know.
fn check(recipe: Recipe) -> Result<Recipe, Vec<Diagnostic>> {
    let wrong = recipe.copy.iter().filter(|(place, _)| !place.starts_with('/'));
    let mistakes: Vec<Diagnostic> = wrong
        .map(|(place, path)| {
            let mistake = Diagnostic::error(format!("`{place}` is not a place in the image"));
            mistake.at(path.span).hint(format!("write `/{place}`"))
        })
        .collect();
    if mistakes.is_empty() { Ok(recipe) } else { Err(mistakes) }
}

struct Work<'a> {
    recipe: Recipe,
    file: DefinitionFile,
    source: Source,
    context: State,
    bridge: &'a dyn Bridge,
    settings: &'a Settings,
}

impl Work<'_> {
    /// The graph and the config for one platform.
    async fn lower(&self, platform: Platform) -> Result<Made, FrontendError> {
        let Self { recipe, settings, bridge, .. } = self;
        let base = base_image(*bridge, &recipe.from, &platform).await?;
        let constraints = self.step("from", &recipe.from);
        let image = Image { resolve_mode: settings.resolve_mode, constraints, ..Image::default() };
        let mut state = State::image_with(&base.reference.to_string(), image)
            .with_platform(platform)
            .with_image_config(&base.config);
        for (place, path) in &recipe.copy {
            let copy = Copy { create_dest_path: true, ..Copy::default() };
            let actions =
                vec![Action::copy(&self.context, format!("/{}", path.value), place, copy)];
            state = state.file(FileActions { actions, constraints: self.step("copy", path) });
        }
        for command in &recipe.run {
            let exec = Exec { constraints: self.step("run", command), ..Exec::sh(&command.value) };
            state = state.run(settings.applied_to(exec, bridge.info())).root();
        }
        let mut config = base.config.clone();
        if recipe.entrypoint.is_some() {
            config.config.entrypoint.clone_from(&recipe.entrypoint);
        }
        config.config.labels.extend(settings.labels.clone());
        Ok(Made::new(state, &config).based_on(Some(&base.config)))
    }

    /// A step has a name, and its failure is shown where it was written.
    fn step(&self, verb: &str, value: &Spanned<String>) -> Constraints {
        let name = format!("{verb} {}", value.value);
        let step = self.file.step(&self.source, name, value.span);
        Constraints { ignore_cache: self.settings.no_cache.covers(""), ..step }
    }
}
