//! What a build was asked for.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Used, without_credentials};

/// Options that say something about the machine rather than about the build.
const HOST_OPTIONS: &[&str] = &["cache-imports", "cgroup-parent", "image-resolve-mode", "platform"];

/// A request to a frontend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The frontend.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub frontend: String,
    /// Its options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// Secrets that were used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Agents that were used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh: Vec<Secret>,
    /// Directories of the client.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locals: Vec<Local>,
    /// What made the graphs that were handed over, where that is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Requested>,
    /// What the client asked for, if this is what a frontend asked another one for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Box<Requested>>,
    /// The behaviour that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compatibility_version: Option<i64>,
}

/// A secret or an agent, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secret {
    /// Its id.
    pub id: String,
    /// The build can do without.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// A directory of the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Local {
    name: String,
}

/// A request, and where its configuration is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// Where the configuration is.
    pub config_source: ConfigSource,
    /// The rest of the request.
    pub request: Request,
}

/// Where the configuration of a build is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigSource {
    /// The context.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// What it was, if that is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<String, String>,
    /// The file in it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
}

impl Request {
    /// A request to a frontend with these options. What says something about the machine is left out,
    /// as are requests for attestations; addresses lose their credentials.
    pub fn new<'a>(frontend: &str, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let is_said =
            |(name, _): &(&str, &str)| !HOST_OPTIONS.contains(name) && !name.starts_with("attest:");
        let args = options.into_iter().filter(is_said).map(|(name, value)| {
            let value = value.to_owned();
            (name.to_owned(), if is_free(name) { value } else { without_credentials(value) })
        });
        Self { frontend: frontend.to_owned(), args: args.collect(), ..Self::default() }
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.frontend.is_empty() && self.args.is_empty() && self.inputs.is_empty()
    }

    /// The request with its context and its file taken out of the options.
    pub fn requested(mut self, used: &Used) -> Requested {
        let mut config_source = ConfigSource::default();
        let given = |key: &str| self.args.get(key).is_some_and(|value| !value.is_empty());
        let key = match self.args.get("contextkey").filter(|key| !key.is_empty()) {
            Some(key) => key.clone(),
            None if given("input:context") => "input:context".to_owned(),
            None => "context".to_owned(),
        };
        if let Some(context) = self.args.remove(&key).filter(|context| !context.is_empty()) {
            (config_source.uri, config_source.digest) = material(used, context);
        }
        if let Some(path) = self.args.remove("filename").filter(|path| !path.is_empty()) {
            config_source.path = path;
        }
        Requested { config_source, request: self }
    }

    /// What version control says about the context (`vcs:*`), taken out of the options.
    pub(crate) fn take_vcs(&mut self) -> BTreeMap<String, String> {
        let is_vcs = |name: &String| name.starts_with("vcs:");
        let names: Vec<String> = self.args.keys().filter(|name| is_vcs(name)).cloned().collect();
        let taken = names.into_iter().filter_map(|name| {
            let value = self.args.remove(&name).filter(|value| !value.is_empty())?;
            Some((name.trim_start_matches("vcs:").to_owned(), value))
        });
        taken.collect()
    }

    /// Takes out what only `mode=max` says; tells whether options went.
    pub(crate) fn scrub(&mut self) -> bool {
        let before = self.args.len();
        self.args.retain(|name, _| !(name.starts_with("build-arg:") || name.starts_with("label:")));
        let mut went = self.args.len() < before;
        self.secrets.clear();
        self.ssh.clear();
        for input in self.inputs.values_mut() {
            went |= input.request.scrub();
        }
        if let Some(root) = &mut self.root {
            went |= root.request.scrub();
        }
        went
    }

    /// Adds what was used on behalf of the request.
    pub(crate) fn add_used(&mut self, used: &Used) {
        let secret =
            |(id, optional): (&String, &bool)| Secret { id: id.clone(), optional: *optional };
        self.secrets = used.secrets.iter().map(secret).collect();
        self.ssh = used.agents.iter().map(secret).collect();
        self.locals = used.locals.iter().map(|name| Local { name: name.clone() }).collect();
    }
}

/// Whether the value of an option is the user's own text rather than an address. Those of proxies are
/// addresses that often have passwords.
fn is_free(name: &str) -> bool {
    match name.strip_prefix("build-arg:") {
        Some(argument) => !argument.to_ascii_uppercase().ends_with("_PROXY"),
        None => name.starts_with("label:"),
    }
}

/// The address of a context, and what it was if that was used.
fn material(used: &Used, context: String) -> (String, BTreeMap<String, String>) {
    let (remote, fragment) = context.split_once('#').unwrap_or((&context, ""));
    let (reference, _) = fragment.split_once(':').unwrap_or((fragment, ""));
    let with_reference = match reference {
        "" => remote.to_owned(),
        reference => format!("{remote}#{reference}"),
    };
    if let Some(git) = used.git.iter().find(|git| git.url == with_reference) {
        return (context, commit_digest(&git.commit));
    }
    match used.files.iter().find(|file| file.url == context) {
        Some(file) => {
            let digest = &file.digest;
            (context, [(digest.algorithm().to_owned(), digest.hex().to_owned())].into())
        }
        None => (context, BTreeMap::new()),
    }
}

/// A commit as a set of digests.
pub(crate) fn commit_digest(commit: &str) -> BTreeMap<String, String> {
    let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
    [(algorithm.to_owned(), commit.to_owned())].into()
}
