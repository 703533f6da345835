//! What people see of a step: `[build 2/5] RUN make`.
//!
//! Steps of one stage count up from one; those of several platforms carry the platform, and an
//! arrow to what they build for if that is another.

use std::fmt::Write as _;

use kiln_sdk::oci::Platform;

use super::node::Node;
use crate::words::{Environment, Expander};

/// The name of the next step of a stage.
pub(crate) fn step(node: &mut Node, text: &str, platform: Option<&Platform>) -> String {
    let arrow = platform.and_then(|platform| arrow(platform, &node.variables()));
    numbered(node, text, platform, &arrow.unwrap_or_default())
}

/// The name of the step that a stage begins with, before it has variables.
pub(crate) fn step_of_base(node: &mut Node, text: &str, platform: Option<&Platform>) -> String {
    numbered(node, text, platform, "")
}

fn numbered(node: &mut Node, text: &str, platform: Option<&Platform>, arrow: &str) -> String {
    if node.steps_total == 0 {
        return text.to_owned();
    }
    let mut name = String::with_capacity(text.len() + 32);
    name.push('[');
    if let Some(platform) = platform {
        name.push_str(&platform.format_all());
        name.push_str(arrow);
        name.push(' ');
    }
    if !node.label.is_empty() {
        name.push_str(&node.label);
        name.push(' ');
    }
    node.steps_named += 1;
    let (step, total) = (node.steps_named, node.steps_total);
    let width = total.ilog10() as usize + 1;
    // Writing to a string cannot fail.
    let _ = write!(name, "{step:>width$}/{total}] ");
    if node.in_trigger {
        name.push_str("ONBUILD ");
    }
    name.push_str(text);
    name
}

/// The text of an instruction for a name: variables expanded if that is possible, its first word in
/// upper case.
pub(crate) fn shown(code: &str, expander: Expander, environment: &impl Environment) -> String {
    let expanded = expander.word(code, environment).map(|expanded| expanded.text);
    let text = expanded.as_deref().unwrap_or(code);
    match text.split_once(' ') {
        Some((first, rest)) => format!("{} {rest}", first.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// `->` and the platform that is built for, if it is another than the one that builds.
fn arrow(builds_on: &Platform, environment: &impl Environment) -> Option<String> {
    let mut target = target_platform(environment)?;
    if target.os.is_empty() {
        target.os.clone_from(&builds_on.os);
    }
    if target.architecture.is_empty() {
        target.architecture.clone_from(&builds_on.architecture);
    }
    let target = target.normalized();
    if target.os != builds_on.os {
        return Some(format!("->{}", target.format_all()));
    }
    match (target.architecture != builds_on.architecture, target.variant.as_str()) {
        (false, _) => None,
        (true, "") => Some(format!("->{}", target.architecture)),
        (true, variant) => Some(format!("->{}/{variant}", target.architecture)),
    }
}

/// The platform that the variables of a stage say is built for.
fn target_platform(environment: &impl Environment) -> Option<Platform> {
    let whole = environment.get("TARGETPLATFORM").map(Platform::parse);
    if let Some(Ok(platform)) = whole {
        return Some(platform);
    }
    let parts = ["TARGETOS", "TARGETARCH", "TARGETVARIANT"].map(|name| environment.get(name));
    if parts.iter().all(Option::is_none) {
        return None;
    }
    let [os, architecture, variant] = parts.map(|part| part.unwrap_or_default().to_owned());
    Some(Platform { os, architecture, variant, ..Platform::default() })
}
