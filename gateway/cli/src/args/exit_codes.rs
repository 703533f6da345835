//! What the program ends with.

/// Every exit code, and what it says.
const EXIT_CODES: &[(u8, &str)] = &[
    (0, "the command was done"),
    (1, "it was not, or could not be understood"),
    (2, "there was nothing to judge (doctor, frontend conform, frontend replay)"),
    (3, "the build was done, but not from the cache as --expect-cached wants it"),
    (130, "Ctrl-C: the build was canceled, and its steps asked to end; a second one kills them"),
    (143, "the same, by SIGTERM"),
];

/// The list as a paragraph of a help screen.
pub(super) fn text() -> String {
    let lines = EXIT_CODES.iter().map(|(code, meaning)| format!("\n{code:>5}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
}
