//! Reads `.dockerignore` files into patterns for [`crate::pattern`].

use crate::path::clean;

/// The patterns of an ignore file, in order, `!` included.
///
/// A `#` starts a comment only in the first column. Patterns are trimmed and cleaned and lose a
/// leading slash, since all of them start at the root of the context anyway. A pattern that makes
/// no sense is kept; [`Patterns::parse`](crate::Patterns::parse) says what is wrong with it.
pub fn parse(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().filter(|line| !line.starts_with('#')).filter_map(pattern).collect()
}

fn pattern(line: &str) -> Option<String> {
    let line = line.trim();
    let (negation, path) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if line.is_empty() {
        return None;
    }
    if path.is_empty() {
        return Some(negation.to_owned());
    }
    let path = clean(path);
    let path = path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path);
    Some(format!("{negation}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_files_give_the_recorded_patterns() {
        let table = include_str!("../../../tests/vectors/micro/ignore_files.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(table).unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let expected: Vec<&str> =
                case["patterns"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect();
            assert_eq!(parse(case["input"].as_str().unwrap()), expected, "{}", case["input"]);
        }
    }
}
