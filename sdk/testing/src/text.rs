//! [`Text`]: a graph that people read and snapshots keep.
//!
//! A definition comes in, lines come out: a heading per step, below it one fact per line, at the
//! end which output is meant. Digests of steps, sessions and the order of the bytes never show, so
//! the same graph is the same text, and a small change is a small difference.

use kiln_llb::Definition;

use crate::facts::{Facts, View};
use crate::steps::{StepInput, Steps, StepsError};
use crate::words::shortened;

/// What a text shows; [`Text::default`] is what snapshots want.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The capabilities each step needs.
    pub caps: bool,
    /// Digests of images and files in full instead of their first twelve digits.
    pub full_digests: bool,
    /// Where steps come from in the user's files.
    pub locations: bool,
}

impl Default for Text {
    fn default() -> Self {
        Self { caps: false, full_digests: false, locations: true }
    }
}

/// A graph as text, in the way of [`Text::default`].
///
/// ```
/// use kiln_llb::{Action, CopyOptions, Exec, Local, Marshal, State, args};
/// use kiln_oci::Platform;
///
/// let source = State::local("context", Local::default());
/// let made = State::image("alpine:3.20")
///     .file(Action::copy(&source, "/src", "/app", CopyOptions::default()))
///     .with_dir("/app")
///     .run(Exec::default().with_args(args!["make", "all"]));
/// let definition = made.root().marshal(&Marshal::on(Platform::new("linux", "amd64")))?;
/// assert_eq!(
///     kiln_testing::text(&definition)?,
///     "1 image docker.io/library/alpine:3.20 linux/amd64\n\
///      2 local context\n\
///      3 file on 1\n\
///     \x20   copy 2:/src -> /app\n\
///      4 exec on 3\n\
///     \x20   run make all\n\
///     \x20   cwd /app\n\
///      result 4\n"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`StepsError`] if the definition does not decode or has a hole.
pub fn text(definition: &Definition) -> Result<String, StepsError> {
    Text::default().render(definition)
}

impl Text {
    /// A graph as text.
    ///
    /// # Errors
    ///
    /// [`StepsError`] if the definition does not decode or has a hole.
    pub fn render(&self, definition: &Definition) -> Result<String, StepsError> {
        Ok(self.of(&Steps::of(definition)?))
    }

    /// Steps as text.
    pub fn of(&self, steps: &Steps) -> String {
        let Some(result) = steps.result() else { return "result scratch\n".into() };
        let name = |input: StepInput| reference(input);
        let view =
            View { steps, name: &name, whole_env: false, caps: self.caps, places: self.locations };
        let mut out = String::new();
        let mut used = true;
        for step in steps.iter() {
            if used && !step.used {
                out.push_str(&format!(
                    "result {}\n\nnot needed for the result:\n",
                    reference(result)
                ));
                used = false;
            }
            lines(&view.facts(step), &format!("{} ", step.number), &mut out);
        }
        if used {
            out.push_str(&format!("result {}\n", reference(result)));
        }
        if self.full_digests { out } else { shortened(&out) }
    }
}

/// A step by number, and the output if it is not the first.
pub(crate) fn reference(input: StepInput) -> String {
    match input.output {
        0 => (input.index + 1).to_string(),
        output => format!("{}.{output}", input.index + 1),
    }
}

/// The heading of a step and its facts, one a line.
pub(crate) fn lines(facts: &Facts, before: &str, out: &mut String) {
    out.push_str(before);
    out.push_str(&facts.heading());
    out.push('\n');
    for fact in facts.list.iter().filter(|fact| fact.title.is_none()) {
        let mut value = fact.value.split('\n');
        let first = value.next().unwrap_or_default();
        out.push_str(format!("    {} {first}", fact.key).trim_end());
        out.push('\n');
        for line in value {
            out.push_str(format!("      | {line}").trim_end());
            out.push('\n');
        }
    }
}
