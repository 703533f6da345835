//! Progress as lines, for logs and for programs that read them.
//!
//! Values and the time come in, text goes out. Every line begins with `#N`, the number of a step. Steps
//! run side by side but are read one after another, so one step at a time has the *floor*: it keeps it
//! while it writes, and gives it up when it ends, when it had more than its share for five seconds, or
//! when another has waited for ten. What is printed is read by scripts; its form is BuildKit's.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use kiln_progress::Progress;

use super::amount::{log_stamp, seconds, transferred};
use super::error_block;
use super::model::{Model, Part, State, Step};
use super::sanitize::{self, Colour};

/// A step with the floor keeps it at least so long, if it was busy alone.
const KEEP_FLOOR: Duration = Duration::from_secs(5);
/// No step waits longer than this for the floor.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A part is printed again after so long, or so much of its total.
const PART_PAUSE: Duration = Duration::from_secs(5);
const PART_SHARE: f64 = 0.05;
/// A line that has not ended is printed after so long.
const OPEN_LINE: Duration = Duration::from_secs(5);
/// How much of a failed step's output is repeated at the end.
const ERROR_LINES: usize = 10;

/// Prints lines.
#[derive(Debug)]
pub(crate) struct Plain {
    model: Model,
    colour: Colour,
    faces: Vec<Face>,
    floor: Option<usize>,
    numbers: usize,
}

/// What a step has shown.
#[derive(Debug, Default)]
struct Face {
    number: Option<usize>,
    /// Something happened that is not printed.
    news: bool,
    /// How much happened since `waiting_since`, for the share of the floor.
    events: u32,
    waiting_since: Option<SystemTime>,
    warnings: usize,
    /// Its end was printed.
    ended: bool,
    parts: Vec<Option<Shown>>,
}

/// The values of a part that were printed.
#[derive(Clone, Copy, Debug)]
struct Shown {
    current: u64,
    at: SystemTime,
}

impl Plain {
    /// A printer for a build that begins now.
    pub(crate) fn new(now: SystemTime, colour: Colour) -> Self {
        Self { model: Model::new(now), colour, faces: Vec::new(), floor: None, numbers: 0 }
    }

    /// Takes in one value.
    pub(crate) fn apply(&mut self, progress: Progress, now: SystemTime) {
        let weight = u32::from(!matches!(progress, Progress::Vertex(_)));
        let Some(index) = self.model.apply(progress, now) else { return };
        if self.faces.len() <= index {
            self.faces.resize_with(index + 1, Face::default);
        }
        let face = &mut self.faces[index];
        face.news = true;
        face.waiting_since.get_or_insert(now);
        face.events += weight;
    }

    /// What is to be printed by now.
    pub(crate) fn print(&mut self, now: SystemTime) -> String {
        let mut out = String::new();
        self.age_open_lines(now);
        let floor = self.floor;
        let (completed, open): (Vec<usize>, Vec<usize>) =
            self.with_news().partition(|index| self.state(*index).is_completed());

        // What ended goes first, and of that the step that has the floor.
        let (holder, others): (Vec<usize>, Vec<usize>) =
            completed.into_iter().partition(|index| Some(*index) == floor);
        for index in holder.iter().chain(&others) {
            self.print_step(*index, &mut out);
        }
        let vacated = floor.is_none() || !holder.is_empty();

        if open.is_empty() {
            if vacated {
                self.print_any_running(&mut out);
            }
            return out;
        }
        if let Some(holder) = floor.filter(|holder| open.contains(holder)) {
            self.print_step(holder, &mut out);
        }
        if let Some(next) = self.next_speaker(floor.filter(|_| !vacated), &open, now) {
            self.print_step(next, &mut out);
        }
        out
    }

    /// The last lines: all that was held back, then each failed step with the end of its output.
    pub(crate) fn finish(&mut self, now: SystemTime) -> String {
        let mut out = self.print(now);
        for index in 0..self.faces.len() {
            self.model.step_mut(index).log.end_open_lines();
            let shown = self.model.steps()[index].is_shown();
            let unfinished = self.state(index).is_completed() && !self.faces[index].ended;
            if shown && (self.faces[index].news || unfinished) {
                self.print_step(index, &mut out);
                self.end_step(index, &mut out);
            }
        }
        for step in self.model.steps().iter().filter(|step| step.is_shown()) {
            out += &error_block::text(step, ERROR_LINES, self.colour);
        }
        out
    }

    fn state(&self, index: usize) -> State<'_> {
        self.model.steps()[index].state()
    }

    fn with_news(&self) -> impl Iterator<Item = usize> + '_ {
        let shown = |index: &usize| self.model.steps()[*index].is_shown();
        (0..self.faces.len()).filter(|index| self.faces[*index].news).filter(shown)
    }

    /// A line that stays open does not stay unseen.
    fn age_open_lines(&mut self, now: SystemTime) {
        let builder_now = self.model.builder_time(now);
        for index in 0..self.faces.len() {
            let step = self.model.step_mut(index);
            let Some(since) = step.log.open_since() else { continue };
            if step.since_start(builder_now).saturating_sub(since) >= OPEN_LINE {
                step.log.end_open_lines();
                self.faces[index].news = true;
            }
        }
    }

    /// Nothing is new: whoever is running is shown to be.
    fn print_any_running(&mut self, out: &mut String) {
        let running = (0..self.faces.len()).find(|index| {
            self.model.steps()[*index].is_shown() && self.state(*index) == State::Running
        });
        if let Some(index) = running {
            self.print_step(index, out);
        }
    }

    /// Who takes the floor from `holder` (or an empty floor), if anybody does.
    fn next_speaker(
        &self,
        holder: Option<usize>,
        open: &[usize],
        now: SystemTime,
    ) -> Option<usize> {
        let waited = |index: usize| {
            let since = self.faces[index].waiting_since.unwrap_or(now);
            now.duration_since(since).unwrap_or_default()
        };
        let speed = |index: usize| {
            // Never zero, so that shares can be computed from the first moment.
            f64::from(self.faces[index].events) / waited(index).as_secs_f64().max(0.001)
        };
        let others: Vec<usize> =
            open.iter().copied().filter(|index| Some(*index) != holder).collect();
        let starving = others.iter().copied().find(|index| waited(*index) > LONGEST_WAIT);
        let busiest = others.iter().copied().max_by(|a, b| {
            // Of equals the first.
            speed(*a).total_cmp(&speed(*b)).then(b.cmp(a))
        });
        let Some(holder) = holder else { return starving.or(busiest) };
        if starving.is_some() {
            return starving;
        }
        let total: f64 = speed(holder) + others.iter().map(|index| speed(*index)).sum::<f64>();
        let share = if total > 0.0 { speed(holder) / total } else { 0.0 };
        let turn = KEEP_FLOOR.as_secs_f64() / (1.0 - share);
        (turn < waited(holder).as_secs_f64()).then_some(busiest).flatten()
    }

    /// Prints all that is new about a step, taking the floor for it.
    fn print_step(&mut self, index: usize, out: &mut String) {
        let number = self.take_floor(index, out);
        let (colour, face) = (self.colour, &mut self.faces[index]);
        let step = self.model.step_mut(index);
        let open_part = print_parts(face, step, number, out);
        for warning in &step.warnings[face.warnings..] {
            line(out, number, &format!("WARN: {}", sanitize::name(&warning.short)));
        }
        face.warnings = step.warnings.len();
        for entry in step.log.take_pending() {
            let text = sanitize::strip(&entry.text, colour);
            line(out, number, &format!("{} {text}", log_stamp(entry.elapsed)));
        }
        face.news = false;
        face.ended = false;
        if self.state(index).is_completed() && !open_part {
            self.end_step(index, out);
        }
    }

    /// Gives a step the floor and its number, and tells so if somebody else had it.
    fn take_floor(&mut self, index: usize, out: &mut String) -> usize {
        let first = self.numbers == 0;
        let number = self.faces[index].number.unwrap_or_else(|| {
            self.numbers += 1;
            self.numbers
        });
        self.faces[index].number = Some(number);
        if self.floor == Some(index) {
            return number;
        }
        if let Some(before) = self.floor.replace(index) {
            self.interrupt(before, out);
        }
        if !first {
            out.push('\n');
        }
        line(out, number, &self.model.steps()[index].name);
        number
    }

    fn interrupt(&mut self, index: usize, out: &mut String) {
        let face = &mut self.faces[index];
        face.events = 0;
        face.waiting_since = None;
        line(out, face.number.unwrap_or_default(), "...");
    }

    /// Tells how a step ended, once, and leaves the floor empty.
    fn end_step(&mut self, index: usize, out: &mut String) {
        if self.faces[index].ended || !self.state(index).is_completed() {
            return;
        }
        let step = &self.model.steps()[index];
        let end = match step.state() {
            State::Failed(error) => {
                format!("ERROR: {}", sanitize::strip(error, Colour::Drop))
            }
            State::Canceled => "CANCELED".to_owned(),
            State::Cached => "CACHED".to_owned(),
            State::Waiting | State::Running | State::Done => {
                format!("DONE {}", seconds(step.busy(SystemTime::UNIX_EPOCH)))
            }
        };
        let face = &mut self.faces[index];
        line(out, face.number.unwrap_or_default(), &end);
        face.ended = true;
        face.events = 0;
        face.waiting_since = None;
        self.floor = None;
    }
}

/// Prints the parts that moved far enough; returns whether one that is open was printed.
fn print_parts(face: &mut Face, step: &mut Step, number: usize, out: &mut String) -> bool {
    face.parts.resize(step.parts.len(), None);
    let mut open = false;
    for (part, shown) in step.parts.iter_mut().zip(&mut face.parts) {
        if !std::mem::take(&mut part.news) || !moved(part, *shown) {
            continue;
        }
        let status = &part.status;
        *shown = Some(Shown { current: status.current, at: status.timestamp });
        let mut text = sanitize::name(&status.id);
        text += &transferred(status.current, status.total);
        let busy = part.busy(status.timestamp);
        if busy > Duration::from_millis(10) {
            // Writing to a string cannot fail.
            write!(text, " {}", seconds(busy)).ok();
        }
        match status.completed {
            Some(_) => text += " done",
            None => open = true,
        }
        line(out, number, &text);
    }
    open
}

fn moved(part: &Part, shown: Option<Shown>) -> bool {
    let Some(shown) = shown else { return true };
    let status = &part.status;
    if status.completed.is_some() {
        return true;
    }
    #[expect(clippy::cast_precision_loss, reason = "compared with a share of one in twenty")]
    let share = match status.total {
        0 => 0.0,
        total => status.current.saturating_sub(shown.current) as f64 / total as f64,
    };
    let pause = status.timestamp.duration_since(shown.at).unwrap_or_default();
    share >= PART_SHARE || pause >= PART_PAUSE
}

fn line(out: &mut String, number: usize, text: &str) {
    // Writing to a string cannot fail.
    writeln!(out, "#{number} {text}").ok();
}
