//! The API, field by field: `api-fields.txt` says of each field of a request, and of each attribute,
//! whether it is honoured (and which test shows it), done without in sight of the client, refused (with
//! which words), or means nothing.
//!
//! The table is compared with the schemas and with the lists of attributes in the sources, in both
//! directions; the tests it names have to exist; and what it says is refused or shown is sent to a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BufMut, Bytes};
use kiln_graph::{Entitlements, Graph, LoadContext};
use kiln_oci::{Digest, Platform};
use kiln_tests::Kilnd;
use kiln_wire::proto::DESCRIPTORS;
use kiln_wire::proto::control::StatusRequest;
use kiln_wire::proto::control::control_client::ControlClient;
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    ReflectMessage, Value,
};
use serde_json::json;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::architecture::{has_test, nobody, root, rust_files, workspace};

/// What reaches the daemon otherwise than as a request: the ops in a definition, and what sessions answer.
const MORE: &[&str] = &[
    "pb.Op",
    "moby.buildkit.v1.sourcepolicy.policysession.CheckPolicyResponse",
    "moby.exporter.v1.FindExportersResponse",
    "moby.exporter.v1.FinalizeExportResponse",
];

/// Messages of other schemas, in which nothing is asked.
const FOREIGN: &[&str] = &["google.rpc.Status"];

/// A line of the table.
struct Line {
    subject: String,
    verdict: Verdict,
}

enum Verdict {
    /// The crate and the test, as often as there are.
    Honoured(Vec<(String, String)>),
    /// The client sees these words in a warning.
    Shown(Call, String),
    /// These words are in the error.
    Refused(Call, String),
    /// Why.
    NoMeaning(String),
}

/// A request: what it is sent as, and the message.
struct Call {
    to: String,
    json: serde_json::Value,
}

fn table() -> Vec<Line> {
    let text = std::fs::read_to_string(root().join("tests/api-fields.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| Line::parse(line).unwrap_or_else(|| panic!("no line of the table: {line}")))
        .collect()
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(" | ").map(str::trim);
        let (subject, verdict, evidence) = (parts.next()?, parts.next()?, parts.next()?);
        let verdict = match verdict {
            "honoured" => {
                let tests = evidence.split(", ").map(|test| {
                    let (package, test) = test.split_once(": ")?;
                    Some((package.to_owned(), test.to_owned()))
                });
                Verdict::Honoured(tests.collect::<Option<_>>()?)
            }
            "shown" => Verdict::Shown(Call::parse(evidence)?, parts.next()?.to_owned()),
            "refused" => Verdict::Refused(Call::parse(evidence)?, parts.next()?.to_owned()),
            "no meaning" => Verdict::NoMeaning(evidence.to_owned()),
            _ => return None,
        };
        Some(Self { subject: subject.to_owned(), verdict })
    }
}

impl Call {
    fn parse(text: &str) -> Option<Self> {
        let (to, json) = text.split_once(' ')?;
        Some(Self { to: to.to_owned(), json: serde_json::from_str(json).ok()? })
    }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).unwrap()
}

/// The fields of all messages that can be reached from these, as `message.field`.
fn fields(from: Vec<MessageDescriptor>) -> BTreeSet<String> {
    let (mut open, mut seen, mut fields) = (from, BTreeSet::new(), BTreeSet::new());
    while let Some(message) = open.pop() {
        if FOREIGN.contains(&message.full_name()) || !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            fields.insert(field.full_name().to_owned());
            match field.kind() {
                Kind::Message(entry) if entry.is_map_entry() => {
                    open.extend(entry.map_entry_value_field().kind().as_message().cloned());
                }
                Kind::Message(message) => open.push(message),
                _ => {}
            }
        }
    }
    fields
}

/// What anyone may send to the daemon.
fn requests() -> Vec<MessageDescriptor> {
    let pool = pool();
    let services = [
        "moby.buildkit.v1.Control",
        "moby.buildkit.v1.frontend.LLBBridge",
        "kiln.explain.v1.Explain",
    ];
    let methods = services.into_iter().flat_map(|service| {
        pool.get_service_by_name(service).unwrap().methods().collect::<Vec<_>>()
    });
    let more = MORE.iter().map(|name| pool.get_message_by_name(name).unwrap());
    methods.map(|method| method.input()).chain(more).collect()
}

/// The names in quotes in a constant of a source file.
fn quoted_in(file: &str, constant: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let from = text.find(&format!("const {constant}:")).unwrap();
    let text = &text[from..];
    let text = &text[..text.find("];\n").unwrap()];
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The attributes that the sources know, as the table calls them.
fn attributes() -> BTreeSet<String> {
    let identifiers = "gateway/graph/src/identifier.rs";
    let sources = quoted_in(identifiers, "ATTRIBUTES").into_iter();
    let sources = sources.chain(quoted_in(identifiers, "HTTP_ATTRIBUTES"));
    let sources = sources.filter(|name| name.contains('.')).map(|name| format!("source {name}"));
    let exporters = quoted_in("gateway/exporters/src/options.rs", "ATTRIBUTES").into_iter();
    let sources = sources.chain(exporters.map(|name| format!("exporter {name}")));
    let caches = "gateway/remotecache/src/attributes.rs";
    let kinds = quoted_in(caches, "SUPPORTED");
    let of_caches = |constant: &str, direction: &'static str| {
        let names = quoted_in(caches, constant).into_iter();
        let names: Vec<_> = names.filter(|name| !kinds.contains(name)).collect();
        names.into_iter().map(move |name| format!("{direction} {name}"))
    };
    let exports = of_caches("EXPORT_ATTRIBUTES", "cache-to");
    sources.chain(exports).chain(of_caches("IMPORT_ATTRIBUTES", "cache-from")).collect()
}

#[test]
fn every_field_and_attribute_has_its_line() {
    let expected: BTreeSet<String> = fields(requests()).union(&attributes()).cloned().collect();
    let table = table();
    let lines: BTreeSet<String> = table.iter().map(|line| line.subject.clone()).collect();
    let missing = expected.difference(&lines).map(|name| format!("no line for {name}"));
    // What a source or exporter does not have, and what a frontend is asked, is in no list.
    let refused = table.iter().filter(|line| !matches!(line.verdict, Verdict::Honoured(_)));
    let refused: BTreeSet<_> = refused.map(|line| line.subject.as_str()).collect();
    let free =
        |name: &str| name.starts_with("option ") || (name.contains(' ') && refused.contains(name));
    let more = lines.difference(&expected).filter(|name| !free(name));
    let more = more.map(|name| format!("there is no {name}"));
    nobody(missing.chain(more).collect());
}

#[test]
fn what_is_honoured_has_a_test_and_what_means_nothing_a_reason() {
    let workspace = workspace();
    let mut texts = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in table() {
        match line.verdict {
            Verdict::Honoured(tests) => {
                for (package, test) in tests {
                    let texts = texts.entry(package.clone()).or_insert_with(|| {
                        workspace.get(&package).map_or_else(Vec::new, |package| {
                            read_all(&rust_files(&package.directory))
                        })
                    });
                    if !texts.iter().any(|text| has_test(text, &test)) {
                        wrong.push(format!("{}: {package} has no test {test}", line.subject));
                    }
                }
            }
            Verdict::NoMeaning(why) if why.len() < 15 => {
                wrong.push(format!("{}: no reason", line.subject));
            }
            _ => {}
        }
    }
    nobody(wrong);
}

fn read_all(files: &[impl AsRef<Path>]) -> Vec<String> {
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_or_done_without_is_said_by_the_daemon() {
    let daemon = Kilnd::start();
    daemon.client().run(&["debug", "workers"]).succeeds();
    let mut wrong = Vec::new();
    for (number, line) in table().into_iter().enumerate() {
        let (call, words, shown) = match &line.verdict {
            Verdict::Shown(call, words) => (call, words, true),
            Verdict::Refused(call, words) => (call, words, false),
            _ => continue,
        };
        let client = Client::connect(&daemon, number).await;
        let said = tokio::time::timeout(Duration::from_secs(60), async {
            match shown {
                true => client.warnings(call).await,
                false => client.error(call).await,
            }
        });
        let said = said.await.unwrap_or_else(|_| "nothing for a minute".into());
        if !said.contains(words) {
            wrong.push(format!("{}: {words:?} is not in {said:?}", line.subject));
        }
    }
    nobody(wrong);
}

/// A client of a daemon that sends messages as they are.
struct Client {
    channel: Channel,
    /// The build it is for.
    build: String,
    pool: DescriptorPool,
}

impl Client {
    async fn connect(daemon: &Kilnd, number: usize) -> Self {
        let socket = tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
        let channel = kiln_wire::channel::connect(socket).await.unwrap();
        Self { channel, build: format!("build-{number}"), pool: pool() }
    }

    /// The error that a call ends in.
    async fn error(&self, call: &Call) -> String {
        let waits = json!({"Ref": self.build});
        let answer = match call.to.split_once('/') {
            // A gateway is there as long as a build waits for its result.
            Some(("LLBBridge", _)) => tokio::select! {
                answer = self.send(call) => answer,
                build = self.unary("Control/Solve", &waits) => build,
            },
            _ => self.send(call).await,
        };
        match answer {
            Ok(()) => "it is not refused".into(),
            Err(status) if is_refusal(status.code()) => status.message().to_owned(),
            Err(status) => format!("{status:?} is no refusal"),
        }
    }

    /// The warnings of a build that succeeds.
    async fn warnings(&self, call: &Call) -> String {
        let mut status = ControlClient::new(self.channel.clone());
        let request = StatusRequest { r#ref: self.build.clone() };
        let (built, progress) = tokio::join!(self.send(call), status.status(request));
        if let Err(status) = built {
            return format!("it fails: {status:?}");
        }
        let (mut progress, mut said) = (progress.unwrap().into_inner(), String::new());
        while let Some(message) = progress.message().await.unwrap() {
            for warning in message.warnings {
                said.push_str(&String::from_utf8_lossy(&warning.short));
                said.push('\n');
            }
        }
        said
    }

    async fn send(&self, call: &Call) -> Result<(), Status> {
        let build = json!(self.build);
        match call.to.as_str() {
            "op" => {
                let definition = self.definition(&call.json);
                self.unary("Control/Solve", &json!({"Ref": build, "Definition": definition})).await
            }
            "source" => {
                let definition = self.definition(&json!({"source": call.json}));
                self.unary("Control/Solve", &json!({"Ref": build, "Definition": definition})).await
            }
            "Control/Solve" => {
                let mut json = call.json.clone();
                json["Ref"] = build;
                self.unary(&call.to, &json).await
            }
            _ => self.unary(&call.to, &call.json).await,
        }
    }

    /// A definition of one op, whose input, if it names any, is an empty directory.
    fn definition(&self, op: &serde_json::Value) -> serde_json::Value {
        let mkdir = json!({"path": "/base", "mode": 493, "timestamp": "-1"});
        let action = json!({"input": "-1", "secondaryInput": "-1", "mkdir": mkdir});
        let base = self.encode("pb.Op", &json!({"file": {"actions": [action]}}));
        let text = op.to_string().replace("BASE", Digest::sha256(&base).as_str());
        let op = self.encode("pb.Op", &serde_json::from_str(&text).unwrap());
        let input = json!({"digest": Digest::sha256(&op).to_string()});
        let terminal = self.encode("pb.Op", &json!({"inputs": [input]}));
        let ops = [base, op, terminal].map(|op| STANDARD.encode(op));
        json!({"def": ops})
    }

    fn encode(&self, message: &str, json: &serde_json::Value) -> Vec<u8> {
        let descriptor = self.pool.get_message_by_name(message).unwrap();
        let message = DynamicMessage::deserialize(descriptor, json.clone());
        message.unwrap_or_else(|error| panic!("{json}: {error}")).encode_to_vec()
    }

    /// Calls a method, with the build in the metadata, as gateways want it.
    async fn unary(&self, method: &str, json: &serde_json::Value) -> Result<(), Status> {
        let (service, name) = method.split_once('/').unwrap();
        let package = match service {
            "Control" => "moby.buildkit.v1",
            _ => "moby.buildkit.v1.frontend",
        };
        let service = self.pool.get_service_by_name(&format!("{package}.{service}")).unwrap();
        let descriptor = service.methods().find(|method| method.name() == name).unwrap();
        let message = self.encode(descriptor.input().full_name(), json);
        let mut request = tonic::Request::new(Bytes::from(message));
        let build = self.build.parse().unwrap();
        request.metadata_mut().insert("buildkit-controlapi-buildid", build);
        let path = format!("/{}/{name}", service.full_name()).parse().unwrap();
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        client.server_streaming(request, path, Raw).await?.into_inner().message().await.map(drop)
    }
}

/// What a request is refused with, rather than failing.
fn is_refusal(code: Code) -> bool {
    matches!(code, Code::Unimplemented | Code::InvalidArgument | Code::PermissionDenied)
}

/// Messages as bytes.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// One op of each kind, with every message in it that it can have.
fn ops() -> Vec<serde_json::Value> {
    let meta = json!({
        "args": ["true"], "proxyEnv": {}, "extraHosts": [{}], "ulimit": [{"Name": "nofile"}],
    });
    let mount = |kind: &str, option: &str| {
        json!({
            "input": "-1", "output": "-1", "dest": "/m", "mountType": kind, option: {},
        })
    };
    let exec = json!({
        "meta": meta,
        "mounts": [
            {"dest": "/", "input": "-1"}, {"dest": "/b", "input": "-1"},
            mount("TMPFS", "TmpfsOpt"), mount("CACHE", "cacheOpt"),
            mount("SECRET", "secretOpt"), mount("SSH", "SSHOpt"),
        ],
        "secretenv": [{}],
        "cdiDevices": [{"optional": true}],
    });
    let owner = json!({"user": {"byID": 1}, "group": {"byName": {"name": "g", "input": "-1"}}});
    let action = |kind: &str, owned: bool| {
        let what = if owned { json!({"owner": owner}) } else { json!({}) };
        json!({"input": "-1", "secondaryInput": "-1", kind: what})
    };
    let actions = [
        action("copy", true),
        action("mkfile", true),
        action("mkdir", true),
        action("symlink", true),
        action("rm", false),
    ];
    let build = json!({"builder": "-1", "inputs": {"buildkit.llb.definition": {}}});
    [
        json!({"exec": exec}),
        json!({"source": {"identifier": "local://a"}}),
        json!({"file": {"actions": actions}}),
        json!({"build": build}),
        json!({"merge": {"inputs": [{}]}}),
        json!({"diff": {"lower": {}, "upper": {"input": "-1"}}}),
        json!({"passthrough": {"id": "x"}}),
        json!({"exec": {"meta": {"args": ["x"]}, "mounts": [{"dest": "/"}], "cdiDevices": [{}]}}),
    ]
    .map(|mut op| {
        op["inputs"] = json!([{"digest": "BASE"}]);
        op["platform"] = json!({"OS": "linux", "Architecture": "amd64"});
        op["constraints"] = json!({});
        op
    })
    .into()
}

/// The message with each of its fields, and of those of the messages in it, changed by itself: the field
/// with those it lies in, and the message.
fn changes(message: &DynamicMessage) -> Vec<(Vec<String>, DynamicMessage)> {
    let mut all = Vec::new();
    for field in message.descriptor().fields() {
        let other = field.containing_oneof().is_some() && !message.has_field(&field);
        if other {
            continue;
        }
        let mut with = |mut names: Vec<String>, value: Value| {
            let mut changed = message.clone();
            changed.set_field(&field, value);
            names.push(field.full_name().to_owned());
            all.push((names, changed));
        };
        match message.get_field(&field).into_owned() {
            Value::Message(inner) if message.has_field(&field) => {
                for (names, inner) in changes(&inner) {
                    with(names, Value::Message(inner));
                }
            }
            Value::List(list) => {
                for (at, inner) in list.iter().enumerate() {
                    let Value::Message(inner) = inner else { continue };
                    for (names, inner) in changes(inner) {
                        let mut list = list.clone();
                        list[at] = Value::Message(inner);
                        with(names, Value::List(list));
                    }
                }
                let more = list.iter().cloned().chain([another(&field, None)]).collect();
                with(Vec::new(), Value::List(more));
            }
            Value::Map(map) => {
                let one = map.iter().find_map(|(key, inner)| Some((key, inner.as_message()?)));
                if let Some((key, inner)) = one {
                    for (names, inner) in changes(inner) {
                        let mut map = map.clone();
                        map.insert(key.clone(), Value::Message(inner));
                        with(names, Value::Map(map));
                    }
                }
                let mut more = map.clone();
                more.insert(MapKey::String("other.key".into()), another(&field, None));
                with(Vec::new(), Value::Map(more));
            }
            value => with(Vec::new(), another(&field, Some(&value))),
        }
    }
    all
}

/// Another value of a field than it has, or one more of a list or map.
fn another(field: &FieldDescriptor, value: Option<&Value>) -> Value {
    let kind = match field.kind() {
        Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    match (kind, value) {
        (Kind::String, Some(Value::String(text))) => Value::String(format!("{text}x")),
        (Kind::String, _) => Value::String("x".into()),
        (Kind::Bytes, _) => Value::Bytes(Bytes::from_static(b"x")),
        (Kind::Bool, Some(Value::Bool(flag))) => Value::Bool(!flag),
        (Kind::Int32, Some(Value::I32(number))) => Value::I32(number + 1),
        (Kind::Int32, _) => Value::I32(1),
        (Kind::Uint32, Some(Value::U32(number))) => Value::U32(number + 1),
        (Kind::Int64, Some(Value::I64(number))) => Value::I64(number + 1),
        (Kind::Int64, _) => Value::I64(1),
        (Kind::Enum(_), Some(Value::EnumNumber(number))) => Value::EnumNumber(number + 1),
        (Kind::Message(message), _) => Value::Message(DynamicMessage::new(message)),
        (kind, value) => panic!("{} is {kind:?} {value:?}", field.full_name()),
    }
}

/// What an op is loaded as, or why it is not.
fn loaded(op: &DynamicMessage, base: &[u8]) -> String {
    let (op, context) = (
        op.encode_to_vec(),
        LoadContext {
            default_platform: Platform::new("linux", "arm64"),
            session: "session".into(),
            lenders: Default::default(),
            entitlements: Entitlements {
                network_host: true,
                security_insecure: true,
                ..Entitlements::default()
            },
            devices: None,
            proxy_network: None,
        },
    );
    let digest = Digest::sha256(&op).to_string();
    let input = kiln_wire::pb::Input { digest: digest.clone(), index: 0 };
    let terminal = kiln_wire::pb::Op { inputs: vec![input], ..Default::default() };
    let definition = kiln_wire::pb::Definition {
        def: vec![base.to_vec().into(), op.into(), terminal.encode_to_vec().into()],
        ..Default::default()
    };
    let graph = Graph::load(&definition, &context).map_err(|error| error.to_string());
    let text = graph.map(|graph| {
        let vertex = graph.vertex(&graph.root().unwrap().vertex).unwrap();
        let (op, inputs, constraints) = (&vertex.op, &vertex.inputs, &vertex.constraints);
        format!("{op:?} {inputs:?} {:?} {constraints:?}", vertex.platform)
    });
    text.unwrap_or_else(|error| error).replace(&digest, "OP")
}

#[test]
fn every_field_of_an_op_is_loaded_or_refused() {
    let pool = pool();
    let descriptor = pool.get_message_by_name("pb.Op").unwrap();
    let base =
        kiln_wire::pb::SourceOp { identifier: "docker-image://a".into(), ..Default::default() };
    let base =
        kiln_wire::pb::Op { op: Some(kiln_wire::pb::op::Op::Source(base)), ..Default::default() };
    let base = base.encode_to_vec();
    let (mut read, mut dropped) = (BTreeSet::new(), BTreeSet::new());
    for op in ops() {
        let text = op.to_string().replace("BASE", Digest::sha256(&base).as_str());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let op = DynamicMessage::deserialize(descriptor.clone(), json).unwrap();
        let before = loaded(&op, &base);
        for (names, changed) in changes(&op) {
            match loaded(&changed, &base) == before {
                true => dropped.extend(names),
                false => read.extend(names),
            }
        }
    }
    let no_meaning = |name: &String| {
        table()
            .iter()
            .any(|line| line.subject == *name && matches!(line.verdict, Verdict::NoMeaning(_)))
    };
    // A graph in an op is refused as a whole.
    let definition = fields(vec![pool.get_message_by_name("pb.Definition").unwrap()]);
    let all = fields(vec![descriptor]);
    let wanted = all.difference(&definition);
    let wrong = wanted.filter(|name| !read.contains(*name) && !no_meaning(name));
    nobody(
        wrong
            .map(|name| {
                let how = if dropped.contains(name) { "is dropped" } else { "is in no op" };
                format!("{name} {how}")
            })
            .collect(),
    );
}
