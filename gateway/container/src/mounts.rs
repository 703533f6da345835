//! The mounts of a process: what of the inputs it sees, and what becomes of what it writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use kiln_engine::{ErrorKind, JobContext, OpError, Output};
use kiln_executor::{Mount, MountSource, Process, Rootfs, TRUST_BUNDLES};
use kiln_graph::{CacheSharing, Exec, ExecMount, MountKind};
use kiln_network::ProxiedNetwork;
use kiln_sources::{AgentSocket, Session};
use kiln_store::{Directory, Files, Kind, Mounted, MutableRef, Ref, Sharing, Store, Writer};

use crate::cache_mounts as caches;
use crate::containers::Inner;
use crate::error::{failed, files, requester};
use crate::read::Place;
use crate::secrets::{SecretFile, secret};
use crate::spec::ProcessSpec;

/// The mounts, and everything that must live as long as the process.
pub(crate) struct PreparedMounts {
    /// What is mounted at `/`.
    rootfs: Rootfs,
    /// `/` is not writable.
    readonly_rootfs: bool,
    /// What is mounted elsewhere.
    mounts: Vec<Mount>,
    /// What becomes of the outputs.
    outputs: BTreeMap<usize, Outcome>,
    /// Writable directories that nobody keeps.
    scratch: Vec<MutableRef>,
    /// What each mount of the request shows here, in order.
    shown: Vec<Shown>,
    views: Vec<Mounted>,
    shared_views: Vec<Arc<Mounted>>,
    directories: BTreeMap<String, Directory>,
    /// The keys of those that the process may write to.
    written: BTreeSet<String>,
    writers: Vec<Writer>,
    secrets: Vec<SecretFile>,
    agents: Vec<AgentSocket>,
    /// Its network, if that is a proxy.
    network: Option<ProxiedNetwork>,
}

/// What a mount shows, as seen from outside of the container.
#[derive(Clone)]
enum Shown {
    /// A writable directory of its own, by its number.
    Scratch(usize),
    /// A directory.
    Directory(PathBuf),
    /// Memory, a socket, a secret or nothing.
    Nothing,
}
/// What is mounted for every process, besides what it asks for.
const OWN_MOUNTS: &[&str] = &["/proc", "/dev", "/sys", "/etc/hosts", "/etc/resolv.conf"];

/// What becomes of an output.
enum Outcome {
    /// What was written on top of the input, where it is mounted.
    Written(MutableRef, PathBuf),
    /// The input itself.
    Same(Output<Ref>),
}

impl PreparedMounts {
    /// Nothing yet: the root is empty.
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            rootfs: Rootfs::Bind { source: store.root().join("empty"), readonly: true },
            readonly_rootfs: false,
            mounts: Vec::new(),
            outputs: BTreeMap::new(),
            scratch: Vec::new(),
            shown: Vec::new(),
            views: Vec::new(),
            shared_views: Vec::new(),
            directories: BTreeMap::new(),
            written: BTreeSet::new(),
            writers: Vec::new(),
            secrets: Vec::new(),
            agents: Vec::new(),
            network: None,
        }
    }

    /// Prepares all mounts of a process, in order. What was prepared before one that fails stays.
    pub(crate) async fn add(
        &mut self,
        machine: &Inner,
        job: &JobContext,
        spec: &ProcessSpec,
    ) -> Result<(), OpError> {
        if spec.restricted {
            self.rootfs = Rootfs::Memory;
        }
        for mount in &spec.exec.mounts {
            let input = mount.input.and_then(|index| spec.inputs.get(index).cloned().flatten());
            let input = files(input.as_ref(), &requester(job)).await?;
            let scratch = self.scratch.len();
            let shown = match mount.dest.as_str() {
                "/" => {
                    self.root(machine, mount, input).await?;
                    Shown::Nothing
                }
                _ => self.beside(machine, job, &spec.exec, mount, input).await?,
            };
            let is_scratch = self.scratch.len() > scratch;
            self.shown.push(if is_scratch { Shown::Scratch(scratch) } else { shown });
        }
        Ok(())
    }

    /// Gives a process its root and its mounts, those of its own last, and keeps its network.
    pub(crate) fn attach(&mut self, process: &mut Process, network: Option<ProxiedNetwork>) {
        process.rootfs = self.rootfs.clone();
        process.readonly_rootfs = self.readonly_rootfs;
        self.mounts.append(&mut process.mounts);
        process.mounts.clone_from(&self.mounts);
        self.network = network;
    }

    /// Takes the network of the process away, if it is a proxy.
    pub(crate) fn take_network(&mut self) -> Option<ProxiedNetwork> {
        self.network.take()
    }

    /// Prepares what is mounted elsewhere than at the root.
    async fn beside(
        &mut self,
        machine: &Inner,
        job: &JobContext,
        exec: &Exec,
        mount: &ExecMount,
        input: Option<Files>,
    ) -> Result<Shown, OpError> {
        let dest = PathBuf::from(exec.join_cwd(&mount.dest));
        let Some(source) = self.source(machine, job, mount, &dest, input).await? else {
            return Ok(Shown::Nothing);
        };
        let shown = match &source {
            MountSource::Bind(path) => Shown::Directory(path.clone()),
            _ => Shown::Nothing,
        };
        let mut prepared = Mount::new(dest, source);
        prepared.readonly = mount.readonly;
        prepared.shared = matches!(mount.kind, MountKind::Cache { .. });
        if !mount.selector.trim_matches('/').is_empty() {
            prepared.selector = Some(mount.selector.clone());
        }
        if let MountKind::Secret { mode, .. } = mount.kind {
            (prepared.readonly, prepared.nosuid, prepared.nodev) = (true, true, true);
            prepared.noexec = mode & 0o111 == 0;
        }
        self.mounts.push(prepared);
        Ok(shown)
    }

    async fn root(
        &mut self,
        machine: &Inner,
        mount: &ExecMount,
        input: Option<Files>,
    ) -> Result<(), OpError> {
        let writable =
            machine.store.prepare(input.as_ref()).await.map_err(|error| failed(&error))?;
        let overlay = writable.overlay();
        self.rootfs = match overlay.lowers.is_empty() {
            true => Rootfs::Bind { source: overlay.upper, readonly: false },
            false => {
                Rootfs::Overlay { lowers: overlay.lowers, upper: overlay.upper, work: overlay.work }
            }
        };
        if !mount.selector.trim_matches('/').is_empty() {
            // The executor mounts roots whole; a part of one is shown through a view of it.
            return Err(OpError::new(ErrorKind::Unsupported, "a selector at / is not supported"));
        }
        self.readonly_rootfs = mount.readonly;
        match mount.output {
            Some(output) => {
                let dest = PathBuf::from("/");
                self.outputs.insert(output, Outcome::Written(writable, dest));
            }
            None => self.scratch.push(writable),
        }
        Ok(())
    }

    /// What a mount shows; `None` if it is left out.
    async fn source(
        &mut self,
        machine: &Inner,
        job: &JobContext,
        mount: &ExecMount,
        dest: &Path,
        input: Option<Files>,
    ) -> Result<Option<MountSource>, OpError> {
        Ok(Some(match &mount.kind {
            MountKind::Bind => self.bind(machine, mount, dest.to_owned(), input).await?,
            MountKind::Cache { id, sharing } => {
                self.cache(machine, job, mount, id, *sharing, input).await?
            }
            MountKind::Tmpfs { size } => {
                MountSource::Tmpfs { size: (*size > 0).then_some(*size), mode: 0o1777 }
            }
            MountKind::Secret { id, uid, gid, mode, optional } => {
                let Some(data) = secret(machine, job, id, *optional).await? else {
                    return Ok(None);
                };
                let file = machine.secrets.write(&data, *uid, *gid, *mode);
                let file = file.map_err(|error| failed(&error).context(format!("secret {id}")))?;
                let source = MountSource::File(file.path().to_owned());
                self.secrets.push(file);
                source
            }
            MountKind::Ssh { id, uid, gid, mode, optional } => {
                let id = if id.is_empty() { "default" } else { id };
                match machine.clients(job).ssh_agent(id).await {
                    Ok(agent) => {
                        let owned =
                            kiln_store::owner::set_owner(&agent.path, *uid, *gid).and_then(|()| {
                                std::fs::set_permissions(&agent.path, Permissions::from_mode(*mode))
                            });
                        owned.map_err(|error| failed(&error).context(format!("ssh agent {id}")))?;
                        let source = MountSource::Socket(agent.path.clone());
                        self.agents.push(agent);
                        source
                    }
                    Err(_) if *optional => return Ok(None),
                    Err(error) => {
                        let message =
                            format!("no SSH key \"{id}\" forwarded from the client: {error}");
                        return Err(OpError::new(ErrorKind::NotFound, message));
                    }
                }
            }
        }))
    }

    async fn bind(
        &mut self,
        machine: &Inner,
        mount: &ExecMount,
        dest: PathBuf,
        input: Option<Files>,
    ) -> Result<MountSource, OpError> {
        if mount.readonly
            && let Some(input) = input
        {
            let view = input.mount().await.map_err(|error| failed(&error))?;
            let source = MountSource::Bind(view.path().to_owned());
            self.views.push(view);
            if let Some(output) = mount.output {
                self.outputs.insert(output, Outcome::Same(Some(input.of().clone())));
            }
            return Ok(source);
        }
        let writable =
            machine.store.prepare(input.as_ref()).await.map_err(|error| failed(&error))?;
        let overlay = writable.overlay();
        let source = match overlay.lowers.is_empty() {
            true => MountSource::Bind(overlay.upper),
            false => MountSource::Overlay {
                lowers: overlay.lowers,
                upper: overlay.upper,
                work: overlay.work,
            },
        };
        match mount.output {
            Some(output) => {
                self.outputs.insert(output, Outcome::Written(writable, dest));
            }
            None => self.scratch.push(writable),
        }
        Ok(source)
    }

    async fn cache(
        &mut self,
        machine: &Inner,
        job: &JobContext,
        mount: &ExecMount,
        id: &str,
        sharing: CacheSharing,
        input: Option<Files>,
    ) -> Result<MountSource, OpError> {
        let sharing = match sharing {
            CacheSharing::Shared => Sharing::Shared,
            CacheSharing::Private => Sharing::Private,
            CacheSharing::Locked => Sharing::Locked,
        };
        let key = caches::cache_mount_key(id);
        // A process that mounts a cache twice must not wait for itself.
        let own = format!("{key} {:?}", input.as_ref().map(Files::lowers));
        if !self.directories.contains_key(&own) {
            let directory = match &input {
                None => caches::begin(machine, job, id, sharing).await?,
                Some(_) => machine
                    .store
                    .directory(&key, Kind::ExecCacheMount, sharing, input.as_ref())
                    .await
                    .map_err(|error| failed(&error))?,
            };
            self.directories.insert(own.clone(), directory);
        }
        if !mount.readonly {
            self.written.insert(own.clone());
        }
        let overlay = self.directories[&own].overlay();
        if let Some(output) = mount.output {
            self.outputs.insert(output, Outcome::Same(input.map(|input| input.of().clone())));
        }
        if overlay.lowers.is_empty() {
            return Ok(MountSource::Bind(overlay.upper));
        }
        // Several processes may share it, so it is mounted once, here.
        let view = self.directories[&own].mount().await.map_err(|error| failed(&error))?;
        let source = MountSource::Bind(view.path().to_owned());
        self.shared_views.push(view);
        Ok(source)
    }

    /// A way to look into a mount by its number in the request; `None` if there is no such mount, or
    /// it has no files to look at.
    pub(crate) fn place(&self, mount: usize) -> Option<BoxFuture<'static, Result<Place, OpError>>> {
        Some(match self.shown.get(mount)? {
            Shown::Nothing => return None,
            Shown::Directory(path) => {
                Box::pin(std::future::ready(Ok(Place::Directory(path.clone()))))
            }
            Shown::Scratch(number) => {
                let view = self.scratch.get(*number)?.view();
                Box::pin(async { view.await.map(Place::Changing).map_err(|error| failed(&error)) })
            }
        })
    }

    /// Notes in its cache directories that the process begins.
    pub(crate) fn begin_writing(&mut self) -> Result<(), OpError> {
        for key in &self.written {
            let writer = self.directories[key].writer().map_err(|error| failed(&error))?;
            self.writers.push(writer);
        }
        Ok(())
    }

    /// Notes there that the process has ended by itself.
    pub(crate) fn end_writing(&mut self) {
        self.writers.drain(..).for_each(Writer::ended);
    }

    /// For every mount what it shows now that the process has failed, for those who look into that.
    /// What cannot be had is left out.
    pub(crate) async fn left(self, spec: &ProcessSpec) -> Vec<Output<Ref>> {
        let Self { mut outputs, scratch, shown, views, shared_views, .. } = self;
        drop((views, shared_views));
        let mut scratch: Vec<_> = scratch.into_iter().map(Some).collect();
        let mut left = Vec::with_capacity(spec.exec.mounts.len());
        // Those that were not prepared any more show what they are of.
        let shown = shown.iter().chain(std::iter::repeat(&Shown::Nothing));
        for (mount, shown) in spec.exec.mounts.iter().zip(shown) {
            left.push(match left_in(mount, shown, &mut outputs, &mut scratch) {
                Some(written) => written.commit().await.ok(),
                None => mount.input.and_then(|index| spec.inputs.get(index).cloned().flatten()),
            });
        }
        left
    }

    /// The results, once the process has ended.
    pub(crate) async fn commit(self) -> Result<Vec<Output<Ref>>, OpError> {
        let Self { outputs, scratch, views, shared_views, mounts, .. } = self;
        drop((scratch, views, shared_views));
        // Bundles of certificates may have been changed and changed back.
        let own = OWN_MOUNTS.iter().chain(TRUST_BUNDLES).map(Path::new);
        let mounted: BTreeSet<&Path> =
            own.chain(mounts.iter().map(|mount| mount.dest.as_path())).collect();
        let count = outputs.keys().max().map_or(0, |last| last + 1);
        let mut results = vec![None; count];
        for (output, result) in outputs {
            results[output] = match result {
                Outcome::Same(input) => input,
                Outcome::Written(mut written, dest) => {
                    // Those inside come next to each other.
                    let behind = mounted.range(dest.as_path()..);
                    let inside = behind.map_while(|path| path.strip_prefix(&dest).ok());
                    written.set_mount_points(inside.map(Path::to_owned).collect());
                    Some(written.commit().await.map_err(|error| failed(&error))?)
                }
            };
        }
        Ok(results)
    }
}

/// What is shown, and what becomes of it, of one mount.
fn left_in(
    mount: &ExecMount,
    shown: &Shown,
    outputs: &mut BTreeMap<usize, Outcome>,
    scratch: &mut [Option<MutableRef>],
) -> Option<MutableRef> {
    let output = mount.output.and_then(|output| outputs.remove(&output));
    match (output, shown) {
        (Some(Outcome::Written(written, _)), _) => Some(written),
        (None, Shown::Scratch(number)) => scratch.get_mut(*number).and_then(Option::take),
        _ => None,
    }
}
