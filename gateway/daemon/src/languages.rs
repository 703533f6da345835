//! The languages that are linked in, by name.
//!
//! A name and a channel come in, a frontend goes out. Nothing else in the workspace names a language;
//! who wants one without a daemon asks here as well.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_frontend::{BuildLanguage, Frontend};
use kiln_oci::Reference;

/// Which of the language's features there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// Those that stay.
    #[default]
    Mainline,
    /// Those that are being tried, too.
    Labs,
}

/// Finds a language that is linked in, by its name with or without `.v0`.
pub fn linked(name: &str, channel: Channel) -> Option<Arc<dyn Frontend>> {
    match (name.strip_suffix(".v0").unwrap_or(name), channel) {
        ("dockerfile", Channel::Mainline) => {
            Some(Arc::new(kiln_dockerfile::Dockerfile::mainline()))
        }
        ("dockerfile", Channel::Labs) => Some(Arc::new(kiln_dockerfile::Dockerfile::labs())),
        ("mockerfile", _) => Some(Arc::new(kiln_mockerfile::Mockerfile)),
        _ => None,
    }
}

/// The language that is linked in, as editors see it, by its name with or without `.v0`.
pub fn editing(name: &str) -> Option<Box<dyn kiln_editor::Language>> {
    match name.strip_suffix(".v0").unwrap_or(name) {
        "dockerfile" => Some(Box::new(kiln_dockerfile::Editing)),
        "mockerfile" => {
            let schema = kiln_mockerfile::schema();
            Some(Box::new(described(kiln_mockerfile::Mockerfile, &schema)))
        }
        _ => None,
    }
}

/// A language on the SDK, as editors see it.
fn described<L: BuildLanguage + 'static>(language: L, schema: &str) -> kiln_editor::Described {
    // What is no schema says nothing of any key.
    let schema = serde_json::from_str(schema).unwrap_or_default();
    let described = kiln_editor::Described::new(L::NAME, L::FILES, schema);
    described.read_by(move |source| match language.read(source) {
        Ok(read) => read.warnings,
        Err(mistakes) => mistakes,
    })
}

/// The version of the Dockerfile frontend.
pub(crate) const DOCKERFILE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The names that [`linked`] knows, as builds ask for them.
pub const LINKED: &[&str] = &["dockerfile.v0", "mockerfile.v0"];

/// All of them as a daemon calls them.
pub(crate) fn all() -> BTreeMap<String, Arc<dyn Frontend>> {
    let named = |name: &&str| Some(((*name).to_owned(), linked(name, Channel::Mainline)?));
    LINKED.iter().filter_map(named).collect()
}

/// The language that makes what an image of a frontend would: Docker's own images of the Dockerfile
/// frontend need not be pulled. A digest asks for exactly that image, hence nothing stands for it.
pub(crate) fn stands_for(image: &Reference) -> Option<Arc<dyn Frontend>> {
    const DOCKERFILE: &[&str] = &["docker/dockerfile", "docker/dockerfile-upstream"];
    let known = image.domain() == "docker.io" && DOCKERFILE.contains(&image.repository());
    if !known || image.digest().is_some() {
        return None;
    }
    let labs = image.tag().is_some_and(|tag| tag.ends_with("labs"));
    linked("dockerfile", if labs { Channel::Labs } else { Channel::Mainline })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dockers_own_images_without_a_digest_need_no_pull() {
        let pulled = |image: &str| stands_for(&image.parse().unwrap()).is_none();
        let digest = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
        assert!(pulled(&format!("docker/dockerfile:1@{digest}")));
        assert!(pulled("example.com/docker/dockerfile:1"));
        assert!(pulled("docker/dockerfile-mine:1"));
        assert!(!pulled("docker/dockerfile:1"));
        assert!(!pulled("docker.io/docker/dockerfile-upstream:master-labs"));
    }

    #[test]
    fn every_name_that_is_listed_is_known_in_both_spellings() {
        assert_eq!(all().len(), LINKED.len());
        for name in LINKED {
            assert!(linked(name.trim_end_matches(".v0"), Channel::Labs).is_some(), "{name}");
            assert!(editing(name).is_some(), "{name}");
        }
        assert!(linked("mockerfile.v1", Channel::Mainline).is_none());
    }
}
