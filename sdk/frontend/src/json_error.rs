//! Why a text is no JSON of a type, in the words of Go's `encoding/json`.
//!
//! Users of Docker know these words, and clients compare them. A text and a [`JsonType`] come in, a
//! sentence goes out, or nothing if Go would take the text. Values are made elsewhere: this is asked
//! once it is known, or has to be known, that a text is refused.

use kiln_oci::quoted;

/// How deep values may lie in each other.
const MAX_DEPTH: usize = 128;

/// The type that a value must have, with the name Go has for it.
#[derive(Clone, Copy, Debug)]
pub enum JsonType {
    /// A string.
    Text(&'static str),
    /// True or false.
    Truth,
    /// A whole number.
    Integer(&'static str),
    /// A list of values of one type.
    List(&'static str, &'static Self),
    /// A map to values of one type.
    Map(&'static str, &'static Self),
    /// A struct with its fields. Others are not looked at, and case does not count.
    Fields(&'static str, &'static [(&'static str, Self)]),
}

/// Why `text` is no JSON of a type; nothing if it is.
///
/// That it is no JSON at all counts more than that a value has another type; of these the first
/// counts. `null` fits every type.
///
/// ```
/// use kiln_frontend::{JsonType, json_error};
///
/// let list = JsonType::List("[]string", &JsonType::Text("string"));
/// let error = |text: &str| json_error(text.as_bytes(), &list);
/// assert_eq!(error("[\"a\"]"), None);
/// assert_eq!(error("[1]").unwrap(), "json: cannot unmarshal number into .0 of type string");
/// assert_eq!(error("[1").unwrap(), "unexpected end of JSON input");
/// ```
pub fn json_error(text: &[u8], wanted: &JsonType) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let mut reader = Reader { rest: &text, path: Vec::new(), root: wanted.root(), misfit: None };
    match reader.value(Some(wanted)).and_then(|()| reader.end()) {
        Ok(()) => reader.misfit,
        Err(error) => Some(error),
    }
}

impl JsonType {
    fn name(&self) -> &'static str {
        match self {
            Self::Truth => "bool",
            Self::Text(name)
            | Self::Integer(name)
            | Self::List(name, _)
            | Self::Map(name, _)
            | Self::Fields(name, _) => name,
        }
    }

    /// What errors call a struct that a path starts from.
    fn root(&self) -> &'static str {
        match self {
            Self::Fields(name, _) => name.rsplit('.').next().unwrap_or(name),
            _ => "",
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(_, of) => Some(of),
            Self::Fields(_, fields) => {
                let found = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name));
                found.map(|(_, of)| of)
            }
            _ => None,
        }
    }

    fn item(&self) -> Option<&Self> {
        match self {
            Self::List(_, of) => Some(of),
            _ => None,
        }
    }
}

/// Reads a text once, from its beginning.
struct Reader<'t> {
    rest: &'t str,
    /// Keys and indexes on the way to the value that is read.
    path: Vec<String>,
    root: &'static str,
    /// The first value of another type, as a sentence.
    misfit: Option<String>,
}

impl<'t> Reader<'t> {
    fn value(&mut self, wanted: Option<&JsonType>) -> Result<(), String> {
        if self.path.len() > MAX_DEPTH {
            return Err("exceeded max depth".to_owned());
        }
        match self.peek()? {
            '{' => self.object(wanted),
            '[' => self.array(wanted),
            '"' => {
                self.check("string", wanted, matches!(wanted, Some(JsonType::Text(_))));
                self.string().map(drop)
            }
            't' => self.boolean("true", wanted),
            'f' => self.boolean("false", wanted),
            'n' => self.literal("null"),
            '-' | '0'..='9' => self.number(wanted),
            other => Err(invalid(other, "looking for beginning of value")),
        }
    }

    fn object(&mut self, wanted: Option<&JsonType>) -> Result<(), String> {
        let fits = matches!(wanted, Some(JsonType::Map(..) | JsonType::Fields(..)));
        self.check("object", wanted, fits);
        self.skip();
        if self.peek()? == '}' {
            self.skip();
            return Ok(());
        }
        loop {
            let key = match self.peek()? {
                '"' => self.string()?,
                other => {
                    return Err(invalid(other, "looking for beginning of object key string"));
                }
            };
            match self.peek()? {
                ':' => self.skip(),
                other => return Err(invalid(other, "after object key")),
            }
            let field = wanted.and_then(|wanted| wanted.field(&key));
            self.path.push(key);
            self.value(field)?;
            self.path.pop();
            match self.peek()? {
                ',' => self.skip(),
                '}' => {
                    self.skip();
                    return Ok(());
                }
                other => return Err(invalid(other, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self, wanted: Option<&JsonType>) -> Result<(), String> {
        self.check("array", wanted, matches!(wanted, Some(JsonType::List(..))));
        self.skip();
        if self.peek()? == ']' {
            self.skip();
            return Ok(());
        }
        for index in 0_usize.. {
            self.path.push(index.to_string());
            self.value(wanted.and_then(JsonType::item))?;
            self.path.pop();
            match self.peek()? {
                ',' => self.skip(),
                ']' => break,
                other => return Err(invalid(other, "after array element")),
            }
        }
        self.skip();
        Ok(())
    }

    fn boolean(&mut self, word: &str, wanted: Option<&JsonType>) -> Result<(), String> {
        self.check("bool", wanted, matches!(wanted, Some(JsonType::Truth)));
        self.literal(word)
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.chars() {
            match self.rest.chars().next() {
                Some(found) if found == expected => self.skip(),
                Some(found) => {
                    let place = format!("in literal {word} (expecting {})", character(expected));
                    return Err(invalid(found, &place));
                }
                None => return Err(end()),
            }
        }
        Ok(())
    }

    fn number(&mut self, wanted: Option<&JsonType>) -> Result<(), String> {
        let text = self.rest;
        self.take('-');
        if !self.take('0') {
            self.digits()?;
        }
        if self.take('.') {
            self.digits()?;
        }
        if self.take('e') || self.take('E') {
            let _signed = self.take('+') || self.take('-');
            self.digits()?;
        }
        let literal = &text[..text.len() - self.rest.len()];
        let integer = matches!(wanted, Some(JsonType::Integer(_)));
        let kind = match integer {
            true => format!("number {literal}"),
            false => "number".to_owned(),
        };
        self.check(&kind, wanted, integer && literal.parse::<i64>().is_ok());
        Ok(())
    }

    fn digits(&mut self) -> Result<(), String> {
        let found = self.rest.trim_start_matches(|c: char| c.is_ascii_digit());
        if found.len() == self.rest.len() {
            let next = found.chars().next().ok_or_else(end)?;
            return Err(invalid(next, "in numeric literal"));
        }
        self.rest = found;
        Ok(())
    }

    /// A string, with its escapes as they are: no field is called by one.
    fn string(&mut self) -> Result<String, String> {
        self.skip();
        let text = self.rest;
        loop {
            let next = self.rest.chars().next().ok_or_else(end)?;
            match next {
                '"' => {
                    let string = text[..text.len() - self.rest.len()].to_owned();
                    self.skip();
                    return Ok(string);
                }
                '\\' => self.escape()?,
                '\0'..='\u{1f}' => return Err(invalid(next, "in string")),
                _ => self.skip(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let mut ahead = self.rest.chars().skip(1);
        let letter = ahead.next().ok_or_else(end)?;
        let length = if letter == 'u' { 6 } else { 2 };
        let known = match letter {
            'u' => ahead.take(4).all(|c| c.is_ascii_hexdigit()),
            letter => "\"\\/bfnrt".contains(letter),
        };
        let sequence: String = self.rest.chars().take(length).collect();
        if !known {
            return Err(format!("invalid escape sequence `{sequence}` in string"));
        }
        self.rest = self.rest.get(length..).ok_or_else(end)?;
        Ok(())
    }

    /// The next character that means something.
    fn peek(&mut self) -> Result<char, String> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.rest.chars().next().ok_or_else(end)
    }

    fn take(&mut self, wanted: char) -> bool {
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip(&mut self) {
        let mut rest = self.rest.chars();
        rest.next();
        self.rest = rest.as_str();
    }

    fn end(&mut self) -> Result<(), String> {
        match self.peek() {
            Ok(other) => Err(invalid(other, "after top-level value")),
            Err(_) => Ok(()),
        }
    }

    /// Remembers a value that has another type than it must have, if it is the first.
    fn check(&mut self, kind: &str, wanted: Option<&JsonType>, fits: bool) {
        let Some(wanted) = wanted.filter(|_| !fits && self.misfit.is_none()) else { return };
        let name = wanted.name();
        let place = match self.path.last() {
            None => "Go value".to_owned(),
            Some(last) => {
                let index = last.rsplit('.').next().unwrap_or(last);
                let is_index = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
                let field = if is_index { "" } else { "Go struct field " };
                format!("{field}{}.{}", self.root, self.path.join("."))
            }
        };
        self.misfit = Some(format!("json: cannot unmarshal {kind} into {place} of type {name}"));
    }
}

fn end() -> String {
    "unexpected end of JSON input".to_owned()
}

fn invalid(found: char, place: &str) -> String {
    format!("invalid character {} {place}", character(found))
}

/// A character in single quotes.
fn character(c: char) -> String {
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => "'\"'".to_owned(),
        c => format!("'{}'", quoted(c.encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: JsonType = JsonType::Fields(
        "pkg.Entry",
        &[
            ("Type", JsonType::Text("string")),
            ("Size", JsonType::Integer("int")),
            ("Attrs", JsonType::Map("map[string]string", &JsonType::Text("string"))),
            ("On", JsonType::Truth),
        ],
    );
    const ENTRIES: JsonType = JsonType::List("[]*pkg.Entry", &ENTRY);

    #[track_caller]
    fn check(wanted: &JsonType, cases: &[(&str, Option<&str>)]) {
        for (text, want) in cases {
            assert_eq!(json_error(text.as_bytes(), wanted).as_deref(), *want, "{text}");
        }
    }

    #[test]
    fn what_fits_is_no_error() {
        for text in ["null", "[]", " [ { \"type\" : \"a\\u00e9\" } ] ", "[null]"] {
            check(&ENTRIES, &[(text, None)]);
        }
        let all = r#"{"Size":-3,"On":true,"Attrs":{"a":"b","c":null},"other":[1.5e3]}"#;
        check(&ENTRY, &[(all, None)]);
    }

    #[test]
    fn what_is_no_json_is_said_first() {
        check(
            &ENTRIES,
            &[
                ("x", Some("invalid character 'x' looking for beginning of value")),
                ("\u{1}", Some("invalid character '\\x01' looking for beginning of value")),
                ("", Some("unexpected end of JSON input")),
                ("nul", Some("unexpected end of JSON input")),
                ("nulx", Some("invalid character 'x' in literal null (expecting 'l')")),
                ("[1,]", Some("invalid character ']' looking for beginning of value")),
                ("[1 2]", Some("invalid character '2' after array element")),
                ("[] x", Some("invalid character 'x' after top-level value")),
                ("{\"a\" 1}", Some("invalid character '1' after object key")),
                ("{\"a\":1 \"b\"", Some("invalid character '\"' after object key:value pair")),
                (
                    "{\"a\":1,}",
                    Some("invalid character '}' looking for beginning of object key string"),
                ),
                ("-a", Some("invalid character 'a' in numeric literal")),
                ("1.", Some("unexpected end of JSON input")),
                ("01", Some("invalid character '1' after top-level value")),
                ("\"\\x\"", Some("invalid escape sequence `\\x` in string")),
                ("\"\\u12g\"", Some("invalid escape sequence `\\u12g\"` in string")),
                ("\"\\u12", Some("unexpected end of JSON input")),
                ("\"a\nb\"", Some("invalid character '\\n' in string")),
            ],
        );
    }

    #[test]
    fn the_value_of_another_type_is_named() {
        let field = |text: &str| format!("json: cannot unmarshal {text}");
        let cases = [
            ("{}", "object into Go value of type []*pkg.Entry"),
            ("[1]", "number into .0 of type pkg.Entry"),
            ("[{\"Type\":1}]", "number into Go struct field .0.Type of type string"),
            ("[{\"TYPE\":[]}]", "array into Go struct field .0.TYPE of type string"),
            ("[{\"Attrs\":{\"a\":1}}]", "number into Go struct field .0.Attrs.a of type string"),
            ("[{\"Size\":1.5}]", "number 1.5 into Go struct field .0.Size of type int"),
            ("[{\"On\":\"x\"},1]", "string into Go struct field .0.On of type bool"),
        ];
        for (text, want) in cases {
            check(&ENTRIES, &[(text, Some(&field(want)))]);
        }
        let root = field("object into Go struct field Entry.Type of type string");
        check(&ENTRY, &[("{\"Type\":{}}", Some(&root))]);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        check(&ENTRIES, &[(&deep, Some("exceeded max depth"))]);
    }
}
