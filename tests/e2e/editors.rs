//! `kiln lsp` as editors use it, and `kiln lint`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use kiln_tests::{Kiln, Project};
use serde_json::{Value, json};

/// An editor with one file open.
struct Editor {
    program: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    uri: String,
    /// What it shows.
    text: String,
    version: u64,
}

impl Editor {
    /// Starts the server, and opens a file.
    fn open(arguments: &[&str], name: &str, text: &str) -> Self {
        let kiln = Kiln::new();
        let mut command = kiln.command(&[&["lsp"][..], arguments].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let input = program.stdin.take().unwrap();
        let output = BufReader::new(program.stdout.take().unwrap());
        let uri = format!("file:///home/me/{name}");
        let mut editor = Self { program, input, output, uri, text: text.to_owned(), version: 1 };
        let capabilities = editor.ask("initialize", json!({"processId": null, "capabilities": {}}));
        assert_eq!(capabilities["capabilities"]["textDocumentSync"]["change"], 2);
        editor.tell("initialized", json!({}));
        let document = json!({"uri": editor.uri, "languageId": "", "version": 1, "text": text});
        editor.tell("textDocument/didOpen", json!({"textDocument": document}));
        editor
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len()).unwrap();
        self.input.flush().unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the server is gone");
            match line.trim().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse().unwrap(),
                Some(_) => {}
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.output.read_exact(&mut bytes).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": 9, "method": method, "params": params}));
        let answer = self.receive();
        assert_eq!(answer["id"], 9, "{answer}");
        answer["result"].clone()
    }

    /// What is wrong, as the server says once a document has changed.
    fn problems(&mut self) -> Vec<Value> {
        let told = self.receive();
        assert_eq!(told["method"], "textDocument/publishDiagnostics");
        assert_eq!(told["params"]["version"], self.version);
        told["params"]["diagnostics"].as_array().unwrap().clone()
    }

    /// Changes a range of the text, here and there.
    fn change(&mut self, range: &Value, text: &str) {
        self.version += 1;
        let at = |place: &Value| {
            let (line, character) =
                (place["line"].as_u64().unwrap(), place["character"].as_u64().unwrap());
            let lines: Vec<&str> = self.text.split_inclusive('\n').collect();
            let before: usize = lines[..line as usize].iter().map(|line| line.len()).sum();
            before + character as usize
        };
        let span = at(&range["start"])..at(&range["end"]);
        self.text.replace_range(span, text);
        let document = json!({"uri": self.uri, "version": self.version});
        let changes = json!([{"range": range, "text": text}]);
        self.tell(
            "textDocument/didChange",
            json!({"textDocument": document, "contentChanges": changes}),
        );
    }

    /// Applies the first fix that is offered for a problem.
    fn fix(&mut self, problem: &Value) -> String {
        let asked = json!({
            "textDocument": {"uri": self.uri},
            "range": problem["range"],
            "context": {"diagnostics": [problem]},
        });
        let action = self.ask("textDocument/codeAction", asked)[0].clone();
        let uri = self.uri.clone();
        for edit in action["edit"]["changes"][&uri].as_array().unwrap() {
            self.change(&edit["range"], edit["newText"].as_str().unwrap());
        }
        action["title"].as_str().unwrap().to_owned()
    }

    fn close(mut self) {
        assert_eq!(self.ask("shutdown", Value::Null), Value::Null);
        self.tell("exit", Value::Null);
        assert!(self.program.wait().unwrap().success());
    }
}

fn range(line: u64, start: u64, end: u64) -> Value {
    json!({"start": {"line": line, "character": start}, "end": {"line": line, "character": end}})
}

#[test]
fn an_editor_sees_the_mistake_in_a_dockerfile_and_applies_the_fix() {
    let mut editor = Editor::open(&[], "Dockerfile", "FROM debian:13\nRUN make\n");
    assert_eq!(editor.problems(), [Value::Null; 0]);
    editor.change(&range(1, 3, 3), "N");
    let problems = editor.problems();
    assert!(
        problems[0]["message"].as_str().unwrap().contains("unknown instruction: RUNN"),
        "{problems:?}"
    );
    assert_eq!(problems[0]["range"], range(1, 0, 4));
    assert_eq!(editor.fix(&problems[0]), "change to `RUN`");
    assert_eq!(editor.problems(), [Value::Null; 0]);
    assert_eq!(editor.text, "FROM debian:13\nRUN make\n");

    editor.change(&range(1, 8, 8), "\nCMD serve");
    let problems = editor.problems();
    assert_eq!(problems[0]["code"], "JSONArgsRecommended");
    editor.fix(&problems[0]);
    assert_eq!(editor.problems(), [Value::Null; 0]);
    assert_eq!(editor.text, "FROM debian:13\nRUN make\nCMD [\"serve\"]\n");
    editor.close();
}

#[test]
fn an_editor_sees_the_mistake_in_a_mockerfile_and_applies_the_fix() {
    let text = "apiVersion: v1alpha1\nimages:\n- name: app\n  from: debian:13\n";
    let mut editor = Editor::open(&[], "Mockerfile.yaml", text);
    assert_eq!(editor.problems(), [Value::Null; 0]);
    editor.change(&range(3, 2, 6), "form");
    let problems = editor.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(editor.fix(&problems[0]), "change to `from`");
    assert_eq!(editor.problems(), [Value::Null; 0]);
    assert_eq!(editor.text, text);
    let position =
        json!({"textDocument": {"uri": editor.uri}, "position": {"line": 3, "character": 3}});
    let hover = editor.ask("textDocument/hover", position.clone());
    assert!(hover["contents"]["value"].as_str().unwrap().starts_with("`from`: "), "{hover}");
    let offered = editor.ask("textDocument/completion", position);
    assert!(
        offered.as_array().unwrap().iter().any(|one| one["label"] == "entrypoint"),
        "{offered}"
    );
    editor.close();
}

#[test]
fn a_schema_is_enough_for_an_editor_to_know_a_language() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/schemas/hardened.json");
    let known = format!("image.yaml={schema}");
    let mut editor =
        Editor::open(&["--schema", &known], "image.yaml", "name: web\nbulder: alpine\n");
    let problems = editor.problems();
    assert_eq!(editor.fix(&problems[0]), "change to `builder`");
    assert_eq!(editor.problems(), [Value::Null; 0]);
    editor.close();
}

#[test]
fn lint_says_what_is_doubtful_and_puts_right_what_it_can() {
    let text = "FROM debian:13 as base\nmaintainer me\nENV A b\nWORKDIR /a$NOWHERE\n";
    let project =
        Project::new(&[("Dockerfile", text), ("good/Dockerfile", "FROM debian:13\nRUN make\n")]);
    let file = project.path().join("Dockerfile").display().to_string();
    let good = project.path().join("good/Dockerfile").display().to_string();
    let kiln = Kiln::new();
    kiln.run(&["lint", &good]).succeeds();

    let told = kiln.run(&["lint", "--format=sarif", &file, &good]).fails();
    let log: Value = serde_json::from_slice(&told.stdout).unwrap();
    let rules = |log: &Value| -> Vec<String> {
        let results = log["runs"][0]["results"].as_array().unwrap().iter();
        results.map(|one| one["ruleId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(log["version"], "2.1.0");
    assert!(rules(&log).contains(&"FromAsCasing".to_owned()), "{log}");

    let left = kiln.run(&["lint", "--fix", "--format=sarif", &file]).fails();
    let left: Value = serde_json::from_slice(&left.stdout).unwrap();
    assert_eq!(rules(&left), ["UndefinedVar"]);
    let fixed = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        fixed,
        "FROM debian:13 AS base\nLABEL org.opencontainers.image.authors=\"me\"\nENV A=b\nWORKDIR /a$NOWHERE\n"
    );
}

#[test]
fn lint_knows_mockerfiles_and_their_fixes() {
    let project =
        Project::mockerfile("apiVersion: v1alpha1\nimages:\n- name: app\n  form: debian:13\n");
    let file = project.path().join("Mockerfile.yaml").display().to_string();
    let kiln = Kiln::new();
    let told = kiln.run(&["lint", &file]).fails();
    assert!(told.text().contains("unknown key `form`"), "{told}");
    kiln.run(&["lint", "--fix", &file]).succeeds();
    assert!(std::fs::read_to_string(&file).unwrap().contains("from: debian:13"));
}
