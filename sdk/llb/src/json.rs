//! Ops as JSON, for people and scripts: what `buildctl debug dump-llb` prints.
//!
//! Names and order of fields are those of the peer's structs, zero values are left out, enums are
//! numbers, bytes are base64. This is a view: nothing reads it back.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use kiln_oci::Digest;
use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::op::Op as Kind;
use kiln_pb::pb::user_opt::User;

use crate::gojson;
use crate::{Definition, DefinitionError};

impl Definition {
    /// One line of JSON per op: the op, its digest and its metadata.
    ///
    /// # Errors
    ///
    /// [`DefinitionError::DecodeOp`] if the bytes of an op are no op.
    pub fn to_json(&self) -> Result<String, DefinitionError> {
        let mut lines = String::new();
        let unsaid = pb::OpMetadata::default();
        for op in self.ops() {
            let (digest, op) = op?;
            let metadata = self.metadata.get(digest.as_str()).unwrap_or(&unsaid);
            let mut object = Object::open(&mut lines);
            object.message("Op", &op);
            object.digest("Digest", &digest);
            object.message("OpMetadata", metadata);
            object.close();
            lines.push('\n');
        }
        Ok(lines)
    }
}

/// A message that has a JSON form.
trait Json {
    fn fields(&self, object: &mut Object<'_>);
}

/// A JSON object under construction.
struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    fn close(self) {
        self.out.push('}');
    }

    fn key(&mut self, name: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        gojson::string(self.out, name);
        self.out.push(':');
    }

    fn always(&mut self, name: &str, value: impl Display) {
        self.key(name);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{value}");
    }

    fn number<N: Display + Default + PartialEq>(&mut self, name: &str, value: N) {
        if value != N::default() {
            self.always(name, value);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.key(name);
            gojson::string(self.out, value);
        }
    }

    fn bytes(&mut self, name: &str, value: &[u8]) {
        self.text(name, &base64(value));
    }

    fn digest(&mut self, name: &str, value: &Digest) {
        self.text(name, value.as_str());
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.key(name);
            self.out.push_str(&gojson::list(values));
        }
    }

    fn numbers<N: Display>(&mut self, name: &str, values: &[N]) {
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(N::to_string).collect();
            self.always(name, format_args!("[{}]", values.join(",")));
        }
    }

    fn object(&mut self, name: &str, fields: impl FnOnce(&mut Object<'_>)) {
        self.key(name);
        let mut object = Object::open(self.out);
        fields(&mut object);
        object.close();
    }

    fn message(&mut self, name: &str, message: &impl Json) {
        self.object(name, |object| message.fields(object));
    }

    fn optional(&mut self, name: &str, message: Option<&impl Json>) {
        if let Some(message) = message {
            self.message(name, message);
        }
    }

    fn messages(&mut self, name: &str, messages: &[impl Json]) {
        if messages.is_empty() {
            return;
        }
        self.key(name);
        for (n, message) in messages.iter().enumerate() {
            self.out.push(if n == 0 { '[' } else { ',' });
            let mut object = Object::open(self.out);
            message.fields(&mut object);
            object.close();
        }
        self.out.push(']');
    }

    fn map<V>(
        &mut self,
        name: &str,
        map: &BTreeMap<String, V>,
        entry: impl Fn(&mut Object<'_>, &str, &V),
    ) {
        if !map.is_empty() {
            self.object(name, |object| {
                for (key, value) in map {
                    entry(object, key, value);
                }
            });
        }
    }

    fn map_of_texts(&mut self, name: &str, map: &BTreeMap<String, String>) {
        self.map(name, map, |object, key, value| {
            object.key(key);
            gojson::string(object.out, value);
        });
    }

    fn map_of_messages<V: Json>(&mut self, name: &str, map: &BTreeMap<String, V>) {
        self.map(name, map, |object, key, value| object.message(key, value));
    }
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            out.push(if digit <= group.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    out
}

macro_rules! json {
    ($($message:ident($this:ident, $o:ident) $body:block)*) => {
        $(impl Json for pb::$message {
            fn fields(&self, $o: &mut Object<'_>) {
                let $this = self;
                $body
            }
        })*
    };
}

json! {
    Op(m, o) {
        o.messages("inputs", &m.inputs);
        o.object("Op", |o| match &m.op {
            Some(Kind::Exec(op)) => o.message("exec", op),
            Some(Kind::Source(op)) => o.message("source", op),
            Some(Kind::File(op)) => o.message("file", op),
            Some(Kind::Build(op)) => o.message("build", op),
            Some(Kind::Merge(op)) => o.message("merge", op),
            Some(Kind::Diff(op)) => o.message("diff", op),
            Some(Kind::Passthrough(op)) => o.message("passthrough", op),
            None => {}
        });
        o.optional("platform", m.platform.as_ref());
        o.optional("constraints", m.constraints.as_ref());
    }
    Input(m, o) {
        o.text("digest", &m.digest);
        o.number("index", m.index);
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
        o.optional("meta", m.meta.as_ref());
        o.messages("mounts", &m.mounts);
        o.number("network", m.network);
        o.number("security", m.security);
        o.messages("secretenv", &m.secretenv);
        o.messages("cdiDevices", &m.cdi_devices);
    }
    Meta(m, o) {
        o.texts("args", &m.args);
        o.texts("env", &m.env);
        o.text("cwd", &m.cwd);
        o.text("user", &m.user);
        o.optional("proxy_env", m.proxy_env.as_ref());
        o.messages("extraHosts", &m.extra_hosts);
        o.text("hostname", &m.hostname);
        o.messages("ulimit", &m.ulimit);
        o.text("cgroupParent", &m.cgroup_parent);
        o.number("removeMountStubsRecursive", m.remove_mount_stubs_recursive);
        o.numbers("validExitCodes", &m.valid_exit_codes);
    }
    HostIp(m, o) {
        o.text("Host", &m.host);
        o.text("IP", &m.ip);
    }
    Ulimit(m, o) {
        o.text("Name", &m.name);
        o.number("Soft", m.soft);
        o.number("Hard", m.hard);
    }
    SecretEnv(m, o) {
        o.text("ID", &m.id);
        o.text("name", &m.name);
        o.number("optional", m.optional);
    }
    CdiDevice(m, o) {
        o.text("name", &m.name);
        o.number("optional", m.optional);
    }
    ProxyEnv(m, o) {
        o.text("http_proxy", &m.http_proxy);
        o.text("https_proxy", &m.https_proxy);
        o.text("ftp_proxy", &m.ftp_proxy);
        o.text("no_proxy", &m.no_proxy);
        o.text("all_proxy", &m.all_proxy);
    }
    Mount(m, o) {
        o.number("input", m.input);
        o.text("selector", &m.selector);
        o.text("dest", &m.dest);
        o.number("output", m.output);
        o.number("readonly", m.readonly);
        o.number("mountType", m.mount_type);
        o.optional("TmpfsOpt", m.tmpfs_opt.as_ref());
        o.optional("cacheOpt", m.cache_opt.as_ref());
        o.optional("secretOpt", m.secret_opt.as_ref());
        o.optional("SSHOpt", m.ssh_opt.as_ref());
        o.text("resultID", &m.result_id);
        o.number("contentCache", m.content_cache);
    }
    TmpfsOpt(m, o) {
        o.number("size", m.size);
    }
    CacheOpt(m, o) {
        o.text("ID", &m.id);
        o.number("sharing", m.sharing);
    }
    SecretOpt(m, o) {
        o.text("ID", &m.id);
        o.number("uid", m.uid);
        o.number("gid", m.gid);
        o.number("mode", m.mode);
        o.number("optional", m.optional);
    }
    SshOpt(m, o) {
        o.text("ID", &m.id);
        o.number("uid", m.uid);
        o.number("gid", m.gid);
        o.number("mode", m.mode);
        o.number("optional", m.optional);
    }
    SourceOp(m, o) {
        o.text("identifier", &m.identifier);
        o.map_of_texts("attrs", &m.attrs);
    }
    FileOp(m, o) {
        o.messages("actions", &m.actions);
    }
    FileAction(m, o) {
        o.always("input", m.input);
        o.always("secondaryInput", m.secondary_input);
        o.always("output", m.output);
        o.object("Action", |o| match &m.action {
            Some(Action::Copy(action)) => o.message("copy", action),
            Some(Action::Mkfile(action)) => o.message("mkfile", action),
            Some(Action::Mkdir(action)) => o.message("mkdir", action),
            Some(Action::Rm(action)) => o.message("rm", action),
            // The peer's writer does not know links and leaves the action empty.
            Some(Action::Symlink(_)) | None => {}
        });
    }
    FileActionCopy(m, o) {
        o.text("src", &m.src);
        o.text("dest", &m.dest);
        o.optional("owner", m.owner.as_ref());
        o.number("mode", m.mode);
        o.number("followSymlink", m.follow_symlink);
        o.number("dirCopyContents", m.dir_copy_contents);
        o.number("attemptUnpackDockerCompatibility", m.attempt_unpack_docker_compatibility);
        o.number("createDestPath", m.create_dest_path);
        o.number("allowWildcard", m.allow_wildcard);
        o.number("allowEmptyWildcard", m.allow_empty_wildcard);
        o.number("timestamp", m.timestamp);
        o.texts("include_patterns", &m.include_patterns);
        o.texts("exclude_patterns", &m.exclude_patterns);
        o.number("alwaysReplaceExistingDestPaths", m.always_replace_existing_dest_paths);
        o.text("modeStr", &m.mode_str);
        o.texts("required_paths", &m.required_paths);
    }
    FileActionMkFile(m, o) {
        o.text("path", &m.path);
        o.number("mode", m.mode);
        o.bytes("data", &m.data);
        o.optional("owner", m.owner.as_ref());
        o.number("timestamp", m.timestamp);
    }
    FileActionMkDir(m, o) {
        o.text("path", &m.path);
        o.number("mode", m.mode);
        o.number("makeParents", m.make_parents);
        o.optional("owner", m.owner.as_ref());
        o.number("timestamp", m.timestamp);
    }
    FileActionRm(m, o) {
        o.text("path", &m.path);
        o.number("allowNotFound", m.allow_not_found);
        o.number("allowWildcard", m.allow_wildcard);
    }
    ChownOpt(m, o) {
        o.optional("user", m.user.as_ref());
        o.optional("group", m.group.as_ref());
    }
    UserOpt(m, o) {
        o.object("User", |o| match &m.user {
            Some(User::ByName(name)) => o.message("byName", name),
            Some(User::ById(id)) => o.number("byId", *id),
            None => {}
        });
    }
    NamedUserOpt(m, o) {
        o.text("name", &m.name);
        o.number("input", m.input);
    }
    BuildOp(m, o) {
        o.number("builder", m.builder);
        o.map_of_messages("inputs", &m.inputs);
        o.map_of_texts("attrs", &m.attrs);
    }
    BuildInput(m, o) {
        o.number("input", m.input);
    }
    MergeOp(m, o) {
        o.messages("inputs", &m.inputs);
    }
    MergeInput(m, o) {
        o.number("input", m.input);
    }
    DiffOp(m, o) {
        o.optional("lower", m.lower.as_ref());
        o.optional("upper", m.upper.as_ref());
    }
    LowerDiffInput(m, o) {
        o.number("input", m.input);
    }
    UpperDiffInput(m, o) {
        o.number("input", m.input);
    }
    PassthroughOp(m, o) {
        o.text("id", &m.id);
        o.numbers("outputs", &m.outputs);
    }
    OpMetadata(m, o) {
        o.number("ignore_cache", m.ignore_cache);
        o.map_of_texts("description", &m.description);
        o.optional("export_cache", m.export_cache.as_ref());
        o.map("caps", &m.caps, |o, cap, value| o.always(cap, *value));
        o.optional("progress_group", m.progress_group.as_ref());
        o.optional("linux_resources", m.linux_resources.as_ref());
    }
    ExportCache(m, o) {
        o.number("Value", m.value);
    }
    ProgressGroup(m, o) {
        o.text("id", &m.id);
        o.text("name", &m.name);
        o.number("weak", m.weak);
    }
    LinuxResources(m, o) {
        o.number("memory", m.memory);
        o.number("memorySwap", m.memory_swap);
        o.number("cpuShares", m.cpu_shares);
        o.number("cpuPeriod", m.cpu_period);
        o.number("cpuQuota", m.cpu_quota);
        o.text("cpusetCpus", &m.cpuset_cpus);
        o.text("cpusetMems", &m.cpuset_mems);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_padded_to_whole_groups() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("\u{ff}>", "w78+")];
        for (text, want) in cases {
            assert_eq!(base64(text.as_bytes()), want, "{text}");
        }
    }
}
