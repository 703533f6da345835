//! From the bytes of an answer to a directory with one file.

use std::fs::{File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use kiln_graph::HttpSource;
use kiln_oci::Digest;
use kiln_store::{Kind, Meter, MutableRef, RecordInfo, Ref, Store};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use crate::http::body::Decoding;
use crate::http::error::HttpError;
use crate::http::{Known, Saved, date};
use crate::source::{Cause, Context};
use crate::sums::Sums;

/// How much is written at once, in bytes.
const BUFFER: usize = 1 << 20;

/// An answer: the file, and what is said about it.
pub(crate) struct Answer {
    /// The name the file gets.
    pub(crate) filename: String,
    /// The entity tag; empty if there is none.
    pub(crate) etag: String,
    /// As the server says it; empty if it does not.
    pub(crate) last_modified: String,
    /// As the server says it; empty if it does not.
    pub(crate) content_encoding: String,
    /// How many bytes come; 0 if that is not known.
    pub(crate) length: u64,
    pub(crate) body: BoxStream<'static, Result<Bytes, HttpError>>,
}

/// Where and how to save.
pub(crate) struct Saving<'a> {
    pub(crate) store: &'a Store,
    pub(crate) source: &'a HttpSource,
    /// The URL without login.
    pub(crate) shown: &'a str,
    pub(crate) expected: Option<&'a Digest>,
}

impl Saving<'_> {
    /// Writes an answer into a directory of its own.
    pub(crate) async fn save(&self, answer: Answer, context: &Context) -> Result<Saved, HttpError> {
        let mutable = self.store.prepare(None).await.map_err(|e| self.store_error(e))?;
        let known = self.write(answer, &mutable, context).await?;
        let result = mutable.commit().await.map_err(|e| self.store_error(e))?;
        self.keep(&result).await?;
        Ok(Saved { known: Known { result: result.id().to_owned(), ..known }, result })
    }

    async fn write(
        &self,
        mut answer: Answer,
        mutable: &MutableRef,
        context: &Context,
    ) -> Result<Known, HttpError> {
        let failed = |source| HttpError::Write { url: self.shown.to_owned(), source };
        let mounted = mutable.mount().await.map_err(|e| self.store_error(e))?;
        let path = mounted.path().join(&answer.filename);
        let file = tokio::fs::File::create_new(&path).await.map_err(failed)?;
        let mut file = BufWriter::with_capacity(BUFFER, file);
        let part = context.begin(format!("downloading {}", self.shown), answer.length);
        let (mut sums, mut decoding) =
            (Sums::new(self.expected), Decoding::of(&answer.content_encoding));
        let mut meter = Meter::of(self.store);
        while let Some(chunk) = answer.body.try_next().await? {
            part.add(chunk.len() as u64);
            let content = decoding.decode(chunk).map_err(|error| self.malformed(&error))?;
            meter.add(content.len() as u64).await;
            file.write_all(&content).await.map_err(failed)?;
            sums.update(&content);
        }
        let content = decoding.finish().map_err(|error| self.malformed(&error))?;
        file.write_all(&content).await.map_err(failed)?;
        sums.update(&content);
        file.flush().await.map_err(failed)?;
        let digest = sums.finish(self.expected).map_err(|got| self.mismatch(got))?;
        finish(file.into_inner().into_std().await, self.source, &answer.last_modified)
            .map_err(failed)?;
        drop(mounted);
        let Answer { filename, etag, last_modified, .. } = answer;
        Ok(Known { etag, last_modified, digest, filename, result: String::new() })
    }

    async fn keep(&self, result: &Ref) -> Result<(), HttpError> {
        let description = format!("http url {}", self.shown);
        let kept = result.keep(RecordInfo { kind: Kind::Regular, description }).await;
        kept.map_err(|error| self.store_error(error))
    }

    /// The server says that it compressed the content, and it is not so.
    fn malformed(&self, error: &io::Error) -> HttpError {
        let reason = format!("the compressed answer is malformed: {error}");
        HttpError::Network { url: self.shown.to_owned(), reason }
    }

    fn mismatch(&self, got: Digest) -> HttpError {
        let wanted = self.expected.cloned().unwrap_or_else(|| got.clone());
        HttpError::Checksum { url: self.shown.to_owned(), wanted, got }
    }

    fn store_error(&self, error: impl Into<Cause>) -> HttpError {
        HttpError::Store { url: self.shown.to_owned(), source: error.into() }
    }
}

/// Gives the file its attributes.
fn finish(file: File, source: &HttpSource, modified: &str) -> io::Result<()> {
    if (source.uid, source.gid) != (0, 0) {
        kiln_store::owner::set_owner_of(&file, source.uid, source.gid)?;
    }
    // After the owner, because a change of owner takes set-user-id bits away.
    file.set_permissions(Permissions::from_mode(source.perm.unwrap_or(0o600)))?;
    // A fixed time, so that a server that says none gives the same layer every time.
    let time = date::parse(modified).unwrap_or(SystemTime::UNIX_EPOCH);
    file.set_times(FileTimes::new().set_accessed(time).set_modified(time))
}
