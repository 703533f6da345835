//! Two halves of a transfer joined in memory, and small trees to send.

use std::convert::Infallible;
use std::path::Path;

use futures::StreamExt;
use kiln_filesync::{
    ReceiveError, ReceiveOptions, ReceiveSummary, Root, SendError, SendOptions, SendSummary,
};

/// What both halves say in the end.
pub(crate) type Outcome = (Result<SendSummary, SendError>, Result<ReceiveSummary, ReceiveError>);

/// Sends one directory into another.
pub(crate) async fn transfer(
    from: &Path,
    to: &Path,
    send: SendOptions,
    receive: ReceiveOptions,
) -> Outcome {
    let (to_receiver, at_receiver) = kiln_filesync::outgoing();
    let (to_sender, at_sender) = kiln_filesync::outgoing();
    let root = Root::open(from).expect("the directory to send exists");
    let sending = kiln_filesync::send(root, send, at_sender.map(Ok::<_, Infallible>), to_receiver);
    let receiving = kiln_filesync::receive(
        to.to_owned(),
        receive,
        at_receiver.map(Ok::<_, Infallible>),
        to_sender,
    );
    tokio::join!(sending, receiving)
}
