//! One way of showing progress, chosen once: values and the time in, bytes for standard error out.

use std::time::SystemTime;

use kiln_progress::Progress;

use super::colours::{Palette, Tone};
use super::error_block;
use super::mode::Chosen;
use super::model::Model;
use super::plain::Plain;
use super::raw_json;
use super::sanitize::{self, Colour};
use super::screen::{Layout, Size};
use super::terminal::Canvas;

/// How much of a failed step's output the screen repeats at the end.
const ERROR_LINES: usize = 400;

/// What the environment says about showing progress.
#[derive(Clone, Debug)]
pub(crate) struct DisplayOptions {
    /// The colours of a screen.
    pub palette: Palette,
    /// How many of the newest lines of output a running step shows on a screen.
    pub log_lines: usize,
}

/// Shows progress.
#[derive(Debug)]
pub(crate) enum Display {
    /// Lines.
    Plain(Plain),
    /// A screen.
    Tty(Box<Tty>),
    /// JSON; the batch that is not written yet.
    RawJson(Vec<Progress>),
    /// Nothing.
    Quiet,
}

/// A screen and what is drawn on it.
#[derive(Debug)]
pub(crate) struct Tty {
    model: Model,
    canvas: Canvas,
    log_lines: usize,
    colour: Colour,
}

impl Display {
    /// A display for a build that begins now.
    pub(crate) fn new(chosen: Chosen, options: DisplayOptions, now: SystemTime) -> Self {
        let colour = match options.palette == Palette::MONOCHROME {
            true => Colour::Drop,
            false => Colour::Keep,
        };
        match chosen {
            Chosen::Plain => Self::Plain(Plain::new(now, colour)),
            Chosen::Tty => Self::Tty(Box::new(Tty {
                model: Model::new(now),
                canvas: Canvas::new(options.palette),
                log_lines: options.log_lines,
                colour,
            })),
            Chosen::RawJson => Self::RawJson(Vec::new()),
            Chosen::Quiet => Self::Quiet,
        }
    }

    /// Takes in one value.
    pub(crate) fn apply(&mut self, progress: Progress, now: SystemTime) {
        match self {
            Self::Plain(plain) => plain.apply(progress, now),
            Self::Tty(tty) => {
                if let Some(index) = tty.model.apply(progress, now) {
                    tty.model.step_mut(index).settle();
                }
            }
            Self::RawJson(batch) => batch.push(progress),
            Self::Quiet => {}
        }
    }

    /// What is to be written by now.
    pub(crate) fn render(&mut self, now: SystemTime, size: Size) -> Vec<u8> {
        match self {
            Self::Plain(plain) => plain.print(now).into_bytes(),
            Self::Tty(tty) => {
                let layout = Layout { size, log_lines: tty.log_lines };
                tty.canvas.draw(layout.frame(&tty.model, now), size)
            }
            Self::RawJson(batch) => raw_json::encode(&std::mem::take(batch)).into_bytes(),
            Self::Quiet => Vec::new(),
        }
    }

    /// What is to be written last.
    pub(crate) fn finish(&mut self, now: SystemTime, size: Size) -> Vec<u8> {
        match self {
            Self::Plain(plain) => plain.finish(now).into_bytes(),
            Self::Tty(tty) => tty.finish(now, size),
            Self::RawJson(_) | Self::Quiet => self.render(now, size),
        }
    }
}

impl Tty {
    fn finish(&mut self, now: SystemTime, size: Size) -> Vec<u8> {
        let layout = Layout { size, log_lines: 0 };
        let mut out = self.canvas.draw(layout.last_frame(&self.model, now), size);
        out.extend(self.canvas.finish());
        for step in self.model.steps().iter().filter(|step| step.is_shown()) {
            out.extend(error_block::text(step, ERROR_LINES, self.colour).into_bytes());
        }
        out.extend(self.canvas.paint(&warnings(&self.model), Tone::Warning));
        out
    }
}

/// All warnings of a build, as a list; empty if there are none.
fn warnings(model: &Model) -> String {
    let all: Vec<_> = model.steps().iter().flat_map(|step| &step.warnings).collect();
    let mut text = match all.len() {
        0 => return String::new(),
        1 => "\n1 warning found:\n".to_owned(),
        count => format!("\n{count} warnings found:\n"),
    };
    for warning in all {
        let place = warning.info.as_ref().map_or(String::new(), |info| {
            let line = warning.ranges.first().and_then(|range| range.start.as_ref());
            let line = line.map_or(String::new(), |position| format!(" (line {})", position.line));
            format!(" {}{line}", sanitize::name(&info.filename))
        });
        text += &format!(" - {}{place}\n", sanitize::name(&warning.short));
        if !warning.url.is_empty() {
            text += &format!("   more info: {}\n", sanitize::name(&warning.url));
        }
    }
    text
}
