//! A definition as the checks look at it: its ops in order, and what the result rests on.

use std::collections::BTreeMap;

use kiln_llb::Definition;
use kiln_oci::Platform;
use kiln_wire::pb;
use kiln_wire::pb::op::Op as Kind;

/// The decoded ops of a definition, without the one that ends it.
pub(crate) struct Graph {
    pub(crate) ops: Vec<Vertex>,
    head: Option<usize>,
    /// Which of its outputs is the result.
    head_output: i64,
}

/// One op.
pub(crate) struct Vertex {
    pub(crate) digest: String,
    pub(crate) bytes: bytes::Bytes,
    pub(crate) op: pb::Op,
    pub(crate) metadata: pb::OpMetadata,
    pub(crate) places: Vec<pb::Location>,
    inputs: Vec<usize>,
}

impl Graph {
    /// Decodes a definition, or says what is wrong with it.
    pub(crate) fn of(definition: &Definition) -> Result<Self, String> {
        let mut ops: Vec<Vertex> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut decoded = definition.ops().zip(&definition.def).peekable();
        let (mut head, mut head_output) = (None, 0);
        while let Some((op, bytes)) = decoded.next() {
            let (digest, op) = op.map_err(|error| error.to_string())?;
            let digest = digest.to_string();
            let mut inputs = Vec::new();
            for input in &op.inputs {
                let reads = |why: &str| format!("op {digest} reads {}, which {why}", input.digest);
                let found = known.get(&input.digest);
                inputs.push(*found.ok_or_else(|| reads("does not come before it"))?);
            }
            if decoded.peek().is_none() {
                if op.op.is_some() {
                    return Err("the last op does not just name the result".to_owned());
                }
                head = inputs.first().copied();
                head_output = op.inputs.first().map_or(0, |input| input.index);
                break;
            }
            if op.op.is_none() {
                return Err(format!("op {digest} does nothing"));
            }
            let source = definition.source.as_ref();
            let places = source.and_then(|source| source.locations.get(&digest));
            known.insert(digest.clone(), ops.len());
            ops.push(Vertex {
                metadata: definition.metadata.get(&digest).cloned().unwrap_or_default(),
                places: places.map(|places| places.locations.clone()).unwrap_or_default(),
                bytes: bytes.clone(),
                digest,
                op,
                inputs,
            });
        }
        Ok(Self { ops, head, head_output })
    }

    /// The op whose output is the result.
    pub(crate) fn head(&self) -> Option<&Vertex> {
        self.ops.get(self.head?)
    }

    /// The commands.
    pub(crate) fn execs(&self) -> impl Iterator<Item = &Vertex> {
        self.ops.iter().filter(|vertex| vertex.exec().is_some())
    }

    /// The ops that do work: everything but sources.
    pub(crate) fn work(&self) -> impl Iterator<Item = &Vertex> {
        self.ops.iter().filter(|vertex| !matches!(vertex.op.op, Some(Kind::Source(_))))
    }

    /// The image that the result started as, if it did, as it is named in the graph.
    pub(crate) fn base_image(&self) -> Option<&str> {
        let (mut at, mut output) = (self.head()?, self.head_output);
        // Every step goes to an earlier op, so this ends.
        loop {
            (at, output) = match at.op.op.as_ref()? {
                Kind::Source(source) => return source.identifier.strip_prefix("docker-image://"),
                // What a command leaves in a mount was begun with what is mounted there.
                Kind::Exec(exec) => {
                    let mount = exec.mounts.iter().find(|mount| mount.output == output)?;
                    self.input(at, mount.input)?
                }
                Kind::File(file) => self.file_base(at, file)?,
                Kind::Merge(_) | Kind::Passthrough(_) => self.input(at, 0)?,
                Kind::Build(_) | Kind::Diff(_) => return None,
            };
        }
    }

    /// An input of an op, and which output it is.
    fn input(&self, of: &Vertex, index: i64) -> Option<(&Vertex, i64)> {
        let index = usize::try_from(index).ok()?;
        let vertex = self.ops.get(*of.inputs.get(index)?)?;
        Some((vertex, of.op.inputs.get(index)?.index))
    }

    /// What the first output of file actions is made on top of.
    fn file_base(&self, of: &Vertex, file: &pb::FileOp) -> Option<(&Vertex, i64)> {
        let mut action = file.actions.iter().rev().find(|action| action.output == 0)?;
        for _ in 0..file.actions.len() {
            let index = usize::try_from(action.input).ok()?;
            match index.checked_sub(of.inputs.len()) {
                None => return self.input(of, action.input),
                Some(earlier) => action = file.actions.get(earlier)?,
            }
        }
        None
    }
}

impl Vertex {
    /// The command, if it is one.
    pub(crate) fn exec(&self) -> Option<&pb::ExecOp> {
        match self.op.op.as_ref()? {
            Kind::Exec(exec) => Some(exec),
            _ => None,
        }
    }

    /// The source, if it is one.
    pub(crate) fn source(&self) -> Option<&pb::SourceOp> {
        match self.op.op.as_ref()? {
            Kind::Source(source) => Some(source),
            _ => None,
        }
    }

    /// Whether what it makes depends on the platform: images and commands.
    pub(crate) fn has_platform(&self) -> bool {
        let image = |source: &pb::SourceOp| source.identifier.starts_with("docker-image://");
        self.exec().is_some() || self.source().is_some_and(image)
    }

    /// Its platform, if it says one.
    pub(crate) fn platform(&self) -> Option<Platform> {
        self.op.platform.clone().map(kiln_frontend::grpc::platform_from_wire)
    }

    /// How a report calls it.
    pub(crate) fn name(&self) -> String {
        let kind = match self.op.op.as_ref() {
            Some(Kind::Source(source)) => return source.identifier.clone(),
            Some(Kind::Exec(exec)) => {
                let words = exec.meta.as_ref().map(|meta| meta.args.join(" ")).unwrap_or_default();
                return format!("command `{}`", shortened(&words));
            }
            Some(Kind::File(_)) => "file op",
            Some(Kind::Build(_)) => "build op",
            Some(Kind::Merge(_)) => "merge op",
            Some(Kind::Diff(_)) => "diff op",
            Some(Kind::Passthrough(_)) => "passthrough op",
            None => "empty op",
        };
        match self.metadata.description.get("llb.customname") {
            Some(name) => format!("{kind} `{}`", shortened(name)),
            None => format!("{kind} {}", &self.digest[.."sha256:".len() + 12]),
        }
    }
}

/// A text that fits into a line.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let short: String = line.chars().take(LONGEST).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
