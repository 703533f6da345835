//! `frontend.targets`: the stages of a file.

use bytes::Bytes;
use kiln_sdk::frontend::requests::{Target, TargetList};

use super::location;
use crate::ast;
use crate::lint::Linter;
use crate::mistake::Mistake;
use crate::stages::{Stage, Stages};

/// The stages of a file; the last is what is built if nobody says more.
///
/// # Errors
///
/// The first mistake of the text.
pub(crate) fn targets(text: &str) -> Result<TargetList, Mistake> {
    let file = Stages::read(&ast::parse(text).checked()?, &mut Linter::silent())?;
    let mut targets: Vec<Target> = file.stages.into_iter().map(target).collect();
    if let Some(last) = targets.last_mut() {
        last.default = true;
    }
    Ok(TargetList { targets, sources: vec![Bytes::copy_from_slice(text.as_bytes())] })
}

fn target(stage: Stage) -> Target {
    let from = stage.from;
    Target {
        name: from.name.unwrap_or_default(),
        default: false,
        description: from.description,
        base: from.base,
        platform: from.platform,
        location: Some(location(from.lines)),
    }
}
