//! Cache mounts by id, which of them a build wants to begin empty, and what they may begin with.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kiln_engine::{JobContext, OpError};
use kiln_graph::{Graph, MountKind, Op};
use kiln_oci::Digest;
use kiln_store::{Blob, Directory, Kind, Requester, Sharing, StoreError};

use crate::containers::Inner;
use crate::error::{failed, requester};

/// The name of a cache mount among the directories of the store.
pub fn cache_mount_key(id: &str) -> String {
    format!("cache-mount:{id}")
}

/// Who knows what cache mounts had in them on other machines.
#[async_trait]
pub trait CacheMounts: Send + Sync {
    /// Whether anything may be known to the builds of a requester. Asked for each cache mount of each
    /// step, so it looks nothing up.
    fn are_known(&self, requester: &Requester) -> bool;

    /// What a cache mount had in it: a layer blob, and the digest of its tar. Of what is known but cannot
    /// be had the requester is told.
    async fn find(&self, id: &str, requester: &Requester) -> Option<(Blob, Digest)>;
}

/// The ids of the cache mounts of processes that are not to be taken from the cache: what such a
/// process leaves must not depend on what others left before.
pub fn fresh_caches(graph: &Graph) -> BTreeSet<String> {
    let execs = graph.vertices().filter(|vertex| vertex.metadata.ignore_cache);
    let mounts = execs.filter_map(|vertex| match &vertex.op {
        Op::Exec(exec) => Some(&exec.mounts),
        _ => None,
    });
    let ids = mounts.flatten().filter_map(|mount| match &mount.kind {
        MountKind::Cache { id, .. } => Some(id.clone()),
        _ => None,
    });
    ids.collect()
}

/// The directory of a cache mount that stands on nothing. One that is not here yet begins with what it
/// had elsewhere, if somebody knows; what cannot be used of that is shown and is a miss.
pub(crate) async fn begin(
    machine: &Inner,
    job: &JobContext,
    id: &str,
    sharing: Sharing,
) -> Result<Directory, OpError> {
    let key = cache_mount_key(id);
    let reserve = || async {
        let directory = machine.store.directory(&key, Kind::ExecCacheMount, sharing, None).await;
        directory.map_err(|error| failed(&error))
    };
    let Some(elsewhere) = &machine.cache_mounts else { return reserve().await };
    let requester = requester(job);
    if !elsewhere.are_known(&requester) {
        machine.store.begun_directory(&key).await;
        return reserve().await;
    }
    let unused = machine.store.unused_directory(&key).await;
    let Some(_unused) = unused.map_err(|error| failed(&error))? else { return reserve().await };
    let Some((blob, diff_id)) = elsewhere.find(id, &requester).await else {
        return reserve().await;
    };
    let directory = reserve().await?;
    if !directory.is_new() {
        return Ok(directory);
    }
    let Err(error) = directory.restore(&blob, &diff_id).await else { return Ok(directory) };
    drop(directory);
    let forgotten: Result<(), StoreError> = machine.store.forget_directory(&key).await;
    forgotten.map_err(|error| failed(&error))?;
    warn(&requester, id, &OpError::from_error(kiln_engine::ErrorKind::Failed, &error).to_string());
    reserve().await
}

/// Shows that a cache mount begins empty.
fn warn(requester: &Requester, id: &str, problem: &str) {
    tracing::info!(id, problem, "an imported cache mount could not be used");
    requester.warn(format!("cache mount {id} cannot be imported: {problem}"), "it begins empty");
}
