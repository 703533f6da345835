//! Caches outside the daemon that a build reads.
//!
//! Imports come in, from the request of a client or of a frontend; caches that answer look-ups go to
//! the build's job, each once. One that cannot be read is done without, and shown as a [`Notice`],
//! because builds are run against caches that do not exist yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kiln_frontend::CacheImport;
use kiln_remotecache::{AttributeError, ImportedCache, Imports, cache_name};
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::{BuildBridge, Notice};

/// What was asked: the type of a cache, and its attributes.
type Asked = (String, BTreeMap<String, String>);

/// The caches that a build imports, by what was asked.
#[derive(Debug)]
pub(crate) struct BuildCaches {
    imports: Imports,
    open: Mutex<BTreeMap<Asked, Arc<ImportedCache>>>,
}

impl BuildCaches {
    pub(crate) fn new(imports: Imports) -> Self {
        Self { imports, open: Mutex::default() }
    }

    fn list(&self) -> Vec<Arc<ImportedCache>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl BuildBridge {
    /// Lets caches be asked from now on for everything that this build solves.
    ///
    /// # Errors
    ///
    /// If there is no such type of cache.
    pub fn import_caches(&self, imports: &[CacheImport]) -> Result<(), RichStatus> {
        for import in imports {
            match self.open_cache(import) {
                Ok(notices) => notices.into_iter().for_each(|notice| self.notify(notice)),
                Err(error @ AttributeError::UnknownKind { .. }) => {
                    return Err(RichStatus::new(Code::InvalidArgument, error.to_string()));
                }
                Err(error) => self.notify(not_read(import, &error)),
            }
        }
        Ok(())
    }

    /// The caches that this build has imported.
    pub fn imported_caches(&self) -> Vec<Arc<ImportedCache>> {
        self.caches().list()
    }

    fn open_cache(&self, import: &CacheImport) -> Result<Vec<Notice>, AttributeError> {
        let caches = self.caches();
        let name = (import.kind.clone(), import.attrs.clone());
        let mut open = caches.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains_key(&name) {
            return Ok(Vec::new());
        }
        let (cache, unused) = caches.imports.open(import, self.session_id(), self.progress())?;
        self.jobs().add_cache(Arc::clone(&cache) as _);
        open.insert(name, cache);
        Ok(unused.iter().map(|attribute| without_effect(import, attribute)).collect())
    }
}

fn not_read(import: &CacheImport, error: &AttributeError) -> Notice {
    let name = cache_name(import);
    Notice {
        step: format!("importing cache manifest from {name}"),
        short: format!("cache {name} is not imported: the build goes on without it"),
        detail: error.to_string(),
    }
}

fn without_effect(import: &CacheImport, attribute: &str) -> Notice {
    let name = cache_name(import);
    Notice {
        step: format!("importing cache manifest from {name}"),
        short: format!("{attribute} has no effect for the import of cache {name}"),
        detail: "leave it out".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(kind: &str, attrs: &[(&str, &str)]) -> CacheImport {
        let attrs = attrs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        CacheImport::default().with_kind(kind).with_attrs(attrs.collect())
    }

    #[test]
    fn a_cache_that_is_not_read_is_named() {
        let import = import("gha", &[("scope", "main")]);
        let clouds = kiln_remotecache::Clouds::default();
        let error = kiln_remotecache::ImportFrom::parse(&import, &clouds).unwrap_err();
        let notice = not_read(&import, &error);
        assert_eq!(notice.step, "importing cache manifest from main (gha)");
        assert!(notice.short.contains("main (gha) is not imported"));
        assert!(notice.detail.contains("gha cache requires token"), "{notice:?}");
    }

    #[test]
    fn an_attribute_without_effect_is_named() {
        let import = import("registry", &[("ref", "example.com/a"), ("mode", "max")]);
        let notice = without_effect(&import, "mode");
        assert!(notice.short.contains("mode has no effect for the import of cache example.com/a"));
    }
}
