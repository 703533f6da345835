//! Text that people write, into types that programs trust.
//!
//! [`parse`] turns YAML, TOML or JSON into an ordinary serde type and, when it cannot, says every
//! mistake of the file at once: each [`Diagnostic`] names the line and column, shows the line and
//! says what to do. Values wrapped in [`Spanned`] remember where they stood, so that what is built
//! from them can point back. Input is taken to be hostile: [`Limits`] bound bytes, depth, nodes and
//! aliases before anything is kept.
//!
//! All mistakes are found by the JSON Schema of the type, which takes the feature `schema`; it is on by
//! default. Without it, reading stops at the first mistake.
//!
//! Nothing here reads a file, waits, or knows what is built from a document.
//!
//! ```
//! use kiln_document::{Language, Limits, Source, Spanned, parse};
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Recipe {
//!     name: Spanned<String>,
//! }
//!
//! let source = Source::new("recipe.yaml", "name: bread\n");
//! let recipe: Recipe = parse(&source, Language::Yaml, &Limits::default()).unwrap();
//! assert_eq!(*recipe.name, "bread");
//! assert_eq!(recipe.name.span.start, 6);
//!
//! let source = Source::new("recipe.yaml", "nmae: bread\n");
//! let mistakes = parse::<Recipe>(&source, Language::Yaml, &Limits::default()).err().unwrap();
//! assert_eq!(mistakes[0].message, "unknown key `nmae`");
//! ```

#![expect(clippy::result_large_err, reason = "a mistake ends the reading; its size costs nothing")]

#[cfg(feature = "schema")]
mod check;
mod deserialize;
mod diagnostic;
mod json;
mod limits;
mod node;
mod parse;
mod source;
mod spanned;
mod suggest;
mod toml_text;
mod yaml;

pub use diagnostic::{Diagnostic, Edit, Fix, Severity, render_all};
pub use limits::Limits;
pub use node::{Entry, Key, Node, Value};
#[cfg(feature = "schema")]
pub use parse::check_schema;
pub use parse::{check_tree, parse, parse_tree, read_tree, schema};
pub use source::{Language, Position, Source, Span};
pub use spanned::Spanned;
pub use suggest::did_you_mean;
