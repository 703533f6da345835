//! Packets on their way out, several at a time.
//!
//! Of many small files, most of the time would go into waking threads: whoever takes the packets is woken
//! once for all that leave together.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec::IntoIter;

use futures::Stream;
use kiln_pb::filetree::Packet;
use tokio::sync::mpsc;

/// How many groups of packets may wait to be taken.
const QUEUE: usize = 4;

/// Where a transfer puts its packets.
#[derive(Debug, Clone)]
pub struct Outgoing(mpsc::Sender<Vec<Packet>>);

/// The packets of a transfer, one by one.
#[derive(Debug)]
pub struct Packets {
    queue: mpsc::Receiver<Vec<Packet>>,
    group: IntoIter<Packet>,
}

/// A way out for the packets of a transfer: it puts them into the first, a call takes them from the second.
pub fn outgoing() -> (Outgoing, Packets) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (Outgoing(sender), Packets { queue, group: Vec::new().into_iter() })
}

/// Nobody takes packets any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Outgoing {
    /// Sends packets; `Err` if nobody takes them any more.
    pub(crate) async fn send(&self, packets: Vec<Packet>) -> Result<(), Gone> {
        self.0.send(packets).await.map_err(|_| Gone)
    }

    /// The same in a blocking job.
    pub(crate) fn blocking_send(&self, packets: Vec<Packet>) -> Result<(), Gone> {
        self.0.blocking_send(packets).map_err(|_| Gone)
    }
}

impl Stream for Packets {
    type Item = Packet;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Packet>> {
        loop {
            if let Some(packet) = self.group.next() {
                return Poll::Ready(Some(packet));
            }
            match ready!(self.queue.poll_recv(cx)) {
                Some(group) => self.group = group.into_iter(),
                None => return Poll::Ready(None),
            }
        }
    }
}
