//! Explanations as text: which steps ran, and why.
//!
//! Colours only repeat what the words say. Text of strangers (names, values, paths) is made safe to show
//! and cut, so that a long command does not hide what has changed in it.

use std::time::{Duration, SystemTime};

use crossterm::style::{Color, Stylize as _};
use kiln_oci::Digest;
use kiln_why::{
    Cause, Compared, Difference, Explained, Explanation, FileChange, InCache, NotReproducible, What,
};

use crate::output::{self, ago};
use crate::progress::{Palette, Tone, one_line};

/// A value is not longer than this, in characters.
const LONGEST: usize = 100;
/// How much around a change is shown, in characters.
const AROUND: usize = 24;
/// How many differences of one step are shown.
const MOST: usize = 12;

/// An explanation for people.
pub(crate) fn as_text(explanation: &Explanation, now: SystemTime, palette: &Palette) -> String {
    let Explanation { build, started, total, cached, steps, .. } = explanation;
    let when = ago(time(*started), now);
    let head = match steps.len() {
        0 => format!(
            "build {build} ({when}): every step that can be cached was, {cached} of {total}\n"
        ),
        1 => format!("build {build} ({when}): 1 step ran, {cached} of {total} were cached\n"),
        count => {
            format!("build {build} ({when}): {count} steps ran, {cached} of {total} were cached\n")
        }
    };
    head + &steps_as_text(explanation, now, palette)
}

/// The steps of an explanation for people.
pub(crate) fn steps_as_text(
    explanation: &Explanation,
    now: SystemTime,
    palette: &Palette,
) -> String {
    let writer = Writer { now, palette };
    let mut text = String::new();
    for cache in &explanation.unread_caches {
        text += &format!("\ncache {} could not be read\n", one_line(cache));
    }
    for step in &explanation.steps {
        text += "\n";
        text += &writer.step(step);
    }
    text
}

fn time(nanoseconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

struct Writer<'a> {
    now: SystemTime,
    palette: &'a Palette,
}

impl Writer<'_> {
    fn paint(&self, text: &str, tone: Tone) -> String {
        match self.palette.colour(tone) {
            Some(colour) => painted(text, colour),
            None => text.to_owned(),
        }
    }

    fn step(&self, step: &Explained) -> String {
        let mut text = self.paint(&one_line(&step.name), Tone::Done);
        if let Some(place) = &step.place {
            text += &format!("  ({}:{})", one_line(&place.file), place.line);
        }
        text += "\n";
        let mut line = |content: &str| {
            text += "  ";
            text += content;
            text += "\n";
        };
        if step.failed {
            line(&self.paint("it failed", Tone::Error));
        }
        if let Some(cause) = self.cause(step) {
            line(&cause);
        }
        for difference in step.differences.iter().take(MOST) {
            line(&said(difference));
        }
        if step.differences.len() > MOST {
            line(&format!("and {} more differences", step.differences.len() - MOST));
        }
        if !step.because.is_empty() && step.cause != Cause::Because {
            line(&because(step, "and because"));
        }
        let is_said = matches!(step.cause, Cause::Changed | Cause::Gone | Cause::FailedBefore);
        if let Some(compared) = step.compared_with.as_ref().filter(|_| is_said) {
            line(&format!("compared with {}", self.compared(compared)));
        }
        if let Some(not) = &step.not_reproducible {
            line(&self.paint(&not_reproducible(not), Tone::Warning));
        }
        for cache in &step.caches {
            for said in self.in_cache(cache, step) {
                line(&said);
            }
        }
        text
    }

    /// The cause, where differences do not say it.
    fn cause(&self, step: &Explained) -> Option<String> {
        Some(match step.cause {
            Cause::Changed => return None,
            Cause::Because => because(step, "because"),
            Cause::New => "new: no earlier build that is remembered had such a step".to_owned(),
            Cause::NoCache => "told to run again (no-cache)".to_owned(),
            Cause::Gone => "nothing has changed; its result is no longer in the cache".to_owned(),
            Cause::FailedBefore => "nothing has changed; it failed the last time".to_owned(),
            Cause::Session => {
                "it reads a directory of the client as a whole, which no build shares with another"
                    .to_owned()
            }
            Cause::Unknown => "what has changed is not recorded".to_owned(),
        })
    }

    fn compared(&self, compared: &Compared) -> String {
        let when = ago(time(compared.started), self.now);
        match &compared.name {
            Some(name) => format!("{} of build {}, {when}", one_line(name), compared.build),
            None => format!("build {}, {when}", compared.build),
        }
    }

    fn in_cache(&self, cache: &InCache, step: &Explained) -> Vec<String> {
        let name = one_line(&cache.cache);
        let mut lines = Vec::new();
        match (cache.operation, &cache.unknown_inputs[..]) {
            (false, _) => lines.push(format!("cache {name} has no record of this operation")),
            (true, []) => lines.push(format!(
                "cache {name} has this operation, and each of its inputs, but not together or without a \
                 result"
            )),
            (true, inputs) => {
                let inputs: Vec<String> = inputs.iter().map(|name| one_line(name)).collect();
                let inputs = inputs.join(", ");
                lines.push(format!(
                    "cache {name} has this operation on other inputs; it does not know this: {inputs}"
                ));
            }
        }
        if let Some(nearest) =
            cache.nearest.as_ref().filter(|_| cache.differences != step.differences)
        {
            lines.push(format!("the nearest there is that of {}", self.compared(nearest)));
            lines.extend(cache.differences.iter().take(MOST).map(|one| format!("  {}", said(one))));
        }
        lines
    }
}

fn painted(text: &str, colour: Color) -> String {
    text.with(colour).to_string()
}

fn because(step: &Explained, word: &str) -> String {
    let names: Vec<String> = step.because.iter().map(|name| one_line(name)).collect();
    let ran = if names.len() == 1 { "ran" } else { "all ran" };
    format!("{word} {} {ran}", names.join(" and "))
}

fn not_reproducible(not: &NotReproducible) -> String {
    let files: Vec<String> = not.files.iter().take(MOST).map(file).collect();
    let more = not.more + not.files.len().saturating_sub(MOST);
    let files = match (files.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", files.join("; ")),
        (false, more) => format!(": {}; and {more} more", files.join("; ")),
    };
    format!("not reproducible: the same inputs gave another result{files}")
}

/// A difference in one line.
fn said(difference: &Difference) -> String {
    match difference {
        Difference::Fact { what, name, before, after, of } => {
            let of = of.as_ref().map(|of| format!("{}: ", one_line(of))).unwrap_or_default();
            let label = label(*what, name);
            let (before, after) = (before.as_deref(), after.as_deref());
            match (before, after) {
                (Some(before), Some(after)) => {
                    let (before, after) = contrast(&one_line(before), &one_line(after));
                    format!("{of}{label}: {before} → {after}")
                }
                (None, Some(after)) => format!("{of}{label}: new, {}", cut(&one_line(after))),
                (Some(before), None) => {
                    format!("{of}{label}: gone, was {}", cut(&one_line(before)))
                }
                (None, None) => format!("{of}{label} differs"),
            }
        }
        Difference::File { change, of } => match is_own(of) {
            true => file(change),
            false => format!("{} in {}", file(change), one_line(of)),
        },
        Difference::MoreFiles { count, .. } => format!("and {count} more files"),
        Difference::Content { of, before, after } => {
            let of = one_line(of);
            format!("what is read of {of}: {} → {}", short(before), short(after))
        }
        Difference::Input { before, after } => match (before, after) {
            (Some(before), Some(after)) => {
                format!("reads {} instead of {}", one_line(after), one_line(before))
            }
            (None, Some(after)) => format!("also reads {}", one_line(after)),
            (Some(before), None) => format!("no longer reads {}", one_line(before)),
            (None, None) => "reads something else".to_owned(),
        },
    }
}

/// The user's own directories need not be named.
fn is_own(of: &str) -> bool {
    of.starts_with("[internal] ")
}

/// How a file differs.
fn file(change: &FileChange) -> String {
    let path = one_line(&change.path);
    let ways = change.changed.join(", ");
    let (before, after) = (change.before_digest.as_ref(), change.after_digest.as_ref());
    let digests = match (before, after) {
        (Some(before), Some(after)) => format!("{} → {}", short(before), short(after)),
        (Some(digest), None) | (None, Some(digest)) => short(digest),
        (None, None) => String::new(),
    };
    let values = match (&change.before, &change.after) {
        (Some(before), Some(after)) if before != after => {
            format!(" {} → {}", one_line(before), one_line(after))
        }
        _ => String::new(),
    };
    format!("{path}: {ways}{values} ({digests})")
}

/// The beginning of a digest.
fn short(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm(), digest.hex().get(..12).unwrap_or_default())
}

fn label(what: What, name: &str) -> String {
    let word = match what {
        What::Command => "command",
        What::Variable => "variable",
        What::BuildArgument => "build argument",
        What::WorkingDirectory => "working directory",
        What::User => "user",
        What::Mount => "mount",
        What::Secret => "secret",
        What::Ssh => "SSH agent",
        What::Network => "network",
        What::Security => "security",
        What::Limit => "limit",
        What::Host => "host",
        What::Platform => "platform",
        What::Setting => "setting",
        What::Copy => "copy",
        What::Owner => "owner",
        What::Mode => "mode",
        What::Time => "time",
        What::Patterns => "patterns",
        What::Path => "makes",
        What::Text => "text",
        What::Image => "image",
        What::Download => "download",
        What::Commit => "commit",
        What::Reads => "reads of",
        What::Filter => "filter",
        What::Order => "order of",
        What::Operation => "operation",
    };
    match name {
        "" => word.to_owned(),
        name => format!("{word} {}", cut(&one_line(name))),
    }
}

/// Two values with what they share cut, if they are long.
fn contrast(before: &str, after: &str) -> (String, String) {
    // A line break at the end of both says nothing.
    let (before, after) = match (before.trim_end(), after.trim_end()) {
        (old, new) if old != new => (old, new),
        _ => (before, after),
    };
    let (old, new): (Vec<char>, Vec<char>) = (before.chars().collect(), after.chars().collect());
    if old.len() <= LONGEST && new.len() <= LONGEST {
        return (shown(before), shown(after));
    }
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let end = old[same..].iter().rev().zip(new[same..].iter().rev());
    let end = end.take_while(|(a, b)| a == b).count();
    let part = |text: &[char]| {
        let from = same.saturating_sub(AROUND);
        let to = (text.len() - end + AROUND).min(text.len()).min(from + LONGEST);
        let start = if from > 0 { "…" } else { "" };
        let rest = if to < text.len() { "…" } else { "" };
        format!("{start}{}{rest}", text[from..to].iter().collect::<String>())
    };
    (part(&old), part(&new))
}

/// An empty value is a value.
fn shown(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text.to_owned() }
}

fn cut(text: &str) -> String {
    shown(&output::cut(text, LONGEST))
}

#[cfg(test)]
mod tests {
    use kiln_why::Place;

    use super::*;

    fn step(name: &str, cause: Cause) -> Explained {
        Explained {
            name: name.into(),
            digest: Digest::sha256(name),
            failed: false,
            place: None,
            cause,
            because: Vec::new(),
            differences: Vec::new(),
            compared_with: None,
            not_reproducible: None,
            caches: Vec::new(),
        }
    }

    fn file_change() -> FileChange {
        FileChange {
            path: "src/a\u{1b}[2J.c".into(),
            changed: vec!["content".into(), "mode".into()],
            before: Some("3 bytes, 0644".into()),
            after: Some("4 bytes, 0755".into()),
            before_digest: Some(Digest::sha256("1")),
            after_digest: Some(Digest::sha256("2")),
        }
    }

    fn explanation() -> Explanation {
        let fact = |what, name: &str, before: Option<&str>, after: Option<&str>| Difference::Fact {
            what,
            name: name.into(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            of: None,
        };
        let long = "make ".repeat(40);
        let changed = Explained {
            place: Some(Place { file: "Dockerfile".into(), line: 3 }),
            differences: vec![
                Difference::File {
                    change: file_change(),
                    of: "[internal] load build context".into(),
                },
                fact(What::BuildArgument, "WHO", Some("you"), Some("")),
                fact(What::Secret, "/run/secrets/a", None, Some("id=a")),
                fact(What::Command, "", Some(&format!("{long}all")), Some(&format!("{long}test"))),
            ],
            compared_with: Some(Compared { build: "one".into(), started: 0, name: None }),
            ..step("[2/4] RUN make", Cause::Changed)
        };
        let because = Explained {
            because: vec!["[2/4] RUN make".into()],
            ..step("[3/4] RUN test", Cause::Because)
        };
        let again = Explained {
            not_reproducible: Some(NotReproducible { files: vec![file_change()], more: 2 }),
            ..step("[4/4] RUN date > /now", Cause::NoCache)
        };
        Explanation {
            build: "two".into(),
            started: 50_000_000_000,
            total: 7,
            cached: 4,
            steps: vec![changed, because, again],
            unread_caches: Vec::new(),
        }
    }

    #[test]
    fn each_step_says_what_differs_or_because_of_what_it_ran() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        insta::assert_snapshot!(as_text(&explanation(), now, &Palette::MONOCHROME), @"
        build two (10 seconds ago): 3 steps ran, 4 of 7 were cached

        [2/4] RUN make  (Dockerfile:3)
          src/a.c: content, mode 3 bytes, 0644 → 4 bytes, 0755 (sha256:6b86b273ff34 → sha256:d4735e3a265e)
          build argument WHO: you → nothing
          secret /run/secrets/a: new, id=a
          command: …ake make make make make all → …ake make make make make test
          compared with build one, 1 minute ago

        [3/4] RUN test
          because [2/4] RUN make ran

        [4/4] RUN date > /now
          told to run again (no-cache)
          not reproducible: the same inputs gave another result: src/a.c: content, mode 3 bytes, 0644 → 4 bytes, 0755 (sha256:6b86b273ff34 → sha256:d4735e3a265e); and 2 more
        ");
    }

    #[test]
    fn a_terminal_sees_colours_and_nothing_else() {
        let text = as_text(&explanation(), SystemTime::UNIX_EPOCH, &Palette::default());
        assert!(text.contains("\u{1b}["), "{text}");
        assert!(!text.contains("\u{1b}[2J"), "{text}");
    }

    #[test]
    fn a_build_that_found_everything_says_so() {
        let nothing =
            Explanation { build: "x".into(), cached: 6, total: 7, ..Explanation::default() };
        let text = as_text(&nothing, SystemTime::UNIX_EPOCH, &Palette::MONOCHROME);
        assert_eq!(text, "build x (just now): every step that can be cached was, 6 of 7\n");
    }
}
