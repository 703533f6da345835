//! Stories about the page: what it shows, and what nobody can make it do.

use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use kiln_progress::wire::timestamp;
use kiln_progress::{Log, Progress, Stream, Vertex, Warning};
use kiln_wire::pb;
use kiln_wire::proto::control::{BuildHistoryRecord, Exporter};
use kiln_wire::proto::rpc;
use kiln_wire::status::{Detail, RichStatus, Source};
use tonic::Code;

use super::*;

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000 + millis)
}

fn digest(name: &str) -> Digest {
    Digest::sha256(name)
}

fn vertex(name: &str, inputs: &[&str], span: Option<(u64, u64)>) -> Vertex {
    Vertex {
        inputs: inputs.iter().map(|input| digest(input)).collect(),
        started: span.map(|(from, _)| at(from)),
        completed: span.map(|(_, to)| at(to)),
        ..Vertex::new(digest(name), name)
    }
}

fn log(name: &str, text: &str) -> Progress {
    let data = text.to_owned().into();
    Progress::Log(Log { vertex: digest(name), timestamp: at(500), stream: Stream::Stdout, data })
}

fn report(record: BuildHistoryRecord, progress: Vec<Progress>) -> Report {
    let mut steps = Steps::default();
    progress.into_iter().for_each(|progress| steps.apply(progress));
    steps.finish();
    Report {
        record,
        steps,
        failure: None,
        outputs: Vec::new(),
        provenance: Vec::new(),
        missing: Vec::new(),
        made: at(60_000),
    }
}

fn record() -> BuildHistoryRecord {
    BuildHistoryRecord {
        r#ref: "build1".into(),
        frontend: "dockerfile.v0".into(),
        created_at: Some(timestamp(at(0))),
        completed_at: Some(timestamp(at(10_000))),
        ..BuildHistoryRecord::default()
    }
}

/// Elements, by name and class, that the page has, and how many.
fn has(page: &str, element: &str) -> usize {
    page.matches(element).count()
}

#[test]
fn a_page_has_a_row_a_box_and_a_place_for_each_step() {
    let mut cached = vertex("COPY . .", &["base"], Some((3000, 3000)));
    cached.cached = true;
    let page = document(&report(
        record(),
        vec![
            Progress::Vertex(vertex("load build definition", &[], Some((0, 1000)))),
            Progress::Vertex(vertex("base", &[], Some((1000, 3000)))),
            Progress::Vertex(cached),
            Progress::Vertex(vertex("RUN make", &["COPY . ."], Some((3000, 9000)))),
            Progress::Vertex(vertex("never", &["RUN make"], None)),
            log("RUN make", "\u{1b}[32mwell\u{1b}[0m\nover\rwritten\n"),
        ],
    ));
    assert_eq!(has(&page, "<a class=\"row "), 4);
    assert_eq!(has(&page, "<details class=\"step "), 5);
    assert_eq!(has(&page, "<rect "), 4, "what nothing reads and reads nothing is not drawn");
    assert!(page.contains("<span class=\"c2\">well</span>"), "{page}");
    assert!(page.contains("</s> written\n") && !page.contains("</s> over"));
    // Everything that ran was waited for.
    assert!(page.contains("4 steps one after the other"), "{page}");
    assert!(page.contains("9.00 s of 10.0 s"), "{page}");
    assert!(page.contains("class=\"row cached hot\""));
}

#[test]
fn what_a_build_says_is_text_wherever_it_is_shown() {
    let hostile = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";
    let mut failed = vertex(hostile, &["base"], Some((0, 10)));
    failed.error = hostile.to_owned();
    failed.progress_group =
        Some(pb::ProgressGroup { id: "g".into(), name: hostile.into(), weak: false });
    let mut record = record();
    record.r#ref = hostile.into();
    record.frontend = hostile.into();
    record.frontend_attrs.insert("target".into(), hostile.into());
    record.frontend_attrs.insert(hostile.into(), hostile.into());
    record.exporter_response.insert(hostile.into(), hostile.into());
    let attrs = [(hostile.to_owned(), hostile.to_owned())].into();
    record.exporters.push(Exporter { r#type: hostile.into(), attrs });
    record.error = Some(rpc::Status { code: 2, message: hostile.into(), details: vec![] });
    let source = Source {
        info: pb::SourceInfo {
            filename: hostile.into(),
            data: hostile.to_owned().into(),
            ..pb::SourceInfo::default()
        },
        ranges: vec![pb::Range {
            start: Some(pb::Position { line: 1, character: 0 }),
            end: Some(pb::Position { line: 1, character: 0 }),
        }],
    };
    let status = RichStatus::new(Code::Unknown, hostile)
        .with(Detail::Source(source.clone()))
        .with(Detail::Vertex(digest(hostile).to_string()));
    let warning = Warning {
        vertex: digest(hostile),
        level: 1,
        short: hostile.into(),
        detail: vec![hostile.into()],
        url: format!("javascript:{hostile}"),
        info: Some(source.info),
        ranges: source.ranges,
    };
    let progress = vec![
        Progress::Vertex(vertex("base", &[], Some((0, 1)))),
        Progress::Vertex(failed),
        log(hostile, &format!("{hostile}\n\u{1b}]0;{hostile}\u{7}\u{1b}[31m{hostile}\n")),
        Progress::Warning(warning),
    ];
    let mut hostile_report = report(record, progress);
    hostile_report.failure = Some(Failure::of(&status));
    hostile_report.missing.push(hostile.into());
    hostile_report.outputs.push(Output {
        media_type: hostile.into(),
        digest: hostile.into(),
        size: -1,
        images: vec![ImageManifest {
            digest: hostile.into(),
            platform: hostile.into(),
            layers: vec![(hostile.into(), u64::MAX)],
        }],
    });
    let materials =
        serde_json::json!({"materials": [{"uri": hostile, "digest": {hostile: hostile}}]});
    let said = Provenance { kind: hostile.into(), ..Provenance::default() };
    hostile_report.provenance.push(said.read(&serde_json::to_vec(&materials).unwrap()));
    let page = document(&hostile_report);
    // One script, which the page's own policy names; no element that the build wrote.
    assert_eq!(has(&page, "<script"), 1);
    assert!(page.contains("script-src &#39;sha256-"));
    assert_eq!(has(&page, "<img"), 0);
    for attribute in [" onerror=\"", " src=\"", "href=\"javascript"] {
        assert_eq!(has(&page, attribute), 0, "{attribute}");
    }
    assert!(!page.contains(&format!("=\"{hostile}")) && !page.contains("\u{1b}"));
    assert!(has(&page, "&lt;script&gt;") > 15, "it is shown all the same");
}

#[test]
fn nothing_is_fetched_and_nothing_leads_away() {
    let warning = Warning {
        vertex: digest("base"),
        level: 1,
        short: "old".into(),
        detail: Vec::new(),
        url: "https://example.com/old".into(),
        info: None,
        ranges: Vec::new(),
    };
    let page = document(&report(
        record(),
        vec![Progress::Vertex(vertex("base", &[], Some((0, 1)))), Progress::Warning(warning)],
    ));
    assert!(page.contains("default-src &#39;none&#39;"));
    for reference in ["src=", "@import", "url(", "href=\"h", "<link"] {
        assert_eq!(has(&page, reference), 0, "{reference}");
    }
    assert!(page.contains("<p>https://example.com/old</p>"));
}

#[test]
fn a_build_that_runs_is_shown_as_far_as_it_is() {
    let mut running = vertex("RUN sleep", &[], Some((1000, 0)));
    running.completed = None;
    let record = BuildHistoryRecord { completed_at: None, ..record() };
    let page = document(&report(record, vec![Progress::Vertex(running)]));
    assert!(page.contains("The build was still running"));
    assert!(page.contains("<a class=\"row running hot\""));
    assert!(page.contains("59.0 s"), "it has run until the page was made");
}

#[test]
fn a_failed_step_is_open_and_its_place_is_shown() {
    let mut failed = vertex("RUN false", &[], Some((0, 10)));
    failed.error = "exit code: 1".into();
    let position = |line| Some(pb::Position { line, character: 0 });
    let source = Source {
        info: pb::SourceInfo {
            filename: "Dockerfile".into(),
            data: "FROM a\nRUN false\n".into(),
            ..pb::SourceInfo::default()
        },
        ranges: vec![pb::Range { start: position(2), end: position(2) }],
    };
    let status = RichStatus::new(Code::Unknown, "exit code: 1").with(Detail::Source(source));
    let mut record = record();
    record.error = Some(status.to_rpc());
    let mut failure = report(record, vec![Progress::Vertex(failed), log("RUN false", "why\n")]);
    failure.failure = Some(Failure::of(&status));
    let page = document(&failure);
    assert!(page.contains("<details class=\"step failed hot\" id=\"step-1\" open=\"\">"), "{page}");
    assert!(page.contains("<figcaption>Dockerfile:2</figcaption>"), "{page}");
    assert!(page.contains("<span class=\"marked\"><s>   2</s> RUN false</span>"));
}

#[test]
fn however_much_a_build_writes_its_page_can_be_opened() {
    let mut progress = Vec::new();
    for n in 0..300 {
        let name = format!("step {n}");
        progress.push(Progress::Vertex(vertex(&name, &[], Some((n, n + 1)))));
        progress.push(log(&name, &"a line of output\n".repeat(4000)));
    }
    let page = document(&report(record(), progress));
    assert!(page.len() < 32 << 20, "{} bytes", page.len());
    assert!(page.contains("left out here; all of it: kiln history logs build1"));
}

#[test]
fn a_graph_that_is_none_does_no_harm() {
    let progress = vec![
        Progress::Vertex(vertex("a", &["b", "a", "unknown"], Some((5, 1)))),
        Progress::Vertex(vertex("b", &["a"], Some((0, 9)))),
    ];
    let page = document(&report(record(), progress));
    assert_eq!(has(&page, "<rect "), 2);
    assert_eq!(
        document(&report(BuildHistoryRecord::default(), Vec::new())).matches("<svg").count(),
        0
    );
}
