//! The help of every command, as one page, and that flags do not contradict each other.

use clap::CommandFactory as _;
use expect_test::expect_file;

use super::Cli;

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

#[test]
fn the_help_is_a_page_people_can_read() {
    let mut command = Cli::command().term_width(100);
    command.build();
    expect_file!["help.txt"].assert_eq(&page(&mut command, ""));
}

#[test]
fn flags_are_consistent() {
    Cli::command().debug_assert();
}
