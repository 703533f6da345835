//! LLB messages as BuildKit's Go structs write themselves in JSON.
//!
//! One row per message: names and order of its fields. BuildKit takes digests of cache maps over
//! this text, and `debug dump-llb` prints it. Nothing reads it back.

use crate::gojson::{Json, Object};
use crate::pb;
use crate::pb::file_action::Action;
use crate::pb::op::Op as Kind;
use crate::pb::user_opt::User;

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
            // BuildKit's writer does not know links and leaves the action empty.
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
    FileActionSymlink(m, o) {
        o.text("oldpath", &m.oldpath);
        o.text("newpath", &m.newpath);
        o.optional("owner", m.owner.as_ref());
        o.number("timestamp", m.timestamp);
    }
    BuildOp(m, o) {
        o.number("builder", m.builder);
        o.map_of_messages("inputs", &m.inputs);
        o.optional("def", m.def.as_ref());
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
    Definition(m, o) {
        o.list_of_bytes("def", &m.def);
        o.map_of_messages("metadata", &m.metadata);
        o.optional("Source", m.source.as_ref());
    }
    Source(m, o) {
        o.map_of_messages("locations", &m.locations);
        o.messages("infos", &m.infos);
    }
    SourceInfo(m, o) {
        o.text("filename", &m.filename);
        o.bytes("data", &m.data);
        o.optional("definition", m.definition.as_ref());
        o.text("language", &m.language);
    }
    Locations(m, o) {
        o.messages("locations", &m.locations);
    }
    Location(m, o) {
        o.number("sourceIndex", m.source_index);
        o.messages("ranges", &m.ranges);
    }
    Range(m, o) {
        o.optional("start", m.start.as_ref());
        o.optional("end", m.end.as_ref());
    }
    Position(m, o) {
        o.number("line", m.line);
        o.number("character", m.character);
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
