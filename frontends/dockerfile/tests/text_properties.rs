//! Promises of the first passes for any text whatever: nothing panics, lines lie in the file, what is
//! borrowed is really in it, and what needs no expansion stays as it is.

use std::collections::BTreeMap;

use kiln_dockerfile::words::{Expander, NoVariables};
use kiln_dockerfile::{ast, directives, heredoc, quoting};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Pieces of the language; files made of them come to every corner of the parser.
const PIECES: &[&str] = &[
    "FROM a",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "CMD ",
    "\n",
    "\n",
    "\r\n",
    " \\\n",
    "`\n",
    "\\",
    "# c\n",
    "# escape=`\n",
    "# syntax=a\n",
    "\u{feff}",
    "--a=b ",
    "--a=\"b c\" ",
    "-- ",
    "<<E ",
    "<<-'E' ",
    "\nE\n",
    "\t",
    " ",
    "[\"a\", ",
    "\"",
    "]",
    "'",
    "a=b",
    "$A",
    "${A:-",
    "}",
    "é",
    "\u{a0}",
    "\u{85}",
    "\0",
    "日",
    "\\ud800",
];

/// Pieces of words.
const WORDS: &[&str] = &[
    "$", "{", "}", "${", "${A:-", "${A#", "${A%", "${A//", "${A/", ":", "?", "*", "\\", "`", "\"",
    "'", " ", "\t", "<<", "a", "A", "$A", "é", "1", "@", "\n", "\u{feff}", "\u{a0}", "/",
];

fn made_of(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(select(pieces), 0..40).prop_map(|pieces| pieces.concat())
}

fn expanders() -> impl Strategy<Value = Expander> {
    (select(vec!['\\', '`']), any::<[bool; 4]>()).prop_map(|(escape, set)| Expander {
        escape,
        raw_quotes: set[0],
        raw_escapes: set[1],
        skip_quotes: set[2],
        skip_unset: set[3],
    })
}

/// Reads a file and checks what must hold for any.
fn read(text: &str) {
    let ast = ast::parse(text);
    let last = u32::try_from(text.split_inclusive('\n').count()).unwrap();
    let mut line = 0;
    for instruction in &ast.instructions {
        assert!(instruction.lines.first > line, "instructions are in order");
        assert!(instruction.lines.first <= instruction.lines.last);
        line = instruction.lines.last;
        for heredoc in &instruction.heredocs {
            assert!(text.contains(&*heredoc.content));
        }
    }
    assert!(line <= last);
    for mistake in &ast.mistakes {
        assert!(mistake.places.iter().all(|place| place.first <= place.last && place.last <= last));
    }
    assert!(!(ast.instructions.is_empty() && ast.mistakes.is_empty()));
    for directive in [directives::DirectiveName::Syntax, directives::DirectiveName::Check] {
        assert!(directives::find(directive, text).is_none_or(|found| found.lines.first <= last));
    }
    assert!(directives::detect_syntax(text).is_none_or(|found| found.lines.first <= last));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(3000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn any_mix_of_the_language_is_read(text in made_of(PIECES)) {
        read(&text);
        drop(heredoc::parse_word(&text));
        drop(heredoc::of_line(&text));
    }

    #[test]
    fn any_word_is_expanded_or_refused(
        word in made_of(WORDS),
        value in made_of(WORDS),
        expander in expanders(),
    ) {
        let env = BTreeMap::from([("A".to_owned(), value)]);
        let whole = expander.word(&word, &env);
        let words = expander.words(&word, &env);
        prop_assert_eq!(whole.is_ok(), words.is_ok());
        if let Ok(expanded) = whole {
            prop_assert!(expanded.matched.iter().all(|name| *name == "A"));
            prop_assert!(!expanded.unmatched.contains(&"A"));
        }
    }

    #[test]
    fn words_without_meaning_stay_as_they_are(word in "[a-z0-9 é.:/=_-]*", expander in expanders()) {
        prop_assert_eq!(&expander.word(&word, &NoVariables).unwrap().text, &word);
        let split: Vec<&str> = word.split_whitespace().collect();
        prop_assert_eq!(expander.words(&word, &NoVariables).unwrap(), split);
    }

    #[test]
    fn single_quotes_hide_everything_but_themselves(word in "[^'\u{feff}]*") {
        let expanded = Expander::new('\\').word(&format!("'{word}'"), &NoVariables).unwrap().text.into_owned();
        prop_assert_eq!(expanded, word);
    }

    #[test]
    fn json_strings_are_read_back(texts in vec(any::<String>(), 0..4)) {
        let read: Vec<String> = serde_json::from_str(&quoting::json_list(&texts)).unwrap();
        prop_assert_eq!(read, texts);
    }
}
