//! The exporters of files: a tar of them, or a directory on the client's machine.
//!
//! Results are mounted as long as they are read; one of several platforms gets a directory of its
//! own, `linux_amd64`, unless the client wants them on top of each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kiln_store::{Mounted, Ref};
use time::OffsetDateTime;

use crate::client::DirectoryToSend;
use crate::error::ExportError;
use crate::options::ExportOptions;
use crate::stage::Stage;
use crate::target::{Target, Targets, epoch};
use crate::tree::{self, Tree};
use crate::vertex::Reporter;
use crate::{Export, ExportContext, pipe};

/// Sends the files as a tar.
pub(crate) async fn export_tar(
    context: &ExportContext,
    export: &Export,
    targets: &Targets<'_, Ref>,
    metadata: &BTreeMap<String, Bytes>,
    reporter: &Reporter,
) -> Result<(), ExportError> {
    let client = context.client()?;
    let views = Views::mount(context, &export.options, targets, metadata).await?;
    views.check().await?;
    let status = reporter.status("sending tarball");
    let body = pipe::pipe(move |out| tree::write(&views.trees, out));
    let told = BTreeMap::new();
    client.send_stream(&export.id, &told, body).await.map_err(ExportError::Client)?;
    status.done();
    Ok(())
}

/// Sends the files into a directory.
pub(crate) async fn export_local(
    context: &ExportContext,
    export: &Export,
    targets: &Targets<'_, Ref>,
    metadata: &BTreeMap<String, Bytes>,
    reporter: &Reporter,
) -> Result<(), ExportError> {
    let client = context.client()?;
    let views = Views::mount(context, &export.options, targets, metadata).await?;
    views.check().await?;
    let several = views.trees.len() > 1;
    let sends = views.trees.iter().map(|tree| {
        let label = match &tree.below {
            Some(_) => format!("copying files {}", tree.platform),
            None => "copying files".to_owned(),
        };
        let status = reporter.status(label);
        async move {
            let stage = tree.below.as_ref().map(|below| Stage::new(&tree.root, below));
            let stage = stage.transpose().map_err(ExportError::Read)?;
            let directory = DirectoryToSend {
                path: stage.as_ref().map_or(&*tree.root, Stage::path).to_owned(),
                epoch_seconds: tree.epoch,
                one_of_several: several,
            };
            let shared = Arc::new(Mutex::new(status));
            let heard = Arc::clone(&shared);
            let progress = Box::new(move |bytes| {
                heard.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
            });
            let sent = client.send_dir(&export.id, directory, progress).await;
            sent.map_err(ExportError::Client)?;
            shared.lock().unwrap_or_else(PoisonError::into_inner).clone().done();
            Ok::<(), ExportError>(())
        }
    });
    futures::future::try_join_all(sends).await?;
    Ok(())
}

/// Mounted results.
#[derive(Debug)]
struct Views {
    trees: Arc<[Tree]>,
    /// Held as long as the trees are read.
    _mounts: Vec<Mounted>,
}

impl Views {
    async fn mount(
        context: &ExportContext,
        options: &ExportOptions,
        targets: &Targets<'_, Ref>,
        metadata: &BTreeMap<String, Bytes>,
    ) -> Result<Self, ExportError> {
        let split = options.platform_split.unwrap_or(targets.multi);
        let (mut trees, mut mounts) = (Vec::new(), Vec::new());
        for target in &targets.list {
            let mounted = files(context, target).await?.mount().await?;
            let epoch = epoch(options, metadata, &target.id)?;
            trees.push(Tree {
                root: mounted.path().to_owned(),
                platform: target.id.clone(),
                below: split.then(|| target.id.replace('/', "_")),
                epoch: epoch.map(OffsetDateTime::unix_timestamp),
            });
            mounts.push(mounted);
        }
        Ok(Self { trees: trees.into(), _mounts: mounts })
    }

    /// Finds out before anything is sent whether trees stand in each other's way.
    async fn check(&self) -> Result<(), ExportError> {
        let trees = Arc::clone(&self.trees);
        let checked = tokio::task::spawn_blocking(move || tree::check(&trees)).await;
        let checked = checked.map_err(|error| ExportError::Read(error.into()))?;
        checked.map_err(|error| match error.downcast::<tree::Overwrite>() {
            Ok(overwrite) => ExportError::Overwrite(overwrite),
            Err(error) => ExportError::Read(error),
        })
    }
}

/// The files of a target; of none, an empty directory.
async fn files(context: &ExportContext, target: &Target<'_, Ref>) -> Result<Ref, ExportError> {
    match target.files {
        Some(files) => Ok(files.clone()),
        None => Ok(context.store.merge(&[]).await?),
    }
}
