//! The page from top to bottom.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_progress::Warning;
use kiln_wire::pb;
use kiln_wire::status::Source;

use crate::failure::Excerpt;
use crate::progress::{bytes, log_stamp, one_line};

use super::graph;
use super::html::{Attribute, Html};
use super::outputs::Output;
use super::provenance::{Material, Provenance};
use super::report::{Failure, Report};
use super::sgr;
use super::step_log::{LeftOut, StepLog};
use super::steps::{State, Step};
use super::text::{count, moment, percent, span};
use super::timeline::{Timeline, failed};
use crate::output::cut;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// The longest values that are shown whole, in characters.
const VALUE: usize = 2000;
const MESSAGE: usize = 20_000;
/// So many options, links of a step and places of a step are shown.
const MAX_OPTIONS: usize = 500;
const MAX_LINKS: usize = 60;
const MAX_PLACES: usize = 4;

/// A build as a page.
pub(crate) fn document(report: &Report) -> String {
    let timeline = Timeline::of(report);
    let page = Page { report, timeline: &timeline };
    let mut html = Html::default();
    html.markup("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.element(
        "meta",
        &[("http-equiv", &"Content-Security-Policy"), ("content", &policy())],
        |_| {},
    );
    html.markup("\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.markup("<meta name=\"color-scheme\" content=\"light dark\">\n");
    html.element("title", &[], |html| html.text(format!("{} — {}", page.title(), page.word())));
    html.markup("\n<style>");
    html.markup(STYLE);
    html.markup("</style>\n</head>\n");
    html.element("body", &[("class", &report.status())], |html| page.write(html));
    html.markup("\n<script>");
    html.markup(SCRIPT);
    html.markup("</script>\n</html>\n");
    html.finish()
}

/// What the page may load and run: nothing but what is in it and was written here.
fn policy() -> String {
    let hash = base64_sha256(SCRIPT);
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'"
    )
}

/// The SHA-256 of a text as policies write it.
fn base64_sha256(text: &str) -> String {
    let digest = kiln_oci::Digest::sha256(text);
    let hex = digest.hex().as_bytes();
    let digits = hex.chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
    let hash: Vec<u8> = digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect();
    STANDARD.encode(hash)
}

/// A report with what was found out about it.
struct Page<'a> {
    report: &'a Report,
    timeline: &'a Timeline,
}

/// A section of the page: its id, its name, and what writes it.
type Section<'a> = (&'static str, &'static str, fn(&Page<'a>, &mut Html));

impl<'a> Page<'a> {
    fn title(&self) -> String {
        cut(&one_line(&self.report.title()), 160)
    }

    /// How the build went, in a word for people.
    fn word(&self) -> &'static str {
        match self.report.status() {
            "error" => "failed",
            "canceled" => "canceled",
            "running" => "running",
            _ => "completed",
        }
    }

    /// The sections that have something in them.
    fn sections(&self) -> Vec<Section<'a>> {
        let steps = !self.report.steps.list().is_empty();
        let path = !self.timeline.path.is_empty();
        let provenance = !self.report.provenance.is_empty();
        let outputs =
            !self.report.outputs.is_empty() || !self.report.record.exporter_response.is_empty();
        let all: [(bool, Section<'a>); 8] = [
            (self.report.failure.is_some(), ("failure", "Failure", Self::failure)),
            (self.has_warnings(), ("warnings", "Warnings", Self::warnings)),
            (path, ("path", "Critical path", Self::path)),
            (path, ("timeline", "Timeline", Self::timeline)),
            (steps, ("steps", "Steps", Self::steps)),
            (outputs, ("outputs", "Outputs", Self::outputs)),
            (provenance, ("materials", "Materials", Self::materials)),
            (true, ("asked", "Asked for", Self::asked)),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, section)| section).collect()
    }

    fn write(&self, html: &mut Html) {
        let sections = self.sections();
        html.markup("\n<header>");
        self.head(html);
        html.markup("</header>\n<nav aria-label=\"Sections\">");
        let mut picture = graph::draw(self.report, self.timeline);
        for (id, name, _) in &sections {
            html.element("a", &[("href", &format!("#{id}"))], |html| html.text(name));
            if picture.is_some() && *id == "timeline" {
                html.markup("<a href=\"#graph\">Graph</a>");
            }
        }
        html.markup("</nav>\n<main>\n");
        for (id, name, write) in &sections {
            section(id, name, html, |html| write(self, html));
            if *id == "timeline"
                && let Some(picture) = picture.take()
            {
                section("graph", "Graph", html, |html| {
                    self.legend(html);
                    html.append(picture);
                });
            }
        }
        html.markup("</main>\n<footer>");
        html.text(format!(
            "Build {} · page made {} by kiln {}",
            self.report.record.r#ref,
            moment(self.report.made),
            env!("CARGO_PKG_VERSION")
        ));
        html.markup("</footer>\n");
    }

    fn head(&self, html: &mut Html) {
        let record = &self.report.record;
        html.element("p", &[("class", &format!("state {}", self.word()))], |html| {
            html.text(match self.word() {
                "failed" => "✗ failed",
                "canceled" => "◼ canceled",
                "running" => "● running",
                _ => "✓ completed",
            });
        });
        html.element("h1", &[], |html| html.text(self.title()));
        let frontend = match record.frontend.as_str() {
            "" => "LLB",
            frontend => frontend,
        };
        let platform = record.frontend_attrs.get("platform");
        let platform = platform.map_or(String::new(), |platform| format!(" · {platform}"));
        html.element("p", &[("class", &"sub")], |html| {
            html.text(format!("{frontend}{platform} · began {}", moment(self.report.began())));
        });
        html.element("div", &[("class", &"tiles")], |html| {
            let steps = &self.report.steps;
            let warnings: usize = steps.list().iter().map(|step| step.warnings.len()).sum();
            tile("time", "", &span(self.timeline.whole), html);
            let all = steps.list().iter().filter(|step| step.began().is_some()).count();
            tile("steps", "", &all.to_string(), html);
            let some = [
                (State::Ran, "ran"),
                (State::Cached, "from cache"),
                (State::Running, "running"),
                (State::Failed, "failed"),
                (State::Canceled, "canceled"),
            ];
            for (state, name) in some {
                let number = steps.count(state);
                if number > 0 {
                    tile(name, state.word(), &number.to_string(), html);
                }
            }
            if warnings > 0 {
                tile(
                    if warnings == 1 { "warning" } else { "warnings" },
                    "warn",
                    &warnings.to_string(),
                    html,
                );
            }
        });
        for missing in &self.report.missing {
            html.span("p", "note", missing);
        }
        if self.word() == "running" {
            html.markup(
                "<p class=\"note\">The build was still running when this page was made.</p>",
            );
        }
    }

    fn failure(&self, html: &mut Html) {
        let Some(Failure { message, sources, more, .. }) = &self.report.failure else { return };
        if let Some(index) = failed(self.report) {
            let step = &self.report.steps.list()[index];
            html.element("p", &[], |html| {
                self.link(index, html);
                html.text(format!(" after {}", span(self.timeline.busy(step))));
            });
        }
        for source in sources {
            excerpt(source, html);
        }
        html.element("pre", &[("class", &"message")], |html| html.text(cut(message, MESSAGE)));
        for text in more {
            html.element("pre", &[("class", &"message")], |html| html.text(cut(text, MESSAGE)));
        }
        if let Some(index) = failed(self.report) {
            let step = &self.report.steps.list()[index];
            if step.log.len() > 0 {
                self.log(&step.log, html);
            }
        }
    }

    fn has_warnings(&self) -> bool {
        self.report.steps.list().iter().any(|step| !step.warnings.is_empty())
    }

    fn warnings(&self, html: &mut Html) {
        for (index, step) in self.report.steps.list().iter().enumerate() {
            for warning in &step.warnings {
                html.element("div", &[("class", &"warning")], |html| {
                    html.element("p", &[], |html| {
                        html.span("strong", "", &warning.short);
                        html.markup(" in ");
                        self.link(index, html);
                    });
                    warning_body(warning, html);
                });
            }
        }
    }

    fn path(&self, html: &mut Html) {
        let links = &self.timeline.path;
        let most = links.iter().map(|link| link.took).max().unwrap_or_default();
        let sum: Duration = links.iter().map(|link| link.took).sum();
        html.element("p", &[("class", &"about")], |html| {
            let steps = count(links.len(), "step", "steps");
            html.text(format!(
                "{steps} one after the other made the build take as long as it did: {} of {}. \
                 Only what makes one of them faster makes the build faster.",
                span(sum),
                span(self.timeline.whole)
            ));
        });
        html.markup("<ol class=\"path\">");
        for link in links {
            let step = &self.report.steps.list()[link.step];
            let width = format!("width:{:.2}%", percent(link.took, most));
            html.element("li", &[("class", &step.state().word())], |html| {
                self.link(link.step, html);
                html.element("span", &[("class", &"track")], |html| {
                    html.element("i", &[("class", &"bar"), ("style", &width)], |_| {});
                });
                html.span("span", "took", span(link.took));
            });
        }
        html.markup("</ol>");
    }

    fn timeline(&self, html: &mut Html) {
        html.markup(
            "<p class=\"filters\"><label><input type=\"checkbox\" id=\"hide-cached\"> hide what was cached\
             </label> <label><input type=\"checkbox\" id=\"only-path\"> only the critical path</label></p>",
        );
        self.legend(html);
        html.element("div", &[("class", &"timeline")], |html| {
            self.timeline.write(self.report, html);
        });
    }

    fn legend(&self, html: &mut Html) {
        html.markup("<p class=\"legend\" aria-hidden=\"true\">");
        for state in [State::Ran, State::Cached, State::Running, State::Failed, State::Canceled] {
            if self.report.steps.count(state) > 0 {
                let class = format!("key {}", state.word());
                html.span("span", &class, state.word());
            }
        }
        html.markup("<span class=\"key hot\">critical path</span></p>");
    }

    fn steps(&self, html: &mut Html) {
        let list = self.report.steps.list();
        for (index, step) in list.iter().enumerate() {
            self.step(index, step, html);
        }
        let left_out = self.report.steps.left_out();
        if left_out > 0 {
            html.span(
                "p",
                "note",
                format!("The build has {} steps, of which not all are shown.", list.len()),
            );
        }
    }

    fn step(&self, index: usize, step: &Step, html: &mut Html) {
        let state = step.state();
        let hot = if self.timeline.is_hot(index) { " hot" } else { "" };
        let class = format!("step {}{hot}", state.word());
        let id = format!("step-{}", index + 1);
        // The step that people look for is open.
        let open = state == State::Failed;
        let attributes: [Attribute<'_>; 3] = [("class", &class), ("id", &id), ("open", &"")];
        let attributes = if open { &attributes[..] } else { &attributes[..2] };
        html.element("details", attributes, |html| {
            html.element("summary", &[], |html| {
                html.span("span", "number", index + 1);
                html.span("span", "name", &step.name);
                let lines = step.log.len();
                if lines > 0 {
                    html.span("span", "badge", count(lines, "line", "lines"));
                }
                html.span("span", &format!("badge {}", state.word()), state.word());
                html.span("span", "took", span(self.timeline.busy(step)));
            });
            html.element("div", &[("class", &"body")], |html| self.step_body(index, step, html));
        });
        html.markup("\n");
    }

    fn step_body(&self, index: usize, step: &Step, html: &mut Html) {
        if !step.error.is_empty() {
            html.element("pre", &[("class", &"message")], |html| {
                html.text(cut(&step.error, MESSAGE));
            });
        }
        for source in self.places(step) {
            excerpt(&source, html);
        }
        for warning in &step.warnings {
            html.element("div", &[("class", &"warning")], |html| {
                html.element("p", &[], |html| html.span("strong", "", &warning.short));
                warning_body(warning, html);
            });
        }
        if step.log.len() > 0 {
            self.log(&step.log, html);
        }
        if !step.parts.is_empty() {
            parts(step, html);
        }
        html.markup("<dl>");
        if let Some(offset) = self.timeline.offset(index) {
            fact("began", format!("{} after the build", span(offset)), html);
        }
        if let Some((_, waited)) = self.timeline.waited(index) {
            fact("waited", format!("{} after everything it reads was there", span(waited)), html);
        }
        if let Some(group) = &step.group {
            fact("part of", group, html);
        }
        let reads = step.inputs.iter().filter_map(|input| self.report.steps.index(input));
        self.links("reads", &reads.collect::<Vec<_>>(), html);
        self.links("read by", &self.timeline.readers[index], html);
        fact("digest", &step.digest, html);
        html.markup("</dl>");
    }

    fn links(&self, name: &'static str, steps: &[usize], html: &mut Html) {
        if steps.is_empty() {
            return;
        }
        html.span("dt", "", name);
        html.element("dd", &[], |html| {
            for index in steps.iter().take(MAX_LINKS) {
                html.element("p", &[], |html| self.link(*index, html));
            }
            if steps.len() > MAX_LINKS {
                html.text(format!("and {} more", steps.len() - MAX_LINKS));
            }
        });
    }

    fn link(&self, index: usize, html: &mut Html) {
        let step = &self.report.steps.list()[index];
        let href = format!("#step-{}", index + 1);
        html.element("a", &[("href", &href), ("class", &"name")], |html| html.text(&step.name));
    }

    /// Where a step comes from in the user's files.
    fn places(&self, step: &Step) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for provenance in &self.report.provenance {
            let places = provenance.places.get(step.digest.as_str()).into_iter().flatten();
            for place in places {
                let Some(file) = provenance.files.get(place.file) else { continue };
                let line = |line: usize| {
                    Some(pb::Position {
                        line: i32::try_from(line).unwrap_or(i32::MAX),
                        character: 0,
                    })
                };
                let source = Source {
                    info: pb::SourceInfo {
                        filename: file.name.clone(),
                        data: file.text.clone().into(),
                        ..pb::SourceInfo::default()
                    },
                    ranges: vec![pb::Range { start: line(place.first), end: line(place.last) }],
                };
                if !sources.contains(&source) && sources.len() < MAX_PLACES {
                    sources.push(source);
                }
            }
        }
        sources
    }

    fn log(&self, log: &StepLog, html: &mut Html) {
        let (head, left_out, tail) = log.parts();
        html.element("pre", &[("class", &"log"), ("tabindex", &"0")], |html| {
            let line = |line: &crate::progress::Line, html: &mut Html| {
                html.span("s", "", log_stamp(line.elapsed));
                html.markup(" ");
                sgr::line(&line.text, html);
                html.markup("\n");
            };
            head.iter().for_each(|shown| line(shown, html));
            if left_out != LeftOut::default() {
                let LeftOut { lines, bytes: size } = left_out;
                let build = &self.report.record.r#ref;
                let said = format!(
                    "… {} ({}) left out here; all of it: kiln history logs {build}",
                    count(lines, "line", "lines"),
                    bytes(size as u64)
                );
                html.span("b", "cut", said);
                html.markup("\n");
            }
            tail.for_each(|shown| line(shown, html));
        });
    }

    fn outputs(&self, html: &mut Html) {
        for output in &self.report.outputs {
            self.output(output, html);
        }
        let response = self.report.record.exporter_response.iter();
        let response: BTreeMap<&str, &str> =
            response.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        table("What the exporters answered", &response, html);
        for Provenance { kind, digest, size, platform, .. } in &self.report.provenance {
            html.element("dl", &[("class", &"card")], |html| {
                fact("attestation", kind, html);
                if let Some(platform) = platform {
                    fact("of", platform, html);
                }
                fact("digest", digest, html);
                fact("size", bytes(size.unsigned_abs()), html);
            });
        }
    }

    fn output(&self, output: &Output, html: &mut Html) {
        html.element("div", &[("class", &"card")], |html| {
            html.markup("<dl>");
            fact("digest", &output.digest, html);
            fact("kind", &output.media_type, html);
            html.markup("</dl>");
            for image in &output.images {
                let size: u64 = image.layers.iter().map(|(_, size)| *size).sum();
                html.element("details", &[("class", &"image")], |html| {
                    html.element("summary", &[], |html| {
                        let platform = match image.platform.as_str() {
                            "" => "image",
                            platform => platform,
                        };
                        html.span("span", "name", platform);
                        let parts = match platform {
                            "attestations" => count(image.layers.len(), "statement", "statements"),
                            _ => count(image.layers.len(), "layer", "layers"),
                        };
                        html.span("span", "badge", parts);
                        html.span("span", "took", bytes(size));
                    });
                    html.markup("<div class=\"body\"><dl>");
                    fact("manifest", &image.digest, html);
                    for (digest, size) in &image.layers {
                        fact(&bytes(*size), digest, html);
                    }
                    html.markup("</dl></div>");
                });
            }
        });
    }

    fn materials(&self, html: &mut Html) {
        let mut all: Vec<&Material> =
            self.report.provenance.iter().flat_map(|said| &said.materials).collect();
        all.sort();
        all.dedup();
        if all.is_empty() {
            html.markup(
                "<p class=\"about\">No image, repository or file from elsewhere was used.</p>",
            );
            return;
        }
        html.markup("<div class=\"wide\"><table><thead><tr><th>What was used</th><th>Digest</th></tr></thead><tbody>");
        for Material { uri, digest } in all {
            html.element("tr", &[], |html| {
                html.element("td", &[], |html| html.text(cut(uri, VALUE)));
                html.element("td", &[("class", &"digest")], |html| html.text(cut(digest, VALUE)));
            });
        }
        html.markup("</tbody></table></div>");
    }

    fn asked(&self, html: &mut Html) {
        html.markup("<dl>");
        fact("build", &self.report.record.r#ref, html);
        if !self.report.record.frontend.is_empty() {
            fact("frontend", &self.report.record.frontend, html);
        }
        html.markup("</dl>");
        table("Options of the frontend", &self.report.options(), html);
        for exporter in &self.report.record.exporters {
            let attributes = exporter.attrs.iter();
            let attributes: BTreeMap<&str, &str> =
                attributes.map(|(key, value)| (key.as_str(), value.as_str())).collect();
            html.element("h3", &[], |html| html.text(format!("Export as {}", exporter.r#type)));
            table("Attributes", &attributes, html);
        }
    }
}

fn section(id: &str, name: &str, html: &mut Html, write: impl FnOnce(&mut Html)) {
    html.element("section", &[("id", &id)], |html| {
        html.span("h2", "", name);
        write(html);
    });
    html.markup("\n");
}

fn tile(name: &str, class: &str, number: &str, html: &mut Html) {
    html.element("div", &[("class", &format!("tile {class}"))], |html| {
        html.span("b", "", number);
        html.span("span", "", name);
    });
}

fn fact(name: &str, value: impl Display, html: &mut Html) {
    html.span("dt", "", name);
    html.span("dd", "", cut(&value.to_string(), VALUE));
}

fn table(caption: &'static str, rows: &BTreeMap<&str, &str>, html: &mut Html) {
    if rows.is_empty() {
        return;
    }
    html.markup("<div class=\"wide\"><table>");
    html.span("caption", "", caption);
    html.markup("<tbody>");
    for (key, value) in rows.iter().take(MAX_OPTIONS) {
        html.element("tr", &[], |html| {
            html.element("th", &[("scope", &"row")], |html| html.text(cut(key, VALUE)));
            html.element("td", &[], |html| html.text(cut(value, VALUE)));
        });
    }
    html.markup("</tbody></table></div>");
    if rows.len() > MAX_OPTIONS {
        html.span("p", "note", format!("and {} more", rows.len() - MAX_OPTIONS));
    }
}

/// What a warning says beside its first line.
fn warning_body(warning: &Warning, html: &mut Html) {
    if let Some(info) = &warning.info {
        excerpt(&Source { info: info.clone(), ranges: warning.ranges.clone() }, html);
    }
    for line in &warning.detail {
        html.element("p", &[], |html| html.text(cut(line, VALUE)));
    }
    // Not a link: a page about a build leads nowhere that the build chose.
    if !warning.url.is_empty() {
        html.element("p", &[], |html| html.text(cut(&warning.url, VALUE)));
    }
}

/// Lines of a user's file, those that are meant marked.
fn excerpt(source: &Source, html: &mut Html) {
    let Some(excerpt) = Excerpt::of(source) else { return };
    html.element("figure", &[], |html| {
        html.span("figcaption", "", &excerpt.place);
        html.element("pre", &[("class", &"source")], |html| {
            for line in &excerpt.lines {
                let class = if line.marked { "marked" } else { "" };
                html.element("span", &[("class", &class)], |html| {
                    html.span("s", "", format!("{:>4}", line.number));
                    html.markup(" ");
                    html.text(&line.text);
                });
                html.markup("\n");
            }
        });
    });
}

/// The parts of a step, such as layers that were fetched.
fn parts(step: &Step, html: &mut Html) {
    html.markup("<div class=\"wide\"><table><tbody>");
    for part in &step.parts {
        let took = part.started.zip(part.completed);
        let took = took.and_then(|(start, end)| end.duration_since(start).ok());
        html.element("tr", &[], |html| {
            html.element("td", &[], |html| html.text(cut(&one_line(&part.id), VALUE)));
            html.element("td", &[("class", &"digest")], |html| match (part.current, part.total) {
                (0, 0) => {}
                (current, 0) => html.text(bytes(current)),
                (current, total) if current == total => html.text(bytes(total)),
                (current, total) => html.text(format!("{} of {}", bytes(current), bytes(total))),
            });
            html.element("td", &[("class", &"digest")], |html| {
                html.text(took.map(span).unwrap_or_default());
            });
        });
    }
    html.markup("</tbody></table></div>");
}
