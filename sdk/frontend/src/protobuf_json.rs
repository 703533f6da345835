//! Ops and their metadata in the protobuf JSON mapping, with sorted keys.
//!
//! Names are the mapping's: `lowerCamelCase` unless the schema's name is spelt otherwise, numbers of
//! 64 bits are strings, enums are names, bytes are base64, default values are left out. A message
//! that is present and empty is `{}`. This is for reading and comparing; nothing reads it back.

use std::collections::BTreeMap;
use std::fmt::Display;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_wire::pb;
use kiln_wire::pb::file_action::Action;
use kiln_wire::pb::op::Op as Kind;
use kiln_wire::pb::user_opt::User;
use serde_json::{Map, Value};

/// A message that has a JSON form.
pub trait ProtobufJson {
    /// Writes the fields that are set.
    fn fields(&self, object: &mut Object);

    /// The message as JSON.
    fn to_json(&self) -> Value {
        let mut object = Object::default();
        self.fields(&mut object);
        Value::Object(object.0)
    }
}

/// A JSON object under construction.
#[derive(Debug, Default)]
pub struct Object(Map<String, Value>);

impl Object {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.set(name, value);
        }
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.set(name, values);
        }
    }

    fn bool(&mut self, name: &str, value: bool) {
        if value {
            self.set(name, true);
        }
    }

    /// A number of 32 bits.
    fn short(&mut self, name: &str, value: impl Into<i64>) {
        let value = value.into();
        if value != 0 {
            self.set(name, value);
        }
    }

    /// A number of 64 bits.
    fn long(&mut self, name: &str, value: impl Display + Default + PartialEq) {
        if value != Default::default() {
            self.set(name, value.to_string());
        }
    }

    fn longs(&mut self, name: &str, values: &[i64]) {
        if !values.is_empty() {
            self.set(name, values.iter().map(i64::to_string).collect::<Vec<_>>());
        }
    }

    /// An enum by its name; a number this version does not know stays one.
    fn choice(&mut self, name: &str, value: i32, known: Option<&str>) {
        if value != 0 {
            self.set(name, known.map_or_else(|| Value::from(value), Value::from));
        }
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.text(name, &STANDARD.encode(value));
    }

    fn message(&mut self, name: &str, message: Option<&impl ProtobufJson>) {
        if let Some(message) = message {
            self.set(name, message.to_json());
        }
    }

    fn messages(&mut self, name: &str, messages: &[impl ProtobufJson]) {
        if !messages.is_empty() {
            self.set(name, messages.iter().map(ProtobufJson::to_json).collect::<Vec<_>>());
        }
    }

    fn map<V>(&mut self, name: &str, map: &BTreeMap<String, V>, value: impl Fn(&V) -> Value) {
        if !map.is_empty() {
            let entries = map.iter().map(|(key, entry)| (key.clone(), value(entry)));
            self.set(name, entries.collect::<Map<_, _>>());
        }
    }

    fn text_map(&mut self, name: &str, map: &BTreeMap<String, String>) {
        self.map(name, map, |text| text.as_str().into());
    }
}

macro_rules! protobuf_json {
    ($($message:ident($this:ident, $o:ident) $body:block)*) => {
        $(impl ProtobufJson for pb::$message {
            fn fields(&self, $o: &mut Object) {
                let $this = self;
                $body
            }
        })*
    };
}

/// The name of an enum's number.
macro_rules! name_of {
    ($kind:ident, $number:expr) => {
        pb::$kind::try_from($number).ok().map(|value| value.as_str_name())
    };
}

protobuf_json! {
    Op(m, o) {
        o.messages("inputs", &m.inputs);
        match &m.op {
            Some(Kind::Exec(op)) => o.message("exec", Some(op)),
            Some(Kind::Source(op)) => o.message("source", Some(op)),
            Some(Kind::File(op)) => o.message("file", Some(op)),
            Some(Kind::Build(op)) => o.message("build", Some(op)),
            Some(Kind::Merge(op)) => o.message("merge", Some(op)),
            Some(Kind::Diff(op)) => o.message("diff", Some(op)),
            Some(Kind::Passthrough(op)) => o.message("passthrough", Some(op)),
            None => {}
        }
        o.message("platform", m.platform.as_ref());
        o.message("constraints", m.constraints.as_ref());
    }
    Input(m, o) {
        o.text("digest", &m.digest);
        o.long("index", m.index);
    }
    Platform(m, o) {
        o.text("Architecture", &m.architecture);
        o.text("OS", &m.os);
        o.text("Variant", &m.variant);
        o.text("OSVersion", &m.os_version);
        o.texts("OSFeatures", &m.os_features);
    }
    WorkerConstraints(m, o) {
        o.texts("filter", &m.filter);
    }
    ExecOp(m, o) {
        o.message("meta", m.meta.as_ref());
        o.messages("mounts", &m.mounts);
        o.choice("network", m.network, name_of!(NetMode, m.network));
        o.choice("security", m.security, name_of!(SecurityMode, m.security));
        o.messages("secretenv", &m.secretenv);
        o.messages("cdiDevices", &m.cdi_devices);
    }
    Meta(m, o) {
        o.texts("args", &m.args);
        o.texts("env", &m.env);
        o.text("cwd", &m.cwd);
        o.text("user", &m.user);
        o.message("proxyEnv", m.proxy_env.as_ref());
        o.messages("extraHosts", &m.extra_hosts);
        o.text("hostname", &m.hostname);
        o.messages("ulimit", &m.ulimit);
        o.text("cgroupParent", &m.cgroup_parent);
        o.bool("removeMountStubsRecursive", m.remove_mount_stubs_recursive);
        if !m.valid_exit_codes.is_empty() {
            o.set("validExitCodes", m.valid_exit_codes.clone());
        }
    }
    HostIp(m, o) {
        o.text("Host", &m.host);
        o.text("IP", &m.ip);
    }
    Ulimit(m, o) {
        o.text("Name", &m.name);
        o.long("Soft", m.soft);
        o.long("Hard", m.hard);
    }
    SecretEnv(m, o) {
        o.text("ID", &m.id);
        o.text("name", &m.name);
        o.bool("optional", m.optional);
    }
    CdiDevice(m, o) {
        o.text("name", &m.name);
        o.bool("optional", m.optional);
    }
    ProxyEnv(m, o) {
        o.text("httpProxy", &m.http_proxy);
        o.text("httpsProxy", &m.https_proxy);
        o.text("ftpProxy", &m.ftp_proxy);
        o.text("noProxy", &m.no_proxy);
        o.text("allProxy", &m.all_proxy);
    }
    Mount(m, o) {
        o.long("input", m.input);
        o.text("selector", &m.selector);
        o.text("dest", &m.dest);
        o.long("output", m.output);
        o.bool("readonly", m.readonly);
        o.choice("mountType", m.mount_type, name_of!(MountType, m.mount_type));
        o.message("TmpfsOpt", m.tmpfs_opt.as_ref());
        o.message("cacheOpt", m.cache_opt.as_ref());
        o.message("secretOpt", m.secret_opt.as_ref());
        o.message("SSHOpt", m.ssh_opt.as_ref());
        o.text("resultID", &m.result_id);
        o.choice("contentCache", m.content_cache, name_of!(MountContentCache, m.content_cache));
    }
    TmpfsOpt(m, o) {
        o.long("size", m.size);
    }
    CacheOpt(m, o) {
        o.text("ID", &m.id);
        o.choice("sharing", m.sharing, name_of!(CacheSharingOpt, m.sharing));
    }
    SecretOpt(m, o) {
        o.text("ID", &m.id);
        o.short("uid", m.uid);
        o.short("gid", m.gid);
        o.short("mode", m.mode);
        o.bool("optional", m.optional);
    }
    SshOpt(m, o) {
        o.text("ID", &m.id);
        o.short("uid", m.uid);
        o.short("gid", m.gid);
        o.short("mode", m.mode);
        o.bool("optional", m.optional);
    }
    SourceOp(m, o) {
        o.text("identifier", &m.identifier);
        o.text_map("attrs", &m.attrs);
    }
    FileOp(m, o) {
        o.messages("actions", &m.actions);
    }
    FileAction(m, o) {
        o.long("input", m.input);
        o.long("secondaryInput", m.secondary_input);
        o.long("output", m.output);
        match &m.action {
            Some(Action::Copy(action)) => o.message("copy", Some(action)),
            Some(Action::Mkfile(action)) => o.message("mkfile", Some(action)),
            Some(Action::Mkdir(action)) => o.message("mkdir", Some(action)),
            Some(Action::Rm(action)) => o.message("rm", Some(action)),
            Some(Action::Symlink(action)) => o.message("symlink", Some(action)),
            None => {}
        }
    }
    FileActionCopy(m, o) {
        o.text("src", &m.src);
        o.text("dest", &m.dest);
        o.message("owner", m.owner.as_ref());
        o.short("mode", m.mode);
        o.bool("followSymlink", m.follow_symlink);
        o.bool("dirCopyContents", m.dir_copy_contents);
        o.bool("attemptUnpackDockerCompatibility", m.attempt_unpack_docker_compatibility);
        o.bool("createDestPath", m.create_dest_path);
        o.bool("allowWildcard", m.allow_wildcard);
        o.bool("allowEmptyWildcard", m.allow_empty_wildcard);
        o.long("timestamp", m.timestamp);
        o.texts("includePatterns", &m.include_patterns);
        o.texts("excludePatterns", &m.exclude_patterns);
        o.bool("alwaysReplaceExistingDestPaths", m.always_replace_existing_dest_paths);
        o.text("modeStr", &m.mode_str);
        o.texts("requiredPaths", &m.required_paths);
    }
    FileActionMkFile(m, o) {
        o.text("path", &m.path);
        o.short("mode", m.mode);
        o.bytes("data", &m.data);
        o.message("owner", m.owner.as_ref());
        o.long("timestamp", m.timestamp);
    }
    FileActionMkDir(m, o) {
        o.text("path", &m.path);
        o.short("mode", m.mode);
        o.bool("makeParents", m.make_parents);
        o.message("owner", m.owner.as_ref());
        o.long("timestamp", m.timestamp);
    }
    FileActionRm(m, o) {
        o.text("path", &m.path);
        o.bool("allowNotFound", m.allow_not_found);
        o.bool("allowWildcard", m.allow_wildcard);
    }
    FileActionSymlink(m, o) {
        o.text("oldpath", &m.oldpath);
        o.text("newpath", &m.newpath);
        o.message("owner", m.owner.as_ref());
        o.long("timestamp", m.timestamp);
    }
    ChownOpt(m, o) {
        o.message("user", m.user.as_ref());
        o.message("group", m.group.as_ref());
    }
    UserOpt(m, o) {
        match &m.user {
            Some(User::ByName(name)) => o.message("byName", Some(name)),
            // A member of a oneof shows even if it is zero: it says that it is the member.
            Some(User::ById(id)) => o.set("byID", *id),
            None => {}
        }
    }
    NamedUserOpt(m, o) {
        o.text("name", &m.name);
        o.long("input", m.input);
    }
    BuildOp(m, o) {
        o.long("builder", m.builder);
        o.map("inputs", &m.inputs, ProtobufJson::to_json);
        o.message("def", m.def.as_ref());
        o.text_map("attrs", &m.attrs);
    }
    BuildInput(m, o) {
        o.long("input", m.input);
    }
    MergeOp(m, o) {
        o.messages("inputs", &m.inputs);
    }
    MergeInput(m, o) {
        o.long("input", m.input);
    }
    DiffOp(m, o) {
        o.message("lower", m.lower.as_ref());
        o.message("upper", m.upper.as_ref());
    }
    LowerDiffInput(m, o) {
        o.long("input", m.input);
    }
    UpperDiffInput(m, o) {
        o.long("input", m.input);
    }
    PassthroughOp(m, o) {
        o.text("id", &m.id);
        o.longs("outputs", &m.outputs);
    }
    Definition(m, o) {
        if !m.def.is_empty() {
            o.set("def", m.def.iter().map(|op| STANDARD.encode(op)).collect::<Vec<_>>());
        }
        o.map("metadata", &m.metadata, ProtobufJson::to_json);
        o.message("Source", m.source.as_ref());
    }
    OpMetadata(m, o) {
        o.bool("ignoreCache", m.ignore_cache);
        o.text_map("description", &m.description);
        o.message("exportCache", m.export_cache.as_ref());
        o.map("caps", &m.caps, |value| (*value).into());
        o.message("progressGroup", m.progress_group.as_ref());
        o.message("linuxResources", m.linux_resources.as_ref());
    }
    ExportCache(m, o) {
        o.bool("Value", m.value);
    }
    ProgressGroup(m, o) {
        o.text("id", &m.id);
        o.text("name", &m.name);
        o.bool("weak", m.weak);
    }
    LinuxResources(m, o) {
        o.long("memory", m.memory);
        o.long("memorySwap", m.memory_swap);
        o.long("cpuShares", m.cpu_shares);
        o.long("cpuPeriod", m.cpu_period);
        o.long("cpuQuota", m.cpu_quota);
        o.text("cpusetCpus", &m.cpuset_cpus);
        o.text("cpusetMems", &m.cpuset_mems);
    }
    Source(m, o) {
        o.map("locations", &m.locations, ProtobufJson::to_json);
        o.messages("infos", &m.infos);
    }
    Locations(m, o) {
        o.messages("locations", &m.locations);
    }
    Location(m, o) {
        o.short("sourceIndex", m.source_index);
        o.messages("ranges", &m.ranges);
    }
    Range(m, o) {
        o.message("start", m.start.as_ref());
        o.message("end", m.end.as_ref());
    }
    Position(m, o) {
        o.short("line", m.line);
        o.short("character", m.character);
    }
    SourceInfo(m, o) {
        o.text("filename", &m.filename);
        o.bytes("data", &m.data);
        o.message("definition", m.definition.as_ref());
        o.text("language", &m.language);
    }
}
