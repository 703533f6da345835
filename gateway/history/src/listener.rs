//! What a listener gets after what there was when it came: events as they happen.

use std::sync::Arc;

use futures::Stream;
use kiln_pb::control::{BuildHistoryEvent, BuildHistoryEventType};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::error::HistoryError;
use crate::question::Question;

/// Events that a listener asks for, until the history is closed or it falls behind.
pub(crate) fn events(
    question: Question,
    receiver: Receiver<Arc<BuildHistoryEvent>>,
    closed: watch::Receiver<bool>,
) -> impl Stream<Item = Result<BuildHistoryEvent, HistoryError>> {
    let state = Some((question, receiver, closed));
    futures::stream::unfold(state, |state| async {
        let (question, mut receiver, mut closed) = state?;
        loop {
            let event = tokio::select! {
                event = receiver.recv() => event,
                _ = closed.wait_for(|closed| *closed) => return None,
            };
            match event {
                Ok(event) if concerns(&question, &event) => {
                    return Some((Ok((*event).clone()), Some((question, receiver, closed))));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    return Some((Err(HistoryError::Behind(lost)), None));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

/// Whether a listener hears of an event. That a record is gone says nothing else of it.
fn concerns(question: &Question, event: &BuildHistoryEvent) -> bool {
    let Some(record) = &event.record else { return false };
    match event.r#type() {
        BuildHistoryEventType::Deleted => question.is_about(&record.r#ref),
        BuildHistoryEventType::Started | BuildHistoryEventType::Complete => question.wants(record),
    }
}
