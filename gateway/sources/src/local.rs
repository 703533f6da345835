//! Directories of the client.
//!
//! A name comes in; a view of a working copy in the store goes out, which was brought to the state
//! of the client's directory. The working copy stays for next time, so that only changes travel.
//! Nothing can be known about the content beforehand, so the key is good for one session only.

mod origins;

use std::sync::Arc;

use kiln_graph::LocalSource;
use kiln_oci::Digest;
use kiln_store::{DirectoryError, Kind, Ref, Sharing, Store};
use serde::Serialize;

use crate::local::origins::Origins;
use crate::progress::Part;
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
        let key = format!("session:{}:{key}", source.name);
        Pin { key, slow_key: None, metadata: Metadata::Local, content: Content::Local(LocalPin) }
    }

    pub(crate) async fn fetch(
        &self,
        source: &LocalSource,
        context: &Context,
    ) -> Result<Ref, LocalError> {
        let source = addressed(source);
        let name = source.name.clone();
        let shared = context.session.shared_key(&source.session).await;
        let key = format!("local {name}:{}:{shared}", source.shared_key_hint);
        // Private: the same directory with another filter in the same build must not wait for the
        // first view to be given free, which is at the end of the build.
        let directory = self.store.directory(&key, Kind::SourceLocal, Sharing::Private, None).await;
        let directory =
            directory.map_err(|source| LocalError::Directory { name: name.clone(), source })?;
        let part = Part::begin(context, format!("transferring {name}:"), 0);
        let received = Arc::new(move |bytes| part.set(bytes));
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

/// A session attribute `prefix:id` renames the directory to `prefix-name`.
fn addressed(source: &LocalSource) -> LocalSource {
    let mut source = source.clone();
    if let Some((prefix, session)) = source.session.clone().split_once(':') {
        source.name = format!("{prefix}-{}", source.name);
        source.session = session.to_owned();
    }
    source
}

/// BuildKit's JSON, field by field. A list that is not there is `null` in Go.
fn key(source: &LocalSource, session: &str) -> Digest {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Key<'a> {
        #[serde(rename = "SessionID")]
        session_id: &'a str,
        include_patterns: Option<&'a [String]>,
        exclude_patterns: Option<&'a [String]>,
        follow_paths: Option<&'a [String]>,
    }
    fn list(list: &[String]) -> Option<&[String]> {
        (!list.is_empty()).then_some(list)
    }
    let key = Key {
        session_id: session,
        include_patterns: list(&source.include_patterns),
        exclude_patterns: list(&source.exclude_patterns),
        follow_paths: list(&source.follow_paths),
    };
    Digest::sha256(crate::gojson::to_string(&key))
}
