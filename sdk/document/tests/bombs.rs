//! Documents made to exhaust the reader are refused quickly, with an answer.

use std::time::{Duration, Instant};

use kiln_document::{Diagnostic, Language, Limits, Source, parse_tree};

fn refuse(language: Language, text: &str) -> Diagnostic {
    refuse_with(language, text, &Limits::default())
}

fn refuse_with(language: Language, text: &str, limits: &Limits) -> Diagnostic {
    let source = Source::new("bomb", text);
    let begin = Instant::now();
    let mistakes = parse_tree(&source, language, limits).expect_err("the bomb was accepted");
    let spent = begin.elapsed();
    // Generous, because tests run unoptimised on loaded machines; an expansion would take hours.
    assert!(spent < Duration::from_secs(3), "took {spent:?}");
    assert!(!mistakes[0].render(&source).is_empty());
    assert!(mistakes.len() <= limits.diagnostics);
    mistakes.into_iter().next().unwrap()
}

fn alias_bomb(levels: usize, width: usize) -> String {
    let mut text = format!("a0: &a0 [{}]\n", vec!["lol"; width].join(", "));
    for level in 1..levels {
        let uses = vec![format!("*a{}", level - 1); width].join(", ");
        text += &format!("a{level}: &a{level} [{uses}]\n");
    }
    text
}

#[test]
fn aliases_of_aliases_are_counted_for_what_they_stand_for() {
    let mistake = refuse(Language::Yaml, &alias_bomb(9, 9));
    assert_eq!(
        mistake.message,
        "the file holds more than 50000 values, counting what its aliases stand for"
    );
    assert!(mistake.span.is_some());
}

#[test]
fn one_long_text_cannot_be_repeated_without_end() {
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(900_000), vec!["*a"; 900].join(", "));
    let mistake = refuse(Language::Yaml, &text);
    assert!(mistake.message.contains("grows beyond"), "{}", mistake.message);
}

#[test]
fn merges_of_merges_are_counted() {
    let mut text = "m0: &m0 {k0: 1}\n".to_owned();
    for level in 1..2_000 {
        text += &format!("m{level}: &m{level} {{<<: *m{}, k{level}: 1}}\n", level - 1);
    }
    refuse(Language::Yaml, &text);
}

#[test]
fn an_alias_cannot_contain_itself() {
    refuse(Language::Yaml, "a: &a [*a]\n");
}

#[test]
fn deep_nesting_is_refused_in_every_language() {
    let brackets = "[".repeat(100_000);
    for (language, text) in [
        (Language::Yaml, brackets.clone()),
        (Language::Yaml, "{a: ".repeat(100_000)),
        (Language::Yaml, "- ".repeat(100_000)),
        (Language::Yaml, "? ".repeat(100_000)),
        (Language::Json, brackets.clone()),
        (Language::Json, "{\"a\":".repeat(100_000)),
        (Language::Toml, format!("a = {brackets}")),
        (Language::Toml, format!("a = {}", "{a = ".repeat(100_000))),
        (Language::Toml, format!("{} = 1", vec!["a"; 100_000].join("."))),
    ] {
        let mistake = refuse(language, &text);
        assert!(mistake.message.len() < 300, "{}", mistake.message);
    }
}

#[test]
fn nested_blocks_are_refused_at_the_limit() {
    // 20 000 levels, one space deeper each, would take 200 MB; with a wide byte limit 2 000 do.
    let mut text = String::new();
    for level in 0..2_000 {
        text += &" ".repeat(level);
        text += "a:\n";
    }
    let limits = Limits { bytes: 16 << 20, ..Limits::default() };
    let mistake = refuse_with(Language::Yaml, &text, &limits);
    assert_eq!(mistake.message, "the file is nested deeper than 32 levels");
    assert_eq!(
        refuse(Language::Yaml, &text).message,
        "`bomb` has 2005000 bytes; at most 1048576 are read"
    );
}

#[test]
fn twenty_thousand_block_levels_on_one_line_each_are_refused() {
    let mistake = refuse(Language::Yaml, &"- ".repeat(20_000));
    assert_eq!(mistake.message, "the file is nested deeper than 32 levels");
}

#[test]
fn many_values_are_refused_in_every_language() {
    let many = vec!["1"; 100_000].join(",");
    refuse(Language::Yaml, &format!("[{many}]"));
    refuse(Language::Json, &format!("[{many}]"));
    refuse(Language::Toml, &format!("a = [{many}]"));
    refuse(Language::Yaml, &"- a\n".repeat(100_000));
    refuse(Language::Yaml, &"---\n".repeat(100_000));
}

#[test]
fn many_mistakes_are_cut_to_a_readable_number() {
    let text = (0..20_000).map(|_| "a: 1\n").collect::<String>();
    let source = Source::new("f", text);
    let mistakes = parse_tree(&source, Language::Yaml, &Limits::default()).unwrap_err();
    assert_eq!(mistakes.len(), 50);
    assert_eq!(mistakes[49].notes, ["19949 more mistakes are not shown"]);
}

#[test]
fn odd_bytes_never_panic() {
    let pieces = [
        "a", ":", " ", "\n", "- ", "[", "]", "{", "}", "\"", "'", "&a ", "*a", "|", ">", "\t", "#",
        "\u{0}", "é", "\u{2028}", "!!", "? ", "<<: ", "=", ".", "1", "e",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text += pieces[usize::try_from(state % pieces.len() as u64).unwrap()];
        }
        let source = Source::new("f", text);
        for language in [Language::Yaml, Language::Toml, Language::Json] {
            if let Err(mistakes) = parse_tree(&source, language, &Limits::default()) {
                assert!(!mistakes.is_empty());
                mistakes.iter().for_each(|mistake| assert!(!mistake.render(&source).is_empty()));
            }
        }
    }
}
