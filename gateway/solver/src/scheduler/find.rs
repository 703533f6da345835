//! Outputs find records that stand for them, load a result, or find that they have to run.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use kiln_cache::{CacheKey, FoundRecord, InputKey, KnownInput, Lookup};

use super::{Purpose, Scheduler};
use crate::arena::NodeId;
use crate::level::Level;
use crate::node::{Node, Preparation, RootSearch, Run, State, Target};
use crate::search::{InputView, Next, Question, Search};
use crate::{Action, Answers, Candidate, SourceId, TaskId, Work};

impl<E: Clone> Scheduler<E> {
    /// Takes an output as far as it gets.
    pub(super) fn advance(&mut self, target: Target) {
        let mut goes_on = true;
        while goes_on {
            let Some(output) = self.output(target) else { return };
            if output.asked() == Level::Nothing {
                return self.pause(target);
            }
            goes_on = match output.state {
                State::Idle => self.begin(target),
                State::Finding(_) => self.find_root(target),
                State::Searching { .. } => self.search(target),
                State::Found(_) => self.load_best(target),
                State::Loading { .. } => self.keep_loading(target),
                State::Missing => self.want_run(target),
                State::Complete => self.answer(target),
            };
        }
    }

    /// Stops what is under way for an output that no one asks for.
    fn pause(&mut self, target: Target) {
        let task = self.output_mut(target).and_then(|output| output.take_task());
        if let Some(task) = task {
            self.cancel(task);
        }
        self.want_run(target);
        self.refresh_all(target.node);
    }

    fn begin(&mut self, target: Target) -> bool {
        let Some(node) = self.nodes.get(target.node) else { return false };
        let (ignores_cache, inputs) = (node.ignores_cache(), node.inputs.len());
        let state = match inputs {
            _ if ignores_cache => State::Missing,
            0 => State::Finding(RootSearch::default()),
            _ => State::Searching { search: Search::new(inputs), task: None, is_deep: false },
        };
        self.enter_state(target, state);
        self.show_all_inputs(target);
        self.refresh_all(target.node);
        true
    }

    fn enter_state(&mut self, target: Target, state: State) {
        if let Some(output) = self.output_mut(target) {
            output.state = state;
        }
    }

    /// Shows all inputs to the search of one output.
    fn show_all_inputs(&mut self, target: Target) {
        let Some(node) = self.nodes.get(target.node) else { return };
        if node.mapping.map().is_none() {
            return;
        }
        let views = self.views(target.node);
        self.steps += views.len();
        if let Some(output) = self.output_mut(target)
            && let State::Searching { search, is_deep, .. } = &mut output.state
        {
            for (input, view) in (0..).zip(views) {
                search.look_at(input, view, *is_deep);
            }
        }
    }

    /// What a search sees of each input.
    fn views(&self, id: NodeId) -> Vec<InputView> {
        let node = self.nodes.get(id);
        let numbers = node.map(Node::numbers).unwrap_or_default();
        let view = |input| Some(node?.view(input, self.input_keys(id, input)));
        numbers.filter_map(view).collect()
    }

    /// Notes how much is known of an output, and tells its readers if that is news.
    pub(super) fn know(&mut self, target: Target, level: Level) {
        if let Some(output) = self.output_mut(target)
            && output.known < level
        {
            output.known = level;
            self.tell_readers(target);
        }
    }

    // Records of nodes without inputs.

    fn find_root(&mut self, target: Target) -> bool {
        let Some(node) = self.nodes.get(target.node) else { return false };
        let Some(output) = node.outputs.get(&target.output) else { return false };
        let State::Finding(search) = &output.state else { return true };
        if search.task.is_some() {
            return false;
        }
        if let Some(map) = node.mapping.maps.get(search.looked_up) {
            if map.session_scoped {
                self.root_looked_up(target);
                return true;
            }
            let operation = CacheKey::operation(map, target.output);
            let lookup = Lookup { operation, inputs: Vec::new(), whole: true };
            let task =
                self.start(target.node, Purpose::LookUp(target.output), Work::LookUp(lookup));
            if let Some(State::Finding(search)) = self.state_mut(target) {
                search.task = Some(task);
            }
            return false;
        }
        if node.mapping.is_complete {
            self.enter_state(target, State::Missing);
            return true;
        }
        // One record is enough for who only asks what follows from the definition.
        let is_enough = !output.keys.is_empty() && output.asked() == Level::Definition;
        if !is_enough {
            self.ask_map(target.node);
        }
        false
    }

    fn state_mut(&mut self, target: Target) -> Option<&mut State> {
        self.output_mut(target).map(|output| &mut output.state)
    }

    fn root_looked_up(&mut self, target: Target) {
        if let Some(State::Finding(search)) = self.state_mut(target) {
            search.looked_up += 1;
            search.task = None;
        }
    }

    // Records of nodes with inputs.

    fn search(&mut self, target: Target) -> bool {
        let Some(node) = self.nodes.get_mut(target.node) else { return false };
        let Some(map) = node.mapping.map() else { return false };
        if map.session_scoped {
            self.enter_state(target, State::Missing);
            return true;
        }
        let Some(output) = node.outputs.get_mut(&target.output) else { return false };
        let deeper = output.asked() > Level::Definition;
        let State::Searching { search, is_deep, .. } = &mut output.state else { return true };
        if *is_deep != deeper {
            *is_deep = deeper;
            self.show_all_inputs(target);
            self.refresh_all(target.node);
            return true;
        }
        let next = search.next(deeper);
        let knows_definition = search.knows_definition();
        match next {
            Next::Wait => {
                if knows_definition {
                    self.know(target, Level::Definition);
                }
                false
            }
            Next::LookUp(question) => {
                self.look_up(target, &question);
                false
            }
            Next::FindMore => {
                self.know(target, Level::Definition);
                self.find_more(target);
                true
            }
            Next::GiveUp => {
                let task = self.output_mut(target).and_then(|output| output.take_task());
                task.into_iter().for_each(|task| self.cancel(task));
                self.enter_state(target, State::Missing);
                self.refresh_all(target.node);
                true
            }
        }
    }

    fn find_more(&mut self, target: Target) {
        let views = self.views(target.node);
        self.steps += views.len();
        if let Some(State::Searching { search, .. }) = self.state_mut(target) {
            search.find_more(&views);
        }
        self.refresh_all(target.node);
    }

    fn look_up(&mut self, target: Target, question: &Question) {
        let Some(node) = self.nodes.get(target.node) else { return };
        let Some(map) = node.mapping.map() else { return };
        let all = 0..u32::try_from(node.inputs.len()).unwrap_or(u32::MAX);
        let inputs: Vec<u32> = if question.whole { all.collect() } else { question.inputs.clone() };
        let known = |number: &u32| KnownInput {
            number: *number,
            keys: self.keys(target, *number),
            is_open: question.inputs.binary_search(number).is_ok(),
        };
        let lookup = Lookup {
            operation: CacheKey::operation(map, target.output),
            inputs: inputs.iter().map(known).collect(),
            whole: question.whole,
        };
        self.steps += lookup.inputs.len();
        let started = self.start(target.node, Purpose::LookUp(target.output), Work::LookUp(lookup));
        if let Some(State::Searching { task, .. }) = self.state_mut(target) {
            *task = Some(started);
        }
    }

    /// The keys by which an input is looked up.
    pub(super) fn keys(&self, target: Target, input: u32) -> Vec<InputKey> {
        let Some(node) = self.nodes.get(target.node) else { return Vec::new() };
        let own = &node.inputs[input as usize];
        let selector = node.mapping.selector(input);
        let records = self.output(own.target).map(|output| output.keys.as_slice());
        let records = records.unwrap_or_default().iter();
        let mut keys: Vec<_> =
            records.map(|record| InputKey { record: *record, selector }).collect();
        keys.extend(node.content_key(input));
        keys
    }

    pub(super) fn looked_up(&mut self, task: TaskId, mut answers: Answers) {
        answers.linked.sort_unstable();
        let Some((node, Purpose::LookUp(output))) = self.end(task) else { return };
        let target = Target { node, output };
        let is_root = match self.state_mut(target) {
            Some(State::Finding(_)) => true,
            Some(State::Searching { task, .. }) => {
                *task = None;
                false
            }
            _ => return,
        };
        if is_root {
            self.root_looked_up(target);
        }
        match answers.records.is_empty() {
            false => self.found(target, &answers, is_root),
            true if is_root => {}
            true => self.found_nothing(target, &answers.linked),
        }
        self.stir(target);
    }

    fn found_nothing(&mut self, target: Target, linked: &[u32]) {
        let Some(State::Searching { search, .. }) = self.state_mut(target) else { return };
        let asked = search.found_nothing(linked);
        self.steps += asked.len();
        for input in asked {
            let keys = self.input_keys(target.node, input);
            self.show_searches(target.node, input, keys);
            self.refresh(target.node, input);
        }
    }

    /// Takes records over that stand for an output.
    fn found(&mut self, target: Target, answers: &Answers, is_root: bool) {
        let candidates = candidates(answers);
        let Some(output) = self.output_mut(target) else { return };
        output.add_keys(answers.records.iter().map(|(_, record)| record.key));
        let main = answers.records.iter().filter(|(source, _)| *source == SourceId::MAIN);
        let main: Vec<&FoundRecord> = main.map(|(_, record)| record).collect();
        for record in &main {
            if !output.main.contains(&record.key) {
                output.main.push(record.key);
            }
        }
        if is_root && candidates.is_empty() {
            return self.know(target, Level::Definition);
        }
        output.state = State::Found(candidates);
        self.link_found(target, &main);
        self.know(target, Level::Content);
        self.refresh_all(target.node);
    }

    // Results.

    fn load_best(&mut self, target: Target) -> bool {
        let Some(output) = self.output_mut(target) else { return false };
        if output.asked() < Level::Result {
            return false;
        }
        let State::Found(candidates) = &mut output.state else { return true };
        let Some(candidate) = candidates.pop() else {
            output.state = State::Missing;
            return true;
        };
        let rest = std::mem::take(candidates);
        let work = Work::Load { output: target.output, from: candidate.clone() };
        let task = self.start(target.node, Purpose::Load(target.output), work);
        self.enter_state(target, State::Loading { task, candidate, rest });
        false
    }

    /// Goes on loading, unless the result is no longer asked for.
    fn keep_loading(&mut self, target: Target) -> bool {
        let Some(output) = self.output_mut(target) else { return false };
        if output.asked() < Level::Result
            && let Some(task) = output.take_task()
        {
            self.cancel(task);
        }
        false
    }

    pub(super) fn loaded(&mut self, task: TaskId) {
        let Some((node, Purpose::Load(output))) = self.end(task) else { return };
        let target = Target { node, output };
        let Some(State::Loading { candidate, .. }) = self.state_mut(target) else { return };
        let (source, created) = (candidate.source, candidate.result.created);
        self.show_cached(node);
        self.complete(target);
        if source != SourceId::MAIN {
            self.save(node, &[output], Some(created));
        }
    }

    pub(super) fn not_loaded(&mut self, task: TaskId) {
        let Some((node, Purpose::Load(output))) = self.end(task) else { return };
        let target = Target { node, output };
        let Some(state) = self.state_mut(target) else { return };
        if let State::Loading { candidate, rest, .. } = std::mem::take(state) {
            *state = State::Found(rest);
            self.actions.push(Action::Forget(candidate.source, candidate.result));
            self.stir(target);
        }
    }

    /// Says that a node and what lies below it need not run.
    pub(super) fn show_cached(&mut self, id: NodeId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(node) = self.nodes.get_mut(id) else { continue };
            if std::mem::replace(&mut node.is_shown, true) {
                continue;
            }
            self.steps += 1 + node.inputs.len();
            open.extend(node.inputs.iter().map(|input| input.target.node));
            self.actions.push(Action::Cached(node.vertex.id.clone()));
        }
    }

    /// Asks for a run of the node, or takes that back.
    fn want_run(&mut self, target: Target) -> bool {
        let Some(node) = self.nodes.get_mut(target.node) else { return false };
        let Some(output) = node.outputs.get_mut(&target.output) else { return false };
        let is_missing = matches!(output.state, State::Missing);
        let wants_run = is_missing && output.asked() == Level::Result && node.run != Run::Done;
        let wanted = std::mem::replace(&mut output.wants_run, wants_run);
        node.runs_for = node.runs_for + usize::from(wants_run) - usize::from(wanted);
        if is_missing {
            self.know(target, Level::Content);
        }
        if wants_run != wanted {
            self.refresh_all(target.node);
        }
        false
    }

    /// Takes in that an output is there.
    pub(super) fn complete(&mut self, target: Target) {
        let task = self.output_mut(target).and_then(|output| output.take_task());
        task.into_iter().for_each(|task| self.cancel(task));
        self.enter_state(target, State::Complete);
        self.want_run(target);
        self.know(target, Level::Result);
        self.refresh_all(target.node);
        self.stir(target);
    }

    /// Answers the requests for an output that is there.
    fn answer(&mut self, target: Target) -> bool {
        let Some(node) = self.nodes.get_mut(target.node) else { return false };
        let vertex = node.vertex.id.clone();
        let Some(output) = node.outputs.get_mut(&target.output) else { return false };
        for (request, job) in std::mem::take(&mut output.requests) {
            if let Some(job) = self.jobs.get_mut(job) {
                job.requests.remove(&request);
            }
            let edge = kiln_graph::Edge { vertex: vertex.clone(), index: target.output };
            self.actions.push(Action::Finish(request, Ok(edge)));
        }
        false
    }
}

impl crate::node::Output {
    /// Adds records that stand for the output.
    pub(crate) fn add_keys(&mut self, keys: impl IntoIterator<Item = CacheKey>) {
        let mut known: BTreeSet<CacheKey> = self.keys.iter().copied().collect();
        self.keys.extend(keys.into_iter().filter(|key| known.insert(*key)));
    }
}

impl<E> Node<E> {
    /// The key of the content of an input, if that is known.
    pub(crate) fn content_key(&self, input: u32) -> Option<InputKey> {
        match &self.inputs[input as usize].preparation {
            Preparation::Done(Some(digest)) => {
                Some(InputKey { record: CacheKey::content(digest), selector: None })
            }
            _ => None,
        }
    }
}

/// The results of all records, the best one last: the newest, and of equals the one at hand.
fn candidates(answers: &Answers) -> Vec<Candidate> {
    let of_record = |(source, record): &(SourceId, FoundRecord)| {
        let (source, key) = (*source, record.key);
        let candidate = move |result: &kiln_cache::SavedResult| Candidate {
            source,
            record: key,
            result: result.clone(),
        };
        record.results.iter().map(candidate).collect::<Vec<_>>()
    };
    let mut candidates: Vec<_> = answers.records.iter().flat_map(of_record).collect();
    candidates.sort_by_key(|candidate| {
        (candidate.result.created, Reverse(candidate.source), Reverse(candidate.result.id.clone()))
    });
    candidates
}
