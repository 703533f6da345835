//! The search for records of one output of a vertex with inputs.
//!
//! What is known of the inputs comes in bit by bit, questions to the caches come out. Records are
//! found over definition keys first, that is without looking at any files. Where an input leads
//! nowhere by them, more is found out about it: which records stand for it by the contents of *its*
//! inputs and then, where the vertex allows it, what is in it. Inputs that lead somewhere are left
//! alone as long as there is hope without: only when all of them lead somewhere, but to no record in
//! common, the other records that stand for them are found out, and then their contents. An input that
//! leads nowhere whatever is known of it ends the search.
//!
//! Every change of one input costs the same, however many inputs there are.

use crate::level::Level;

/// What a search sees of an input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputView {
    /// How much is known of it.
    pub(crate) known: Level,
    /// How many records stand for it.
    pub(crate) keys: usize,
    /// Its content may stand for it.
    pub(crate) by_content: bool,
    /// The digest of its content is known.
    pub(crate) has_digest: bool,
}

/// The search for records of one output.
#[derive(Debug)]
pub(crate) struct Search {
    inputs: Vec<InputState>,
    /// Inputs that were not looked up yet, with whatever key.
    unasked: usize,
    /// Inputs that lead nowhere, as far as it is known, and are not about to be looked up.
    open: usize,
    /// Inputs to look up next.
    pending: Vec<u32>,
    /// The look-up that is under way.
    asking: Option<Question>,
    round: Round,
}

/// What is known of an input.
#[derive(Clone, Copy, Debug)]
struct InputState {
    link: LinkState,
    /// It was looked up before.
    was_asked: bool,
    /// How many of its keys were looked up.
    keys: usize,
}

/// Whether an input leads somewhere, and at which level that was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// It leads nowhere; what lies beyond the level may.
    Missing(Level),
    /// It is to be looked up.
    Pending(Level),
    /// It is being looked up.
    Asked(Level),
    /// It leads somewhere.
    Linked(Level),
}

/// How far the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Until all inputs lead somewhere.
    Links,
    /// They do, but to no record in common; more has to be known.
    Apart,
    /// Other records that stand for inputs are being found out; of so many inputs that is not over.
    Keys(usize),
    /// Contents of inputs that lead somewhere are being found out; so many are missing.
    Contents(usize),
    /// There is no record.
    Over,
}

/// A look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// The inputs that it is asked of whether they lead anywhere, ascending.
    pub(crate) inputs: Vec<u32>,
    /// Whether records are looked for that all inputs lead to.
    pub(crate) whole: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something changes.
    Wait,
    /// Ask the caches.
    LookUp(Question),
    /// Find out more about inputs that lead somewhere: call [`Search::find_more`].
    FindMore,
    /// Run the vertex: there is no record.
    GiveUp,
}

impl Search {
    /// A search over this many inputs.
    pub(crate) fn new(inputs: usize) -> Self {
        let link = LinkState::Missing(Level::Nothing);
        Self {
            inputs: vec![InputState { link, was_asked: false, keys: 0 }; inputs],
            unasked: inputs,
            open: inputs,
            pending: Vec::new(),
            asking: None,
            round: Round::Links,
        }
    }

    /// Takes in what is known of an input. `deeper` is whether more may be found out than what
    /// follows from definitions.
    pub(crate) fn look_at(&mut self, input: u32, view: InputView, deeper: bool) {
        loop {
            match self.inputs[input as usize].link {
                LinkState::Missing(Level::Nothing) if view.known >= Level::Definition => {
                    self.ask(input, view.known.min(Level::Content), view.keys);
                }
                LinkState::Missing(Level::Definition) if deeper && view.known >= Level::Content => {
                    self.ask(input, Level::Content, view.keys);
                }
                LinkState::Missing(Level::Content) if deeper && !view.by_content => {
                    return self.round = Round::Over;
                }
                LinkState::Missing(Level::Content) if deeper && view.has_digest => {
                    self.ask(input, Level::Result, usize::MAX);
                }
                LinkState::Missing(Level::Result) => return self.round = Round::Over,
                LinkState::Linked(level) if level < Level::Result && view.has_digest => {
                    self.inputs[input as usize].link = LinkState::Linked(Level::Result);
                    match &mut self.round {
                        Round::Contents(missing) => *missing -= 1,
                        Round::Keys(missing) if level < Level::Content => *missing -= 1,
                        _ => {}
                    }
                    return;
                }
                LinkState::Linked(Level::Definition) if view.known >= Level::Content => {
                    let Round::Keys(missing) = &mut self.round else { return };
                    *missing -= 1;
                    return self.ask_more(input, view.keys);
                }
                _ => return,
            }
        }
    }

    /// Looks an input up with what is known at a level, if that is more than before.
    fn ask(&mut self, input: u32, level: Level, keys: usize) {
        let state = &mut self.inputs[input as usize];
        if keys > state.keys {
            state.keys = keys;
            state.link = LinkState::Pending(level);
            self.open -= 1;
            self.pending.push(input);
        } else {
            state.link = LinkState::Missing(level);
            self.unasked -= usize::from(!std::mem::replace(&mut state.was_asked, true));
        }
    }

    /// Looks an input that leads somewhere up with all records that stand for it, if those are more
    /// than before.
    fn ask_more(&mut self, input: u32, keys: usize) {
        let state = &mut self.inputs[input as usize];
        let is_more = keys > state.keys;
        state.keys = state.keys.max(keys);
        state.link = match is_more {
            true => LinkState::Pending(Level::Content),
            false => LinkState::Linked(Level::Content),
        };
        self.pending.extend(is_more.then_some(input));
    }

    /// What to do next.
    pub(crate) fn next(&mut self, deeper: bool) -> Next {
        if self.round == Round::Over {
            return Next::GiveUp;
        }
        if self.asking.is_some() {
            return Next::Wait;
        }
        match self.round {
            Round::Links if self.open == 0 => self.look_up(true),
            Round::Links if !self.pending.is_empty() => self.look_up(false),
            Round::Keys(0) if !self.pending.is_empty() => self.look_up(true),
            Round::Apart | Round::Keys(0) if deeper => Next::FindMore,
            Round::Contents(0) => self.look_up(true),
            _ => Next::Wait,
        }
    }

    fn look_up(&mut self, whole: bool) -> Next {
        let mut inputs = std::mem::take(&mut self.pending);
        inputs.sort_unstable();
        for input in &inputs {
            let link = &mut self.inputs[*input as usize].link;
            if let LinkState::Pending(level) = *link {
                *link = LinkState::Asked(level);
            }
        }
        let question = Question { inputs, whole };
        self.asking = Some(question.clone());
        Next::LookUp(question)
    }

    /// Takes in that no record was found, and which of the inputs, ascending, lead somewhere; the
    /// inputs that were asked of.
    pub(crate) fn found_nothing(&mut self, linked: &[u32]) -> Vec<u32> {
        let Some(question) = self.asking.take() else { return Vec::new() };
        for input in &question.inputs {
            let state = &mut self.inputs[*input as usize];
            let LinkState::Asked(level) = state.link else { continue };
            self.unasked -= usize::from(!std::mem::replace(&mut state.was_asked, true));
            let is_linked = linked.binary_search(input).is_ok();
            state.link = match is_linked {
                true => LinkState::Linked(level),
                // Something else stands for the input by now.
                false if state.keys == 0 => LinkState::Missing(Level::Nothing),
                false => LinkState::Missing(level),
            };
            self.open += usize::from(!is_linked);
        }
        self.round = match self.round {
            Round::Keys(_) if self.open > 0 => Round::Links,
            Round::Links | Round::Keys(_) if question.whole && self.open == 0 => Round::Apart,
            Round::Apart | Round::Contents(_) if question.whole && self.open == 0 => Round::Over,
            round => round,
        };
        question.inputs
    }

    /// Begins to find out more about all inputs, given what is known of each: all records that stand
    /// for them, and once these are known, what is in them.
    pub(crate) fn find_more(&mut self, views: &[InputView]) {
        let mut missing = 0;
        for (input, view) in (0..).zip(views) {
            match self.inputs[input as usize].link {
                LinkState::Linked(Level::Definition) if view.known >= Level::Content => {
                    self.ask_more(input, view.keys);
                }
                LinkState::Linked(Level::Definition) => missing += 1,
                _ => {}
            }
        }
        match missing > 0 || !self.pending.is_empty() {
            true => self.round = Round::Keys(missing),
            false => self.find_contents(views),
        }
    }

    fn find_contents(&mut self, views: &[InputView]) {
        let (mut missing, mut any) = (0, false);
        for (state, view) in self.inputs.iter_mut().zip(views) {
            let LinkState::Linked(level) = state.link else { continue };
            if level == Level::Result || !view.by_content {
                continue;
            }
            any = true;
            match view.has_digest {
                true => state.link = LinkState::Linked(Level::Result),
                false => missing += 1,
            }
        }
        self.round = if any { Round::Contents(missing) } else { Round::Over };
    }

    /// How much the search wants to know of an input next.
    pub(crate) fn wants(&self, input: u32, by_content: bool, deeper: bool) -> Level {
        match self.inputs[input as usize].link {
            LinkState::Missing(Level::Definition) if deeper => Level::Content,
            LinkState::Missing(Level::Content) if deeper && by_content => Level::Result,
            LinkState::Linked(Level::Definition) if matches!(self.round, Round::Keys(_)) => {
                Level::Content
            }
            LinkState::Linked(level)
                if matches!(self.round, Round::Contents(_))
                    && by_content
                    && level < Level::Result =>
            {
                Level::Result
            }
            // What was found out is held on to while it is looked up.
            LinkState::Pending(level) | LinkState::Asked(level) => level,
            LinkState::Missing(_) | LinkState::Linked(_) => Level::Definition,
        }
    }

    /// Whether there is no record.
    pub(crate) fn is_over(&self) -> bool {
        self.round == Round::Over
    }

    /// Whether everything is known that follows from definitions.
    pub(crate) fn knows_definition(&self) -> bool {
        self.unasked == 0 && (self.open > 0 || self.round != Round::Links)
    }

    /// Takes in that something else stands for an input from now on.
    pub(crate) fn replaced(&mut self, input: u32) {
        let state = &mut self.inputs[input as usize];
        state.keys = 0;
        if matches!(state.link, LinkState::Missing(_)) {
            state.link = LinkState::Missing(Level::Nothing);
        }
    }

    /// Takes in that the look-up was cancelled: it will be asked again.
    pub(crate) fn interrupted(&mut self) {
        for input in self.asking.take().map(|question| question.inputs).unwrap_or_default() {
            let link = &mut self.inputs[input as usize].link;
            if let LinkState::Asked(level) = *link {
                *link = LinkState::Pending(level);
                self.pending.push(input);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(known: Level, keys: usize, by_content: bool, has_digest: bool) -> InputView {
        InputView { known, keys, by_content, has_digest }
    }

    fn question(inputs: &[u32], whole: bool) -> Next {
        Next::LookUp(Question { inputs: inputs.to_vec(), whole })
    }

    #[test]
    fn a_single_input_is_one_question() {
        let mut search = Search::new(1);
        assert_eq!(search.next(true), Next::Wait);
        search.look_at(0, view(Level::Definition, 1, false, false), true);
        assert_eq!(search.next(true), question(&[0], true));
        assert_eq!(search.next(true), Next::Wait);
        assert!(!search.knows_definition());
        search.found_nothing(&[]);
        assert!(search.knows_definition());
        assert_eq!(search.wants(0, false, true), Level::Content);
        search.look_at(0, view(Level::Content, 1, false, false), true);
        assert_eq!(search.next(true), Next::GiveUp);
    }

    #[test]
    fn nothing_is_found_out_that_was_not_asked_for() {
        let mut search = Search::new(1);
        search.look_at(0, view(Level::Content, 0, true, false), false);
        assert!(search.knows_definition());
        assert_eq!(search.next(false), Next::Wait);
        assert_eq!(search.wants(0, true, false), Level::Definition);
        assert_eq!(search.wants(0, true, true), Level::Result);
    }

    #[test]
    fn only_the_input_that_leads_nowhere_is_looked_into() {
        let mut search = Search::new(2);
        search.look_at(0, view(Level::Content, 1, true, false), true);
        assert_eq!(search.next(true), question(&[0], false));
        search.look_at(1, view(Level::Content, 1, true, false), true);
        search.found_nothing(&[0]);
        assert_eq!(search.next(true), question(&[1], true));
        search.found_nothing(&[]);
        search.look_at(1, view(Level::Content, 1, true, false), true);
        assert_eq!(search.next(true), Next::Wait);
        assert_eq!(search.wants(0, true, true), Level::Definition);
        assert_eq!(search.wants(1, true, true), Level::Result);
        search.look_at(1, view(Level::Result, 1, true, true), true);
        assert_eq!(search.next(true), question(&[1], true));
        search.found_nothing(&[1]);
        // Now all lead somewhere, but apart: the first is looked into as well.
        assert_eq!(search.next(true), Next::FindMore);
        let views = [view(Level::Content, 1, true, false), view(Level::Result, 1, true, true)];
        search.find_more(&views);
        assert_eq!(search.wants(0, true, true), Level::Result);
        assert_eq!(search.next(true), Next::Wait);
        search.look_at(0, view(Level::Result, 1, true, true), true);
        assert_eq!(search.next(true), question(&[], true));
        search.found_nothing(&[]);
        assert_eq!(search.next(true), Next::GiveUp);
    }

    #[test]
    fn inputs_that_lead_apart_are_looked_up_by_all_their_records_before_their_contents() {
        let mut search = Search::new(2);
        search.look_at(0, view(Level::Content, 1, true, false), true);
        search.look_at(1, view(Level::Definition, 1, false, false), true);
        assert_eq!(search.next(true), question(&[0, 1], true));
        search.found_nothing(&[0, 1]);
        assert_eq!(search.next(true), Next::FindMore);
        search.find_more(&[
            view(Level::Content, 1, true, false),
            view(Level::Definition, 1, false, false),
        ]);
        assert_eq!(search.wants(0, true, true), Level::Definition);
        assert_eq!(search.wants(1, false, true), Level::Content);
        assert_eq!(search.next(true), Next::Wait);
        search.look_at(1, view(Level::Content, 2, false, false), true);
        assert_eq!(search.next(true), question(&[1], true));
        search.found_nothing(&[1]);
        assert_eq!(search.next(true), Next::FindMore);
        search.find_more(&[
            view(Level::Content, 1, true, false),
            view(Level::Content, 2, false, false),
        ]);
        assert_eq!(search.wants(0, true, true), Level::Result);
    }

    #[test]
    fn an_input_that_can_lead_nowhere_ends_the_search_at_once() {
        let mut search = Search::new(3);
        search.look_at(2, view(Level::Content, 0, false, false), true);
        assert_eq!(search.next(true), Next::GiveUp);
    }

    #[test]
    fn a_cancelled_question_is_asked_again() {
        let mut search = Search::new(1);
        search.look_at(0, view(Level::Content, 1, false, false), true);
        assert_eq!(search.next(true), question(&[0], true));
        search.interrupted();
        assert_eq!(search.next(true), question(&[0], true));
        search.found_nothing(&[0]);
        assert_eq!(search.next(false), Next::Wait, "apart, and no more is asked for");
        assert!(search.knows_definition());
    }

    #[test]
    fn what_stands_for_an_input_anew_is_looked_up_anew() {
        let mut search = Search::new(1);
        search.look_at(0, view(Level::Definition, 1, false, false), true);
        assert_eq!(search.next(true), question(&[0], true));
        search.replaced(0);
        search.found_nothing(&[]);
        search.look_at(0, view(Level::Definition, 1, false, false), true);
        assert_eq!(search.next(true), question(&[0], true));
    }
}
