//! Stories of what differs, in builds that are made of a few words; and recorded ops, of which facts and
//! keys have to say the same.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_keys::contenthash::FileKind;
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use kiln_pb::pb::op::Op as Kind;
use prost::Message as _;

use crate::listing::{Entry, Writer};
use crate::*;

/// A step in a story: what it reads stands before it.
fn step(name: &str, kind: StepKind, facts: &[(What, &str, &str)], inputs: &[usize]) -> StepRecord {
    let facts: Vec<Fact> =
        facts.iter().map(|(what, name, value)| Fact::named(*what, *name, *value)).collect();
    let key = Digest::sha256(serde_json::to_string(&facts).unwrap());
    let is_local = kind == StepKind::Local;
    let input = |step: &usize| InputRecord { step: *step, ..InputRecord::default() };
    StepRecord {
        digest: Digest::sha256(name),
        name: name.into(),
        kind,
        keys: vec![key.to_string()],
        session: is_local,
        facts,
        inputs: inputs.iter().map(input).collect(),
        outcome: Outcome::Ran,
        ignores_cache: false,
        lost: false,
        place: None,
        rerun: None,
        caches: Vec::new(),
    }
}

fn cached(step: StepRecord) -> StepRecord {
    StepRecord { outcome: Outcome::Cached, ..step }
}

/// An input whose content was looked at.
fn reading(step: usize, files: &[(&str, &str, u32)]) -> InputRecord {
    let mut writer = Writer::default();
    let mut all = String::new();
    for (path, text, mode) in files {
        let digest = Digest::sha256(format!("{text}{mode}"));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(
            &(0..32)
                .map(|at| u8::from_str_radix(&digest.hex()[2 * at..2 * at + 2], 16).unwrap())
                .collect::<Vec<_>>(),
        );
        let sum = text.bytes().map(u32::from).sum();
        let entry = Entry {
            kind: FileKind::File,
            mode: *mode,
            size: text.len() as u64,
            sum,
            digest: bytes,
            ..Entry::default()
        };
        writer.add(path.as_bytes(), &entry);
        all += digest.as_str();
    }
    InputRecord {
        step,
        content: Some(Digest::sha256(all)),
        listing: Some(ListingRecord::Here(STANDARD.encode(writer.finish()))),
        ..InputRecord::default()
    }
}

const CONTEXT: &str = "[internal] load build context";

/// `FROM`, a copy of files, two commands.
struct Story {
    image: &'static str,
    files: Vec<(&'static str, &'static str, u32)>,
    make: &'static str,
    variable: &'static str,
}

impl Story {
    fn new() -> Self {
        let files = vec![("a.c", "int a;", 0o644), ("b.c", "int b;", 0o644)];
        Self { image: "base@1", files, make: "make", variable: "1" }
    }

    fn record(&self) -> BuildRecord {
        let image =
            step("[1/4] FROM base", StepKind::Source, &[(What::Image, "", self.image)], &[]);
        let context = step(CONTEXT, StepKind::Local, &[], &[]);
        let copy = [(What::Copy, "destination", "/src")];
        let mut copy = step("[2/4] COPY . /src", StepKind::File, &copy, &[0, 1]);
        copy.inputs[1] = reading(1, &self.files);
        let make = [(What::Command, "", self.make), (What::Variable, "V", self.variable)];
        let make = step(&format!("[3/4] RUN {}", self.make), StepKind::Exec, &make, &[2]);
        let test = step("[4/4] RUN test", StepKind::Exec, &[(What::Command, "", "test")], &[3]);
        let steps = vec![image, context, copy, make, test];
        BuildRecord { project: "p".into(), steps, ..BuildRecord::default() }
    }
}

/// Explains a build after another, with the numbers of the steps that came from the cache.
fn explained(before: BuildRecord, mut now: BuildRecord, found: &[usize]) -> Explanation {
    for number in found {
        now.steps[*number] = cached(now.steps[*number].clone());
    }
    let earlier = [Earlier { build: "one".into(), started: 1, record: before }];
    explain("two", 2, &now, &earlier, &|_| None)
}

/// An explanation in few words, a line for each step.
fn words(explanation: &Explanation) -> String {
    let mut text = String::new();
    for step in &explanation.steps {
        text += &format!("{}: {:?}", step.name, step.cause);
        for because in &step.because {
            text += &format!(" because of {because}");
        }
        for difference in &step.differences {
            text += &format!("\n  {}", serde_json::to_string(difference).unwrap());
        }
        if let Some(not) = &step.not_reproducible {
            let files: Vec<_> = not.files.iter().map(|file| file.path.as_str()).collect();
            text += &format!("\n  not reproducible {}", files.join(" "));
        }
        text += "\n";
    }
    text
}

#[test]
fn a_changed_file_is_named_and_what_follows_is_because_of_it() {
    let mut now = Story::new();
    now.files[1].1 = "int c;";
    insta::assert_snapshot!(words(&explained(Story::new().record(), now.record(), &[0])), @r#"
    [2/4] COPY . /src: Changed
      {"kind":"file","path":"b.c","changed":["content"],"before":"6 bytes","after":"6 bytes","beforeDigest":"sha256:605f954768ac15ec4b0836c7f4d8b8b99d4edfafa23f60337c5009963d85d682","afterDigest":"sha256:a235370221ec79f69d890c60d33d197e1bb7f8dc1181148ffb67dbef4a6dae10","of":"[internal] load build context"}
    [3/4] RUN make: Because because of [2/4] COPY . /src
    [4/4] RUN test: Because because of [3/4] RUN make
    "#);
}

#[test]
fn attributes_new_files_and_lost_ones_are_told_apart() {
    let mut now = Story::new();
    now.files = vec![("a.c", "int a;", 0o755), ("new/d.c", "", 0o644)];
    let explanation = explained(Story::new().record(), now.record(), &[0]);
    let changes: Vec<String> = explanation.steps[0]
        .differences
        .iter()
        .map(|difference| match difference {
            Difference::File { change, .. } => {
                format!("{} {}", change.path, change.changed.join(" "))
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(changes, ["a.c mode", "b.c gone", "new/d.c new"]);
}

#[test]
fn a_base_that_was_there_already_is_followed_down_to() {
    let now = Story { image: "base@2", ..Story::new() };
    insta::assert_snapshot!(words(&explained(Story::new().record(), now.record(), &[0])), @r#"
    [2/4] COPY . /src: Changed
      {"kind":"fact","what":"image","before":"base@1","after":"base@2","of":"[1/4] FROM base"}
    [3/4] RUN make: Because because of [2/4] COPY . /src
    [4/4] RUN test: Because because of [3/4] RUN make
    "#);
}

#[test]
fn a_changed_command_is_compared_with_the_one_in_its_place() {
    let now = Story { make: "make all", variable: "2", ..Story::new() };
    insta::assert_snapshot!(words(&explained(Story::new().record(), now.record(), &[0, 2])), @r#"
    [3/4] RUN make all: Changed
      {"kind":"fact","what":"command","before":"make","after":"make all"}
      {"kind":"fact","what":"variable","name":"V","before":"1","after":"2"}
    [4/4] RUN test: Because because of [3/4] RUN make all
    "#);
}

#[test]
fn a_variable_of_a_build_argument_is_called_that() {
    let mut now = Story { variable: "2", ..Story::new() }.record();
    now.build_args.insert("V".into());
    let explanation = explained(Story::new().record(), now, &[0, 2]);
    let Difference::Fact { what, .. } = &explanation.steps[0].differences[0] else { panic!() };
    assert_eq!(*what, What::BuildArgument);
}

#[test]
fn nothing_that_changed_is_told_from_what_never_was() {
    let one = Story::new().record();
    let causes = |explanation: Explanation| -> Vec<Cause> {
        explanation.steps.iter().map(|step| step.cause).collect()
    };
    let gone = explained(one.clone(), one.clone(), &[0, 2, 3]);
    assert_eq!(causes(gone), [Cause::Gone]);
    let new = explained(BuildRecord::default(), one.clone(), &[]);
    assert_eq!(causes(new), [Cause::New; 4]);
    let mut failed = one.clone();
    failed.steps[4].outcome = Outcome::Failed;
    assert_eq!(causes(explained(failed, one.clone(), &[0, 2, 3])), [Cause::FailedBefore]);
    let mut told = one.clone();
    told.steps.iter_mut().for_each(|step| step.ignores_cache = true);
    assert_eq!(causes(explained(one, told, &[])), [Cause::NoCache; 4]);
}

#[test]
fn a_step_that_made_something_else_of_the_same_is_not_reproducible() {
    let build = |drawn: &'static str| {
        let draw = step("RUN draw", StepKind::Exec, &[(What::Command, "", "draw")], &[]);
        let mut copy =
            step("COPY --from=0 /drawn /", StepKind::File, &[(What::Copy, "", "/")], &[0]);
        copy.inputs[0] = reading(0, &[("drawn", drawn, 0o644), ("same", "", 0o644)]);
        BuildRecord { steps: vec![draw, copy], ..BuildRecord::default() }
    };
    insta::assert_snapshot!(words(&explained(build("4"), build("5"), &[])), @"
    RUN draw: Gone
      not reproducible drawn
    COPY --from=0 /drawn /: Because because of RUN draw
    ");
}

#[test]
fn the_nearest_is_the_one_with_the_fewest_differences_and_then_the_latest() {
    let near = Story { variable: "2", ..Story::new() };
    let far = Story { variable: "3", make: "cmake", ..Story::new() };
    let now = Story { variable: "4", ..Story::new() }.record();
    let earlier = |builds: [(&str, &Story); 3]| {
        builds.map(|(build, story)| Earlier {
            build: build.into(),
            started: 0,
            record: story.record(),
        })
    };
    let with = |builds| {
        let explanation = explain("now", 9, &now, &earlier(builds), &|_| None);
        let make = explanation.steps.iter().find(|step| step.name == "[3/4] RUN make").unwrap();
        make.compared_with.clone().unwrap().build
    };
    assert_eq!(with([("c", &far), ("b", &near), ("a", &near)]), "b");
    assert_eq!(with([("c", &near), ("b", &near), ("a", &far)]), "c");
}

#[test]
fn steps_of_other_projects_are_not_compared_unless_they_are_the_same() {
    let other =
        BuildRecord { project: "q".into(), ..Story { make: "npm i", ..Story::new() }.record() };
    let explanation = explained(other, Story::new().record(), &[]);
    let causes: Vec<_> = explanation.steps.iter().map(|step| step.cause).collect();
    assert_eq!(causes, [Cause::Gone, Cause::Gone, Cause::New, Cause::Because]);
}

#[test]
fn an_imported_cache_says_what_it_does_not_know() {
    let mut before = Story::new().record();
    let mut now = Story { variable: "2", ..Story::new() }.record();
    let there: Vec<String> = before.steps[3]
        .keys
        .iter()
        .map(|key| Digest::sha256(format!("{key}@0")).to_string())
        .collect();
    now.caches = vec![CacheRecord {
        name: "reg/cache".into(),
        operations: there.into_iter().collect(),
        ..CacheRecord::default()
    }];
    now.steps[3].caches = vec![CacheView { operation: false, linked: vec![false] }];
    now.steps[4].caches = vec![CacheView { operation: true, linked: vec![false] }];
    before.steps.truncate(4);
    let explanation = explained(before, now, &[0, 2]);
    let [make, test] = &explanation.steps[..] else { panic!("{explanation:?}") };
    assert!(!make.caches[0].operation);
    assert_eq!(make.caches[0].nearest.as_ref().unwrap().build, "one");
    assert_eq!(make.caches[0].differences, make.differences);
    assert_eq!(test.caches[0].unknown_inputs, ["[3/4] RUN make"]);
    assert!(test.caches[0].nearest.is_none());
}

#[test]
fn records_and_explanations_survive_json() {
    let record = Story::new().record();
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<BuildRecord>(&json).unwrap(), record);
    let explanation = explained(record, Story { variable: "2", ..Story::new() }.record(), &[0]);
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);
}

#[test]
fn records_that_make_no_sense_do_no_harm() {
    let mut record = Story::new().record();
    record.steps[3].inputs[0].step = usize::MAX;
    record.steps[2].inputs[0].step = 4;
    record.steps[2].inputs[1].listing = Some(ListingRecord::Here("!".into()));
    explained(record.clone(), Story { image: "base@2", ..Story::new() }.record(), &[0]);
    explained(Story { image: "base@2", ..Story::new() }.record(), record, &[0]);
    for bytes in
        [&b""[..], b"kiln listing 1\n", b"kiln listing 1\n\xff.", b"kiln listing 1\n\x05a.", b"x"]
    {
        assert!(listing::read(bytes).is_err() || bytes.len() > 60, "{bytes:?}");
    }
}

#[test]
fn a_long_chain_that_differs_at_its_end_is_followed_in_time() {
    let chain = |first: &str| {
        let mut steps = vec![step("FROM base", StepKind::Source, &[(What::Image, "", first)], &[])];
        for number in 0..5_000 {
            let name = format!("RUN {number}");
            let facts = [(What::Command, "", name.as_str())];
            steps.push(cached(step(&name, StepKind::Exec, &facts, &[number])));
        }
        let last = steps.len() - 1;
        steps[last].outcome = Outcome::Ran;
        BuildRecord { project: "p".into(), steps, ..BuildRecord::default() }
    };
    let explanation = explained(chain("1"), chain("2"), &[0]);
    assert_eq!(explanation.steps[0].cause, Cause::Unknown, "too far down to be told");
}

/// The ops of all recorded definitions, each once.
fn recorded() -> Vec<pb::Op> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/llb");
    let mut ops = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let case: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let Some(text) = case["definition_base64"].as_str() else { continue };
        let definition = pb::Definition::decode(&*STANDARD.decode(text).unwrap()).unwrap();
        for bytes in definition.def {
            ops.insert(bytes.clone(), pb::Op::decode(bytes).unwrap());
        }
    }
    ops.into_values().collect()
}

#[test]
fn facts_are_equal_exactly_where_keys_are() {
    let platform = Platform::new("linux", "amd64");
    let mut by_key: BTreeMap<Digest, Vec<Fact>> = BTreeMap::new();
    let mut by_facts: BTreeMap<String, Digest> = BTreeMap::new();
    let mut count = 0;
    for op in recorded() {
        if matches!(op.op, Some(Kind::Source(_)) | None) {
            continue;
        }
        let Ok(map) = kiln_keys::cache_map(&op, &platform) else { continue };
        let mut facts = facts(&op, &platform, None).unwrap();
        // What is shown does not count.
        facts.iter_mut().for_each(|fact| fact.shown = None);
        let text = serde_json::to_string(&facts).unwrap();
        let known = by_key.entry(map.digest.clone()).or_insert_with(|| facts.clone());
        assert_eq!(*known, facts, "equal keys of {op:?}");
        let known = by_facts.entry(text).or_insert_with(|| map.digest.clone());
        assert_eq!(*known, map.digest, "equal facts of {op:?}");
        count += 1;
    }
    assert!(count > 100, "{count} ops");
}
