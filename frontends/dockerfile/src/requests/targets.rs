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
    Ok(TargetList::default()
        .with_targets(targets)
        .with_sources(vec![Bytes::copy_from_slice(text.as_bytes())]))
}

fn target(stage: Stage) -> Target {
    let from = stage.from;
    Target::default()
        .with_name(from.name.unwrap_or_default())
        .with_default(false)
        .with_description(from.description)
        .with_base(from.base)
        .with_platform(from.platform)
        .with_location(Some(location(from.lines)))
}
