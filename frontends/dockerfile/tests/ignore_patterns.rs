//! Ignore patterns against their rules, spelled out a second time and as simply as they can be.
//!
//! The model knows no regular expressions and no shortcuts: it tries every way a pattern could match.
//! Whatever pattern and path are drawn, the two must agree.

use kiln_dockerfile::dockerignore::Dockerignore;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Whether the patterns leave a path out: the last one that matches the path, or a directory it is
/// in, decides.
fn leaves_out(patterns: &[String], path: &str) -> bool {
    let mut out = false;
    for pattern in patterns {
        let (negated, pattern) = match pattern.strip_prefix('!') {
            Some(pattern) => (true, pattern),
            None => (false, pattern.as_str()),
        };
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        if ends.into_iter().any(|end| fits(pattern, &path[..end])) {
            out = !negated;
        }
    }
    out
}

fn fits(pattern: &str, path: &str) -> bool {
    // Behind a leading `**` a text without wildcards is the end of a path, even in a name.
    if let Some(end) = pattern.strip_prefix("**")
        && !end.is_empty()
        && !end.contains(['*', '?', '[', ']', '\\'])
    {
        return path.ends_with(end) || end.strip_prefix('/') == Some(path);
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    fits_from(&pattern, &path)
}

fn fits_from(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty(),
        // Any directories, perhaps none; at the end of a pattern, anything.
        ['*', '*', rest @ ..] => match rest.strip_prefix(&['/']).unwrap_or(rest) {
            [] => true,
            rest => {
                let below = (0..path.len()).filter(|at| path[*at] == '/').map(|at| at + 1);
                [0].into_iter().chain(below).any(|at| fits_from(rest, &path[at..]))
            }
        },
        ['*', rest @ ..] => {
            let name = path.iter().take_while(|c| **c != '/').count();
            (0..=name).any(|at| fits_from(rest, &path[at..]))
        }
        ['?', rest @ ..] => {
            path.split_first().is_some_and(|(c, after)| *c != '/' && fits_from(rest, after))
        }
        ['\\', wanted, rest @ ..] => next_is(path, |c| c == *wanted, rest),
        ['[', rest @ ..] => {
            let end = rest.iter().position(|c| *c == ']').expect("classes are drawn whole");
            next_is(path, |c| class_has(&rest[..end], c), &rest[end + 1..])
        }
        [wanted, rest @ ..] => next_is(path, |c| c == *wanted, rest),
    }
}

fn next_is(path: &[char], is: impl Fn(char) -> bool, rest: &[char]) -> bool {
    path.split_first().is_some_and(|(c, after)| is(*c) && fits_from(rest, after))
}

/// A class is characters and ranges; turned round, it has the slash too.
fn class_has(class: &[char], c: char) -> bool {
    match class {
        ['^', class @ ..] => !class_has(class, c),
        [first, '-', last, rest @ ..] => (*first..=*last).contains(&c) || class_has(rest, c),
        [one, rest @ ..] => *one == c || class_has(rest, c),
        [] => false,
    }
}

/// A part of a pattern between slashes.
fn part() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a", "b", "ab", "é", ".", "+", "a", "b", "*", "*", "?", "**", "[ab]", "[^a]", "[a-c]",
        "[b-cé]", "\\*", "\\?", "\\[", "$", "(", "|",
    ];
    vec(select(PIECES), 1..4)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("three stars are no rule", |part| !part.contains("***"))
        .prop_filter("`.` and `..` are taken out of patterns", |part| part != "." && part != "..")
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let part = prop_oneof![3 => part(), 1 => Just("**".to_owned())];
    let pattern = (any::<bool>(), vec(part, 1..4));
    vec(pattern, 1..4).prop_map(|list| {
        let text = |(negated, parts): (bool, Vec<String>)| {
            format!("{}{}", if negated { "!" } else { "" }, parts.join("/"))
        };
        list.into_iter().map(text).collect()
    })
}

fn path() -> impl Strategy<Value = String> {
    vec("[abcé*?.]{1,3}", 1..5).prop_map(|names| names.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn patterns_cover_what_their_rules_say(patterns in patterns(), paths in vec(path(), 1..6)) {
        let ignored = Dockerignore::new(&patterns).unwrap();
        for path in &paths {
            prop_assert_eq!(ignored.covers(path), leaves_out(&patterns, path), "{:?} on {}", &patterns, path);
        }
    }

    #[test]
    fn spaces_and_slashes_around_a_pattern_change_nothing(patterns in patterns(), path in path()) {
        let dressed: Vec<String> = patterns
            .iter()
            .map(|pattern| format!("  {pattern}//\t"))
            .collect();
        let (plain, dressed) = (Dockerignore::new(&patterns).unwrap(), Dockerignore::new(&dressed).unwrap());
        prop_assert_eq!(plain.covers(&path), dressed.covers(&path));
    }

    #[test]
    fn any_text_is_a_pattern_or_refused(patterns in vec(any::<String>(), 0..4), path in any::<String>()) {
        if let Ok(ignored) = Dockerignore::new(&patterns) {
            ignored.covers(&path);
        }
    }
}
