//! What follows keyword and flags, by keyword: words, a JSON list, pairs, or one text.

use std::borrow::Cow;

use super::command::{is_space, is_space_byte, piece};
use super::{Arguments, Pair};
use crate::keyword::Keyword;
use crate::mistake::Mistake;
use crate::quoting::quote;

/// Reads the arguments of an instruction; `rest` has no spaces around it.
pub(super) fn read(keyword: Keyword, rest: &str, escape: char) -> Result<Arguments<'_>, Mistake> {
    if rest.is_empty() {
        return Ok(Arguments::None);
    }
    match keyword {
        Keyword::Add | Keyword::Copy | Keyword::Volume => {
            Ok(json_list(rest)?.map_or_else(|| words_between_spaces(rest), Arguments::Json))
        }
        Keyword::Expose | Keyword::From => Ok(words_between_spaces(rest)),
        Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => json_or_text(rest),
        Keyword::Arg => Ok(some_words(quoted_words(rest, escape))),
        Keyword::Env | Keyword::Label => pairs(keyword, rest, escape),
        Keyword::Healthcheck => health(rest),
        Keyword::Maintainer | Keyword::StopSignal | Keyword::User | Keyword::Workdir => {
            Ok(Arguments::Text(rest.into()))
        }
        // Its instruction is read by `command`, unless too many are inside each other.
        Keyword::Onbuild => Ok(Arguments::None),
    }
}

fn some_words(words: Vec<&str>) -> Arguments<'_> {
    if words.is_empty() {
        return Arguments::None;
    }
    Arguments::Words(words.into_iter().map(Cow::Borrowed).collect())
}

fn words_between_spaces(rest: &str) -> Arguments<'_> {
    some_words(rest.split(is_space).filter(|word| !word.is_empty()).collect())
}

/// Words between spaces that are not in quotes. Quotes and escapes are kept.
fn quoted_words(rest: &str, escape: char) -> Vec<&str> {
    let mut words = Vec::new();
    let mut chars = rest.char_indices();
    let mut start = None;
    let mut quote = None;
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| &rest[start..at]));
            continue;
        }
        start.get_or_insert(at);
        match (c, quote) {
            ('\'' | '"', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            // Nothing is escaped in single quotes.
            (c, quote) if c == escape && quote != Some('\'') => {
                if chars.next().is_some() {
                    continue;
                }
                // An escape at the very end stands for nothing.
                let word = start.take().map_or("", |start| &rest[start..at]);
                words.extend(Some(word).filter(|word| !word.is_empty()));
            }
            _ => {}
        }
    }
    words.extend(start.map(|start| &rest[start..]));
    words
}

/// `name=value ...`, or the old form `name value`.
fn pairs(keyword: Keyword, rest: &str, escape: char) -> Result<Arguments<'_>, Mistake> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else { return Ok(Arguments::None) };
    if !first.contains('=') {
        let Some((name, value)) = rest.split_once(is_space) else {
            return Err(Mistake::new(format!("{} must have two arguments", keyword.upper())));
        };
        let value = value.trim_start_matches(is_space).into();
        return Ok(Arguments::Pairs(vec![Pair { name: name.into(), value, legacy: true }]));
    }
    let pair = |word: &'_ str| {
        Mistake::new(format!(
            "Syntax error - can't find = in {}. Must be of the form: name=value",
            quote(word)
        ))
    };
    let mut pairs = Vec::with_capacity(words.len());
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| pair(word))?;
        pairs.push(Pair { name: name.into(), value: value.into(), legacy: false });
    }
    Ok(Arguments::Pairs(pairs))
}

/// The kind of a health check and what follows it.
fn health(rest: &str) -> Result<Arguments<'_>, Mistake> {
    let bytes = rest.as_bytes();
    let end = bytes.iter().position(|byte| is_space_byte(*byte)).unwrap_or(rest.len());
    let spaces = bytes[end..].iter().take_while(|byte| is_space_byte(**byte)).count();
    let command = match piece(rest, end + spaces, rest.len()) {
        Cow::Borrowed(command) => json_or_text(command)?,
        Cow::Owned(command) => json_or_text(&command)?.into_owned(),
    };
    Ok(Arguments::Health { kind: piece(rest, 0, end), command: Box::new(command) })
}

fn json_or_text(rest: &str) -> Result<Arguments<'_>, Mistake> {
    if rest.is_empty() {
        return Ok(Arguments::None);
    }
    Ok(json_list(rest)?.map_or_else(|| Arguments::Text(rest.into()), Arguments::Json))
}

/// The strings of a JSON list; none if the text is not JSON or no list.
fn json_list(rest: &str) -> Result<Option<Vec<Cow<'_, str>>>, Mistake> {
    let rest = rest.trim_start();
    if !rest.starts_with('[') {
        return Ok(None);
    }
    if let Ok(strings) = serde_json::from_str::<Vec<JsonString<'_>>>(rest) {
        return Ok(Some(strings.into_iter().map(|string| string.0).collect()));
    }
    match serde_json::from_str::<Vec<serde_json::Value>>(&lone_surrogates_replaced(rest)) {
        Err(_) => Ok(None),
        Ok(values) => values.into_iter().map(string_of).collect::<Result<_, _>>().map(Some),
    }
}

fn string_of(value: serde_json::Value) -> Result<Cow<'static, str>, Mistake> {
    match value {
        serde_json::Value::String(string) => Ok(string.into()),
        _ => Err(Mistake::new(
            "when using JSON array syntax, arrays must be comprised of strings only",
        )),
    }
}

/// A JSON string, borrowed where nothing in it is escaped.
#[derive(serde::Deserialize)]
struct JsonString<'text>(#[serde(borrow)] Cow<'text, str>);

/// Half a character, such as `\ud800` alone, is a replacement character to the reference and an error
/// to others.
fn lone_surrogates_replaced(text: &str) -> Cow<'_, str> {
    const REPLACEMENT: &str = "\\ufffd";
    if !text.contains("\\u") {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escaped) = rest.split_at(at);
        out.push_str(before);
        let unit = |text: &str| {
            let digits = text.strip_prefix("\\u")?.get(..4)?;
            u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
        };
        let length = match (unit(escaped), escaped.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push_str(REPLACEMENT);
                rest = &escaped[6..];
                continue;
            }
            // The escape and what it escapes.
            _ => 1 + escaped[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&escaped[..length]);
        rest = &escaped[length..];
    }
    out.push_str(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_spaces_and_stay_in_the_word() {
        let split = |text| quoted_words(text, '\\');
        assert_eq!(split(r#"a="b c" d='e f' g\ h"#), [r#"a="b c""#, "d='e f'", r"g\ h"]);
        assert_eq!(split(r#"a="b\" c" 'd\' e"#), [r#"a="b\" c""#, r"'d\'", "e"]);
        assert_eq!(split(r#"a "b c"#), ["a", "\"b c"]);
        assert_eq!(split("a b\\"), ["a", "b"]);
        assert_eq!(split("a \\"), ["a"]);
    }

    #[test]
    fn half_a_character_in_json_is_replaced() {
        let list = json_list(r#"["\ud800", "\ud83d\ude00", "\\ud800", "\ude00x"]"#);
        assert_eq!(list.unwrap().unwrap(), ["\u{fffd}", "😀", "\\ud800", "\u{fffd}x"]);
    }

    #[test]
    fn what_is_not_json_is_text() {
        for text in ["[\"a\",]", "['a']", "[\"a\"] x", "[", "[\"\u{1}\"]", "{}"] {
            assert_eq!(json_list(text), Ok(None), "{text}");
        }
        assert!(json_list("[\"a\", null]").is_err());
        assert!(json_list("[[]]").is_err());
    }
}
