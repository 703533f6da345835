//! What exporters need of the client: to take a stream of bytes, and to take a directory.
//!
//! The seam that tests put a double into; in builds it is the session's [`Caller`]. A client that
//! has no use for an export says so, and that is no error.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use kiln_filesync::send::MapStat;
use kiln_filesync::{OnProgress, Root, SendOptions};
use kiln_session::{CallError, Caller, SendTarget};
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
    /// Other directories are sent to the same target, and what is theirs must stay.
    pub one_of_several: bool,
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
}

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
        // Dropped without a shutdown, the writer breaks the call off.
        let mut writer = Self::send_stream(self, &target)?;
        while let Some(chunk) = body.try_next().await? {
            match writer.write_all(&chunk).await {
                Err(error) if is_unwanted(&error) => return Ok(()),
                written => written?,
            }
        }
        match writer.shutdown().await {
            Err(error) if is_unwanted(&error) => Ok(()),
            ended => Ok(ended?),
        }
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
            multi_platform: directory.one_of_several,
        };
        let root = Root::open(&directory.path)?;
        let latest = directory.epoch_seconds.map(|seconds| seconds.saturating_mul(1_000_000_000));
        let options = SendOptions {
            map: Some(MapStat::new(move |stat| {
                stat.mod_time = stat.mod_time.min(latest.unwrap_or(i64::MAX));
                if let Some((uid, gid)) = stat
                    .xattrs
                    .get(kiln_store::owner::OWNER_XATTR)
                    .and_then(|owner| tree::parse_owner(owner))
                {
                    (stat.uid, stat.gid) = (uid, gid);
                }
                stat.xattrs.retain(|name, _| !tree::is_mark(name.as_bytes()));
            })),
            progress: OnProgress::new(move |sent| progress(sent.bytes)),
            ..SendOptions::default()
        };
        Self::send_dir(self, &target, root, options).await?;
        Ok(())
    }
}

/// Whether the client said that it has no use for this export.
fn is_unwanted(error: &std::io::Error) -> bool {
    // The code of AlreadyExists, as the message of this crate's neighbours carries it.
    const ALREADY_EXISTS: i32 = 6;
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<CallError>());
    refused.and_then(CallError::code).is_some_and(|code| code as i32 == ALREADY_EXISTS)
}
