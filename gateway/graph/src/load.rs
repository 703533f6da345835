//! From a definition to a graph, or the reason why not.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use indexmap::IndexMap;
use kiln_cdi::{DeviceError, Devices, Grant, Request};
use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use prost::Message;
use prost::bytes::Bytes;

use crate::file::UNPACK_ZIP;
use crate::operation::{build, devices, exec, file, input};
use crate::source_map::SourceMap;
use crate::{
    Arrived, Constraints, Edge, Exec, FileAction, FileStep, Graph, Identifier, IdentifierError,
    LocalSource, Location, Metadata, NetworkMode, Op, ProxyNetwork, SecurityMode, Vertex,
};

/// The most operations one definition may have.
const MAX_OPS: usize = 200_000;

/// What a definition is loaded for.
#[derive(Clone, Debug)]
pub struct LoadContext {
    /// The platform of operations that name none.
    pub default_platform: Platform,
    /// The session of the build, which owns local directories.
    pub session: String,
    /// The sessions that own them in its place, by what makes them unique (`local.unique`).
    pub lenders: BTreeMap<String, String>,
    /// What the build may do beyond the ordinary.
    pub entitlements: Entitlements,
    /// The devices of the host; `None` if no step gets any.
    pub devices: Option<Arc<Devices>>,
    /// The network of processes is a proxy, of those that have one.
    pub proxy_network: Option<ProxyNetwork>,
}

impl LoadContext {
    /// The session that owns a local directory which names none.
    fn owner(&self, local: &LocalSource) -> &str {
        let lender = Some(&local.unique).filter(|unique| !unique.is_empty());
        lender.and_then(|unique| self.lenders.get(unique)).unwrap_or(&self.session)
    }
}

/// What a build may do beyond the ordinary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entitlements {
    /// Use the host's network (`network.host`).
    pub network_host: bool,
    /// Run with the daemon's privileges (`security.insecure`).
    pub security_insecure: bool,
    /// Use devices of the host besides those that every build may use (`device`).
    pub devices: Option<Grant>,
}

impl Entitlements {
    /// Whether a process may have what it asks for.
    ///
    /// # Errors
    ///
    /// [`LoadError::Entitlement`] with the first that is missing.
    pub fn check(&self, exec: &Exec) -> Result<(), LoadError> {
        if exec.network == NetworkMode::Host && !self.network_host {
            return Err(LoadError::Entitlement("network.host"));
        }
        if exec.security == SecurityMode::Insecure && !self.security_insecure {
            return Err(LoadError::Entitlement("security.insecure"));
        }
        Ok(())
    }
}

/// Why a definition could not become a graph.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// There is nothing but the terminal.
    #[error("invalid LLB with 1 vertexes")]
    Alone,
    /// The terminal leads to nothing.
    #[error("invalid LLB with no inputs on last vertex")]
    NoRoot,
    /// There is too much in it.
    #[error("definition has {0} operations, more than {MAX_OPS}")]
    TooLarge(usize),
    /// The bytes of an op are not the message they claim to be.
    #[error("failed to parse llb proto op {op}")]
    Decode {
        /// The op.
        op: Digest,
        /// Why.
        source: prost::DecodeError,
    },
    /// An op reads a vertex the definition does not carry.
    #[error("invalid missing input digest {input}, read by op {op}")]
    MissingInput {
        /// The op.
        op: Digest,
        /// What it reads.
        input: String,
    },
    /// An op reads an output with a negative number.
    #[error("invalid input {number} output index {index} of op {op}")]
    NegativeOutput {
        /// The op.
        op: Digest,
        /// The number of the input.
        number: usize,
        /// The output.
        index: i64,
    },
    /// An op reads an output that its input does not have.
    #[error("op {op} reads output {index} of {input}, which has no such output")]
    NoOutput {
        /// The op.
        op: Digest,
        /// What it reads.
        input: Digest,
        /// The output.
        index: i64,
    },
    /// An op makes no sense.
    #[error("op {op} ({name}): {reason}")]
    Invalid {
        /// The op.
        op: Digest,
        /// Its name for people.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// A source makes no sense.
    #[error("op {op}: {source}")]
    Source {
        /// The op.
        op: Digest,
        /// Why.
        source: IdentifierError,
    },
    /// An op needs a feature this daemon does not have.
    #[error(
        "op {op}: unknown capability {capability}; the client or frontend is newer than this daemon"
    )]
    Capability {
        /// The op.
        op: Digest,
        /// The feature.
        capability: String,
    },
    /// An op does what the build may not.
    #[error("{0} is not allowed (allow it with --allow {0})")]
    Entitlement(&'static str),
    /// An op does not get a device that it asks for.
    #[error("{source}")]
    Device {
        /// The op.
        op: Digest,
        /// Why.
        source: DeviceError,
    },
}

impl LoadError {
    /// The op that is to blame, if it is one.
    pub fn op(&self) -> Option<&Digest> {
        match self {
            Self::Decode { op, .. }
            | Self::MissingInput { op, .. }
            | Self::NegativeOutput { op, .. }
            | Self::NoOutput { op, .. }
            | Self::Invalid { op, .. }
            | Self::Source { op, .. }
            | Self::Capability { op, .. }
            | Self::Device { op, .. } => Some(op),
            _ => None,
        }
    }

    /// Where the user wrote it, as far as the definition tells.
    pub fn locations(&self, definition: &pb::Definition) -> Vec<Location> {
        let sources = SourceMap::new(definition.source.as_ref());
        self.op().map(|op| sources.of(op.as_str())).unwrap_or_default()
    }
}

impl Graph {
    /// Loads a definition, in time linear in its size.
    ///
    /// Ops may come in any order but for the terminal, which is the last; what the terminal does not
    /// lead to is not loaded. A definition without ops is the empty file system.
    ///
    /// # Errors
    ///
    /// [`LoadError`]; it names the op by the digest that the client knows.
    pub fn load(definition: &pb::Definition, context: &LoadContext) -> Result<Self, LoadError> {
        let Some((terminal, ops)) = definition.def.split_last() else {
            return Ok(Self::default());
        };
        if ops.len() > MAX_OPS {
            return Err(LoadError::TooLarge(ops.len()));
        }
        let root = root(terminal, ops.len())?;
        let mut loader = Loader {
            context,
            metadata: &definition.metadata,
            sources: SourceMap::new(definition.source.as_ref()),
            ids: HashMap::new(),
            vertices: IndexMap::new(),
        };
        for arrived in in_order(ops, &root)? {
            loader.add(arrived)?;
        }
        let root = loader.edge(&Digest::sha256(terminal), &root)?;
        Ok(Self { vertices: loader.vertices, root: Some(root) })
    }
}

/// What the terminal leads to.
fn root(bytes: &Bytes, others: usize) -> Result<pb::Input, LoadError> {
    let digest = Digest::sha256(bytes);
    let mut op = decode(&digest, bytes)?;
    if others == 0 {
        return Err(LoadError::Alone);
    }
    match (op.inputs.pop(), op.inputs.is_empty(), op.op) {
        (Some(input), true, None) => Ok(input),
        (None, ..) => Err(LoadError::NoRoot),
        _ => {
            let reason =
                "the last op of a definition must be the terminal: one input and nothing else"
                    .into();
            Err(LoadError::Invalid { op: digest, name: "terminal".into(), reason })
        }
    }
}

/// An op with the digest that the client knows.
struct Addressed {
    digest: Digest,
    arrived: Arrived,
}

/// The ops that `root` leads to, inputs before those that read them.
fn in_order(ops: &[Bytes], root: &pb::Input) -> Result<Vec<Addressed>, LoadError> {
    let mut open = Vec::with_capacity(ops.len());
    let mut places = HashMap::with_capacity(ops.len());
    for bytes in ops {
        let digest = Digest::sha256(bytes);
        let op = decode(&digest, bytes)?;
        places.entry(digest.to_string()).or_insert(open.len());
        open.push(Some(Addressed { digest, arrived: Arrived { bytes: bytes.clone(), op } }));
    }
    for op in open.iter().flatten() {
        check_inputs(op, &places)?;
    }
    let mut take = |input: &pb::Input| Some((open[*places.get(&input.digest)?].take()?, 0));
    let mut order = Vec::with_capacity(ops.len());
    // Ops on the way to the current one, with the number of the input that is looked at next. No way
    // leads in a circle, since an op names its inputs by digest; if one did, it would end there.
    let mut way = Vec::from_iter(take(root));
    while let Some((op, next)) = way.last_mut() {
        match op.arrived.op.inputs.get(*next) {
            Some(input) => {
                *next += 1;
                let input = take(input);
                way.extend(input);
            }
            None => order.extend(way.pop().map(|(op, _)| op)),
        }
    }
    Ok(order)
}

/// Whether all inputs of an op can be: they are in the definition, and their outputs have numbers.
fn check_inputs(op: &Addressed, places: &HashMap<String, usize>) -> Result<(), LoadError> {
    for (number, input) in op.arrived.op.inputs.iter().enumerate() {
        if input.index < 0 {
            let (op, index) = (op.digest.clone(), input.index);
            return Err(LoadError::NegativeOutput { op, number, index });
        }
        if !places.contains_key(&input.digest) {
            return Err(missing(&op.digest, input));
        }
    }
    Ok(())
}

fn missing(op: &Digest, input: &pb::Input) -> LoadError {
    LoadError::MissingInput { op: op.clone(), input: input.digest.chars().take(100).collect() }
}

struct Loader<'a> {
    context: &'a LoadContext,
    metadata: &'a BTreeMap<String, pb::OpMetadata>,
    sources: SourceMap<'a>,
    /// From the digest the client knows to the vertex's id.
    ids: HashMap<String, Digest>,
    vertices: IndexMap<Digest, Arc<Vertex>>,
}

impl Loader<'_> {
    fn edge(&self, op: &Digest, input: &pb::Input) -> Result<Edge, LoadError> {
        let vertex = self.ids.get(&input.digest).cloned().ok_or_else(|| missing(op, input))?;
        let outputs = self.vertices.get(&vertex).map_or(0, |vertex| vertex.op.outputs());
        let index = usize::try_from(input.index).ok().filter(|index| *index < outputs);
        let index = index.ok_or_else(|| LoadError::NoOutput {
            op: op.clone(),
            input: vertex.clone(),
            index: input.index,
        })?;
        Ok(Edge { vertex, index })
    }

    fn add(&mut self, Addressed { digest, mut arrived }: Addressed) -> Result<(), LoadError> {
        self.grant_devices(&digest, &mut arrived.op)?;
        let message = &arrived.op;
        let inputs = message.inputs.iter().map(|input| self.edge(&digest, input));
        let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
        let metadata = self.metadata.get(digest.as_str()).cloned().map(Metadata::from);
        let metadata = metadata.unwrap_or_default();
        check_caps(&digest, &metadata)?;
        let own = message.platform.as_ref().map(platform);
        let mut op = self.op(&digest, message.op.clone(), inputs.len())?;
        let constraints = message.constraints.as_ref();
        let filters = constraints.map_or(&[][..], |constraints| &constraints.filter);
        if let Op::File(file) = &mut op
            && filters.iter().any(|filter| filter == UNPACK_ZIP)
        {
            file.unpack_zips();
        }
        let custom = metadata.description.get("llb.customname").cloned();
        let id = self.id(&digest, &op, &inputs, metadata.ignore_cache);
        let vertex = Vertex {
            id: id.clone(),
            name: custom.unwrap_or_else(|| display_name(&op, &inputs)),
            op,
            inputs,
            platform: own.unwrap_or_else(|| self.context.default_platform.clone()),
            constraints: Constraints {
                filter: constraints.map(|c| c.filter.clone()).unwrap_or_default(),
            },
            metadata,
            locations: self.sources.of(digest.as_str()),
            arrived,
            digest: digest.clone(),
        };
        self.ids.insert(digest.to_string(), id.clone());
        self.vertices.insert(id, Arc::new(vertex));
        Ok(())
    }

    /// The id is the digest, unless the work is not the same for everyone who knows the digest.
    fn id(&self, digest: &Digest, op: &Op, inputs: &[Edge], ignore_cache: bool) -> Digest {
        let mut more = String::new();
        if ignore_cache {
            more.push_str("ignore-cache ");
        }
        if let Op::Source(source) = op
            && let Identifier::Local(local) = source.as_ref()
            && local.session.is_empty()
        {
            more.push_str(self.context.owner(local));
        }
        // The same name may mean other devices for another build, or later.
        if let Op::Exec(exec) = op
            && !exec.devices.is_empty()
        {
            let names = exec.devices.iter().map(|device| device.name.as_str());
            more.push_str(&format!("devices {} ", names.collect::<Vec<_>>().join(" ")));
        }
        // What is noted for one build, or refused by its rules, is not so for another.
        if let Op::Exec(exec) = op
            && let Some(proxy) = &exec.proxied
        {
            more.push_str(&format!("proxy {} ", proxy.judge));
        }
        let own = |edge: &&Edge| {
            self.vertices.get(&edge.vertex).is_some_and(|vertex| vertex.id != vertex.digest)
        };
        for edge in inputs.iter().filter(own) {
            more.push_str(edge.vertex.as_str());
        }
        if more.is_empty() { digest.clone() } else { Digest::sha256(format!("{digest} {more}")) }
    }

    fn op(&self, digest: &Digest, op: Option<pb::op::Op>, inputs: usize) -> Result<Op, LoadError> {
        let invalid = |name: &str, reason: String| LoadError::Invalid {
            op: digest.clone(),
            name: name.into(),
            reason,
        };
        match op {
            None => Err(invalid("unknown", "an op of a kind this daemon does not know".into())),
            Some(pb::op::Op::Source(source)) => {
                Identifier::parse(&source.identifier, &source.attrs)
                    .map(|identifier| Op::Source(Box::new(identifier)))
                    .map_err(|source| LoadError::Source { op: digest.clone(), source })
            }
            Some(pb::op::Op::Exec(op)) => {
                let mut exec = exec(op, inputs).map_err(|reason| invalid("exec", reason))?;
                self.entitled(&exec)?;
                if exec.network != NetworkMode::None {
                    exec.proxied.clone_from(&self.context.proxy_network);
                }
                Ok(Op::Exec(Box::new(exec)))
            }
            Some(pb::op::Op::File(op)) => {
                file(op, inputs).map(Op::File).map_err(|reason| invalid("file", reason))
            }
            Some(pb::op::Op::Build(op)) => {
                build(&op, inputs).map(Op::Build).map_err(|reason| invalid("build", reason))
            }
            Some(pb::op::Op::Merge(op)) => {
                let list =
                    op.inputs.iter().map(|i| input(i.input, inputs)).collect::<Result<Vec<_>, _>>();
                list.map(Op::Merge).map_err(|reason| invalid("merge", reason))
            }
            Some(pb::op::Op::Diff(op)) => {
                let (Some(lower), Some(upper)) = (op.lower, op.upper) else {
                    return Err(invalid("diff", "a diff needs a lower and an upper side".into()));
                };
                let (lower, upper) = (input(lower.input, inputs), input(upper.input, inputs));
                let both = lower.and_then(|lower| Ok(Op::Diff { lower, upper: upper? }));
                both.map_err(|reason| invalid("diff", reason))
            }
            Some(pb::op::Op::Passthrough(op)) => {
                let outputs = op
                    .outputs
                    .iter()
                    .map(|i| input(*i, inputs)?.ok_or_else(|| "output -1".to_owned()));
                let outputs = outputs
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|reason| invalid("passthrough", reason))?;
                if op.id.is_empty() {
                    return Err(invalid("passthrough", "it has no id".into()));
                }
                Ok(Op::Passthrough { id: op.id, outputs })
            }
        }
    }

    fn entitled(&self, exec: &Exec) -> Result<(), LoadError> {
        self.context.entitlements.check(exec)
    }

    /// Puts the devices that an op may have in the place of those that it asks for: which they are is part of
    /// what is done, and of its cache key.
    fn grant_devices(&self, digest: &Digest, op: &mut pb::Op) -> Result<(), LoadError> {
        let Some(pb::op::Op::Exec(exec)) = &mut op.op else { return Ok(()) };
        if exec.cdi_devices.is_empty() {
            return Ok(());
        }
        let requests = devices(std::mem::take(&mut exec.cdi_devices));
        let granted = match &self.context.devices {
            Some(devices) => devices.grant(requests, self.context.entitlements.devices.as_ref()),
            None => match requests.into_iter().find(|request| !request.optional) {
                Some(request) => Err(DeviceError::Disabled(request.name)),
                None => Ok(Vec::new()),
            },
        };
        let granted = granted.map_err(|source| LoadError::Device { op: digest.clone(), source })?;
        let device =
            |request: Request| pb::CdiDevice { name: request.name, optional: request.optional };
        exec.cdi_devices = granted.into_iter().map(device).collect();
        Ok(())
    }
}

fn decode(digest: &Digest, bytes: &[u8]) -> Result<pb::Op, LoadError> {
    pb::Op::decode(bytes).map_err(|source| LoadError::Decode { op: digest.clone(), source })
}

fn check_caps(digest: &Digest, metadata: &Metadata) -> Result<(), LoadError> {
    let unknown = |name: &&String| !kiln_pb::caps::LLB.contains(&name.as_str());
    match metadata.caps.keys().find(unknown) {
        Some(name) => Err(LoadError::Capability { op: digest.clone(), capability: name.clone() }),
        None => Ok(()),
    }
}

fn platform(platform: &pb::Platform) -> Platform {
    Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
        variant: platform.variant.clone(),
    }
    .normalized()
}

/// The name of a vertex to which the client gave none.
fn display_name(op: &Op, inputs: &[Edge]) -> String {
    match op {
        Op::Source(identifier) => match identifier.as_ref() {
            Identifier::Git(git) => {
                format!("git://{}", git.remote.split_once("://").map_or(&*git.remote, |(_, r)| r))
            }
            other => other.canonical(),
        },
        Op::Exec(exec) => exec.args.join(" "),
        Op::File(file) => file.steps.iter().map(file_name).collect::<Vec<_>>().join(", "),
        Op::Build(_) => "build".into(),
        Op::Merge(_) => format!("merge ({} inputs)", inputs.len()),
        Op::Diff { .. } => "diff".into(),
        Op::Passthrough { id, .. } => format!("passthrough {id}"),
    }
}

fn file_name(step: &FileStep) -> String {
    match &step.action {
        FileAction::Copy(copy) => format!("copy {} {}", copy.src, copy.dest),
        FileAction::MakeFile { path, .. } => format!("mkfile {path}"),
        FileAction::MakeDir { path, .. } => format!("mkdir {path}"),
        FileAction::Remove { path, .. } => format!("rm {path}"),
        FileAction::Symlink { target, path, .. } => format!("symlink {path} -> {target}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> LoadContext {
        LoadContext {
            default_platform: Platform::new("linux", "amd64"),
            session: "session".into(),
            lenders: BTreeMap::new(),
            entitlements: Entitlements::default(),
            devices: None,
            proxy_network: None,
        }
    }

    fn definition(ops: &[pb::Op]) -> pb::Definition {
        pb::Definition {
            def: ops.iter().map(|op| op.encode_to_vec().into()).collect(),
            ..Default::default()
        }
    }

    fn source(identifier: &str) -> pb::Op {
        let source = pb::SourceOp { identifier: identifier.into(), ..Default::default() };
        pb::Op { op: Some(pb::op::Op::Source(source)), ..Default::default() }
    }

    fn reading(op: &pb::Op) -> pb::Op {
        let input = pb::Input { digest: Digest::sha256(op.encode_to_vec()).to_string(), index: 0 };
        pb::Op { inputs: vec![input], ..Default::default() }
    }

    #[test]
    fn a_source_and_a_terminal_are_a_graph() {
        let image = source("docker-image://docker.io/library/alpine:latest");
        let graph =
            Graph::load(&definition(&[image.clone(), reading(&image)]), &context()).unwrap();
        let root = graph.root().unwrap();
        assert_eq!(
            graph.vertex(&root.vertex).unwrap().name,
            "docker-image://docker.io/library/alpine:latest"
        );
    }

    #[test]
    fn local_directories_of_two_sessions_are_two_pieces_of_work() {
        let local = source("local://context");
        let definition = definition(&[local.clone(), reading(&local)]);
        let one = Graph::load(&definition, &context()).unwrap();
        let other = Graph::load(&definition, &LoadContext { session: "other".into(), ..context() })
            .unwrap();
        assert_ne!(one.root(), other.root());
    }

    #[test]
    fn a_directory_that_is_lent_is_the_work_of_its_owner() {
        let attrs = [("local.unique".to_owned(), "one".to_owned())];
        let local = pb::SourceOp { identifier: "local://context".into(), attrs: attrs.into() };
        let local = pb::Op { op: Some(pb::op::Op::Source(local)), ..Default::default() };
        let definition = definition(&[local.clone(), reading(&local)]);
        let root = |lenders: &[(&str, &str)]| {
            let own = lenders.iter().map(|(unique, owner)| ((*unique).into(), (*owner).into()));
            let other = LoadContext { session: "other".into(), ..context() };
            let other = LoadContext { lenders: own.collect(), ..other };
            Graph::load(&definition, &other).unwrap().root().cloned()
        };
        let owner = Graph::load(&definition, &context()).unwrap().root().cloned();
        assert_eq!(root(&[("one", "session")]), owner);
        assert_ne!(root(&[("two", "session"), ("", "session")]), owner);
    }

    #[test]
    fn zip_files_are_unpacked_for_who_asks() {
        let image = source("docker-image://alpine");
        let copy = pb::FileActionCopy {
            src: "/a.zip".into(),
            dest: "/".into(),
            attempt_unpack_docker_compatibility: true,
            ..Default::default()
        };
        let action = pb::FileAction {
            action: Some(pb::file_action::Action::Copy(copy)),
            secondary_input: 0,
            ..Default::default()
        };
        let unpacks = |filter: Vec<String>| {
            let mut op = reading(&image);
            op.op = Some(pb::op::Op::File(pb::FileOp { actions: vec![action.clone()] }));
            op.constraints = Some(pb::WorkerConstraints { filter });
            let graph =
                Graph::load(&definition(&[image.clone(), op.clone(), reading(&op)]), &context());
            let graph = graph.unwrap();
            let found = graph.vertices().find_map(|vertex| match &vertex.op {
                Op::File(file) => Some(file.steps[0].action.clone()),
                _ => None,
            });
            matches!(found, Some(FileAction::Copy(copy)) if copy.unpack && copy.unpack_zip)
        };
        assert!(unpacks(vec![UNPACK_ZIP.into()]));
        assert!(!unpacks(Vec::new()) && !unpacks(vec!["platform==linux/amd64".into()]));
    }

    #[test]
    fn the_host_network_needs_to_be_allowed() {
        let image = source("docker-image://alpine");
        let mut run = reading(&image);
        run.op = Some(pb::op::Op::Exec(pb::ExecOp {
            meta: Some(pb::Meta { args: vec!["true".into()], ..Default::default() }),
            mounts: vec![pb::Mount { dest: "/".into(), ..Default::default() }],
            network: pb::NetMode::Host.into(),
            ..Default::default()
        }));
        let definition = definition(&[image, run.clone(), reading(&run)]);
        let error = Graph::load(&definition, &context()).unwrap_err();
        assert!(error.to_string().starts_with("network.host is not allowed"), "{error}");
        let entitlements = Entitlements { network_host: true, ..Default::default() };
        assert!(Graph::load(&definition, &LoadContext { entitlements, ..context() }).is_ok());
    }

    /// A process that asks for this, on an image.
    fn running(exec: pb::ExecOp) -> pb::Definition {
        let image = source("docker-image://alpine");
        let mut run = reading(&image);
        run.op = Some(pb::op::Op::Exec(pb::ExecOp {
            meta: Some(pb::Meta { args: vec!["true".into()], ..Default::default() }),
            mounts: vec![pb::Mount { dest: "/".into(), ..Default::default() }],
            ..exec
        }));
        definition(&[image, run.clone(), reading(&run)])
    }

    fn process(graph: &Graph) -> &Vertex {
        graph.vertices().find(|vertex| matches!(vertex.op, Op::Exec(_))).unwrap()
    }

    #[test]
    fn a_process_with_a_proxy_is_other_work_than_one_without_or_under_other_rules() {
        let definition = running(pb::ExecOp::default());
        let id = |proxy_network: Option<ProxyNetwork>| {
            let graph = Graph::load(&definition, &LoadContext { proxy_network, ..context() });
            process(&graph.unwrap()).id.clone()
        };
        let judged = |judge: &str| Some(ProxyNetwork { judge: judge.into() });
        let ids = [id(None), id(judged("")), id(judged("one")), id(judged("two"))];
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(id(judged("one")), ids[2]);
        // Without a network there is nothing to be noted.
        let none = running(pb::ExecOp { network: pb::NetMode::None.into(), ..Default::default() });
        let loaded = Graph::load(&none, &LoadContext { proxy_network: judged("x"), ..context() });
        let loaded = loaded.unwrap();
        assert!(matches!(&process(&loaded).op, Op::Exec(exec) if exec.proxied.is_none()));
    }

    #[test]
    fn devices_that_a_daemon_does_not_give_are_left_out_or_missed() {
        let device = |optional| pb::CdiDevice { name: "a/b=c".into(), optional };
        let load = |optional, devices: Option<Devices>| {
            let asked =
                running(pb::ExecOp { cdi_devices: vec![device(optional)], ..Default::default() });
            Graph::load(&asked, &LoadContext { devices: devices.map(Arc::new), ..context() })
        };
        for devices in [None, Some(Devices::default())] {
            let graph = load(true, devices.clone()).unwrap();
            let vertex = process(&graph);
            assert!(matches!(&vertex.op, Op::Exec(exec) if exec.devices.is_empty()));
            assert_eq!(vertex.id, vertex.digest);
            assert!(matches!(load(false, devices), Err(LoadError::Device { .. })));
        }
    }

    /// Why a process of this user, or with this mount or limit, is refused.
    #[track_caller]
    fn refused(meta: pb::Meta, mount: pb::Mount) -> String {
        let image = source("docker-image://alpine");
        let mut run = reading(&image);
        run.op = Some(pb::op::Op::Exec(pb::ExecOp {
            meta: Some(pb::Meta { args: vec!["true".into()], ..meta }),
            mounts: vec![pb::Mount { dest: "/".into(), ..Default::default() }, mount],
            ..Default::default()
        }));
        let definition = definition(&[image, run.clone(), reading(&run)]);
        Graph::load(&definition, &context()).unwrap_err().to_string()
    }

    #[test]
    fn a_number_that_is_no_id_is_refused_wherever_a_process_has_one() {
        let none = || pb::Mount { dest: "/m".into(), ..Default::default() };
        for user in ["4294967295", "-1", "4294967296", "0:-1"] {
            let error = refused(pb::Meta { user: user.into(), ..Default::default() }, none());
            assert!(error.contains("is out of range (0 to 4294967294)"), "{error}");
        }
        let secret = pb::SecretOpt { id: "s".into(), uid: u32::MAX, ..Default::default() };
        let secret = pb::Mount {
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(secret),
            ..none()
        };
        let error = refused(pb::Meta::default(), secret);
        assert!(error.contains("user id 4294967295"), "{error}");
        let ssh = pb::SshOpt { gid: u32::MAX, ..Default::default() };
        let ssh = pb::Mount { mount_type: pb::MountType::Ssh.into(), ssh_opt: Some(ssh), ..none() };
        let error = refused(pb::Meta::default(), ssh);
        assert!(error.contains("group id 4294967295"), "{error}");
        let limit = pb::Ulimit { name: "nofile".into(), soft: -2, hard: -1 };
        let error = refused(pb::Meta { ulimit: vec![limit], ..Default::default() }, none());
        assert!(error.contains("ulimit nofile cannot be -2"), "{error}");
    }

    #[test]
    fn a_number_that_is_no_id_is_refused_wherever_a_file_has_one() {
        use pb::user_opt::User;
        let by_name = |name: &str| User::ByName(pb::NamedUserOpt { name: name.into(), input: -1 });
        for user in [User::ById(u32::MAX), by_name("4294967296"), by_name("-1")] {
            let user = pb::UserOpt { user: Some(user) };
            let owner = pb::ChownOpt { user: Some(user.clone()), group: Some(user) };
            let make =
                pb::FileActionMkDir { path: "/d".into(), owner: Some(owner), ..Default::default() };
            let action = pb::FileAction {
                input: -1,
                secondary_input: -1,
                action: Some(pb::file_action::Action::Mkdir(make)),
                ..Default::default()
            };
            let file = pb::FileOp { actions: vec![action] };
            let op = pb::Op { op: Some(pb::op::Op::File(file)), ..Default::default() };
            let error =
                Graph::load(&definition(&[op.clone(), reading(&op)]), &context()).unwrap_err();
            assert!(error.to_string().contains("is out of range"), "{error}");
        }
    }
}
