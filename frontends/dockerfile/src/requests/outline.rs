//! `frontend.outline`: what a build of one stage takes.

use bytes::Bytes;
use kiln_sdk::frontend::requests;

use super::location;
use crate::lines::Lines;

/// What a build of one stage takes, as the lowering found it, in any order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    /// The stage's name; empty if it has none.
    pub(crate) name: String,
    /// What the comments say of the stage.
    pub(crate) description: String,
    /// Build arguments that count.
    pub(crate) args: Vec<Arg>,
    /// Secrets.
    pub(crate) secrets: Vec<Needed>,
    /// Agents.
    pub(crate) ssh: Vec<Needed>,
}

/// A build argument.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arg {
    /// Its name.
    pub(crate) name: String,
    /// Its value, by default or as it was given; may be empty.
    pub(crate) value: String,
    /// What the comments say of it.
    pub(crate) description: String,
    /// Where it is declared.
    pub(crate) lines: Option<Lines>,
}

/// A secret or an agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needed {
    /// Its id.
    pub(crate) name: String,
    /// The build fails without it.
    pub(crate) required: bool,
    /// Where it is used first.
    pub(crate) lines: Option<Lines>,
}

impl Outline {
    /// The answer, in the order of the file, and by name on one line.
    pub(crate) fn answer(self, text: &str) -> requests::Outline {
        let Self { name, description, mut args, secrets, ssh } = self;
        args.sort_by(|a, b| (first(a.lines), &a.name).cmp(&(first(b.lines), &b.name)));
        let arg = |arg: Arg| {
            requests::Arg::default()
                .with_name(arg.name)
                .with_description(arg.description)
                .with_value(arg.value)
                .with_location(arg.lines.map(location))
        };
        requests::Outline::default()
            .with_name(name)
            .with_description(description)
            .with_args(args.into_iter().map(arg).collect())
            .with_secrets(needed(secrets))
            .with_ssh(needed(ssh))
            .with_cache(Vec::new())
            .with_sources(vec![Bytes::copy_from_slice(text.as_bytes())])
    }
}

fn needed(mut list: Vec<Needed>) -> Vec<requests::Needed> {
    list.sort_by(|a, b| (first(a.lines), &a.name).cmp(&(first(b.lines), &b.name)));
    let answer = |one: Needed| {
        requests::Needed::default()
            .with_name(one.name)
            .with_required(one.required)
            .with_location(one.lines.map(location))
    };
    list.into_iter().map(answer).collect()
}

fn first(lines: Option<Lines>) -> u32 {
    lines.map_or(0, |lines| lines.first)
}
