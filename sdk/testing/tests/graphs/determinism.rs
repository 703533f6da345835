//! Determinism checks.

use std::collections::HashMap;

use kiln_llb::{Constraints, Definition, Local, Marshal, MarshalError, ProgressGroup, State};
use kiln_oci::Platform;
use kiln_testing::determinism::{Nondeterminism, Outcome, Shuffle, check, check_async, explained};
use proptest::prelude::*;

use super::{marshal, sh};

fn with_options(options: &[(&str, &str)]) -> Result<Definition, MarshalError> {
    let base = State::image("alpine:3.20");
    let state = options.iter().fold(base, |state, (name, value)| state.with_env(*name, *value));
    state.run(sh("env")).root().marshal(&Marshal::on(Platform::new("linux", "amd64")))
}

const OPTIONS: [(&str, &str); 3] = [("A", "1"), ("B", "2"), ("C", "3")];

#[test]
fn a_frontend_that_sorts_passes() {
    let made = check(8, |shuffle| {
        let mut options = shuffle.order(OPTIONS);
        options.sort_unstable();
        with_options(&options)
    });
    assert_eq!(made.unwrap(), Outcome::from(with_options(&OPTIONS).unwrap()));
}

#[test]
fn a_frontend_that_trusts_the_order_of_a_hash_map_is_caught() {
    let error = check(32, |_| {
        let options: HashMap<&str, &str> = OPTIONS.into_iter().collect();
        with_options(&options.into_iter().collect::<Vec<_>>())
    });
    assert!(matches!(error, Err(Nondeterminism::Differs { .. })));
}

#[test]
fn the_first_failing_run_is_told() {
    let error = check(4, |shuffle| match shuffle.run() {
        2 => Err("the moon is wrong"),
        _ => Ok(marshal(&State::image("alpine"))),
    });
    assert_eq!(error.unwrap_err().to_string(), "run 2 failed: the moon is wrong");
}

#[test]
fn platforms_are_compared_by_name() {
    let made = |names: &[&str]| -> Outcome {
        names.iter().map(|name| (*name, marshal(&State::image(name)))).collect()
    };
    let error = check::<Outcome, String>(2, |shuffle| {
        Ok(made(if shuffle.run() == 0 { &["a", "b"] } else { &["a"] }))
    });
    let error = error.unwrap_err().to_string();
    assert_eq!(error, r#"run 1 made ["a"], the first one made ["a", "b"]"#);
    assert!(check::<Outcome, String>(5, |shuffle| Ok(made(&shuffle.order(["a", "b"])))).is_ok());
}

#[tokio::test]
async fn a_frontend_that_waits_is_checked_too() {
    let made = check_async(3, |shuffle| async move {
        tokio::task::yield_now().await;
        with_options(&shuffle.order(OPTIONS))
    });
    let error = made.await.unwrap_err().to_string();
    assert_eq!(
        error,
        "run 1 made another graph:\nstep 2 \"/bin/sh -c env\": environment: other order\n"
    );
}

#[test]
fn what_the_text_does_not_show_is_told_as_well() {
    let local = |unique: &str| {
        let local = Local::default();
        let constraints = Constraints::default().with_local_unique_id(Some(unique.to_owned()));
        marshal(&State::local("context", local.with_constraints(constraints)))
    };
    assert_eq!(
        explained(&local("1"), &local("2")).unwrap(),
        "step 1 \"local context\": attribute local.unique changed\n"
    );
    let group = |id: &str| {
        let group = ProgressGroup::default().with_id(id).with_name("g").with_weak(false);
        let constraints = Constraints::default().with_progress_group(Some(group));
        marshal(&State::local("context", Local::default().with_constraints(constraints)))
    };
    assert_eq!(
        explained(&group("1"), &group("2")).unwrap(),
        "step 1 \"local context\": progress group changed\n"
    );
    let merged = marshal(&State::merge(&[State::image("a"), State::image("b")]));
    let mut turned = merged.clone();
    turned.def.swap(0, 1);
    assert_eq!(
        explained(&merged, &turned).unwrap(),
        "the steps are the same, but written in another order\n"
    );
    assert_eq!(explained(&merged, &merged), None);
}

proptest! {
    #[test]
    fn a_shuffle_loses_nothing(run in 0_usize..100, things in prop::collection::vec(0..9, 0..20)) {
        let mut shuffled = Shuffle::of_run(run).order(things.clone());
        prop_assert_eq!(&shuffled, &Shuffle::of_run(run).order(things.clone()));
        let mut things = things;
        things.sort_unstable();
        shuffled.sort_unstable();
        prop_assert_eq!(things, shuffled);
    }
}
