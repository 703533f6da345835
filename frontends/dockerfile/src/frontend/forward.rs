//! `# syntax=` and `BUILDKIT_SYNTAX`: the build goes to another frontend, which is an image.

use kiln_sdk::frontend::{
    Bridge, BuildResult, DefinitionFile, FrontendError, Inputs, Ref, Settings, Solve,
};

use super::world::ranges;
use crate::directives::detect_syntax;

/// The capability of a daemon that takes graphs for frontends.
const INPUTS: &str = "frontend.inputs";

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
        let result = call(bridge, image, line).await;
        return result.map(Some).map_err(|error| match error.has_source() {
            true => error,
            false => error.context(format!("failed with build-arg:BUILDKIT_SYNTAX = {line}")),
        });
    }
    let Some(syntax) = detect_syntax(text) else { return Ok(None) };
    let result = call(bridge, &syntax.reference, &syntax.command_line).await;
    result.map(Some).map_err(|error| match error.has_source() {
        true => error,
        false => error.with_source(definition.info(), ranges(syntax.lines)),
    })
}

/// Calls the frontend in an image with all that this one was called with.
async fn call(
    bridge: &dyn Bridge,
    image: &str,
    line: &str,
) -> Result<BuildResult<Ref>, FrontendError> {
    let info = bridge.info();
    let mut options = info.options.0.clone();
    options.insert("cmdline".into(), line.to_owned());
    options.insert("source".into(), image.to_owned());
    let inputs = match info.gateway_caps.contains(INPUTS) {
        true => bridge.inputs().await.map_err(|status| {
            FrontendError::from(status).context("failed to get frontend inputs")
        })?,
        false => Inputs::new(),
    };
    let request = Solve { frontend: "gateway.v0".into(), options, inputs, ..Solve::default() };
    Ok(bridge.solve(request).await?)
}
