//! What a frontend makes of a fixture as one text, for snapshot tests.
//!
//! The graph of every platform comes first, then its image config, then the warnings; an error is
//! shown with the places it points to. Nothing in it changes from run to run.

use std::fmt::Write as _;

use kiln_frontend::{Frontend, FrontendError};
use kiln_wire::pb;
use serde_json::Value;

use crate::fixture::{Built, BuiltPlatform, Fixture};
use crate::text;

/// Builds a fixture and shows what came out; no runtime, daemon or network is needed.
///
/// ```
/// use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref, Solve};
/// use kiln_llb::{Exec, Marshal, State, words};
/// use kiln_testing::{Fixture, snapshot};
///
/// struct Greeting;
///
/// #[async_trait::async_trait]
/// impl Frontend for Greeting {
///     async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
///         let name = bridge.info().options.get("name").unwrap_or("world").to_owned();
///         let exec = Exec::default().with_args(vec!["echo".into(), name]);
///         let made = State::image("alpine:3.20").run(exec);
///         let platform = bridge.info().default_platform();
///         let definition = made.root().marshal(&Marshal::on(platform)).unwrap();
///         let solve = Solve::default().with_definition(Some(definition.into()));
///         Ok(bridge.solve(solve).await?)
///     }
/// }
///
/// let fixture = Fixture::new().option("name", "you");
/// kiln_testing::insta::assert_snapshot!(snapshot(&Greeting, &fixture), @r"
/// 1 image docker.io/library/alpine:3.20 linux/amd64
/// 2 exec on 1
///     run echo you
///     cwd /
/// result 2
/// ");
/// ```
pub fn snapshot(frontend: &dyn Frontend, fixture: &Fixture) -> String {
    match fixture.build(frontend) {
        Ok(built) => of_built(&built),
        Err(error) => of_error(&error),
    }
}

fn of_built(built: &Built) -> String {
    let mut out = String::new();
    for platform in &built.platforms {
        if built.is_multi_platform() {
            line(&mut out, format_args!("== {}", platform.id));
        }
        of_platform(&mut out, platform);
    }
    for warning in &built.asked.warnings {
        let file = warning.info.as_ref().map(|info| info.filename());
        line(&mut out, format_args!("warning: {}", warning.short));
        places(
            &mut out,
            file.unwrap_or_default(),
            &warning.ranges.iter().copied().map(Into::into).collect::<Vec<_>>(),
        );
    }
    out
}

fn of_platform(out: &mut String, platform: &BuiltPlatform) {
    match text(&platform.definition) {
        Ok(graph) => out.push_str(&graph),
        Err(error) => line(out, format_args!("the graph is broken: {error}")),
    }
    let Some(bytes) = &platform.config else { return };
    match serde_json::from_slice::<Value>(bytes) {
        Ok(config) => line(out, format_args!("config {config:#}")),
        Err(error) => line(out, format_args!("the config is no JSON: {error}")),
    }
}

fn of_error(error: &FrontendError) -> String {
    let mut out = String::new();
    line(&mut out, format_args!("error: {error}"));
    for source in error.status().sources() {
        places(&mut out, &source.info.filename, &source.ranges);
    }
    out
}

fn places(out: &mut String, file: &str, ranges: &[pb::Range]) {
    for range in ranges {
        let number = |position: Option<pb::Position>| position.map_or(0, |p| p.line);
        let (first, last) = (number(range.start), number(range.end));
        match first == last {
            true => line(out, format_args!("  at {file}:{first}")),
            false => line(out, format_args!("  at {file}:{first}-{last}")),
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{text}");
}
