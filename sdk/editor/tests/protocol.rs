//! An editor's talk with the server, message by message.

use kiln_document::{Language, Limits, parse};
use kiln_editor::{Described, Language as _, MAX_DOCUMENTS, Server, serve};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A small build file.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Recipe {
    /// The image it starts from.
    from: String,
    /// How often.
    #[serde(default)]
    times: Option<Times>,
    /// Steps, in order.
    #[serde(default)]
    steps: Vec<Step>,
}

/// A step.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Step {
    /// A shell command.
    run: String,
    /// Whether to run it at all.
    #[serde(default)]
    skip: bool,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Times {
    /// Not again.
    Once,
    /// And again.
    Always,
}

fn recipes() -> Described {
    let schema = serde_json::from_str(&kiln_document::schema::<Recipe>()).unwrap();
    let language = Described::new("recipe", &["recipe.yaml", "recipe.json"], schema);
    language.read_by(|source| {
        let language = Language::of(source.name()).unwrap();
        parse::<Recipe>(source, language, &Limits::default()).err().unwrap_or_default()
    })
}

/// A server after the greeting.
fn server() -> Server {
    let mut server = Server::new(vec![Box::new(recipes())]);
    let hello = json!({"id": 1, "method": "initialize", "params": {"capabilities": {}}});
    let answer = server.handle(&hello);
    assert_eq!(answer[0]["result"]["capabilities"]["positionEncoding"], "utf-16");
    assert!(server.handle(&json!({"method": "initialized", "params": {}})).is_empty());
    server
}

const URI: &str = "file:///home/me/re%63ipe.yaml";

fn open(server: &mut Server, uri: &str, text: &str) -> Vec<Value> {
    let document = json!({"uri": uri, "languageId": "yaml", "version": 1, "text": text});
    server.handle(&json!({"method": "textDocument/didOpen", "params": {"textDocument": document}}))
}

fn change(server: &mut Server, version: u64, change: Value) -> Vec<Value> {
    let params =
        json!({"textDocument": {"uri": URI, "version": version}, "contentChanges": [change]});
    server.handle(&json!({"method": "textDocument/didChange", "params": params}))
}

fn ask(server: &mut Server, method: &str, line: u64, character: u64) -> Value {
    let position = json!({"line": line, "character": character});
    let range = json!({"start": position, "end": position});
    let params = json!({"textDocument": {"uri": URI}, "position": position, "range": range});
    server.handle(&json!({"id": 7, "method": method, "params": params}))[0]["result"].clone()
}

fn messages(published: &[Value]) -> Vec<String> {
    let found = published[0]["params"]["diagnostics"].as_array().unwrap().iter();
    found.map(|one| one["message"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_mistake_is_seen_while_typing_and_put_right_by_its_fix() {
    let mut server = server();
    assert_eq!(messages(&open(&mut server, URI, "# 😀 good\nfrom: debian:13\n")), [""; 0]);
    // The editor types an `x` into the key, after a comment with a character of two units.
    let at = json!({"line": 1, "character": 1});
    let typed = change(&mut server, 2, json!({"range": {"start": at, "end": at}, "text": "x"}));
    assert_eq!(messages(&typed), ["unknown key `fxrom` (did you mean `from`?)"]);
    assert_eq!(typed[0]["params"]["version"], 2);
    let range = &typed[0]["params"]["diagnostics"][0]["range"];
    assert_eq!(range["end"], json!({"line": 1, "character": 5}));

    let actions = ask(&mut server, "textDocument/codeAction", 1, 3);
    assert_eq!(actions[0]["title"], "change to `from`");
    let edit = &actions[0]["edit"]["changes"][URI][0];
    let fixed = change(&mut server, 3, json!({"range": edit["range"], "text": edit["newText"]}));
    assert_eq!(messages(&fixed), [""; 0]);
    assert_eq!(ask(&mut server, "textDocument/codeAction", 1, 3), json!([]));

    let params = json!({"textDocument": {"uri": URI}});
    let closed = server.handle(&json!({"method": "textDocument/didClose", "params": params}));
    assert_eq!(messages(&closed), [""; 0]);
}

#[test]
fn keys_and_values_are_offered_and_explained() {
    let mut server = server();
    open(&mut server, URI, "from: a\nsteps:\n- run: make\n  s\ntimes: \n");
    let labels = |answer: &Value| -> Vec<String> {
        let all = answer.as_array().unwrap().iter();
        all.map(|one| one["label"].as_str().unwrap().to_owned()).collect()
    };
    let keys = ask(&mut server, "textDocument/completion", 3, 3);
    assert_eq!(labels(&keys), ["run", "skip"]);
    assert_eq!(keys[1]["textEdit"]["newText"], "skip: ");
    assert_eq!(keys[1]["textEdit"]["range"]["start"], json!({"line": 3, "character": 2}));
    assert_eq!(
        keys[1]["documentation"]["value"],
        "Whether to run it at all.\n\nDefault: `false`\n\nOne of `true`, `false`"
    );
    let values = ask(&mut server, "textDocument/completion", 4, 7);
    assert_eq!(labels(&values), ["once", "always"]);
    let hover = ask(&mut server, "textDocument/hover", 2, 3);
    assert_eq!(hover["contents"]["value"], "`run`: A shell command.");
    assert_eq!(ask(&mut server, "textDocument/hover", 99, 0), Value::Null);
}

#[test]
fn json_is_offered_with_its_quotes() {
    let language = recipes();
    let text = "{\"from\": \"a\", \"steps\": [{}]}";
    let source = kiln_document::Source::new("recipe.json", text);
    let at = text.find("{}").unwrap() + 1;
    let found: Vec<String> =
        language.complete(&source, at).into_iter().map(|one| one.insert).collect();
    assert_eq!(found, ["\"run\": ", "\"skip\": "]);
}

#[test]
fn toml_is_offered_and_explained_in_tables_as_in_brackets() {
    let language = recipes();
    let written = |text: &str| -> Vec<String> {
        let at = text.find('|').unwrap();
        let source = kiln_document::Source::new("recipe.toml", text.replacen('|', "", 1));
        language.complete(&source, at).into_iter().map(|one| one.insert).collect()
    };
    assert_eq!(written("from = \"a\"\n[[steps]]\n|"), ["run = ", "skip = "]);
    assert_eq!(written("steps = [{ run = \"make\", s| }]"), ["run = ", "skip = "]);
    assert_eq!(written("[[steps]]\ns|kip = true"), ["run", "skip"]);
    assert_eq!(written("[[steps]]\nskip = |"), ["true", "false"]);
    assert_eq!(written("times = |"), ["\"once\"", "\"always\""]);
    assert_eq!(written("times = \"|\""), ["once", "always"]);
    assert!(written("[[st|").contains(&"steps".to_owned()));

    let source = kiln_document::Source::new("recipe.toml", "[[steps]]\nrun = \"make\"\n");
    let hover = language.hover(&source, 11).unwrap();
    assert_eq!((source.slice(hover.span), hover.text.as_str()), ("run", "`run`: A shell command."));
}

#[test]
fn numbers_where_text_is_meant_are_put_in_quotes() {
    let mut server = server();
    open(&mut server, URI, "from: 13\n");
    let actions = ask(&mut server, "textDocument/codeAction", 0, 6);
    assert_eq!(actions[0]["edit"]["changes"][URI][0]["newText"], "\"13\"");
}

#[test]
fn the_protocol_has_an_order() {
    let mut server = Server::new(Vec::new());
    let code = |server: &mut Server, method: &str| {
        server.handle(&json!({"id": "a", "method": method}))[0]["error"]["code"].clone()
    };
    assert_eq!(code(&mut server, "textDocument/hover"), -32002);
    assert_eq!(code(&mut server, "initialize"), Value::Null);
    assert_eq!(code(&mut server, "initialize"), -32600);
    assert_eq!(code(&mut server, "workspace/symbol"), -32601);
    assert_eq!(code(&mut server, "shutdown"), Value::Null);
    assert_eq!(code(&mut server, "textDocument/hover"), -32600);
    server.handle(&json!({"method": "exit"}));
    assert!(server.is_done() && !server.was_abandoned());
    let mut left = Server::new(Vec::new());
    left.handle(&json!({"method": "exit"}));
    assert!(left.was_abandoned());
}

#[test]
fn no_editor_takes_all_memory() {
    let mut server = server();
    for number in 0..=MAX_DOCUMENTS {
        let opened = open(&mut server, &format!("file:///{number}/recipe.yaml"), "from: a\n");
        assert_eq!(opened.is_empty(), number == MAX_DOCUMENTS);
    }
    let large = format!("from: {}\n", "a".repeat(Limits::default().bytes));
    let mut server = self::server();
    assert_eq!(messages(&open(&mut server, URI, &large)), ["the file is too large to be read"]);
    assert_eq!(ask(&mut server, "textDocument/completion", 0, 0), json!([]));
    assert!(open(&mut server, "file:///other.txt", "x").is_empty(), "in no language");
}

proptest! {
    #[test]
    fn whatever_is_typed_is_answered(
        text in "[a-z{}\\[\\]:,'\"# \n|>-]{0,60}",
        typed in "[a-z{}:\n😀-]{0,9}",
        place in (0..9_u64, 0..30_u64, 0..9_u64, 0..30_u64),
    ) {
        let mut server = server();
        open(&mut server, URI, &text);
        let (line, character, end_line, end_character) = place;
        let range = json!({
            "start": {"line": line, "character": character},
            "end": {"line": end_line, "character": end_character},
        });
        change(&mut server, 2, json!({"range": range, "text": typed}));
        for method in ["hover", "completion", "codeAction"] {
            ask(&mut server, &format!("textDocument/{method}"), line, character);
        }
    }

    #[test]
    fn whatever_comes_over_the_stream_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut server = Server::new(vec![Box::new(recipes())]);
        // Either is fine; a panic is not.
        drop(serve(&mut server, &mut &bytes[..], &mut Vec::new()));
    }
}
