//! What exporters need of the client: to take a stream of bytes, a directory, or a blob.
//!
//! The seam that tests put a double into; in builds it is the session's [`Caller`]. A client that
//! has no use for an export says so, and that is no error.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kiln_filesync::send::MapStat;
use kiln_filesync::{OnProgress, Root, SendOptions};
use kiln_oci::Descriptor;
use kiln_session::{CallError, Caller, FileWriter, SendTarget};
use tokio::io::AsyncWriteExt as _;

use crate::pipe::BodyStream;
use crate::tree;

/// Why the client did not take something.
pub type ClientError = Box<dyn Error + Send + Sync>;

/// A directory to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryToSend {
    /// Where it is.
    pub path: PathBuf,
    /// No time of a file is later than this, in seconds since 1970.
    pub epoch_seconds: Option<i64>,
    /// There is nothing else in the target, and the client may delete what is not sent.
    pub whole: bool,
}

/// The client's end of an export.
#[async_trait]
pub trait Client: Send + Sync {
    /// Sends a stream to the target of an export. `metadata` is what the client is told about it.
    ///
    /// # Errors
    ///
    /// Those of the client and of the stream.
    async fn send_stream(
        &self,
        export: &str,
        metadata: &BTreeMap<String, String>,
        body: BodyStream,
    ) -> Result<(), ClientError>;

    /// Sends a directory to the target of an export; `progress` hears how many bytes went.
    ///
    /// # Errors
    ///
    /// Those of the client and of the file system.
    async fn send_dir(
        &self,
        export: &str,
        directory: DirectoryToSend,
        progress: Box<dyn Fn(u64) + Send + Sync>,
    ) -> Result<(), ClientError>;

    /// Puts a blob into the content store that takes exports, unless it is there.
    ///
    /// # Errors
    ///
    /// Those of the client and of the stream.
    async fn store_blob(
        &self,
        descriptor: &Descriptor,
        body: BodyStream,
    ) -> Result<(), ClientError>;
}

/// The content store of a client that takes exports.
const EXPORT_STORE: &str = "export";

#[async_trait]
impl Client for Caller {
    async fn send_stream(
        &self,
        export: &str,
        metadata: &BTreeMap<String, String>,
        mut body: BodyStream,
    ) -> Result<(), ClientError> {
        let target = SendTarget {
            exporter: export.to_owned(),
            metadata: metadata.clone(),
            multi_platform: false,
        };
        let mut unfinished =
            Unfinished { writer: Some(Self::send_stream(self, &target)?), caller: self.clone() };
        let Some(writer) = &mut unfinished.writer else { return Ok(()) };
        let sent = send_all(writer, &mut body).await;
        let sent = match sent {
            // What failed is our end: the client must not believe that this was all.
            Err(SendFailure::Body(error)) => return Err(error.into()),
            Err(SendFailure::Client(error)) if is_unwanted(&error) => Ok(()),
            Err(SendFailure::Client(error)) => Err(error.into()),
            Ok(()) => Ok(()),
        };
        unfinished.writer = None;
        sent
    }

    async fn send_dir(
        &self,
        export: &str,
        directory: DirectoryToSend,
        progress: Box<dyn Fn(u64) + Send + Sync>,
    ) -> Result<(), ClientError> {
        let target = SendTarget {
            exporter: export.to_owned(),
            metadata: BTreeMap::new(),
            multi_platform: directory.whole,
        };
        let root = Root::open(&directory.path)?;
        let options = SendOptions {
            map: Some(as_exported(directory.epoch_seconds)),
            progress: OnProgress::new(move |sent| progress(sent.bytes)),
            ..SendOptions::default()
        };
        Self::send_dir(self, &target, root, options).await?;
        Ok(())
    }

    async fn store_blob(
        &self,
        descriptor: &Descriptor,
        body: BodyStream,
    ) -> Result<(), ClientError> {
        let store = self.content(EXPORT_STORE);
        let Descriptor { digest, size, .. } = descriptor;
        Ok(store.write(digest, *size, BTreeMap::new(), body).await?)
    }
}

/// A stream that the client has not got whole. If it is given up the call stays open until the
/// session ends, because to the client an earlier end would look like that of a whole stream.
struct Unfinished {
    writer: Option<FileWriter>,
    caller: Caller,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let caller = self.caller.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Not waited for: it ends with the session, which ends with the build that failed.
            drop(runtime.spawn(async move {
                caller.cancelled().await;
                drop(writer);
            }));
        }
    }
}

/// Which end of a stream failed.
enum SendFailure {
    Body(io::Error),
    Client(io::Error),
}

async fn send_all(writer: &mut FileWriter, body: &mut BodyStream) -> Result<(), SendFailure> {
    while let Some(chunk) = body.try_next().await.map_err(SendFailure::Body)? {
        writer.write_all(&chunk).await.map_err(SendFailure::Client)?;
    }
    writer.shutdown().await.map_err(SendFailure::Client)
}

/// What the client is told about a file: the owner it should have, no time later than the epoch,
/// and nothing of what only the store needs.
pub(crate) fn as_exported(epoch_seconds: Option<i64>) -> MapStat {
    let latest = epoch_seconds.map_or(i64::MAX, |seconds| seconds.saturating_mul(1_000_000_000));
    MapStat::new(move |stat| {
        stat.mod_time = stat.mod_time.min(latest);
        let owner = stat.xattrs.get(kiln_store::owner::OWNER_XATTR);
        if let Some((uid, gid)) = owner.and_then(|owner| tree::parse_owner(owner)) {
            (stat.uid, stat.gid) = (uid, gid);
        }
        stat.xattrs.retain(|name, _| !tree::is_mark(name.as_bytes()));
    })
}

/// Whether the client said that it has no use for this export.
fn is_unwanted(error: &io::Error) -> bool {
    // The code of AlreadyExists, as the message of this crate's neighbours carries it.
    const ALREADY_EXISTS: i32 = 6;
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<CallError>());
    refused.and_then(CallError::code).is_some_and(|code| code as i32 == ALREADY_EXISTS)
}
