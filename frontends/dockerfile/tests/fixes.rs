//! Fixes of lint rules: what they write, and that builds of what they wrote are the same builds.

#![expect(clippy::print_stdout, reason = "the test says how many files it was put to")]

use std::path::{Path, PathBuf};

use kiln_dockerfile::{Dockerfile, Editing, lint};
use kiln_editor::Language as _;
use kiln_sdk::document::{Fix, Source};
use kiln_testing::{Case, Fixture};

/// Rules whose fixes change how the image runs, which is what they are for.
const OF_THE_CONFIG: [&str; 2] = ["MaintainerDeprecated", "JSONArgsRecommended"];

/// A text with every fix, and the rules of those that were applied.
fn fixed(text: &str) -> (String, Vec<&'static str>) {
    let (mut text, mut rules) = (text.to_owned(), Vec::new());
    for _ in 0..10 {
        let source = Source::new("Dockerfile", &text);
        let warnings = lint::warnings(&text);
        let violationes: Vec<(&str, usize)> =
            warnings.iter().map(|one| (one.rule.name, one.lines.first as usize)).collect();
        let fixes = lint::fixes(&source, &violationes);
        let (found, of): (Vec<&Fix>, Vec<&'static str>) = fixes
            .iter()
            .zip(&warnings)
            .filter_map(|(fix, warning)| Some((fix.as_ref()?, warning.rule.name)))
            .unzip();
        if found.is_empty() {
            return (text, rules);
        }
        let (new, applied) = Fix::apply_all(&source, &found);
        assert_ne!(new, text, "a fix that changes nothing: {violationes:?}");
        rules.extend(applied.iter().map(|index| of[*index]));
        text = new;
    }
    panic!("fixes without an end:\n{text}");
}

#[test]
fn what_is_mechanical_is_put_right() {
    let text = "from debian:12 as Base\nRUN make \\\n\n  install\nMAINTAINER Ann \"$x\" <ann@example.com>\n\
         ENV GREETING hello  big world\nENV QUOTED it\\'s \"a b\" c\nlabel a b\nEXPOSE 80/TCP 53/udp\n\
         FROM --platform=$TARGETPLATFORM debian:12 AS last\nENTRYPOINT /bin/app --port=80\nCMD serve all\n";
    let (text, _) = fixed(text);
    assert!(text.ends_with('\n'), "{text}");
    insta::assert_snapshot!(text, @r#"
    FROM debian:12 AS base
    RUN make \
      install
    LABEL org.opencontainers.image.authors="Ann \"\$x\" <ann@example.com>"
    ENV GREETING="hello  big world"
    ENV QUOTED=it\'s\ "a b"\ c
    LABEL a=b
    EXPOSE 80/tcp 53/udp
    FROM --platform=$TARGETPLATFORM debian:12 AS last
    ENTRYPOINT ["/bin/app", "--port=80"]
    CMD ["serve", "all"]
    "#);
}

#[test]
fn what_needs_judgement_is_left_alone() {
    let text = "FROM debian:12\nCMD cd /srv && ./run\nENTRYPOINT FOO=bar app\nENV A it's\n\
                ENV B one \\\n  two\nSHELL [\"/bin/bash\", \"-c\"]\nCMD exec app\n";
    assert_eq!(fixed(text), (text.to_owned(), Vec::new()));
}

#[test]
fn a_platform_that_goes_without_saying_is_left_out() {
    let text = "FROM --platform=$TARGETPLATFORM debian:12 AS last\n";
    let source = Source::new("Dockerfile", text);
    let fixes =
        Editing.fixes(&source, &[("RedundantTargetPlatform", 1), ("RedundantTargetPlatform", 7)]);
    let (new, _) = Fix::apply_all(&source, &[fixes[0].as_ref().unwrap()]);
    assert_eq!((new.as_str(), &fixes[1]), ("FROM debian:12 AS last\n", &None));
}

/// The cases of the recorded sets.
fn cases() -> impl Iterator<Item = (PathBuf, Case)> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let sets = ["dockerfile", "dockerfile-more"].map(|set| vectors.join(set));
    let directories = sets.into_iter().flat_map(|set| std::fs::read_dir(set).unwrap());
    let mut paths: Vec<PathBuf> = directories.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().filter_map(|path| Some((path.clone(), Case::load(&path).ok()?)))
}

/// Keywords in another case than they were, every other one.
fn untidied(text: &str) -> String {
    let keyword = |(number, line): (usize, &str)| {
        let word = line.split_whitespace().next().unwrap_or_default();
        let known =
            ["FROM", "RUN", "COPY", "ENV", "WORKDIR", "LABEL", "USER", "ARG"].contains(&word);
        match known && line.starts_with(word) && number % 2 == 1 {
            true => format!("{}{}", word.to_lowercase(), &line[word.len()..]),
            false => line.to_owned(),
        }
    };
    text.split_inclusive('\n').enumerate().map(keyword).collect()
}

#[test]
fn builds_of_fixed_files_are_the_same_builds() {
    let (mut same, mut by_rule) = (0, std::collections::BTreeMap::new());
    for (path, case) in cases() {
        let name = case.opts.get("filename").map_or("Dockerfile", String::as_str);
        let local = case.locals.get("dockerfile").map_or(path.clone(), |local| path.join(local));
        let Ok(text) = std::fs::read_to_string(local.join(name)) else { continue };
        for text in [text.clone(), untidied(&text)] {
            let (new, rules) = fixed(&text);
            if rules.is_empty() {
                continue;
            }
            let with = |text: &str| {
                let fixture = Fixture::from_case(&case).unwrap().any_image();
                let fixture = fixture.file("dockerfile", name, text.to_owned());
                let built = fixture.build(&Dockerfile::mainline()).ok()?;
                let platforms = built.platforms.iter();
                let all: Vec<_> = platforms
                    .map(|one| (one.id.clone(), one.definition.def.clone(), one.image_config()))
                    .collect();
                Some(all)
            };
            let (Some(before), Some(after)) = (with(&text), with(&new)) else { continue };
            for ((id, graph, config), (new_id, new_graph, new_config)) in before.iter().zip(&after)
            {
                assert_eq!((id, graph), (new_id, new_graph), "{}:\n{text}\n{new}", path.display());
                if rules.iter().any(|rule| OF_THE_CONFIG.contains(rule)) {
                    continue;
                }
                let run = |config: &Option<kiln_sdk::oci::ImageConfig>| {
                    config.as_ref().map(|config| config.config.clone())
                };
                assert_eq!(run(config), run(new_config), "{}:\n{new}", path.display());
            }
            same += 1;
            for rule in rules {
                *by_rule.entry(rule).or_insert(0) += 1;
            }
        }
    }
    println!("{same} files: {by_rule:?}");
    assert!(same >= 50, "{same} files are too few to tell: {by_rule:?}");
}

#[test]
fn an_editor_is_told_of_mistakes_and_of_breaches_with_their_fixes() {
    let source = Source::new("Dockerfile", "FROM debian:12\nRUNN make\nmaintainer me\n");
    let found = Editing.diagnose(&source);
    let told: Vec<(&str, Option<&str>)> = found
        .iter()
        .map(|one| {
            (
                source.slice(one.span.unwrap()),
                one.fix.as_ref().map(|fix| fix.edits[0].text.as_str()),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("RUNN", Some("RUN")),
            ("maintainer me", Some("label org.opencontainers.image.authors=\"me\"")),
            ("maintainer me", Some("MAINTAINER")),
        ]
    );
}

#[test]
fn an_editor_is_told_what_may_be_written() {
    let labels = |text: &str| {
        let source = Source::new("Dockerfile", text);
        let found = Editing.complete(&source, text.len());
        found.into_iter().map(|one| one.insert).collect::<Vec<_>>()
    };
    assert!(labels("FROM a\nR").contains(&"RUN ".to_owned()));
    assert!(labels("from a\nr").contains(&"run ".to_owned()));
    assert!(labels("FROM a\nRUN --").contains(&"--mount=".to_owned()));
    assert!(labels("FROM a\nCOPY --l").contains(&"--link".to_owned()));
    assert_eq!(labels("FROM a AS One\nCOPY --from="), ["one"]);
    assert_eq!(labels("FROM a AS one\nRUN ma"), [""; 0]);
    let source = Source::new("Dockerfile", "FROM a\n  copy a b\n");
    let hover = Editing.hover(&source, 10).unwrap();
    assert_eq!(source.slice(hover.span), "copy");
    assert_eq!(Editing.hover(&source, 14), None);
}
