//! An ignore file and a path: the first line is the path, the rest the file.

use kiln_filesync::{Patterns, ignore_file};

pub(crate) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (path, file) = text.split_once('\n').unwrap_or((text, ""));
    let patterns = ignore_file::parse(file);
    let Ok(patterns) = Patterns::parse(&patterns) else { return };
    patterns.matches(path);
}
