//! What lowering asks of the world, asked through a bridge, and the order in which it is asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use futures::future::join_all;
use kiln_sdk::frontend::{
    Age, Bridge, Contexts, DefinitionFile, FrontendError, ImageConfigRequest, NamedRequest,
    ResolvedImage, Settings,
};
use kiln_sdk::llb::{CapSet, SourceRange};
use kiln_sdk::oci::Platform;

use crate::dockerignore::Dockerignore;
use crate::instruction::Channel;
use crate::lines::Lines;
use crate::lint::Linter;
use crate::lower::{Answer, Failure, File, Lowering, Question, Request};

/// The daemon and the client, as one build sees them.
pub(super) struct World<'a> {
    pub(super) bridge: &'a dyn Bridge,
    pub(super) settings: &'a Settings,
    pub(super) contexts: &'a Contexts<'a>,
    pub(super) definition: &'a DefinitionFile,
    /// What the daemon can do.
    pub(super) caps: CapSet,
    /// Images that were asked for already.
    images: Mutex<BTreeMap<String, ResolvedImage>>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        bridge: &'a dyn Bridge,
        settings: &'a Settings,
        contexts: &'a Contexts<'a>,
        definition: &'a DefinitionFile,
    ) -> Self {
        let caps = bridge.info().llb_caps.iter().cloned().collect();
        Self { bridge, settings, contexts, definition, caps, images: Mutex::default() }
    }

    /// Lowers a file for one platform: asks, answers and lowers until everything is known.
    pub(super) async fn lower<'l>(
        &'l self,
        file: &File,
        channel: Channel,
        platform: Option<Platform>,
        all_stages: bool,
        lint: &'l mut Linter,
    ) -> Result<Lowering<'l>, Failure> {
        let request = Request {
            settings: self.settings,
            platform,
            caps: &self.caps,
            source_map: self.definition.source_map.clone(),
            channel,
            all_stages,
        };
        let mut lowering = Lowering::new(file, request, lint)?;
        if let Some(name) = lowering.time_of() {
            let time = self.time(&lowering, file, &name).await?;
            lowering.set_time(time);
        }
        let is_context = |name: &str, platform: Option<&Platform>| {
            Ok(self.named(name, platform.cloned())?.is_some())
        };
        lowering.add_stages(file, &is_context)?;
        lowering.connect()?;
        loop {
            let questions = lowering.questions();
            let answers = join_all(questions.iter().map(|question| self.ask(question))).await;
            // All are taken, and of several failures the last of the file counts: the reference
            // asks for all at once, and begins with the one it thought of last.
            let mut failure = None;
            for (question, answer) in questions.iter().zip(answers) {
                failure = lowering.answer(question, answer).err().or(failure);
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
            if !lowering.take_triggers()? {
                break;
            }
        }
        let ignored = self.contexts.ignore_file().await?;
        let ignored = match ignored.patterns.as_slice() {
            [] => None,
            patterns => Some(Dockerignore::new(patterns)?),
        };
        lowering.lower_stages(ignored.as_ref())?;
        lowering.end_stages()?;
        lowering.set_context(&self.contexts.main_context().await?);
        Ok(lowering)
    }

    /// A named context, unless the name means something else.
    fn named(
        &self,
        name: &str,
        platform: Option<Platform>,
    ) -> Result<Option<kiln_sdk::frontend::NamedContext<'_>>, FrontendError> {
        self.named_with(name, NamedRequest { platform, ..NamedRequest::default() })
    }

    fn named_with(
        &self,
        name: &str,
        request: NamedRequest,
    ) -> Result<Option<kiln_sdk::frontend::NamedContext<'_>>, FrontendError> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return Ok(None);
        }
        self.contexts.named(name, request)
    }

    /// Answers a question: with a named context if there is one, else with an image.
    async fn ask(&self, question: &Question) -> Result<Answer, Failure> {
        if let Some(failure) = &question.refused {
            return Err(failure.clone());
        }
        let request = NamedRequest {
            platform: question.platform.clone(),
            resolve_mode: self.settings.resolve_mode,
            paths: question.paths.clone(),
            ..NamedRequest::default()
        };
        if let Some(context) = self.named_with(&question.name, request)? {
            return Ok(Answer::Context(Box::new(context.load().await?)));
        }
        let Some(log_name) = &question.image else {
            // The context was there a moment ago.
            let message = format!("named context {} is gone", question.name);
            return Err(FrontendError::internal(message).into());
        };
        self.image(question, log_name).await.map(Answer::Image)
    }

    async fn image(&self, question: &Question, log_name: &str) -> Result<ResolvedImage, Failure> {
        let platform = question.platform.as_ref().map(Platform::format_all).unwrap_or_default();
        let key = format!("{platform} {log_name}");
        let known = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(image) = known().get(&key) {
            return Ok(image.clone());
        }
        let request = ImageConfigRequest::default()
            .with_platform(question.platform.clone())
            .with_resolve_mode(self.settings.resolve_mode.as_str().to_owned())
            .with_log_name(log_name.to_owned());
        let image = self
            .bridge
            .resolve_image(&question.name, request)
            .await
            .map_err(|error| question.not_found(error.into()))?;
        if let Some(source) = &image.non_image {
            let message = format!(
                "ref mutated by policy to non-image: docker-image://{} -> {source}",
                question.name
            );
            return Err(question.not_found(Failure::new(message)));
        }
        known().insert(key, image.clone());
        Ok(image)
    }

    /// The time of what `SOURCE_DATE_EPOCH` names.
    async fn time(
        &self,
        lowering: &Lowering<'_>,
        file: &File,
        name: &str,
    ) -> Result<Option<Age>, Failure> {
        if name == "context" {
            let context = self.contexts.main_context().await?.state(Vec::new());
            let log_name = "[internal] resolve main build context metadata";
            return Ok(self.contexts.age(&context, log_name).await?);
        }
        if let Some(context) = self.contexts.named(name, NamedRequest::default())? {
            let context = context.load().await?;
            let log_name = format!("[internal] resolve SOURCE_DATE_EPOCH named context {name}");
            return Ok(self.contexts.age(&context.state, &log_name).await?);
        }
        let source = lowering.stage_with_time(file, name)?;
        let log_name =
            format!("[internal] resolve SOURCE_DATE_EPOCH source stage {}", source.stage);
        Ok(self.contexts.age(&source.state, &log_name).await?)
    }
}

/// Lines as ranges: one per line.
pub(super) fn ranges(lines: Lines) -> Vec<SourceRange> {
    lines.each().map(|line| SourceRange::lines(line, line)).collect()
}
