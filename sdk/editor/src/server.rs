//! The protocol: a message in, messages out.
//!
//! Documents are kept as the editor last said they are. Whatever changes one is followed by what is
//! wrong with it; questions are answered from what is kept.

use std::collections::BTreeMap;

use kiln_document::{Diagnostic, Limits, Severity, Source, Span};
use serde_json::{Value, json};

use crate::language::{Completion, CompletionKind, Language};
use crate::utf16::{Utf16Position, offset, position};

/// Documents that may be open at once.
pub const MAX_DOCUMENTS: usize = 1000;
/// Completions that are told at once.
const MAX_COMPLETIONS: usize = 500;

/// Answers an editor. See the crate's documentation.
pub struct Server {
    languages: Vec<Box<dyn Language>>,
    documents: BTreeMap<String, Document>,
    stage: Stage,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("stage", &self.stage).finish_non_exhaustive()
    }
}

/// How far the talk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The editor has not said what it can do.
    New,
    /// Questions are answered.
    Ready,
    /// The editor is about to leave.
    ShutDown,
    /// It left, politely or not.
    Done { politely: bool },
}

/// A text that is being edited.
struct Document {
    /// Which of the languages.
    language: usize,
    source: Source,
    version: Value,
    found: Vec<Diagnostic>,
}

/// Why a question has no answer, with the protocol's code.
struct Refusal(i64, String);

impl Server {
    /// A server for these languages. The first that a file may be in counts.
    pub fn new(languages: Vec<Box<dyn Language>>) -> Self {
        Self { languages, documents: BTreeMap::new(), stage: Stage::New }
    }

    /// Whether the editor has said that it is gone.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done { .. })
    }

    /// Whether the editor left without asking to, which is to be the program's failure.
    pub fn was_abandoned(&self) -> bool {
        self.stage == Stage::Done { politely: false }
    }

    /// What is said of a message that is no JSON.
    pub fn unreadable(why: &str) -> Value {
        error(&Value::Null, &Refusal(-32700, format!("not JSON: {why}")))
    }

    /// Takes in a message and gives what is to be sent, in order.
    pub fn handle(&mut self, message: &Value) -> Vec<Value> {
        let null = Value::Null;
        let (id, params) = (message.get("id"), message.get("params").unwrap_or(&null));
        match (message.get("method").and_then(Value::as_str), id) {
            (Some(method), Some(id)) => vec![match self.answer(method, params) {
                Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                Err(refusal) => error(id, &refusal),
            }],
            (Some(method), None) => self.hear(method, params).into_iter().collect(),
            // An answer to a question, of which none is asked.
            (None, Some(_))
                if message.get("result").is_some() || message.get("error").is_some() =>
            {
                Vec::new()
            }
            (None, id) => {
                vec![error(id.unwrap_or(&null), &Refusal(-32600, "not a message".into()))]
            }
        }
    }

    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Refusal> {
        match (self.stage, method) {
            (Stage::New, "initialize") => {
                self.stage = Stage::Ready;
                Ok(capabilities())
            }
            (Stage::New, _) => Err(Refusal(-32002, "not initialized".into())),
            (Stage::Ready, "shutdown") => {
                self.stage = Stage::ShutDown;
                self.documents.clear();
                Ok(Value::Null)
            }
            (Stage::Ready, "textDocument/hover") => Ok(self.hover(params).unwrap_or_default()),
            (Stage::Ready, "textDocument/completion") => {
                Ok(self.completion(params).unwrap_or_else(|| json!([])))
            }
            (Stage::Ready, "textDocument/codeAction") => {
                Ok(self.code_actions(params).unwrap_or_else(|| json!([])))
            }
            (Stage::Ready, "initialize") => Err(Refusal(-32600, "already initialized".into())),
            (Stage::Ready, _) => Err(Refusal(-32601, format!("`{method}` is not known"))),
            (Stage::ShutDown | Stage::Done { .. }, _) => Err(Refusal(-32600, "shut down".into())),
        }
    }

    /// Hears of something; what is wrong with a document may follow.
    fn hear(&mut self, method: &str, params: &Value) -> Option<Value> {
        if method == "exit" {
            self.stage = Stage::Done { politely: self.stage == Stage::ShutDown };
            return None;
        }
        if self.stage != Stage::Ready {
            return None;
        }
        let document = params.get("textDocument")?;
        let uri = document.get("uri")?.as_str()?;
        match method {
            "textDocument/didOpen" => {
                let text = document.get("text")?.as_str()?;
                let id = document.get("languageId").and_then(Value::as_str).unwrap_or_default();
                let language = self.language_of(uri, id)?;
                if self.documents.len() >= MAX_DOCUMENTS && !self.documents.contains_key(uri) {
                    return None;
                }
                let source = Source::new(file_name(uri), text);
                let version = document.get("version").cloned().unwrap_or_default();
                let document = Document { language, source, version, found: Vec::new() };
                self.documents.insert(uri.to_owned(), document);
                self.publish(uri)
            }
            "textDocument/didChange" => {
                let known = self.documents.get_mut(uri)?;
                known.version = document.get("version").cloned().unwrap_or_default();
                for change in params.get("contentChanges")?.as_array()? {
                    known.source = changed(&known.source, change)?;
                }
                self.publish(uri)
            }
            "textDocument/didClose" => {
                self.documents.remove(uri)?;
                Some(published(uri, &Value::Null, json!([])))
            }
            _ => None,
        }
    }

    /// A language by the name of the file, or by the editor's own name for it.
    fn language_of(&self, uri: &str, id: &str) -> Option<usize> {
        let name = file_name(uri);
        let by_file = self.languages.iter().position(|language| language.is_for(&name));
        by_file.or_else(|| self.languages.iter().position(|language| language.name() == id))
    }

    fn publish(&mut self, uri: &str) -> Option<Value> {
        let document = self.documents.get_mut(uri)?;
        document.found = match document.source.text().len() > Limits::default().bytes {
            true => vec![Diagnostic::error("the file is too large to be read")],
            false => self.languages.get(document.language)?.diagnose(&document.source),
        };
        let source = &document.source;
        let found = document.found.iter().map(|found| diagnostic(found, uri, source)).collect();
        Some(published(uri, &document.version, found))
    }

    /// The document and the byte that a question is about.
    fn place(&self, params: &Value) -> Option<(&Document, &dyn Language, usize)> {
        let uri = params.get("textDocument")?.get("uri")?.as_str()?;
        let document = self.documents.get(uri)?;
        let at = offset(&document.source, place(params.get("position")?)?);
        let language = self.languages.get(document.language)?;
        let small = document.source.text().len() <= Limits::default().bytes;
        small.then_some((document, language.as_ref(), at))
    }

    fn hover(&self, params: &Value) -> Option<Value> {
        let (document, language, at) = self.place(params)?;
        let hover = language.hover(&document.source, at)?;
        Some(json!({
            "contents": {"kind": "markdown", "value": hover.text},
            "range": range(&document.source, hover.span),
        }))
    }

    fn completion(&self, params: &Value) -> Option<Value> {
        let (document, language, at) = self.place(params)?;
        let all = language.complete(&document.source, at).into_iter().take(MAX_COMPLETIONS);
        Some(all.map(|one| completion(&document.source, &one)).collect())
    }

    fn code_actions(&self, params: &Value) -> Option<Value> {
        let uri = params.get("textDocument")?.get("uri")?.as_str()?;
        let document = self.documents.get(uri)?;
        let source = &document.source;
        let asked = params.get("range")?;
        let start = offset(source, place(asked.get("start")?)?);
        let end = offset(source, place(asked.get("end")?)?);
        let touched = document
            .found
            .iter()
            .filter(|found| found.span.is_some_and(|span| span.start <= end && start <= span.end));
        let actions = touched.filter_map(|found| {
            let fix = found.fix.as_ref()?;
            let edits: Vec<Value> = fix
                .edits
                .iter()
                .map(|edit| json!({"range": range(source, edit.span), "newText": edit.text}))
                .collect();
            Some(json!({
                "title": fix.title,
                "kind": "quickfix",
                "isPreferred": true,
                "diagnostics": [diagnostic(found, uri, source)],
                "edit": {"changes": {uri: edits}},
            }))
        });
        Some(actions.collect())
    }
}

fn capabilities() -> Value {
    json!({
        "capabilities": {
            "positionEncoding": "utf-16",
            // Changes come as the ranges that they touch.
            "textDocumentSync": {"openClose": true, "change": 2},
            "hoverProvider": true,
            "completionProvider": {},
            "codeActionProvider": {"codeActionKinds": ["quickfix"]},
        },
        "serverInfo": {"name": "kiln", "version": env!("CARGO_PKG_VERSION")},
    })
}

/// A text after a change: of a range, or of all of it.
fn changed(source: &Source, change: &Value) -> Option<Source> {
    let text = change.get("text")?.as_str()?;
    let Some(range) = change.get("range") else { return Some(Source::new(source.name(), text)) };
    let start = offset(source, place(range.get("start")?)?);
    let end = offset(source, place(range.get("end")?)?).max(start);
    let old = source.text();
    let size = old.len().saturating_sub(end - start).saturating_add(text.len());
    // Larger than any message; the editor has to open the file again.
    if size > crate::MAX_MESSAGE_BYTES {
        return None;
    }
    Some(Source::new(source.name(), [&old[..start], text, &old[end..]].concat()))
}

fn place(value: &Value) -> Option<Utf16Position> {
    let number = |key: &str| usize::try_from(value.get(key)?.as_u64()?).ok();
    Some(Utf16Position { line: number("line")?, character: number("character")? })
}

fn range(source: &Source, span: Span) -> Value {
    let place = |at| {
        let Utf16Position { line, character } = position(source, at);
        json!({"line": line, "character": character})
    };
    json!({"start": place(span.start), "end": place(span.end.max(span.start))})
}

/// What is wrong, with its label, notes and hint in the message: editors show nothing else.
fn diagnostic(found: &Diagnostic, uri: &str, source: &Source) -> Value {
    let mut message = found.message.clone();
    if let Some(label) = found.label.as_ref().filter(|label| !message.contains(label.as_str())) {
        message += &format!(" ({label})");
    }
    let notes = found.notes.iter().map(|note| format!("\nnote: {note}"));
    let hint = found.hint.iter().map(|hint| format!("\nhelp: {hint}"));
    message.extend(notes.chain(hint));
    let severity = match found.severity {
        Severity::Error => 1,
        Severity::Warning => 2,
    };
    let mut value = json!({
        "range": range(source, found.span.unwrap_or_default()),
        "severity": severity,
        "source": "kiln",
        "message": message,
    });
    if let Some(rule) = &found.rule {
        value["code"] = json!(rule);
    }
    let related = found.related.iter().map(|(span, label)| {
        json!({"location": {"uri": uri, "range": range(source, *span)}, "message": label})
    });
    let related: Vec<Value> = related.collect();
    if !related.is_empty() {
        value["relatedInformation"] = related.into();
    }
    value
}

fn completion(source: &Source, one: &Completion) -> Value {
    let kind = match one.kind {
        CompletionKind::Keyword => 14,
        CompletionKind::Key => 10,
        CompletionKind::Value => 12,
    };
    let edit = json!({"range": range(source, one.span), "newText": one.insert});
    let mut value = json!({"label": one.label, "kind": kind, "textEdit": edit});
    if !one.text.is_empty() {
        value["documentation"] = json!({"kind": "markdown", "value": one.text});
    }
    value
}

fn published(uri: &str, version: &Value, found: Value) -> Value {
    let mut params = json!({"uri": uri, "diagnostics": found});
    if version.is_i64() {
        params["version"] = version.clone();
    }
    json!({"jsonrpc": "2.0", "method": "textDocument/publishDiagnostics", "params": params})
}

fn error(id: &Value, Refusal(code, message): &Refusal) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// The last part of a URI, with its escapes read.
fn file_name(uri: &str) -> String {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
