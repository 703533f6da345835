//! The exporters of files: a tar of them, or a directory on the client's machine.
//!
//! Results are mounted as long as they are read; one of several platforms gets a directory of its
//! own, `linux_amd64`, unless the client wants them on top of each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use kiln_store::{Files, Mounted, Ref, Requester};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::claim_files::{self, Naming};
use crate::claims::Claims;
use crate::client::{Client, DirectoryToSend};
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
    claims: Claims<'_>,
    reporter: &Reporter,
) -> Result<(), ExportError> {
    let client = context.client()?;
    let requester = context.requester(reporter);
    let views = Views::mount(context, &export.options, targets, metadata, &requester).await?;
    let views = views.with_claims(&export.options, targets, claims, requester).await?;
    views.check().await?;
    let status = reporter.status("sending tarball");
    let body = pipe::pipe(move |out| tree::write(&views.trees, out));
    let told = BTreeMap::new();
    client.send_stream(&export.id, &told, body).await.map_err(ExportError::Client)?;
    status.done();
    Ok(())
}

/// Sends the files into a directory.
///
/// A client that deletes what is not sent must be sent everything at once; otherwise each platform
/// is sent by itself, so that they do not wait for each other.
pub(crate) async fn export_local(
    context: &ExportContext,
    export: &Export,
    targets: &Targets<'_, Ref>,
    metadata: &BTreeMap<String, Bytes>,
    claims: Claims<'_>,
    reporter: &Reporter,
) -> Result<(), ExportError> {
    let client = context.client()?;
    let requester = context.requester(reporter);
    let views = Views::mount(context, &export.options, targets, metadata, &requester).await?;
    let views = views.with_claims(&export.options, targets, claims, requester).await?;
    views.check().await?;
    let whole = export.options.delete;
    // Attestations come after what they take the places of.
    let (extra, groups): (Vec<&[Tree]>, Vec<&[Tree]>) = match whole {
        true => (Vec::new(), vec![&views.trees[..]]),
        false => views.trees.chunks(1).partition(|trees| trees[0].is_extra),
    };
    for groups in [groups, extra] {
        let sends =
            groups.into_iter().map(|trees| send(client, &export.id, trees, whole, reporter));
        futures::future::try_join_all(sends).await?;
    }
    Ok(())
}

async fn send(
    client: &dyn Client,
    export: &str,
    trees: &[Tree],
    whole: bool,
    reporter: &Reporter,
) -> Result<(), ExportError> {
    let label = match trees {
        [tree] if tree.below.is_some() => format!("copying files {}", tree.platform),
        _ => "copying files".to_owned(),
    };
    let status = reporter.status(label);
    let stage = Stage::of(trees).map_err(ExportError::Read)?;
    let directory = DirectoryToSend {
        path: stage.path().to_owned(),
        // Of several trees the earliest; a time that is too early does not hurt.
        epoch_seconds: trees.iter().filter_map(|tree| tree.epoch).min(),
        whole,
    };
    let shared = Arc::new(Mutex::new(status));
    let heard = Arc::clone(&shared);
    let progress = Box::new(move |bytes| {
        heard.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
    });
    let sent = client.send_dir(export, directory, progress).await;
    sent.map_err(ExportError::Client)?;
    shared.lock().unwrap_or_else(PoisonError::into_inner).clone().done();
    Ok(())
}

/// Mounted results.
#[derive(Debug)]
struct Views {
    trees: Arc<[Tree]>,
    /// Held as long as the trees are read.
    _mounts: Vec<Mounted>,
    written: Vec<TempDir>,
}

impl Views {
    async fn mount(
        context: &ExportContext,
        options: &ExportOptions,
        targets: &Targets<'_, Ref>,
        metadata: &BTreeMap<String, Bytes>,
        requester: &Requester,
    ) -> Result<Self, ExportError> {
        let split = options.platform_split.unwrap_or(targets.multi);
        let (mut trees, mut mounts) = (Vec::new(), Vec::new());
        for target in &targets.list {
            let mounted = files(context, target, requester).await?.mount().await?;
            let epoch = epoch(options, metadata, &target.id)?;
            trees.push(Tree {
                root: mounted.path().to_owned(),
                platform: target.id.clone(),
                below: split.then(|| target.id.replace('/', "_")),
                epoch: epoch.map(OffsetDateTime::unix_timestamp),
                hidden: BTreeSet::new(),
                is_extra: false,
            });
            mounts.push(mounted);
        }
        Ok(Self { trees: trees.into(), _mounts: mounts, written: Vec::new() })
    }

    /// The same with attestations beside the files, after the tree that they are about.
    async fn with_claims(
        mut self,
        options: &ExportOptions,
        targets: &Targets<'_, Ref>,
        claims: Claims<'_>,
        requester: Requester,
    ) -> Result<Self, ExportError> {
        let mut trees = Vec::new();
        for (tree, target) in self.trees.iter().zip(&targets.list) {
            let predicates = claims.predicates(&target.id, false, &requester).await?;
            let mut tree = tree.clone();
            if predicates.is_empty() {
                trees.push(tree);
                continue;
            }
            let is_shared = targets.multi && tree.below.is_none();
            let naming = Naming {
                prefix: options.attestation_prefix.clone(),
                platform: is_shared.then(|| target.id.replace('/', "_")),
            };
            let about = tree.clone();
            let written = tokio::task::spawn_blocking(move || {
                claim_files::write(&about, &predicates, &naming)
            });
            let written = written.await.map_err(|error| ExportError::Read(error.into()))??;
            let names = fs::read_dir(written.path()).map_err(ExportError::Read)?;
            tree.hidden = names.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
            let root = written.path().to_owned();
            let extra = Tree { root, hidden: BTreeSet::new(), is_extra: true, ..tree.clone() };
            trees.extend([tree, extra]);
            self.written.push(written);
        }
        self.trees = trees.into();
        Ok(self)
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
async fn files(
    context: &ExportContext,
    target: &Target<'_, Ref>,
    requester: &Requester,
) -> Result<Files, ExportError> {
    let files = match target.files {
        Some(files) => files.clone(),
        None => context.store.merge(&[], requester).await?,
    };
    Ok(files.files(requester).await?)
}
