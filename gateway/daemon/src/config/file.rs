//! The configuration file as it is written: BuildKit's `buildkitd.toml`, and a table of Kiln's own.
//!
//! Every key that BuildKit's daemon knows is here, also those that mean nothing to this one: what
//! becomes of each is said in [`super::keys`]. Values are taken as they stand; [`super::checked`]
//! understands them. The comments are the descriptions of the published JSON Schema.

mod grpc;
mod registry;
mod worker;

pub(super) use grpc::{GrpcTable, TlsTable};
pub(super) use registry::RegistryTable;
pub use worker::NetworkModeName;
pub(super) use worker::{GcPolicyTable, OciTable, WorkerTable};

use std::collections::BTreeMap;

use kiln_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use super::quantity::Scalar;

/// A whole configuration file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Configuration of kilnd (kilnd.toml, buildkitd.toml)")]
pub struct ConfigFile {
    /// Log in detail. `log.level = "debug"` says the same.
    pub debug: Option<bool>,
    /// Log everything. `log.level = "trace"` says the same.
    pub trace: Option<bool>,
    /// The directory of everything that is stored.
    pub root: Option<Spanned<String>>,
    /// What builds may ask for beyond the ordinary: `network.host`, `security.insecure`, `device`.
    #[serde(rename = "insecure-entitlements")]
    pub insecure_entitlements: Option<Vec<Spanned<Entitlement>>>,
    /// Let steps reach the network through a proxy that records what they fetch.
    #[serde(rename = "proxyNetwork")]
    pub proxy_network: Option<bool>,
    /// A directory with JSON files whose content becomes part of the provenance of builds.
    #[serde(rename = "provenanceEnvDir")]
    pub provenance_env_dir: Option<String>,
    /// What is logged, and how.
    pub log: LogTable,
    /// Where clients connect.
    pub grpc: GrpcTable,
    /// Traces of steps.
    pub otel: OtelTable,
    /// Devices for steps (Container Device Interface).
    pub cdi: CdiTable,
    /// How steps resolve names.
    pub dns: DnsTable,
    /// How long builds are remembered.
    pub history: HistoryTable,
    /// What runs steps.
    pub worker: WorkerTable,
    /// How each registry is reached, by its name in image references, such as `docker.io`.
    pub registry: BTreeMap<String, RegistryTable>,
    /// Which frontends builds may use.
    pub frontend: FrontendTable,
    /// The rest.
    pub system: SystemTable,
    /// Caches elsewhere.
    pub cache: CacheTable,
    /// In BuildKit's documentation, for `cache.gha`. Its daemon does not read it.
    pub ghacache: BTreeMap<String, serde_json::Value>,
    /// What Kiln has and BuildKit has not.
    pub kiln: KilnTable,
}

/// What a build may be allowed beyond the ordinary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
pub enum Entitlement {
    /// The network of the machine.
    #[serde(rename = "network.host")]
    NetworkHost,
    /// Steps with all privileges.
    #[serde(rename = "security.insecure")]
    SecurityInsecure,
    /// Devices of the machine.
    #[serde(rename = "device")]
    Device,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogTable {
    /// `text` or `json`.
    pub format: Option<LogFormat>,
    /// The least important thing that is logged.
    pub level: Option<LevelName>,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LevelName {
    /// The same as `error`.
    Panic,
    /// The same as `error`.
    Fatal,
    /// What failed.
    Error,
    /// What may fail.
    Warn,
    /// What may fail.
    Warning,
    /// What the daemon does.
    Info,
    /// The same in detail.
    Debug,
    /// Everything, with the frames of HTTP/2.
    Trace,
}

/// Traces of steps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OtelTable {
    /// The socket that steps send their traces to.
    #[serde(rename = "socketPath")]
    pub socket_path: Option<String>,
}

/// Devices for steps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CdiTable {
    /// Give no devices to steps.
    pub disabled: Option<bool>,
    /// Directories with specifications of devices.
    #[serde(rename = "specDirs")]
    pub spec_dirs: Option<Vec<String>>,
    /// Devices that need no entitlement.
    #[serde(rename = "autoAllowed")]
    pub auto_allowed: Option<Vec<String>>,
}

/// How steps resolve names.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsTable {
    /// Addresses of name servers, instead of the machine's.
    pub nameservers: Option<Vec<Spanned<String>>>,
    /// Options of the resolver, such as `edns0`.
    pub options: Option<Vec<String>>,
    /// Domains in which short names are looked for.
    #[serde(rename = "searchDomains")]
    pub search_domains: Option<Vec<String>>,
}

/// How long builds are remembered.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryTable {
    /// So long: seconds, or a duration such as `48h`.
    #[serde(rename = "maxAge")]
    pub max_age: Option<Spanned<Scalar>>,
    /// So many of them.
    #[serde(rename = "maxEntries")]
    pub max_entries: Option<Spanned<i64>>,
}

/// Which frontends builds may use.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FrontendTable {
    /// The Dockerfile frontend that is linked in.
    #[serde(rename = "dockerfile.v0")]
    pub dockerfile: LinkedTable,
    /// The mockerfile frontend that is linked in.
    #[serde(rename = "mockerfile.v0")]
    pub mockerfile: LinkedTable,
    /// Frontends that are images.
    #[serde(rename = "gateway.v0")]
    pub gateway: GatewayTable,
}

/// A frontend that is linked in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LinkedTable {
    /// Whether builds may use it; they may if nothing is said.
    pub enabled: Option<bool>,
}

/// Frontends that are images.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayTable {
    /// Whether builds may use them; they may if nothing is said.
    pub enabled: Option<bool>,
    /// The repositories that frontends may come from, without tags. All, if there are none.
    #[serde(rename = "allowedRepositories")]
    pub allowed_repositories: Option<Vec<Spanned<String>>>,
}

/// The rest.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SystemTable {
    /// How long it is taken for granted which platforms the machine runs: seconds, or a duration.
    #[serde(rename = "platformsCacheMaxAge")]
    pub platforms_cache_max_age: Option<Spanned<Scalar>>,
    /// Connections at the same time to one registry.
    #[serde(rename = "maxRegistryConcurrency")]
    pub max_registry_concurrency: Option<Spanned<i64>>,
}

/// Caches elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheTable {
    /// The cache of GitHub Actions.
    pub gha: GhaTable,
}

/// The cache of GitHub Actions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GhaTable {
    /// How what is exported is signed.
    pub sign: GhaSignTable,
    /// How what is imported is verified.
    pub verify: GhaVerifyTable,
}

/// How what is exported to the cache of GitHub Actions is signed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GhaSignTable {
    /// The program that signs its standard input, with its arguments.
    pub command: Option<Vec<String>>,
}

/// How what is imported from the cache of GitHub Actions is verified.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GhaVerifyTable {
    /// Take only what is signed.
    pub required: Option<bool>,
    /// Whose signature counts: names and values as the verifier has them.
    pub policy: BTreeMap<String, serde_json::Value>,
}

/// What Kiln has and BuildKit has not.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KilnTable {
    /// Listen on TCP without TLS, where whoever reaches the port may build with all the rights of
    /// the daemon.
    #[serde(rename = "allowPlainTCP")]
    pub allow_plain_tcp: Option<bool>,
    /// Directories with frontend plugins. These and the plugins must belong to root or the daemon's
    /// user and be writable by no one else.
    #[serde(rename = "pluginPath")]
    pub plugin_path: Option<Vec<String>>,
    /// Run plugins as plain processes of the machine, with all that the daemon may do.
    #[serde(rename = "unconfinedPlugins")]
    pub unconfined_plugins: Option<bool>,
    /// Emulators, such as `/opt/qemu/qemu-aarch64-static`, and directories of them; they come before
    /// what the machine has in its search path and in the table of its kernel.
    pub emulators: Option<Vec<String>>,
    /// Pull the images of frontends, also where one that is linked in stands for them.
    #[serde(rename = "pullFrontends")]
    pub pull_frontends: Option<bool>,
    /// How long running builds may go on once the daemon is to stop: seconds, or a duration such as
    /// `5s`, which holds if nothing is said.
    #[serde(rename = "stopTimeout")]
    pub stop_timeout: Option<Spanned<Scalar>>,
    /// How long a cancelled step may take to end after SIGTERM, before SIGKILL: seconds, or a
    /// duration such as `3s`, which holds if nothing is said.
    #[serde(rename = "stepStopTimeout")]
    pub step_stop_timeout: Option<Spanned<Scalar>>,
    /// What becomes of a cache mount whose step was killed.
    #[serde(rename = "interruptedCaches")]
    pub interrupted_caches: Option<InterruptedCaches>,
    /// Whose signatures caches need to be imported. The first entry that fits a cache counts; a cache that
    /// none fits needs no signature.
    #[serde(rename = "cacheSigners")]
    pub cache_signers: Option<Vec<Spanned<CacheSignersTable>>>,
}

/// Whose signatures some caches need.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSignersTable {
    /// Patterns of their addresses, in which `*` is any text; all, if there are none. The address of a
    /// cache in a registry is its whole reference, such as `registry.example.com/app:cache`; that of others
    /// begins with their type, such as `local://` and `s3://`, and goes on with what the client says.
    pub caches: Option<Vec<String>>,
    /// Files with public keys of OpenSSH, one a line; one of them must have signed the cache.
    #[serde(rename = "keyFiles")]
    pub key_files: Option<Vec<String>>,
    /// They need no signature. There are no `keyFiles` then.
    pub unsigned: Option<bool>,
}

/// What becomes of a cache mount whose step was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InterruptedCaches {
    /// The next step gets it as it is.
    #[default]
    Keep,
    /// The next step begins with an empty one.
    Discard,
}
