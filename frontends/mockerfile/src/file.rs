//! The file as it is written: serde types, whose comments become the JSON Schema that editors show.
//!
//! Only the shape is checked here; what the words mean is decided in [`crate::plan`].

use std::collections::BTreeMap;

use kiln_sdk::document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

/// A mockerfile: images made of packages, external files and commands.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mockerfile")]
pub(crate) struct File {
    /// The version of the language.
    #[serde(rename = "apiVersion")]
    #[expect(dead_code, reason = "there is one version; the schema refuses others")]
    pub(crate) api_version: ApiVersion,
    /// The images. The last one is built unless a target is chosen.
    #[schemars(length(min = 1))]
    pub(crate) images: Vec<Image>,
}

/// The version of the language.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
pub(crate) enum ApiVersion {
    /// The only version so far.
    #[serde(rename = "v1alpha1")]
    V1Alpha1,
}

/// One image.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    /// What the image is called in this file and as a target.
    pub(crate) name: Spanned<String>,
    /// What it starts from: an image reference, `scratch`, or the name of an earlier image, whose
    /// result it then starts from.
    pub(crate) from: Option<Spanned<String>>,
    /// Another image of this file to go on from, with everything it holds before its `output` is
    /// taken. Instead of `from`.
    pub(crate) parent: Option<Spanned<String>>,
    /// Where commands run, and where the image starts.
    pub(crate) workdir: Option<Spanned<String>>,
    /// Debian packages to install.
    pub(crate) package: Option<Package>,
    /// Files from elsewhere, in order, after the packages.
    #[serde(default)]
    pub(crate) external: Vec<Spanned<External>>,
    /// Shell commands, in order, after the external files.
    #[serde(default)]
    pub(crate) steps: Vec<Spanned<String>>,
    /// Paths to keep. When given, the result holds them and nothing else.
    #[serde(default)]
    pub(crate) output: Vec<Spanned<String>>,
    /// Environment of the commands and of the image.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, Spanned<String>>,
    /// Labels of the image.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, Spanned<String>>,
    /// The program the image runs.
    pub(crate) entrypoint: Option<Command>,
    /// The default arguments, or the default program when there is no entrypoint.
    pub(crate) cmd: Option<Command>,
    /// Who the image runs as. Commands of the build run as root.
    pub(crate) user: Option<Spanned<String>>,
}

/// Debian packages.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Package {
    /// Lines for the list of package sources, such as `deb https://example.com/apt stable main`.
    #[serde(default)]
    pub(crate) repo: Vec<Spanned<String>>,
    /// Addresses of the keys that sign those sources.
    #[serde(default)]
    pub(crate) gpg: Vec<Spanned<String>>,
    /// Packages to install, such as `curl` or `curl=7.81.0-1`.
    #[serde(default)]
    pub(crate) install: Vec<Spanned<String>>,
}

/// A file from elsewhere.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct External {
    /// An `http://` or `https://` address, or a path in the build context.
    pub(crate) src: Spanned<String>,
    /// Where it goes. Archives are unpacked into this directory; a download of another kind becomes
    /// an executable file of this name, or in this directory when the path ends with `/`.
    pub(crate) dst: Spanned<String>,
    /// The SHA-256 of the download, 64 hexadecimal digits.
    pub(crate) sha256: Option<Spanned<String>>,
    /// Shell commands to run once the file is in place.
    #[serde(default)]
    pub(crate) install: Vec<Spanned<String>>,
}

/// A command: a list of words, or one line for `/bin/sh -c`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Command {
    /// One line for `/bin/sh -c`.
    Shell(String),
    /// The program and its arguments.
    Words(Vec<String>),
}

impl Command {
    /// The words to run.
    pub(crate) fn words(&self) -> Vec<String> {
        match self {
            Self::Shell(line) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line.clone()],
            Self::Words(words) => words.clone(),
        }
    }
}
