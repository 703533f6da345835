//! A language that a JSON Schema describes, as all languages are that read YAML, TOML or JSON.

use kiln_document as document;
use kiln_document::{Diagnostic, Limits, Source};
use serde_json::Value;

use crate::language::{Completion, CompletionKind, Hover, Language};
use crate::outline::{self, Place, Step};
use crate::schema;

/// What reads a text and says what is wrong with it.
type Read = Box<dyn Fn(&Source) -> Vec<Diagnostic> + Send + Sync>;

/// A language with a schema.
///
/// ```
/// use kiln_document::{Diagnostic, Source};
/// use kiln_editor::{Described, Language};
///
/// let schema = serde_json::json!({"properties": {"from": {"type": "string"}}, "additionalProperties": false});
/// let language = Described::new("recipe", &["recipe.yaml"], schema);
/// let found = language.diagnose(&Source::new("recipe.yaml", "form: debian:13\n"));
/// assert_eq!(found[0].fix.as_ref().unwrap().title, "change to `from`");
/// ```
pub struct Described {
    name: String,
    files: Vec<String>,
    schema: Value,
    read: Option<Read>,
}

impl std::fmt::Debug for Described {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Described").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Described {
    /// A language of which nothing is known but the schema and the names of its files.
    pub fn new(name: &str, files: &[&str], schema: Value) -> Self {
        let files = files.iter().map(|file| (*file).to_owned()).collect();
        Self { name: name.to_owned(), files, schema, read: None }
    }

    /// As it is, with what is wrong told by the language itself, warnings included.
    #[must_use]
    pub fn read_by(
        mut self,
        read: impl Fn(&Source) -> Vec<Diagnostic> + Send + Sync + 'static,
    ) -> Self {
        self.read = Some(Box::new(read));
        self
    }

    fn place(&self, source: &Source, offset: usize) -> Option<(Place, document::Language)> {
        match document::Language::of(source.name()).unwrap_or(document::Language::Yaml) {
            language @ document::Language::Json => Some((outline::json(source, offset), language)),
            language @ document::Language::Yaml => Some((outline::yaml(source, offset), language)),
            language @ document::Language::Toml => Some((outline::toml(source, offset), language)),
            // What comes later.
            _ => None,
        }
    }
}

impl Language for Described {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_for(&self, file_name: &str) -> bool {
        self.files.iter().any(|file| file == file_name)
    }

    fn diagnose(&self, source: &Source) -> Vec<Diagnostic> {
        if let Some(read) = &self.read {
            return read(source);
        }
        let language = document::Language::of(source.name()).unwrap_or(document::Language::Yaml);
        let limits = Limits::default();
        let tree = document::parse_tree(source, language, &limits);
        let checked =
            tree.and_then(|tree| document::check_schema(&tree, &self.schema, source, &limits));
        checked.err().unwrap_or_default()
    }

    fn hover(&self, source: &Source, offset: usize) -> Option<Hover> {
        let (place, _) = self.place(source, offset)?;
        let word = source.slice(place.word);
        let (key, path) = match place.is_key {
            true => (word, &place.path[..]),
            false => match place.path.split_last()? {
                (Step::Key(key), path) => (key.as_str(), path),
                (Step::Item, _) => return None,
            },
        };
        let known = schema::keys(&self.schema, &schema::at(&self.schema, path));
        let (_, text) = known.into_iter().find(|(name, _)| *name == key)?;
        let text = format!("`{key}`: {text}");
        (!word.is_empty()).then_some(Hover { span: place.word, text })
    }

    fn complete(&self, source: &Source, offset: usize) -> Vec<Completion> {
        let Some((place, language)) = self.place(source, offset) else { return Vec::new() };
        let here = schema::at(&self.schema, &place.path);
        let quoted = source.text()[..place.word.start].ends_with(['"', '\'']);
        let is_toml = language == document::Language::Toml;
        let has_quotes = match place.is_key {
            true => language == document::Language::Json,
            false => language != document::Language::Yaml,
        };
        let written = |word: &str| match has_quotes && !quoted {
            true => format!("\"{word}\""),
            false => word.to_owned(),
        };
        let completion = |label: &str, kind, text, insert| Completion {
            label: label.to_owned(),
            kind,
            text,
            span: place.word,
            insert,
        };
        if place.is_key {
            let rest = source.text()[place.word.end..].trim_start_matches(['"', '\'', ' ']);
            let line = &source.text()[..place.word.start];
            let line = line.rsplit('\n').next().unwrap_or_default();
            let is_header = is_toml && line.trim_start().starts_with('[');
            let (sign, colon) = if is_toml { ('=', " = ") } else { (':', ": ") };
            // A key that is changed has its colon already.
            let colon = if rest.starts_with(sign) || quoted || is_header { "" } else { colon };
            let keys = schema::keys(&self.schema, &here).into_iter();
            return keys
                .map(|(name, text)| {
                    let insert = written(name) + colon;
                    completion(name, CompletionKind::Key, text, insert)
                })
                .collect();
        }
        let values = schema::values(&here).into_iter();
        values
            .map(|(word, text)| {
                let plain = matches!(word.as_str(), "true" | "false");
                let insert = if plain { word.clone() } else { written(&word) };
                completion(&word, CompletionKind::Value, text, insert)
            })
            .collect()
    }
}
