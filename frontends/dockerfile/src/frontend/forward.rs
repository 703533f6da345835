//! `# syntax=` and `BUILDKIT_SYNTAX`: the build goes to another frontend, which is an image.

use kiln_sdk::frontend::{self, Bridge, BuildResult, DefinitionFile, FrontendError, Ref, Settings};

use super::world::ranges;
use crate::directives::detect_syntax;

/// Forwards the build, if an option or the file asks for it.
///
/// # Errors
///
/// What the other frontend answered, with the place that named it.
pub(super) async fn forward(
    bridge: &dyn Bridge,
    settings: &Settings,
    definition: &DefinitionFile,
    text: &str,
) -> Result<Option<BuildResult<Ref>>, FrontendError> {
    if let Some(line) = &settings.syntax {
        let image = line.trim().split(' ').next().unwrap_or_default();
        let result = frontend::forward(bridge, settings, image, line).await;
        return result.map(Some).map_err(|error| match error.has_source() {
            true => error,
            false => error.context(format!("failed with build-arg:BUILDKIT_SYNTAX = {line}")),
        });
    }
    let Some(syntax) = detect_syntax(text) else { return Ok(None) };
    let (image, line) = (&syntax.reference, &syntax.command_line);
    let result = frontend::forward(bridge, settings, image, line).await;
    result.map(Some).map_err(|error| match error.has_source() {
        true => error,
        false => error.with_source(definition.info(), ranges(syntax.lines)),
    })
}
