//! The help of every command, as one page, and that flags do not contradict each other.

use clap::CommandFactory as _;

use super::{Cli, command, parse};

/// The help of a command and of those below it.
fn page(command: &mut clap::Command, path: &str) -> String {
    let path = format!("{path}{}", command.get_name());
    let mut text = format!("$ {path} --help\n{}\n", command.render_help());
    for below in
        command.get_subcommands_mut().filter(|c| c.get_name() != "help" && !c.is_hide_set())
    {
        text += &page(below, &format!("{path} "));
    }
    text
}

/// `UPDATE_EXPECT=1 cargo test -p kiln-cli` writes it anew.
#[test]
fn the_help_is_a_page_people_can_read() {
    let text = page(&mut command().term_width(100), "");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/args/help.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap();
    assert_eq!(committed, text, "run with UPDATE_EXPECT=1 and commit {path}");
}

/// The screens of one command, by the words before `--help`.
fn screen(words: &[&str]) -> String {
    let mut command = command();
    for word in words {
        command = command.find_subcommand(word).unwrap().clone();
    }
    command.render_help().to_string()
}

#[test]
fn a_screen_has_the_global_options_that_matter_to_it() {
    assert!(screen(&[]).contains("--tlscacert"));
    assert!(screen(&["build"]).contains("--executor"));
    assert!(!screen(&["build"]).contains("--tlscacert"));
    assert!(screen(&["du"]).contains("--addr"));
    assert!(!screen(&["du"]).contains("--executor"));
    assert!(!screen(&["frontend", "new"]).contains("Global options"));
    // What is not shown is taken nevertheless.
    let cli = parse(["kiln", "du", "--tlscacert", "x", "--debug"].map(Into::into).into()).unwrap();
    assert_eq!(cli.global.tlscacert.as_deref(), Some(std::path::Path::new("x")));
}

#[test]
fn what_is_mistyped_is_suggested() {
    let error = |words: &[&str]| {
        let words = ["kiln"].iter().chain(words).map(Into::into).collect();
        parse(words).unwrap_err().to_string()
    };
    assert!(error(&["biuld"]).contains("'build'"));
    assert!(error(&["build", "--taget", "x"]).contains("'--target'"));
    assert!(error(&["history", "lgos"]).contains("'logs'"));
}

#[test]
fn flags_are_consistent() {
    Cli::command().debug_assert();
}
