//! A JSON value against a JSON Schema (draft 2020-12): what does not fit, and where.
//!
//! Every keyword that demands something is known but for `unevaluatedItems` and references to other
//! documents; a schema that has those is refused, so that nothing it demands is overlooked. Patterns
//! are in the syntax of the `regex` crate. `format` is for people and not looked at, as the draft
//! has it. What the mistakes mean to the user is said in [`crate::check`].

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Number, Value as Json};

/// How deep schemas may lead into each other for one value.
const MAX_DEPTH: usize = 256;

/// Keywords that demand something that is not looked at here.
const UNKNOWN: &[&str] = &["$dynamicRef", "unevaluatedItems"];

/// A step from a value to one in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The value of a key.
    Key(String),
    /// An item of a list.
    Index(usize),
}

/// Types of values, as schemas call them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

/// Something that does not fit.
#[derive(Clone, Debug)]
pub(crate) struct Mistake<'s> {
    /// Where it is.
    pub(crate) path: Vec<Step>,
    /// The schema that says so.
    pub(crate) schema: &'s Json,
    pub(crate) kind: Kind<'s>,
}

/// What does not fit.
#[derive(Clone, Debug)]
pub(crate) enum Kind<'s> {
    /// Keys that may not be there.
    UnknownKeys(Vec<String>),
    /// A key that has to be there.
    MissingKey(&'s str),
    /// The value is of none of these types.
    Type(Vec<Type>),
    /// The value is none of these.
    Options(Vec<&'s Json>),
    /// The value fits none of several schemas; what does not fit for each of them.
    Alternatives(Vec<Vec<Mistake<'s>>>),
    /// No value may be there.
    Nothing,
    /// A list has no items.
    EmptyList,
    /// A text has no characters.
    EmptyText,
    /// Anything else, in words.
    Other(String),
}

/// Why a schema is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("it has {0} where a schema should be")]
    NoSchema(String),
    #[error("`{keyword}` cannot be {value}")]
    Value { keyword: String, value: String },
    #[error("`{0}` is not known to this program")]
    Unknown(&'static str),
    #[error("there is no `{0}` in it")]
    Reference(String),
    #[error("the pattern {pattern:?} is none")]
    Pattern { pattern: String, source: Box<regex::Error> },
    #[error("it leads into itself without end")]
    Circle,
}

/// All that does not fit.
///
/// # Errors
///
/// If the schema is none, as far as it was looked at.
pub(crate) fn validate<'s>(
    schema: &'s Json,
    value: &Json,
) -> Result<Vec<Mistake<'s>>, SchemaError> {
    let mut validator = Validator { root: schema, patterns: BTreeMap::new(), depth: 0 };
    let mut found = Vec::new();
    validator.check(schema, value, &mut Vec::new(), &mut found)?;
    Ok(found)
}

struct Validator<'s> {
    root: &'s Json,
    patterns: BTreeMap<&'s str, Regex>,
    depth: usize,
}

/// The keys of a mapping that some schema has looked at.
#[derive(Default)]
struct Seen {
    all: bool,
    keys: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.all |= other.all;
        self.keys.extend(other.keys);
    }
}

type Found<'s> = Vec<Mistake<'s>>;

impl<'s> Validator<'s> {
    fn check(
        &mut self,
        schema: &'s Json,
        value: &Json,
        path: &mut Vec<Step>,
        found: &mut Found<'s>,
    ) -> Result<Seen, SchemaError> {
        let keywords = match schema {
            Json::Bool(true) => return Ok(Seen::default()),
            Json::Bool(false) => {
                found.push(Mistake { path: path.clone(), schema, kind: Kind::Nothing });
                return Ok(Seen::default());
            }
            Json::Object(keywords) => keywords,
            other => return Err(SchemaError::NoSchema(other.to_string())),
        };
        if let Some(unknown) = UNKNOWN.iter().find(|name| keywords.contains_key(**name)) {
            return Err(SchemaError::Unknown(unknown));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(SchemaError::Circle);
        }
        let place = |kind: Kind<'s>| (schema, kind);
        let mut kinds = Vec::new();
        any(keywords, value, &mut kinds)?;
        match value {
            Json::Number(number) => numbers(keywords, number, &mut kinds)?,
            Json::String(text) => self.texts(keywords, text, &mut kinds)?,
            _ => {}
        }
        let own = kinds.into_iter().map(place);
        found.extend(own.map(|(schema, kind)| Mistake { path: path.clone(), schema, kind }));
        let mut seen = self.in_place(schema, keywords, value, path, found)?;
        match value {
            Json::Array(items) => self.lists(schema, keywords, items, path, found)?,
            Json::Object(map) => self.mappings(schema, keywords, map, path, found, &mut seen)?,
            _ => {}
        }
        self.depth -= 1;
        Ok(seen)
    }

    /// Schemas for the same value.
    fn in_place(
        &mut self,
        schema: &'s Json,
        keywords: &'s Map<String, Json>,
        value: &Json,
        path: &mut Vec<Step>,
        found: &mut Found<'s>,
    ) -> Result<Seen, SchemaError> {
        let mut seen = Seen::default();
        if let Some(reference) = text(keywords, "$ref")? {
            let target = match reference.strip_prefix('#') {
                Some("") => Some(self.root),
                Some(pointer) => self.root.pointer(pointer),
                None => None,
            };
            let target = target.ok_or_else(|| SchemaError::Reference(reference.to_owned()))?;
            seen.add(self.check(target, value, path, found)?);
        }
        for schema in list(keywords, "allOf")? {
            seen.add(self.check(schema, value, path, found)?);
        }
        for keyword in ["anyOf", "oneOf"] {
            let alternatives = list(keywords, keyword)?;
            if alternatives.is_empty() {
                continue;
            }
            let (mut refused, mut fitting) = (Vec::new(), 0);
            for alternative in alternatives {
                let mut wrong = Vec::new();
                let looked_at = self.check(alternative, value, path, &mut wrong)?;
                if wrong.is_empty() {
                    fitting += 1;
                    seen.add(looked_at);
                } else {
                    refused.push(wrong);
                }
            }
            let kind = match (keyword, fitting) {
                (_, 0) => Kind::Alternatives(refused),
                ("oneOf", 2..) => Kind::Other("the value fits more than one alternative".into()),
                _ => continue,
            };
            found.push(Mistake { path: path.clone(), schema, kind });
        }
        if let Some(refused) = keywords.get("not") {
            let mut wrong = Vec::new();
            self.check(refused, value, path, &mut wrong)?;
            if wrong.is_empty() {
                let kind = Kind::Other("the value is one that may not be".into());
                found.push(Mistake { path: path.clone(), schema, kind });
            }
        }
        if let Some(condition) = keywords.get("if") {
            let mut wrong = Vec::new();
            let looked_at = self.check(condition, value, path, &mut wrong)?;
            if wrong.is_empty() {
                seen.add(looked_at);
            }
            let then = if wrong.is_empty() { "then" } else { "else" };
            if let Some(then) = keywords.get(then) {
                seen.add(self.check(then, value, path, found)?);
            }
        }
        Ok(seen)
    }

    fn lists(
        &mut self,
        schema: &'s Json,
        keywords: &'s Map<String, Json>,
        items: &[Json],
        path: &mut Vec<Step>,
        found: &mut Found<'s>,
    ) -> Result<(), SchemaError> {
        let mut wrong = |kind| found.push(Mistake { path: path.clone(), schema, kind });
        let length = items.len();
        match size(keywords, "minItems")? {
            Some(1) if length == 0 => wrong(Kind::EmptyList),
            Some(least) if length < least => {
                wrong(Kind::Other(format!(
                    "the list has {length} items; at least {least} are needed"
                )));
            }
            _ => {}
        }
        if let Some(most) = size(keywords, "maxItems")?.filter(|most| length > *most) {
            wrong(Kind::Other(format!("the list has {length} items; at most {most} are allowed")));
        }
        if flag(keywords, "uniqueItems")? {
            let twice = items
                .iter()
                .enumerate()
                .find(|(n, item)| items[..*n].iter().any(|other| same(other, item)));
            if let Some((number, _)) = twice {
                wrong(Kind::Other(format!("item {} of the list is there twice", number + 1)));
            }
        }
        let first = list(keywords, "prefixItems")?;
        for (number, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(number).or_else(|| keywords.get("items")) {
                path.push(Step::Index(number));
                self.check(schema, item, path, found)?;
                path.pop();
            }
        }
        if let Some(wanted) = keywords.get("contains") {
            let mut fitting = 0;
            for item in items {
                let mut wrong = Vec::new();
                self.check(wanted, item, path, &mut wrong)?;
                fitting += usize::from(wrong.is_empty());
            }
            let least = size(keywords, "minContains")?.unwrap_or(1);
            let most = size(keywords, "maxContains")?.unwrap_or(usize::MAX);
            if !(least..=most).contains(&fitting) {
                let kind = Kind::Other(format!(
                    "{fitting} items of the list are of the kind of which there should be {}",
                    if fitting < least {
                        format!("at least {least}")
                    } else {
                        format!("at most {most}")
                    },
                ));
                found.push(Mistake { path: path.clone(), schema, kind });
            }
        }
        Ok(())
    }

    fn mappings(
        &mut self,
        schema: &'s Json,
        keywords: &'s Map<String, Json>,
        map: &Map<String, Json>,
        path: &mut Vec<Step>,
        found: &mut Found<'s>,
        seen: &mut Seen,
    ) -> Result<(), SchemaError> {
        let mut wrong = |kind| found.push(Mistake { path: path.clone(), schema, kind });
        let length = map.len();
        if let Some(least) = size(keywords, "minProperties")?.filter(|least| length < *least) {
            wrong(Kind::Other(format!(
                "the mapping has {length} keys; at least {least} are needed"
            )));
        }
        if let Some(most) = size(keywords, "maxProperties")?.filter(|most| length > *most) {
            wrong(Kind::Other(format!(
                "the mapping has {length} keys; at most {most} are allowed"
            )));
        }
        let mut required = texts(keywords.get("required"), "required")?;
        for (key, needed) in mapping(keywords, "dependentRequired")? {
            if map.contains_key(key) {
                required.extend(texts(Some(needed), "dependentRequired")?);
            }
        }
        for key in required.into_iter().filter(|key| !map.contains_key(*key)) {
            wrong(Kind::MissingKey(key));
        }
        for (key, schema) in mapping(keywords, "dependentSchemas")? {
            if map.contains_key(key) {
                seen.add(self.check(schema, &Json::Object(map.clone()), path, found)?);
            }
        }
        let named = mapping(keywords, "properties")?;
        let matched = mapping(keywords, "patternProperties")?;
        let (names, rest) = (keywords.get("propertyNames"), keywords.get("additionalProperties"));
        let mut unexpected = Vec::new();
        for (key, value) in map {
            path.push(Step::Key(key.clone()));
            if let Some(names) = names {
                self.check(names, &Json::String(key.clone()), path, found)?;
            }
            let mut is_known = false;
            if let Some(schema) = named.get(key) {
                is_known = true;
                self.check(schema, value, path, found)?;
            }
            for (pattern, schema) in matched {
                if self.pattern(pattern)?.is_match(key) {
                    is_known = true;
                    self.check(schema, value, path, found)?;
                }
            }
            match rest {
                Some(Json::Bool(false)) if !is_known => unexpected.push(key.clone()),
                Some(rest) if !is_known => {
                    is_known = true;
                    self.check(rest, value, path, found)?;
                }
                _ => {}
            }
            if is_known {
                seen.keys.insert(key.clone());
            }
            path.pop();
        }
        if let Some(rest) = keywords.get("unevaluatedProperties") {
            let unseen = map.iter().filter(|(key, _)| !seen.all && !seen.keys.contains(*key));
            for (key, value) in unseen {
                match rest {
                    Json::Bool(false) => unexpected.push(key.clone()),
                    rest => {
                        path.push(Step::Key(key.clone()));
                        self.check(rest, value, path, found)?;
                        path.pop();
                    }
                }
            }
            seen.all = true;
        }
        unexpected.dedup();
        if !unexpected.is_empty() {
            found.push(Mistake { path: path.clone(), schema, kind: Kind::UnknownKeys(unexpected) });
        }
        Ok(())
    }

    fn texts(
        &mut self,
        keywords: &'s Map<String, Json>,
        text: &str,
        found: &mut Vec<Kind<'s>>,
    ) -> Result<(), SchemaError> {
        let length = text.chars().count();
        match size(keywords, "minLength")? {
            Some(1) if length == 0 => found.push(Kind::EmptyText),
            Some(least) if length < least => found.push(Kind::Other(format!(
                "the text has {length} characters; at least {least} are needed"
            ))),
            _ => {}
        }
        if let Some(most) = size(keywords, "maxLength")?.filter(|most| length > *most) {
            found.push(Kind::Other(format!(
                "the text has {length} characters; at most {most} are allowed"
            )));
        }
        if let Some(pattern) = self::text(keywords, "pattern")?
            && !self.pattern(pattern)?.is_match(text)
        {
            found.push(Kind::Other(format!("the text does not match the pattern `{pattern}`")));
        }
        Ok(())
    }

    fn pattern(&mut self, pattern: &'s str) -> Result<&Regex, SchemaError> {
        if !self.patterns.contains_key(pattern) {
            let regex = Regex::new(pattern).map_err(|source| SchemaError::Pattern {
                pattern: pattern.to_owned(),
                source: Box::new(source),
            })?;
            self.patterns.insert(pattern, regex);
        }
        Ok(&self.patterns[pattern])
    }
}

/// What values of all types may have to be.
fn any<'s>(
    keywords: &'s Map<String, Json>,
    value: &Json,
    found: &mut Vec<Kind<'s>>,
) -> Result<(), SchemaError> {
    if let Some(wanted) = keywords.get("type") {
        let names = match wanted {
            Json::String(name) => vec![name.as_str()],
            other => texts(Some(other), "type")?,
        };
        let types: Option<Vec<Type>> = names.into_iter().map(type_of_name).collect();
        let types = types.ok_or_else(|| wrong_value("type", wanted))?;
        if !types.iter().any(|wanted| is_of(value, *wanted)) {
            found.push(Kind::Type(types));
        }
    }
    if let Some(wanted) = keywords.get("const").filter(|wanted| !same(wanted, value)) {
        found.push(Kind::Options(vec![wanted]));
    }
    if keywords.contains_key("enum") {
        let options = list(keywords, "enum")?;
        if !options.iter().any(|option| same(option, value)) {
            found.push(Kind::Options(options.iter().collect()));
        }
    }
    Ok(())
}

/// Whether a number is so many times another; whole numbers are not rounded.
fn is_multiple(number: &Number, unit: &Number) -> bool {
    if let (Some(number), Some(unit)) = (number.as_i128(), unit.as_i128()) {
        return unit != 0 && number % unit == 0;
    }
    let of = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
    let parts = of(number) / of(unit);
    (parts - parts.round()).abs() <= f64::EPSILON * parts.abs()
}

/// A keyword that bounds a number, what fits it, and the words for what does not.
type Bound = (&'static str, fn(Ordering) -> bool, &'static str);

fn numbers<'s>(
    keywords: &'s Map<String, Json>,
    number: &Number,
    found: &mut Vec<Kind<'s>>,
) -> Result<(), SchemaError> {
    let limits: [Bound; 4] = [
        ("minimum", Ordering::is_ge, "less than the minimum of"),
        ("maximum", Ordering::is_le, "greater than the maximum of"),
        ("exclusiveMinimum", Ordering::is_gt, "not greater than"),
        ("exclusiveMaximum", Ordering::is_lt, "not less than"),
    ];
    for (keyword, fits, words) in limits {
        if let Some(limit) = self::number(keywords, keyword)?
            && !fits(compare(number, limit))
        {
            found.push(Kind::Other(format!("the value is {words} {limit}")));
        }
    }
    if let Some(unit) = self::number(keywords, "multipleOf")?
        && !is_multiple(number, unit)
    {
        found.push(Kind::Other(format!("the value is no multiple of {unit}")));
    }
    Ok(())
}

fn type_of_name(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "integer" => Type::Integer,
        "number" => Type::Number,
        "string" => Type::String,
        "array" => Type::Array,
        "object" => Type::Object,
        _ => return None,
    })
}

fn is_of(value: &Json, wanted: Type) -> bool {
    match value {
        Json::Null => wanted == Type::Null,
        Json::Bool(_) => wanted == Type::Boolean,
        Json::Number(number) => match wanted {
            Type::Number => true,
            Type::Integer => is_whole(number),
            _ => false,
        },
        Json::String(_) => wanted == Type::String,
        Json::Array(_) => wanted == Type::Array,
        Json::Object(_) => wanted == Type::Object,
    }
}

fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Which of two numbers is greater; whole ones are compared to the last digit.
fn compare(one: &Number, other: &Number) -> Ordering {
    let whole = |number: &Number| {
        number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
            float(one).total_cmp(&float(other))
        }
    }
}

/// Whether two values are the same to a schema, for which 1 and 1.0 are.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => compare(one, other).is_eq(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            let is_in = |(key, value)| other.get(key).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(is_in)
        }
        _ => one == other,
    }
}

fn wrong_value(keyword: &str, value: &Json) -> SchemaError {
    SchemaError::Value { keyword: keyword.to_owned(), value: value.to_string() }
}

fn list<'s>(keywords: &'s Map<String, Json>, name: &str) -> Result<&'s [Json], SchemaError> {
    match keywords.get(name) {
        None => Ok(&[]),
        Some(Json::Array(items)) => Ok(items),
        Some(other) => Err(wrong_value(name, other)),
    }
}

fn mapping<'s>(
    keywords: &'s Map<String, Json>,
    name: &str,
) -> Result<&'s Map<String, Json>, SchemaError> {
    static EMPTY: LazyLock<Map<String, Json>> = LazyLock::new(Map::new);
    match keywords.get(name) {
        None => Ok(&EMPTY),
        Some(Json::Object(map)) => Ok(map),
        Some(other) => Err(wrong_value(name, other)),
    }
}

fn texts<'s>(value: Option<&'s Json>, name: &str) -> Result<Vec<&'s str>, SchemaError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or_else(|| wrong_value(name, value))?;
    items.iter().map(|item| item.as_str().ok_or_else(|| wrong_value(name, value))).collect()
}

fn text<'s>(keywords: &'s Map<String, Json>, name: &str) -> Result<Option<&'s str>, SchemaError> {
    let Some(value) = keywords.get(name) else { return Ok(None) };
    value.as_str().map(Some).ok_or_else(|| wrong_value(name, value))
}

fn number<'s>(
    keywords: &'s Map<String, Json>,
    name: &str,
) -> Result<Option<&'s Number>, SchemaError> {
    match keywords.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => Ok(Some(number)),
        Some(other) => Err(wrong_value(name, other)),
    }
}

fn size(keywords: &Map<String, Json>, name: &str) -> Result<Option<usize>, SchemaError> {
    let Some(number) = number(keywords, name)? else { return Ok(None) };
    // A limit that fits into no memory is none.
    match number.as_f64() {
        Some(size) if size >= 0.0 && size.fract() == 0.0 => {
            Ok(Some(number.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)))
        }
        _ => Err(wrong_value(name, &Json::Number(number.clone()))),
    }
}

fn flag(keywords: &Map<String, Json>, name: &str) -> Result<bool, SchemaError> {
    let Some(value) = keywords.get(name) else { return Ok(false) };
    value.as_bool().ok_or_else(|| wrong_value(name, value))
}
