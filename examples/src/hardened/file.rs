//! The file of the language, and what can be said about it without a daemon.

use std::collections::{BTreeMap, BTreeSet};

use kiln_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// An image. Files that are included and variants are written the same way, and are laid over each
/// other: lists grow, other values are replaced.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Definition {
    /// What the image is called.
    pub name: String,
    /// The image whose package manager fills the new one. Nothing of it is in the result.
    pub builder: Option<Spanned<String>>,
    /// The platforms that it may be built for; any if there are none.
    pub platforms: Vec<Spanned<String>>,
    /// Files to begin with, from the directory of this one.
    pub include: Vec<Spanned<String>>,
    /// What is in it.
    pub contents: Contents,
    /// Who may run in it.
    pub accounts: Accounts,
    /// The environment of its programs.
    pub environment: BTreeMap<String, String>,
    /// Directories, files and links, and what is taken from the build context.
    pub paths: Vec<Spanned<Entry>>,
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments.
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    pub work_dir: Option<String>,
    /// The signal that ends it.
    pub stop_signal: Option<String>,
    /// Where it listens, such as `8080/tcp`.
    pub ports: Vec<String>,
    /// Labels of the image.
    pub annotations: BTreeMap<String, String>,
    /// Programs of the image that have to succeed before there is one.
    pub tests: Vec<Spanned<Test>>,
    /// Other images of the same file, each a target: what differs.
    pub variants: BTreeMap<String, Self>,
}

/// What is in an image.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contents {
    /// Which package manager the builder has.
    pub manager: Option<Manager>,
    /// Packages; `!name` keeps one out that another would bring along.
    pub packages: Vec<Spanned<String>>,
}

/// A package manager.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// That of Alpine.
    Apk,
    /// That of Debian.
    Apt,
}

/// Who may run in an image.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Accounts {
    /// Who does: one of the users, or `root`.
    pub run_as: Option<Spanned<String>>,
    /// Users besides root.
    pub users: Vec<Spanned<User>>,
    /// Groups besides root's.
    pub groups: Vec<Spanned<Group>>,
}

/// A user.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

/// A group.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The name.
    pub name: String,
    /// The number.
    pub gid: u32,
    /// Names of users.
    #[serde(default)]
    pub members: Vec<String>,
}

/// Something that has a path in the image.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Its path.
    pub path: String,
    /// What is in the file, where the link leads, or the path in the build context.
    #[serde(default)]
    pub content: String,
    /// Its owner.
    #[serde(default)]
    pub uid: u32,
    /// Its group.
    #[serde(default)]
    pub gid: u32,
    /// Its permissions in octal digits, such as `"0750"`.
    pub mode: Option<String>,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// A directory, with its parents.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Symlink,
    /// What the build context has, a file or a directory.
    Context,
}

/// A program that has to succeed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// What is shown for it.
    pub name: String,
    /// The program and its arguments.
    pub run: Vec<String>,
}

impl Entry {
    /// Its permissions, if they make sense.
    pub fn mode(&self) -> Option<u32> {
        let default = if self.kind == EntryKind::Directory { "755" } else { "644" };
        let mode = u32::from_str_radix(self.mode.as_deref().unwrap_or(default), 8).ok()?;
        (mode <= 0o777).then_some(mode)
    }
}

/// All mistakes of one file, with those of its variants.
pub fn check(file: &Definition, is_main: bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if is_main && file.builder.is_none() {
        let mistake = Diagnostic::error("the file names no builder").at(Span::new(0, 0));
        found.push(mistake.hint("write `builder: alpine:3.22`"));
    }
    if let Some(include) = file.include.first().filter(|_| !is_main) {
        let mistake = Diagnostic::error("only the file that is built can include others");
        found.push(mistake.at(include.span));
    }
    for platform in &file.platforms {
        if let Err(error) = platform.parse::<Platform>() {
            found.push(Diagnostic::error(error.to_string()).at(platform.span));
        }
    }
    let mut seen: BTreeSet<(&str, bool)> = BTreeSet::new();
    for package in &file.contents.packages {
        let (name, kept_out) = match package.strip_prefix('!') {
            Some(name) => (name, true),
            None => (package.as_str(), false),
        };
        let known = |c: char| c.is_ascii_alphanumeric() || "+-._=~<>:".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(known) {
            let mistake = Diagnostic::error(format!("`{name}` is no name of a package"));
            found.push(mistake.at(package.span));
        }
        if seen.contains(&(name, !kept_out)) {
            let mistake = Diagnostic::error(format!("`{name}` is both wanted and kept out"));
            found.push(mistake.at(package.span).hint("remove one of the two"));
        }
        seen.insert((name, kept_out));
    }
    for entry in &file.paths {
        let Entry { path, .. } = &entry.value;
        if !path.starts_with('/') {
            let mistake = Diagnostic::error(format!("`{path}` is not a place in the image"));
            found.push(mistake.at(entry.span).hint(format!("write `/{path}`")));
        }
        if entry.mode().is_none() {
            let mistake =
                Diagnostic::error("permissions are up to three octal digits after a zero");
            found.push(mistake.at(entry.span).hint("write `mode: \"0750\"`, with quotes"));
        }
    }
    let names = file.accounts.users.iter().map(|user| (&user.value.name, user.span));
    let names = names.chain(file.accounts.groups.iter().map(|group| (&group.name, group.span)));
    for (name, span) in names.filter(|(name, _)| name.contains([':', ',', '\n'])) {
        found.push(Diagnostic::error(format!("{name:?} is no name of an account")).at(span));
    }
    found.extend(file.variants.values().flat_map(|variant| check(variant, false)));
    found.sort_by_key(|mistake| mistake.span);
    found
}
