//! What well-formed documents become: values, and where they stood.

use kiln_document::{
    Language, Limits, Node, Source, Span, Spanned, Value, parse, parse_tree, schema,
};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Mixed {
    text: Spanned<String>,
    list: Spanned<Vec<Spanned<String>>>,
    small: i8,
    large: u64,
    real: f64,
    flag: bool,
    maybe: Option<Spanned<u8>>,
    choice: Vec<Choice>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Choice {
    Unit,
    Newtype(Spanned<String>),
    Pair(u8, u8),
    Fields { a: Spanned<u8> },
}

const YAML: &str = "text: |
  two
  lines
list: [a, 'b']
small: -3
large: 18446744073709551615
real: 1
flag: true
choice:
- unit
- newtype: x
- pair: [1, 2]
- fields: {a: 5}
";

const TOML: &str = "text = \"two\\nlines\\n\"
list = ['a', 'b']
small = -3
large = 9223372036854775807
real = 1
flag = true
choice = ['unit', {newtype = 'x'}, {pair = [1, 2]}, {fields = {a = 5}}]
";

const JSON: &str = r#"{"text": "two\nlines\n", "list": ["a", "b"], "small": -3, "large": 18446744073709551615,
 "real": 1, "flag": true, "choice": ["unit", {"newtype": "x"}, {"pair": [1, 2]}, {"fields": {"a": 5}}], "maybe": null}"#;

#[test]
fn the_three_languages_give_the_same_values() {
    for (language, text) in [(Language::Yaml, YAML), (Language::Toml, TOML), (Language::Json, JSON)]
    {
        let source = Source::new("f", text);
        let mixed: Mixed = parse(&source, language, &Limits::default()).unwrap();
        assert_eq!(*mixed.text, "two\nlines\n");
        assert_eq!(mixed.list.iter().map(|item| item.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((mixed.small, mixed.real, mixed.flag, mixed.maybe), (-3, 1.0, true, None));
        assert!(mixed.large >= i64::MAX as u64);
        assert!(
            matches!(&mixed.choice[..], [Choice::Unit, Choice::Newtype(x), Choice::Pair(1, 2), Choice::Fields { .. }] if **x == "x")
        );
    }
}

/// The `|` of a block text and the closing bracket of a flow list are left out by the YAML engine.
#[test]
fn spans_cover_what_was_written() {
    let written = |language, text| {
        let source = Source::new("f", text);
        let mixed: Mixed = parse(&source, language, &Limits::default()).unwrap();
        let Choice::Fields { a } = &mixed.choice[3] else { panic!("the fourth choice has fields") };
        let spans = [mixed.text.span, mixed.list.span, mixed.list[1].span, a.span];
        spans.map(|span| source.slice(span).to_owned())
    };
    assert_eq!(written(Language::Yaml, YAML), ["two\n  lines", "[a, 'b'", "'b'", "5"]);
    assert_eq!(written(Language::Toml, TOML), ["\"two\\nlines\\n\"", "['a', 'b']", "'b'", "5"]);
    assert_eq!(
        written(Language::Json, JSON),
        ["\"two\\nlines\\n\"", "[\"a\", \"b\"]", "\"b\"", "5"]
    );
}

#[test]
fn the_keys_of_a_map_know_where_they_are_and_are_found_by_their_text() {
    type Places = std::collections::BTreeMap<Spanned<String>, Spanned<u8>>;
    for (language, text) in [
        (Language::Yaml, "one: 1\ntwo: 2\n"),
        (Language::Toml, "one = 1\ntwo = 2\n"),
        (Language::Json, "{\"one\": 1, \"two\": 2}"),
    ] {
        let source = Source::new("f", text);
        let places: Places = parse(&source, language, &Limits::default()).unwrap();
        assert_eq!(places["two"].value, 2);
        let (key, _) = places.get_key_value("two").unwrap();
        assert_eq!(text[key.span.start..key.span.end].trim_matches('"'), "two", "{language:?}");
    }
    let set: std::collections::HashSet<Spanned<String>> =
        [Spanned::new("a".to_owned(), Span { start: 1, end: 2 }), "a".to_owned().into()].into();
    assert_eq!(set.len(), 1);
}

#[test]
fn a_block_list_spans_from_its_first_to_its_last_item() {
    let source = Source::new("f", "key:\n  - one\n  - two: 2\n    three: 'é'\nnext: 1\n");
    let tree = parse_tree(&source, Language::Yaml, &Limits::default()).unwrap();
    let list = tree.get("key").unwrap();
    assert_eq!(source.slice(list.span), "- one\n  - two: 2\n    three: 'é'");
    assert_eq!(source.slice(tree.entry("next").unwrap().key.span), "next");
    assert_eq!(tree.span, Span::new(0, source.text().trim_end().len()));
}

#[test]
fn aliases_point_at_their_definition_and_merges_are_applied() {
    let text = "base: &base\n  a: one\n  b: two\nuse:\n  <<: *base\n  b: mine\nitem: *base\n";
    let source = Source::new("f", text);
    let tree = parse_tree(&source, Language::Yaml, &Limits::default()).unwrap();
    let used = tree.get("use").unwrap();
    let text_of = |node: &Node| match &node.value {
        Value::Text(text) => text.clone(),
        other => panic!("{other:?} is no text"),
    };
    assert_eq!(text_of(used.get("a").unwrap()), "one");
    assert_eq!(text_of(used.get("b").unwrap()), "mine");
    let item = tree.get("item").unwrap();
    assert_eq!(source.position(item.get("a").unwrap().span.start).line, 2);
}

#[test]
fn words_that_yaml_once_took_for_booleans_are_text() {
    let source = Source::new("f", "a: yes\nb: off\nc: true\non: 1\n");
    let tree = parse_tree(&source, Language::Yaml, &Limits::default()).unwrap();
    assert_eq!(tree.get("a").unwrap().value, Value::Text("yes".into()));
    assert_eq!(tree.get("b").unwrap().value, Value::Text("off".into()));
    assert_eq!(tree.get("c").unwrap().value, Value::Bool(true));
    assert!(tree.get("on").is_some());
}

#[test]
fn other_deserialisers_read_spanned_values_as_plain_ones() {
    let value: Spanned<Vec<Spanned<u8>>> = serde_json::from_str("[1, 2]").unwrap();
    assert_eq!(value, Spanned::from(vec![Spanned::from(1), Spanned::from(2)]));
    assert_eq!(serde_json::to_string(&value).unwrap(), "[1,2]");
}

#[test]
fn the_schema_is_that_of_the_plain_type_and_ends_its_line() {
    let text = schema::<Mixed>();
    assert!(text.ends_with("}\n") && !text.ends_with("\n\n"));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["properties"]["text"]["type"], "string");
    assert_eq!(value["additionalProperties"], false);
    assert_eq!(text, schema::<Mixed>());
}
