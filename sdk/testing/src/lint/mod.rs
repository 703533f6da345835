//! [`lint`]: what a graph does that its author will regret.
//!
//! A definition comes in, findings come out, each with the step, the place in the user's file and
//! what to do. The rules are one table, [`Rule::ALL`]; any of them can be turned off.

mod check;
mod secrets;

use std::fmt;
use std::str::FromStr;

use kiln_llb::Definition;

use crate::steps::{Place, Steps, StepsError};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Builds differ from day to day, or are slower than they need to be.
    Warning,
    /// It will hurt.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What a graph may be blamed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A download that nothing pins.
    HttpWithoutChecksum,
    /// A repository at a branch or tag, which may move.
    GitWithoutCommit,
    /// An image that is `latest`, said or unsaid.
    ImageLatest,
    /// An image by tag only.
    ImageWithoutDigest,
    /// A step that nothing needs.
    UnusedStep,
    /// A path that depends on something else.
    RelativePath,
    /// A command without a directory to run in.
    NoWorkingDirectory,
    /// A secret that everybody can read in the graph, the history and the cache.
    SecretInGraph,
    /// A step that an error cannot lead back to the user's file.
    NoLocation,
    /// A step without a name for people.
    NoName,
}

impl Rule {
    /// All rules, the worst first.
    pub const ALL: &[Self] = &[
        Self::SecretInGraph,
        Self::HttpWithoutChecksum,
        Self::GitWithoutCommit,
        Self::ImageLatest,
        Self::UnusedStep,
        Self::RelativePath,
        Self::NoWorkingDirectory,
        Self::ImageWithoutDigest,
        Self::NoLocation,
        Self::NoName,
    ];

    /// The id, severity and summary of a rule.
    fn row(self) -> (&'static str, Severity, &'static str) {
        use Severity::{Error, Note, Warning};
        match self {
            Self::SecretInGraph => (
                "secret-in-graph",
                Error,
                "a secret stands in a command, variable, file or address",
            ),
            Self::HttpWithoutChecksum => {
                ("http-without-checksum", Warning, "a download has no checksum")
            }
            Self::GitWithoutCommit => {
                ("git-without-commit", Warning, "a repository is taken at a branch or tag")
            }
            Self::ImageLatest => ("image-latest", Warning, "an image is taken at latest"),
            Self::UnusedStep => ("unused-step", Warning, "a step is not needed for the result"),
            Self::RelativePath => ("relative-path", Warning, "a path is relative"),
            Self::NoWorkingDirectory => {
                ("no-working-directory", Warning, "a command has no directory to run in")
            }
            Self::ImageWithoutDigest => {
                ("image-without-digest", Note, "an image is taken by tag only")
            }
            Self::NoLocation => ("no-location", Note, "a step does not say where it comes from"),
            Self::NoName => ("no-name", Note, "a step has no name for people"),
        }
    }

    /// How the rule is called in options and findings.
    pub fn id(self) -> &'static str {
        self.row().0
    }

    /// How bad its findings are.
    pub fn severity(self) -> Severity {
        self.row().1
    }

    /// What it finds, in one line.
    pub fn summary(self) -> &'static str {
        self.row().2
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// There is no rule of that name.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no rule `{0}`")]
pub struct UnknownRule(pub String);

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(id: &str) -> Result<Self, UnknownRule> {
        let rule = Self::ALL.iter().find(|rule| rule.id() == id);
        rule.copied().ok_or_else(|| UnknownRule(id.into()))
    }
}

/// Which rules count. By default all do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LintOptions {
    /// Rules that are turned off.
    pub off: Vec<Rule>,
}

impl LintOptions {
    /// Without some rules.
    pub fn without(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { off: rules.into_iter().collect() }
    }

    /// Only rules of this severity and worse.
    pub fn at_least(severity: Severity) -> Self {
        Self::without(Rule::ALL.iter().copied().filter(|rule| rule.severity() < severity))
    }
}

/// Something to regret. Displayed, it is a line, and a second one with the help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The number of the step in the text of the graph.
    pub step: usize,
    /// The name of the step.
    pub name: String,
    /// Where the step comes from in the user's file, if it says so.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}: ", place.text())?;
        }
        let Self { severity, rule, step, name, message, help, .. } = self;
        write!(f, "{severity}[{rule}]: step {step} \"{name}\": {message}\n  help: {help}")
    }
}

/// Looks for what will be regretted.
///
/// ```
/// use kiln_llb::{Http, Marshal, State};
/// use kiln_testing::{LintOptions, Rule};
///
/// let state = State::http("https://example.com/tool.tgz", Http::default());
/// let options = LintOptions::without([Rule::NoName, Rule::NoLocation]);
/// let findings = kiln_testing::lint(&state.marshal(&Marshal::default())?, &options)?;
/// assert_eq!(
///     findings[0].to_string(),
///     "warning[http-without-checksum]: step 1 \"http https://example.com/tool.tgz\": \
///      nothing says which bytes are meant\n  \
///      help: give the download the sha256 of its bytes"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`StepsError`] if the definition does not decode or has a hole.
pub fn lint(definition: &Definition, options: &LintOptions) -> Result<Vec<Finding>, StepsError> {
    let steps = Steps::of(definition)?;
    let mut findings = Vec::new();
    for step in steps.iter() {
        let name = Some(step.name()).filter(|name| secrets::in_text(name).is_none());
        // A name made from the op would repeat the secret.
        let name = name.unwrap_or_else(|| "(with a secret)".into());
        check::step(step, &mut |rule: Rule, message: String, help: &str| {
            if !options.off.contains(&rule) {
                findings.push(Finding {
                    rule,
                    severity: rule.severity(),
                    step: step.number,
                    name: name.clone(),
                    place: step.places.first().cloned(),
                    message,
                    help: help.into(),
                });
            }
        });
    }
    Ok(findings)
}
