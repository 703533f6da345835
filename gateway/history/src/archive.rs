//! Records and their blobs on disk, in step with each other.
//!
//! Blobs are written before the record that needs them and removed after it, so that a crash leaves
//! at most blobs that nothing needs, which the next start removes. What is damaged is gone, and
//! never a failure. Everything here blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use kiln_oci::Digest;
use kiln_pb::control::{BuildHistoryRecord, Descriptor};
use kiln_store::Store;
use prost::Message as _;

use crate::blobs::{BlobFile, Blobs};
use crate::error::{HistoryError, OpenError};
use crate::index::{Entry, Index};
use crate::log::{self, LOG_MEDIA_TYPE};
use crate::policy::Policy;
use crate::records::{Records, Row};
use crate::running::Ended;
use crate::trace::{self, SentSpan, TRACE_MEDIA_TYPE};

/// The media type of an error with its details. That it is misspelt is part of it.
const ERROR_MEDIA_TYPE: &str = "application/vnd.googeapis.google.rpc.status+proto";

/// All that is remembered.
#[derive(Debug)]
pub(crate) struct Archive {
    records: Records,
    blobs: Blobs,
    /// Locked by whoever writes, so that no blob goes while a record that needs it comes.
    index: Mutex<Index>,
    /// Holds the state directory for as long as its files are used.
    _store: Store,
}

impl Archive {
    /// Opens what is remembered in a state directory. Records whose blobs are gone go too.
    pub(crate) fn open(store: &Store) -> Result<Self, OpenError> {
        let records = Records::open(store.metadata())?;
        let directory = store.private_directory("history")?;
        let failed = |source| OpenError::File { path: directory.clone(), source };
        let blobs = Blobs::open(directory.clone()).map_err(failed)?;
        let archive = Self { records, blobs, index: Mutex::default(), _store: store.clone() };
        if let Err(error) = archive.check() {
            tracing::warn!(%error, "the history of builds is not whole");
        }
        Ok(archive)
    }

    /// Finds out what there is, and removes what is not whole or not needed.
    fn check(&self) -> Result<(), HistoryError> {
        let mut index = self.index();
        let mut damaged = Vec::new();
        for build in self.records.builds()? {
            let row = self.records.get(&build)?;
            match row.filter(|row| row.blobs.iter().all(|blob| self.blobs.get(blob).is_some())) {
                Some(row) => drop(index.insert(&build, entry(&row))),
                None => {
                    tracing::warn!(build, "removing a record of a build that is damaged");
                    damaged.push(build);
                }
            }
        }
        self.records.remove(&damaged)?;
        let all = self.blobs.all().unwrap_or_default();
        for blob in all.iter().filter(|blob| !index.needs(&blob.digest)) {
            self.blobs.remove(&blob.digest);
        }
        Ok(())
    }

    /// Remembers a build. Returns the record with the descriptors of what was written.
    ///
    /// # Errors
    ///
    /// If the record cannot be written. It is there without its log if that cannot be written.
    pub(crate) fn insert(&self, ended: Ended) -> Result<BuildHistoryRecord, HistoryError> {
        let Ended { mut record, log, error, documents, attachments, parent } = ended;
        let mut index = self.index();
        let mut blobs = BTreeSet::new();
        if let Some(error) = error {
            let details = self.blobs.put([error.encode_to_vec()].iter());
            record.external_error = self.described(details, ERROR_MEDIA_TYPE, &mut blobs);
            record.error = Some(kiln_pb::rpc::Status { details: Vec::new(), ..error });
        }
        let spans = trace::spans(&record, log.iter().map(|message| &**message), parent);
        let trace = self.blobs.put(trace::lines(&trace::own(spans)).iter());
        let log = self.blobs.put(log.iter().map(|message| log::frame(message)));
        record.logs = self.described(log, LOG_MEDIA_TYPE, &mut blobs);
        record.trace = self.described(trace, TRACE_MEDIA_TYPE, &mut blobs);
        for document in documents {
            let written = self.blobs.put([&document.bytes].into_iter());
            self.described(written, "", &mut blobs);
        }
        let mut attached = BTreeMap::new();
        for (kind, bytes) in attachments {
            let written = self.blobs.put([&bytes].into_iter());
            if self.described(written, &kind, &mut blobs).is_some() {
                attached.insert(kind, Digest::sha256(&bytes));
            }
        }
        let row = Row { record, blobs, attachments: attached };
        let put = self.blobs.settle().and_then(|()| Ok(self.records.put(&row)?));
        // What an unwritten record would have needed, and the one that it replaces needed.
        let unneeded = match &put {
            Ok(()) => index.insert(&row.record.r#ref, entry(&row)),
            Err(_) => row.blobs.iter().filter(|blob| !index.needs(blob)).cloned().collect(),
        };
        unneeded.iter().for_each(|blob| self.blobs.remove(blob));
        put?;
        Ok(row.record)
    }

    /// The descriptor of a blob that was written; without it a record is better than none.
    fn described(
        &self,
        written: Result<BlobFile, HistoryError>,
        media_type: &str,
        blobs: &mut BTreeSet<Digest>,
    ) -> Option<Descriptor> {
        match written {
            Ok(blob) => {
                let descriptor = Descriptor {
                    media_type: media_type.to_owned(),
                    digest: blob.digest.to_string(),
                    size: i64::try_from(blob.size).unwrap_or(i64::MAX),
                    ..Descriptor::default()
                };
                blobs.insert(blob.digest);
                Some(descriptor)
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "a build is remembered without all that belongs to it");
                None
            }
        }
    }

    /// Adds spans that a client sent to the trace of a build. Returns the record if it was changed.
    pub(crate) fn add_spans(
        &self,
        build: &str,
        spans: &[SentSpan],
    ) -> Result<Option<BuildHistoryRecord>, HistoryError> {
        let mut index = self.index();
        let row = self.records.get(build)?;
        let mut row = row.ok_or_else(|| HistoryError::NotFound(build.to_owned()))?;
        let known = row.record.trace.as_ref().and_then(|trace| trace.digest.parse::<Digest>().ok());
        let more = trace::lines(spans);
        let Some(blob) = known.as_ref().and_then(|digest| self.blobs.get(digest)) else {
            return Ok(None);
        };
        if more.is_empty() {
            return Ok(None);
        }
        let before = std::fs::read(&blob.path).map_err(HistoryError::file("read", &blob.path))?;
        let pieces = std::iter::once(&before[..]).chain(more.iter().map(String::as_bytes));
        let written = self.blobs.put(pieces);
        let mut blobs = row.blobs.clone();
        blobs.remove(&blob.digest);
        let Some(trace) = self.described(written, TRACE_MEDIA_TYPE, &mut blobs) else {
            return Ok(None);
        };
        row.record.trace = Some(trace);
        row.record.generation = row.record.generation.saturating_add(1);
        row.blobs = blobs;
        self.blobs.settle()?;
        self.records.put(&row)?;
        index.insert(build, entry(&row)).iter().for_each(|blob| self.blobs.remove(blob));
        Ok(Some(row.record))
    }

    /// Pins a record or undoes that. Returns it if it was changed.
    pub(crate) fn pin(
        &self,
        build: &str,
        pinned: bool,
    ) -> Result<Option<BuildHistoryRecord>, HistoryError> {
        let mut index = self.index();
        let row = self.records.get(build)?;
        let mut row = row.ok_or_else(|| HistoryError::NotFound(build.to_owned()))?;
        if row.record.pinned == pinned {
            return Ok(None);
        }
        row.record.pinned = pinned;
        row.record.generation = row.record.generation.saturating_add(1);
        self.records.put(&row)?;
        index.pin(build, pinned);
        Ok(Some(row.record))
    }

    /// Forgets a build.
    ///
    /// # Errors
    ///
    /// [`HistoryError::NotFound`] if it is not remembered.
    pub(crate) fn remove(&self, build: &str) -> Result<(), HistoryError> {
        let mut index = self.index();
        if !index.contains(build) {
            return Err(HistoryError::NotFound(build.to_owned()));
        }
        self.forget(&mut index, &[build.to_owned()])
    }

    fn forget(&self, index: &mut Index, builds: &[String]) -> Result<(), HistoryError> {
        self.records.remove(builds)?;
        for build in builds {
            index.remove(build).iter().for_each(|blob| self.blobs.remove(blob));
        }
        Ok(())
    }

    /// Forgets what a policy says. Returns the builds.
    pub(crate) fn collect(
        &self,
        policy: Policy,
        now: SystemTime,
    ) -> Result<Vec<String>, HistoryError> {
        let mut index = self.index();
        let expired = policy.expired(index.ages(), now);
        self.forget(&mut index, &expired)?;
        Ok(expired)
    }

    /// One record.
    pub(crate) fn get(&self, build: &str) -> Result<Option<BuildHistoryRecord>, HistoryError> {
        Ok(self.records.get(build)?.map(|row| row.record))
    }

    /// What is remembered beside a record under a media type.
    pub(crate) fn attachment(
        &self,
        build: &str,
        kind: &str,
    ) -> Result<Option<Vec<u8>>, HistoryError> {
        let row = self.records.get(build)?;
        let digest = row.and_then(|row| row.attachments.get(kind).cloned());
        digest.map(|digest| self.blobs.read(&digest)).transpose()
    }

    /// The records that are wanted.
    pub(crate) fn find(
        &self,
        wanted: impl Fn(&BuildHistoryRecord) -> bool,
    ) -> Result<Vec<BuildHistoryRecord>, HistoryError> {
        Ok(self.records.find(wanted)?)
    }

    /// The blobs.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(row: &Row) -> Entry {
    let completed = row.record.completed_at.or(row.record.created_at);
    let completed = completed.and_then(|time| SystemTime::try_from(time).ok());
    Entry {
        completed: completed.unwrap_or(SystemTime::UNIX_EPOCH),
        pinned: row.record.pinned,
        blobs: row.blobs.clone(),
    }
}
