//! Stories of policies: rules and a source in, a verdict out.

use kiln_pb::sourcepolicy::{
    self as wire, AttrConstraint, AttrMatch, MatchType, PolicyAction, Selector, Update,
};

use kiln_pb::pb;
use prost::Message as _;

use crate::{Policies, Policy, Source, replace, sources};

/// A rule as `ACTION KIND IDENTIFIER [=> TARGET] [if KEY==VALUE] [set KEY=VALUE]`, where KIND is
/// `=` (exact), `*` (wildcard) or `~` (regular expression).
fn rule(text: &str) -> wire::Rule {
    let mut words = text.split_whitespace();
    let action = match words.next().unwrap() {
        "allow" => PolicyAction::Allow,
        "deny" => PolicyAction::Deny,
        "convert" => PolicyAction::Convert,
        other => panic!("{other}"),
    };
    let kind = match words.next().unwrap() {
        "=" => MatchType::Exact,
        "*" => MatchType::Wildcard,
        "~" => MatchType::Regex,
        other => panic!("{other}"),
    };
    let identifier = words.next().unwrap().to_owned();
    let mut selector = Selector { identifier, match_type: kind.into(), ..Default::default() };
    let mut updates = Update::default();
    while let (Some(word), Some(argument)) = (words.next(), words.next()) {
        match word {
            "=>" => updates.identifier = argument.to_owned(),
            "if" => selector.constraints.push(constraint(argument)),
            "set" => {
                let (key, value) = argument.split_once('=').unwrap();
                updates.attrs.insert(key.to_owned(), value.to_owned());
            }
            other => panic!("{other}"),
        }
    }
    let updates = (action == PolicyAction::Convert).then_some(updates);
    wire::Rule { action: action.into(), selector: Some(selector), updates }
}

fn constraint(text: &str) -> AttrConstraint {
    let operators =
        [("!=", AttrMatch::Notequal), ("==", AttrMatch::Equal), ("~=", AttrMatch::Matches)];
    let (key, value, condition) = operators
        .iter()
        .find_map(|(sign, condition)| text.split_once(sign).map(|(k, v)| (k, v, *condition)))
        .unwrap();
    AttrConstraint { key: key.into(), value: value.into(), condition: condition.into() }
}

fn policy(rules: &[&str]) -> Policy {
    let rules = rules.iter().map(|text| rule(text)).collect();
    Policy::compile(&wire::Policy { version: 1, rules }).unwrap()
}

/// `IDENTIFIER [KEY=VALUE …]` judged by policies.
fn verdict(policies: &Policies, source: &str) -> String {
    let mut words = source.split_whitespace();
    let mut asked = Source::new(words.next().unwrap());
    asked.attrs = words
        .map(|word| word.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    match policies.evaluate(asked) {
        Err(error) => error.to_string(),
        Ok(evaluated) => {
            let attrs = evaluated.source.attrs.iter().map(|(key, value)| format!(" {key}={value}"));
            let how = if evaluated.converted { "converted to" } else { "allowed" };
            format!("{how} {}{}", evaluated.source.identifier, attrs.collect::<String>())
        }
    }
}

fn judged(rules: &[&str], source: &str) -> String {
    verdict(&Policies::new(vec![policy(rules)]), source)
}

const ALPINE: &str = "docker-image://docker.io/library/alpine:latest";

#[test]
fn without_rules_everything_is_allowed() {
    insta::assert_snapshot!(
        judged(&[], ALPINE),
        @"allowed docker-image://docker.io/library/alpine:latest"
    );
    assert!(Policies::new(vec![policy(&[])]).is_empty());
}

#[test]
fn of_allow_and_deny_the_last_that_matches_counts() {
    insta::assert_snapshot!(
        judged(&["allow * *", "deny * docker-image://*"], ALPINE),
        @r#"source "docker-image://docker.io/library/alpine:latest" denied by policy: source denied by policy"#
    );
    insta::assert_snapshot!(
        judged(&["deny * *", "allow * docker-image://docker.io/library/alpine:*"], ALPINE),
        @"allowed docker-image://docker.io/library/alpine:latest"
    );
}

#[test]
fn a_conversion_is_judged_anew_by_all_rules() {
    let golang = "docker-image://docker.io/library/golang:1.19";
    insta::assert_snapshot!(
        judged(
            &[
                "convert * docker-image://docker.io/library/golang:* => docker-image://mirror/go:${1}-x"
            ],
            golang
        ),
        @"converted to docker-image://mirror/go:1.19-x"
    );
    insta::assert_snapshot!(
        judged(
            &[
                "convert = docker-image://docker.io/library/golang:1.19 => https://example.com/go",
                "deny ~ ^https://",
            ],
            golang
        ),
        @r#"source "https://example.com/go" denied by policy: source denied by policy"#
    );
}

#[test]
fn a_conversion_can_change_only_attributes() {
    insta::assert_snapshot!(
        judged(
            &["convert = https://example.com/a set http.checksum=sha256:aa"],
            "https://example.com/a http.perm=0600"
        ),
        @"converted to https://example.com/a http.checksum=sha256:aa http.perm=0600"
    );
}

#[test]
fn regular_expressions_replace_what_they_match() {
    insta::assert_snapshot!(
        judged(
            &["convert ~ ^https?://example.com/(.*)$ => https://mirror.example/$1"],
            "http://example.com/x/y"
        ),
        @"converted to https://mirror.example/x/y"
    );
}

#[test]
fn attributes_decide_too() {
    let rules = &["deny * https://* if http.checksum=="];
    insta::assert_snapshot!(
        judged(rules, "https://example.com/a"),
        @r#"source "https://example.com/a" denied by policy: source denied by policy"#
    );
    let summed = "https://example.com/a http.checksum=sha256:aa";
    insta::assert_snapshot!(
        judged(rules, summed),
        @"allowed https://example.com/a http.checksum=sha256:aa"
    );
    let rules = &["deny * https://* if http.checksum!=sha256:bb", "allow * * if x~=^y"];
    insta::assert_snapshot!(
        judged(rules, "https://example.com/a x=yes"),
        @"allowed https://example.com/a x=yes"
    );
}

#[test]
fn a_circle_of_conversions_is_an_error() {
    insta::assert_snapshot!(
        judged(
            &["convert = local://a => local://b", "convert = local://b => local://a"],
            "local://a"
        ),
        @r#"too many mutations on a single source: "local://b" is still converted after 20 times"#
    );
}

#[test]
fn the_policies_of_a_frontend_come_first() {
    let of_build = Policies::new(vec![policy(&["deny = local://b"])]);
    let of_frontend = Policies::new(vec![policy(&["convert = local://a => local://b"])]);
    insta::assert_snapshot!(
        verdict(&of_build.after(&of_frontend), "local://a"),
        @r#"source "local://b" denied by policy: source denied by policy"#
    );
}

#[test]
fn what_cannot_be_understood_is_refused_with_its_rule() {
    let error = |rules: Vec<wire::Rule>| {
        Policy::compile(&wire::Policy { version: 0, rules }).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        error(vec![rule("allow * *"), wire::Rule::default()]),
        @"source policy rule 1: invalid nil selector in policy"
    );
    insta::assert_snapshot!(
        error(vec![rule("deny ~ (")]),
        @r#"source policy rule 0: invalid regular expression "(""#
    );
    insta::assert_snapshot!(
        error(vec![rule("deny * a**")]),
        @r#"source policy rule 0: invalid wildcard "a**": `**` means nothing here, write `*`"#
    );
    let unknown = wire::Rule { action: 9, ..rule("deny * a") };
    insta::assert_snapshot!(
        error(vec![unknown]),
        @"source policy rule 0: unknown type of action 9"
    );
    let nothing = wire::Rule { updates: None, ..rule("convert * a => b") };
    insta::assert_snapshot!(
        error(vec![nothing]),
        @"source policy rule 0: missing destination for convert rule (`updates`)"
    );
    let future = Policy::compile(&wire::Policy { version: 7, rules: Vec::new() });
    insta::assert_snapshot!(
        future.unwrap_err().to_string(),
        @"source policy of version 7 is not supported, only version 1 is"
    );
}

fn source_op(identifier: &str) -> pb::Op {
    let source = pb::SourceOp { identifier: identifier.into(), ..Default::default() };
    pb::Op { op: Some(pb::op::Op::Source(source)), ..Default::default() }
}

fn op_on(inputs: &[&pb::Op]) -> pb::Op {
    let input = |op: &&pb::Op| pb::Input { digest: digest(op), index: 0 };
    pb::Op { inputs: inputs.iter().map(input).collect(), ..Default::default() }
}

fn digest(op: &pb::Op) -> String {
    kiln_oci::Digest::sha256(op.encode_to_vec()).to_string()
}

fn definition(ops: &[&pb::Op]) -> pb::Definition {
    let metadata = pb::OpMetadata { ignore_cache: true, ..Default::default() };
    pb::Definition {
        def: ops.iter().map(|op| op.encode_to_vec().into()).collect(),
        metadata: ops.iter().map(|op| (digest(op), metadata.clone())).collect(),
        source: Some(pb::Source {
            locations: ops.iter().map(|op| (digest(op), pb::Locations::default())).collect(),
            infos: Vec::new(),
        }),
    }
}

#[test]
fn a_replaced_source_renames_all_that_is_built_on_it() {
    let (old, other, new) = (source_op("a://old"), source_op("a://other"), source_op("a://new"));
    let graph = |source: &pb::Op| {
        let middle = op_on(&[source, &other]);
        let last = op_on(&[&middle]);
        // Ops may come in any order but for the last.
        definition(&[&middle, source, &other, &last])
    };
    let found = sources(&graph(&old));
    let identifiers = found.iter().map(|found| found.source.identifier.as_str());
    assert_eq!(identifiers.collect::<Vec<_>>(), ["a://old", "a://other"]);
    let replacements = [(found[0].digest.clone(), Source::new("a://new"))].into();
    assert_eq!(replace(&graph(&old), &replacements), graph(&new));
    assert_eq!(replace(&graph(&old), &Default::default()), graph(&old));
}

#[test]
fn sources_that_become_one_are_one_op() {
    let (a, b) = (source_op("a://a"), source_op("a://b"));
    let before = definition(&[&a, &b, &op_on(&[&a, &b])]);
    let replacements = [(digest(&a), Source::new("a://b"))].into();
    assert_eq!(replace(&before, &replacements), definition(&[&b, &op_on(&[&b, &b])]));
}
