//! What a build used: sources with what they were resolved to, the ids of secrets and agents.

use std::collections::{BTreeMap, BTreeSet};

use kiln_oci::{Digest, Platform, Reference};
use serde::Serialize;

use crate::without_credentials;

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedImage {
    /// Its name, as it was asked for.
    pub reference: Reference,
    /// For which platform.
    pub platform: Option<Platform>,
    /// What the name meant: an index or a manifest.
    pub digest: Digest,
    /// It came from a layout of the client's and not from a registry.
    pub local: bool,
}

/// A single blob of an image, as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedBlob {
    /// The repository, and the digest of the blob.
    pub reference: Reference,
    /// It came from a layout of the client's and not from a registry.
    pub local: bool,
}

/// A git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedGit {
    /// `URL#REFERENCE`, without credentials.
    pub url: String,
    /// The object that the reference meant.
    pub commit: String,
    /// The git bundle that it was taken from, rather than the repository.
    pub bundle: Option<UsedBlob>,
}

/// A file by URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedFile {
    /// Where, without credentials.
    pub url: String,
    /// What was there.
    pub digest: Digest,
}

/// A request of a step of which is not known what came of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NetworkGap {
    /// The digest of the step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// What the step runs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Such as `POST`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// Where to, without credentials.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Why, in a word.
    pub reason: String,
}

/// What a build used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Images, by name and in the order in which they were found.
    pub images: Vec<UsedImage>,
    /// Single blobs, by name and in the order in which they were found.
    pub blobs: Vec<UsedBlob>,
    /// Git repositories.
    pub git: Vec<UsedGit>,
    /// Files by URL.
    pub files: Vec<UsedFile>,
    /// Names of directories of the client.
    pub locals: BTreeSet<String>,
    /// Ids of secrets, and whether the build can do without.
    pub secrets: BTreeMap<String, bool>,
    /// Ids of agents, and whether the build can do without.
    pub agents: BTreeMap<String, bool>,
    /// Some process had a network.
    pub network: bool,
    /// The network of processes was a proxy that noted what passed.
    pub proxied: bool,
    /// What is not known of that.
    pub network_gaps: Vec<NetworkGap>,
    /// Something was used of which is not known what it was.
    pub incomplete: bool,
    /// Platforms whose processes are not run by the machine itself, and what runs them.
    pub emulated: BTreeMap<String, String>,
}

impl Used {
    /// Adds an image, unless it is there for this platform.
    pub fn add_image(&mut self, image: UsedImage) {
        let same = |other: &UsedImage| {
            other.reference == image.reference
                && other.local == image.local
                && platform_key(other.platform.as_ref()) == platform_key(image.platform.as_ref())
        };
        if !self.images.iter().any(same) {
            self.images.push(image);
        }
    }

    /// Adds a blob.
    pub fn add_blob(&mut self, blob: UsedBlob) {
        if !self.blobs.contains(&blob) {
            self.blobs.push(blob);
        }
    }

    /// Adds a repository.
    pub fn add_git(&mut self, url: String, commit: String, bundle: Option<UsedBlob>) {
        let url = without_credentials(url);
        if !self.git.iter().any(|other| other.url == url) {
            self.git.push(UsedGit { url, commit, bundle });
        }
    }

    /// Adds a file by URL.
    pub fn add_file(&mut self, url: String, digest: Digest) {
        let url = without_credentials(url);
        if !self.files.iter().any(|other| other.url == url) {
            self.files.push(UsedFile { url, digest });
        }
    }

    /// Adds a secret. One that some step needs is needed.
    pub fn add_secret(&mut self, id: &str, optional: bool) {
        *self.secrets.entry(id.to_owned()).or_insert(true) &= optional;
    }

    /// Adds an agent, likewise.
    pub fn add_agent(&mut self, id: &str, optional: bool) {
        let id = if id.is_empty() { "default" } else { id };
        *self.agents.entry(id.to_owned()).or_insert(true) &= optional;
    }

    /// Adds everything of another.
    pub fn merge(&mut self, other: &Self) {
        other.images.iter().cloned().for_each(|image| self.add_image(image));
        other.blobs.iter().cloned().for_each(|blob| self.add_blob(blob));
        other.git.iter().cloned().for_each(|git| self.add_git(git.url, git.commit, git.bundle));
        other.files.iter().cloned().for_each(|file| self.add_file(file.url, file.digest));
        self.locals.extend(other.locals.iter().cloned());
        other.secrets.iter().for_each(|(id, optional)| self.add_secret(id, *optional));
        other.agents.iter().for_each(|(id, optional)| self.add_agent(id, *optional));
        self.network |= other.network;
        self.proxied |= other.proxied;
        self.network_gaps.extend(other.network_gaps.iter().cloned());
        self.incomplete |= other.incomplete;
        self.emulated.extend(other.emulated.clone());
    }

    /// Brings everything into order. An image by digest is left out where it is there by its tag.
    pub fn tidy(&mut self) {
        let tagged: BTreeSet<String> = self
            .images
            .iter()
            .filter(|image| image.reference.digest().is_none())
            .map(|image| tag(&image.reference))
            .collect();
        self.images.retain(|image| {
            image.reference.digest().is_none() || !tagged.contains(&tag(&image.reference))
        });
        self.images.sort_by_cached_key(|image| image.reference.to_string());
        self.blobs.sort_by_cached_key(|blob| blob.reference.to_string());
        self.git.sort_by(|a, b| (&a.url, &a.commit).cmp(&(&b.url, &b.commit)));
        self.files.sort_by(|a, b| a.url.cmp(&b.url));
        self.network_gaps.sort();
        self.network_gaps.dedup();
    }

    /// Whether it is known exactly what everything was.
    pub fn is_complete(&self) -> bool {
        !self.incomplete && self.locals.is_empty() && self.network_gaps.is_empty()
    }
}

fn platform_key(platform: Option<&Platform>) -> Option<String> {
    platform.map(Platform::format_all)
}

/// Its name and tag, whatever digest it has.
fn tag(reference: &Reference) -> String {
    format!("{}:{}", reference.name(), reference.tag().unwrap_or("latest"))
}
