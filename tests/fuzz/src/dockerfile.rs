//! A Dockerfile: its first passes, a word of it, and the whole frontend with every image at hand.

use std::collections::BTreeMap;

use kiln_dockerfile::words::Expander;
use kiln_dockerfile::{Dockerfile, ast, directives, heredoc};
use kiln_testing::{Built, Fixture};

/// Text to instructions.
pub(crate) fn lexer(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let last = u32::try_from(text.split_inclusive('\n').count()).expect("a short text");
    let ast = ast::parse(text);
    for instruction in &ast.instructions {
        assert!(instruction.lines.first <= instruction.lines.last);
        assert!(instruction.lines.last <= last);
    }
    for mistake in &ast.mistakes {
        assert!(mistake.places.iter().all(|place| place.last <= last));
    }
    drop(directives::detect_syntax(text));
    drop(heredoc::of_line(text));
}

/// A word, with a value for `A`: both from the text, apart at the first line break.
pub(crate) fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (value, word) = text.split_once('\n').unwrap_or(("", text));
    let env = BTreeMap::from([("A".to_owned(), value.to_owned())]);
    for raw in 0..16_u8 {
        let expander = Expander {
            escape: if raw & 8 == 0 { '\\' } else { '`' },
            raw_quotes: raw & 1 != 0,
            raw_escapes: raw & 2 != 0,
            skip_quotes: raw & 4 != 0,
            skip_unset: raw & 1 != 0,
        };
        let (whole, words) = (expander.word(word, &env), expander.words(word, &env));
        assert_eq!(whole.is_ok(), words.is_ok());
    }
}

/// The whole frontend.
pub(crate) fn build(bytes: &[u8]) {
    let fixture = Fixture::new().file("dockerfile", "Dockerfile", bytes.to_vec());
    let fixture = fixture.any_image().option("cmdline", "dockerfile.v0");
    let made = fixture.build(&Dockerfile::mainline());
    let again = fixture.build(&Dockerfile::mainline());
    match (made, again) {
        (Ok(made), Ok(again)) => {
            // Progress groups have random names, hence only the operations are the same.
            let graphs = |built: &Built| -> Vec<_> {
                built.platforms.iter().map(|made| made.definition.def.clone()).collect()
            };
            assert_eq!(graphs(&made), graphs(&again));
        }
        (Err(error), Err(again)) => assert_eq!(error.to_string(), again.to_string()),
        _ => panic!("built once, and once not"),
    }
}
