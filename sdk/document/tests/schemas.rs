//! What fits a schema, held against another validator, and schemas that are none.

use kiln_document::{Language, Limits, Source, check_schema, parse_tree};
use serde_json::{Value, json};

/// What is wrong with a value, in our words.
fn mistakes(schema: &Value, value: &Value) -> Vec<String> {
    let source = Source::new("value.json", value.to_string());
    let tree = parse_tree(&source, Language::Json, &Limits::default()).unwrap();
    match check_schema(&tree, schema, &source, &Limits::default()) {
        Ok(()) => Vec::new(),
        Err(found) => found.into_iter().map(|mistake| mistake.message).collect(),
    }
}

fn values() -> Vec<Value> {
    vec![
        json!(true),
        json!(0),
        json!(1),
        json!(1.0),
        json!(2.5),
        json!(-3),
        json!(7),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("a"),
        json!("ab"),
        json!("häß"),
        json!("b1"),
        json!([]),
        json!([1]),
        json!([1, 1.0]),
        json!(["a", 2]),
        json!([1, 2, 3]),
        json!([{"a": 1}, {"a": 2}]),
        json!({}),
        json!({"a": 1}),
        json!({"a": "x"}),
        json!({"a": 1, "b": 2}),
        json!({"b": 2}),
        json!({"a": 1, "c": {"a": 1}}),
        json!({"x-1": true}),
        json!({"a": 1, "x-1": true, "z": null}),
        json!({"kind": "one", "a": 1}),
        json!({"kind": "two", "b": [1]}),
    ]
}

fn schemas() -> Vec<Value> {
    let own = |keywords: &[Value]| keywords.to_vec();
    own(&[
        json!(true),
        json!(false),
        json!({}),
        json!({"type": "integer"}),
        json!({"type": ["string", "null"]}),
        json!({"type": "number", "format": "double"}),
        json!({"const": 1}),
        json!({"const": {"a": 1}}),
        json!({"enum": ["a", 2.5, [1]]}),
        json!({"minimum": 1, "maximum": 7}),
        json!({"exclusiveMinimum": 0, "exclusiveMaximum": 7}),
        json!({"maximum": 18_446_744_073_709_551_614_u64}),
        json!({"multipleOf": 0.5}),
        json!({"multipleOf": 7}),
        json!({"minLength": 1, "maxLength": 2}),
        json!({"pattern": "^[a-z][0-9]?$"}),
        json!({"minItems": 1, "maxItems": 2}),
        json!({"uniqueItems": true}),
        json!({"items": {"type": "integer"}}),
        json!({"prefixItems": [{"type": "string"}], "items": {"minimum": 2}}),
        json!({"contains": {"const": 1}}),
        json!({"contains": {"const": 1}, "minContains": 2, "maxContains": 2}),
        json!({"required": ["a"]}),
        json!({"minProperties": 1, "maxProperties": 1}),
        json!({"properties": {"a": {"type": "integer"}}}),
        json!({"properties": {"a": {}}, "additionalProperties": false}),
        json!({"additionalProperties": {"type": "integer"}}),
        json!({"patternProperties": {"^x-": {"type": "boolean"}}, "properties": {"a": true},
               "additionalProperties": false}),
        json!({"propertyNames": {"maxLength": 1}}),
        json!({"dependentRequired": {"a": ["b"]}}),
        json!({"dependentSchemas": {"a": {"required": ["b"]}}}),
        json!({"allOf": [{"type": "object"}, {"required": ["b"]}]}),
        json!({"anyOf": [{"type": "string"}, {"minimum": 2}]}),
        json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
        json!({"not": {"type": "object"}}),
        json!({"if": {"type": "object"}, "then": {"required": ["a"]}, "else": {"type": "string"}}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": {
            "type": "object", "properties": {"a": {"type": "integer"}, "c": {"$ref": "#/$defs/tree"}},
            "additionalProperties": false}}}),
        json!({"properties": {"c": {"$ref": "#"}, "a": {"const": 1}}, "required": ["a"]}),
        json!({"properties": {"a": true}, "unevaluatedProperties": false}),
        json!({"allOf": [{"properties": {"a": true}}], "properties": {"b": true},
               "unevaluatedProperties": false}),
        json!({"anyOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                         {"properties": {"b": true}, "required": ["b"]}],
               "unevaluatedProperties": false}),
        json!({"properties": {"kind": true}, "if": {"properties": {"kind": {"const": "one"}}},
               "then": {"properties": {"a": true}}, "else": {"properties": {"b": true}},
               "unevaluatedProperties": {"type": "null"}}),
        json!({"oneOf": [
            {"properties": {"kind": {"const": "one"}, "a": true}, "required": ["kind"], "additionalProperties": false},
            {"properties": {"kind": {"const": "two"}, "b": {"items": {"type": "integer"}}}, "required": ["kind"]}]}),
    ])
}

#[test]
fn the_same_values_fit_as_with_another_validator() {
    let mut fitting = 0;
    for schema in schemas() {
        let other = jsonschema::draft202012::new(&schema).unwrap();
        for value in values() {
            let ours = mistakes(&schema, &value);
            assert_eq!(ours.is_empty(), other.is_valid(&value), "{value} for {schema}: {ours:?}");
            fitting += usize::from(ours.is_empty());
        }
    }
    let all = schemas().len() * values().len();
    assert!(fitting > all / 4 && fitting < all * 3 / 4, "{fitting} of {all} fit");
}

#[test]
fn what_does_not_fit_is_said_in_words() {
    for (schema, value, words) in [
        (json!({"minimum": 3}), json!(2), "the value is less than the minimum of 3"),
        (json!({"exclusiveMaximum": 2}), json!(2), "the value is not less than 2"),
        (json!({"multipleOf": 4}), json!(6), "the value is no multiple of 4"),
        (json!({"minItems": 2}), json!([1]), "the list has 1 items; at least 2 are needed"),
        (json!({"uniqueItems": true}), json!([1, 2, 1]), "item 3 of the list is there twice"),
        (json!({"maxLength": 1}), json!("äö"), "the text has 2 characters; at most 1 are allowed"),
        (json!({"pattern": "^a"}), json!("b"), "the text does not match the pattern `^a`"),
        (
            json!({"oneOf": [{"minimum": 1}, {"minimum": 2}]}),
            json!(3),
            "the value fits more than one alternative",
        ),
        (json!({"not": {}}), json!(3), "the value is one that may not be"),
    ] {
        assert_eq!(mistakes(&schema, &value), [words]);
    }
}

#[test]
fn a_schema_that_is_none_is_refused() {
    for (schema, words) in [
        (json!(3), "it has 3 where a schema should be"),
        (json!({"type": "text"}), "`type` cannot be \"text\""),
        (json!({"minimum": "1"}), "`minimum` cannot be \"1\""),
        (json!({"maxLength": -1}), "`maxLength` cannot be -1"),
        (json!({"unevaluatedItems": false}), "`unevaluatedItems` is not known to this program"),
        (json!({"$ref": "other.json"}), "there is no `other.json` in it"),
        (json!({"$ref": "#/$defs/none"}), "there is no `#/$defs/none` in it"),
        (json!({"pattern": "("}), "the pattern \"(\" is none"),
        (json!({"$ref": "#"}), "it leads into itself without end"),
    ] {
        // A text is of the kind that every one of them looks at, but for the limits of numbers.
        let value = if schema.get("minimum").is_some() { json!(1) } else { json!("a") };
        let words = format!("the schema of this language is broken: {words}");
        assert_eq!(mistakes(&schema, &value), [words]);
    }
}
