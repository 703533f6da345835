//! All options of a build, read once, in one order, with the errors BuildKit users know.
//!
//! The map of strings comes in, [`Settings`] go out; past this boundary nothing looks at the strings
//! again. A language that only needs one or two options may ask [`Options`] for them instead.

use std::collections::BTreeMap;
use std::net::IpAddr;

use kiln_llb::{Exec, LinuxResources, Mount, MountKind, NetMode, ResolveMode, State, Ulimit};
use kiln_oci::{Platform, PlatformError, excerpt, quoted};
use serde_json::{Map, Value};

use super::attests::{AttestError, Attests, SbomScanner, attests, scanner};
use super::fields::{FieldsError, fields};
use super::limits::{ResourceError, UlimitError, linux_resources, ulimits};
use super::words::{NumberError, boolean, integer};
use super::{NoCache, Options};
use crate::{BuildInfo, CacheImport, FrontendError, JsonType, json_error};

/// Everything the options of a build say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The file to build, if the user names one (`filename`).
    pub filename: Option<String>,
    /// What to build of it; empty is the language's choice (`target`).
    pub target: String,
    /// Build arguments, by name (`build-arg:*`).
    pub build_args: BTreeMap<String, String>,
    /// Labels for the image, by name (`label:*`).
    pub labels: BTreeMap<String, String>,
    /// The platform that steps run on: the default worker's first.
    pub build_platform: Platform,
    /// The platforms to build for; empty if the user does not say (`platform`).
    pub target_platforms: Vec<Platform>,
    /// Whether the result is an index even for one platform (`multi-platform`).
    pub multi_platform: bool,
    /// Steps that must run although the cache has them (`no-cache`).
    pub no_cache: NoCache,
    /// How images are found (`image-resolve-mode`).
    pub resolve_mode: ResolveMode,
    /// The network of commands (`force-network-mode`).
    pub network: NetMode,
    /// More hosts that commands know (`add-hosts`).
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// The size of `/dev/shm` in bytes; 0 is the daemon's choice (`shm-size`).
    pub shm_size_bytes: i64,
    /// Limits on processes (`ulimit`).
    pub ulimits: Vec<Ulimit>,
    /// Limits on memory and CPU time (`memory`, `memswap`, `cpu*`).
    pub linux_resources: Option<LinuxResources>,
    /// The parent of the cgroups of commands (`cgroup-parent`).
    pub cgroup_parent: String,
    /// The host name that commands see (`hostname`, `build-arg:BUILDKIT_SANDBOX_HOSTNAME`).
    pub hostname: String,
    /// Caches to look into (`cache-imports`, `cache-from`).
    pub cache_imports: Vec<CacheImport>,
    /// What is put in front of the ids of cache mounts (`build-arg:BUILDKIT_CACHE_MOUNT_NS`).
    pub cache_namespace: String,
    /// Attestations the user asks for (`attest:*`).
    pub attests: Attests,
    /// The scanner, if one of them is a list of contents.
    pub sbom: Option<SbomScanner>,
    /// Rules for checks, as they came (`build-arg:BUILDKIT_DOCKERFILE_CHECK`).
    pub check: Option<String>,
    /// The frontend to forward to (`build-arg:BUILDKIT_SYNTAX`).
    pub syntax: Option<String>,
    /// The line by which this frontend was called; set if a frontend forwarded (`cmdline`).
    pub cmdline: Option<String>,
    /// The sub-request, if it is one (`requestid`).
    pub request: Option<String>,
    /// The time of everything, as it came: seconds, or the name of something that has a time
    /// (`build-arg:SOURCE_DATE_EPOCH`).
    pub source_date_epoch: Option<String>,
    /// What the caller requires of this frontend, as it came (`frontend.caps`).
    pub frontend_caps: Vec<String>,
    /// Other sessions that have local directories, by the directory's name (`local-sessionid:*`).
    pub local_sessions: BTreeMap<String, String>,
}

/// Why the options make no sense, in the words of BuildKit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The daemon is too old.
    #[error(
        "needs BuildKit 0.5 or later: requested prerelease feature file.base  is not supported by build server, \
         please update "
    )]
    OldDaemon,
    /// The option was taken away.
    #[error("support for \"override-copy-image\" was removed in BuildKit 0.11")]
    OverrideCopyImage,
    /// The build argument was taken away.
    #[error("support for \"BUILDKIT_DISABLE_FILEOP\" build-arg was removed in BuildKit 0.11")]
    DisableFileop,
    /// A platform is none.
    #[error("failed to parse target platform {text}: {error}")]
    Platform {
        /// What the user wrote.
        text: String,
        /// What is wrong with it.
        error: PlatformError,
    },
    /// No such way to find images.
    #[error("invalid image-resolve-mode: {0}")]
    ResolveMode(String),
    /// A host is none.
    #[error("failed to parse additional hosts: {0}")]
    Hosts(#[source] HostsError),
    /// The size of shared memory is none.
    #[error("failed to parse shm size: {0}")]
    ShmSize(#[source] NumberError),
    /// A limit is none.
    #[error("failed to parse ulimit: {0}")]
    Ulimit(#[source] UlimitError),
    /// A limit on memory or CPU time is none.
    #[error("failed to parse resource limits: {0}")]
    Resources(#[source] ResourceError),
    /// No such network.
    #[error("invalid netmode {0}")]
    Network(String),
    /// Neither true nor false.
    #[error("invalid boolean value for multi-platform: {0}")]
    MultiPlatform(String),
    /// Several platforms cannot be one.
    #[error("conflicting config: returning multiple target platforms is not allowed")]
    SeveralPlatforms,
    /// Caches that are not JSON.
    #[error("failed to unmarshal cache-imports ({}): {reason}", quoted(.text))]
    CacheImports {
        /// What came.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An attestation makes no sense.
    #[error(transparent)]
    Attest(#[from] AttestError),
}

/// Why a list of hosts is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostsError {
    /// It is no list.
    #[error(transparent)]
    Fields(#[from] FieldsError),
    /// There is no `=`.
    #[error("invalid key-value pair {0}")]
    NoAddress(String),
    /// The address is none.
    #[error("failed to parse IP {0}")]
    Address(String),
}

impl From<SettingsError> for FrontendError {
    fn from(error: SettingsError) -> Self {
        Self::unknown(error.to_string())
    }
}

impl Settings {
    /// Reads all options of a build.
    ///
    /// # Errors
    ///
    /// The first that makes no sense, or that the daemon is too old.
    ///
    /// ```
    /// use kiln_frontend::{BuildInfo, Settings};
    ///
    /// let options = [("platform", "linux/arm64"), ("add-hosts", "db=10.0.0.7")];
    /// let options = options.map(|(key, value)| (key.to_owned(), value.to_owned()));
    /// let info = BuildInfo::default().with_options(options.into_iter().collect());
    /// let settings = Settings::read(&info)?;
    /// assert_eq!(settings.target_platforms[0].format(), "linux/arm64");
    /// assert_eq!(settings.extra_hosts[0].0, "db");
    /// # Ok::<(), kiln_frontend::SettingsError>(())
    /// ```
    pub fn read(info: &BuildInfo) -> Result<Self, SettingsError> {
        let options = &info.options;
        check_daemon(info)?;
        // The order is BuildKit's: the first error is the one that users see.
        let target_platforms = platforms(options.get("platform").unwrap_or_default())?;
        let resolve_mode = resolve_mode(options.get("image-resolve-mode").unwrap_or_default())?;
        let extra_hosts = hosts(options.get("add-hosts").unwrap_or_default());
        let extra_hosts = extra_hosts.map_err(SettingsError::Hosts)?;
        let shm_size_bytes =
            options.given("shm-size").map_or(Ok(0), integer).map_err(SettingsError::ShmSize)?;
        let ulimits = ulimits(options.get("ulimit").unwrap_or_default());
        let ulimits = ulimits.map_err(SettingsError::Ulimit)?;
        let linux_resources = linux_resources(options).map_err(SettingsError::Resources)?;
        let network = network(options.get("force-network-mode").unwrap_or_default())?;
        let multi_platform = multi_platform(options, target_platforms.len() > 1)?;
        let cache_imports = cache_imports(options)?;
        let attests = attests(options)?;
        let own = |key: &str| options.get(key).map(str::to_owned);
        let text = |key: &str| own(key).unwrap_or_default();
        let map = |prefix: &str| -> BTreeMap<String, String> {
            let pairs = options.with_prefix(prefix);
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        let hostname = options.given("build-arg:BUILDKIT_SANDBOX_HOSTNAME");
        Ok(Self {
            filename: own("filename"),
            target: text("target"),
            build_args: map("build-arg:"),
            labels: map("label:"),
            build_platform: info.default_platform(),
            target_platforms,
            multi_platform,
            no_cache: options.no_cache(),
            resolve_mode,
            network,
            extra_hosts,
            shm_size_bytes,
            ulimits,
            linux_resources,
            cgroup_parent: text("cgroup-parent"),
            hostname: hostname.map_or_else(|| text("hostname"), str::to_owned),
            cache_imports,
            cache_namespace: text("build-arg:BUILDKIT_CACHE_MOUNT_NS"),
            sbom: scanner(&attests)?,
            attests,
            check: own("build-arg:BUILDKIT_DOCKERFILE_CHECK"),
            syntax: own("build-arg:BUILDKIT_SYNTAX"),
            cmdline: own("cmdline"),
            request: own("requestid"),
            source_date_epoch: own("build-arg:SOURCE_DATE_EPOCH"),
            frontend_caps: options
                .given("frontend.caps")
                .map(|caps| caps.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            local_sessions: map("local-sessionid:"),
        })
    }

    /// Whether this frontend can do all the caller requires (`frontend.caps`).
    ///
    /// A capability with `+forward` is none of ours if the build is passed on to another frontend.
    ///
    /// # Errors
    ///
    /// The first capability that is not among `supported`, else the last one that is to be passed on.
    pub fn check_caps(&self, supported: &[&str], forwarding: bool) -> Result<(), FrontendError> {
        let mut passed_on = None;
        for cap in &self.frontend_caps {
            let name = cap.split('+').next().unwrap_or_default();
            if supported.contains(&name) {
                continue;
            }
            if !cap.contains("+forward") {
                return Err(FrontendError::unsupported_capability(name));
            }
            passed_on = Some(name);
        }
        match passed_on.filter(|_| !forwarding) {
            Some(name) => Err(FrontendError::unsupported_capability(name)),
            None => Ok(()),
        }
    }

    /// A command with what the user set for all commands, where it says nothing itself: network,
    /// hosts, limits, the cgroup's parent, the host name, shared memory.
    ///
    /// What the daemon of `info` cannot do is left out.
    pub fn applied_to(&self, mut exec: Exec, info: &BuildInfo) -> Exec {
        let can = |cap: &str| info.llb_caps.is_empty() || info.llb_caps.contains(cap);
        if exec.network.is_none() && self.network != NetMode::Sandbox {
            exec.network = Some(self.network);
        }
        exec.extra_hosts.splice(0..0, self.extra_hosts.iter().cloned());
        if can("exec.meta.ulimit") {
            exec.ulimits.splice(0..0, self.ulimits.iter().cloned());
        }
        if exec.cgroup_parent.is_empty() && can("exec.meta.cgroup.parent") {
            exec.cgroup_parent.clone_from(&self.cgroup_parent);
        }
        if exec.hostname.is_empty() {
            exec.hostname.clone_from(&self.hostname);
        }
        if exec.constraints.linux_resources.is_none() && can("exec.meta.linux.resources") {
            exec.constraints.linux_resources.clone_from(&self.linux_resources);
        }
        let mounted = exec.mounts.iter().any(|mount| mount.target == "/dev/shm");
        if self.shm_size_bytes > 0 && !mounted && can("exec.mount.tmpfs.size") {
            let kind = MountKind::Tmpfs { size_bytes: self.shm_size_bytes };
            exec.mounts.push(Mount::bind("/dev/shm", &State::scratch()).with_kind(kind));
        }
        exec
    }

    /// The platforms to build for: those the user names, else the one that steps run on.
    pub fn platforms(&self) -> Vec<Platform> {
        match self.target_platforms.is_empty() {
            true => vec![self.build_platform.clone()],
            false => self.target_platforms.clone(),
        }
    }
}

fn check_daemon(info: &BuildInfo) -> Result<(), SettingsError> {
    // A daemon that says nothing of itself is a test's, and can do everything.
    if !info.llb_caps.is_empty() && !info.llb_caps.contains("file.base") {
        return Err(SettingsError::OldDaemon);
    }
    if info.options.given("override-copy-image").is_some() {
        return Err(SettingsError::OverrideCopyImage);
    }
    match info.options.build_arg("BUILDKIT_DISABLE_FILEOP").and_then(boolean) {
        Some(true) => Err(SettingsError::DisableFileop),
        _ => Ok(()),
    }
}

fn platforms(list: &str) -> Result<Vec<Platform>, SettingsError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let parse = |text: &str| {
        text.parse().map_err(|error| SettingsError::Platform { text: excerpt(text), error })
    };
    list.split(',').map(parse).collect()
}

fn resolve_mode(text: &str) -> Result<ResolveMode, SettingsError> {
    match text {
        "" | "default" => Ok(ResolveMode::Default),
        "pull" => Ok(ResolveMode::Pull),
        "local" => Ok(ResolveMode::Local),
        _ => Err(SettingsError::ResolveMode(text.to_owned())),
    }
}

fn hosts(list: &str) -> Result<Vec<(String, IpAddr)>, HostsError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let host = |field: String| {
        let pair = field.to_lowercase();
        let Some((name, address)) = pair.split_once('=') else {
            return Err(HostsError::NoAddress(field));
        };
        match address.parse() {
            Ok(address) => Ok((name.to_owned(), address)),
            Err(_) => Err(HostsError::Address(address.to_owned())),
        }
    };
    fields(list)?.into_iter().map(host).collect()
}

fn network(text: &str) -> Result<NetMode, SettingsError> {
    match text {
        "" | "sandbox" => Ok(NetMode::Sandbox),
        "none" => Ok(NetMode::None),
        "host" => Ok(NetMode::Host),
        _ => Err(SettingsError::Network(text.to_owned())),
    }
}

fn multi_platform(options: &Options, several: bool) -> Result<bool, SettingsError> {
    let arg = options.given("build-arg:BUILDKIT_MULTI_PLATFORM");
    match arg.or_else(|| options.given("multi-platform")) {
        None => Ok(several),
        Some(text) => match boolean(text) {
            None => Err(SettingsError::MultiPlatform(text.to_owned())),
            Some(false) if several => Err(SettingsError::SeveralPlatforms),
            Some(multi) => Ok(multi),
        },
    }
}

/// Caches as clients write them.
const CACHE_ENTRIES: JsonType = JsonType::List(
    "[]*moby_buildkit_v1.CacheOptionsEntry",
    &JsonType::Fields(
        "moby_buildkit_v1.CacheOptionsEntry",
        &[
            ("Type", JsonType::Text("string")),
            ("Attrs", JsonType::Map("map[string]string", &JsonType::Text("string"))),
        ],
    ),
);

/// A cache of [`CACHE_ENTRIES`]. Names of fields are those of any case.
fn cache_import(entry: Map<String, Value>) -> CacheImport {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut import = CacheImport::default();
    for (name, value) in entry {
        if name.eq_ignore_ascii_case("type") {
            import.kind = text(&value);
        } else if name.eq_ignore_ascii_case("attrs") {
            let attrs = value.as_object().into_iter().flatten();
            import.attrs.extend(attrs.map(|(key, value)| (key.clone(), text(value))));
        }
    }
    import
}

fn cache_imports(options: &Options) -> Result<Vec<CacheImport>, SettingsError> {
    let mut imports = Vec::new();
    if let Some(text) = options.given("cache-imports") {
        let malformed = |reason| SettingsError::CacheImports { text: excerpt(text), reason };
        if let Some(error) = json_error(text.as_bytes(), &CACHE_ENTRIES) {
            return Err(malformed(error));
        }
        let entries: Option<Vec<Map<String, Value>>> =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        imports.extend(entries.into_iter().flatten().map(cache_import));
    }
    // The older spelling knows registries only.
    let references = options.given("cache-from").into_iter().flat_map(|list| list.split(','));
    imports.extend(references.map(|reference| CacheImport {
        kind: "registry".to_owned(),
        attrs: [("ref".to_owned(), reference.to_owned())].into(),
    }));
    Ok(imports)
}
