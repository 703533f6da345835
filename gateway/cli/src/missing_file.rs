//! A file that a build wanted of its context and that is not there: what may have been meant.
//!
//! An error comes in, the same goes out, with a note if the disk knows more than the daemon: it was sent
//! only what the build file names, less what an ignore file leaves out.

use std::fmt;
use std::path::Path;

use kiln_document::did_you_mean;

use crate::build_command::BuildCommand;
use crate::failure::{message, source_lines};

/// How many entries of a directory are compared with a name.
const MOST_ENTRIES: usize = 10_000;

/// What else the reader of an error should know. As a part of the error's story it says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Note(pub(crate) String);

impl fmt::Display for Note {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// The error, with a note if it is about a file of the context.
pub(crate) fn explained(error: anyhow::Error, command: &BuildCommand) -> anyhow::Error {
    let Some(context) = command.locals.get("context") else { return error };
    // Other stages and contexts are not on this disk.
    let elsewhere = source_lines(&error).iter().any(|line| line.contains("--from"));
    let message = message(&error);
    match missing(&message).filter(|_| !elsewhere).and_then(|path| note(context, path)) {
        Some(note) => error.context(Note(note)),
        None => error,
    }
}

/// The path in `…: "/a/b": not found`.
fn missing(message: &str) -> Option<&str> {
    let (before, _) = message.rsplit_once("\": not found")?;
    let (_, path) = before.rsplit_once('"')?;
    // Names with escapes are rare, and were quoted by who knows whom.
    let path = path.strip_prefix('/').filter(|path| !path.contains('\\'))?;
    let plain = path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    plain.then_some(path)
}

fn note(context: &Path, path: &str) -> Option<String> {
    let shown = context.canonicalize().unwrap_or_else(|_| context.to_owned());
    let shown = shown.display();
    if context.join(path).symlink_metadata().is_ok() {
        return Some(format!(
            "the context {shown} has {path}: a pattern of the .dockerignore file leaves it out of what is sent"
        ));
    }
    let mut there = String::new();
    let mut names = path.split('/');
    for name in names.by_ref() {
        let next = format!("{there}{name}");
        if context.join(&next).symlink_metadata().is_ok() {
            there = next + "/";
            continue;
        }
        let entries = context.join(&there).read_dir().ok()?.take(MOST_ENTRIES);
        let mut entries: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        entries.sort();
        let rest: String = names.map(|name| format!("/{name}")).collect();
        return Some(match did_you_mean(name, entries.iter().map(String::as_str)) {
            Some(meant) => {
                format!("the context {shown} has no {path}, did you mean {there}{meant}{rest}?")
            }
            None => format!("the context {shown} has no {path}"),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_found_in_what_the_daemon_says() {
        let message = r#"failed to calculate checksum of ref "a::b": "/src/a.tx": not found"#;
        assert_eq!(missing(message), Some("src/a.tx"));
        for other in
            ["x: not found", r#""a": not found"#, r#""/../a": not found"#, r#""/a\n": not found"#]
        {
            assert_eq!(missing(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_and_one_that_is_ignored_are_told() {
        let context = tempfile::tempdir().unwrap();
        let at = |path: &str| context.path().join(path);
        std::fs::create_dir(at("src")).unwrap();
        std::fs::write(at("src/main.c"), "").unwrap();
        let said = |path: &str| {
            let note = note(context.path(), path).unwrap();
            note.replace(&context.path().display().to_string(), "DIR")
        };
        assert_eq!(
            said("src/mian.c"),
            "the context DIR has no src/mian.c, did you mean src/main.c?"
        );
        assert_eq!(
            said("scr/main.c"),
            "the context DIR has no scr/main.c, did you mean src/main.c?"
        );
        assert_eq!(said("other"), "the context DIR has no other");
        assert!(said("src/main.c").contains("leaves it out"));
    }
}
