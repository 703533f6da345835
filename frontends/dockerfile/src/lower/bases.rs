//! What stages start from: which questions that needs, and what the answers mean.

use bytes::Bytes;
use kiln_sdk::frontend::{FollowPaths, LoadedContext, ResolvedImage, image_config_error};
use kiln_sdk::llb::{Constraints, Image as ImageSource, State};
use kiln_sdk::oci::{Platform, Reference};

use super::failure::Failure;
use super::image::Image;
use super::node::{NodeId, Replacement};
use super::{Lowering, SCRATCH, names};
use crate::lint::Violation;

/// Something a build must know before it can be lowered.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Who asks.
    pub(crate) node: NodeId,
    /// The named context or image that is wanted.
    pub(crate) name: String,
    /// The same as it stands in the file, for errors.
    written: String,
    /// The stages it could have been.
    stages: std::sync::Arc<[String]>,
    /// For this platform.
    pub(crate) platform: Option<Platform>,
    /// The paths that are needed of it, if it is a directory of the client.
    pub(crate) paths: FollowPaths,
    /// The name of the vertex that shows the question to a registry; only a context is asked for if
    /// this is absent.
    pub(crate) image: Option<String>,
    /// Why it need not be asked: the base is no image name.
    pub(crate) refused: Option<Failure>,
}

/// What somebody outside knows.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A named context.
    Context(Box<LoadedContext>),
    /// An image.
    Image(ResolvedImage),
}

impl Question {
    /// A question about a named context in the place of a stage.
    fn of(node: NodeId, name: String) -> Self {
        Self {
            node,
            name,
            written: String::new(),
            stages: std::sync::Arc::default(),
            platform: None,
            paths: FollowPaths::default(),
            image: None,
            refused: None,
        }
    }

    /// The words for an image that was not found, with a guess of what was meant.
    pub(crate) fn not_found(&self, failure: Failure) -> Failure {
        let common = common_images();
        let options = self.stages.iter().chain(&common).map(String::as_str);
        failure.context(&self.written).hint(&self.written, options)
    }
}

impl Lowering<'_> {
    /// What must be known to go on. Empty if everything is.
    pub(crate) fn questions(&mut self) -> Vec<Question> {
        self.reachable = self.graph.reachable(self.target);
        let mut questions = Vec::new();
        let stages = self.graph.labels().into_iter().map(str::to_owned).collect();
        let ids: Vec<NodeId> = self.graph.ids().collect();
        for id in ids {
            let reachable = self.request.all_stages || self.reachable.contains(&id);
            let node = self.graph.node_mut(id);
            if node.base.is_some() || node.progress.lowered || node.progress.resolved {
                continue;
            }
            // The triggers of a base may make a stage needed that was not before.
            node.progress.resolved = reachable;
            if node.origin.base_name == SCRATCH && node.origin.replaced.is_none() {
                node.state = State::scratch();
                node.image = Image::empty(&self.platforms.target);
                node.platform = Some(self.platforms.target.clone());
                node.progress.lowered |= node.origin.unregistered;
                continue;
            }
            let name = node.origin.base_name.clone();
            let question = self.question(id, reachable, &stages).unwrap_or_else(|failure| {
                let refused = Some(failure);
                Some(Question { refused, ..Question::of(id, name) })
            });
            questions.extend(question);
        }
        questions
    }

    /// The question of one node. One that nobody needs asks nothing, but must have a base that could
    /// be.
    fn question(
        &mut self,
        id: NodeId,
        reachable: bool,
        stages: &std::sync::Arc<[String]>,
    ) -> Result<Option<Question>, Failure> {
        let node = self.graph.node_mut(id);
        node.progress.lowered |= node.origin.unregistered;
        let written = node.origin.base_name.clone();
        let reference = Reference::parse_untagged(&written).map_err(|error| {
            let name = crate::quoting::quote(&written);
            Failure::new(error.docker_text()).context(format!("failed to parse stage name {name}"))
        })?;
        let reference = tagged(reference);
        let platform = node.platform.clone().unwrap_or_else(|| self.platforms.target.clone());
        node.origin.written_base = written;
        node.origin.base_name = reference.to_string();
        if !reachable {
            self.set_image(id, &platform);
            return Ok(None);
        }
        let node = self.graph.node(id);
        if let Some(Replacement { name, platform }) = node.origin.replaced.clone() {
            let paths = node.used_paths.clone();
            return Ok(Some(Question { platform, paths, ..Question::of(id, name) }));
        }
        let prefix = match self.request.settings.multi_platform {
            true => format!("[{} internal]", platform.format_all()),
            false => "[internal]".to_owned(),
        };
        Ok(Some(Question {
            written: node.origin.written_base.clone(),
            stages: std::sync::Arc::clone(stages),
            platform: Some(platform),
            paths: node.used_paths.clone(),
            image: Some(format!("{prefix} load metadata for {}", node.origin.base_name)),
            ..Question::of(id, node.origin.base_name.clone())
        }))
    }

    /// Takes an answer.
    ///
    /// # Errors
    ///
    /// The answer is an error, or what came is no image config.
    pub(crate) fn answer(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
    ) -> Result<(), Failure> {
        let lines = self.graph.node(question.node).origin.lines;
        self.take(question, answer).map_err(|failure| failure.at(lines))
    }

    fn take(
        &mut self,
        question: &Question,
        answer: Result<Answer, Failure>,
    ) -> Result<(), Failure> {
        match (answer?, &question.image) {
            (Answer::Context(context), None) => self.replace_stage(question.node, *context),
            (Answer::Context(context), Some(_)) => self.replace_base(question, *context),
            (Answer::Image(image), _) => self.start_from(question, &image),
        }
    }

    /// A named context stands in the place of a whole stage.
    fn replace_stage(&mut self, id: NodeId, context: LoadedContext) -> Result<(), Failure> {
        let image = config(&context)?;
        let node = self.graph.node_mut(id);
        node.progress.lowered = true;
        node.state = context.state;
        if let Some(mut image) = image {
            image.created = None;
            if !image.architecture.is_empty() && !image.os.is_empty() {
                node.platform = Some(image.platform());
            }
            node.image = image;
        }
        Ok(())
    }

    /// A named context stands in the place of an image.
    fn replace_base(&mut self, question: &Question, context: LoadedContext) -> Result<(), Failure> {
        let image = config(&context)?;
        let platform = question.platform.clone().unwrap_or_default();
        let node = self.graph.node_mut(question.node);
        let mut image = image.unwrap_or_else(|| Image::empty(&platform));
        node.base_image = Some(std::sync::Arc::new(image.clone()));
        image.created = None;
        node.image = image;
        node.state = context.state.with_platform(platform.clone());
        node.platform = Some(platform);
        Ok(())
    }

    /// The stage starts from an image of a registry.
    fn start_from(&mut self, question: &Question, found: &ResolvedImage) -> Result<(), Failure> {
        let id = question.node;
        let platform = question.platform.clone().unwrap_or_default();
        let node = self.graph.node_mut(id);
        let mut reference = Reference::parse_untagged(&node.origin.written_base)
            .map_err(|error| Failure::new(error.docker_text()))?;
        if reference.to_string() != found.reference {
            reference = Reference::parse_untagged(&found.reference).map_err(|error| {
                let name = crate::quoting::quote(&found.reference);
                Failure::new(error.docker_text()).context(format!("failed to parse ref {name}"))
            })?;
        }
        let mut image = parse(&found.config)
            .map_err(|failure| failure.context("failed to parse image config"))?;
        node.base_image = Some(std::sync::Arc::new(image.clone()));
        image.created = None;
        let platform = match node.platform.is_none() && self.platforms.implicit {
            true => detect(&image, platform, &self.platforms.native),
            false => platform,
        };
        if let Some(digest) = &found.digest {
            reference = reference.with_digest(digest.clone());
        }
        node.origin.base_name = reference.to_string();
        let empty = image.has_no_layers();
        let actual = image.platform();
        node.image = image;
        if empty {
            node.state = State::scratch();
            node.platform = Some(platform);
            return Ok(());
        }
        self.set_image(id, &platform);
        let node = self.graph.node(id);
        if platform.os != actual.os || platform.architecture != actual.architecture {
            let violation = Violation::InvalidBaseImagePlatform {
                image: node.origin.written_base.clone(),
                expected: platform.normalized().format_all(),
                actual: actual.normalized().format_all(),
            };
            let lines = node.origin.lines;
            self.lint.report(&[""; 0], lines, &violation);
        }
        Ok(())
    }

    /// Makes the image of its base name the state of a node.
    fn set_image(&mut self, id: NodeId, platform: &Platform) {
        let settings = self.request.settings;
        let node = self.graph.node_mut(id);
        let shown = settings.multi_platform.then_some(platform);
        let text = format!("FROM {}", node.origin.base_name);
        let name = names::step_of_base(node, &text, shown);
        let reference = node.origin.base_name.clone();
        let constraints = Constraints::default()
            .with_platform(Some(platform.clone()))
            .with_custom_name(Some(name))
            .with_description(super::steps::description(&node.origin.code))
            .with_locations(super::steps::location(&self.request.source_map, node.origin.lines));
        let source = ImageSource::default()
            .with_resolve_mode(settings.resolve_mode)
            .with_constraints(constraints);
        node.state = State::image_with(&reference, source);
        node.platform = Some(platform.clone());
    }
}

fn parse(config: &Bytes) -> Result<Image, Failure> {
    Image::from_json(config).map_err(|error| Failure::new(image_config_error(config, &error)))
}

/// The config of a named context, if it has one.
fn config(context: &LoadedContext) -> Result<Option<Image>, Failure> {
    let Some(raw) = &context.raw_config else { return Ok(None) };
    let mut image = parse(raw)?;
    // Of some contexts nobody is told when they were made.
    if context.config.as_ref().is_none_or(|config| config.created.is_none()) {
        image.created = None;
    }
    Ok(Some(image))
}

/// The reference with the default tag, unless it says which image is meant.
pub(crate) fn tagged(reference: Reference) -> Reference {
    let text = reference.to_string();
    text.parse().unwrap_or(reference)
}

/// The platform of an image that nobody chose a platform for: the build's own if that runs it.
fn detect(image: &Image, target: Platform, native: &Platform) -> Platform {
    let same = |platform: &Platform| {
        platform.os == image.os && platform.architecture == image.architecture
    };
    if !same(&target) && same(native) { native.clone() } else { target }
}

/// Names of images that people misspell, as the reference has them.
fn common_images() -> Vec<String> {
    let names = ["alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora"];
    let mut all = Vec::with_capacity(names.len() * 4);
    for name in names {
        all.push(name.to_owned());
        all.push(format!("docker.io/library{name}"));
        all.push(format!("{name}:latest"));
        all.push(format!("docker.io/library{name}:latest"));
    }
    all
}
