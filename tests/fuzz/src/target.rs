//! All targets, by name.

use crate::{authority, definition, dockerfile, document, gateway, mockerfile, options, patterns};

/// One thing to feed with bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: a directory of `corpus/` and a program of `libfuzzer/`.
    pub name: &'static str,
    /// Feeds it; panics if something is wrong.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "authority", run: authority::run },
    Target { name: "document", run: document::run },
    Target { name: "definition", run: definition::run },
    Target { name: "options", run: options::run },
    Target { name: "gateway", run: gateway::run },
    Target { name: "patterns", run: patterns::run },
    Target { name: "mockerfile", run: mockerfile::run },
    Target { name: "dockerfile_lexer", run: dockerfile::lexer },
    Target { name: "dockerfile_words", run: dockerfile::words },
    Target { name: "dockerfile", run: dockerfile::build },
];

/// Feeds a target by its name.
///
/// # Panics
///
/// If something is wrong, or nobody has that name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(bytes);
}
