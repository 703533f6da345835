//! When each step was at work, as bars below each other.

use std::time::{Duration, SystemTime};

use super::html::Html;
use super::path::{Link, Timed, critical_path};
use super::report::Report;
use super::steps::{State, Step};
use super::text::{percent, span};

/// A bar is at least so wide, in percent, so that it can be seen.
const THIN: f64 = 0.15;
/// Shorter waits are not drawn.
const SHORT: Duration = Duration::from_millis(5);
/// How many marks the axis has at most.
const MARKS: u32 = 8;
/// Between marks, in milliseconds.
const DISTANCES: &[u64] = &[
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000,
    300_000, 600_000, 900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 86_400_000,
];

/// The steps of a report in time.
#[derive(Debug)]
pub(super) struct Timeline {
    began: SystemTime,
    /// How long the build took, or has taken.
    pub(super) whole: Duration,
    ended: SystemTime,
    timed: Vec<Option<Timed>>,
    /// The critical path.
    pub(super) path: Vec<Link>,
    hot: Vec<bool>,
    /// How many of the inputs of each step were in use elsewhere, by index.
    pub(super) readers: Vec<Vec<usize>>,
}

impl Timeline {
    /// When each step was at work.
    pub(super) fn of(report: &Report) -> Self {
        let (began, ended) = (report.began(), report.ended());
        let steps = report.steps.list();
        let since = |time: SystemTime| time.duration_since(began).unwrap_or_default();
        let timed = |step: &Step| {
            let inputs = step.inputs.iter().filter_map(|input| report.steps.index(input));
            let inputs = inputs.filter(|input| steps[*input].began().is_some());
            Some(Timed {
                began: since(step.began()?),
                ended: since(step.ended(ended)),
                inputs: inputs.collect(),
            })
        };
        let timed: Vec<_> = steps.iter().map(timed).collect();
        let last = failed(report);
        let path = critical_path(&timed, last);
        let mut hot = vec![false; steps.len()];
        path.iter().for_each(|link| hot[link.step] = true);
        let mut readers = vec![Vec::new(); steps.len()];
        for (index, step) in steps.iter().enumerate() {
            for input in step.inputs.iter().filter_map(|input| report.steps.index(input)) {
                if !readers[input].contains(&index) {
                    readers[input].push(index);
                }
            }
        }
        let whole = ended.duration_since(began).unwrap_or_default();
        Self { began, whole, ended, timed, path, hot, readers }
    }

    /// Whether a step is on the critical path.
    pub(super) fn is_hot(&self, index: usize) -> bool {
        self.hot[index]
    }

    /// How long a step was at work.
    pub(super) fn busy(&self, step: &Step) -> Duration {
        step.intervals.busy(self.ended)
    }

    /// How long after the beginning of the build a step began.
    pub(super) fn offset(&self, index: usize) -> Option<Duration> {
        self.timed[index].as_ref().map(|timed| timed.began)
    }

    /// How long a step could have begun before it did: everything that it reads was there.
    pub(super) fn waited(&self, index: usize) -> Option<(Duration, Duration)> {
        let timed = self.timed[index].as_ref()?;
        let inputs = timed.inputs.iter().filter_map(|input| self.timed[*input].as_ref());
        let ready = inputs.map(|input| input.ended).max()?;
        let waited = timed.began.checked_sub(ready)?;
        (waited > SHORT).then_some((ready, waited))
    }

    /// Writes the axis and a row for each step that began.
    pub(super) fn write(&self, report: &Report, html: &mut Html) {
        html.element("div", &[("class", &"axis"), ("aria-hidden", &"true")], |html| {
            html.markup("<span></span><div class=\"track\">");
            for mark in marks(self.whole) {
                let left = format!("left:{:.3}%", percent(mark, self.whole));
                html.element("i", &[("style", &left)], |html| html.text(span(mark)));
            }
            html.markup("</div><span></span>");
        });
        for (index, step) in report.steps.list().iter().enumerate() {
            if self.timed[index].is_some() {
                self.row(index, step, html);
            }
        }
    }

    fn row(&self, index: usize, step: &Step, html: &mut Html) {
        let state = step.state();
        let hot = if self.hot[index] { " hot" } else { "" };
        let class = format!("row {}{hot}", state.word());
        let href = format!("#step-{}", index + 1);
        let title = format!("{} ({}, {})", step.name, state.word(), span(self.busy(step)));
        html.element("a", &[("class", &class), ("href", &href), ("title", &title)], |html| {
            html.span("span", "name", &step.name);
            html.element("span", &[("class", &"track")], |html| self.bars(index, step, html));
            let took = match state {
                State::Cached => "cached".to_owned(),
                _ => span(self.busy(step)),
            };
            html.span("span", "took", took);
        });
    }

    fn bars(&self, index: usize, step: &Step, html: &mut Html) {
        let place = |from: Duration, took: Duration| {
            let (left, width) = (percent(from, self.whole), percent(took, self.whole));
            let width = width.max(THIN);
            format!("left:{:.3}%;width:{width:.3}%", left.min(100.0 - width))
        };
        if let Some((ready, waited)) = self.waited(index) {
            html.element("i", &[("class", &"wait"), ("style", &place(ready, waited))], |_| {});
        }
        for (start, end) in step.intervals.iter() {
            let from = start.duration_since(self.began).unwrap_or_default();
            let took = end.unwrap_or(self.ended).duration_since(start).unwrap_or_default();
            html.element("i", &[("class", &"bar"), ("style", &place(from, took))], |_| {});
        }
    }
}

/// The step that a failed build ended at.
pub(super) fn failed(report: &Report) -> Option<usize> {
    let named = report.failure.as_ref().and_then(|failure| failure.vertex.as_deref());
    let named = named.and_then(|vertex| report.steps.index(&vertex.parse().ok()?));
    named.or_else(|| report.steps.list().iter().position(|step| step.state() == State::Failed))
}

/// Where the axis has marks.
fn marks(whole: Duration) -> Vec<Duration> {
    let fits = |distance: &&u64| Duration::from_millis(**distance) * MARKS >= whole;
    let Some(distance) = DISTANCES.iter().find(fits).copied().map(Duration::from_millis) else {
        return Vec::new();
    };
    (0..=MARKS).map(|n| distance * n).take_while(|mark| *mark <= whole).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_round_marks() {
        let said = |millis| marks(Duration::from_millis(millis)).into_iter().map(span);
        assert_eq!(said(0).collect::<Vec<_>>(), ["0 ms"]);
        assert_eq!(said(3100).collect::<Vec<_>>().len(), 7);
        assert_eq!(said(70_000).next_back().unwrap(), "1 min 10 s");
        assert!(marks(Duration::from_secs(u64::MAX)).is_empty());
    }
}
