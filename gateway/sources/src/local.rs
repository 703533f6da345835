//! Directories of the client.
//!
//! A name comes in; a view of a working copy in the store goes out, which was brought to the state
//! of the client's directory. The working copy stays for next time, so that only changes travel.
//! Nothing can be known about the content beforehand, so the key is good for one session only.

mod origins;

use std::sync::{Arc, Mutex, PoisonError};

use kiln_graph::LocalSource;
use kiln_keys::source::{LocalKey, SourceKey};
use kiln_store::{DirectoryError, Kind, Meter, Ref, Sharing, Store};

use crate::local::origins::Origins;
use crate::source::{Cause, Content, Context, Metadata, Pin};

/// The source of the client's directories.
pub(crate) struct Local {
    store: Store,
    origins: Origins,
}

/// What fetching needs to know from pinning: nothing.
#[derive(Clone, Debug)]
pub(crate) struct LocalPin;

/// Why a directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The transfer failed.
    #[error("cannot transfer the local directory `{name}` from the client")]
    Transfer {
        /// Its name in the session.
        name: String,
        /// What the client, the connection or the disk said.
        source: Cause,
    },
    /// The working copy could not be had.
    #[error("cannot keep a working copy of the local directory `{name}`")]
    Directory {
        /// Its name in the session.
        name: String,
        /// What the store said.
        source: DirectoryError,
    },
}

impl Local {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), origins: Origins::new(store.root().join("origins")) }
    }

    pub(crate) fn pin(source: &LocalSource, context: &Context) -> Pin {
        let source = addressed(source);
        let session = match source.session.as_str() {
            "" => context.session.id(),
            session => session,
        };
        let key = key(&source, session);
        Pin { key, content_key: None, metadata: Metadata::Local, content: Content::Local(LocalPin) }
    }

    pub(crate) async fn fetch(
        &self,
        source: &LocalSource,
        context: &Context,
    ) -> Result<Ref, LocalError> {
        let source = addressed(source);
        let name = source.name.clone();
        let shared = context.session.shared_key(&source.session).await;
        // A list is no state of the directory that a whole transfer could go on from.
        let kind = if source.listing.is_some() { ":list" } else { "" };
        let key = format!("local {name}:{}:{shared}{kind}", source.shared_key_hint);
        // Private: the same directory with another filter in the same build must not wait for the
        // first view to be given free, which is at the end of the build.
        let directory = self.store.directory(&key, Kind::SourceLocal, Sharing::Private, None).await;
        let directory =
            directory.map_err(|source| LocalError::Directory { name: name.clone(), source })?;
        let part = context.transfer(format!("transferring {name}:"));
        let meter = Mutex::new((Meter::of(&self.store), 0));
        let received = Arc::new(move |bytes| {
            part.set(bytes);
            // On the thread that writes what is received, which is late by one piece.
            let mut meter = meter.lock().unwrap_or_else(PoisonError::into_inner);
            let (meter, known) = &mut *meter;
            meter.add_blocking(bytes.saturating_sub(std::mem::replace(known, bytes)));
        });
        let before = self.origins.take(directory.id()).await;
        let path = directory.path();
        match context.session.receive(&source, &path, &before, received).await {
            Ok(origin) => self.origins.put(directory.id(), &origin).await,
            Err(cause) => {
                drop(directory);
                // What is in it now is no state that anything has.
                if let Err(error) = self.store.forget_directory(&key).await {
                    tracing::warn!(%error, name, "a half-transferred directory stays");
                }
                return Err(LocalError::Transfer { name, source: cause });
            }
        }
        Ok(directory.as_ref())
    }
}

/// The source with the name and the session that its session attribute leads to.
fn addressed(source: &LocalSource) -> LocalSource {
    let (name, session) = LocalKey::addressed(&source.name, &source.session);
    LocalSource { name, session: session.to_owned(), ..source.clone() }
}

/// The cache key. Past the graph, a list that is empty is one that was not given.
fn key(source: &LocalSource, session: &str) -> SourceKey {
    fn given(list: &[String]) -> Option<&[String]> {
        (!list.is_empty()).then_some(list)
    }
    let key = LocalKey {
        name: &source.name,
        session,
        include: given(&source.include_patterns),
        exclude: given(&source.exclude_patterns),
        follow: given(&source.follow_paths),
        metadata_only: source.listing.is_some(),
        metadata_exceptions: source.listing.as_deref().unwrap_or_default(),
    };
    key.key()
}
