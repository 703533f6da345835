//! JSON text into a [`Node`] tree, by RFC 8259.
//!
//! Written here because no JSON reader at hand tells where keys and values stand.

use serde_json::Number;

use crate::{Diagnostic, Entry, Key, Limits, Node, Source, Span, Value};

/// Reads one JSON document.
pub(crate) fn read(source: &Source, limits: &Limits) -> Result<Node, Vec<Diagnostic>> {
    let mut reader = Reader { text: source.text(), at: 0, nodes: 0, limits };
    reader.document().map_err(|mistake| vec![mistake])
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
    limits: &'a Limits,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Node, Diagnostic> {
        let node = self.node(0)?;
        self.skip_space();
        match self.peek() {
            None => Ok(node),
            Some(_) => Err(self.unexpected("the end of the file")),
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, Diagnostic> {
        self.skip_space();
        let start = self.at;
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(
                self.mistake(format!("the file holds more than {} values", self.limits.nodes))
            );
        }
        if depth > self.limits.depth {
            return Err(self
                .mistake(format!("the file is nested deeper than {} levels", self.limits.depth)));
        }
        let value = match self.peek() {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Value::Text(self.string()?),
            Some('-' | '0'..='9') => Value::Number(self.number()?),
            Some('a'..='z') => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { span: Span::new(start, self.at), value })
    }

    fn map(&mut self, depth: usize) -> Result<Value, Diagnostic> {
        let mut entries = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.take('}') {
            return Ok(Value::Map(entries));
        }
        loop {
            entries.push(self.entry(depth)?);
            self.skip_space();
            if self.take('}') {
                return Ok(Value::Map(entries));
            }
            self.expect(',', "`,` or `}`")?;
        }
    }

    fn entry(&mut self, depth: usize) -> Result<Entry, Diagnostic> {
        self.skip_space();
        let start = self.at;
        if self.peek() != Some('"') {
            return Err(self.unexpected("a key in double quotes"));
        }
        let name = self.string()?;
        let span = Span::new(start, self.at);
        self.skip_space();
        self.expect(':', "`:`")?;
        Ok(Entry { key: Key { name, span }, value: self.node(depth + 1)? })
    }

    fn list(&mut self, depth: usize) -> Result<Value, Diagnostic> {
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if self.take(']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.node(depth + 1)?);
            self.skip_space();
            if self.take(']') {
                return Ok(Value::List(items));
            }
            self.expect(',', "`,` or `]`")?;
        }
    }

    /// Finds the closing quote and leaves the escapes to serde_json.
    fn string(&mut self) -> Result<String, Diagnostic> {
        let start = self.at;
        let mut escaped = false;
        let bytes = self.text.as_bytes();
        let end = (start + 1..bytes.len()).find(|at| {
            let closes = bytes[*at] == b'"' && !escaped;
            escaped = bytes[*at] == b'\\' && !escaped;
            closes || bytes[*at] == b'\n'
        });
        let Some(end) = end.filter(|end| bytes[*end] == b'"') else {
            let line = self.text[start..].lines().next().unwrap_or_default().len();
            return Err(
                Diagnostic::error("the string is not closed").at(Span::new(start, start + line))
            );
        };
        self.at = end + 1;
        serde_json::from_str(&self.text[start..self.at]).map_err(|_| {
            Diagnostic::error("the string has an escape or a character that JSON does not know")
                .at(Span::new(start, self.at))
        })
    }

    fn number(&mut self) -> Result<Number, Diagnostic> {
        let start = self.at;
        let more = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        self.at += self.text.as_bytes()[start..].iter().take_while(|byte| more(byte)).count();
        let span = Span::new(start, self.at);
        serde_json::from_str(&self.text[start..self.at])
            .map_err(|_| Diagnostic::error("this is not a number that JSON knows").at(span))
    }

    fn word(&mut self) -> Result<Value, Diagnostic> {
        let start = self.at;
        self.at += self.text[start..].bytes().take_while(u8::is_ascii_alphanumeric).count();
        match &self.text[start..self.at] {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            word => Err(Diagnostic::error(format!("`{word}` is not a JSON value"))
                .at(Span::new(start, self.at))
                .hint("text stands in double quotes")),
        }
    }

    fn skip_space(&mut self) {
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += self.text.as_bytes()[self.at..].iter().take_while(|byte| space(byte)).count();
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, wanted: char, name: &str) -> Result<(), Diagnostic> {
        if self.take(wanted) { Ok(()) } else { Err(self.unexpected(name)) }
    }

    fn unexpected(&self, wanted: &str) -> Diagnostic {
        match self.peek() {
            Some(found) => self.mistake(format!("expected {wanted}, found `{found}`")),
            None => self.mistake(format!("expected {wanted}, found the end of the file")),
        }
    }

    fn mistake(&self, message: String) -> Diagnostic {
        let length = self.peek().map_or(0, char::len_utf8);
        Diagnostic::error(message).at(Span::new(self.at, self.at + length))
    }
}
