//! Filters over records, in containerd's grammar.
//!
//! A filter is a list of texts, any of which may match; a text is a comma-separated list of
//! conditions, all of which must match: `field` (it is there, or holds), `field==value`,
//! `field!=value`, `field~=regular expression`. Values may be quoted with `"`, expressions also
//! with `/` or `|`.

use std::borrow::Cow;

use regex::Regex;

use crate::usage::Usage;

/// A parsed list of filters. The default matches everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    alternatives: Vec<Vec<Condition>>,
}

/// A text that is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter `{filter}`: {problem}")]
pub struct FilterError {
    /// The text, shortened.
    pub filter: String,
    /// What is wrong with it.
    pub problem: String,
}

#[derive(Clone, Debug)]
struct Condition {
    field: Field,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Parents,
    Description,
    InUse,
    Mutable,
    Immutable,
    Type,
    Shared,
    Private,
    /// Kiln's own: something that wrote to it was killed.
    Interrupted,
    /// Not one of ours: never there.
    Unknown,
}

/// The fields of a record, by the name filters use.
const FIELDS: &[(&str, Field)] = &[
    ("id", Field::Id),
    ("parents", Field::Parents),
    ("description", Field::Description),
    ("inuse", Field::InUse),
    ("mutable", Field::Mutable),
    ("immutable", Field::Immutable),
    ("type", Field::Type),
    ("shared", Field::Shared),
    ("private", Field::Private),
    ("interrupted", Field::Interrupted),
];

impl Filter {
    /// Parses a list of filters; an empty one matches everything.
    pub fn parse<T: AsRef<str>>(filters: &[T]) -> Result<Self, FilterError> {
        let parse = |filter: &T| {
            conditions(filter.as_ref()).map_err(|problem| FilterError {
                filter: filter.as_ref().chars().take(160).collect(),
                problem,
            })
        };
        Ok(Self { alternatives: filters.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Whether a record matches.
    pub fn matches(&self, usage: &Usage) -> bool {
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|all| all.iter().all(|one| one.holds(usage)))
    }
}

impl Condition {
    fn holds(&self, usage: &Usage) -> bool {
        let value = self.field.of(usage);
        match &self.test {
            Test::Present => value.is_some_and(|value| value != "false"),
            Test::Equal(wanted) => value.is_some_and(|value| value == wanted.as_str()),
            Test::NotEqual(wanted) => value.unwrap_or_default() != wanted.as_str(),
            Test::Matches(expression) => expression.is_match(&value.unwrap_or_default()),
        }
    }
}

impl Field {
    /// The value; `None` if there is none.
    fn of(self, usage: &Usage) -> Option<Cow<'_, str>> {
        let flag = |flag: bool| Some(Cow::Borrowed(if flag { "true" } else { "false" }));
        let text = |text: &'_ str| (!text.is_empty()).then(|| Cow::Owned(text.to_owned()));
        match self {
            Self::Id => text(&usage.id),
            Self::Parents => text(&usage.parents.join(";")),
            Self::Description => text(&usage.description),
            Self::InUse => flag(usage.in_use),
            Self::Mutable => flag(usage.mutable),
            Self::Immutable => flag(!usage.mutable),
            Self::Type => Some(Cow::Borrowed(usage.kind.as_str())),
            Self::Shared => flag(usage.shared),
            Self::Private => flag(!usage.shared),
            Self::Interrupted => flag(usage.interrupted),
            Self::Unknown => None,
        }
    }
}

/// Parses the conditions of one text.
fn conditions(text: &str) -> Result<Vec<Condition>, String> {
    let mut rest = text.trim();
    let mut conditions = Vec::new();
    while !rest.is_empty() {
        let (condition, after) = condition(rest)?;
        conditions.push(condition);
        let after = after.trim_start();
        if after.is_empty() {
            break;
        }
        rest = after
            .strip_prefix(',')
            .ok_or_else(|| format!("expected `,` before `{after}`"))?
            .trim_start();
        if rest.is_empty() {
            return Err("a condition is missing behind the last `,`".to_owned());
        }
    }
    Ok(conditions)
}

fn condition(text: &str) -> Result<(Condition, &str), String> {
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let end = text.find(|c| !named(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(format!("expected a field at `{text}`"));
    }
    let field = FIELDS.iter().find(|(known, _)| *known == name);
    let field = field.map_or(Field::Unknown, |(_, field)| *field);
    let rest = rest.trim_start();
    for operator in ["==", "!=", "~="] {
        let Some(rest) = rest.strip_prefix(operator) else { continue };
        let (value, rest) = value(rest.trim_start(), operator == "~=")?;
        let test = match operator {
            "==" => Test::Equal(value),
            "!=" => Test::NotEqual(value),
            _ => Test::Matches(Regex::new(&value).map_err(|error| error.to_string())?),
        };
        return Ok((Condition { field, test }, rest));
    }
    Ok((Condition { field, test: Test::Present }, rest))
}

/// A value, quoted or up to the next comma.
fn value(text: &str, expression: bool) -> Result<(String, &str), String> {
    let quote = match text.chars().next() {
        Some('"') => '"',
        Some(quote @ ('/' | '|')) if expression => quote,
        _ => {
            let end = text.find(',').unwrap_or(text.len());
            return Ok((text[..end].trim_end().to_owned(), &text[end..]));
        }
    };
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            c if c == quote => return Ok((value, &text[at + c.len_utf8()..])),
            '\\' => match characters.next() {
                Some((_, escaped)) if escaped == quote || (quote == '"' && escaped == '\\') => {
                    value.push(escaped);
                }
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(format!("the quote {quote} is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Kind;

    fn usage() -> Usage {
        Usage {
            id: "abc".to_owned(),
            kind: Kind::ExecCacheMount,
            description: "cached mount /root/.cache, from exec \"make\"".to_owned(),
            size: 1,
            created: std::time::SystemTime::UNIX_EPOCH,
            last_used: std::time::SystemTime::UNIX_EPOCH,
            usage_count: 0,
            in_use: false,
            shared: false,
            parents: Vec::new(),
            mutable: true,
            interrupted: false,
        }
    }

    #[test]
    fn conditions_match_as_containerd_does() {
        for (filters, expected) in [
            (vec![], true),
            (vec!["id==abc"], true),
            (vec!["id==ab"], false),
            (vec!["id!=ab"], true),
            (vec!["id~=^a.c$"], true),
            (vec!["type==exec.cachemount,mutable"], true),
            (vec!["type==exec.cachemount,inuse"], false),
            (vec!["type==regular", "id==abc"], true),
            (vec!["mutable==true", "id==x"], true),
            (vec!["immutable"], false),
            (vec!["private"], true),
            (vec!["parents"], false),
            (vec!["nothing"], false),
            (vec!["nothing!=x"], true),
            (vec!["description~=/cached mount/"], true),
            (vec![r#"description=="cached mount /root/.cache, from exec \"make\"""#], true),
            (vec![r"description~=|mount /root/\.cache|, private"], true),
        ] {
            let filter = Filter::parse(&filters).unwrap();
            assert_eq!(filter.matches(&usage()), expected, "{filters:?}");
        }
    }

    #[test]
    fn malformed_filters_say_why() {
        for filter in ["==x", "id==\"x", "id==a,", "id~=(", "id = x", "id==\"a\"b"] {
            assert!(Filter::parse(&[filter]).is_err(), "{filter}");
        }
    }
}
