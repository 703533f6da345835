//! Which options the frontends that come with Kiln read, so that others can be told from mistakes.
//!
//! Options and the frontend's name come in; those that it does not read go out, with what they may
//! have been meant to be. Clients of BuildKit's API may send whatever they like, since a frontend
//! that `# syntax=` names may read it; only who types is told.

use std::collections::BTreeMap;

use kiln_document::did_you_mean;

/// The frontends whose options are known.
const FRONTENDS: &[&str] = &["dockerfile.v0", "mockerfile.v0"];

/// The directories they read, unless options name others.
const LOCALS: &[&str] = &["context", "dockerfile"];

/// Options they read; one that ends in a colon is followed by a name.
const OPTIONS: &[&str] = &[
    "add-hosts",
    "attest:",
    "build-arg:",
    "cache-from",
    "cache-imports",
    "cgroup-parent",
    "cmdline",
    "context",
    "context:",
    "contextkey",
    "contextsubdir",
    "cpuperiod",
    "cpuquota",
    "cpusetcpus",
    "cpusetmems",
    "cpushares",
    "dockerfilekey",
    "filename",
    "force-network-mode",
    "frontend.caps",
    "hostname",
    "image-resolve-mode",
    "input-metadata:",
    "input:",
    "label:",
    "local-sessionid:",
    "memory",
    "memswap",
    "multi-platform",
    "no-cache",
    "platform",
    "requestid",
    "shm-size",
    "source",
    "target",
    "ulimit",
    "vcs:",
];

/// An option that the frontend does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownOption {
    /// Its key.
    pub key: String,
    /// What it may have been meant to be.
    pub meant: Option<String>,
}

/// The options that `frontend` does not read; none if nothing is known of the frontend.
pub(crate) fn unknown_options(
    frontend: &str,
    options: &BTreeMap<String, String>,
) -> Vec<UnknownOption> {
    if !FRONTENDS.contains(&frontend) {
        return Vec::new();
    }
    options.keys().filter(|key| !is_known(key)).map(|key| unknown(key)).collect()
}

/// A directory that `frontend` does not ask for, and the one it may have been meant to be; none if
/// each is known or named by an option, or is like none of them.
pub(crate) fn misspelt_local<'a>(
    frontend: &str,
    options: &BTreeMap<String, String>,
    locals: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, &'static str)> {
    if !FRONTENDS.contains(&frontend) {
        return None;
    }
    let named = |name: &str| {
        let is_it = |value: &String| value.strip_prefix("local:").unwrap_or(value) == name;
        LOCALS.contains(&name) || options.values().any(is_it)
    };
    let mut unknown = locals.filter(|name| !named(name));
    unknown.find_map(|name| Some((name, did_you_mean(name, LOCALS.iter().copied())?)))
}

fn is_known(key: &str) -> bool {
    OPTIONS.iter().any(|known| match known.ends_with(':') {
        true => key.starts_with(known),
        false => key == *known,
    })
}

fn unknown(key: &str) -> UnknownOption {
    let (word, rest) = match key.split_once(':') {
        Some((word, rest)) => (word, Some(rest)),
        None => (key, None),
    };
    // `build-arg` without a name is a mistake, too.
    let names = OPTIONS.iter().map(|known| known.trim_end_matches(':'));
    let exact = OPTIONS.iter().any(|known| known.strip_suffix(':') == Some(word));
    let meant = if exact { Some(word) } else { did_you_mean(word, names) };
    let meant = meant.map(|meant| {
        let named = OPTIONS.iter().any(|known| known.strip_suffix(':') == Some(meant));
        match (rest, named) {
            (Some(rest), true) => format!("{meant}:{rest}"),
            (None, true) if !OPTIONS.contains(&meant) => format!("{meant}:NAME"),
            _ => meant.to_owned(),
        }
    });
    UnknownOption { key: key.to_owned(), meant }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frontend: &str, key: &str) -> String {
        let options = BTreeMap::from([(key.to_owned(), String::new())]);
        match unknown_options(frontend, &options).pop() {
            None => "known".to_owned(),
            Some(UnknownOption { meant, .. }) => meant.unwrap_or("nothing near".to_owned()),
        }
    }

    #[test]
    fn a_directory_that_is_nearly_one_of_the_frontends_is_told() {
        let said = |frontend, options: &[(&str, &str)], name: &'static str| {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let options = options.iter().map(owned).collect();
            misspelt_local(frontend, &options, ["context", name].into_iter())
        };
        assert_eq!(said("dockerfile.v0", &[], "contxt"), Some(("contxt", "context")));
        assert_eq!(said("dockerfile.v0", &[], "Dockerfile"), Some(("Dockerfile", "dockerfile")));
        assert_eq!(said("dockerfile.v0", &[], "sources"), None);
        assert_eq!(said("dockerfile.v0", &[("contextkey", "contxt")], "contxt"), None);
        assert_eq!(said("dockerfile.v0", &[("context:a", "local:contxt")], "contxt"), None);
        assert_eq!(said("gateway.v0", &[], "contxt"), None);
    }

    #[test]
    fn what_a_frontend_does_not_read_is_told_from_what_it_does() {
        for (key, expected) in [
            ("target", "known"),
            ("build-arg:X", "known"),
            ("context:base::linux/arm64", "known"),
            ("tagret", "target"),
            ("biuld-arg:X", "build-arg:X"),
            ("buildarg:X", "build-arg:X"),
            ("build-arg", "build-arg:NAME"),
            ("labels:a", "label:a"),
            ("platforms", "platform"),
            ("size-of-the-moon", "nothing near"),
        ] {
            assert_eq!(check("dockerfile.v0", key), expected, "{key}");
        }
        assert_eq!(check("gateway.v0", "tagret"), "known");
    }
}
