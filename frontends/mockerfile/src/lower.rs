//! A plan into LLB and an image config. Pure: the same plan and answers give the same bytes.
//!
//! What must be known beforehand is asked with [`question`]; [`lower`] needs nothing else.

use kiln_sdk::document::Source;
use kiln_sdk::frontend::BaseImage;
use kiln_sdk::llb::{Constraints, Image as ImageSource, Local, SourceMap, State};
use kiln_sdk::oci::{ImageConfig, Platform, Reference};

use crate::actions::{Work, actions};
use crate::choices::Choices;
use crate::config;
use crate::paths::join;
use crate::place::Place;
use crate::plan::{Base, Image, Origin, Placed, Plan};

/// What lowering needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The file, for source locations.
    pub(crate) source: &'a Source,
    /// What it means.
    pub(crate) plan: &'a Plan,
    /// The image to build, by index.
    pub(crate) target: usize,
    /// For this platform.
    pub(crate) platform: &'a Platform,
    /// Whether names of vertices tell the platform.
    pub(crate) many_platforms: bool,
    /// What the caller chose.
    pub(crate) choices: &'a Choices,
    /// The answer to [`question`].
    pub(crate) base: Option<&'a BaseImage>,
    /// The session that has the build context.
    pub(crate) session_id: &'a str,
}

/// An image, ready to be solved.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Its file system.
    pub(crate) state: State,
    /// Its config.
    pub(crate) config: ImageConfig,
    /// The package sources written so far; each image writes all of them anew.
    pub(crate) package_sources: Vec<String>,
}

/// The image of a registry that `target` rests on, if there is one, and where the file names it.
pub(crate) fn question(plan: &Plan, target: usize) -> Option<Placed<&Reference>> {
    let first = &plan.images[*plan.needed(target).first()?];
    match &first.base {
        Base::Image(reference) => Some(Placed::new(reference, first.base_span)),
        _ => None,
    }
}

/// Lowers the target and the images it rests on.
pub(crate) fn lower(request: &Request<'_>) -> Made {
    let lowering = Lowering::new(request);
    let nothing = lowering.scratch();
    let (mut whole, mut result) = (nothing.clone(), nothing);
    for index in request.plan.needed(request.target) {
        let image = &request.plan.images[index];
        let base = match &image.base {
            Base::Scratch => lowering.scratch(),
            Base::Image(reference) => lowering.base(image, reference),
            Base::Result(_) => result,
            Base::Whole(_) => whole,
        };
        (whole, result) = lowering.image(image, base);
    }
    config::finish(&mut result.config, request.choices);
    result
}

struct Lowering<'a> {
    request: &'a Request<'a>,
    map: SourceMap,
    context: State,
}

impl<'a> Lowering<'a> {
    fn new(request: &'a Request<'a>) -> Self {
        let source = request.source;
        let map = SourceMap::new(source.name.clone(), "mockerfile", source.text.as_bytes());
        Self { request, map, context: context(request) }
    }

    fn scratch(&self) -> Made {
        let state = State::scratch().with_platform(self.request.platform.clone());
        Made { state, config: ImageConfig::new(self.request.platform), package_sources: Vec::new() }
    }

    /// An image of a registry. Without an answer the reference stands as it is written.
    fn base(&self, image: &Image, reference: &Reference) -> Made {
        let place = self.place(image);
        let (reference, config) = match self.request.base {
            Some(base) => (&base.reference, base.config.clone()),
            None => (reference, ImageConfig::new(self.request.platform)),
        };
        let options = ImageSource {
            resolve_mode: self.request.choices.resolve_mode,
            constraints: Constraints {
                ignore_cache: false,
                ..place.numbered(1, &format!("FROM {reference}"), image.base_span)
            },
            ..ImageSource::default()
        };
        Made {
            state: State::image_with(&reference.to_string(), options),
            config,
            package_sources: Vec::new(),
        }
    }

    /// Does all there is to do for an image, and gives it before and after its output is taken.
    fn image(&self, image: &Image, base: Made) -> (Made, Made) {
        let mut made = base;
        let directory = directory(&made.config, image);
        config::apply(&mut made.config, image, &directory);
        made.state = made.state.with_image_config(&made.config);
        let place = self.place(image);
        let mut whole = None;
        for (number, action) in actions(image, &directory).iter().enumerate() {
            let title = action.work.title();
            let constraints = place.numbered(number + 2, &title, action.span);
            if let Work::Output { .. } = action.work {
                whole = Some(made.clone());
                made.config.history.clear();
            }
            place.act(&mut made, &action.work, constraints);
            let created_by = action.work.created_by();
            config::remember(&mut made.config, created_by, self.request.choices);
        }
        (whole.unwrap_or_else(|| made.clone()), made)
    }

    fn place(&'a self, image: &'a Image) -> Place<'a> {
        Place {
            request: self.request,
            map: &self.map,
            context: &self.context,
            image,
            steps: steps(image) + 1,
        }
    }
}

/// How many vertices an image has besides its base.
fn steps(image: &Image) -> usize {
    actions(image, "/").len()
}

/// The working directory of an image on a base with this config.
fn directory(base: &ImageConfig, image: &Image) -> String {
    let own = image.workdir.as_ref().map_or("", |path| path.as_str());
    join(&format!("/{}", base.config.working_dir), own)
}

/// The build context, of which only what the needed images name is transferred.
fn context(request: &Request<'_>) -> State {
    let needed = request.plan.needed(request.target);
    let externals = needed.iter().flat_map(|index| &request.plan.images[*index].externals);
    let mut paths: Vec<String> = externals
        .filter_map(|external| match &external.from {
            Origin::Context(path) => Some(path.clone()),
            Origin::Url { .. } => None,
        })
        .collect();
    paths.sort();
    paths.dedup();
    if paths.iter().any(String::is_empty) {
        // The context itself is named: all of it is needed.
        paths.clear();
    }
    let local = Local {
        session_id: request.session_id.to_owned(),
        follow_paths: paths,
        shared_key_hint: "mockerfile".to_owned(),
        constraints: Constraints::named("[internal] load build context"),
        ..Local::default()
    };
    State::local("context", local)
}
