//! Progress as a screen that is drawn again and again.
//!
//! A [`Model`], the time and the size of the terminal come in, a [`Frame`] goes out: lines of known
//! width, each with its tone. When there is more to show than rows, what runs is kept and what ended
//! first goes first. Drawing is [`super::terminal`]'s.

use std::time::SystemTime;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::amount::{seconds, transferred};
use super::colours::Tone;
use super::model::{Model, State, Step};
use super::sanitize::{self, Colour};

/// The size of a terminal, in cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Cells in a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

/// What is to be seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// From top to bottom.
    pub lines: Vec<FrameLine>,
}

/// One row of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FrameLine {
    /// Never wider than the terminal.
    pub text: String,
    /// What it is about.
    pub tone: Tone,
}

/// How a build is shown while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The terminal.
    pub size: Size,
    /// How many of the newest lines of output a running step shows.
    pub log_lines: usize,
}

/// The rows of one step.
struct Block {
    running: bool,
    head: FrameLine,
    parts: Vec<FrameLine>,
    log: Vec<FrameLine>,
}

impl Layout {
    /// The screen of a build that is running.
    pub(crate) fn frame(&self, model: &Model, now: SystemTime) -> Frame {
        let mut blocks = self.blocks(model, now);
        // One row stays free for the cursor.
        fit(&mut blocks, self.size.rows.saturating_sub(2));
        self.assemble(header(model, now, ""), blocks)
    }

    /// The last screen: all steps however many, no output.
    pub(crate) fn last_frame(&self, model: &Model, now: SystemTime) -> Frame {
        let mut blocks = self.blocks(model, now);
        for block in &mut blocks {
            block.log.clear();
        }
        self.assemble(header(model, now, " FINISHED"), blocks)
    }

    fn assemble(&self, header: String, blocks: Vec<Block>) -> Frame {
        let mut lines =
            vec![FrameLine { text: clip(&header, self.size.columns), tone: Tone::Normal }];
        for block in blocks {
            lines.push(block.head);
            lines.extend(block.parts);
            lines.extend(block.log);
        }
        Frame { lines }
    }

    fn blocks(&self, model: &Model, now: SystemTime) -> Vec<Block> {
        let builder_now = model.builder_time(now);
        let shown = model.steps().iter().filter(|step| step.is_shown());
        shown.map(|step| self.block(step, builder_now)).collect()
    }

    fn block(&self, step: &Step, now: SystemTime) -> Block {
        let state = step.state();
        let tone = tone(state);
        let running = state == State::Running;
        let time = seconds(step.busy(now));
        let head = self.row(&format!(" => {}{}", label(state), step.name), &time, tone);
        let parts = step.parts.iter().map(|part| {
            let status = &part.status;
            let what = if status.id.is_empty() { &status.name } else { &status.id };
            let amount = transferred(status.current, status.total);
            let text = format!(" => => {}{amount}", sanitize::name(what));
            self.row(&text, &seconds(part.busy(now)), tone)
        });
        let log = if running { step.log.newest(self.log_lines) } else { Vec::new() };
        let log = log.iter().map(|line| {
            let text = sanitize::strip(sanitize::last_carriage(&line.text), Colour::Drop);
            let text = clip(&format!(" => => # {}", text.replace('\t', "    ")), self.size.columns);
            FrameLine { text, tone: Tone::Normal }
        });
        Block { running, head, parts: parts.collect(), log: log.collect() }
    }

    /// A text on the left and a time on the right edge.
    fn row(&self, text: &str, time: &str, tone: Tone) -> FrameLine {
        let room = self.size.columns.saturating_sub(time.len() + 1);
        if room < 8 {
            return FrameLine { text: clip(text, self.size.columns), tone };
        }
        let text = clip(text, room);
        let padding = room.saturating_sub(text.width());
        FrameLine { text: format!("{text}{:padding$} {time}", ""), tone }
    }
}

fn header(model: &Model, now: SystemTime, end: &str) -> String {
    let (completed, total) = model.counts();
    format!("[+] Building {} ({completed}/{total}){end}", seconds(model.elapsed(now)))
}

fn label(state: State<'_>) -> &'static str {
    match state {
        State::Cached => "CACHED ",
        State::Canceled => "CANCELED ",
        State::Failed(_) => "ERROR ",
        State::Waiting | State::Running | State::Done => "",
    }
}

fn tone(state: State<'_>) -> Tone {
    match state {
        State::Waiting | State::Running => Tone::Normal,
        State::Cached | State::Done => Tone::Done,
        State::Canceled => Tone::Canceled,
        State::Failed(_) => Tone::Error,
    }
}

/// Shortens `blocks` to `rows` rows: first output, then parts, then what ended goes, oldest first.
fn fit(blocks: &mut Vec<Block>, rows: usize) {
    let running = blocks.iter().filter(|block| block.running).count();
    // What runs is seen before what it says.
    let mut spare = rows.saturating_sub(running);
    let talking = blocks.iter().filter(|block| !block.log.is_empty()).count();
    if let Some(each) = spare.checked_div(talking) {
        for block in blocks.iter_mut() {
            let surplus = block.log.len().saturating_sub(each);
            block.log.drain(..surplus);
            spare -= block.log.len();
        }
    }
    for block in blocks.iter_mut().filter(|block| block.running) {
        let surplus = block.parts.len().saturating_sub(spare);
        block.parts.drain(..surplus);
        spare -= block.parts.len();
    }
    let mut room = spare;
    let mut kept: Vec<Block> = Vec::new();
    for mut block in std::mem::take(blocks).into_iter().rev() {
        if !block.running {
            if room == 0 {
                continue;
            }
            room -= 1;
            let surplus = block.parts.len().saturating_sub(room);
            block.parts.drain(..surplus);
            room -= block.parts.len();
        }
        kept.push(block);
    }
    kept.reverse();
    // More steps may run than there are rows: the newest are seen.
    let surplus = kept.len().saturating_sub(rows);
    kept.drain(..surplus);
    *blocks = kept;
}

/// The text in at most `columns` cells; where it is cut, three dots say so.
fn clip(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let dots = if columns > 6 { "..." } else { "" };
    let room = columns - dots.len();
    let mut used = 0;
    let fitting = text.chars().take_while(|c| {
        used += c.width().unwrap_or(0);
        used <= room
    });
    let mut clipped: String = fitting.collect();
    clipped += dots;
    clipped
}
