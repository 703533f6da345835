//! Whole screens and logs of scripted builds.

use std::time::{Duration, SystemTime};

use kiln_oci::Digest;
use kiln_progress::{Log, Progress, Stream, Vertex, VertexStatus, Warning};
use kiln_wire::pb::ProgressGroup;

use super::model::Model;
use super::plain::Plain;
use super::raw_json;
use super::sanitize::Colour;
use super::screen::{Frame, Layout, Size};

/// A moment, in milliseconds since the build began.
fn at(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_000 + milliseconds)
}

fn vertex(name: &str) -> Vertex {
    Vertex::new(Digest::sha256(name), name)
}

fn starts(name: &str, time: u64) -> Progress {
    Progress::Vertex(Vertex { started: Some(at(time)), ..vertex(name) })
}

fn ends(name: &str, from: u64, to: u64) -> Progress {
    let (started, completed) = (Some(at(from)), Some(at(to)));
    Progress::Vertex(Vertex { started, completed, ..vertex(name) })
}

fn cached(name: &str, time: u64) -> Progress {
    let (started, completed) = (Some(at(time)), Some(at(time)));
    Progress::Vertex(Vertex { started, completed, cached: true, ..vertex(name) })
}

fn fails(name: &str, from: u64, to: u64, error: &str) -> Progress {
    let (started, completed) = (Some(at(from)), Some(at(to)));
    Progress::Vertex(Vertex { started, completed, error: error.to_owned(), ..vertex(name) })
}

fn writes(name: &str, time: u64, text: &str) -> Progress {
    Progress::Log(Log {
        vertex: Digest::sha256(name),
        timestamp: at(time),
        stream: Stream::Stdout,
        data: text.to_owned().into(),
    })
}

fn part(name: &str, id: &str, (current, total): (u64, u64), from: u64, time: u64) -> VertexStatus {
    VertexStatus {
        id: id.to_owned(),
        vertex: Digest::sha256(name),
        name: String::new(),
        current,
        total,
        timestamp: at(time),
        started: Some(at(from)),
        completed: None,
    }
}

fn moves(name: &str, id: &str, amount: (u64, u64), from: u64, time: u64) -> Progress {
    Progress::Status(part(name, id, amount, from, time))
}

fn arrives(name: &str, id: &str, total: u64, from: u64, time: u64) -> Progress {
    let whole = part(name, id, (total, total), from, time);
    Progress::Status(VertexStatus { completed: Some(at(time)), ..whole })
}

fn warns(name: &str, text: &str) -> Progress {
    Progress::Warning(Warning {
        vertex: Digest::sha256(name),
        level: 1,
        short: text.to_owned(),
        detail: Vec::new(),
        url: String::new(),
        info: None,
        ranges: Vec::new(),
    })
}

fn grouped(name: &str, group: &str, weak: bool, from: u64, to: Option<u64>) -> Progress {
    Progress::Vertex(Vertex {
        started: Some(at(from)),
        completed: to.map(at),
        progress_group: Some(ProgressGroup { id: group.into(), name: group.into(), weak }),
        ..vertex(name)
    })
}

/// All that is printed when events are played at their times, printing after each moment.
fn printed(events: Vec<(u64, Progress)>) -> String {
    let mut plain = Plain::new(at(0), Colour::Drop);
    let mut out = String::new();
    let mut events = events.into_iter().peekable();
    let mut last = 0;
    while let Some((time, progress)) = events.next() {
        last = time;
        plain.apply(progress, at(time));
        if events.peek().is_none_or(|(next, _)| *next != time) {
            out += &plain.print(at(time));
        }
    }
    out += &plain.finish(at(last + 100));
    assert!(out.ends_with('\n'), "{out}");
    out
}

fn model(events: Vec<(u64, Progress)>) -> Model {
    let mut model = Model::new(at(0));
    for (time, progress) in events {
        model.apply(progress, at(time));
    }
    model
}

fn text(frame: &Frame) -> String {
    frame.lines.iter().map(|line| format!("{:?}|{}|\n", line.tone, line.text)).collect()
}

fn drawn(events: Vec<(u64, Progress)>, now: u64, columns: usize, rows: usize) -> String {
    let layout = Layout { size: Size { columns, rows }, log_lines: 3 };
    let frame = layout.frame(&model(events), at(now));
    assert!(frame.lines.len() < rows.max(2), "the cursor has a row of its own");
    text(&frame)
}

/// A build with something of everything.
fn small_build() -> Vec<(u64, Progress)> {
    vec![
        (0, starts("[internal] load Dockerfile", 0)),
        (100, arrives("[internal] load Dockerfile", "transferring dockerfile:", 524, 0, 90)),
        (100, ends("[internal] load Dockerfile", 0, 100)),
        (200, cached("[1/3] FROM alpine", 200)),
        (300, starts("[2/3] RUN make", 300)),
        (400, writes("[2/3] RUN make", 400, "cc -c a.c\ncc -c b")),
        (900, writes("[2/3] RUN make", 900, ".c\n")),
        (950, warns("[2/3] RUN make", "the cake is a lie")),
        (1300, ends("[2/3] RUN make", 300, 1300)),
        (1400, starts("[3/3] RUN false", 1400)),
        (1450, writes("[3/3] RUN false", 1450, "about to fail\n")),
        (1500, fails("[3/3] RUN false", 1400, 1500, "exit code: 1")),
    ]
}

#[test]
fn plain_output_reads_like_a_log() {
    insta::assert_snapshot!(printed(small_build()), @"
    #1 [internal] load Dockerfile
    #1 transferring dockerfile: 524B / 524B 0.1s done
    #1 DONE 0.1s

    #2 [1/3] FROM alpine
    #2 CACHED

    #3 [2/3] RUN make
    #3 0.100 cc -c a.c
    #3 0.100 cc -c b.c
    #3 WARN: the cake is a lie
    #3 DONE 1.0s

    #4 [3/3] RUN false
    #4 0.050 about to fail
    #4 ERROR: exit code: 1
    ------
     > [3/3] RUN false:
    0.050 about to fail
    ------
    ");
}

#[test]
fn steps_that_run_side_by_side_take_turns() {
    let mut events = vec![(0, starts("a", 0)), (0, starts("b", 0))];
    for second in 0..14 {
        let time = 500 + second * 1000;
        events.push((time, writes("a", time, &format!("a{second}\n"))));
        events.push((time + 200, writes("b", time + 200, &format!("b{second}\n"))));
    }
    events.push((15_000, ends("b", 0, 15_000)));
    events.push((15_500, writes("a", 15_500, "last\n")));
    events.push((16_000, ends("a", 0, 16_000)));
    insta::assert_snapshot!(printed(events), @"
    #1 a
    #1 0.500 a0
    #1 1.500 a1
    #1 2.500 a2
    #1 3.500 a3
    #1 4.500 a4
    #1 5.500 a5
    #1 6.500 a6
    #1 7.500 a7
    #1 8.500 a8
    #1 9.500 a9
    #1 10.50 a10
    #1 ...

    #2 b
    #2 0.700 b0
    #2 1.700 b1
    #2 2.700 b2
    #2 3.700 b3
    #2 4.700 b4
    #2 5.700 b5
    #2 6.700 b6
    #2 7.700 b7
    #2 8.700 b8
    #2 9.700 b9
    #2 10.70 b10
    #2 ...

    #1 a
    #1 11.50 a11
    #1 12.50 a12
    #1 13.50 a13
    #1 ...

    #2 b
    #2 11.70 b11
    #2 12.70 b12
    #2 13.70 b13
    #2 DONE 15.0s

    #1 a
    #1 15.50 last
    #1 DONE 16.0s
    ");
}

#[test]
fn a_step_that_ends_is_told_at_once_even_without_the_floor() {
    insta::assert_snapshot!(
        printed(vec![
            (0, starts("long", 0)),
            (10, writes("long", 10, "working\n")),
            (20, starts("short", 20)),
            (50, ends("short", 20, 50)),
            (60, writes("long", 60, "still\n")),
            (90, ends("long", 0, 90)),
        ]),
        @"
    #1 long
    #1 0.010 working
    #1 ...

    #2 short
    #2 DONE 0.0s

    #1 long
    #1 0.060 still
    #1 DONE 0.1s
    "
    );
}

#[test]
fn parts_are_printed_when_they_moved_far_enough() {
    let layer = "sha256:0123";
    insta::assert_snapshot!(
        printed(vec![
            (0, starts("pull", 0)),
            (100, moves("pull", layer, (0, 1_000_000), 100, 100)),
            (200, moves("pull", layer, (10_000, 1_000_000), 100, 200)),
            (300, moves("pull", layer, (500_000, 1_000_000), 100, 300)),
            (6000, moves("pull", layer, (500_001, 1_000_000), 100, 6000)),
            (6100, arrives("pull", layer, 1_000_000, 100, 6100)),
            (6200, ends("pull", 0, 6200)),
        ]),
        @"
    #1 pull
    #1 sha256:0123 0B / 1.00MB
    #1 sha256:0123 500.00kB / 1.00MB 0.2s
    #1 sha256:0123 500.00kB / 1.00MB 5.9s
    #1 sha256:0123 1.00MB / 1.00MB 6.0s done
    #1 DONE 6.2s
    "
    );
}

#[test]
fn a_canceled_step_is_not_an_error() {
    insta::assert_snapshot!(
        printed(vec![(0, starts("a", 0)), (10, fails("a", 0, 10, "solving: context canceled"))]),
        @"
    #1 a
    #1 CANCELED
    "
    );
}

#[test]
fn times_of_a_step_that_started_twice_add_up() {
    insta::assert_snapshot!(
        printed(vec![
            (0, starts("a", 0)),
            (1000, ends("a", 0, 1000)),
            (5000, starts("a", 5000)),
            (5001, Progress::Vertex(vertex("a"))),
            (7000, ends("a", 5000, 7000)),
        ]),
        @"
    #1 a
    #1 DONE 1.0s

    #1 a
    #1 DONE 3.0s
    "
    );
}

#[test]
fn a_group_is_one_step_and_weak_members_alone_are_hidden() {
    insta::assert_snapshot!(
        printed(vec![
            (0, grouped("seen 1", "copying", false, 0, None)),
            (0, grouped("unseen", "silent", true, 0, None)),
            (100, grouped("unseen", "silent", true, 0, Some(100))),
            (200, grouped("seen 1", "copying", false, 0, Some(200))),
            (200, grouped("seen 2", "copying", false, 100, None)),
            (400, grouped("seen 2", "copying", false, 100, Some(400))),
        ]),
        @"
    #1 copying
    #1 DONE 0.4s
    "
    );
}

#[test]
fn names_and_output_cannot_drive_the_terminal() {
    insta::assert_snapshot!(
        printed(vec![
            (0, starts("evil\u{1b}[2J\nname", 0)),
            (10, writes("evil\u{1b}[2J\nname", 10, "a\u{1b}]0;title\u{7}b\n")),
            (20, ends("evil\u{1b}[2J\nname", 0, 20)),
        ]),
        @"
    #1 evil name
    #1 0.010 ab
    #1 DONE 0.0s
    "
    );
}

#[test]
fn output_without_a_line_end_is_not_lost() {
    insta::assert_snapshot!(
        printed(vec![
            (0, starts("a", 0)),
            (10, writes("a", 10, "Password:")),
            (6000, moves("a", "waiting", (0, 0), 6000, 6000)),
            (6100, writes("a", 6100, "done")),
            (6200, ends("a", 0, 6200)),
        ]),
        @"
    #1 a
    #1 waiting
    #1 0.010 Password:
    #1 6.100 done
    #1 DONE 6.2s
    "
    );
}

#[test]
fn a_screen_shows_states_parts_and_output() {
    let mut events = small_build();
    events.push((1600, starts("pull", 1500)));
    events.push((1700, moves("pull", "sha256:abc", (2_000_000, 3_400_000), 1500, 1700)));
    events.push((1700, starts("compile", 1700)));
    events.push((1800, writes("compile", 1800, "one\ntwo\nthree\n10%\r20%\r30%")));
    insta::assert_snapshot!(drawn(events, 3400, 60, 24), @"
    Normal|[+] Building 3.4s (4/6)|
    Done| => [internal] load Dockerfile                          0.1s|
    Done| => => transferring dockerfile: 524B / 524B             0.1s|
    Done| => CACHED [1/3] FROM alpine                            0.0s|
    Done| => [2/3] RUN make                                      1.0s|
    Error| => ERROR [3/3] RUN false                               0.1s|
    Normal| => pull                                                1.9s|
    Normal| => => sha256:abc 2.00MB / 3.40MB                       1.9s|
    Normal| => compile                                             1.7s|
    Normal| => => # two|
    Normal| => => # three|
    Normal| => => # 30%|
    ");
}

#[test]
fn a_small_terminal_keeps_what_runs() {
    let mut events: Vec<(u64, Progress)> =
        (0..8).map(|n| (n, cached(&format!("old {n}"), n))).collect();
    events.push((10, starts("running 1", 10)));
    events.push((10, writes("running 1", 11, "1\n2\n3\n4\n")));
    events.push((20, ends("done", 10, 20)));
    events.push((30, starts("running 2", 30)));
    insta::assert_snapshot!(drawn(events.clone(), 1000, 40, 8), @"
    Normal|[+] Building 1.0s (9/11)|
    Normal| => running 1                       1.0s|
    Normal| => => # 2|
    Normal| => => # 3|
    Normal| => => # 4|
    Done| => done                            0.0s|
    Normal| => running 2                       1.0s|
    ");
    insta::assert_snapshot!(drawn(events.clone(), 1000, 40, 4), @"
    Normal|[+] Building 1.0s (9/11)|
    Normal| => running 1                       1.0s|
    Normal| => running 2                       1.0s|
    ");
    insta::assert_snapshot!(drawn(events.clone(), 1000, 12, 3), @"
    Normal|[+] Build...|
    Normal| => runni...|
    ");
    insta::assert_snapshot!(drawn(events, 1000, 1, 1), @"Normal|[|");
}

#[test]
fn wide_characters_are_counted_by_their_cells() {
    insta::assert_snapshot!(
        drawn(vec![(0, starts("構築する構築する構築する構築する", 0))], 500, 32, 10),
        @"
    Normal|[+] Building 0.5s (0/1)|
    Normal| => 構築する構築する構築... 0.5s|
    "
    );
}

#[test]
fn the_last_screen_shows_everything() {
    let layout = Layout { size: Size { columns: 50, rows: 3 }, log_lines: 3 };
    let frame = layout.last_frame(&model(small_build()), at(2000));
    insta::assert_snapshot!(text(&frame), @"
    Normal|[+] Building 2.0s (4/4) FINISHED|
    Done| => [internal] load Dockerfile                0.1s|
    Done| => => transferring dockerfile: 524B / 524B   0.1s|
    Done| => CACHED [1/3] FROM alpine                  0.0s|
    Done| => [2/3] RUN make                            1.0s|
    Error| => ERROR [3/3] RUN false                     0.1s|
    ");
}

#[test]
fn json_is_what_the_peer_would_write() {
    let batch = vec![
        Progress::Vertex(Vertex {
            inputs: vec![Digest::sha256("in")],
            started: Some(at(1)),
            completed: Some(at(2500)),
            cached: true,
            ..vertex("RUN a && b > c")
        }),
        moves("x", "layer", (0, 12), 0, 7),
        writes("x", 1000, "hello\n"),
        warns("x", "careful"),
    ];
    let json = raw_json::encode(&batch);
    assert!(json.ends_with('\n'), "{json}");
    insta::assert_snapshot!(
        json,
        @r#"{"vertexes":[{"digest":"sha256:5ebbc9008ecb5eb52503f2bbe79a2f08093c2a66154add8bf64bdbeb73f6c7dd","inputs":["sha256:582967534d0f909d196b97f9e6921342777aea87b46fa52df165389db1fb8ccf"],"name":"RUN a \u0026\u0026 b \u003e c","started":"2020-09-13T12:26:40.001Z","completed":"2020-09-13T12:26:42.5Z","cached":true}],"statuses":[{"id":"layer","vertex":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","total":12,"current":0,"timestamp":"2020-09-13T12:26:40.007Z","started":"2020-09-13T12:26:40Z"}],"logs":[{"vertex":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","stream":1,"data":"aGVsbG8K","timestamp":"2020-09-13T12:26:41Z"}],"warnings":[{"vertex":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","level":1,"short":"Y2FyZWZ1bA=="}]}"#
    );
    assert_eq!(raw_json::encode(&[]), "");
}
