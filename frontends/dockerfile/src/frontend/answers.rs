//! Sub-requests: what is asked of a file besides building it.

use async_trait::async_trait;
use kiln_sdk::frontend::requests::{self, Answers, ConvertedLlb, LintResults, Outline, TargetList};
use kiln_sdk::frontend::{BuildResult, FrontendError, Ref};

use super::world::World;
use super::{Source, warn};
use crate::lint::Linter;
use crate::lower::{Failure, Lowering};
use crate::requests::{lint, targets};

/// Answers a sub-request.
///
/// # Errors
///
/// Why the file cannot be lowered, if the answer needs that, or that nobody knows the request.
pub(super) async fn answer(
    world: &World<'_>,
    source: &Source<'_>,
    request: &str,
) -> Result<BuildResult<Ref>, FrontendError> {
    requests::answer(request, &File { world, source }).await
}

/// A file that is asked about.
struct File<'a> {
    world: &'a World<'a>,
    source: &'a Source<'a>,
}

impl File<'_> {
    /// Lowers the file for nobody's platform in particular.
    async fn lower<'l>(
        &'l self,
        lint: &'l mut Linter,
        all_stages: bool,
    ) -> Result<Lowering<'l>, Failure> {
        let file = self.source.read(lint)?;
        self.world.lower(&file, self.source.channel, None, all_stages, lint).await
    }

    /// What comes of the lowered file. Warnings are shown as in a build.
    async fn lowered<T>(
        &self,
        make: impl FnOnce(&Lowering<'_>) -> Result<T, FrontendError> + Send,
    ) -> Result<T, FrontendError> {
        let mut lint = Linter::silent();
        let made = self.lower(&mut lint, false).await.map_err(|failure| failure.error);
        let made = made.and_then(|lowering| make(&lowering));
        warn(self.world.bridge, self.world.definition, &lint).await;
        made
    }
}

#[async_trait]
impl Answers for File<'_> {
    async fn outline(&self) -> Result<Option<Outline>, FrontendError> {
        let text = self.source.text;
        self.lowered(|lowering| Ok(Some(lowering.outline().answer(text)))).await
    }

    async fn targets(&self) -> Result<Option<TargetList>, FrontendError> {
        let list = targets(self.source.text).map_err(Failure::from);
        list.map(Some).map_err(|failure| failure.error)
    }

    async fn lint(&self) -> Result<Option<LintResults>, FrontendError> {
        let mut linter = Linter::silent();
        // Without a target every stage is looked at.
        let all = self.world.settings.target.is_empty();
        let failure = self.lower(&mut linter, all).await.err();
        let error =
            failure.as_ref().map(|failure| (failure.error.to_string(), failure.places.as_slice()));
        Ok(Some(lint(self.world.definition.info(), linter.warnings(), error)))
    }

    async fn convert_llb(&self) -> Result<Option<ConvertedLlb>, FrontendError> {
        self.lowered(|lowering| {
            let lowered = lowering.lowered();
            let definition = lowered
                .state
                .marshal(&lowered.marshal(&self.world.caps))
                .map_err(|error| FrontendError::unknown(error.to_string()))?;
            ConvertedLlb::new(&definition).map(Some)
        })
        .await
    }
}
