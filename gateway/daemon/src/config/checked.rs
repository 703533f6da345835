//! A configuration that has been understood: what the daemon is to do.
//!
//! Layers of text come in, a [`Config`] or every mistake goes out. Nothing is read here but what is
//! given: no file, no variable, no disk.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use kiln_document::{Diagnostic, Spanned, read_tree};
use kiln_network::Subnet;
use kiln_oci::{Platform, Reference};
use kiln_store::Filter;

use super::address::Address;
use super::file::{
    CacheSignersTable, CdiTable, ConfigFile, DnsTable, Entitlement, FrontendTable, GcPolicyTable,
    GrpcTable, HistoryTable, InterruptedCaches, KilnTable, LevelName, LogFormat, NetworkModeName,
    OciTable, TlsTable,
};
use super::judge::Judgement;
use super::layers::{ConfigError, Layer, Layers};
use super::policies::{self, Bounds, Policy};
use super::program::{Defaults, Environment, Program};
use super::quantity::{DiskSpace, Scalar, duration};
use super::registries::RegistryConfig;
use crate::LogLevel;

/// What the daemon is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What is logged.
    pub log_level: LogLevel,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Where clients connect.
    pub sockets: Sockets,
    /// Where metrics and the state of the daemon are shown.
    pub debug_address: Option<Address>,
    /// Where state is kept.
    pub root: PathBuf,
    /// What builds may ask for.
    pub entitlements: Vec<Entitlement>,
    /// What runs steps.
    pub worker: WorkerConfig,
    /// What is collected, or nothing.
    pub collection: Option<Collection>,
    /// How registries are reached.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Connections at the same time to one registry.
    pub registry_concurrency: Option<NonZeroUsize>,
    /// Which frontends builds may use.
    pub frontends: FrontendsConfig,
    /// How steps resolve names.
    pub dns: DnsConfig,
    /// Devices for steps.
    pub cdi: CdiConfig,
    /// The network of steps is a proxy that notes what passes.
    pub proxy_network: bool,
    /// How long builds are remembered.
    pub history: HistoryConfig,
    /// Where steps send traces.
    pub otel_socket: PathBuf,
    /// What becomes part of provenance.
    pub provenance_env_dir: PathBuf,
    /// How long platforms are taken for granted; `None` is forever.
    pub platforms_max_age: Option<Duration>,
    /// Emulators, and directories of them, that come before those of the machine.
    pub emulators: Vec<PathBuf>,
    /// Frontends that are executables of the machine.
    pub plugins: PluginsConfig,
    /// Pull images of frontends, also where one that is linked in stands for them.
    pub pull_frontends: bool,
    /// How the daemon and its steps end.
    pub stopping: StoppingConfig,
    /// Whose signatures caches need: the first entry that fits one counts.
    pub cache_signers: Vec<CacheSignersConfig>,
    /// What the log should say about all this.
    pub remarks: Vec<String>,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// Where to listen.
    pub addresses: Vec<Address>,
    /// The owner of Unix sockets.
    pub uid: Option<u32>,
    /// The group of Unix sockets.
    pub group: Option<Group>,
    /// TLS for TCP sockets.
    pub tls: Option<TlsFiles>,
    /// Whether TCP sockets may be without TLS.
    pub plain_tcp: bool,
}

/// A group of users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// PEM files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the daemon.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities that sign the certificates of clients.
    pub ca: Option<PathBuf>,
}

/// What runs steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// An OCI runtime; Kiln's own executor without one.
    pub binary: Option<PathBuf>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Platforms; found out if there are none.
    pub platforms: Vec<Platform>,
    /// Steps at the same time.
    pub max_parallelism: Option<usize>,
    /// The cgroup under which those of steps are made.
    pub cgroup_parent: Option<String>,
    /// How steps are connected.
    pub network: NetworkConfig,
}

/// How steps are connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// How.
    pub mode: NetworkModeName,
    /// Which CNI plugins make a network.
    pub cni_config: PathBuf,
    /// The directory of CNI plugins.
    pub cni_binaries: PathBuf,
    /// How many networks are made ahead.
    pub pool_size: Option<usize>,
    /// The name of the bridge.
    pub bridge: String,
    /// The addresses behind the bridge; some that are free, if none are named.
    pub subnet: Option<Subnet>,
    /// Whether a bridge is made if the mode is `auto`.
    pub auto_bridge: bool,
    /// Where daemons with the same bridge find one another.
    pub run: PathBuf,
}

/// What is collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// By BuildKit's policies; without bounds, with BuildKit's for the disk.
    Default(Bounds),
    /// By these, in this order.
    Policies(Vec<Policy>),
}

/// Which frontends builds may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontendsConfig {
    /// Those that builds may not use.
    pub disabled: Vec<&'static str>,
    /// Repositories that images of frontends may come from; all if there are none.
    pub allowed_repositories: Vec<String>,
}

/// Frontends that are executables of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginsConfig {
    /// Directories with plugins.
    pub directories: Vec<PathBuf>,
    /// Run them as plain processes of the machine.
    pub unconfined: bool,
}

/// Whose signatures some caches need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheSignersConfig {
    /// Patterns of their addresses; all if there are none.
    pub caches: Vec<String>,
    /// Files with the keys of which one must have signed; none if nobody must.
    pub key_files: Vec<PathBuf>,
}

/// How the daemon and its steps end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoppingConfig {
    /// How long running builds may go on once the daemon is to stop.
    pub timeout: Duration,
    /// How long a cancelled step may take to end after SIGTERM, before SIGKILL.
    pub step_timeout: Duration,
    /// What becomes of a cache mount whose step was killed.
    pub interrupted_caches: InterruptedCaches,
}

impl Default for StoppingConfig {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            step_timeout: Duration::from_secs(3),
            interrupted_caches: InterruptedCaches::default(),
        }
    }
}

/// How steps resolve names; nothing is as on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    /// Name servers.
    pub nameservers: Vec<IpAddr>,
    /// Options of the resolver.
    pub options: Vec<String>,
    /// Domains in which short names are looked for.
    pub search_domains: Vec<String>,
}

/// Devices for steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdiConfig {
    /// Give none.
    pub disabled: bool,
    /// Directories with specifications.
    pub spec_dirs: Vec<PathBuf>,
    /// Devices that need no entitlement.
    pub auto_allowed: Vec<String>,
}

/// How long builds are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryConfig {
    /// So long.
    pub max_age: Duration,
    /// So many.
    pub max_entries: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(48 * 60 * 60), max_entries: 50 }
    }
}

/// How long BuildKit takes platforms for granted.
const PLATFORMS_MAX_AGE: Duration = Duration::from_secs(20);
/// Where Linux distributions and BuildKit look for CNI plugins.
const CNI_BINARIES: &str = "/opt/cni/bin";

impl Config {
    /// Understands what was given, what counts most first, for a program in its surroundings.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, refused or unknown, each where it stands.
    pub fn of(
        program: Program,
        environment: &Environment,
        layers: Vec<Layer>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::lay(layers);
        let mut judgement = Judgement::of(&layers.tree);
        let mut mistakes = std::mem::take(&mut layers.mistakes);
        let read = mistakes.is_empty().then(|| read_tree::<ConfigFile>(&layers.tree));
        let file = read.and_then(|file| file.map_err(|found| mistakes.extend(found)).ok());
        mistakes.append(&mut judgement.mistakes);
        let Some(file) = file else { return Err(layers.error(mistakes)) };
        let mut reader = Reader { mistakes, warnings: Vec::new() };
        let mut config = reader.config(file, program.defaults(environment), environment);
        if !reader.mistakes.is_empty() {
            return Err(layers.error(reader.mistakes));
        }
        config.remarks = judgement.remarks().collect();
        config.remarks.extend(reader.warnings.iter().map(|warning| layers.line(warning)));
        Ok(config)
    }
}

/// Understands values, and collects what it cannot understand.
struct Reader {
    mistakes: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl Reader {
    fn config(
        &mut self,
        file: ConfigFile,
        defaults: Defaults,
        environment: &Environment,
    ) -> Config {
        let level = file.log.level.map(level);
        let level = level.or(file.trace.and_then(|on| on.then_some(LogLevel::Trace)));
        let level = level.or(file.debug.and_then(|on| on.then_some(LogLevel::Debug)));
        let mut registries = BTreeMap::new();
        for (name, table) in file.registry {
            registries.insert(name, RegistryConfig::read(table, &mut self.mistakes));
        }
        self.rootless(file.worker.oci.rootless.as_ref(), environment);
        Config {
            log_level: level.unwrap_or_default(),
            log_format: file.log.format.unwrap_or_default(),
            debug_address: file
                .grpc
                .debug_address
                .as_ref()
                .and_then(|address| self.understood(address, Address::of_debug_endpoint(address))),
            sockets: self.sockets(file.grpc, &defaults, file.kiln.allow_plain_tcp),
            root: file.root.map_or_else(|| defaults.root.clone(), |root| root.value.into()),
            entitlements: self.entitlements(file.insecure_entitlements.unwrap_or_default()),
            collection: self.collection(&file.worker.oci),
            worker: self.worker(file.worker.oci, &defaults),
            registries,
            registry_concurrency: file
                .system
                .max_registry_concurrency
                .and_then(|number| self.positive("maxRegistryConcurrency", &number)),
            frontends: self.frontends(file.frontend),
            dns: self.dns(file.dns),
            cdi: cdi(file.cdi, defaults.cdi_spec_dirs),
            proxy_network: file.proxy_network.unwrap_or_default(),
            history: self.history(&file.history),
            otel_socket: file.otel.socket_path.map_or(defaults.otel_socket, PathBuf::from),
            provenance_env_dir: file
                .provenance_env_dir
                .map_or(defaults.provenance_env_dir, PathBuf::from),
            platforms_max_age: self.platforms_max_age(file.system.platforms_cache_max_age),
            stopping: self.stopping(&file.kiln),
            cache_signers: self
                .cache_signers(file.kiln.cache_signers.as_deref().unwrap_or_default()),
            emulators: file.kiln.emulators.iter().flatten().map(PathBuf::from).collect(),
            plugins: plugins(&file.kiln, environment),
            pull_frontends: file.kiln.pull_frontends.unwrap_or_default(),
            remarks: Vec::new(),
        }
    }

    fn entitlements(&mut self, given: Vec<Spanned<Entitlement>>) -> Vec<Entitlement> {
        let device = given.iter().find(|entitlement| entitlement.value == Entitlement::Device);
        if let Some(device) = device {
            let warning = "no effect: `device` (steps get no devices yet)";
            self.warnings.push(Diagnostic::warning(warning).at(device.span));
        }
        given.into_iter().map(|entitlement| entitlement.value).collect()
    }

    fn sockets(&mut self, grpc: GrpcTable, defaults: &Defaults, plain: Option<bool>) -> Sockets {
        let tls = self.tls(grpc.tls);
        let plain_tcp = plain.unwrap_or_default();
        let given = grpc.address.unwrap_or_default();
        let mut addresses = Vec::new();
        for text in &given {
            let Some(address) = self.understood(text, text.parse::<Address>()) else { continue };
            if matches!(address, Address::Tcp(_)) && tls.is_none() && !plain_tcp {
                self.mistakes.push(plain_tcp_refused(text));
            }
            addresses.push(address);
        }
        if given.is_empty() {
            addresses.extend(defaults.address.parse::<Address>().ok());
        }
        Sockets {
            addresses,
            uid: grpc.uid.and_then(|uid| self.id(&uid.clone().map(|uid| Scalar(uid.to_string())))),
            group: grpc.gid.and_then(|gid| self.group(&gid)),
            tls,
            plain_tcp,
        }
    }

    fn tls(&mut self, tls: TlsTable) -> Option<TlsFiles> {
        let path = |text: Spanned<String>| PathBuf::from(text.value);
        match (tls.cert, tls.key) {
            (Some(cert), Some(key)) => {
                if tls.ca.is_none() {
                    let warning = "clients need no certificate: whoever connects may build";
                    self.warnings.push(Diagnostic::warning(warning).at(cert.span));
                }
                Some(TlsFiles { cert: path(cert), key: path(key), ca: tls.ca.map(path) })
            }
            (Some(one), None) | (None, Some(one)) => {
                let mistake = "you must specify key and cert file if one is specified";
                self.mistakes.push(Diagnostic::error(mistake).at(one.span));
                None
            }
            (None, None) => {
                if let Some(ca) = tls.ca {
                    let mistake = "certificates of clients cannot be verified without TLS";
                    let mistake = Diagnostic::error(mistake).at(ca.span);
                    self.mistakes.push(mistake.hint("give the daemon a certificate and a key"));
                }
                None
            }
        }
    }

    fn worker(&mut self, oci: OciTable, defaults: &Defaults) -> WorkerConfig {
        let platforms = oci.platforms.unwrap_or_default();
        let platforms = platforms
            .iter()
            .filter_map(|text| self.understood(text, Platform::parse(text)))
            .map(Platform::normalized);
        let platforms = platforms.collect();
        let pool = oci.cni_pool_size.and_then(|size| self.not_negative("cniPoolSize", &size));
        let subnet = oci.bridge_subnet;
        let subnet = subnet.and_then(|text| self.understood(&text, text.value.parse::<Subnet>()));
        let most = oci.max_parallelism.map_or(0, |most| most.value);
        WorkerConfig {
            binary: oci.binary.map(PathBuf::from),
            labels: oci.labels,
            platforms,
            max_parallelism: usize::try_from(most).ok().filter(|most| *most > 0),
            cgroup_parent: oci.default_cgroup_parent.map(|parent| parent.value),
            network: NetworkConfig {
                mode: oci.network_mode.unwrap_or_default(),
                cni_config: oci
                    .cni_config_path
                    .map_or_else(|| defaults.cni_config.clone(), PathBuf::from),
                cni_binaries: oci.cni_binary_path.map_or(CNI_BINARIES.into(), PathBuf::from),
                pool_size: pool,
                bridge: oci.bridge_name.unwrap_or_else(|| defaults.bridge.to_owned()),
                subnet,
                auto_bridge: defaults.auto_bridge,
                run: defaults.network_run.clone(),
            },
        }
    }

    fn collection(&mut self, oci: &OciTable) -> Option<Collection> {
        let bounds = Bounds {
            reserved: self.space(oci.reserved_space.as_ref()),
            max_used: self.space(oci.max_used_space.as_ref()),
            min_free: self.space(oci.min_free_space.as_ref()),
        };
        let older = self.space(oci.gckeepstorage.as_ref());
        let policies = oci.gcpolicy.as_deref().unwrap_or_default();
        let policies: Vec<Policy> = policies.iter().map(|table| self.policy(table)).collect();
        if oci.gc == Some(false) {
            return None;
        }
        if !policies.is_empty() {
            return Some(Collection::Policies(policies));
        }
        Some(Collection::Default(match bounds {
            Bounds::NONE => Bounds { reserved: older, ..Bounds::NONE },
            bounds => bounds,
        }))
    }

    fn policy(&mut self, table: &GcPolicyTable) -> Policy {
        let filters = table.filters.as_deref().unwrap_or_default();
        for filter in filters {
            self.understood(filter, Filter::parse(&[&filter.value]));
        }
        let older = self.space(table.keep_bytes.as_ref());
        let mut bounds = Bounds {
            reserved: self.space(table.reserved_space.as_ref()),
            max_used: self.space(table.max_used_space.as_ref()),
            min_free: self.space(table.min_free_space.as_ref()),
        };
        if bounds.reserved == DiskSpace::NONE {
            bounds.reserved = older;
        }
        Policy {
            all: table.all.unwrap_or_default(),
            filters: filters.iter().map(|filter| filter.value.clone()).collect(),
            keep_duration: self.duration(table.keep_duration.as_ref()).unwrap_or_default(),
            bounds,
        }
    }

    fn space(&mut self, text: Option<&Spanned<Scalar>>) -> DiskSpace {
        let Some(text) = text else { return DiskSpace::NONE };
        DiskSpace::parse(&text.value.0).unwrap_or_else(|| {
            let mistake = format!("`{text}` is no amount of disk space");
            let hint = "write bytes (512000000), a size (512MB) or a part of the disk (10%)";
            self.mistakes.push(Diagnostic::error(mistake).at(text.span).hint(hint));
            DiskSpace::NONE
        })
    }

    fn duration(&mut self, text: Option<&Spanned<Scalar>>) -> Option<Duration> {
        let text = text?;
        let read = duration(&text.value.0);
        if read.is_none() {
            let mistake = Diagnostic::error(format!("`{text}` is no duration")).at(text.span);
            self.mistakes.push(mistake.hint("write seconds (172800) or a duration (48h)"));
        }
        read
    }

    /// Less than nothing is forever.
    fn platforms_max_age(&mut self, age: Option<Spanned<Scalar>>) -> Option<Duration> {
        let Some(mut age) = age else { return Some(PLATFORMS_MAX_AGE) };
        if let Some(positive) = age.value.0.strip_prefix('-') {
            age.value = Scalar(positive.to_owned());
            self.duration(Some(&age));
            return None;
        }
        self.duration(Some(&age))
    }

    fn history(&mut self, table: &HistoryTable) -> HistoryConfig {
        let default = HistoryConfig::default();
        let age = self.duration(table.max_age.as_ref()).filter(|age| !age.is_zero());
        let entries = table.max_entries.as_ref();
        let entries = entries.and_then(|number| self.not_negative("maxEntries", number));
        HistoryConfig {
            max_age: age.unwrap_or(default.max_age),
            max_entries: entries.filter(|entries| *entries > 0).unwrap_or(default.max_entries),
        }
    }

    fn stopping(&mut self, table: &KilnTable) -> StoppingConfig {
        let default = StoppingConfig::default();
        let timeout = self.duration(table.stop_timeout.as_ref());
        let step_timeout = self.duration(table.step_stop_timeout.as_ref());
        StoppingConfig {
            timeout: timeout.unwrap_or(default.timeout),
            step_timeout: step_timeout.unwrap_or(default.step_timeout),
            interrupted_caches: table.interrupted_caches.unwrap_or_default(),
        }
    }

    fn cache_signers(&mut self, tables: &[Spanned<CacheSignersTable>]) -> Vec<CacheSignersConfig> {
        let mut read = Vec::new();
        for Spanned { value: table, span } in tables {
            let key_files = table.key_files.as_deref().unwrap_or_default();
            if key_files.is_empty() != table.unsigned.unwrap_or_default() {
                let mistake = "an entry of cacheSigners has keyFiles or says unsigned = true";
                let hint = "name the files with the keys of which one must have signed";
                self.mistakes.push(Diagnostic::error(mistake).at(*span).hint(hint));
            }
            read.push(CacheSignersConfig {
                caches: table.caches.clone().unwrap_or_default(),
                key_files: key_files.iter().map(PathBuf::from).collect(),
            });
        }
        read
    }

    fn frontends(&mut self, table: FrontendTable) -> FrontendsConfig {
        let enabled = [
            ("dockerfile.v0", table.dockerfile.enabled),
            ("mockerfile.v0", table.mockerfile.enabled),
            ("gateway.v0", table.gateway.enabled),
        ];
        let disabled = enabled.into_iter().filter(|(_, enabled)| *enabled == Some(false));
        let allowed = table.gateway.allowed_repositories.unwrap_or_default();
        let allowed = allowed
            .iter()
            .filter_map(|text| self.understood(text, Reference::parse_untagged(text)))
            .map(|reference| reference.name());
        FrontendsConfig {
            allowed_repositories: allowed.collect(),
            disabled: disabled.map(|(name, _)| name).collect(),
        }
    }

    fn dns(&mut self, table: DnsTable) -> DnsConfig {
        let servers = table.nameservers.unwrap_or_default();
        let servers = servers.iter().filter_map(|text| {
            let address = text.parse::<IpAddr>().ok();
            if address.is_none() {
                let mistake = format!("`{text}` is not the address of a name server");
                self.mistakes.push(Diagnostic::error(mistake).at(text.span));
            }
            address
        });
        DnsConfig {
            nameservers: servers.collect(),
            options: table.options.unwrap_or_default(),
            search_domains: table.search_domains.unwrap_or_default(),
        }
    }

    /// Rootless is what the daemon is or is not.
    fn rootless(&mut self, rootless: Option<&Spanned<bool>>, environment: &Environment) {
        let Some(rootless) = rootless.filter(|rootless| rootless.value) else { return };
        if environment.root && !environment.user_namespace {
            let hint = "start the daemon as an ordinary user; it makes a user namespace itself";
            let mistake = "rootless mode is not for root outside of a user namespace";
            self.mistakes.push(Diagnostic::error(mistake).at(rootless.span).hint(hint));
        }
    }

    fn group(&mut self, text: &Spanned<Scalar>) -> Option<Group> {
        let number = text.value.0.trim_start_matches('-').parse::<u64>();
        match number {
            Ok(_) => self.id(text).map(Group::Id),
            Err(_) => Some(Group::Name(text.value.0.clone())),
        }
    }

    /// A user or group id; the highest number is none.
    fn id(&mut self, text: &Spanned<Scalar>) -> Option<u32> {
        let id = text.value.0.parse().ok().filter(|id| *id != u32::MAX);
        if id.is_none() {
            let mistake = format!("`{text}` is no id of a user or group");
            self.mistakes.push(Diagnostic::error(mistake).at(text.span));
        }
        id
    }

    fn positive(&mut self, what: &str, number: &Spanned<i64>) -> Option<NonZeroUsize> {
        let positive = usize::try_from(number.value).ok().and_then(NonZeroUsize::new);
        if positive.is_none() {
            let mistake = format!("{what} must be greater than zero");
            self.mistakes.push(Diagnostic::error(mistake).at(number.span));
        }
        positive
    }

    fn not_negative<T: TryFrom<i64>>(&mut self, what: &str, number: &Spanned<i64>) -> Option<T> {
        let fine = T::try_from(number.value).ok();
        if fine.is_none() {
            let mistake = format!("{what} must not be less than zero");
            self.mistakes.push(Diagnostic::error(mistake).at(number.span));
        }
        fine
    }

    fn understood<S, T, E: std::error::Error>(
        &mut self,
        text: &Spanned<S>,
        result: Result<T, E>,
    ) -> Option<T> {
        let problem = |error: E| Diagnostic::error(error.to_string()).at(text.span);
        result.map_err(|error| self.mistakes.push(problem(error))).ok()
    }
}

fn plain_tcp_refused(address: &Spanned<String>) -> Diagnostic {
    Diagnostic::error(format!("{address} would be without TLS: whoever reaches it is root here"))
        .at(address.span)
        .hint(
            "give --tlscert, --tlskey and --tlscacert (grpc.tls), or say --allow-plain-tcp \
             (kiln.allowPlainTCP = true) if everyone who can connect may do everything",
        )
}

fn cdi(table: CdiTable, default: Vec<PathBuf>) -> CdiConfig {
    let directories = table.spec_dirs.unwrap_or_default();
    let directories: Vec<_> = directories.into_iter().map(PathBuf::from).collect();
    CdiConfig {
        disabled: table.disabled.unwrap_or_default(),
        spec_dirs: if directories.is_empty() { default } else { directories },
        auto_allowed: table.auto_allowed.unwrap_or_default(),
    }
}

/// Directories that are named, then those of the variable. An empty path would be whatever directory
/// the daemon was started in.
fn plugins(table: &KilnTable, environment: &Environment) -> PluginsConfig {
    let variable = environment.get("KILN_PLUGIN_PATH").unwrap_or_default();
    let named = table.plugin_path.iter().flatten().map(PathBuf::from);
    let directories = named.chain(std::env::split_paths(variable));
    PluginsConfig {
        directories: directories.filter(|path| !path.as_os_str().is_empty()).collect(),
        unconfined: table.unconfined_plugins.unwrap_or_default(),
    }
}

fn level(name: LevelName) -> LogLevel {
    match name {
        LevelName::Panic | LevelName::Fatal | LevelName::Error => LogLevel::Error,
        LevelName::Warn | LevelName::Warning => LogLevel::Warn,
        LevelName::Info => LogLevel::Info,
        LevelName::Debug => LogLevel::Debug,
        LevelName::Trace => LogLevel::Trace,
    }
}

impl Collection {
    /// The policies, for a disk of so many bytes.
    pub fn on_disk(&self, total: u64) -> Vec<kiln_store::PruneOptions> {
        let policies = match self {
            Self::Default(bounds) => policies::defaults(*bounds, total),
            Self::Policies(policies) => policies.clone(),
        };
        policies.iter().map(|policy| policy.on_disk(total)).collect()
    }
}
