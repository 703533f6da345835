//! Every mistake of a file at once, each with its words and its place.

use kiln_dockerfile::Dockerfile;
use kiln_sdk::document::{Source, render_all};
use kiln_testing::Fixture;
use proptest::prelude::*;

fn diagnosed(text: &str) -> String {
    let source = Source::new("Dockerfile", text);
    let diagnostics = kiln_dockerfile::diagnose::diagnose(&source);
    render_all(&diagnostics, &source)
}

#[test]
fn every_mistake_of_a_file_is_told_in_one_pass() {
    let text = "FROM alpine AS 1st\nRUNN make\nCOPY --form=x a /b\nRUN --mount=type=cahe,target=/c go\n\
         STOPSIGNAL SIGNOPE\nADD --chmod=999 a /b\nCOPY a\n";
    insta::assert_snapshot!(diagnosed(text), @r#"
    error: dockerfile parse error on line 1: invalid name for build stage: "1st", name can't start with a number or contain symbols
     --> Dockerfile:1:16
      |
    1 | FROM alpine AS 1st
      |                ^^^

    error: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)
     --> Dockerfile:2:1
      |
    2 | RUNN make
      | ^^^^

    error: dockerfile parse error on line 3: unknown flag: --form (did you mean from?)
     --> Dockerfile:3:6
      |
    3 | COPY --form=x a /b
      |      ^^^^^^

    error: unsupported mount type "cahe" (did you mean cache?)
     --> Dockerfile:4:18
      |
    4 | RUN --mount=type=cahe,target=/c go
      |                  ^^^^

    error: invalid signal: SIGNOPE
     --> Dockerfile:5:12
      |
    5 | STOPSIGNAL SIGNOPE
      |            ^^^^^^^

    error: invalid chmod parameter: '999'. it should be octal string and between 0 and 07777
     --> Dockerfile:6:13
      |
    6 | ADD --chmod=999 a /b
      |             ^^^

    error: dockerfile parse error on line 7: COPY requires at least two arguments, but only one was provided. Destination could not be determined
     --> Dockerfile:7:1
      |
    7 | COPY a
      | ^^^^
    "#);
}

#[test]
fn a_file_without_mistakes_has_nothing_told() {
    insta::assert_snapshot!(
        diagnosed("ARG V=1\nFROM alpine:$V AS base\nRUN --mount=type=$T,target=/x make\n"),
        @""
    );
}

#[test]
fn what_stands_before_the_first_stage_is_told_each_time() {
    insta::assert_snapshot!(diagnosed("RUN a\nENV A=b\nFROM alpine\n"), @"
    error: no build stage in current context
     --> Dockerfile:1:1
      |
    1 | RUN a
      | ^^^^^

    error: no build stage in current context
     --> Dockerfile:2:1
      |
    2 | ENV A=b
      | ^^^^^^^
    ");
}

#[test]
fn a_mistake_in_a_continued_instruction_is_found_on_its_own_line() {
    insta::assert_snapshot!(
        diagnosed("FROM alpine\nRUN --network=none \\\n  --security=high \\\n  make\n"),
        @r#"
    error: dockerfile parse error on line 2: security "high" is not valid
     --> Dockerfile:3:14
      |
    3 |   --security=high \
      |              ^^^^
    "#
    );
}

#[test]
fn the_first_mistake_is_what_a_build_says() {
    let mistakes = kiln_dockerfile::diagnose::mistakes("FROM a b\nEXPOSE\n");
    let messages: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "dockerfile parse error on line 1: FROM requires either one or three arguments",
            "dockerfile parse error on line 2: EXPOSE requires at least one argument",
        ]
    );
}

#[test]
fn a_build_tells_the_first_mistake_as_ever_and_the_others_below() {
    let text = "FROM alpine\nCOPY --form=x a /b\nSTOPSIGNAL SIGNOPE\n";
    let fixture = Fixture::new().any_image().file("dockerfile", "Dockerfile", text);
    let error = fixture.build(&Dockerfile::mainline()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "dockerfile parse error on line 2: unknown flag: --form (did you mean from?)"
    );
    assert_eq!(error.status().sources().count(), 1);
    let details = format!("{:?}", error.status().details);
    assert!(details.contains("kiln.dev/also"), "{details}");
    let alone = fixture.file("dockerfile", "Dockerfile", "FROM alpine\nSTOPSIGNAL SIGNOPE\n");
    let error = alone.build(&Dockerfile::mainline()).unwrap_err();
    assert_eq!(error.to_string(), "invalid signal: SIGNOPE");
    assert_eq!(error.status().details.len(), 1);
}

proptest! {
    #[test]
    fn any_text_is_proofread_and_every_mark_is_inside_it(
        words in proptest::collection::vec(
            prop_oneof![
                "(FROM|RUN|COPY|ADD|ARG|ONBUILD|HEALTHCHECK|SHELL|RUNN|ENV|STOPSIGNAL)",
                "(--[a-z]{1,8}(=[ -~]{0,8})?|--mount=[a-z=,$\"]{0,16}|--chmod=[0-9a-z+$]{0,5})",
                "(<<-?E|E|\\\\|[\\[\\]\"'$`{}#,=é\u{0}\r]{1,4}|[a-z/:.]{1,8})",
                Just("\n".to_owned()),
            ],
            0..40,
        )
    ) {
        let source = Source::new("Dockerfile", words.join(" "));
        for diagnostic in kiln_dockerfile::diagnose::diagnose(&source) {
            let span = diagnostic.span.unwrap_or_default();
            prop_assert!(span.start <= span.end && span.end <= source.text().len());
            prop_assert!(source.text().is_char_boundary(span.start));
            prop_assert!(source.text().is_char_boundary(span.end));
            prop_assert!(diagnostic.render(&source).contains("error: "));
        }
    }
}
