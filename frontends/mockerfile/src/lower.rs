//! A plan into LLB and an image config. Pure: the same plan and answers give the same bytes.
//!
//! What must be known beforehand is asked with [`question`]; [`lower`] needs nothing else.

use kiln_sdk::document::Source;
use kiln_sdk::frontend::{self, BuildInfo, Settings};
use kiln_sdk::llb::{SourceMap, State};
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
    /// The file's text.
    pub(crate) source: &'a Source,
    /// The file, for source locations.
    pub(crate) map: &'a SourceMap,
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
    /// What the caller chose for all commands.
    pub(crate) settings: &'a Settings,
    /// What the daemon can do.
    pub(crate) info: &'a BuildInfo,
    /// The answer to [`question`].
    pub(crate) base: Option<&'a frontend::Base>,
    /// The build context, with the paths of [`context_paths`].
    pub(crate) context: &'a State,
}

/// An image, ready to be solved.
#[derive(Debug, Clone)]
pub(crate) struct PlatformResult {
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
pub(crate) fn lower(request: &Request<'_>) -> PlatformResult {
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
}

impl<'a> Lowering<'a> {
    fn new(request: &'a Request<'a>) -> Self {
        Self { request }
    }

    fn scratch(&self) -> PlatformResult {
        let state = State::scratch().with_platform(self.request.platform.clone());
        PlatformResult {
            state,
            config: ImageConfig::new(self.request.platform),
            package_sources: Vec::new(),
        }
    }

    /// An image of a registry. Without an answer the reference stands as it is written.
    fn base(&self, image: &Image, reference: &Reference) -> PlatformResult {
        let from = self.place(image);
        let named = |name: &Reference| from.numbered(1, &format!("FROM {name}"), image.base_span);
        let platform = self.request.platform;
        let (state, config) = match self.request.base {
            Some(base @ frontend::Base::Image { image, .. }) => {
                (base.state(named(&image.reference)), base.config(platform))
            }
            Some(base) => (base.state(named(reference)), base.config(platform)),
            None => (State::image(&reference.to_string()), ImageConfig::new(platform)),
        };
        PlatformResult { state, config, package_sources: Vec::new() }
    }

    /// Does all there is to do for an image, and gives it before and after its output is taken.
    fn image(&self, image: &Image, base: PlatformResult) -> (PlatformResult, PlatformResult) {
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
            map: self.request.map,
            context: self.request.context,
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

/// What the needed images name of the build context; nothing if they do not need it. An empty list
/// is all of it.
pub(crate) fn context_paths(plan: &Plan, target: usize) -> Option<Vec<String>> {
    let needed = plan.needed(target);
    let externals = needed.iter().flat_map(|index| &plan.images[*index].externals);
    let mut paths: Vec<String> = externals
        .filter_map(|external| match &external.from {
            Origin::Context(path) => Some(path.clone()),
            Origin::Url { .. } => None,
        })
        .collect();
    if paths.is_empty() {
        return None;
    }
    paths.sort();
    paths.dedup();
    if paths.iter().any(String::is_empty) {
        // The context itself is named: all of it is needed.
        paths.clear();
    }
    Some(paths)
}
