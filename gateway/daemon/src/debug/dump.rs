//! What the daemon is doing just now, for people who wonder why it does nothing.

use std::fmt::Write as _;

use kiln_build::RunningBuild;

use super::process::ProcessFacts;

/// Builds and threads, a line each.
pub(super) fn text(builds: &[RunningBuild], process: &ProcessFacts) -> String {
    let mut text = format!(
        "kilnd {}, process {}, up {:.1}s, {} descriptors, {} MB\n\n{} builds\n",
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        process.up.as_secs_f64(),
        process.descriptors,
        process.resident_bytes / 1_000_000,
        builds.len(),
    );
    for build in builds {
        writeln!(text, "build {} ({} messages)", plain(&build.id), build.messages).ok();
        for (name, seconds) in &build.steps {
            writeln!(text, "  {seconds:.1}s {}", plain(name)).ok();
        }
    }
    writeln!(text, "\n{} threads", process.threads.len()).ok();
    for thread in &process.threads {
        writeln!(text, "  {thread}").ok();
    }
    text
}

/// Names come from clients, and people look at them on terminals.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '.' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_steps_are_named_on_one_line_each() {
        let steps = vec![("[2/3] RUN make\n\u{1b}[2J".to_owned(), 1.25)];
        let builds = [RunningBuild { id: "b1".into(), messages: 4, steps }];
        let process =
            ProcessFacts { threads: vec!["1 kilnd S ep_poll".into()], ..Default::default() };
        let text = text(&builds, &process);
        let end = "1 builds\nbuild b1 (4 messages)\n  1.2s [2/3] RUN make..[2J\n\n1 threads\n  1 kilnd S ep_poll\n";
        assert!(text.ends_with(end), "{text}");
    }
}
