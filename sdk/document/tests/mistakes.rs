//! Whole screens: what a user sees for the mistakes people make, in all three languages.

use std::collections::BTreeMap;

use kiln_document::{Language, Limits, Source, Spanned, parse, render_all};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "only the mistakes matter here")]
struct Recipe {
    api_version: Version,
    name: Spanned<String>,
    #[serde(default)]
    steps: Vec<Step>,
    oven: Option<Oven>,
    servings: Option<u8>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    serve: Option<Serve>,
    bake: Option<Bake>,
    at: Option<Even>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Version {
    /// The first.
    V1,
    /// The second.
    V2,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the mistakes matter here")]
struct Step {
    run: Spanned<String>,
    #[serde(default)]
    quiet: bool,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the mistakes matter here")]
struct Oven {
    degrees: f32,
    fan: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only the mistakes matter here")]
enum Serve {
    Line(String),
    Words(Vec<String>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only the mistakes matter here")]
enum Bake {
    Oven(Oven),
    Not,
}

/// A rule that no schema can say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(try_from = "u32")]
struct Even;

impl TryFrom<u32> for Even {
    type Error = String;

    fn try_from(value: u32) -> Result<Self, String> {
        if value.is_multiple_of(2) { Ok(Self) } else { Err(format!("{value} is odd")) }
    }
}

fn screen(name: &str, text: &str) -> String {
    let source = Source::new(name, text);
    let language = Language::of(name).unwrap();
    let screen = match parse::<Recipe>(&source, language, &Limits::default()) {
        Ok(recipe) => format!("{recipe:?}\n"),
        Err(mistakes) => render_all(&mistakes, &source),
    };
    assert!(screen.ends_with('\n'), "{screen}");
    screen
}

#[test]
fn all_mistakes_of_a_file_come_at_once() {
    let text = "apiVersion: v3
nmae: bread
steps:
- run: 22.04
  quiet: maybe
- runn: mix
- mix
oven:
  degres: 200
  fan: 1
servings: 900
labels:
  version: 1.10
  ok: yes
colour: red
";
    insta::assert_snapshot!(screen("recipe.yaml", text), @r#"
    error: expected one of `v1`, `v2`, found `v3`
     --> recipe.yaml:1:13
      |
    1 | apiVersion: v3
      |             ^^ did you mean `v1`?

    error: unknown key `nmae`
     --> recipe.yaml:2:1
      |
    2 | nmae: bread
      | ^^^^ did you mean `name`?

    error: expected a string, found a number
     --> recipe.yaml:4:8
      |
    4 | - run: 22.04
      |        ^^^^^ expected a string
      |
      = help: write "22.04", with quotes, to make it text

    error: expected `true` or `false`, found a string
     --> recipe.yaml:5:10
      |
    5 |   quiet: maybe
      |          ^^^^^ expected `true` or `false`

    error: unknown key `runn`
     --> recipe.yaml:6:3
      |
    6 | - runn: mix
      |   ^^^^ did you mean `run`?

    error: expected a mapping, found a string
     --> recipe.yaml:7:3
      |
    7 | - mix
      |   ^^^ expected a mapping

    error: unknown key `degres`
     --> recipe.yaml:9:3
      |
    9 |   degres: 200
      |   ^^^^^^ did you mean `degrees`?

    error: expected `true` or `false`, found a number
      --> recipe.yaml:10:8
       |
    10 |   fan: 1
       |        ^ expected `true` or `false`

    error: the value is greater than the maximum of 255
      --> recipe.yaml:11:11
       |
    11 | servings: 900
       |           ^^^

    error: expected a string, found a number
      --> recipe.yaml:13:12
       |
    13 |   version: 1.10
       |            ^^^^ expected a string
       |
       = help: write "1.10", with quotes, to make it text

    error: unknown key `colour`
      --> recipe.yaml:15:1
       |
    15 | colour: red
       | ^^^^^^
       |
       = note: known keys are `apiVersion`, `at`, `bake`, `labels`, `name`, `oven`, `serve`, `servings`, `steps`
    "#);
}

#[test]
fn kinds_that_do_not_fit_say_what_was_expected() {
    insta::assert_snapshot!(
        screen(
            "recipe.yaml",
            "apiVersion: v1\nname:\n  a: b\nsteps: mix\nservings: many\nserve: 7\n"
        ),
        @r#"
    error: expected a string, found a mapping
     --> recipe.yaml:3:3
      |
    3 |   a: b
      |   ^^^^ expected a string

    error: expected a list, found a string
     --> recipe.yaml:4:8
      |
    4 | steps: mix
      |        ^^^ expected a list
      |
      = help: begin each item of a list with `- `, or write `[…]`

    error: expected a whole number, found a string
     --> recipe.yaml:5:11
      |
    5 | servings: many
      |           ^^^^ expected a whole number

    error: expected a string or a list, found a number
     --> recipe.yaml:6:8
      |
    6 | serve: 7
      |        ^ expected a string or a list
      |
      = help: write "7", with quotes, to make it text
    "#
    );
    insta::assert_snapshot!(
        screen("recipe.yaml", "apiVersion: v1\nname:\nsteps:\nserve: [a, 1]\n"),
        @r#"
    error: expected a string, found nothing
     --> recipe.yaml:2:1
      |
    2 | name:
      | ^^^^ expected a string
      |
      = help: give a value or remove the key

    error: expected a list, found nothing
     --> recipe.yaml:3:1
      |
    3 | steps:
      | ^^^^^ expected a list
      |
      = help: give a value or remove the key

    error: expected a string, found a number
     --> recipe.yaml:4:12
      |
    4 | serve: [a, 1]
      |            ^ expected a string
      |
      = help: write "1", with quotes, to make it text
    "#
    );
    insta::assert_snapshot!(
        screen("recipe.yaml", "apiVersion: 1\nname: x\nbake: {oven: {fan: 3}}\n"),
        @r#"
    error: expected a string, found a number
     --> recipe.yaml:1:13
      |
    1 | apiVersion: 1
      |             ^ expected a string
      |
      = help: write "1", with quotes, to make it text

    error: missing key `degrees`
     --> recipe.yaml:3:15
      |
    3 | bake: {oven: {fan: 3}}
      |               ^^^ this mapping has no `degrees`

    error: expected `true` or `false`, found a number
     --> recipe.yaml:3:20
      |
    3 | bake: {oven: {fan: 3}}
      |                    ^ expected `true` or `false`
    "#
    );
    insta::assert_snapshot!(screen("recipe.yaml", "apiVersion: v1\nname: x\nbake: nto\n"), @"
    error: expected `not`, found `nto`
     --> recipe.yaml:3:7
      |
    3 | bake: nto
      |       ^^^ did you mean `not`?
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "- a\n- b\n"), @"
    error: expected a mapping, found a list
     --> recipe.yaml:1:1
      |
    1 | - a
      | ^^^ expected a mapping
    ");
    insta::assert_snapshot!(screen("recipe.yaml", ""), @"
    error: the file is empty
     --> recipe.yaml:1:1
      |
    1 |
      | ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "# nothing\n"), @"
    error: the file is empty
     --> recipe.yaml:1:1
      |
    1 | # nothing
      | ^
    ");
}

#[test]
fn a_rule_outside_the_schema_points_at_its_value() {
    insta::assert_snapshot!(screen("recipe.yaml", "apiVersion: v1\nname: x\nat: 3\n"), @"
    error: 3 is odd
     --> recipe.yaml:3:5
      |
    3 | at: 3
      |     ^
    ");
}

#[test]
fn keys_given_twice_show_both_places() {
    insta::assert_snapshot!(
        screen("recipe.yaml", "name: a\noven:\n  fan: true\n  degrees: 1\n  fan: false\nname: b\n"),
        @"
    error: key `fan` is given twice
     --> recipe.yaml:5:3
      |
    3 |   fan: true
      |   --- first given here
    4 |   degrees: 1
    5 |   fan: false
      |   ^^^ given again here

    error: key `name` is given twice
     --> recipe.yaml:6:1
      |
    1 | name: a
      | ---- first given here
    ...
    6 | name: b
      | ^^^^ given again here
    "
    );
    insta::assert_snapshot!(
        screen("recipe.toml", "name = 'a'\n[oven]\nfan = true\nfan = false\n"),
        @"
    error: key `fan` is given twice
     --> recipe.toml:4:1
      |
    3 | fan = true
      | --- first given here
    4 | fan = false
      | ^^^ given again here
    "
    );
    insta::assert_snapshot!(screen("recipe.json", "{\"name\": \"a\", \"name\": \"b\"}"), @r#"
    error: key `name` is given twice
     --> recipe.json:1:15
      |
    1 | {"name": "a", "name": "b"}
      |  ------       ^^^^^^ given again here
      |  |
      |  first given here
    "#);
}

#[test]
fn syntax_errors_carry_their_place() {
    insta::assert_snapshot!(screen("recipe.yaml", "name: \"bread\nsteps: []\n"), @r#"
    error: unclosed quote
     --> recipe.yaml:1:7
      |
    1 | name: "bread
      |       ^
    "#);
    insta::assert_snapshot!(screen("recipe.yaml", "name: bread\n  steps: []\n"), @"
    error: mapping values are not allowed in this context
     --> recipe.yaml:2:8
      |
    2 |   steps: []
      |        ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "name: [a, b\nsteps: 1\n"), @"
    error: illegal placement of ':' indicator
     --> recipe.yaml:2:6
      |
    2 | steps: 1
      |      ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "name: a\n\tsteps: 1\n"), @"
    error: while scanning a plain scalar, found a tab
     --> recipe.yaml:1:7
      |
    1 | name: a
      |       ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "name: *nobody\n"), @"
    error: alias references unknown anchor
     --> recipe.yaml:1:7
      |
    1 | name: *nobody
      |       ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "name: @x\n"), @"
    error: unexpected character: `@'
     --> recipe.yaml:1:7
      |
    1 | name: @x
      |       ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "name: !secret x\n"), @"
    error: unsupported tag `!secret`
     --> recipe.yaml:1:15
      |
    1 | name: !secret x
      |               ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "name: a\n---\nname: b\n"), @"
    error: the file holds more than one YAML document
     --> recipe.yaml:3:1
      |
    3 | name: b
      | ^
      |
      = help: remove the `---` line and what follows it
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "[a]: b\n"), @"
    error: a key must be text, not a list or a mapping
     --> recipe.yaml:1:1
      |
    1 | [a]: b
      | ^
    ");
    insta::assert_snapshot!(screen("recipe.yaml", "degrees: .inf\n"), @"
    error: infinite numbers are not allowed
     --> recipe.yaml:1:10
      |
    1 | degrees: .inf
      |          ^^^^
    ");
    insta::assert_snapshot!(screen("recipe.toml", "name = bread\nsteps = [\n"), @"
    error: string values must be quoted, expected literal string
     --> recipe.toml:1:8
      |
    1 | name = bread
      |        ^^^^^

    error: unclosed array, expected `]`
     --> recipe.toml:2:10
      |
    2 | steps = [
      |          ^
    ");
    insta::assert_snapshot!(screen("recipe.toml", "servings = 99999999999999999999\n"), @"
    error: the number does not fit into 64 bits
     --> recipe.toml:1:12
      |
    1 | servings = 99999999999999999999
      |            ^^^^^^^^^^^^^^^^^^^^
    ");
    insta::assert_snapshot!(screen("recipe.json", "{\"name\": \"bread\",}"), @r#"
    error: expected a key in double quotes, found `}`
     --> recipe.json:1:18
      |
    1 | {"name": "bread",}
      |                  ^
    "#);
    insta::assert_snapshot!(screen("recipe.json", "{\"name\": bread}"), @r#"
    error: `bread` is not a JSON value
     --> recipe.json:1:10
      |
    1 | {"name": bread}
      |          ^^^^^
      |
      = help: text stands in double quotes
    "#);
    insta::assert_snapshot!(screen("recipe.json", "{\"name\": \"bread\n}"), @r#"
    error: the string is not closed
     --> recipe.json:1:10
      |
    1 | {"name": "bread
      |          ^^^^^^
    "#);
    insta::assert_snapshot!(screen("recipe.json", "{\"name\": \"\\q\"}"), @r#"
    error: the string has an escape or a character that JSON does not know
     --> recipe.json:1:10
      |
    1 | {"name": "\q"}
      |          ^^^^
    "#);
    insta::assert_snapshot!(screen("recipe.json", "[1, 02]"), @"
    error: this is not a number that JSON knows
     --> recipe.json:1:5
      |
    1 | [1, 02]
      |     ^^
    ");
    insta::assert_snapshot!(screen("recipe.json", "{} {}"), @"
    error: expected the end of the file, found `{`
     --> recipe.json:1:4
      |
    1 | {} {}
      |    ^
    ");
    insta::assert_snapshot!(screen("recipe.json", ""), @"
    error: expected a value, found the end of the file
     --> recipe.json:1:1
      |
    1 |
      | ^
    ");
}

#[test]
fn toml_and_json_get_the_same_words() {
    insta::assert_snapshot!(
        screen(
            "recipe.toml",
            "apiVersion = 'v1'\nnmae = 'x'\n[[steps]]\nrun = 1\n[oven]\ndegres = 1\n"
        ),
        @r#"
    error: unknown key `nmae`
     --> recipe.toml:2:1
      |
    2 | nmae = 'x'
      | ^^^^ did you mean `name`?

    error: expected a string, found a number
     --> recipe.toml:4:7
      |
    4 | run = 1
      |       ^ expected a string
      |
      = help: write "1", with quotes, to make it text

    error: unknown key `degres`
     --> recipe.toml:6:1
      |
    6 | degres = 1
      | ^^^^^^ did you mean `degrees`?
    "#
    );
    insta::assert_snapshot!(
        screen(
            "recipe.json",
            "{\n  \"apiVersion\": \"v1\",\n  \"nmae\": \"x\",\n  \"steps\": [{\"run\": 1}]\n}\n"
        ),
        @r#"
    error: unknown key `nmae`
     --> recipe.json:3:3
      |
    3 |   "nmae": "x",
      |   ^^^^^^ did you mean `name`?

    error: expected a string, found a number
     --> recipe.json:4:21
      |
    4 |   "steps": [{"run": 1}]
      |                     ^ expected a string
      |
      = help: write "1", with quotes, to make it text
    "#
    );
}
