//! `ARG`: variables that a build may set, from here to the end of the stage.

use std::sync::Arc;

use super::failure::Failure;
use super::history::Leaves;
use super::node::Node;
use super::outline::Argument;
use super::stage::{SCAN_CONTEXT, SCAN_STAGE};
use super::steps::Scope;
use crate::instruction::ArgDefinition;
use crate::lint::{Violation, checks};
use crate::words::Environment as _;

impl Scope<'_> {
    pub(super) fn arg(
        &mut self,
        node: &mut Node,
        definitions: &[ArgDefinition],
    ) -> Result<(), Failure> {
        let mut text = String::from("ARG");
        if definitions.is_empty() {
            text.push(' ');
        }
        for definition in definitions {
            let value = self.declare(node, definition)?;
            text.push(' ');
            text.push_str(&definition.key);
            if let Some(value) = &value {
                text.push('=');
                text.push_str(value);
            }
            node.declared.insert(&definition.key, value.map(Arc::from));
        }
        node.image.remember(text, Leaves::Config, self.time);
        Ok(())
    }

    /// Declares one variable: the build argument wins over the default, that over the global value.
    fn declare(
        &mut self,
        node: &mut Node,
        definition: &ArgDefinition,
    ) -> Result<Option<String>, Failure> {
        let key = &definition.key;
        if checks::is_secret(key) {
            self.report(&Violation::SecretsUsedInArgOrEnv { instruction: "ARG", key: key.clone() });
        }
        let global = self.globals.get(key);
        let given = self.build_args.get(key);
        let value = match (given, &definition.value) {
            (Some(given), _) => Some(given.clone()),
            (None, Some(default)) => Some(self.word(node, default)?),
            (None, None) => global.map(str::to_owned),
        };
        // A variable that only repeats a global one is described there.
        let repeats = given.is_none() && definition.value.is_none() && global.is_some();
        if let Some(value) = &value {
            // What is scanned is nobody's environment.
            match [SCAN_CONTEXT, SCAN_STAGE].into_iter().find(|scan| scan == key) {
                Some(scan) => drop(node.scans.insert(scan, value.clone())),
                None => node.set_env(key, value),
            }
        }
        if !repeats {
            node.outline.declare(Argument {
                name: key.clone(),
                value: value.clone().unwrap_or_default(),
                description: definition.description.clone(),
                made_of: std::collections::BTreeSet::new(),
                lines: self.lines(),
            });
        }
        node.outline.use_argument(key);
        Ok(value)
    }
}
