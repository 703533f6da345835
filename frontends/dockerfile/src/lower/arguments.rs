//! Variables that hold for the whole file: those of the platforms, and global `ARG`s.

use std::collections::{BTreeMap, BTreeSet};

use kiln_sdk::oci::Platform;

use super::failure::Failure;
use super::outline::Argument;
use super::variables::Variables;
use crate::instruction::{Command, Instruction};
use crate::words::Expander;

/// The variable that sets all times of the result.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The platforms of one lowering.
#[derive(Clone, Debug)]
pub(crate) struct Platforms {
    /// What is built for.
    pub(crate) target: Platform,
    /// What commands of the build run on natively.
    pub(crate) native: Platform,
    /// Nobody asked for the target; it is the native platform.
    pub(crate) implicit: bool,
}

impl Platforms {
    /// The platforms of a build for `requested` on `native`.
    pub(crate) fn new(requested: Option<&Platform>, native: &Platform) -> Self {
        Self {
            target: requested.unwrap_or(native).clone(),
            native: native.clone(),
            implicit: requested.is_none(),
        }
    }

    /// The predefined variables; build arguments of the same name win.
    pub(crate) fn variables(
        &self,
        build_args: &BTreeMap<String, String>,
        target: &str,
    ) -> Variables {
        let (native, wanted) = (&self.native, &self.target);
        let stage = if target.is_empty() { "default" } else { target };
        let defaults: [(&str, &str); 11] = [
            ("BUILDPLATFORM", &native.format()),
            ("BUILDOS", &native.os),
            ("BUILDOSVERSION", &native.os_version),
            ("BUILDARCH", &native.architecture),
            ("BUILDVARIANT", &native.variant),
            ("TARGETPLATFORM", &wanted.format_all()),
            ("TARGETOS", &wanted.os),
            ("TARGETOSVERSION", &wanted.os_version),
            ("TARGETARCH", &wanted.architecture),
            ("TARGETVARIANT", &wanted.variant),
            ("TARGETSTAGE", stage),
        ];
        let mut variables = Variables::default();
        for (name, value) in defaults {
            variables.set(name, build_args.get(name).map_or(value, String::as_str));
        }
        variables
    }
}

/// Global variables, and what an outline says of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Globals {
    pub(crate) variables: Variables,
    pub(crate) arguments: BTreeMap<String, Argument>,
}

/// Adds the global `ARG`s to the predefined variables.
///
/// # Errors
///
/// If a default cannot be expanded.
pub(crate) fn globals(
    predefined: &Variables,
    expander: Expander,
    instructions: &[Instruction],
    build_args: &BTreeMap<String, String>,
) -> Result<Globals, Failure> {
    let mut globals = Globals { variables: predefined.clone(), arguments: BTreeMap::new() };
    for instruction in instructions {
        let Command::Arg(definitions) = &instruction.command else { continue };
        for definition in definitions {
            let mut made_of = BTreeSet::new();
            let value = match (build_args.get(&definition.key), &definition.value) {
                (Some(value), _) => Some(value.clone()),
                (None, None) => None,
                (None, Some(default)) => {
                    let expanded = expander
                        .word(default, &globals.variables)
                        .map_err(|error| Failure::from(error).at(instruction.lines))?;
                    made_of.extend(expanded.matched.iter().map(|name| (*name).to_owned()));
                    Some(expanded.text.into_owned())
                }
            };
            // A default that mentions its own name is made of what the name was made of.
            if made_of.remove(&definition.key)
                && let Some(old) = globals.arguments.get(&definition.key)
            {
                made_of.extend(old.made_of.iter().cloned());
            }
            if let Some(value) = &value {
                globals.variables.set(&definition.key, value.as_str());
            }
            let argument = Argument {
                name: definition.key.clone(),
                value: value.unwrap_or_default(),
                description: definition.description.clone(),
                made_of,
                lines: instruction.lines,
            };
            globals.arguments.insert(definition.key.clone(), argument);
        }
    }
    Ok(globals)
}
