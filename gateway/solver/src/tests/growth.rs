//! How the work grows with a graph, counted in steps and look-ups, never in time; and what a large
//! graph costs those who are there at the same time.

use std::fmt::Write as _;
use std::sync::Arc;

use super::machine::{Machine, Story};
use crate::{RequestId, Work};

/// What it took to build something.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Steps of the scheduler.
    steps: usize,
    /// Tasks that were started.
    tasks: usize,
    /// Keys that were looked up.
    keys: usize,
}

/// Builds the last vertex; with what it took.
fn cost(machine: &mut Machine, story: &Story, name: &str) -> Cost {
    let before = machine.scheduler.steps();
    let request = machine.request(story, 1, name);
    let (mut tasks, mut keys) = (0, 0);
    while let Some(task) = machine.open.pop() {
        tasks += 1;
        if let Work::LookUp(lookup) = &task.work {
            keys += 1 + lookup.inputs.iter().map(|input| input.keys.len()).sum::<usize>();
        }
        let event = machine.ended(&task);
        machine.hear(event);
    }
    assert!(machine.finished[&request].is_ok());
    machine.close(1);
    machine.run();
    machine.is_at_rest();
    machine.log.clear();
    Cost { steps: machine.scheduler.steps() - before, tasks, keys }
}

/// Checks that a graph of so many vertices and inputs costs so much for each, cold and cached.
fn check(lines: Vec<String>, last: &str, steps_each: usize) {
    let size = lines.iter().map(|line| 1 + line.matches(' ').count()).sum::<usize>();
    let story = Story::of(lines.into_iter());
    let mut machine = Machine::new();
    for build in ["cold", "cached"] {
        let cost = cost(&mut machine, &story, last);
        assert!(cost.steps <= steps_each * size, "{build}: {cost:?} for {size}");
        assert!(cost.tasks <= 6 * size, "{build}: {cost:?} for {size}");
        assert!(cost.keys <= 6 * size, "{build}: {cost:?} for {size}");
    }
}

fn chain(length: usize, marks: &str) -> Vec<String> {
    let step = |number: usize| match number {
        0 => "v0".to_owned(),
        number => format!("v{number}: v{}{marks}", number - 1),
    };
    (0..length).map(step).collect()
}

fn fan_in(inputs: usize, marks: &str) -> Vec<String> {
    let mut all = "all:".to_owned();
    for number in 0..inputs {
        write!(all, " v{number}{marks}").unwrap();
    }
    (0..inputs).map(|number| format!("v{number}")).chain([all]).collect()
}

/// Two sides that are the same but for their names, over and over: a path count that doubles.
fn diamonds(levels: usize, marks: &str) -> Vec<String> {
    let mut lines = vec!["v0".to_owned()];
    for level in 1..=levels {
        let below = level - 1;
        lines.push(format!("a{level}: v{below}{marks}"));
        lines.push(format!("b{level}: v{below}{marks}"));
        lines.push(format!("v{level}: a{level}{marks} b{level}{marks}"));
    }
    lines
}

#[test]
fn a_chain_of_ten_thousand_is_linear() {
    check(chain(10_000, ""), "v9999", 30);
}

#[test]
fn a_chain_by_content_is_linear() {
    check(chain(3_000, "@"), "v2999", 40);
}

#[test]
fn ten_thousand_inputs_are_linear() {
    check(fan_in(10_000, ""), "all", 30);
}

#[test]
fn many_inputs_by_content_are_linear() {
    check(fan_in(3_000, "@"), "all", 30);
}

#[test]
fn stacked_diamonds_are_linear() {
    check(diamonds(64, ""), "v64", 30);
    check(diamonds(64, "@"), "v64", 40);
}

#[test]
fn one_vertex_that_ten_thousand_read_is_linear() {
    let readers = (0..10_000).map(|number| format!("r{number}: base"));
    let mut all = "all:".to_owned();
    for number in 0..10_000 {
        write!(all, " r{number}").unwrap();
    }
    let lines = std::iter::once("base".to_owned()).chain(readers).chain([all]);
    check(lines.collect(), "all", 30);
}

#[test]
fn many_vertices_that_are_the_same_are_linear() {
    let mut all = "all:".to_owned();
    for number in 0..3_000 {
        write!(all, " w{number}").unwrap();
    }
    let pairs = (0..3_000).flat_map(|n| [format!("v{n}=key"), format!("w{n}=run: v{n}")]);
    check(pairs.chain([all]).collect(), "all", 40);
}

/// Every input changes, hence is looked into, and all of them lead to the old result.
#[test]
fn inputs_that_all_changed_are_looked_into_in_linear_work() {
    let mut machine = Machine::new();
    for inputs in [1_000, 2_000] {
        let (old, new): (Vec<_>, Vec<_>) =
            (0..inputs).map(|n| (format!("a{n}"), format!("b{n}"))).unzip();
        for (old, new) in old.iter().zip(&new) {
            machine.makes.insert(new.clone(), old.clone());
        }
        let graph = |names: &[String]| {
            let reads: Vec<_> = names.iter().map(|name| format!("{name}@")).collect();
            let all = format!("all=all{inputs}: {}", reads.join(" "));
            Story::of(names.iter().cloned().chain([all]))
        };
        cost(&mut machine, &graph(&old), "all");
        let cost = cost(&mut machine, &graph(&new), "all");
        assert!(cost.steps < 60 * inputs, "{cost:?}");
        assert!(cost.keys < 10 * inputs, "{cost:?}");
    }
}

/// How many steps pass until a request is answered, while tasks end one after the other.
fn steps_until(machine: &mut Machine, request: RequestId, slice: usize) -> usize {
    let mut steps = 0;
    while !machine.finished.contains_key(&request) {
        let before = machine.scheduler.steps();
        let actions = machine.scheduler.run(slice);
        steps += machine.scheduler.steps() - before;
        actions.into_iter().for_each(|action| machine.act(action));
        // What belongs to the small build ends at once; the large one takes its time.
        while let Some(place) =
            machine.open.iter().position(|task| machine.parts[&task.vertex].name.starts_with('s'))
        {
            let task = machine.open.remove(place);
            let event = machine.ended(&task);
            machine.note(event);
        }
        assert!(steps < 1_000_000, "the small build waits");
    }
    steps
}

#[test]
fn a_small_build_does_not_wait_for_a_large_one() {
    let small = Story::new("s0 | s1: s0 | s2: s1");
    let large = Story::of(fan_in(10_000, "").into_iter());
    for is_closing in [false, true] {
        let mut machine = Machine::new();
        machine.slice = 500;
        let next = 1_000;
        // The large graph is noted first, and nothing of it worked out.
        machine.parts.extend(large.parts.iter().map(|(id, part)| (id.clone(), Arc::clone(part))));
        machine.note(crate::Event::Requested {
            job: crate::JobId(1),
            request: RequestId(next),
            graph: Arc::clone(&large.graph),
            edge: large.edge("all"),
        });
        if is_closing {
            machine.think();
            machine.note(crate::Event::Closed(crate::JobId(1)));
        }
        machine.parts.extend(small.parts.iter().map(|(id, part)| (id.clone(), Arc::clone(part))));
        let request = RequestId(next + 1);
        machine.note(crate::Event::Requested {
            job: crate::JobId(2),
            request,
            graph: Arc::clone(&small.graph),
            edge: small.edge("s2"),
        });
        let steps = steps_until(&mut machine, request, 100);
        // Of the large one's hundred thousand, no more than a turn for each of the small one's.
        assert!(steps < 25_000, "{steps} steps, closing: {is_closing}");
        machine.think();
        machine.close(1);
        machine.close(2);
        machine.run();
    }
}
