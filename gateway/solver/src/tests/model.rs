//! The scheduler against a naive model: graphs, orders of events, failures, lost results and jobs that
//! come and go are drawn at random.
//!
//! The promises: what is answered is right; every request is answered; nothing is done twice at the
//! same time for vertices that are the same; nothing runs that is in the cache by definition; nothing
//! stays open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use kiln_oci::Digest;

use super::machine::{Machine, Part, Story};
use crate::{Event, RequestId, Scheduler};

/// A vertex as it is drawn.
#[derive(Clone, Debug)]
struct Drawn {
    inputs: Vec<(Index, u8)>,
    key: u8,
    kind: u8,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let inputs = prop::collection::vec((any::<Index>(), any::<u8>()), 0..4);
    (inputs, any::<u8>(), any::<u8>()).prop_map(|(inputs, key, kind)| Drawn { inputs, key, kind })
}

/// What may happen besides that tasks end.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    ignores_cache: bool,
    sessions: bool,
}

/// A graph over few different operations, so that many vertices do the same.
fn graph(drawn: &[Drawn], trouble: Trouble) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut names: Vec<(String, usize)> = Vec::new();
    for (number, vertex) in drawn.iter().enumerate() {
        let inputs: Vec<String> = vertex
            .inputs
            .iter()
            .filter(|_| number > 0)
            .map(|(index, how)| {
                let (name, outputs) = &names[index.index(number)];
                let output = usize::from(*how) % outputs;
                let part = if how & 8 != 0 { "%part" } else { "" };
                let content = if how & 16 != 0 { "@" } else { "" };
                let prepare = if how & 32 != 0 { "+" } else { "" };
                format!("{name}.{output}{part}{content}{prepare}")
            })
            .collect();
        let outputs = if vertex.kind & 1 == 1 && !inputs.is_empty() { 2 } else { 1 };
        let ignores = if trouble.ignores_cache && vertex.kind & 14 == 2 { "!" } else { "" };
        let session =
            if trouble.sessions && inputs.is_empty() && vertex.kind & 48 == 16 { "~" } else { "" };
        // What an operation does says how many inputs and outputs it has.
        let key = format!("k{}-{}-{outputs}{session}", vertex.key % 3, inputs.len());
        let name = format!("v{number}{session}{ignores}");
        let times = if outputs == 2 { "*2" } else { "" };
        lines.push(format!("{name}={key}{times}: {}", inputs.join(" ")));
        names.push((name, outputs));
    }
    lines
}

/// Operations that make the same of whatever they read, and sources that are known in two ways.
fn world(machine: &mut Machine) {
    for inputs in 1..4 {
        for outputs in 1..3 {
            machine.makes.insert(format!("k2-{inputs}-{outputs}"), "constant".into());
        }
    }
    machine.maps.insert("k0-0-1".into(), vec!["manifest-0".into(), "layers".into()]);
    machine.maps.insert("k1-0-1".into(), vec!["manifest-1".into(), "layers".into()]);
    for source in ["k0-0-1", "k1-0-1"] {
        machine.makes.insert(source.into(), "files".into());
    }
}

/// What every vertex of a graph makes, and what it is.
#[derive(Debug, Default)]
struct Naive {
    values: BTreeMap<(String, usize), String>,
    /// What two vertices have in common that are the same.
    same: BTreeMap<String, String>,
    /// The same, by definition alone; absent if it means something within a session only, or if the
    /// cache is ignored on the way.
    by_definition: BTreeMap<String, String>,
}

impl Naive {
    fn new(machine: &Machine, story: &Story) -> Self {
        let mut naive = Self::default();
        for vertex in story.graph.vertices() {
            if let Some(part) = story.parts.get(&vertex.id) {
                naive.add(machine, part, vertex.metadata.ignore_cache);
            }
        }
        naive
    }

    fn add(&mut self, machine: &Machine, part: &Part, ignores_cache: bool) {
        let value = |input: &super::machine::PartInput| {
            self.values[&(input.name.clone(), input.output)].clone()
        };
        let values: Vec<String> = part.inputs.iter().map(value).collect();
        let keys = machine.maps.get(&part.key).and_then(|keys| keys.last());
        let key = keys.unwrap_or(&part.key);
        let read = |input: &super::machine::PartInput, way: &str| {
            format!("{way}.{}{:?}", input.output, input.part)
        };
        let same = part.inputs.iter().zip(&values).map(|(input, value)| match input.by_content {
            true => value.clone(),
            false => read(input, &self.same[&input.name]),
        });
        let same = format!("{key}{ignores_cache}({})", same.collect::<Vec<_>>().join(","));
        let by_definition: Option<Vec<String>> = part
            .inputs
            .iter()
            .map(|input| Some(read(input, self.by_definition.get(&input.name)?)))
            .collect();
        if let Some(inputs) = by_definition.filter(|_| !ignores_cache && !part.session_scoped) {
            let definition = format!("{key}({})", inputs.join(","));
            self.by_definition.insert(part.name.clone(), definition);
        }
        self.same.insert(part.name.clone(), same);
        for output in 0..part.outputs {
            let made = machine.make(part, output, &values);
            self.values.insert((part.name.clone(), output), made);
        }
    }
}

/// Some jobs, each with a graph of its own.
struct Trial {
    machine: Machine,
    stories: Vec<Story>,
    naives: Vec<Naive>,
    requests: BTreeMap<RequestId, (usize, String)>,
}

impl Trial {
    fn new(graphs: &[Vec<String>]) -> Self {
        let mut machine = Machine::new();
        world(&mut machine);
        let stories: Vec<Story> =
            graphs.iter().map(|lines| Story::of(lines.iter().cloned())).collect();
        let naives = stories.iter().map(|story| Naive::new(&machine, story)).collect();
        Self { machine, stories, naives, requests: BTreeMap::new() }
    }

    /// The vertex of a graph that may read all others.
    fn last(&self, story: usize) -> String {
        let parts = self.stories[story].parts.values();
        let number = |part: &&Arc<Part>| {
            let digits = part.name.trim_start_matches('v').trim_end_matches(['!', '~']);
            digits.parse::<usize>().unwrap()
        };
        parts.max_by_key(number).unwrap().name.clone()
    }

    fn request(&mut self, job: usize) {
        let name = self.last(job);
        let request = self.machine.request(&self.stories[job], job as u64, &name);
        self.requests.insert(request, (job, name));
    }

    /// What a job's answer has to be.
    fn value(&self, job: usize) -> &String {
        &self.naives[job].values[&(self.last(job), 0)]
    }

    fn step(&mut self, which: Option<&Index>) {
        let which = which.map_or(0, |which| which.index(self.machine.open.len()));
        self.machine.step(which);
    }

    /// Ends all tasks in some order.
    fn run(&mut self, order: &[Index]) {
        let mut order = order.iter();
        for _ in 0..20_000 {
            if self.machine.open.is_empty() {
                return;
            }
            self.step(order.next());
        }
        panic!("the builds do not end");
    }

    /// What a vertex is, wherever it is.
    fn find<'a>(
        &'a self,
        vertex: &Digest,
        table: impl Fn(&'a Naive) -> &'a BTreeMap<String, String>,
    ) -> Option<&'a String> {
        let stories = self.stories.iter().zip(&self.naives);
        let mut found =
            stories.filter_map(|(story, naive)| table(naive).get(&story.parts.get(vertex)?.name));
        found.next()
    }

    /// How often each run began that was not cancelled, by what is the same.
    fn runs(&self) -> BTreeMap<&String, usize> {
        let mut runs = BTreeMap::new();
        for vertex in &self.machine.begun {
            *runs.entry(self.find(vertex, |naive| &naive.same).unwrap()).or_default() += 1;
        }
        for vertex in &self.machine.cancelled {
            *runs.entry(self.find(vertex, |naive| &naive.same).unwrap()).or_default() -= 1;
        }
        runs
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Three jobs in peace: what is the same runs once at most, whoever asks for it; another build of
    /// the same runs nothing.
    #[test]
    fn a_build_runs_what_it_must_once_and_never_again(
        drawn in prop::collection::vec(prop::collection::vec(drawn(), 1..12), 1..4),
        order in prop::collection::vec(any::<Index>(), 0..200),
        slice in 1usize..40,
    ) {
        let graphs: Vec<_> =
            drawn.iter().map(|drawn| graph(drawn, Trouble::default())).collect();
        let mut trial = Trial::new(&graphs);
        trial.machine.slice = slice;
        for job in 0..graphs.len() {
            trial.request(job);
        }
        trial.run(&order);
        for (same, times) in trial.runs() {
            prop_assert!(times <= 1, "{same} ran {times} times: {graphs:?} {:?}", trial.machine.log);
        }
        prop_assert_eq!(trial.machine.finished.len(), graphs.len());
        for (request, (job, _)) in &trial.requests {
            prop_assert_eq!(&trial.machine.finished[request], &Ok(trial.value(*job).clone()));
        }
        for job in 0..graphs.len() {
            trial.machine.close(job as u64);
        }
        trial.machine.run();
        trial.machine.is_at_rest();
        trial.machine.take_log();
        for job in 0..graphs.len() {
            let (story, name) = (trial.stories[job].clone(), trial.last(job));
            let log = trial.machine.build(&story, &name);
            prop_assert!(!log.contains("exec"), "{log} {graphs:?}");
        }
    }

    /// Jobs one after the other: what is in the cache by definition never runs again, and a list of
    /// events gives the same actions a second time.
    #[test]
    fn what_is_cached_by_definition_does_not_run(
        first in prop::collection::vec(drawn(), 1..12),
        second in prop::collection::vec(drawn(), 1..12),
        order in prop::collection::vec(any::<Index>(), 0..200),
    ) {
        let trouble = Trouble { ignores_cache: true, sessions: true };
        let graphs = [graph(&first, Trouble::default()), graph(&second, trouble)];
        let mut trial = Trial::new(&graphs);
        trial.request(0);
        trial.run(&order);
        trial.machine.close(0);
        trial.machine.run();
        let begun = std::mem::take(&mut trial.machine.begun);
        let cached: BTreeSet<String> =
            begun.iter().filter_map(|v| trial.find(v, |naive| &naive.by_definition)).cloned().collect();
        trial.request(1);
        trial.run(&order);
        for vertex in &trial.machine.begun {
            let definition = trial.find(vertex, |naive| &naive.by_definition);
            let is_cached = definition.is_some_and(|definition| cached.contains(definition));
            prop_assert!(!is_cached, "{definition:?} {graphs:?} {:?}", trial.machine.log);
        }
        trial.machine.close(1);
        trial.machine.run();
        trial.machine.is_at_rest();
        let actions = || {
            let mut scheduler = Scheduler::default();
            let of = |event: &Event<String>| {
                scheduler.handle(event.clone());
                scheduler.run(usize::MAX)
            };
            format!("{:?}", trial.machine.events.iter().map(of).collect::<Vec<_>>())
        };
        prop_assert_eq!(actions(), actions());
    }

    /// Several jobs in all kinds of trouble.
    #[test]
    fn whatever_happens_answers_are_right_and_nothing_stays_open(
        first in prop::collection::vec(drawn(), 1..10),
        second in prop::collection::vec(drawn(), 1..10),
        third in prop::collection::vec(drawn(), 1..10),
        order in prop::collection::vec(any::<Index>(), 0..400),
        events in prop::collection::vec((any::<u8>(), any::<Index>()), 0..60),
        slice in 1usize..40,
    ) {
        let trouble = Trouble { ignores_cache: true, sessions: true };
        let graphs = [&first, &second, &third].map(|drawn| graph(drawn, trouble));
        let mut trial = Trial::new(&graphs);
        trial.machine.slice = slice;
        let (mut opened, mut closed) = (BTreeSet::new(), BTreeSet::new());
        let mut events = events.into_iter();
        let mut steps = 0;
        loop {
            let event = if steps % 3 == 0 { events.next() } else { None };
            if let Some((what, which)) = event {
                let job = which.index(3);
                match what % 16 {
                    0..=4 if !closed.contains(&job) => {
                        opened.insert(job);
                        trial.request(job);
                    }
                    5 | 6 if opened.contains(&job) && closed.insert(job) => {
                        trial.machine.close(job as u64);
                    }
                    7 | 8 => {
                        // Sessions are told apart by nothing here, so failures are by name.
                        let names: Vec<_> = trial.stories[job].parts.values().collect();
                        let name = names[which.index(names.len())].name.clone();
                        trial.machine.failing.insert(name);
                    }
                    9 => trial.machine.failing.clear(),
                    10 => {
                        let ids: Vec<_> = trial.machine.stored.keys().cloned().collect();
                        if !ids.is_empty() {
                            trial.machine.stored.remove(&ids[which.index(ids.len())]);
                        }
                    }
                    _ => {}
                }
            }
            steps += 1;
            if trial.machine.open.is_empty() {
                if event.is_none() && events.len() == 0 {
                    break;
                }
                continue;
            }
            trial.step(order.get(steps));
            prop_assert!(steps < 20_000, "the builds do not end");
        }
        for (request, (job, name)) in &trial.requests {
            let result = trial.machine.finished.get(request);
            if closed.contains(job) {
                continue;
            }
            match result {
                None => prop_assert!(false, "{name} of {job} is not answered: {graphs:?} {:?}", trial.machine.log),
                Some(Ok(value)) => {
                    prop_assert_eq!(value, trial.value(*job), "{:?}", graphs);
                }
                Some(Err(error)) => prop_assert!(error.ends_with("failed")),
            }
        }
        for job in 0..3 {
            trial.machine.close(job);
        }
        trial.machine.run();
        trial.machine.is_at_rest();
        // What failed and what was lost has left nothing wrong behind.
        trial.machine.failing.clear();
        for job in 0..3 {
            let (story, name) = (trial.stories[job].clone(), trial.last(job));
            let request = trial.machine.request(&story, 100, &name);
            trial.machine.run();
            let value = Ok(trial.value(job).clone());
            prop_assert_eq!(&trial.machine.finished[&request], &value, "{:?}", &graphs);
            trial.machine.close(100);
            trial.machine.run();
            trial.machine.is_at_rest();
        }
    }
}
