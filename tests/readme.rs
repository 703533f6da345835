//! The commands of the READMEs that people are sent to, run as they are written.
//!
//! Blocks marked `sh` are run one after the other by one shell, page after page, in the root of the
//! checkout, with state in a directory of its own. `<!-- fails -->` before a block means that it ends with exit
//! code 1; `<!-- test-command -->` is the block that runs this test, and what is after
//! `<!-- newcomer -->` is typed by `e2e/newcomer.rs`.

use std::path::Path;
use std::process::Command;

use kiln_tests::without_cargo;

/// The front page, and the pages that it sends people to.
const PAGES: &[&str] =
    &["README.md", "gateway/cli/README.md", "sdk/sdk/README.md", "gateway/daemon/README.md"];

/// One block of commands.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The page it stands on.
    page: String,
    /// The comment on the line before it.
    marker: String,
    /// Where it begins, counted from one.
    line: usize,
    commands: String,
}

/// The blocks of a page that are marked `sh`.
fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut before, mut inside) = ("", false);
    for (index, line) in text.lines().enumerate() {
        match (inside, line) {
            (false, "```sh") => {
                let marker = before.trim_start_matches("<!-- ").trim_end_matches(" -->");
                let marker = if marker == before { "" } else { marker }.to_owned();
                let (page, line) = (page.to_owned(), index + 1);
                blocks.push(Block { page, marker, line, commands: String::new() });
                inside = true;
            }
            (true, "```") => inside = false,
            (true, command) => {
                let block = blocks.last_mut().expect("there is a block inside a block");
                block.commands += command;
                block.commands += "\n";
            }
            _ => {}
        }
        before = line;
    }
    blocks
}

/// One program of all blocks, which says where it is and stops where it fails.
fn program(blocks: &[Block]) -> String {
    let mut program = String::from("set -euo pipefail\n");
    for Block { page, marker, line, commands } in blocks {
        program += &format!("echo \"== {page}:{line}\" >&2\n");
        match marker.as_str() {
            // The second is typed by tests/e2e/newcomer.rs, elsewhere.
            "test-command" | "newcomer" => {}
            "fails" => program += &format!("code=0\n(\n{commands}) || code=$?\ntest $code = 1\n"),
            _ => program += commands,
        }
    }
    program
}

/// The root user's state is elsewhere than in the user's own directory, hence `--root`.
const PRELUDE: &str = "kiln() { command kiln --root \"$STATE\" \"$@\"; }\n";

#[test]
fn every_command_of_the_readmes_does_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let pages = PAGES.iter().map(|page| {
        let text = std::fs::read_to_string(root.join(page));
        blocks(page, &text.unwrap_or_else(|error| panic!("{page}: {error}")))
    });
    let blocks: Vec<Block> = pages.flatten().collect();
    assert!(blocks.iter().any(|block| block.commands.contains("examples/first-build.sh")));
    let state = tempfile::tempdir().unwrap();
    let mut shell = Command::new("bash");
    without_cargo(&mut shell);
    let output = shell
        .args(["-c", &(PRELUDE.to_owned() + &program(&blocks))])
        .current_dir(root)
        .env("STATE", state.path())
        .env("CARGO_TERM_COLOR", "never")
        .env_remove("BUILDKIT_HOST")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .unwrap();
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", shown(&output.stdout), shown(&output.stderr));
    // The first build shows the files of the image it made, from inside its archive.
    let stdout = shown(&output.stdout);
    for line in ["etc/motd", "srv/site/index.html", "Fired in a kiln, from nothing."] {
        assert!(stdout.contains(line), "nothing shows {line:?} in\n{stdout}");
    }
    // The pictures show what was seen on the way.
    let picture = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (graph, drawn) = ("examples/first-build/graph.svg", "target/walk/graph.svg");
    assert_eq!(picture(graph), picture(drawn), "{graph} is no longer what kiln draws");
    let said = shown(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim_end).collect();
    for line in lines_of(&picture("examples/first-build/mistake.svg")).iter().skip(1) {
        assert!(said.contains(&line.as_str()), "nothing said {line:?} in\n{}", said.join("\n"));
    }
}

/// The lines of text in a picture of a terminal; the first is what was typed.
fn lines_of(svg: &str) -> Vec<String> {
    let lines = svg.lines().filter_map(|line| line.strip_prefix("<text ")?.strip_suffix("</text>"));
    let texts = lines.filter_map(|line| Some(line.split_once('>')?.1));
    texts.map(|text| text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")).collect()
}

#[test]
fn a_command_that_fails_stops_the_program_and_a_failure_that_does_not_come_too() {
    let text = "```sh\ntrue\n```\n<!-- fails -->\n```sh\nexit 1\n```\n```text\nfalse\n```\n";
    let found = blocks("README.md", text);
    assert_eq!(found.iter().map(|block| block.line).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(found[1].marker, "fails");
    let ends_well = |text: &str| {
        let program = program(&blocks("README.md", text));
        Command::new("bash").args(["-c", &program]).output().unwrap().status.success()
    };
    assert!(ends_well(text));
    assert!(!ends_well("```sh\nfalse | cat\n```\n```sh\ntrue\n```\n"));
    assert!(!ends_well("<!-- fails -->\n```sh\ntrue\n```\n"));
}
