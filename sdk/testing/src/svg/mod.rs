//! [`svg`]: a graph as a picture, without any other program.
//!
//! A definition comes in, an SVG document comes out: a box per step with its number, kind and name,
//! everything it says as its tooltip, and a line from each step to what reads it. Full lines are
//! what a step stands on, dashed ones what it reads besides. The same graph is the same picture.
//! [`Layout`] and [`curve`] are for whoever draws boxes of their own.

mod layout;

use std::fmt::Write as _;

use kiln_llb::Definition;
use kiln_wire::pb::op::Op as Kind;

use crate::facts::View;
use crate::steps::{Step, StepInput, Steps, StepsError};
use crate::text::{lines, reference};
use crate::words::{cut, inline, shortened, word};

pub use layout::{Layout, Line, Size};

/// How a kind of step is drawn: the kind, the colour of its edge, that of its box.
const COLOURS: &[(&str, &str, &str)] = &[
    ("image", "#2563eb", "#eff6ff"),
    ("image blob", "#2563eb", "#eff6ff"),
    ("oci-layout", "#2563eb", "#eff6ff"),
    ("oci-layout blob", "#2563eb", "#eff6ff"),
    ("local", "#15803d", "#f0fdf4"),
    ("git", "#c2410c", "#fff7ed"),
    ("http", "#7e22ce", "#faf5ff"),
    ("exec", "#334155", "#f8fafc"),
    ("file", "#0f766e", "#f0fdfa"),
    ("merge", "#a16207", "#fefce8"),
    ("diff", "#be185d", "#fdf2f8"),
    ("build", "#b91c1c", "#fef2f2"),
    ("passthrough", "#6b7280", "#f9fafb"),
];

/// The height of a box, in pixels, and the least and most width.
const HEIGHT: f64 = 46.0;
const WIDTHS: (f64, f64) = (132.0, 292.0);
/// The width of a character of a name, as far as it can be known here.
const CHARACTER: f64 = 6.7;
/// The most characters of a name, and of a label on a line.
const MAX_NAME: usize = 40;
const MAX_LABEL: usize = 30;

const STYLE: &str = "text{font:12px ui-sans-serif,system-ui,'DejaVu Sans',Helvetica,Arial,sans-serif;\
fill:#0f172a}.kind{font-size:10px;fill:#64748b}.label{font-size:10px;fill:#64748b;\
paint-order:stroke;stroke:#fff;stroke-width:3px}.line{fill:none;stroke:#64748b;stroke-width:1.4}\
.side{stroke-dasharray:4 3;stroke:#94a3b8}.unused{opacity:.45}";

/// A graph as an SVG document.
///
/// ```
/// use kiln_llb::{Exec, Marshal, State, args};
///
/// let built = State::image("alpine:3.20").run(Exec::default().with_args(args!["make"]));
/// let drawn = kiln_testing::svg(&built.root().marshal(&Marshal::default())?)?;
/// assert!(drawn.starts_with("<svg ") && drawn.contains(">make</text>"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`StepsError`] if the definition does not decode or has a hole.
pub fn svg(definition: &Definition) -> Result<String, StepsError> {
    Ok(draw(&Steps::of(definition)?))
}

fn draw(steps: &Steps) -> String {
    let labels: Vec<String> = steps.iter().map(label).collect();
    let sizes: Vec<Size> = labels.iter().map(|label| size(label)).collect();
    let reads: Vec<Vec<usize>> = steps
        .iter()
        .map(|step| {
            let mut reads: Vec<usize> = step.inputs.iter().map(|input| input.index).collect();
            reads.sort_unstable();
            reads.dedup();
            reads
        })
        .collect();
    let layout = Layout::of(&sizes, &reads);
    let mut out = String::new();
    let (width, height) = (layout.width.ceil(), layout.height.ceil());
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>"
    );
    for line in &layout.lines {
        edge(steps, line, &mut out);
    }
    for (step, (label, size)) in steps.iter().zip(labels.iter().zip(&sizes)) {
        let (x, y) = layout.places[step.number - 1];
        vertex(steps, step, label, (x, y, size.width), &mut out);
    }
    for line in &layout.lines {
        edge_label(steps, line, &mut out);
    }
    out.push_str("</svg>\n");
    out
}

/// The name of a step, without the kind where the kind is written above it.
fn label(step: &Step) -> String {
    let name = shortened(&step.name());
    let kind = kind(step);
    let rest = name.strip_prefix(kind).and_then(|rest| rest.strip_prefix(' ')).unwrap_or(&name);
    let rest = rest.strip_prefix("docker.io/library/").unwrap_or(rest);
    cut(rest, MAX_NAME)
}

fn kind(step: &Step) -> &'static str {
    match &step.op.op {
        Some(Kind::Source(source)) => crate::facts::source_kind(&source.identifier).0,
        Some(Kind::Exec(_)) => "exec",
        Some(Kind::File(_)) => "file",
        Some(Kind::Build(_)) => "build",
        Some(Kind::Merge(_)) => "merge",
        Some(Kind::Diff(_)) => "diff",
        Some(Kind::Passthrough(_)) => "passthrough",
        None => "nothing",
    }
}

fn size(label: &str) -> Size {
    // The numbers are small.
    let characters = f64::from(u32::try_from(label.chars().count()).unwrap_or(u32::MAX));
    Size { width: (characters * CHARACTER + 26.0).clamp(WIDTHS.0, WIDTHS.1), height: HEIGHT }
}

fn vertex(steps: &Steps, step: &Step, label: &str, at: (f64, f64, f64), out: &mut String) {
    let (x, y, width) = at;
    let kind = kind(step);
    let colours = COLOURS.iter().find(|(known, ..)| *known == kind);
    let (edge, fill) = colours.map_or(("#6b7280", "#f9fafb"), |(_, edge, fill)| (*edge, *fill));
    let result = steps.result().filter(|result| result.index + 1 == step.number);
    let stroke = if result.is_some() { 2.6 } else { 1.2 };
    let class = if step.used { "step" } else { "step unused" };
    let _ = writeln!(out, "<g class=\"{class}\"><title>{}</title>", escaped(&tooltip(steps, step)));
    let _ = writeln!(
        out,
        "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.0}\" height=\"{HEIGHT:.0}\" rx=\"7\" \
         fill=\"{fill}\" stroke=\"{edge}\" stroke-width=\"{stroke}\"/>"
    );
    let mut above = format!("{} {kind}", step.number);
    if step.metadata.ignore_cache {
        above.push_str(" · not cached");
    }
    if result.is_some() {
        above.push_str(" · result");
    }
    let left = x + 13.0;
    let _ = writeln!(
        out,
        "<text class=\"kind\" x=\"{left:.0}\" y=\"{:.0}\">{}</text>\
         <text x=\"{left:.0}\" y=\"{:.0}\">{}</text></g>",
        y + 18.0,
        escaped(&above),
        y + 34.0,
        escaped(label)
    );
}

/// Everything a step says.
fn tooltip(steps: &Steps, step: &Step) -> String {
    let name = |input: StepInput| reference(input);
    let view = View { steps, name: &name, whole_env: false, caps: false, places: true };
    let mut out = String::new();
    lines(&view.facts(step), &format!("{} ", step.number), &mut out);
    shortened(out.trim_end())
}

/// The `d` of a path along a line: curves that leave and arrive upright, so that pieces of a long line
/// fit together.
pub fn curve(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (n, pair) in points.windows(2).enumerate() {
        let [(x, y), (to_x, to_y)] = [pair[0], pair[1]];
        if n == 0 {
            let _ = write!(path, "M{x:.0} {y:.0}");
        }
        let half = (to_y - y) / 2.0;
        let _ = write!(
            path,
            "C{x:.0} {:.0} {to_x:.0} {:.0} {to_x:.0} {to_y:.0}",
            y + half,
            to_y - half
        );
    }
    path
}

fn edge(steps: &Steps, line: &Line, out: &mut String) {
    let stands = steps.get(line.to).and_then(|step| step.base);
    let side = stands.is_none_or(|base| base.index != line.from);
    let path = curve(&line.points);
    let class = if side { "line side" } else { "line" };
    let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    if let Some((x, y)) = line.points.last() {
        let colour = if side { "#94a3b8" } else { "#64748b" };
        let _ = writeln!(
            out,
            "<path d=\"M{:.0} {:.0}L{x:.0} {y:.0}L{:.0} {:.0}Z\" fill=\"{colour}\"/>",
            x - 4.0,
            y - 7.0,
            x + 4.0,
            y - 7.0
        );
    }
}

/// Where a command sees what it reads besides its root.
fn edge_label(steps: &Steps, line: &Line, out: &mut String) {
    let Some(step) = steps.get(line.to) else { return };
    let Some(Kind::Exec(exec)) = &step.op.op else { return };
    let seen = exec.mounts.iter().filter(|mount| {
        mount.dest != "/" && step.input(mount.input).is_some_and(|input| input.index == line.from)
    });
    let seen: Vec<String> = seen.map(|mount| word(&mount.dest)).collect();
    let Some((x, y)) = line.points.last() else { return };
    if !seen.is_empty() {
        let label = cut(&inline(&seen.join(" ")), MAX_LABEL);
        let (x, y) = (x + 7.0, y - 9.0);
        let _ = writeln!(
            out,
            "<text class=\"label\" x=\"{x:.0}\" y=\"{y:.0}\">{}</text>",
            escaped(&label)
        );
    }
}

/// Text as XML reads it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            // What XML cannot hold at all.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
