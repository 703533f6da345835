//! The index: which records, layers and directories the store keeps, as tables of [`Metadata`].
//!
//! One thread writes. It gathers what has queued up meanwhile into one transaction, so that many
//! builds that finish steps at once share one flush. Reads happen anywhere and take microseconds.
//! The whole index may be lost without harm: it describes a cache. Only [`crate::store`] and the
//! crates beside it come here; rows are JSON, keys are text and integers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use kiln_metadata::{Durability, Earlier, Found, Metadata, Owner, copy, is_full};
use kiln_oci::{Descriptor, Digest};
use redb::{ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::record::Kind;
use crate::reserve::Reserve;
use crate::stacked::Stacked;

const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("store.numbers");
const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("store.texts");
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store.records");
const LAYERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("store.layers");
const LAYER_USES: TableDefinition<'_, u64, u64> = TableDefinition::new("store.layer_uses");
const BLOB_USES: TableDefinition<'_, &str, u64> = TableDefinition::new("store.blob_uses");
const CHAINS: TableDefinition<'_, &str, u64> = TableDefinition::new("store.chains");
const DIRECTORIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("store.directories");

const OWNER: Owner = Owner {
    name: "store",
    schema: 1,
    holds: "what is in the store",
    create: |transaction| {
        transaction.open_table(NUMBERS)?;
        transaction.open_table(TEXTS)?;
        transaction.open_table(RECORDS)?;
        transaction.open_table(LAYERS)?;
        transaction.open_table(LAYER_USES)?;
        transaction.open_table(BLOB_USES)?;
        transaction.open_table(CHAINS)?;
        transaction.open_table(DIRECTORIES)?;
        Ok(())
    },
    earlier: Some(Earlier { file: "index.redb", copy: take_over }),
};

/// How long after a change the file system is flushed in the background.
const SETTLE: Duration = Duration::from_secs(2);

/// A kept ref.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RecordRow {
    pub(crate) layers: Vec<u64>,
    pub(crate) kind: Kind,
    pub(crate) description: String,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) last_used: u64,
    pub(crate) usage_count: u64,
    /// How the layers were put together, if that is not plain.
    #[serde(default, skip_serializing_if = "Stacked::is_plain")]
    pub(crate) stacked: Stacked,
}

/// A layer that some kept ref stands on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LayerRow {
    pub(crate) diff_id: Option<Digest>,
    pub(crate) blobs: Vec<Descriptor>,
    /// Bytes on disk, once somebody counted.
    pub(crate) size: Option<u64>,
    /// There may be whiteouts or opaque directories inside.
    pub(crate) whiteouts: bool,
    /// Directories that were only made so that something could be put below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) implied: Vec<String>,
    /// Where [`crate::Store::apply`] finds it again.
    pub(crate) chain: Option<String>,
    /// Its files need not be here: a blob has them, and somebody has the blob.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lazy: bool,
    /// Which transaction wrote it first; see [`Index::open`].
    pub(crate) epoch: u64,
}

/// A long-lived mutable directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DirectoryRow {
    pub(crate) key: String,
    pub(crate) number: u64,
    pub(crate) base: Vec<u64>,
    pub(crate) kind: Kind,
    pub(crate) created: u64,
    pub(crate) last_used: u64,
    pub(crate) usage_count: u64,
    pub(crate) size: Option<u64>,
}

/// One change of the index.
#[derive(Clone)]
pub(crate) enum Change {
    /// Adds or replaces a record; layers that have no row yet get the given one.
    Keep { id: String, record: RecordRow, layers: Vec<(u64, LayerRow)> },
    /// Removes a record and what only it needed.
    Delete { id: String },
    /// Replaces the row of a layer, if there still is one.
    Layer { number: u64, row: Box<LayerRow> },
    /// Notes that the files of a layer have come, and whether there are whiteouts among them.
    Filled { number: u64, whiteouts: bool },
    /// Adds or replaces a directory; layers of its base that have no row yet get the given one.
    Directory { id: String, row: DirectoryRow, layers: Vec<(u64, LayerRow)> },
    /// Removes a directory and what only it needed.
    DeleteDirectory { id: String },
    /// Notes how many bytes a directory takes, or that nobody knows.
    Measure { id: String, size: Option<u64> },
    /// Sets when a record or directory was last used, and adds to the count of its uses.
    Touch { id: String, at: u64, times: u64 },
}

/// What a transaction made unneeded.
#[derive(Debug, Default)]
pub(crate) struct Freed {
    pub(crate) layers: Vec<u64>,
    pub(crate) blobs: Vec<String>,
}

struct Request {
    changes: Vec<Change>,
    durable: bool,
    done: Option<oneshot::Sender<Result<Freed, StoreError>>>,
}

/// The handle on the index.
pub(crate) struct Index {
    /// Layers whose row knows nothing of files that may be there half, since the machine went down.
    pub(crate) distrusted: Vec<u64>,
    shared: Arc<Shared>,
    sender: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Request {
    /// Whether it only removes, and so may use what is kept back for that.
    fn is_deletion(&self) -> bool {
        let deletes = |change: &Change| {
            matches!(change, Change::Delete { .. } | Change::DeleteDirectory { .. })
        };
        !self.changes.is_empty() && self.changes.iter().all(deletes)
    }
}

/// What was not flushed when the index was closed last.
struct Unsettled {
    /// There is something to flush.
    is_left: bool,
    /// See [`Index::distrusted`].
    distrusted: Vec<u64>,
}

struct Shared {
    root: PathBuf,
    metadata: Metadata,
    reserve: Arc<Reserve>,
}

impl Index {
    /// Opens or creates the index in the database of `root`.
    ///
    /// Keeping a ref flushes the index but not the files of its layers, which would cost a flush
    /// of the whole file system per build step. They are flushed in the background soon after. If
    /// the machine went down in between (another boot id than last time), what was not flushed is
    /// forgotten here, and rebuilt like any other cache miss.
    ///
    /// A new index notes how overlay attributes are named in its layers.
    pub(crate) fn open(
        root: &Path,
        metadata: &Metadata,
        reserve: Arc<Reserve>,
        user_namespace: bool,
    ) -> Result<Self, StoreError> {
        let found = metadata.begin(&OWNER)?;
        let metadata = metadata.clone();
        let shared = Arc::new(Shared { root: root.to_owned(), metadata, reserve });
        if found == Found::Nothing {
            shared.write(&[], false, |transaction| {
                let name = attributes_name(user_namespace);
                transaction.open_table(TEXTS)?.insert("attributes", name)?;
                Ok(())
            })?;
        }
        let Unsettled { is_left, distrusted } = shared.forget_unsettled()?;
        let (sender, receiver) = channel();
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("kiln-index".into())
            .spawn(move || writer.serve(&receiver, is_left))
            .map_err(|error| StoreError::io("start the thread of", root, error))?;
        Ok(Self { distrusted, shared, sender: Some(sender), thread: Some(thread) })
    }

    /// Says that overlay attributes are named in this way from here on; `false` if there are layers
    /// in which they are not.
    pub(crate) fn claim(&self, user_namespace: bool) -> Result<bool, StoreError> {
        let name = attributes_name(user_namespace);
        let noted = self.shared.read(|transaction| {
            let texts = transaction.open_table(TEXTS)?;
            Ok(texts.get("attributes")?.map(|text| text.value().to_owned()))
        })?;
        // An index of an older version notes nothing, and is believed.
        if noted.is_none_or(|noted| noted == name) {
            return Ok(true);
        }
        if !self.layers()?.is_empty() {
            return Ok(false);
        }
        self.shared.write(&[], true, |transaction| {
            transaction.open_table(TEXTS)?.insert("attributes", name)?;
            Ok(())
        })?;
        Ok(true)
    }

    /// Applies changes together and waits until they are on disk.
    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<Freed, StoreError> {
        let (done, result) = oneshot::channel();
        self.send(Request { changes, durable: true, done: Some(done) })?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    /// Queues changes that may get lost in a crash, without waking the disk.
    pub(crate) fn note(&self, changes: Vec<Change>) {
        // A closed channel means the process is ending; a note may get lost then.
        self.send(Request { changes, durable: false, done: None }).ok();
    }

    /// Waits until everything queued so far is visible to readers.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        self.send(Request { changes: Vec::new(), durable: false, done: Some(done) })?;
        result.await.map_err(|_| StoreError::Closed)?.map(|_| ())
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.sender
            .as_ref()
            .ok_or(StoreError::Closed)?
            .send(request)
            .map_err(|_| StoreError::Closed)
    }

    /// The record of a ref.
    pub(crate) fn record(&self, id: &str) -> Result<Option<RecordRow>, StoreError> {
        self.shared.get(RECORDS, id)
    }

    /// The row of a layer.
    pub(crate) fn layer(&self, number: u64) -> Result<Option<LayerRow>, StoreError> {
        self.shared.get(LAYERS, number)
    }

    /// Whether a layer belongs to a record or directory.
    pub(crate) fn holds(&self, number: u64) -> Result<bool, StoreError> {
        self.shared
            .read(|transaction| Ok(transaction.open_table(LAYER_USES)?.get(number)?.is_some()))
    }

    /// The layer that was applied under this chain.
    pub(crate) fn chain(&self, chain: &str) -> Result<Option<u64>, StoreError> {
        self.shared
            .read(|transaction| Ok(transaction.open_table(CHAINS)?.get(chain)?.map(|n| n.value())))
    }

    /// Whether a layer with a row names this blob.
    pub(crate) fn blob_is_used(&self, digest: &str) -> Result<bool, StoreError> {
        self.shared
            .read(|transaction| Ok(transaction.open_table(BLOB_USES)?.get(digest)?.is_some()))
    }

    /// Every record, by id.
    pub(crate) fn records(&self) -> Result<Vec<(String, RecordRow)>, StoreError> {
        self.shared.list(RECORDS, |id| id.to_owned())
    }

    /// Every layer, by number.
    pub(crate) fn layers(&self) -> Result<Vec<(u64, LayerRow)>, StoreError> {
        self.shared.list(LAYERS, |number| number)
    }

    /// Every directory, by id.
    pub(crate) fn directories(&self) -> Result<Vec<(String, DirectoryRow)>, StoreError> {
        self.shared.list(DIRECTORIES, |id| id.to_owned())
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.sender.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Shared {
    fn file(&self) -> PathBuf {
        self.metadata.path().to_owned()
    }

    fn error(&self, source: redb::Error) -> StoreError {
        match source {
            full if is_full(&full) => {
                StoreError::NoSpace { doing: "writing index", path: self.file() }
            }
            source => StoreError::Index { root: self.root.clone(), source: Box::new(source) },
        }
    }

    fn read<T>(
        &self,
        look: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        self.metadata.read(look).map_err(|error| self.error(error))
    }

    fn get<K: redb::Key + 'static, T: DeserializeOwned>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        key: K::SelfType<'_>,
    ) -> Result<Option<T>, StoreError> {
        self.read(|transaction| {
            Ok(transaction.open_table(table)?.get(key)?.and_then(|row| decode(row.value())))
        })
    }

    fn list<K: redb::Key + 'static, N, T: DeserializeOwned>(
        &self,
        table: TableDefinition<'static, K, &'static [u8]>,
        name: impl Fn(K::SelfType<'_>) -> N,
    ) -> Result<Vec<(N, T)>, StoreError> {
        self.read(|transaction| {
            let mut rows = Vec::new();
            for entry in transaction.open_table(table)?.iter()? {
                let (key, row) = entry?;
                rows.extend(decode(row.value()).map(|row| (name(key.value()), row)));
            }
            Ok(rows)
        })
    }

    /// Forgets what was written but not flushed before the machine went down.
    fn forget_unsettled(&self) -> Result<Unsettled, StoreError> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let (last_boot, epoch, settled) = self.read(|transaction| {
            let numbers = transaction.open_table(NUMBERS)?;
            let texts = transaction.open_table(TEXTS)?;
            let number = |name| Ok::<_, redb::Error>(numbers.get(name)?.map_or(0, |n| n.value()));
            let last = texts.get("boot")?.map(|text| text.value().to_owned());
            Ok((last, number("epoch")?, number("settled")?))
        })?;
        if last_boot.as_deref() == Some(boot.as_str()) {
            return Ok(Unsettled { is_left: epoch > settled, distrusted: Vec::new() });
        }
        let mut changes = Vec::new();
        let layers: Vec<(u64, LayerRow)> = self.list(LAYERS, |number| number)?;
        // The files of a layer come before its row says so, and only then are they flushed.
        let distrusted = layers.iter().filter(|(_, row)| row.lazy).map(|(number, _)| *number);
        let distrusted = distrusted.collect();
        if epoch > settled {
            let lost: std::collections::BTreeSet<u64> = layers
                .into_iter()
                .filter(|(_, row): &(u64, LayerRow)| row.epoch > settled)
                .map(|(number, _)| number)
                .collect();
            let records: Vec<(String, RecordRow)> = self.list(RECORDS, |id| id.to_owned())?;
            changes.extend(
                records
                    .into_iter()
                    .filter(|(_, record)| record.layers.iter().any(|n| lost.contains(n)))
                    .map(|(id, _)| Change::Delete { id }),
            );
        }
        let changes: Vec<&Change> = changes.iter().collect();
        self.write(&changes, true, |transaction| {
            let mut numbers = transaction.open_table(NUMBERS)?;
            numbers.insert("settled", epoch)?;
            transaction.open_table(TEXTS)?.insert("boot", boot.as_str())?;
            Ok(())
        })?;
        Ok(Unsettled { is_left: false, distrusted })
    }

    /// The writing thread.
    fn serve(&self, receiver: &Receiver<Request>, mut unsettled: bool) {
        let mut syncing: Option<Receiver<u64>> = None;
        loop {
            let next = if unsettled || syncing.is_some() {
                receiver.recv_timeout(SETTLE)
            } else {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(first) => {
                    let batch: Vec<Request> =
                        std::iter::once(first).chain(receiver.try_iter()).collect();
                    let durable = batch.iter().any(|request| request.durable);
                    unsettled |= durable;
                    self.perform(batch, durable);
                }
                Err(RecvTimeoutError::Timeout) => match &syncing {
                    Some(done) => match done.try_recv() {
                        Ok(epoch) => {
                            self.settled(epoch);
                            syncing = None;
                        }
                        Err(TryRecvError::Empty) => {}
                        Err(TryRecvError::Disconnected) => syncing = None,
                    },
                    None => {
                        unsettled = false;
                        syncing = self.sync();
                    }
                },
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn perform(&self, batch: Vec<Request>, durable: bool) {
        let (deletions, others): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(Request::is_deletion);
        // Deletions go first, and alone if need be: on a full disk they are what helps.
        let together = self.try_perform(deletions.iter().chain(&others), durable);
        match together {
            Err(error) if error.is_full() && !deletions.is_empty() => {
                let mut deleted = self.try_perform(deletions.iter(), true);
                if deleted.as_ref().is_err_and(StoreError::is_full) && self.reserve.release() {
                    deleted = self.try_perform(deletions.iter(), true);
                }
                self.answer(deletions, deleted);
                self.answer(others, Err(error));
            }
            result => self.answer(deletions.into_iter().chain(others), result),
        }
    }

    fn try_perform<'a>(
        &self,
        batch: impl Iterator<Item = &'a Request>,
        durable: bool,
    ) -> Result<Freed, StoreError> {
        let changes: Vec<&Change> = batch.flat_map(|request| &request.changes).collect();
        if changes.is_empty() {
            return Ok(Freed::default());
        }
        self.write(&changes, durable, |_| Ok(()))
    }

    /// Tells those who wait how it went. The first who waits learns what was freed, and the true
    /// cause of a failure.
    fn answer(
        &self,
        requests: impl IntoIterator<Item = Request>,
        mut result: Result<Freed, StoreError>,
    ) {
        let failure = result.as_ref().err().map(|error| (error.to_string(), error.is_full()));
        if let Some((message, _)) = &failure {
            tracing::warn!(root = %self.root.display(), error = message, "index not written");
        }
        for request in requests {
            let Some(done) = request.done else { continue };
            let answer = match &failure {
                // Who only waits for others is not hurt by their failure.
                _ if request.changes.is_empty() => Ok(Freed::default()),
                None => Ok(result.as_mut().map(std::mem::take).unwrap_or_default()),
                Some((message, full)) => {
                    let again = StoreError::again(message, *full, self.file());
                    Err(std::mem::replace(&mut result, Ok(Freed::default())).err().unwrap_or(again))
                }
            };
            done.send(answer).ok();
        }
    }

    /// Flushes the files of all layers written so far, on a thread that nobody waits for, since a
    /// busy disk takes its time. It answers with the epoch up to which everything is flushed.
    fn sync(&self) -> Option<Receiver<u64>> {
        let epoch = self.read(|transaction| {
            Ok(transaction.open_table(NUMBERS)?.get("epoch")?.map_or(0, |n| n.value()))
        });
        let (epoch, root) = (epoch.ok()?, std::fs::File::open(&self.root).ok()?);
        let (done, receiver) = channel();
        let flush = move || {
            if rustix::fs::syncfs(&root).is_ok() {
                done.send(epoch).ok();
            }
        };
        std::thread::Builder::new().name("kiln-sync".into()).spawn(flush).ok()?;
        Some(receiver)
    }

    /// Notes up to where everything is flushed. Without the note it is flushed again at the next start.
    fn settled(&self, epoch: u64) {
        let noted = self.write(&[], false, |transaction| {
            transaction.open_table(NUMBERS)?.insert("settled", epoch)?;
            Ok(())
        });
        noted.ok();
    }

    fn write(
        &self,
        changes: &[&Change],
        durable: bool,
        more: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<Freed, StoreError> {
        let durability = if durable { Durability::Immediate } else { Durability::None };
        let written = self.metadata.write(durability, |transaction| {
            let mut freed = Freed::default();
            let epoch = next_epoch(transaction, changes)?;
            for change in changes {
                perform(transaction, change, epoch, &mut freed)?;
            }
            more(transaction)?;
            Ok(freed)
        });
        written.map_err(|error| self.error(error))
    }
}

fn next_epoch(
    transaction: &redb::WriteTransaction,
    changes: &[&Change],
) -> Result<u64, redb::Error> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    let epoch = numbers.get("epoch")?.map_or(0, |n| n.value());
    let writes = |change: &&Change| matches!(change, Change::Keep { .. } | Change::Filled { .. });
    if !changes.iter().any(writes) {
        return Ok(epoch);
    }
    numbers.insert("epoch", epoch + 1)?;
    Ok(epoch + 1)
}

fn perform(
    transaction: &redb::WriteTransaction,
    change: &Change,
    epoch: u64,
    freed: &mut Freed,
) -> Result<(), redb::Error> {
    match change {
        Change::Keep { id, record, layers } => {
            let old: Option<RecordRow> = transaction
                .open_table(RECORDS)?
                .insert(id.as_str(), encode(record).as_slice())?
                .and_then(|row| decode(row.value()));
            hold(transaction, layers, epoch)?;
            release(transaction, old.map(|old| old.layers).unwrap_or_default(), freed)
        }
        Change::Delete { id } => {
            let old: Option<RecordRow> = transaction
                .open_table(RECORDS)?
                .remove(id.as_str())?
                .and_then(|row| decode(row.value()));
            release(transaction, old.map(|old| old.layers).unwrap_or_default(), freed)
        }
        Change::Layer { number, row } => {
            let mut table = transaction.open_table(LAYERS)?;
            let old: Option<LayerRow> = table.get(number)?.and_then(|row| decode(row.value()));
            let Some(old) = old else { return Ok(()) };
            let row = LayerRow { epoch: old.epoch, ..row.as_ref().clone() };
            table.insert(number, encode(&row).as_slice())?;
            // Counted up before down, so that a blob in both rows is never seen unused.
            count_blobs(transaction, &row, 1, freed)?;
            count_blobs(transaction, &old, -1, freed)
        }
        Change::Filled { number, whiteouts } => {
            let mut table = transaction.open_table(LAYERS)?;
            let old: Option<LayerRow> = table.get(number)?.and_then(|row| decode(row.value()));
            let Some(old) = old else { return Ok(()) };
            let row = LayerRow { lazy: false, whiteouts: *whiteouts, size: None, epoch, ..old };
            table.insert(number, encode(&row).as_slice())?;
            Ok(())
        }
        Change::Directory { id, row, layers } => {
            let old: Option<DirectoryRow> = transaction
                .open_table(DIRECTORIES)?
                .insert(id.as_str(), encode(row).as_slice())?
                .and_then(|row| decode(row.value()));
            transaction.open_table(LAYER_USES)?.insert(row.number, 1)?;
            hold(transaction, layers, epoch)?;
            release(transaction, old.map(|old| old.base).unwrap_or_default(), freed)
        }
        Change::DeleteDirectory { id } => {
            let old: Option<DirectoryRow> = transaction
                .open_table(DIRECTORIES)?
                .remove(id.as_str())?
                .and_then(|row| decode(row.value()));
            let Some(old) = old else { return Ok(()) };
            transaction.open_table(LAYER_USES)?.remove(old.number)?;
            freed.layers.push(old.number);
            release(transaction, old.base, freed)
        }
        Change::Measure { id, size } => {
            let mut directories = transaction.open_table(DIRECTORIES)?;
            let row: Option<DirectoryRow> =
                directories.get(id.as_str())?.and_then(|row| decode(row.value()));
            if let Some(row) = row {
                let row = DirectoryRow { size: *size, ..row };
                directories.insert(id.as_str(), encode(&row).as_slice())?;
            }
            Ok(())
        }
        Change::Touch { id, at, times } => touch(transaction, id, *at, *times),
    }
}

fn touch(
    transaction: &redb::WriteTransaction,
    id: &str,
    at: u64,
    times: u64,
) -> Result<(), redb::Error> {
    let mut records = transaction.open_table(RECORDS)?;
    let row: Option<RecordRow> = records.get(id)?.and_then(|row| decode(row.value()));
    if let Some(mut row) = row {
        row.last_used = row.last_used.max(at);
        row.usage_count += times;
        records.insert(id, encode(&row).as_slice())?;
        return Ok(());
    }
    let mut directories = transaction.open_table(DIRECTORIES)?;
    let row: Option<DirectoryRow> = directories.get(id)?.and_then(|row| decode(row.value()));
    if let Some(mut row) = row {
        row.last_used = row.last_used.max(at);
        row.usage_count += times;
        directories.insert(id, encode(&row).as_slice())?;
    }
    Ok(())
}

/// Counts one more use of each layer, and writes the rows of those that have none.
fn hold(
    transaction: &redb::WriteTransaction,
    layers: &[(u64, LayerRow)],
    epoch: u64,
) -> Result<(), redb::Error> {
    for (number, row) in layers {
        let mut uses = transaction.open_table(LAYER_USES)?;
        let count = uses.get(number)?.map_or(0, |n| n.value());
        uses.insert(number, count + 1)?;
        let mut table = transaction.open_table(LAYERS)?;
        if table.get(number)?.is_some() {
            continue;
        }
        let row = LayerRow { epoch, ..row.clone() };
        table.insert(number, encode(&row).as_slice())?;
        if let Some(chain) = &row.chain {
            transaction.open_table(CHAINS)?.insert(chain.as_str(), number)?;
        }
        count_blobs(transaction, &row, 1, &mut Freed::default())?;
    }
    Ok(())
}

/// Counts one use of each layer less, and removes the rows of those that are left with none.
fn release(
    transaction: &redb::WriteTransaction,
    layers: Vec<u64>,
    freed: &mut Freed,
) -> Result<(), redb::Error> {
    for number in layers {
        let mut uses = transaction.open_table(LAYER_USES)?;
        let count = uses.get(number)?.map_or(0, |n| n.value());
        if count > 1 {
            uses.insert(number, count - 1)?;
            continue;
        }
        uses.remove(number)?;
        freed.layers.push(number);
        let row: Option<LayerRow> =
            transaction.open_table(LAYERS)?.remove(number)?.and_then(|row| decode(row.value()));
        let Some(row) = row else { continue };
        if let Some(chain) = &row.chain {
            let mut chains = transaction.open_table(CHAINS)?;
            let own = chains.get(chain.as_str())?.is_some_and(|n| n.value() == number);
            if own {
                chains.remove(chain.as_str())?;
            }
        }
        count_blobs(transaction, &row, -1, freed)?;
    }
    Ok(())
}

fn count_blobs(
    transaction: &redb::WriteTransaction,
    row: &LayerRow,
    by: i64,
    freed: &mut Freed,
) -> Result<(), redb::Error> {
    let mut uses = transaction.open_table(BLOB_USES)?;
    for descriptor in &row.blobs {
        let digest = descriptor.digest.as_str();
        let count = uses.get(digest)?.map_or(0, |n| n.value()).saturating_add_signed(by);
        if count > 0 {
            uses.insert(digest, count)?;
        } else {
            uses.remove(digest)?;
            freed.blobs.push(digest.to_owned());
        }
    }
    Ok(())
}

fn attributes_name(user_namespace: bool) -> &'static str {
    if user_namespace { "user" } else { "trusted" }
}

/// The index as it was in a file of its own.
fn take_over(from: &redb::ReadTransaction, to: &redb::WriteTransaction) -> Result<(), redb::Error> {
    let numbers = TableDefinition::new("numbers");
    let schema = from.open_table(numbers)?.get("schema")?.map(|schema| schema.value());
    if schema != Some(1) {
        return Err(redb::Error::Corrupted(format!("schema {schema:?}, expected 1")));
    }
    copy(from, numbers, to, NUMBERS)?;
    copy(from, TableDefinition::new("texts"), to, TEXTS)?;
    copy(from, TableDefinition::new("records"), to, RECORDS)?;
    copy(from, TableDefinition::new("layers"), to, LAYERS)?;
    copy(from, TableDefinition::new("layer_uses"), to, LAYER_USES)?;
    copy(from, TableDefinition::new("blob_uses"), to, BLOB_USES)?;
    copy(from, TableDefinition::new("chains"), to, CHAINS)?;
    copy(from, TableDefinition::new("directories"), to, DIRECTORIES)
}

/// Rows that do not decode are treated as absent: a miss, not an error.
fn decode<T: DeserializeOwned>(row: &[u8]) -> Option<T> {
    serde_json::from_slice(row).ok()
}

fn encode(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows hold only text, numbers and lists")
}
