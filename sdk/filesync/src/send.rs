//! The sending half of a transfer.
//!
//! In comes a [`Root`] and a stream of requests, out go descriptions of everything the filter lets
//! through, then the content of the files that were asked for. One blocking job walks, up to
//! [`READERS`] read; the receiver's requests are always taken at once, so neither side can block the
//! other. Nothing outside the root is opened, whatever the receiver asks for.
//!
//! Packets are taken and leave several at a time, and the first reader stays until the transfer is over: of
//! many small files, most of the time would go into waking threads.

use std::collections::VecDeque;
use std::fmt;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use kiln_pb::filetree::packet::PacketType;
use kiln_pb::filetree::{Packet, Stat};
use tokio::task::JoinSet;

use crate::filter::Filter;
use crate::mode;
use crate::outgoing::{Gone, Outgoing};
use crate::progress::{OnProgress, Progress};
use crate::walk::{Root, WalkError, walk};

/// The content of one packet, in bytes.
pub const CHUNK_BYTES: usize = 32 << 10;
/// How many files are read at once.
pub const READERS: usize = 4;
/// How many files one reader takes at a time.
const BATCH: usize = 64;
/// How many packets are sent at a time, and how many bytes of content at most.
const BURST: usize = 256;
const BURST_BYTES: usize = 256 << 10;

/// How long a failing side waits for the other to take the reason.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Changes what is said about an entry before it is sent.
#[derive(Clone)]
pub struct MapStat(Arc<dyn Fn(&mut Stat) + Send + Sync>);

impl MapStat {
    /// Calls `map` for every entry. It must not change the path or the type.
    pub fn new(map: impl Fn(&mut Stat) + Send + Sync + 'static) -> Self {
        Self(Arc::new(map))
    }
}

impl fmt::Debug for MapStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MapStat")
    }
}

/// How to send; the default sends everything as it is.
#[derive(Debug, Clone, Default)]
pub struct SendOptions {
    /// What to leave out.
    pub filter: Filter,
    /// Says that everything belongs to root, as a client does for its local directories.
    pub reset_owner: bool,
    /// The last word about every entry.
    pub map: Option<MapStat>,
    /// Hears how far it is.
    pub progress: OnProgress,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendSummary {
    /// Entries described.
    pub entries: u64,
    /// Files whose content was asked for and sent.
    pub files: u64,
    /// Content sent, in bytes.
    pub bytes: u64,
}

/// Why a transfer failed, seen from the sending side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The tree or one of its files cannot be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The receiver gave up.
    #[error("the receiver failed: {0}")]
    Receiver(String),
    /// The receiver asked for something that was not offered, or twice.
    #[error("the receiver asked for file {0}, which it cannot have")]
    BadRequest(u32),
    /// The receiver said something only a sender says.
    #[error("unexpected packet of type {0} from the receiver")]
    Unexpected(i32),
    /// The stream broke.
    #[error("the connection to the receiver failed")]
    Stream(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stream ended too early.
    #[error("the receiver left before the transfer was complete")]
    Closed,
}

/// Sends a tree until the receiver has all it wants.
///
/// # Errors
///
/// See [`SendError`]. The receiver is told why, if it still listens.
///
/// # Cancellation
///
/// Dropping the future stops the walk and the readers at their next packet.
pub async fn send<S, E>(
    root: Root,
    options: SendOptions,
    incoming: S,
    outgoing: Outgoing,
) -> Result<SendSummary, SendError>
where
    S: Stream<Item = Result<Packet, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let offer = Arc::new(Offer::new(root, options, outgoing.clone()));
    let _stop = StopOnDrop(Arc::clone(&offer));
    match converse(&offer, incoming).await {
        Ok(()) => Ok(offer.summary()),
        Err(error) => {
            let told = outgoing.send(vec![error_packet(&error)]);
            tokio::time::timeout(SHUTDOWN_GRACE, told).await.ok();
            Err(error)
        }
    }
}

async fn converse<S, E>(offer: &Arc<Offer>, incoming: S) -> Result<(), SendError>
where
    S: Stream<Item = Result<Packet, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut jobs: JoinSet<Result<(), SendError>> = JoinSet::new();
    let walker = Arc::clone(offer);
    jobs.spawn_blocking(move || walker.describe_all());
    let mut incoming = incoming.ready_chunks(BURST);
    let mut reads = false;
    loop {
        let packets = tokio::select! {
            packets = incoming.next() => packets,
            Some(done) = jobs.join_next() => {
                match done.map_err(|error| SendError::Stream(error.into()))? {
                    // Nobody takes our packets any more; the receiver's last one may say why.
                    Err(SendError::Closed | SendError::Walk(WalkError::Stopped)) => {
                        let last = tokio::time::timeout(SHUTDOWN_GRACE, last_words(&mut incoming)).await;
                        return Err(last.unwrap_or(SendError::Closed));
                    }
                    done => done?,
                }
                continue;
            }
        };
        let mut requests = Vec::new();
        let mut end = None;
        for packet in packets.ok_or(SendError::Closed)? {
            let packet = packet.map_err(|error| SendError::Stream(error.into()))?;
            match PacketType::try_from(packet.r#type) {
                Ok(PacketType::PacketReq) => requests.push(packet.id),
                Ok(PacketType::PacketFin) => {
                    end = Some(packet);
                    break;
                }
                Ok(PacketType::PacketErr) => {
                    return Err(SendError::Receiver(
                        String::from_utf8_lossy(&packet.data).into_owned(),
                    ));
                }
                _ => return Err(SendError::Unexpected(packet.r#type)),
            }
        }
        for _ in 0..offer.accept(&requests)? {
            let (reader, is_first) = (Arc::clone(offer), !std::mem::replace(&mut reads, true));
            jobs.spawn_blocking(move || reader.read_queued(is_first));
        }
        if end.is_some() {
            let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
            return Ok(offer.outgoing.send(vec![fin]).await?);
        }
    }
}

impl From<Gone> for SendError {
    fn from(Gone: Gone) -> Self {
        Self::Closed
    }
}

/// Why the receiver left, if it says so.
async fn last_words<S, E>(incoming: &mut S) -> SendError
where
    S: Stream<Item = Vec<Result<Packet, E>>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut packets = incoming.flat_map(futures::stream::iter);
    while let Some(packet) = packets.next().await {
        match packet {
            Ok(packet) if packet.r#type == i32::from(PacketType::PacketErr) => {
                return SendError::Receiver(String::from_utf8_lossy(&packet.data).into_owned());
            }
            Ok(_) => {}
            Err(error) => return SendError::Stream(error.into()),
        }
    }
    SendError::Closed
}

/// What the walking and the reading jobs share.
struct Offer {
    root: Root,
    options: SendOptions,
    outgoing: Outgoing,
    state: Mutex<State>,
    /// There are files to read, or there will be none.
    news: Condvar,
    entries: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct State {
    /// By id, the path of every file that may still be asked for.
    files: Vec<Option<Box<str>>>,
    wanted: VecDeque<(u32, Box<str>)>,
    readers: usize,
    /// The first reader waits for files.
    first_waits: bool,
    stopped: bool,
}

/// Packets that leave together.
struct Burst<'a> {
    outgoing: &'a Outgoing,
    packets: Vec<Packet>,
    bytes: usize,
}

impl Burst<'_> {
    /// Adds a packet; those that are there leave if they are enough. Blocks.
    fn say(&mut self, packet: Packet) -> Result<(), SendError> {
        self.bytes += packet.data.len();
        self.packets.push(packet);
        if self.packets.len() < BURST && self.bytes < BURST_BYTES { Ok(()) } else { self.leave() }
    }

    /// Sends the packets that are there. Blocks.
    fn leave(&mut self) -> Result<(), SendError> {
        if self.packets.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let packets = std::mem::replace(&mut self.packets, Vec::with_capacity(BURST));
        Ok(self.outgoing.blocking_send(packets)?)
    }
}

impl Offer {
    fn new(root: Root, options: SendOptions, outgoing: Outgoing) -> Self {
        let (state, news) = Default::default();
        let (entries, files, bytes) = Default::default();
        Self { root, options, outgoing, state, news, entries, files, bytes }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Packets that leave together.
    fn burst(&self) -> Burst<'_> {
        Burst { outgoing: &self.outgoing, packets: Vec::with_capacity(BURST), bytes: 0 }
    }

    /// Walks the tree and sends a description of every entry. Blocks.
    fn describe_all(&self) -> Result<(), SendError> {
        let mut burst = self.burst();
        walk(&self.root, &self.options.filter, &mut |mut stat| {
            if self.options.reset_owner {
                (stat.uid, stat.gid) = (0, 0);
            }
            if let Some(map) = &self.options.map {
                (map.0)(&mut stat);
            }
            let content = mode::is_regular(stat.mode) && stat.linkname.is_empty();
            {
                let mut state = self.state();
                if state.stopped {
                    return Err(WalkError::Stopped);
                }
                state.files.push(content.then(|| stat.path.as_str().into()));
            }
            self.entries.fetch_add(1, Ordering::Relaxed);
            burst
                .say(Packet { stat: Some(stat), ..Packet::default() })
                .map_err(|_| WalkError::Stopped)
        })?;
        burst.say(Packet::default())?;
        burst.leave()
    }

    /// Notes requests; says how many more readers are needed.
    fn accept(&self, ids: &[u32]) -> Result<usize, SendError> {
        let mut state = self.state();
        for &id in ids {
            let file = state.files.get_mut(id as usize).and_then(Option::take);
            let path = file.ok_or(SendError::BadRequest(id))?;
            state.wanted.push_back((id, path));
        }
        if !state.wanted.is_empty() && std::mem::take(&mut state.first_waits) {
            self.news.notify_one();
        }
        let readers = state.wanted.len().div_ceil(BATCH).min(READERS);
        let more = readers.saturating_sub(state.readers);
        state.readers += more;
        Ok(more)
    }

    /// Reads requested files: the first reader until the transfer is over, others until none is left.
    /// Blocks.
    fn read_queued(&self, is_first: bool) -> Result<(), SendError> {
        let mut burst = self.burst();
        loop {
            let batch = self.next_batch(is_first);
            if batch.is_empty() {
                return Ok(());
            }
            for (id, path) in batch {
                self.read_one(id, &path, &mut burst)?;
            }
            burst.leave()?;
            self.options.progress.tell(self.progress());
        }
    }

    /// The next files to read; none if the reader may go.
    fn next_batch(&self, is_first: bool) -> Vec<(u32, Box<str>)> {
        let mut state = self.state();
        while is_first && state.wanted.is_empty() && !state.stopped {
            state.first_waits = true;
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let length = if state.stopped { 0 } else { state.wanted.len().min(BATCH) };
        if length == 0 {
            state.readers -= 1;
        }
        state.wanted.drain(..length).collect()
    }

    fn read_one(&self, id: u32, path: &str, burst: &mut Burst<'_>) -> Result<(), SendError> {
        let failed = |source| SendError::Walk(WalkError::Read { path: path.to_owned(), source });
        let mut file = self.root.open_file(path)?;
        let mut buffer = BytesMut::zeroed(CHUNK_BYTES);
        loop {
            let length = file.read(&mut buffer).map_err(failed)?;
            let data = if length == CHUNK_BYTES {
                std::mem::replace(&mut buffer, BytesMut::zeroed(CHUNK_BYTES)).freeze()
            } else {
                Bytes::copy_from_slice(&buffer[..length])
            };
            self.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if length == 0 {
                self.files.fetch_add(1, Ordering::Relaxed);
            }
            burst.say(Packet {
                r#type: PacketType::PacketData.into(),
                id,
                data,
                ..Packet::default()
            })?;
            if length == 0 {
                return Ok(());
            }
            if length == CHUNK_BYTES {
                self.options.progress.tell(self.progress());
            }
        }
    }

    fn progress(&self) -> Progress {
        let SendSummary { entries, files, bytes } = self.summary();
        Progress { entries, files, bytes }
    }

    fn summary(&self) -> SendSummary {
        SendSummary {
            entries: self.entries.load(Ordering::Relaxed),
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// Blocking jobs cannot be aborted, but they look at this flag.
struct StopOnDrop(Arc<Offer>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.state().stopped = true;
        self.0.news.notify_all();
    }
}

/// The packet that tells the other side why the transfer ends.
pub(crate) fn error_packet(error: &dyn std::error::Error) -> Packet {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    Packet { r#type: PacketType::PacketErr.into(), data: text.into(), ..Packet::default() }
}
