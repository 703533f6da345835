//! What comes out: the state and the config of the target, and what is scanned for its contents.

use std::sync::Arc;

use kiln_sdk::frontend::MainContext;
use kiln_sdk::llb::{Constraints, Marshal, State};
use kiln_sdk::oci::Platform;

use super::Lowering;
use super::failure::Failure;
use super::image::Image;
use super::node::NodeId;

/// A file, lowered for one platform.
#[derive(Clone, Debug)]
pub(crate) struct Lowered {
    /// The file system.
    pub(crate) state: State,
    /// The image config.
    pub(crate) image: Image,
    /// The config of the image the target started from, if it did.
    pub(crate) base_image: Option<Arc<Image>>,
    /// Seconds since 1970 that all times are.
    pub(crate) epoch: Option<i64>,
    /// The platform whose defaults hold where the graph says nothing.
    pub(crate) platform: Platform,
    /// Other file systems to scan, by name.
    pub(crate) extras: Vec<(String, State)>,
    /// Scans are not taken from the cache, as the steps they are of are not.
    pub(crate) ignore_cache: bool,
}

impl Lowering<'_> {
    /// Ends the lowering of stages: labels are set, and warnings that count as errors are errors.
    ///
    /// # Errors
    ///
    /// If the file asks for warnings to be errors and there were some.
    pub(crate) fn end_stages(&mut self) -> Result<(), Failure> {
        let labels = &self.request.settings.labels;
        let target = self.graph.node_mut(self.target);
        target.image.config.labels.extend(labels.clone());
        Ok(self.lint.finish()?)
    }

    /// Says what the build context is, now that it is known what is used of it.
    pub(crate) fn set_context(&mut self, context: &MainContext) {
        self.context.found(context.state(self.context.paths.list()));
        self.settle_platform();
    }

    /// The result.
    pub(crate) fn lowered(&self) -> Lowered {
        let target = self.graph.node(self.target);
        let mut extras = Vec::new();
        let mut ignore_cache = target.ignore_cache;
        if target.scan_context {
            extras.push(("context".to_owned(), self.context.state().clone()));
        }
        // A trigger may have made more stages needed.
        for id in self.graph.reachable(self.target) {
            let node = self.graph.node(id);
            if id != self.target && node.scan_stage {
                extras.push((node.label.clone(), node.state.clone()));
                ignore_cache |= node.ignore_cache;
            }
        }
        Lowered {
            state: target.state.clone(),
            image: self.whole_image(self.target),
            base_image: target.base_image.clone(),
            epoch: self.epoch,
            platform: self.platforms.target.clone(),
            extras,
            ignore_cache,
        }
    }

    /// The image config of a stage, with what the stages below it say.
    fn whole_image(&self, id: NodeId) -> Image {
        let node = self.graph.node(id);
        let below = std::iter::successors(node.base, |id| self.graph.node(*id).base);
        let mut below: Vec<&Image> = below.map(|id| &self.graph.node(id).image).collect();
        below.reverse();
        node.image.on(below)
    }

    /// Makes the config name the platform that was asked for.
    fn settle_platform(&mut self) {
        let wanted = self.platforms.target.clone();
        let image = &mut self.graph.node_mut(self.target).image;
        let mut platform = image.platform();
        if !self.platforms.implicit {
            let same = wanted.os == platform.os && wanted.architecture == platform.architecture;
            platform.os.clone_from(&wanted.os);
            platform.architecture.clone_from(&wanted.architecture);
            if !wanted.variant.is_empty() || !same {
                platform.variant.clone_from(&wanted.variant);
            }
            if !wanted.os_version.is_empty() || !same {
                platform.os_version.clone_from(&wanted.os_version);
            }
            if !wanted.os_features.is_empty() {
                platform.os_features.clone_from(&wanted.os_features);
            }
        }
        // Nobody's system is that of this program.
        if platform.os.is_empty() {
            platform.os = Platform::host().os;
        }
        image.set_platform(platform.normalized());
    }
}

impl Lowered {
    /// How its graphs are marshalled.
    pub(crate) fn marshal(&self, caps: &kiln_sdk::llb::CapSet) -> Marshal<'static> {
        Marshal::default()
            .with_defaults(Constraints::on(self.platform.clone()))
            .with_caps(Some(caps.clone()))
    }
}
