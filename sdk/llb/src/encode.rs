//! Canonical bytes of ops and definitions.
//!
//! An op is addressed by the digest of its bytes, so there is one right way to write it, that of
//! Go's deterministic encoder: fields ascending by number, but the members of `Op.op` last; map
//! entries ascending by key, each with key and value even if they are empty; zero scalars left out;
//! messages that are present but empty written with length 0. prost differs in the second and third
//! point and is used for decoding only. Nothing here can fail.

use std::collections::BTreeMap;

use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::op::Op as Kind;
use kiln_pb::pb::user_opt::User;

/// A message that can be written canonically.
pub trait Canonical {
    /// Appends the fields of this message.
    fn encode(&self, writer: &mut Writer);

    /// The bytes of this message.
    fn to_canonical(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.encode(&mut writer);
        writer.bytes
    }
}

/// Bytes under construction.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

const VARINT: u32 = 0;
const BYTES: u32 = 2;

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.bytes.push(value.to_le_bytes()[0]);
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// A signed number of 64 bits, left out if zero.
    fn int(&mut self, field: u32, value: i64) {
        self.uint(field, value.cast_unsigned());
    }

    fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            self.varint(value);
        }
    }

    /// A signed number of 32 bits; a negative one takes ten bytes like a long one.
    fn int32(&mut self, field: u32, value: i32) {
        self.int(field, value.into());
    }

    fn uint32(&mut self, field: u32, value: u32) {
        self.int(field, value.into());
    }

    fn bool(&mut self, field: u32, value: bool) {
        self.int(field, value.into());
    }

    /// Bytes, even if there are none.
    fn bytes_always(&mut self, field: u32, value: &[u8]) {
        self.tag(field, BYTES);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_always(field, value);
        }
    }

    fn string(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn strings(&mut self, field: u32, values: &[String]) {
        for value in values {
            self.bytes_always(field, value.as_bytes());
        }
    }

    /// A list of numbers as one field.
    fn packed(&mut self, field: u32, values: impl ExactSizeIterator<Item = i64>) {
        if values.len() > 0 {
            self.nested(field, |writer| {
                for value in values {
                    writer.varint(value.cast_unsigned());
                }
            });
        }
    }

    /// Something whose length is only known once it is written.
    fn nested(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        let at = self.bytes.len();
        self.bytes.push(0);
        write(self);
        let len = self.bytes.len() - at - 1;
        if len < 0x80 {
            self.bytes[at] = len.to_le_bytes()[0];
        } else {
            // Rarely more than one byte: move the content up for the rest of the length.
            let mut prefix = Self::default();
            prefix.varint(len as u64);
            self.bytes.splice(at..=at, prefix.bytes);
        }
    }

    fn message(&mut self, field: u32, message: &impl Canonical) {
        self.nested(field, |writer| message.encode(writer));
    }

    fn optional(&mut self, field: u32, message: Option<&impl Canonical>) {
        if let Some(message) = message {
            self.message(field, message);
        }
    }

    fn messages(&mut self, field: u32, messages: &[impl Canonical]) {
        for message in messages {
            self.message(field, message);
        }
    }

    /// A map: an entry per key, ascending, with key and value in any case.
    fn map<V>(&mut self, field: u32, map: &BTreeMap<String, V>, value: impl Fn(&mut Self, &V)) {
        for (key, entry) in map {
            self.nested(field, |writer| {
                writer.bytes_always(1, key.as_bytes());
                value(writer, entry);
            });
        }
    }

    fn map_of_strings(&mut self, field: u32, map: &BTreeMap<String, String>) {
        self.map(field, map, |writer, value| writer.bytes_always(2, value.as_bytes()));
    }

    fn map_of_messages<V: Canonical>(&mut self, field: u32, map: &BTreeMap<String, V>) {
        self.map(field, map, |writer, value| writer.message(2, value));
    }
}

macro_rules! canonical {
    ($($message:ident($this:ident, $w:ident) $body:block)*) => {
        $(impl Canonical for pb::$message {
            fn encode(&self, $w: &mut Writer) {
                let $this = self;
                $body
            }
        })*
    };
}

canonical! {
    Op(m, w) {
        w.messages(1, &m.inputs);
        w.optional(10, m.platform.as_ref());
        w.optional(11, m.constraints.as_ref());
        match &m.op {
            Some(Kind::Exec(op)) => w.message(2, op),
            Some(Kind::Source(op)) => w.message(3, op),
            Some(Kind::File(op)) => w.message(4, op),
            Some(Kind::Build(op)) => w.message(5, op),
            Some(Kind::Merge(op)) => w.message(6, op),
            Some(Kind::Diff(op)) => w.message(7, op),
            Some(Kind::Passthrough(op)) => w.message(8, op),
            None => {}
        }
    }
    Platform(m, w) {
        w.string(1, &m.architecture);
        w.string(2, &m.os);
        w.string(3, &m.variant);
        w.string(4, &m.os_version);
        w.strings(5, &m.os_features);
    }
    Input(m, w) {
        w.string(1, &m.digest);
        w.int(2, m.index);
    }
    ExecOp(m, w) {
        w.optional(1, m.meta.as_ref());
        w.messages(2, &m.mounts);
        w.int32(3, m.network);
        w.int32(4, m.security);
        w.messages(5, &m.secretenv);
        w.messages(6, &m.cdi_devices);
    }
    Meta(m, w) {
        w.strings(1, &m.args);
        w.strings(2, &m.env);
        w.string(3, &m.cwd);
        w.string(4, &m.user);
        w.optional(5, m.proxy_env.as_ref());
        w.messages(6, &m.extra_hosts);
        w.string(7, &m.hostname);
        w.messages(9, &m.ulimit);
        w.string(10, &m.cgroup_parent);
        w.bool(11, m.remove_mount_stubs_recursive);
        w.packed(12, m.valid_exit_codes.iter().map(|code| i64::from(*code)));
    }
    HostIp(m, w) {
        w.string(1, &m.host);
        w.string(2, &m.ip);
    }
    Ulimit(m, w) {
        w.string(1, &m.name);
        w.int(2, m.soft);
        w.int(3, m.hard);
    }
    SecretEnv(m, w) {
        w.string(1, &m.id);
        w.string(2, &m.name);
        w.bool(3, m.optional);
    }
    CdiDevice(m, w) {
        w.string(1, &m.name);
        w.bool(2, m.optional);
    }
    Mount(m, w) {
        w.int(1, m.input);
        w.string(2, &m.selector);
        w.string(3, &m.dest);
        w.int(4, m.output);
        w.bool(5, m.readonly);
        w.int32(6, m.mount_type);
        w.optional(19, m.tmpfs_opt.as_ref());
        w.optional(20, m.cache_opt.as_ref());
        w.optional(21, m.secret_opt.as_ref());
        w.optional(22, m.ssh_opt.as_ref());
        w.string(23, &m.result_id);
        w.int32(24, m.content_cache);
    }
    TmpfsOpt(m, w) {
        w.int(1, m.size);
    }
    CacheOpt(m, w) {
        w.string(1, &m.id);
        w.int32(2, m.sharing);
    }
    SecretOpt(m, w) {
        w.string(1, &m.id);
        w.uint32(2, m.uid);
        w.uint32(3, m.gid);
        w.uint32(4, m.mode);
        w.bool(5, m.optional);
    }
    SshOpt(m, w) {
        w.string(1, &m.id);
        w.uint32(2, m.uid);
        w.uint32(3, m.gid);
        w.uint32(4, m.mode);
        w.bool(5, m.optional);
    }
    ProxyEnv(m, w) {
        w.string(1, &m.http_proxy);
        w.string(2, &m.https_proxy);
        w.string(3, &m.ftp_proxy);
        w.string(4, &m.no_proxy);
        w.string(5, &m.all_proxy);
    }
    SourceOp(m, w) {
        w.string(1, &m.identifier);
        w.map_of_strings(2, &m.attrs);
    }
    BuildOp(m, w) {
        w.int(1, m.builder);
        w.map_of_messages(2, &m.inputs);
        w.optional(3, m.def.as_ref());
        w.map_of_strings(4, &m.attrs);
    }
    BuildInput(m, w) {
        w.int(1, m.input);
    }
    FileOp(m, w) {
        w.messages(2, &m.actions);
    }
    FileAction(m, w) {
        w.int(1, m.input);
        w.int(2, m.secondary_input);
        w.int(3, m.output);
        match &m.action {
            Some(Action::Copy(action)) => w.message(4, action),
            Some(Action::Mkfile(action)) => w.message(5, action),
            Some(Action::Mkdir(action)) => w.message(6, action),
            Some(Action::Rm(action)) => w.message(7, action),
            Some(Action::Symlink(action)) => w.message(8, action),
            None => {}
        }
    }
    FileActionCopy(m, w) {
        w.string(1, &m.src);
        w.string(2, &m.dest);
        w.optional(3, m.owner.as_ref());
        w.int32(4, m.mode);
        w.bool(5, m.follow_symlink);
        w.bool(6, m.dir_copy_contents);
        w.bool(7, m.attempt_unpack_docker_compatibility);
        w.bool(8, m.create_dest_path);
        w.bool(9, m.allow_wildcard);
        w.bool(10, m.allow_empty_wildcard);
        w.int(11, m.timestamp);
        w.strings(12, &m.include_patterns);
        w.strings(13, &m.exclude_patterns);
        w.bool(14, m.always_replace_existing_dest_paths);
        w.string(15, &m.mode_str);
        w.strings(16, &m.required_paths);
    }
    FileActionMkFile(m, w) {
        w.string(1, &m.path);
        w.int32(2, m.mode);
        w.bytes(3, &m.data);
        w.optional(4, m.owner.as_ref());
        w.int(5, m.timestamp);
    }
    FileActionMkDir(m, w) {
        w.string(1, &m.path);
        w.int32(2, m.mode);
        w.bool(3, m.make_parents);
        w.optional(4, m.owner.as_ref());
        w.int(5, m.timestamp);
    }
    FileActionRm(m, w) {
        w.string(1, &m.path);
        w.bool(2, m.allow_not_found);
        w.bool(3, m.allow_wildcard);
    }
    FileActionSymlink(m, w) {
        w.string(1, &m.oldpath);
        w.string(2, &m.newpath);
        w.optional(3, m.owner.as_ref());
        w.int(4, m.timestamp);
    }
    ChownOpt(m, w) {
        w.optional(1, m.user.as_ref());
        w.optional(2, m.group.as_ref());
    }
    UserOpt(m, w) {
        match &m.user {
            Some(User::ByName(name)) => w.message(1, name),
            // A member of a oneof is written even if it is zero: it says that it is the member.
            Some(User::ById(id)) => {
                w.tag(2, VARINT);
                w.varint((*id).into());
            }
            None => {}
        }
    }
    NamedUserOpt(m, w) {
        w.string(1, &m.name);
        w.int(2, m.input);
    }
    MergeInput(m, w) {
        w.int(1, m.input);
    }
    MergeOp(m, w) {
        w.messages(1, &m.inputs);
    }
    LowerDiffInput(m, w) {
        w.int(1, m.input);
    }
    UpperDiffInput(m, w) {
        w.int(1, m.input);
    }
    DiffOp(m, w) {
        w.optional(1, m.lower.as_ref());
        w.optional(2, m.upper.as_ref());
    }
    PassthroughOp(m, w) {
        w.string(1, &m.id);
        w.packed(2, m.outputs.iter().copied());
    }
    WorkerConstraints(m, w) {
        w.strings(1, &m.filter);
    }
    Definition(m, w) {
        for op in &m.def {
            w.bytes_always(1, op);
        }
        w.map_of_messages(2, &m.metadata);
        w.optional(3, m.source.as_ref());
    }
    OpMetadata(m, w) {
        w.bool(1, m.ignore_cache);
        w.map_of_strings(2, &m.description);
        w.optional(4, m.export_cache.as_ref());
        w.map(5, &m.caps, |writer, value| {
            writer.tag(2, VARINT);
            writer.varint((*value).into());
        });
        w.optional(6, m.progress_group.as_ref());
        w.optional(7, m.linux_resources.as_ref());
    }
    ExportCache(m, w) {
        w.bool(1, m.value);
    }
    ProgressGroup(m, w) {
        w.string(1, &m.id);
        w.string(2, &m.name);
        w.bool(3, m.weak);
    }
    LinuxResources(m, w) {
        w.int(1, m.memory);
        w.int(2, m.memory_swap);
        w.uint(3, m.cpu_shares);
        w.uint(4, m.cpu_period);
        w.int(5, m.cpu_quota);
        w.string(6, &m.cpuset_cpus);
        w.string(7, &m.cpuset_mems);
    }
    Source(m, w) {
        w.map_of_messages(1, &m.locations);
        w.messages(2, &m.infos);
    }
    Locations(m, w) {
        w.messages(1, &m.locations);
    }
    Location(m, w) {
        w.int32(1, m.source_index);
        w.messages(2, &m.ranges);
    }
    Range(m, w) {
        w.optional(1, m.start.as_ref());
        w.optional(2, m.end.as_ref());
    }
    Position(m, w) {
        w.int32(1, m.line);
        w.int32(2, m.character);
    }
    SourceInfo(m, w) {
        w.string(1, &m.filename);
        w.bytes(2, &m.data);
        w.optional(3, m.definition.as_ref());
        w.string(4, &m.language);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &impl Canonical, want: &str) {
        assert_eq!(hex::encode(message.to_canonical()), want);
    }

    #[test]
    fn the_member_of_an_op_comes_last() {
        let op = pb::Op {
            constraints: Some(pb::WorkerConstraints::default()),
            op: Some(Kind::Merge(pb::MergeOp::default())),
            ..pb::Op::default()
        };
        check(&op, "5a003200");
    }

    #[test]
    fn a_map_entry_has_key_and_value_even_if_they_are_empty() {
        let attrs = [(String::new(), String::new()), ("a".into(), String::new())].into();
        check(&pb::SourceOp { attrs, ..Default::default() }, "12040a00120012050a01611200");
    }

    #[test]
    fn minus_one_takes_ten_bytes() {
        check(&pb::MergeInput { input: -1 }, "08ffffffffffffffffff01");
        check(
            &pb::Range { start: Some(pb::Position { line: -1, character: 0 }), end: None },
            "0a0b08ffffffffffffffffff01",
        );
    }

    #[test]
    fn exit_codes_are_packed() {
        let meta = pb::Meta { valid_exit_codes: vec![0, 1, 300], ..Default::default() };
        check(&meta, "62040001ac02");
    }

    #[test]
    fn an_id_of_zero_is_still_the_member() {
        check(&pb::UserOpt { user: Some(User::ById(0)) }, "1000");
    }

    #[test]
    fn long_content_gets_a_long_length() {
        let op = pb::FileOp {
            actions: vec![pb::FileAction {
                action: Some(Action::Rm(pb::FileActionRm {
                    path: "x".repeat(200),
                    ..Default::default()
                })),
                ..Default::default()
            }],
        };
        let bytes = op.to_canonical();
        assert_eq!(hex::encode(&bytes[..9]), "12ce013acb010ac801");
        assert_eq!(bytes.len(), 209);
    }
}
