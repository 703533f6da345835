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

use kiln_sdk::frontend::{BuildLanguage, PlatformResult, Project, TargetPlatform};
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

/// The language.
#[derive(Clone, Copy, Debug)]
pub struct Tiny;

#[async_trait]
impl BuildLanguage for Tiny {
    type Plan = Recipe;
    const NAME: &'static str = "tiny";
    const FILES: &'static [&'static str] = &["tiny.yaml"];

    fn read(&self, source: &Source) -> Result<Parsed<Recipe>, Vec<Diagnostic>> {
        let recipe: Recipe = parse(source, Language::Yaml, &Limits::default())?;
        let wrong = recipe.copy.iter().filter(|(place, _)| !place.starts_with('/'));
        let mistakes: Vec<Diagnostic> = wrong
            .map(|(place, path)| {
                let mistake = Diagnostic::error(format!("`{place}` is not a place in the image"));
                mistake.at(path.span).hint(format!("write `/{place}`"))
            })
            .collect();
        if mistakes.is_empty() { Ok(Parsed::new(recipe)) } else { Err(mistakes) }
    }

    async fn build(
        &self,
        project: &Project<'_, Recipe>,
        target: &TargetPlatform,
    ) -> Result<PlatformResult, FrontendError> {
        let recipe = project.plan;
        let step = |verb: &str, value: &Spanned<String>| {
            project.step(target, &format!("{verb} {}", value.value), value.span)
        };
        let from = &recipe.from;
        let base = project.base(from, Some(from.span), &target.platform).await?;
        let mut state = base.state(step("from", from));
        let paths = recipe.copy.values().map(|path| path.value.clone()).collect();
        let context = project.context(paths).await?;
        for (place, path) in &recipe.copy {
            let copy = CopyOptions::default().with_create_dest_path(true);
            let actions = vec![Action::copy(&context, format!("/{}", path.value), place, copy)];
            state = state.file(FileActions::from(actions).with_constraints(step("copy", path)));
        }
        for command in &recipe.run {
            let exec = Exec::sh(&command.value).with_constraints(step("run", command));
            state = state.run(project.exec(exec)).root();
        }
        let mut config = base.config(&target.platform);
        if recipe.entrypoint.is_some() {
            config.config.entrypoint.clone_from(&recipe.entrypoint);
        }
        config.config.labels.extend(project.settings.labels.clone());
        Ok(PlatformResult::new(state, &config).based_on(base.image_config()))
    }
}
