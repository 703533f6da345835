//! The receiving half of a transfer.
//!
//! In comes a stream of packets from a sender nobody trusts, out go requests for the files that
//! differ from what the destination already has. One blocking job owns the destination and does all
//! comparing and writing; the rest only moves packets. Nothing outside the destination is touched
//! and no symbolic link in it is followed.

use std::io;
use std::path::PathBuf;

use futures::{Stream, StreamExt as _};
use kiln_pb::filetree::Packet;
use kiln_pb::filetree::packet::PacketType;
use tokio::sync::mpsc;

use crate::destination::Destination;
use crate::listing::Listing;
use crate::outgoing::Outgoing;
use crate::path::PathError;
use crate::progress::OnProgress;
use crate::send::{SHUTDOWN_GRACE, error_packet};

/// The largest packet accepted, in bytes.
const MAX_PACKET_BYTES: usize = 1 << 20;
/// How many packets are handed to the blocking job at a time, which is woken once for them.
const BURST: usize = 64;
/// How many such groups may wait for it.
const QUEUE: usize = 2;

/// In nanoseconds.
const MILLISECOND: i64 = 1_000_000;

/// What counts as unchanged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Diff {
    /// A file with the same mode, owner, size, modification time, link and device is not asked for.
    #[default]
    Metadata,
    /// The same, but a regular file is asked for all the same if its time says little: if it was
    /// modified at this moment (in nanoseconds since 1970) or later, or at a whole millisecond, as
    /// archives and programs set times and clocks do not. For a destination that may have been
    /// filled from another directory, whose files of the same size and time are others. Of many such
    /// files the first 256 are asked for, with at most 16 MiB together: where all of those of a large
    /// directory have such times, sending them each time would cost more than the doubt is worth.
    Doubt {
        /// Files that are older are known well enough.
        since: i64,
    },
    /// Every file is asked for.
    None,
}

impl Diff {
    /// Whether a file has to be asked for although its metadata is the same.
    pub(crate) fn doubts(self, modified: i64) -> bool {
        match self {
            Self::Metadata => false,
            Self::Doubt { since } => modified >= since || modified % MILLISECOND == 0,
            Self::None => true,
        }
    }
}

/// Whose the received files are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owner {
    /// As the sender says; needs privilege.
    #[default]
    AsSent,
    /// The receiving process's.
    Ours,
    /// Always the same.
    Fixed {
        /// User.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// How much one sender may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files, directories and links.
    pub entries: u64,
    /// Content, in bytes.
    pub bytes: u64,
    /// Directories inside each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 5_000_000, bytes: u64::MAX, depth: 400 }
    }
}

/// How to receive; the default makes the destination equal to what is sent.
#[derive(Debug, Clone, Default)]
pub struct ReceiveOptions {
    /// What counts as unchanged.
    pub diff: Diff,
    /// Keeps what the sender does not mention, instead of deleting it.
    pub merge: bool,
    /// Whose the files are.
    pub owner: Owner,
    /// Places only some of it and lists everything.
    pub listing: Option<Listing>,
    /// How much is too much.
    pub limits: Limits,
    /// Hears how far it is.
    pub progress: OnProgress,
}

/// What receiving did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiveSummary {
    /// Entries the sender described.
    pub entries: u64,
    /// Entries that were made or made anew.
    pub changed: u64,
    /// Entries that were deleted, not counting what was in a deleted directory.
    pub deleted: u64,
    /// Content received, in bytes.
    pub bytes: u64,
}

/// Why a transfer failed, seen from the receiving side.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// The sender gave up.
    #[error("the sender failed: {0}")]
    Sender(String),
    /// The sender described a path that no tree has.
    #[error("invalid entry from the sender")]
    Path(#[from] PathError),
    /// The sender broke a rule of the protocol.
    #[error("invalid entry {path:?} from the sender: {rule}")]
    Entry {
        /// The entry.
        path: String,
        /// The rule.
        rule: &'static str,
    },
    /// The sender sent a packet that makes no sense now.
    #[error("unexpected packet from the sender: {0}")]
    Unexpected(&'static str),
    /// The sender sent more than the limits allow.
    #[error("the sender exceeds the limit of {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The destination has no room left.
    #[error("no space left on the device for {path:?}; free some or prune the build cache")]
    NoSpace {
        /// Relative to the destination.
        path: String,
    },
    /// The destination cannot be read or written.
    #[error("cannot write {path:?}")]
    Write {
        /// Relative to the destination; empty for the destination itself.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The stream broke.
    #[error("the connection to the sender failed")]
    Stream(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stream ended too early.
    #[error("the sender left before the transfer was complete")]
    Closed,
}

/// Receives a tree into `destination`, which is made if it is not there.
///
/// # Errors
///
/// See [`ReceiveError`]. The sender is told why, if it still listens. Files that were received
/// completely stay; a partial file does not.
///
/// # Cancellation
///
/// Dropping the future stops the writing at the next packet; see above for what stays.
pub async fn receive<S, E>(
    destination: PathBuf,
    options: ReceiveOptions,
    mut incoming: S,
    outgoing: Outgoing,
) -> Result<ReceiveSummary, ReceiveError>
where
    S: Stream<Item = Result<Packet, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    match transfer(destination, options, &mut incoming, &outgoing).await {
        Ok(summary) => {
            let fin = Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() };
            // Everything is here; a sender that is already gone makes no difference.
            if outgoing.send(vec![fin]).await.is_ok() {
                while let Some(Ok(packet)) = incoming.next().await {
                    if packet.r#type == i32::from(PacketType::PacketFin) {
                        break;
                    }
                }
            }
            Ok(summary)
        }
        Err(error) => {
            tokio::time::timeout(SHUTDOWN_GRACE, outgoing.send(vec![error_packet(&error)]))
                .await
                .ok();
            Err(error)
        }
    }
}

async fn transfer<S, E>(
    destination: PathBuf,
    options: ReceiveOptions,
    incoming: &mut S,
    outgoing: &Outgoing,
) -> Result<ReceiveSummary, ReceiveError>
where
    S: Stream<Item = Result<Packet, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let (packets, queue) = mpsc::channel(QUEUE);
    // Bounded by the number of entries. It must take every request at once: a sender that waits for
    // its content to be read may not read requests meanwhile.
    let (requests, mut wanted) = mpsc::unbounded_channel();
    let mut job = tokio::task::spawn_blocking(move || run(destination, options, queue, &requests));
    let feed = feed(incoming, packets);
    let ask = async {
        while let Some(ids) = wanted.recv().await {
            // If nobody takes them, the incoming half says why.
            if outgoing.send(requests_for(ids)).await.is_err() {
                break;
            }
        }
    };
    let mut moving = Box::pin(async { tokio::join!(feed, ask).0 });
    let (moved, done) = tokio::select! {
        // Without its feed the job comes to an end; nothing is written once this returns.
        moved = &mut moving => (moved, finished((&mut job).await)),
        done = &mut job => match finished(done) {
            // It lost its feed, which knows why.
            Err(ReceiveError::Closed) => (moving.await, Err(ReceiveError::Closed)),
            done => (Ok(()), done),
        },
    };
    match done {
        Err(ReceiveError::Closed) => moved.and(Err(ReceiveError::Closed)),
        done => done,
    }
}

/// The packets that ask for these files.
fn requests_for(ids: Vec<u32>) -> Vec<Packet> {
    let request = |id| Packet { r#type: PacketType::PacketReq.into(), id, ..Packet::default() };
    ids.into_iter().map(request).collect()
}

fn finished(
    job: Result<Result<ReceiveSummary, ReceiveError>, tokio::task::JoinError>,
) -> Result<ReceiveSummary, ReceiveError> {
    job.map_err(|error| ReceiveError::Stream(error.into()))?
}

/// Moves descriptions and content to the blocking job until it wants no more.
async fn feed<S, E>(
    incoming: &mut S,
    packets: mpsc::Sender<Vec<Packet>>,
) -> Result<(), ReceiveError>
where
    S: Stream<Item = Result<Packet, E>> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut incoming = incoming.ready_chunks(BURST);
    while let Some(group) = incoming.next().await {
        // What came before a mistake is used all the same.
        let mut good = Vec::with_capacity(group.len());
        let bad = group.into_iter().map(checked).find_map(|packet| match packet {
            Ok(packet) => {
                good.push(packet);
                None
            }
            Err(error) => Some(error),
        });
        if packets.send(good).await.is_err() {
            return Ok(());
        }
        if let Some(error) = bad {
            return Err(error);
        }
    }
    Err(ReceiveError::Closed)
}

/// A description or content, which is all that a sender may send.
fn checked<E>(packet: Result<Packet, E>) -> Result<Packet, ReceiveError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let packet = packet.map_err(|error| ReceiveError::Stream(error.into()))?;
    match PacketType::try_from(packet.r#type) {
        Ok(PacketType::PacketStat | PacketType::PacketData) => match size(&packet) {
            0..=MAX_PACKET_BYTES => Ok(packet),
            _ => Err(ReceiveError::Unexpected("larger than 1 MiB")),
        },
        Ok(PacketType::PacketErr) => {
            Err(ReceiveError::Sender(String::from_utf8_lossy(&packet.data).into_owned()))
        }
        _ => Err(ReceiveError::Unexpected("neither a description nor content")),
    }
}

fn size(packet: &Packet) -> usize {
    let xattrs = packet.stat.iter().flat_map(|stat| &stat.xattrs);
    packet.data.len() + xattrs.map(|(key, value)| key.len() + value.len()).sum::<usize>()
}

/// The blocking job.
fn run(
    destination: PathBuf,
    options: ReceiveOptions,
    mut queue: mpsc::Receiver<Vec<Packet>>,
    requests: &mpsc::UnboundedSender<Vec<u32>>,
) -> Result<ReceiveSummary, ReceiveError> {
    let mut place = Destination::open(destination, options)?;
    while !place.is_complete() {
        let mut wanted = Vec::new();
        for packet in queue.blocking_recv().ok_or(ReceiveError::Closed)? {
            if packet.r#type == i32::from(PacketType::PacketData) {
                place.content(packet.id, &packet.data)?;
                continue;
            }
            match packet.stat {
                Some(stat) => wanted.extend(place.entry(stat)?),
                None => place.no_more_entries()?,
            }
        }
        if !wanted.is_empty() {
            requests.send(wanted).map_err(|_| ReceiveError::Closed)?;
        }
    }
    place.finish()
}
