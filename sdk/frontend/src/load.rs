//! Loading the user's file through the bridge.
//!
//! The file is looked for in the local directory `dockerfile`, which every client passes; only that
//! file is transferred.

use kiln_document::Source;
use kiln_llb::{Constraints, Local, Marshal, State};

use crate::{Bridge, FrontendError, Solve};

/// The user's file.
#[derive(Clone, Debug)]
pub struct DefinitionFile {
    /// Its name and text.
    pub source: Source,
}

/// Loads the file that the option `filename` names, or the first of `defaults` that exists.
///
/// # Errors
///
/// If no such file exists, or it is not UTF-8.
pub async fn load_definition_file(
    bridge: &dyn Bridge,
    defaults: &[&str],
) -> Result<DefinitionFile, FrontendError> {
    let candidates: Vec<String> = match bridge.info().options.filename() {
        Some(name) => vec![name.to_owned()],
        None => defaults.iter().map(|name| (*name).to_owned()).collect(),
    };
    let name = candidates.first().cloned().unwrap_or_default();
    let vertex = format!("[internal] load build definition from {name}");
    let local = Local {
        session_id: bridge.info().local_session().to_owned(),
        follow_paths: candidates.clone(),
        shared_key_hint: name.clone(),
        constraints: Constraints::named(vertex),
        ..Local::default()
    };
    let definition =
        State::local("dockerfile", local).marshal(&Marshal::default()).map_err(|error| {
            FrontendError::internal(format!("cannot describe the definition file: {error}"))
        })?;
    let request = Solve { definition: Some(definition.into()), evaluate: true, ..Solve::default() };
    let result = bridge.solve(request).await?;
    let found = result.into_single().map_err(FrontendError::internal)?;
    let Some(found) = found else { return Err(not_found(&candidates)) };
    for candidate in &candidates {
        if let Ok(bytes) = bridge.read_file(&found, candidate, None).await {
            let source = Source::from_bytes(candidate.as_str(), &bytes).map_err(|diagnostic| {
                FrontendError::invalid(format!("{candidate}: {}", diagnostic.message))
            })?;
            return Ok(DefinitionFile { source });
        }
    }
    Err(not_found(&candidates))
}

fn not_found(candidates: &[String]) -> FrontendError {
    FrontendError::invalid(format!(
        "failed to read {}: no such file or directory in the local directory `dockerfile` (pass it with --local \
         dockerfile=DIR, and another name with --opt filename=NAME)",
        candidates.join(" or ")
    ))
}
