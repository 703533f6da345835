//! The frontend itself: what of the file is asked for before it is lowered, and what is told of it.
//!
//! Everything that decides is elsewhere; the course of a build is the SDK's.

use async_trait::async_trait;
use kiln_sdk::document::{Diagnostic, Source};
use kiln_sdk::frontend::requests::{Outline, Target};
use kiln_sdk::frontend::{
    BuildLanguage, FrontendError, Parsed, PlatformResult, Project, TargetPlatform,
};
use kiln_sdk::llb::State;

use crate::choices::Choices;
use crate::lower::{Request, context_paths, lower, question};
use crate::plan::{Base, Plan};

/// The mockerfile language.
///
/// # Options
///
/// All of the SDK's. `target` is the name of an image, the last of the file by default;
/// `build-arg:NAME` is seen by commands in their environment (`http_proxy` and the like as proxies,
/// `SOURCE_DATE_EPOCH` as the time of everything); `context:NAME` replaces the base image of that
/// name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mockerfile;

#[async_trait]
impl BuildLanguage for Mockerfile {
    type Plan = Plan;

    const NAME: &'static str = "mockerfile";

    const FILES: &'static [&'static str] =
        &["Mockerfile.yaml", "Mockerfile.yml", "mockerfile.yaml"];

    fn read(&self, source: &Source) -> Result<Parsed<Plan>, Vec<Diagnostic>> {
        Plan::read(source)
    }

    fn targets(&self, project: &Project<'_, Plan>) -> Result<Vec<Target>, FrontendError> {
        let images = &project.plan.images;
        let targets = images.iter().enumerate().map(|(index, image)| {
            Target::default()
                .with_name(image.name.clone())
                .with_default(index + 1 == images.len())
                .with_base(match &image.base {
                    Base::Scratch => "scratch".to_owned(),
                    Base::Image(reference) => reference.familiar(),
                    Base::Result(base) | Base::Whole(base) => images[*base].name.clone(),
                })
                .with_location(Some(project.place(image.base_span)))
        });
        Ok(targets.collect())
    }

    fn outline(&self, project: &Project<'_, Plan>) -> Result<Outline, FrontendError> {
        let target = target(project)?;
        Ok(Outline::default().with_name(project.plan.images[target].name.clone()))
    }

    async fn build(
        &self,
        project: &Project<'_, Plan>,
        platform: &TargetPlatform,
    ) -> Result<PlatformResult, FrontendError> {
        let info = project.bridge.info();
        let choices = Choices::read(&info.options)?;
        let target = target(project)?;
        let base = match question(project.plan, target) {
            Some(base) => {
                let name = base.to_string();
                Some(project.base(&name, Some(base.span), &platform.platform).await?)
            }
            None => None,
        };
        let context = match context_paths(project.plan, target) {
            Some(paths) => project.context(paths).await?,
            None => State::scratch(),
        };
        let made = lower(&Request {
            source: project.source,
            map: &project.file.source_map,
            plan: project.plan,
            target,
            platform: &platform.platform,
            many_platforms: platform.multi,
            choices: &choices,
            settings: project.settings,
            info,
            base: base.as_ref(),
            context: &context,
        });
        let base_config = base.as_ref().and_then(|base| base.image_config());
        Ok(PlatformResult::new(made.state, &made.config).based_on(base_config).at(choices.epoch))
    }
}

/// The image to build, by index.
fn target(project: &Project<'_, Plan>) -> Result<usize, FrontendError> {
    let wanted = Some(project.settings.target.as_str()).filter(|name| !name.is_empty());
    project.plan.target(wanted).map_err(FrontendError::invalid)
}
