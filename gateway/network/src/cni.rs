//! Networks that CNI plugins make: programs of the machine that connect a namespace, each adding to
//! what the one before it has made.
//!
//! What plugins made is written down until they have removed it, so that a daemon that was killed is
//! tidied up after by the next.

mod config;
mod plugin;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::namespace::Namespace;
use crate::networks::{NetworkError, NetworkOptions, Step};
use crate::pool::Pool;
use config::NetworkConfig;
use plugin::{Call, Verb};

/// The largest record of what plugins made.
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// Which plugins, and where they are.
#[derive(Clone, Debug)]
pub(crate) struct CniOptions {
    config: PathBuf,
    binaries: PathBuf,
    pool_size: usize,
    state: PathBuf,
    environment: Vec<(String, String)>,
}

impl CniOptions {
    pub(crate) fn of(options: &NetworkOptions) -> Self {
        Self {
            config: options.cni_config.clone(),
            binaries: options.cni_binaries.clone(),
            pool_size: options.pool_size.unwrap_or(0),
            state: options.state.join("cni"),
            environment: options.environment.clone(),
        }
    }
}

/// The plugins of a configuration.
#[derive(Debug)]
pub(crate) struct Cni {
    config: NetworkConfig,
    options: CniOptions,
    /// Attachments that are being removed.
    removals: TaskTracker,
    runtime: Handle,
    /// None, if none are made ahead.
    pool: Option<Pool<Attachment, NetworkError>>,
}

/// A namespace that plugins have connected; they remove what they made when it is dropped.
#[derive(Debug)]
pub(crate) struct Attachment {
    /// Taken when it is dropped.
    parts: Option<Parts>,
    path: PathBuf,
    cni: Arc<Cni>,
}

#[derive(Debug)]
struct Parts {
    id: String,
    namespace: Option<Namespace>,
    hostname: String,
    /// What the last plugin has said.
    result: Value,
}

impl Cni {
    /// Reads the configuration, and has what a killed daemon left removed.
    pub(crate) fn open(options: CniOptions) -> Result<Arc<Self>, NetworkError> {
        let config = NetworkConfig::read(&options.config)?;
        config.find_plugins(&options.binaries)?;
        std::fs::create_dir_all(&options.state)
            .step(|| format!("make {}", options.state.display()))?;
        let (pool, filler) = match options.pool_size {
            0 => (None, None),
            size => {
                let (pool, filler) = Pool::new(size);
                (Some(pool), Some(filler))
            }
        };
        let (removals, runtime) = (TaskTracker::new(), Handle::current());
        let cni = Arc::new(Self { config, options, removals, runtime, pool });
        for parts in cni.left_over() {
            cni.removals.spawn(Arc::clone(&cni).remove(parts));
        }
        if let Some(filler) = filler {
            // It must not be what keeps the plugins' network open.
            let weak = Arc::downgrade(&cni);
            cni.runtime.spawn(async move {
                while let Some(cni) = weak.upgrade() {
                    let made = cni.attach_now(String::new()).await;
                    if filler.send(made).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(cni)
    }

    /// Connects a namespace. Plugins get the host name, as some give names to addresses.
    pub(crate) async fn attach(
        self: &Arc<Self>,
        hostname: &str,
    ) -> Result<Attachment, NetworkError> {
        if let (Some(pool), true) = (&self.pool, hostname.is_empty()) {
            return pool.take().await.unwrap_or(Err(NetworkError::Closed));
        }
        if self.removals.is_closed() {
            return Err(NetworkError::Closed);
        }
        // Plugins that have begun are not stopped half-way, whoever waits for them.
        let (cni, hostname) = (Arc::clone(self), hostname.to_owned());
        let made = self.runtime.spawn(async move { cni.attach_now(hostname).await });
        made.await.unwrap_or(Err(NetworkError::Closed))
    }

    async fn attach_now(self: Arc<Self>, hostname: String) -> Result<Attachment, NetworkError> {
        let namespace = Namespace::new().await.step(|| "make a network namespace".into())?;
        let path = namespace.path().to_owned();
        let id = format!("kiln-{:016x}", rand::random::<u64>());
        let parts = Parts { id, namespace: Some(namespace), hostname, result: Value::Null };
        self.write_down(&parts)?;
        let mut attachment =
            Attachment { parts: Some(parts), path: path.clone(), cni: Arc::clone(&self) };
        for plugin in &self.config.plugins {
            let Some(parts) = &mut attachment.parts else { break };
            let call = Call { verb: Verb::Add, id: &parts.id, namespace: Some(&path) };
            let config = self.config.of(plugin, &parts.result);
            let result = self.call(&call, &config, &parts.hostname).await?;
            parts.result = result.unwrap_or(Value::Null);
            self.write_down(parts)?;
        }
        Ok(attachment)
    }

    /// Has the plugins remove what they made, the last one first.
    async fn remove(self: Arc<Self>, parts: Parts) {
        let path = parts.namespace.as_ref().map(Namespace::path);
        let call = Call { verb: Verb::Delete, id: &parts.id, namespace: path };
        for plugin in self.config.plugins.iter().rev() {
            let config = self.config.of(plugin, &parts.result);
            if let Err(error) = self.call(&call, &config, &parts.hostname).await {
                tracing::warn!(%error, id = parts.id, "a network was not removed");
            }
        }
        std::fs::remove_file(self.record(&parts.id)).ok();
    }

    async fn call(
        &self,
        call: &Call<'_>,
        config: &Value,
        hostname: &str,
    ) -> Result<Option<Value>, NetworkError> {
        let CniOptions { binaries, environment, .. } = &self.options;
        plugin::call(call, config, hostname, (binaries, environment)).await
    }

    /// Makes no more, and waits until all is removed.
    pub(crate) async fn close(&self) {
        if let Some(pool) = &self.pool {
            pool.close().await;
        }
        self.removals.close();
        self.removals.wait().await;
    }

    fn record(&self, id: &str) -> PathBuf {
        self.options.state.join(id)
    }

    fn write_down(&self, parts: &Parts) -> Result<(), NetworkError> {
        let record = json!({ "hostname": parts.hostname, "result": parts.result });
        let path = self.record(&parts.id);
        std::fs::write(&path, record.to_string()).step(|| format!("write {}", path.display()))
    }

    /// What was written down and not removed.
    fn left_over(&self) -> Vec<Parts> {
        let entries = std::fs::read_dir(&self.options.state).into_iter().flatten().flatten();
        entries.filter_map(|entry| left_over(&entry.path())).collect()
    }
}

fn left_over(path: &Path) -> Option<Parts> {
    let id = path.file_name()?.to_str()?.to_owned();
    let is_small = path.metadata().ok()?.len() <= MAX_RECORD_BYTES;
    let record = if is_small { std::fs::read(path).ok()? } else { Vec::new() };
    let record: Value = serde_json::from_slice(&record).unwrap_or_default();
    let hostname = record["hostname"].as_str().unwrap_or_default().to_owned();
    Some(Parts { id, namespace: None, hostname, result: record["result"].clone() })
}

impl Attachment {
    /// The file of the namespace.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            let cni = &self.cni;
            cni.removals.spawn_on(Arc::clone(cni).remove(parts), &cni.runtime);
        }
    }
}
