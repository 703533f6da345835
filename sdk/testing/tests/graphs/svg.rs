//! Graphs as pictures.

use kiln_llb::{Action, CopyOptions, Local, Mount, State};

use super::{marshal, named, sh};

fn project() -> State {
    let context = State::local("context", Local::default());
    let base = State::image("docker.io/library/golang:1.25-alpine3.20");
    let deps = base
        .file(Action::copy(&context, "/go.mod", "/src/", CopyOptions::default()))
        .run(named("go mod download", "[build 2/4] RUN go mod download", 3));
    let source = deps.root().file(Action::copy(&context, "/", "/src", CopyOptions::default()));
    let built = source.run(
        named("go build -o /out/app ./...", "[build 4/4] RUN go build -o /out/app ./...", 5)
            .with_mounts(vec![
                Mount::cache("/root/.cache"),
                Mount::bind("/out", &State::scratch()),
            ]),
    );
    let tested = source.run(
        named("go test ./...", "[test 1/1] RUN go test ./...", 7)
            .with_mounts(vec![Mount::bind("/bin/app", &built.mount("/out").unwrap()).readonly()]),
    );
    let linted = State::image("golangci/golangci-lint:v2").run(
        sh("lint <all> & \"more\"").with_mounts(vec![Mount::bind("/src", &context).readonly()]),
    );
    State::image("alpine:3.20").requires("checks", &[tested.root(), linted.root()]).file(
        Action::copy(built.mount("/out").unwrap(), "/app", "/usr/bin/app", CopyOptions::default()),
    )
}

#[test]
fn every_step_is_a_box_and_every_read_a_line() {
    let drawn = kiln_testing::svg(&marshal(&project())).unwrap();
    let steps = kiln_testing::Steps::of(&marshal(&project())).unwrap();
    assert_eq!(drawn.matches("<title>").count(), steps.len());
    let mut lines = 0;
    for step in steps.iter() {
        let mut reads: Vec<_> = step.inputs.iter().map(|input| input.index).collect();
        reads.dedup();
        lines += reads.len();
    }
    assert_eq!(drawn.matches("<path class=\"line").count(), lines);
    assert!(drawn.contains("lint &lt;all&gt; &amp; &quot;more&quot;"), "{drawn}");
    assert!(!drawn.contains("sha256:"), "{drawn}");
    assert_eq!(drawn, kiln_testing::svg(&marshal(&project())).unwrap());
}

/// Reads the boxes back from a picture: x, y, width.
fn boxes(drawn: &str) -> Vec<(f64, f64, f64)> {
    let rects = drawn.lines().filter(|line| line.starts_with("<rect x="));
    let number = |line: &str, name: &str| -> f64 {
        let rest = line.split_once(&format!(" {name}=\"")).unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    rects.map(|line| (number(line, "x"), number(line, "y"), number(line, "width"))).collect()
}

#[test]
fn boxes_do_not_lie_on_each_other() {
    let base = State::image("alpine");
    let fan: Vec<State> = (0..40).map(|n| base.run(sh(&format!("step {n}"))).root()).collect();
    let pairs: Vec<State> = fan.windows(3).map(State::merge).collect();
    let drawn = kiln_testing::svg(&marshal(&State::merge(&pairs))).unwrap();
    let boxes = boxes(&drawn);
    for (n, a) in boxes.iter().enumerate() {
        for b in &boxes[n + 1..] {
            let beside = a.0 + a.2 <= b.0 || b.0 + b.2 <= a.0;
            assert!(beside || (a.1 - b.1).abs() >= 46.0, "{a:?} {b:?}");
        }
    }
}

#[test]
fn nothing_and_very_much_can_be_drawn() {
    let nothing = kiln_testing::svg(&marshal(&State::scratch())).unwrap();
    assert!(nothing.starts_with("<svg "), "{nothing}");
    let base = State::image("alpine");
    let chain = (0..5_000).fold(base.clone(), |state, n| {
        let mounts = vec![Mount::bind("/base", &base).readonly()];
        state.run(sh(&format!("step {n}")).with_mounts(mounts)).root()
    });
    let drawn = kiln_testing::svg(&marshal(&chain)).unwrap();
    assert_eq!(drawn.matches("<title>").count(), 5_001);
}
