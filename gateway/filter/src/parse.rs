//! From text to selectors: the grammar is `grammar.pest`, this walks what it found.

use pest::Parser as _;
use pest::error::{Error, ErrorVariant, LineColLocation};
use pest::iterators::Pair;
use pest_derive::Parser;
use regex::RegexBuilder;

use crate::FilterError;
use crate::filter::{Selector, Test};

/// The longest text that is looked at, in bytes.
const MAX_LENGTH: usize = 16 << 10;
/// The most memory one expression may take once compiled, in bytes.
const MAX_EXPRESSION: usize = 1 << 20;

#[derive(Parser)]
#[grammar = "grammar.pest"]
struct Grammar;

/// The selectors of one text; none if it is empty.
pub(crate) fn selectors(text: &str) -> Result<Vec<Selector>, FilterError> {
    if text.len() > MAX_LENGTH {
        return Err(FilterError::new(text, 1, format!("longer than {MAX_LENGTH} bytes")));
    }
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let parsed = Grammar::parse(Rule::filter, text).map_err(|error| malformed(text, &error))?;
    let selectors = parsed.flat_map(Pair::into_inner);
    selectors
        .filter(|pair| pair.as_rule() == Rule::selector)
        .map(|pair| selector(text, pair))
        .collect()
}

fn selector(text: &str, pair: Pair<'_, Rule>) -> Result<Selector, FilterError> {
    let mut selector = Selector { path: Vec::new(), test: Test::Present };
    let mut operator = "";
    for part in pair.into_inner() {
        let column = part.line_col().1;
        match part.as_rule() {
            Rule::path => selector.path = part.into_inner().map(unquoted).collect(),
            Rule::operator => operator = part.as_str(),
            Rule::value if operator == "==" => selector.test = Test::Equal(unquoted(part)),
            Rule::value => selector.test = Test::NotEqual(unquoted(part)),
            Rule::expression => selector.test = expression(text, column, &unquoted(part))?,
            _ => {}
        }
    }
    Ok(selector)
}

fn expression(text: &str, column: usize, pattern: &str) -> Result<Test, FilterError> {
    let compiled = RegexBuilder::new(pattern).size_limit(MAX_EXPRESSION).build();
    compiled
        .map(Test::Matches)
        .map_err(|error| FilterError::new(text, column, format!("no regular expression: {error}")))
}

/// The text of a field, value or expression, without its quotes.
fn unquoted(pair: Pair<'_, Rule>) -> String {
    let Some(inner) = pair.into_inner().next() else { return String::new() };
    match inner.as_rule() {
        Rule::quoted => inner.into_inner().map(|part| piece(&part, '"')).collect(),
        Rule::slashed => inner.into_inner().map(|part| piece(&part, '/')).collect(),
        Rule::barred => inner.into_inner().map(|part| piece(&part, '|')).collect(),
        _ => inner.as_str().to_owned(),
    }
}

/// A piece of a quoted text; an escape that means nothing to Go belongs to an expression.
fn piece(part: &Pair<'_, Rule>, quote: char) -> String {
    if part.as_rule() != Rule::escape {
        return part.as_str().to_owned();
    }
    let Some(code) = part.as_str().strip_prefix('\\') else { return String::new() };
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
    let coded = match (code.chars().next(), code.len()) {
        (Some('0'..='7'), 3) => number(code, 8),
        (Some('x' | 'u' | 'U'), 3 | 5 | 9) => number(&code[1..], 16),
        _ => None,
    };
    if let Some(character) = coded.and_then(char::from_u32) {
        return character.to_string();
    }
    match code {
        "a" => "\u{7}".into(),
        "b" if quote == '"' => "\u{8}".into(),
        "f" => "\u{c}".into(),
        "n" => "\n".into(),
        "r" => "\r".into(),
        "t" => "\t".into(),
        "v" => "\u{b}".into(),
        "\\" if quote == '"' => "\\".into(),
        other if other.starts_with(quote) => other.into(),
        _ => part.as_str().into(),
    }
}

fn malformed(text: &str, error: &Error<Rule>) -> FilterError {
    let (LineColLocation::Pos((_, column)) | LineColLocation::Span((_, column), _)) =
        error.line_col;
    let rest: String = text.chars().skip(column.saturating_sub(1)).take(40).collect();
    let expected = match &error.variant {
        ErrorVariant::ParsingError { positives, .. } => expected(positives),
        ErrorVariant::CustomError { message } => message.clone(),
    };
    let found = if rest.is_empty() { "the end".to_owned() } else { format!("`{rest}`") };
    FilterError::new(text, column, format!("expected {expected}, found {found}"))
}

/// What could have stood there, in words.
fn expected(rules: &[Rule]) -> String {
    let mut words: Vec<&str> = Vec::new();
    for rule in rules {
        let word = match rule {
            Rule::selector | Rule::path | Rule::field | Rule::name => "a field",
            Rule::operator | Rule::matches => "==, != or ~=",
            Rule::value | Rule::bare | Rule::expression => "a value",
            Rule::quoted | Rule::quoted_text | Rule::escape => "a closed quote",
            Rule::EOI => "`,` or the end",
            _ => continue,
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.is_empty() { "something else".to_owned() } else { words.join(" or ") }
}
