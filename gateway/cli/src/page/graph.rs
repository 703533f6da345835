//! The graph of a build as a picture: a box for each step, a line from each to what reads it.
//!
//! Drawn with the layout of `kiln_testing::svg`, and coloured by how each step went. Steps that neither
//! read anything nor are read, such as reading the build file, are in the timeline only.

use kiln_testing::svg::{Layout, Line, Size, curve};

use super::html::Html;
use super::report::Report;
use super::steps::{State, Step};
use super::text::{count, span};
use super::timeline::Timeline;
use crate::output::cut;

/// Larger graphs are not drawn: nobody could read them.
const MAX_BOXES: usize = 1500;
/// The height of a box, in pixels, and the least and most width.
const HEIGHT: f64 = 44.0;
const WIDTHS: (f64, f64) = (120.0, 270.0);
/// The width of a character of a name, as far as it can be known here.
const CHARACTER: f64 = 6.6;
/// The most characters of a name.
const MAX_NAME: usize = 38;

/// Which steps are drawn, each after what it reads, and what each reads.
struct Boxes {
    /// Indexes of steps.
    steps: Vec<usize>,
    /// Places in `steps`.
    reads: Vec<Vec<usize>>,
}

/// The picture, if there is one.
pub(super) fn draw(report: &Report, timeline: &Timeline) -> Option<Html> {
    let boxes = Boxes::of(report);
    if boxes.steps.is_empty() {
        return None;
    }
    let mut html = Html::default();
    if boxes.steps.len() > MAX_BOXES {
        let said = count(boxes.steps.len(), "step", "steps");
        html.span("p", "note", format!("The graph has {said}, which is too many to be drawn."));
        return Some(html);
    }
    let list = report.steps.list();
    let sizes: Vec<Size> = boxes.steps.iter().map(|index| size(&label(&list[*index]))).collect();
    let layout = Layout::of(&sizes, &boxes.reads);
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    let view = format!("0 0 {width} {height}");
    html.element("div", &[("class", &"picture"), ("tabindex", &"0")], |html| {
        let attributes: [(&'static str, &dyn std::fmt::Display); 5] = [
            ("width", &width),
            ("height", &height),
            ("viewBox", &view),
            ("role", &"img"),
            ("aria-label", &"Graph of the steps of the build"),
        ];
        html.element("svg", &attributes, |html| {
            for line in &layout.lines {
                let ends = [line.from, line.to].map(|end| timeline.is_hot(boxes.steps[end]));
                edge(line, ends == [true, true], html);
            }
            for (place, index) in boxes.steps.iter().enumerate() {
                let (x, y) = layout.places[place];
                let step = &list[*index];
                vertex(*index, step, timeline, (x, y, sizes[place].width), html);
            }
        });
    });
    Some(html)
}

impl Boxes {
    fn of(report: &Report) -> Self {
        let list = report.steps.list();
        let reads = |step: &Step| -> Vec<usize> {
            let mut reads: Vec<usize> =
                step.inputs.iter().filter_map(|input| report.steps.index(input)).collect();
            reads.sort_unstable();
            reads.dedup();
            reads
        };
        let all: Vec<Vec<usize>> = list.iter().map(reads).collect();
        let mut is_read = vec![false; list.len()];
        all.iter().flatten().for_each(|input| is_read[*input] = true);
        let mut order = Order {
            all: &all,
            begun: vec![false; list.len()],
            place: vec![None; list.len()],
            steps: Vec::new(),
        };
        for index in 0..list.len() {
            if is_read[index] || !all[index].is_empty() {
                order.visit(index);
            }
        }
        let Order { place, steps, .. } = order;
        let reads = steps.iter().enumerate().map(|(own, index)| {
            let places = all[*index].iter().filter_map(|input| place[*input]);
            // A graph that reads itself is no graph; what would close a circle is left out.
            places.filter(|place| *place < own).collect()
        });
        Self { reads: reads.collect(), steps }
    }
}

/// Steps in an order in which each comes after what it reads.
struct Order<'a> {
    all: &'a [Vec<usize>],
    begun: Vec<bool>,
    place: Vec<Option<usize>>,
    steps: Vec<usize>,
}

impl Order<'_> {
    /// Lists a step after everything it reads. The stack is our own: a graph may be deep.
    fn visit(&mut self, root: usize) {
        let mut open = vec![(root, 0)];
        while let Some((index, next)) = open.pop() {
            if next == 0 && std::mem::replace(&mut self.begun[index], true) {
                continue;
            }
            match self.all[index].get(next) {
                Some(input) => open.extend([(index, next + 1), (*input, 0)]),
                None => {
                    self.place[index] = Some(self.steps.len());
                    self.steps.push(index);
                }
            }
        }
    }
}

/// The name of a step without what is the same for all.
fn label(step: &Step) -> String {
    cut(step.name.strip_prefix("docker.io/library/").unwrap_or(&step.name), MAX_NAME)
}

fn size(label: &str) -> Size {
    // The numbers are small.
    let characters = f64::from(u32::try_from(label.chars().count()).unwrap_or(u32::MAX));
    Size { width: (characters * CHARACTER + 26.0).clamp(WIDTHS.0, WIDTHS.1), height: HEIGHT }
}

fn vertex(
    index: usize,
    step: &Step,
    timeline: &Timeline,
    (x, y, width): (f64, f64, f64),
    html: &mut Html,
) {
    let state = step.state();
    let class = format!("box {}{}", state.word(), if timeline.is_hot(index) { " hot" } else { "" });
    let href = format!("#step-{}", index + 1);
    html.element("a", &[("href", &href), ("class", &class)], |html| {
        html.element("title", &[], |html| html.text(&step.name));
        let (x_text, y_text) = (format!("{x:.0}"), format!("{y:.0}"));
        let (width, height) = (format!("{width:.0}"), format!("{HEIGHT:.0}"));
        let attributes: [(&'static str, &dyn std::fmt::Display); 5] =
            [("x", &x_text), ("y", &y_text), ("width", &width), ("height", &height), ("rx", &"7")];
        html.element("rect", &attributes, |_| {});
        let said = match state {
            State::Cached | State::Waiting => format!("{} {}", index + 1, state.word()),
            _ => format!("{} {} · {}", index + 1, state.word(), span(timeline.busy(step))),
        };
        let left = format!("{:.0}", x + 13.0);
        let (above, below) = (format!("{:.0}", y + 17.0), format!("{:.0}", y + 33.0));
        html.element("text", &[("class", &"kind"), ("x", &left), ("y", &above)], |html| {
            html.text(said);
        });
        html.element("text", &[("x", &left), ("y", &below)], |html| html.text(label(step)));
    });
}

fn edge(line: &Line, hot: bool, html: &mut Html) {
    let class = if hot { "line hot" } else { "line" };
    html.element("path", &[("class", &class), ("d", &curve(&line.points))], |_| {});
    if let Some((x, y)) = line.points.last() {
        let head =
            format!("M{:.0} {:.0}L{x:.0} {y:.0}L{:.0} {:.0}Z", x - 4.0, y - 7.0, x + 4.0, y - 7.0);
        let class = if hot { "head hot" } else { "head" };
        html.element("path", &[("class", &class), ("d", &head)], |_| {});
    }
}
