//! A bridge that is lent: calls of tasks that live on their own, answered by a bridge that does not.
//!
//! A server's tasks need a bridge they can keep; a frontend is only given one for the time of its
//! call. [`lend`] runs work with a bridge of the first kind and passes every call on to one of the
//! second. When the work ends, calls that are still open fail.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use kiln_llb::Definition;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Bridge, BuildInfo, BuildResult, Code, FileRange, FileStat, FrontendError, ImageConfigRequest,
    Inputs, Ref, ResolvedImage, Solve, SourceIdentifier, SourceMeta, SourceRequest, Warning,
};

/// Calls that may wait to be passed on.
const WAITING: usize = 16;

/// One call, on its way to the bridge that answers it.
type Call = Box<dyn for<'a> FnOnce(&'a dyn Bridge) -> BoxFuture<'a, ()> + Send>;

/// Does `work` with a bridge that may be kept, while `bridge` answers what it asks.
///
/// Calls are answered at the same time, not one after the other.
///
/// # Cancellation
///
/// Dropping the future drops the work and every open call.
pub async fn lend<F: Future>(
    bridge: &dyn Bridge,
    work: impl FnOnce(Arc<dyn Bridge>) -> F,
) -> F::Output {
    let (calls, mut waiting) = mpsc::channel::<Call>(WAITING);
    let work = work(Arc::new(ForwardingBridge { info: bridge.info().clone(), calls }));
    tokio::pin!(work);
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(call) = waiting.recv() => running.push(call(bridge)),
            Some(()) = running.next() => {}
        }
    }
}

/// The bridge that passes calls on.
struct ForwardingBridge {
    info: BuildInfo,
    calls: mpsc::Sender<Call>,
}

impl ForwardingBridge {
    async fn ask<T, Q>(&self, question: Q) -> Result<T, FrontendError>
    where
        T: Send + 'static,
        Q: for<'a> FnOnce(&'a dyn Bridge) -> BoxFuture<'a, Result<T, FrontendError>>
            + Send
            + 'static,
    {
        let (mut sender, receiver) = oneshot::channel();
        let call: Call = Box::new(move |bridge| {
            let answer = question(bridge);
            Box::pin(async move {
                tokio::select! {
                    answer = answer => drop(sender.send(answer)),
                    // Nobody waits for the answer any more.
                    () = sender.closed() => {}
                }
            })
        });
        let ended = || FrontendError::new(Code::Cancelled, "the build has ended");
        self.calls.send(call).await.map_err(|_| ended())?;
        receiver.await.map_err(|_| ended())?
    }
}

#[async_trait]
impl Bridge for ForwardingBridge {
    fn info(&self) -> &BuildInfo {
        &self.info
    }

    async fn solve(&self, request: Solve) -> Result<BuildResult<Ref>, FrontendError> {
        self.ask(|bridge| bridge.solve(request)).await
    }

    async fn resolve_image(
        &self,
        reference: &str,
        request: ImageConfigRequest,
    ) -> Result<ResolvedImage, FrontendError> {
        let reference = reference.to_owned();
        self.ask(|bridge| Box::pin(async move { bridge.resolve_image(&reference, request).await }))
            .await
    }

    async fn resolve_source(
        &self,
        source: SourceIdentifier,
        request: SourceRequest,
    ) -> Result<SourceMeta, FrontendError> {
        self.ask(|bridge| bridge.resolve_source(source, request)).await
    }

    async fn definition(&self, of: &Ref) -> Result<Option<Definition>, FrontendError> {
        let of = of.clone();
        self.ask(|bridge| Box::pin(async move { bridge.definition(&of).await })).await
    }

    async fn read_file(
        &self,
        of: &Ref,
        path: &str,
        range: Option<FileRange>,
    ) -> Result<Bytes, FrontendError> {
        let (of, path) = (of.clone(), path.to_owned());
        self.ask(move |bridge| Box::pin(async move { bridge.read_file(&of, &path, range).await }))
            .await
    }

    async fn read_dir(
        &self,
        of: &Ref,
        path: &str,
        include_pattern: &str,
    ) -> Result<Vec<FileStat>, FrontendError> {
        let (of, path, pattern) = (of.clone(), path.to_owned(), include_pattern.to_owned());
        self.ask(|bridge| Box::pin(async move { bridge.read_dir(&of, &path, &pattern).await }))
            .await
    }

    async fn stat_file(&self, of: &Ref, path: &str) -> Result<FileStat, FrontendError> {
        let (of, path) = (of.clone(), path.to_owned());
        self.ask(|bridge| Box::pin(async move { bridge.stat_file(&of, &path).await })).await
    }

    async fn evaluate(&self, of: &Ref) -> Result<(), FrontendError> {
        let of = of.clone();
        self.ask(|bridge| Box::pin(async move { bridge.evaluate(&of).await })).await
    }

    async fn inputs(&self) -> Result<Inputs, FrontendError> {
        self.ask(|bridge| bridge.inputs()).await
    }

    async fn warn(&self, warning: Warning) -> Result<(), FrontendError> {
        self.ask(|bridge| bridge.warn(warning)).await
    }
}
