//! Graphs that nobody in his right mind would send.

use std::sync::LazyLock;

use kiln_llb::{
    Action, CopyOptions, Definition, Git, Local, Mkdir, Mkfile, Mount, Owner, Passthrough,
    PassthroughInput, Secret, Ssh, State,
};
use kiln_oci::Digest;
use kiln_testing::{Edit, LintOptions, World, simulate, simulate_change};
use kiln_wire::pb;
use proptest::prelude::*;
use prost::Message as _;

use super::{marshal, named};

/// One op of every kind, with much in it.
static OPS: LazyLock<Vec<pb::Op>> = LazyLock::new(|| {
    let context =
        State::local("context", Local::default().with_include_patterns(vec!["a*".into()]));
    let base = State::image("alpine:3.20").with_env("A", "1");
    let run = base.run(
        named("make", "[1/2] RUN make", 1)
            .with_mounts(vec![
                Mount::bind("/src", &context).path("/a").readonly(),
                Mount::cache("/c").id("x/c"),
                Mount::tmpfs("/t"),
            ])
            .with_secrets(vec![Secret::file("s", "/s"), Secret::env("s", "S")])
            .with_ssh(vec![Ssh::default()]),
    );
    let owner = Some(Owner::parse("app:app"));
    let files = run.root().file([
        Action::mkdir("/d", Mkdir::default().with_owner(owner.clone())),
        Action::mkfile("/f", "a\nb\n", Mkfile::default()),
        Action::copy(
            &context,
            "/a*",
            "/d/",
            CopyOptions::default().with_owner(owner).with_allow_wildcard(true),
        ),
    ]);
    let git = State::git("https://example.com/a.git", "v1", Git::default());
    let merged = State::merge(&[files.clone(), git, State::diff(&base, &files)]);
    let input = PassthroughInput { state: merged.build("f", Default::default()), output: true };
    let through = Passthrough::new("p", &[input], Default::default());
    marshal(&through.state(0)).ops().map(|op| op.unwrap().1).filter(|op| op.op.is_some()).collect()
});

/// A definition of ops whose bytes were meddled with, on one another in their order.
fn meddled(at: &[(usize, usize, u8)]) -> Definition {
    let mut definition = Definition::default();
    let mut digests: Vec<String> = Vec::new();
    for (n, op) in OPS.iter().enumerate() {
        let mut op = op.clone();
        let mut bytes = pb::Op { inputs: Vec::new(), ..op.clone() }.encode_to_vec();
        for (which, byte, value) in at {
            if which % OPS.len() == n {
                let byte = byte % bytes.len();
                bytes[byte] = *value;
            }
        }
        if let Ok(other) = pb::Op::decode(&*bytes) {
            op.op = other.op;
            op.platform = other.platform;
        }
        let reads = digests.iter().rev().take(op.inputs.len());
        op.inputs = reads.map(|digest| pb::Input { digest: digest.clone(), index: 0 }).collect();
        let bytes = op.encode_to_vec();
        digests.push(Digest::sha256(&bytes).to_string());
        definition.def.push(bytes.into());
    }
    let inputs = vec![pb::Input { digest: digests.pop().unwrap(), index: 0 }];
    definition.def.push(pb::Op { inputs, ..pb::Op::default() }.encode_to_vec().into());
    definition
}

/// Everything this crate makes of graphs.
fn everything(definition: &Definition, other: &Definition) {
    let world = World::of_context([("a", "1"), ("b/c", "2")]);
    kiln_testing::text(definition).unwrap();
    kiln_testing::svg(definition).unwrap();
    kiln_testing::lint(definition, &LintOptions::default()).unwrap();
    let difference = kiln_testing::difference(definition, other).unwrap();
    assert_eq!(difference.to_string().is_empty(), difference.is_empty());
    assert!(kiln_testing::difference(definition, definition).unwrap().is_empty());
    simulate(definition, &world, [Edit::write("a", "2"), Edit::remove("b")]).unwrap();
    simulate_change((definition, &world), (other, &world)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn meddled_bytes_do_no_harm(
        at in prop::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 0..12),
    ) {
        everything(&meddled(&at), &meddled(&[]));
        everything(&meddled(&[]), &meddled(&at));
    }

    #[test]
    fn any_numbers_in_file_actions_do_no_harm(
        actions in prop::collection::vec((-2_i64..9, -2_i64..9, -2_i64..4, 0_usize..5), 0..8),
    ) {
        let files = OPS.iter().find_map(|op| match &op.op {
            Some(pb::op::Op::File(file)) => Some(file.actions.clone()),
            _ => None,
        });
        let files = files.unwrap();
        let actions = actions.into_iter().map(|(input, secondary_input, output, which)| {
            let action = files.get(which).and_then(|action| action.action.clone());
            pb::FileAction { input, secondary_input, output, action }
        });
        let file = pb::FileOp { actions: actions.collect() };
        let mut definition = meddled(&[]);
        let last = definition.head().unwrap().unwrap().0;
        let inputs = vec![pb::Input { digest: last, index: 1 }];
        let op = pb::Op { inputs, op: Some(pb::op::Op::File(file)), ..pb::Op::default() };
        let bytes = op.encode_to_vec();
        let inputs = vec![pb::Input { digest: Digest::sha256(&bytes).to_string(), index: 0 }];
        definition.def.pop();
        definition.def.push(bytes.into());
        definition.def.push(pb::Op { inputs, ..pb::Op::default() }.encode_to_vec().into());
        everything(&definition, &meddled(&[]));
    }
}
