//! What is done and what is not, told one situation at a time.

use std::collections::BTreeSet;

use kiln_cache::testing::{all_of, look_up, operation, save};
use kiln_cache::{CacheKey, CacheStore, LinkStore, MemoryKeyValue};
use kiln_oci::Digest;

use super::machine::{Machine, Story};
use crate::{Event, JobId, Work};

/// Builds an output twice with fresh jobs; what happened the second time.
fn again(machine: &mut Machine, story: &Story, name: &str) -> String {
    machine.build(story, name);
    machine.build(story, name)
}

// Sharing.

#[test]
fn a_shared_input_is_solved_once_and_never_again() {
    let story = Story::new("image | lint: image | test: image | all: lint test");
    let mut machine = Machine::new();
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec image, exec lint, exec test, exec all, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"load all, cached all, cached test, cached image, cached lint, finish ok"
    );
}

#[test]
fn a_vertex_that_a_job_holds_is_there_for_others_as_it_is() {
    let story = Story::new("image");
    let mut machine = Machine::new();
    machine.request(&story, 1, "image");
    machine.run();
    machine.request(&story, 2, "image");
    machine.run();
    machine.close(1);
    machine.request(&story, 3, "image");
    machine.run();
    insta::assert_snapshot!(machine.take_log(), @"exec image, finish ok, finish ok, finish ok");
    machine.close(2);
    machine.close(3);
    machine.is_at_rest();
    insta::assert_snapshot!(machine.build(&story, "image"), @"load image, cached image, finish ok");
}

#[test]
fn two_jobs_that_ask_at_once_share_one_run() {
    let story = Story::new("image | run: image");
    let mut machine = Machine::new();
    machine.request(&story, 1, "run");
    machine.request(&story, 2, "run");
    machine.run();
    insta::assert_snapshot!(machine.take_log(), @"exec image, exec run, finish ok, finish ok");
    machine.close(1);
    machine.close(2);
    machine.is_at_rest();
}

#[test]
fn another_vertex_that_does_the_same_is_found_in_the_cache() {
    let mut machine = Machine::new();
    machine.build(&Story::new("a=key"), "a");
    insta::assert_snapshot!(
        machine.build(&Story::new("b=key"), "b"),
        @"load b, cached b, finish ok"
    );
    insta::assert_snapshot!(machine.build(&Story::new("c=other"), "c"), @"exec c, finish ok");
}

#[test]
fn inputs_are_worked_on_at_the_same_time() {
    let story = Story::new("a | b | all: a b");
    let mut machine = Machine::new();
    machine.request(&story, 1, "all");
    machine.run_until("exec a");
    machine.run_until("exec b");
    assert!(machine.open.iter().filter(|task| matches!(task.work, Work::Exec(_))).count() == 2);
    machine.run();
    machine.close(1);
    machine.is_at_rest();
}

#[test]
fn a_vertex_runs_once_for_all_of_its_outputs() {
    let story = Story::new("image | split*3: image | a: split.0 | b: split.2 | all: a b");
    let mut machine = Machine::new();
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec image, exec split, exec a, exec b, exec all, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"load all, cached all, cached b, cached split, cached image, cached a, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "split.1"),
        @"load split, cached split, cached image, finish ok"
    );
}

// Cancelling.

#[test]
fn the_last_job_to_go_cancels_what_runs() {
    let story = Story::new("image | run: image");
    let mut machine = Machine::new();
    machine.request(&story, 1, "run");
    machine.run_until("exec run");
    machine.close(1);
    machine.run();
    insta::assert_snapshot!(machine.take_log(), @"exec image, exec run, cancel run");
    machine.is_at_rest();
    insta::assert_snapshot!(machine.build(&story, "run"), @"exec image, exec run, finish ok");
}

#[test]
fn a_job_that_goes_leaves_the_work_to_those_who_stay() {
    let story = Story::new("image | run: image | mine: run");
    let mut machine = Machine::new();
    machine.request(&story, 1, "mine");
    machine.request(&story, 2, "run");
    machine.run_until("exec run");
    machine.close(1);
    machine.run();
    insta::assert_snapshot!(machine.take_log(), @"exec image, exec run, finish ok");
    machine.close(2);
    machine.is_at_rest();
}

#[test]
fn a_job_may_go_at_any_moment() {
    let story = Story::new("base | files~ | copy: base files~@ | run: copy+ | all*2: run copy@");
    for moment in 0..40 {
        let mut machine = Machine::new();
        machine.request(&story, 1, "all");
        for _ in 0..moment {
            if !machine.open.is_empty() {
                machine.step(0);
            }
        }
        machine.close(1);
        machine.run();
        machine.is_at_rest();
        machine.take_log();
        machine.build(&story, "all");
    }
}

// Contents.

#[test]
fn what_reads_by_content_does_not_run_again_when_the_content_is_the_same() {
    let story = Story::new("base | files~ | copy: base files~@ | run: copy");
    let mut machine = Machine::new();
    machine.makes.insert("files~".into(), "1".into());
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"exec base, exec files~, content files~ of copy, exec copy, exec run, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"exec files~, content files~ of copy, load run, cached run, cached copy, cached base, finish ok"
    );
    machine.makes.insert("files~".into(), "2".into());
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"exec files~, content files~ of copy, load base, cached base, exec copy, exec run, finish ok"
    );
    machine.makes.insert("files~".into(), "1".into());
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"exec files~, content files~ of copy, load run, cached run, cached copy, cached base, finish ok"
    );
}

#[test]
fn another_way_to_the_same_content_finds_what_was_made_of_it() {
    let mut machine = Machine::new();
    for image in ["one", "two"] {
        machine.makes.insert(image.into(), "files".into());
    }
    machine.build(&Story::new("one | copy: one@"), "copy");
    let other = Story::new("two | copy: two@");
    insta::assert_snapshot!(
        machine.build(&other, "copy"),
        @"exec two, content two of copy, load copy, cached copy, finish ok"
    );
    // By now the definition leads there as well.
    insta::assert_snapshot!(
        machine.build(&other, "copy"),
        @"load copy, cached copy, cached two, finish ok"
    );
}

#[test]
fn only_the_input_that_leads_nowhere_is_looked_into() {
    let mut machine = Machine::new();
    for name in ["b", "b-new", "b-newer"] {
        machine.makes.insert(name.into(), "content of b".into());
    }
    machine.makes.insert("a-new".into(), "a".into());
    machine.build(&Story::new("a | b | all: a@ b@"), "all");
    insta::assert_snapshot!(
        machine.build(&Story::new("a | b-new | all: a@ b-new@"), "all"),
        @"exec b-new, content b-new of all, load all, cached all, cached a, finish ok"
    );
    let both = Story::new("a-new | b-newer | all: a-new@ b-newer@");
    insta::assert_snapshot!(
        machine.build(&both, "all"),
        @"exec a-new, exec b-newer, content a-new of all, content b-newer of all, load all, cached all, finish ok"
    );
}

#[test]
fn an_input_without_content_is_not_run_for_a_vertex_that_is_found() {
    let mut machine = Machine::new();
    machine.makes.insert("b-new".into(), "b".into());
    machine.build(&Story::new("a | b | all: a b@"), "all");
    insta::assert_snapshot!(
        machine.build(&Story::new("a | b-new | all: a b-new@"), "all"),
        @"exec b-new, content b-new of all, load all, cached all, cached a, finish ok"
    );
}

#[test]
fn an_input_is_not_looked_into_before_others_are_known_by_their_contents() {
    // What v1 reads is new, but its content is not; v2 is never loaded to find that out.
    let graph = |v3: &str| Story::new(&format!("{v3} | v1: {v3}@ | v2 | v0: v1 v2@ | main: v0"));
    let mut machine = Machine::new();
    machine.makes.insert("v3-new".into(), "v3".into());
    machine.build(&graph("v3"), "main");
    insta::assert_snapshot!(
        machine.build(&graph("v3-new"), "main"),
        @"exec v3-new, content v3-new of v1, load main, cached main, cached v0, cached v2, cached v1, finish ok"
    );
}

#[test]
fn nothing_is_looked_into_that_is_found_by_definition() {
    let story = Story::new("v2 | v1: v2%part@ | v0: v1");
    insta::assert_snapshot!(
        again(&mut Machine::new(), &story, "v0"),
        @"load v0, cached v0, cached v1, cached v2, finish ok"
    );
}

#[test]
fn inputs_that_lead_apart_are_looked_into() {
    let mut machine = Machine::new();
    machine.makes.insert("b-other".into(), "b".into());
    machine.build(&Story::new("a | b | all: a b@"), "all");
    machine.build(&Story::new("x | b-other | all: x b-other@"), "all");
    // Both inputs lead somewhere: `a` to the first, `b-other` to the second.
    insta::assert_snapshot!(
        machine.build(&Story::new("a | b-other | all: a b-other@"), "all"),
        @"load b-other, cached b-other, content b-other of all, load all, cached all, cached a, finish ok"
    );
}

#[test]
fn a_content_that_cannot_be_read_fails_the_vertex_that_reads_it() {
    let story = Story::new("files | copy: files@ | all: copy");
    let mut machine = Machine::new();
    machine.request(&story, 1, "all");
    machine.run_until("content files of copy");
    machine.failing.insert("copy".into());
    machine.run();
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec files, content files of copy, finish copy failed"
    );
    machine.close(1);
    machine.is_at_rest();
}

#[test]
fn an_input_may_have_to_be_prepared_before_the_run() {
    let story = Story::new("image | run: image+");
    let mut machine = Machine::new();
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"exec image, prepare image of run, exec run, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"load run, cached run, cached image, finish ok"
    );
}

#[test]
fn a_result_is_saved_under_definition_and_content() {
    let story = Story::new("files | copy: files@");
    let mut machine = Machine::new();
    machine.build(&story, "copy");
    let by_content = all_of(CacheKey::content(&Digest::sha256("files")));
    let by_definition = all_of(operation("files"));
    for key in [by_content, by_definition] {
        let answer = look_up(machine.main(), "copy", &[&[key]]);
        assert_eq!(answer.records.len(), 1);
        assert_eq!(answer.records[0].results.len(), 1);
    }
}

// Selectors.

#[test]
fn another_part_of_an_input_is_another_result() {
    let mut machine = Machine::new();
    machine.build(&Story::new("image | run: image%a"), "run");
    insta::assert_snapshot!(
        machine.build(&Story::new("image | run: image%a"), "run"),
        @"load run, cached run, cached image, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&Story::new("image | run: image%b"), "run"),
        @"load image, cached image, exec run, finish ok"
    );
}

#[test]
fn another_part_with_the_same_content_is_the_same_result() {
    let mut machine = Machine::new();
    machine.build(&Story::new("image | run: image%a@"), "run");
    insta::assert_snapshot!(
        machine.build(&Story::new("image | run: image%b@"), "run"),
        @"load image, cached image, content image of run, load run, cached run, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&Story::new("image | run: image%b@"), "run"),
        @"load run, cached run, cached image, finish ok"
    );
}

// Several maps.

#[test]
fn what_is_known_in_several_ways_is_found_by_any_of_them() {
    let mut machine = Machine::new();
    machine.also.insert("map");
    let ways = |machine: &mut Machine, name: &str, keys: &[&str]| {
        machine.maps.insert(name.into(), keys.iter().map(|key| (*key).to_owned()).collect());
    };
    ways(&mut machine, "image", &["manifest", "layers", "third"]);
    insta::assert_snapshot!(
        machine.build(&Story::new("image"), "image"),
        @"map 0 image, map 1 image, map 2 image, exec image, finish ok"
    );
    ways(&mut machine, "again", &["manifest", "unasked"]);
    insta::assert_snapshot!(
        machine.build(&Story::new("again"), "again"),
        @"map 0 again, load again, cached again, finish ok"
    );
    ways(&mut machine, "moved", &["other", "layers"]);
    insta::assert_snapshot!(
        machine.build(&Story::new("moved"), "moved"),
        @"map 0 moved, map 1 moved, load moved, cached moved, finish ok"
    );
    ways(&mut machine, "unknown", &["x", "y"]);
    insta::assert_snapshot!(
        machine.build(&Story::new("unknown"), "unknown"),
        @"map 0 unknown, map 1 unknown, exec unknown, finish ok"
    );
}

#[test]
fn what_reads_an_image_is_found_when_only_its_manifest_has_changed() {
    let mut machine = Machine::new();
    machine.maps.insert("old".into(), vec!["manifest-1".into(), "layers".into()]);
    machine.maps.insert("new".into(), vec!["manifest-2".into(), "layers".into()]);
    machine.build(&Story::new("old | run: old"), "run");
    insta::assert_snapshot!(
        machine.build(&Story::new("new | run: new"), "run"),
        @"load run, cached run, cached new, finish ok"
    );
    // The new manifest leads there by itself from now on.
    machine.also.insert("map");
    insta::assert_snapshot!(
        machine.build(&Story::new("new | run: new"), "run"),
        @"map 0 run, map 0 new, load run, cached run, cached new, finish ok"
    );
}

#[test]
fn what_reads_two_images_is_found_although_the_new_manifest_leads_to_something_else() {
    let mut machine = Machine::new();
    machine.maps.insert("old".into(), vec!["manifest-1".into(), "layers".into()]);
    machine.maps.insert("new".into(), vec!["manifest-2".into(), "layers".into()]);
    machine.build(&Story::new("b | old | run: b old"), "run");
    machine.build(&Story::new("a | new | run: a new"), "run");
    insta::assert_snapshot!(
        machine.build(&Story::new("b | new | run: b new"), "run"),
        @"load run, cached run, cached new, cached b, finish ok"
    );
}

// Sessions.

#[test]
fn what_means_something_within_a_session_only_is_never_looked_up_or_saved() {
    let story = Story::new("files~ | run: files~ | all: run");
    let mut machine = Machine::new();
    machine.also.extend(["look up", "save"]);
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec files~, exec run, exec all, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec files~, exec run, exec all, finish ok"
    );
}

// Ignoring the cache.

#[test]
fn what_ignores_the_cache_runs_and_so_does_what_reads_it() {
    let mut machine = Machine::new();
    machine.build(&Story::new("v1 | v0: v1"), "v0");
    insta::assert_snapshot!(
        machine.build(&Story::new("v1! | v0!: v1!"), "v0!"),
        @"exec v1!, exec v0!, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&Story::new("v1! | v0: v1!"), "v0"),
        @"exec v1!, exec v0, finish ok"
    );
}

#[test]
fn what_ignored_the_cache_is_found_by_who_does_not() {
    let mut machine = Machine::new();
    machine.makes.insert("v1".into(), "old".into());
    machine.build(&Story::new("v1"), "v1");
    machine.makes.insert("v1".into(), "new".into());
    machine.build(&Story::new("v1!"), "v1!");
    let request = machine.request(&Story::new("v1"), 1, "v1");
    machine.run();
    assert_eq!(machine.finished[&request].as_deref(), Ok("new"));
    machine.close(1);
    machine.is_at_rest();
}

#[test]
fn what_ignores_the_cache_may_make_what_was_there_before() {
    let mut machine = Machine::new();
    machine.makes.insert("v1-again".into(), "v1".into());
    machine.build(&Story::new("v1 | v0: v1@"), "v0");
    insta::assert_snapshot!(
        machine.build(&Story::new("v1-again! | v0: v1-again!@"), "v0"),
        @"exec v1-again!, content v1-again! of v0, load v0, cached v0, finish ok"
    );
    // What it is saved as leads there as well.
    insta::assert_snapshot!(
        machine.build(&Story::new("v1-again | v0: v1-again@"), "v0"),
        @"load v0, cached v0, cached v1-again, finish ok"
    );
}

#[test]
fn who_ignores_the_cache_shares_with_no_one_who_does_not() {
    let (plain, ignoring) = (Story::new("v=key"), Story::new("w!=key | x!=key"));
    let mut machine = Machine::new();
    machine.request(&plain, 1, "v");
    machine.request(&ignoring, 2, "w!");
    machine.request(&ignoring, 3, "x!");
    machine.run();
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec w!, exec v, cached x!, finish ok, finish ok, finish ok"
    );
    for job in 1..=3 {
        machine.close(job);
    }
    machine.run();
    machine.is_at_rest();
}

#[test]
fn a_step_on_what_was_forced_to_run_again_runs_again_although_others_hold_that() {
    let mut machine = Machine::new();
    let base = Story::new("base!");
    machine.request(&base, 1, "base!");
    machine.run();
    machine.build_beside(&Story::new("base! | step: base!"), "step");
    insta::assert_snapshot!(
        machine.build_beside(&Story::new("base! | other=step: base!"), "other"),
        @"exec other, finish ok"
    );
    machine.close(1);
    machine.is_at_rest();
}

// Results that are gone.

#[test]
fn a_result_that_cannot_be_loaded_is_forgotten_and_made_anew() {
    let story = Story::new("image | run: image");
    let mut machine = Machine::new();
    machine.build(&story, "run");
    machine.stored.clear();
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"load run, forget run#2, load image, forget image#1, exec image, exec run, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "run"),
        @"load run, cached run, cached image, finish ok"
    );
}

#[test]
fn the_newest_result_is_tried_first_and_then_the_next() {
    let story = Story::new("image");
    let mut machine = Machine::new();
    for (id, created) in [("old", 1), ("newest", 3), ("new", 2)] {
        save(machine.main(), "image", &[], Some((id, created)));
    }
    machine.stored.insert("old".into(), "value of the old one".into());
    insta::assert_snapshot!(
        machine.build(&story, "image"),
        @"load image, forget newest, load image, forget new, load image, cached image, finish ok"
    );
}

#[test]
fn a_step_whose_result_is_gone_is_still_a_way_to_what_was_made_of_it() {
    let story = Story::new("image | run: image | all: run");
    let mut machine = Machine::new();
    machine.build(&story, "all");
    machine.stored.retain(|id, _| id.starts_with("all"));
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"load all, cached all, cached run, cached image, finish ok"
    );
}

// Several caches.

#[test]
fn an_imported_cache_is_asked_too_and_what_it_gave_is_saved() {
    let story = Story::new("image | run: image | all: run");
    let mut machine = Machine::new();
    machine.build(&story, "all");
    let imported =
        std::mem::replace(&mut machine.caches[0], LinkStore::new(MemoryKeyValue::default()));
    machine.caches.push(imported);
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"load all, cached all, cached run, cached image, finish ok"
    );
    machine.caches.pop();
    // Even the steps that were not loaded lead on.
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"load all, cached all, cached run, cached image, finish ok"
    );
}

#[test]
fn a_step_of_one_cache_leads_to_a_result_of_the_other() {
    let mut machine = Machine::new();
    machine.build(&Story::new("image | run: image"), "run");
    let imported =
        std::mem::replace(&mut machine.caches[0], LinkStore::new(MemoryKeyValue::default()));
    machine.caches.push(imported);
    machine.build(&Story::new("image"), "image");
    insta::assert_snapshot!(
        machine.build(&Story::new("image | run: image | all: run"), "all"),
        @"load run, cached run, cached image, exec all, finish ok"
    );
}

#[test]
fn of_two_results_of_the_same_age_the_one_at_hand_is_loaded() {
    let mut machine = Machine::new();
    machine.caches.push(LinkStore::new(MemoryKeyValue::default()));
    save(&machine.caches[0], "image", &[], Some(("here", 5)));
    save(&machine.caches[1], "image", &[], Some(("far", 5)));
    machine.stored = ["here", "far"].map(|id| (id.to_owned(), id.to_owned())).into();
    let request = machine.request(&Story::new("image"), 1, "image");
    machine.run();
    assert_eq!(machine.finished[&request].as_deref(), Ok("here"));
    machine.close(1);
    machine.is_at_rest();
}

// Failing.

#[test]
fn a_failure_reaches_everyone_who_needs_it_and_stops_the_rest() {
    let story = Story::new("slow | bad | all: slow bad | more: all");
    let mut machine = Machine::new();
    machine.request(&story, 1, "more");
    machine.run_until("exec slow");
    machine.run_until("exec bad");
    let bad = machine.open.iter().position(|task| {
        matches!(task.work, Work::Exec(_)) && machine.parts[&task.vertex].name == "bad"
    });
    machine.failing.insert("bad".into());
    machine.step(bad.unwrap());
    machine.run();
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec slow, exec bad, cancel slow, finish bad failed"
    );
    machine.close(1);
    machine.is_at_rest();
}

#[test]
fn a_vertex_that_cannot_be_keyed_fails() {
    let story = Story::new("bad | all: bad");
    let mut machine = Machine::new();
    machine.failing.insert("bad".into());
    insta::assert_snapshot!(machine.build(&story, "all"), @"finish bad failed");
}

#[test]
fn a_failure_is_remembered_for_those_who_were_there_and_tried_again_for_others() {
    let story = Story::new("image | bad: image | all: bad");
    let mut machine = Machine::new();
    machine.failing.insert("bad".into());
    machine.request(&story, 1, "all");
    machine.run();
    machine.request(&story, 1, "all");
    machine.request(&story, 1, "bad");
    machine.run();
    insta::assert_snapshot!(
        machine.take_log(),
        @"finish bad failed, finish bad failed, finish bad failed"
    );
    machine.failing.clear();
    machine.request(&story, 2, "all");
    machine.run();
    insta::assert_snapshot!(machine.take_log(), @"exec image, exec bad, exec all, finish ok");
    machine.close(1);
    machine.close(2);
    machine.run();
    machine.is_at_rest();
}

#[test]
fn what_was_made_before_a_failure_is_kept() {
    let story = Story::new("image | bad: image");
    let mut machine = Machine::new();
    machine.request(&story, 1, "bad");
    machine.run_until("exec bad");
    machine.failing.insert("bad".into());
    machine.run();
    machine.close(1);
    machine.run();
    machine.failing.clear();
    machine.take_log();
    insta::assert_snapshot!(
        machine.build(&story, "bad"),
        @"load image, cached image, exec bad, finish ok"
    );
}

#[test]
fn a_task_that_was_interrupted_by_who_left_begins_again_for_those_who_stay() {
    let story = Story::new("files~ | run: files~");
    let mut machine = Machine::new();
    machine.request(&story, 1, "run");
    machine.request(&story, 2, "run");
    machine.run_until("exec files~");
    let task = machine.open.iter().find(|task| matches!(task.work, Work::Exec(_))).unwrap().id;
    machine.close(1);
    machine.open.retain(|open| open.id != task);
    machine.hear(Event::Interrupted(task, "the client is gone".into()));
    machine.run();
    insta::assert_snapshot!(machine.take_log(), @"exec files~, exec files~, exec run, finish ok");
    machine.close(2);
    machine.is_at_rest();
}

#[test]
fn a_task_that_was_interrupted_although_everyone_stays_has_failed() {
    let story = Story::new("files~");
    let mut machine = Machine::new();
    machine.request(&story, 1, "files~");
    machine.run_until("exec files~");
    let task = machine.open.remove(0).id;
    machine.hear(Event::Interrupted(task, "no answer".into()));
    insta::assert_snapshot!(machine.take_log(), @"exec files~, finish no answer");
    machine.close(1);
    machine.is_at_rest();
}

// Vertices that turn out to be the same.

#[test]
fn two_vertices_that_do_the_same_run_once() {
    let story = Story::new("a=key | b=key | x: a | y=x: b | all: x y");
    insta::assert_snapshot!(
        Machine::new().build(&story, "all"),
        @"exec a, cached b, exec x, cached y, exec all, finish ok"
    );
}

#[test]
fn vertices_of_two_jobs_that_do_the_same_run_once() {
    let (one, other) = (Story::new("a=key | x=run: a"), Story::new("b=key | y=run: b"));
    let mut machine = Machine::new();
    machine.request(&one, 1, "x");
    machine.request(&other, 2, "y");
    machine.run();
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec a, cached b, exec x, cached y, finish ok, finish ok"
    );
    machine.close(1);
    machine.close(2);
    machine.is_at_rest();
}

#[test]
fn vertices_on_inputs_of_the_same_content_run_once() {
    let story = Story::new("a | b | x: a@ | y=x: b@ | all: x y");
    let mut machine = Machine::new();
    machine.makes.insert("a".into(), "same".into());
    machine.makes.insert("b".into(), "same".into());
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec a, exec b, content a of x, content b of y, exec x, cached y, exec all, finish ok"
    );
    // Both ways lead to what was made once.
    insta::assert_snapshot!(
        machine.build(&Story::new("b | y=x: b@"), "y"),
        @"load y, cached y, cached b, finish ok"
    );
}

#[test]
fn a_vertex_that_makes_what_it_reads_is_not_its_own_input() {
    // The second `touch` reads what the first one made, which is what that one read.
    let story = Story::new("a | touch: a@ | again=touch: touch@ | all: again");
    let mut machine = Machine::new();
    machine.makes.insert("touch".into(), "a".into());
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec a, content a of touch, exec touch, content touch of again, load again, cached again, exec all, finish ok"
    );
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"load touch, cached touch, cached a, content touch of again, load all, cached all, cached again, finish ok"
    );
}

#[test]
fn outputs_of_equal_vertices_are_shared_whichever_is_asked_first() {
    let story = Story::new(
        "three | four | va=add*2: three four | vb=add*2: three four | all: va.1 vb.0 va.0 vb.1",
    );
    let mut machine = Machine::new();
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec three, exec four, exec va, cached vb, exec all, finish ok"
    );
    let story = Story::new(
        "a | va=add*3: a | vb=add*3: a | vc=add*3: a | all: vb.0 va.0 vc.1 va.1 va.2 vb.2",
    );
    insta::assert_snapshot!(
        machine.build(&story, "all"),
        @"exec a, exec vb, cached va, cached vc, exec all, finish ok"
    );
}

#[test]
fn who_shares_a_vertex_with_a_job_that_goes_keeps_it() {
    let graph = |dep: &str, name: &str| Story::new(&format!("{dep}=dep | {name}=add: {dep}"));
    let mut machine = Machine::new();
    machine.request(&graph("d0", "v0"), 1, "v0");
    machine.run();
    machine.request(&graph("d1", "v1"), 2, "v1");
    machine.run();
    let has = |machine: &Machine, job: u64| -> BTreeSet<String> {
        let joined = machine.joined.get(&JobId(job)).into_iter().flatten();
        joined.map(|id| machine.parts[id].name.clone()).collect()
    };
    assert_eq!(has(&machine, 2), ["d0", "d1", "v0", "v1"].map(str::to_owned).into());
    machine.close(1);
    machine.request(&graph("d2", "v2"), 3, "v2");
    machine.run();
    assert_eq!(has(&machine, 3), ["d0", "d2", "v0", "v2"].map(str::to_owned).into());
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec d0, exec v0, finish ok, cached d1, cached v1, finish ok, cached d2, cached v2, finish ok"
    );
    machine.close(2);
    machine.close(3);
    machine.is_at_rest();
}

#[test]
fn an_equal_vertex_of_a_job_that_goes_while_it_runs_goes_on() {
    let mut machine = Machine::new();
    machine.request(&Story::new("a=key | x=run: a"), 1, "x");
    machine.run_until("exec x");
    machine.request(&Story::new("b=key | y=run: b"), 2, "y");
    while machine.open.len() > 1 {
        machine.step(1);
    }
    machine.close(1);
    machine.run();
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec a, exec x, finish ok, cached b, cached y, finish ok"
    );
    machine.close(2);
    machine.is_at_rest();
}

// Late comers.

#[test]
fn who_comes_when_an_input_is_complete_still_looks_up_what_was_made_of_it() {
    let story = Story::new("base | step: base");
    let mut machine = Machine::new();
    machine.request(&story, 1, "step");
    machine.run();
    machine.request(&Story::new("base"), 2, "base");
    machine.run();
    machine.close(1);
    machine.take_log();
    let other = Story::new("base | other=step: base");
    insta::assert_snapshot!(
        machine.build_beside(&other, "other"),
        @"load other, cached other, finish ok"
    );
    machine.close(2);
    machine.is_at_rest();
}

#[test]
fn a_job_may_ask_for_more_and_more_of_a_graph() {
    let story = Story::new("image | run: image | all: run");
    let mut machine = Machine::new();
    for name in ["image", "run", "run", "all"] {
        machine.request(&story, 1, name);
        machine.run();
    }
    insta::assert_snapshot!(
        machine.take_log(),
        @"exec image, finish ok, exec run, finish ok, finish ok, exec all, finish ok"
    );
    machine.close(1);
    machine.is_at_rest();
}

#[test]
fn inputs_that_change_one_after_the_other_lead_to_no_deadlock() {
    let mut machine = Machine::new();
    machine.build(&Story::new("v1 | v2 | v0: v1 v2"), "v0");
    machine.build(&Story::new("w1 | w2 | v0=k: w1 w2"), "v0");
    insta::assert_snapshot!(
        machine.build(&Story::new("v1 | w2 | v0=k: v1 w2@"), "v0"),
        @"load v1, load w2, cached v1, cached w2, content w2 of v0, exec v0, finish ok"
    );
}

/// Every list of events gives the same actions again.
#[test]
fn a_build_can_be_replayed_from_its_events() {
    let story = Story::new("base | files~ | copy: base files~@ | x: copy | y=x: copy | all: x y");
    let mut machine = Machine::new();
    machine.build(&story, "all");
    machine.build(&story, "all");
    let actions = |events: &[Event<String>]| {
        let mut scheduler = crate::Scheduler::default();
        let mut actions = Vec::new();
        for event in events {
            scheduler.handle(event.clone());
            actions.extend(scheduler.run(usize::MAX));
        }
        format!("{actions:?}")
    };
    assert_eq!(actions(&machine.events), actions(&machine.events));
    assert!(actions(&machine.events).len() > 1000);
}

#[test]
fn a_forgotten_result_takes_its_steps_along() {
    let story = Story::new("image | run: image");
    let mut machine = Machine::new();
    machine.build(&story, "run");
    machine.main().forget_missing(&|_| false);
    assert_eq!(look_up(machine.main(), "image", &[]).records.len(), 0);
}

// What an export begins with.

/// The names on the way to a result, each with the number of records that stand for it.
fn trail(machine: &mut Machine, story: &Story, name: &str) -> String {
    let trail = machine.scheduler.trail(&story.edge(name));
    assert_eq!(trail.unsaved, []);
    let step = |step: &crate::Step| {
        format!("{} {}", machine.parts[&step.vertex.id].name, step.records.len())
    };
    trail.steps.iter().map(step).collect::<Vec<_>>().join(", ")
}

#[test]
fn the_way_to_a_result_is_told_with_the_records_that_stand_for_each_step() {
    let story = Story::new("image | files~ | copy: image files~@ | a: copy | b=a: copy | all: a b");
    let mut machine = Machine::new();
    machine.maps.insert("image".into(), vec!["manifest".into(), "layers".into()]);
    for (build, ways) in [("cold", 2), ("cached", 1)] {
        machine.request(&story, 1, "all");
        machine.run();
        let steps = trail(&mut machine, &story, "all");
        assert_eq!(steps, format!("files~ 0, image {ways}, copy 1, a 1, all 1"), "{build}");
        let export = machine.scheduler.trail(&story.edge("all")).steps;
        let records: Vec<CacheKey> = export.iter().flat_map(|step| step.records.clone()).collect();
        let graph = machine.main().export(&records).unwrap();
        // The two ways to the image, the content of the files, and a record for each other step.
        assert_eq!(graph.records.len(), 6, "{build}");
        machine.close(1);
        machine.run();
        machine.is_at_rest();
    }
}
