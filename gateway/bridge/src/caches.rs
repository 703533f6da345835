//! Caches outside the daemon that a build is to read: what this version says about them.
//!
//! Imports come in, from the request of a client or of a frontend; notices go out, because builds are
//! run against caches that do not exist yet, and BuildKit warns of these, too. None is read yet.

use kiln_frontend::CacheImport;

use crate::Notice;

/// The kinds of cache that are imported elsewhere.
const KINDS: &[&str] = &["azblob", "gha", "local", "registry", "s3"];

/// The attributes that say which cache it is, by which it is called in progress.
const NAMES: &[&str] = &["ref", "src", "dest", "scope", "name", "bucket", "account_url", "url"];

/// A cache of a kind that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown cache importer: {kind:?}, known types are {}", KINDS.join(", "))]
pub struct UnknownCache {
    /// The kind.
    pub kind: String,
}

/// What a client is shown of caches that are not read.
///
/// # Errors
///
/// [`UnknownCache`] for the first of a kind that nothing reads.
pub fn not_imported(imports: &[CacheImport]) -> Result<Vec<Notice>, UnknownCache> {
    imports.iter().map(not_read).collect()
}

/// A cache as people call it: its kind and where it is.
pub fn cache_name(import: &CacheImport) -> String {
    let named = NAMES.iter().find_map(|name| import.attrs.get(*name));
    match named.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} ({})", import.kind),
        None => import.kind.clone(),
    }
}

fn not_read(import: &CacheImport) -> Result<Notice, UnknownCache> {
    if !KINDS.contains(&import.kind.as_str()) {
        return Err(UnknownCache { kind: import.kind.chars().take(100).collect() });
    }
    let name = cache_name(import);
    Ok(Notice {
        step: format!("importing cache manifest from {name}"),
        short: format!("cache {name} is not imported: the build goes on without it"),
        detail: "cache imports are not supported by this version; leave --cache-from or \
                 --import-cache out to build without this warning"
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(kind: &str, attrs: &[(&str, &str)]) -> CacheImport {
        let attrs = attrs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        CacheImport { kind: kind.into(), attrs: attrs.collect() }
    }

    #[test]
    fn a_cache_that_is_not_read_is_named() {
        let imports = [
            import("registry", &[("ref", "example.com/a:cache"), ("digest", "sha256:1")]),
            import("local", &[("src", "/var/cache")]),
            import("gha", &[]),
        ];
        let notices = not_imported(&imports).unwrap();
        let steps: Vec<_> = notices.iter().map(|notice| notice.step.as_str()).collect();
        assert_eq!(
            steps,
            [
                "importing cache manifest from example.com/a:cache (registry)",
                "importing cache manifest from /var/cache (local)",
                "importing cache manifest from gha"
            ]
        );
        assert!(notices[0].short.contains("example.com/a:cache (registry) is not imported"));
    }

    #[test]
    fn a_cache_of_a_kind_that_there_is_not_is_refused() {
        let error = not_imported(&[import("registri", &[])]).unwrap_err();
        assert!(error.to_string().contains("unknown cache importer: \"registri\", known types"));
    }
}
