//! Stories about what a graph takes over from its definition, and what it refuses.

use std::collections::BTreeMap;

use kiln_oci::{Digest, Platform};
use kiln_pb::pb;
use prost::Message;
use prost::bytes::Bytes;

use crate::{Entitlements, Graph, LoadContext, LoadError, Op, ProgressGroup, Resources, Vertex};

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

fn source(identifier: &str) -> pb::Op {
    let source = pb::SourceOp { identifier: identifier.into(), ..Default::default() };
    pb::Op { op: Some(pb::op::Op::Source(source)), ..Default::default() }
}

fn digest(op: &pb::Op) -> String {
    Digest::sha256(op.encode_to_vec()).to_string()
}

/// An op without operation that reads others: a terminal if it reads one.
fn reading(inputs: &[&pb::Op]) -> pb::Op {
    let input = |op: &&pb::Op| pb::Input { digest: digest(op), index: 0 };
    pb::Op { inputs: inputs.iter().map(input).collect(), ..Default::default() }
}

/// A merge of all of its inputs.
fn merge(inputs: &[&pb::Op]) -> pb::Op {
    let numbers = (0..inputs.len()).map(|input| pb::MergeInput { input: input as i64 }).collect();
    pb::Op { op: Some(pb::op::Op::Merge(pb::MergeOp { inputs: numbers })), ..reading(inputs) }
}

fn definition(ops: &[&pb::Op]) -> pb::Definition {
    let def = ops.iter().map(|op| op.encode_to_vec().into()).collect();
    pb::Definition { def, ..Default::default() }
}

fn load(ops: &[&pb::Op]) -> Result<Graph, LoadError> {
    Graph::load(&definition(ops), &context())
}

fn root(graph: &Graph) -> &Vertex {
    graph.vertex(&graph.root().unwrap().vertex).unwrap()
}

#[test]
fn a_definition_without_ops_is_the_empty_file_system() {
    let graph = load(&[]).unwrap();
    assert_eq!(graph.root(), None);
    assert_eq!(graph.vertices().count(), 0);
}

#[test]
fn what_arrived_is_all_there() {
    let mut op = source("docker-image://docker.io/library/alpine:latest");
    op.platform = Some(pb::Platform {
        architecture: "aarch64".into(),
        os: "linux".into(),
        variant: "v8".into(),
        ..Default::default()
    });
    op.constraints = Some(pb::WorkerConstraints { filter: vec!["gpu==yes".into()] });
    let metadata = pb::OpMetadata {
        ignore_cache: true,
        export_cache: Some(pb::ExportCache { value: false }),
        caps: [("source.image".to_owned(), true)].into(),
        description: [("com.example.note".to_owned(), "x".to_owned())].into(),
        progress_group: Some(pb::ProgressGroup { id: "1".into(), name: "g".into(), weak: true }),
        linux_resources: Some(pb::LinuxResources {
            memory: 1 << 20,
            memory_swap: -1,
            cpu_shares: 2,
            cpu_period: 3,
            cpu_quota: 4,
            cpuset_cpus: "5".into(),
            cpuset_mems: "6".into(),
        }),
    };
    let mut definition = definition(&[&op, &reading(&[&op])]);
    definition.metadata = [(digest(&op), metadata)].into();
    let graph = Graph::load(&definition, &context()).unwrap();
    let vertex = root(&graph);
    assert_eq!(vertex.arrived.bytes, definition.def[0]);
    assert_eq!(vertex.arrived.op, op);
    assert_eq!(vertex.digest.to_string(), digest(&op));
    assert_eq!(vertex.platform, Platform::new("linux", "arm64"));
    assert_eq!(vertex.constraints.filter, ["gpu==yes"]);
    assert!(vertex.metadata.ignore_cache);
    assert_eq!(vertex.metadata.export_cache, Some(false));
    assert_eq!(vertex.metadata.caps, BTreeMap::from([("source.image".to_owned(), true)]));
    assert_eq!(vertex.metadata.description["com.example.note"], "x");
    let group = ProgressGroup { id: "1".into(), name: "g".into(), weak: true };
    assert_eq!(vertex.metadata.progress_group, Some(group));
    let resources = Resources {
        memory: 1 << 20,
        memory_swap: -1,
        cpu_shares: 2,
        cpu_period: 3,
        cpu_quota: 4,
        cpuset_cpus: "5".into(),
        cpuset_mems: "6".into(),
    };
    assert_eq!(vertex.metadata.resources, resources);
}

#[test]
fn a_location_knows_its_file_and_the_graph_the_file_was_read_from() {
    let op = source("docker-image://alpine");
    let mut definition = definition(&[&op, &reading(&[&op])]);
    let read_from = pb::Definition { def: vec![Bytes::from_static(b"op")], ..Default::default() };
    let info = pb::SourceInfo {
        filename: "Dockerfile".into(),
        data: "FROM alpine".into(),
        definition: Some(read_from.clone()),
        language: "Dockerfile".into(),
    };
    let position = |line| Some(pb::Position { line, character: 0 });
    let range = |line| pb::Range { start: position(line), end: position(line) };
    let at = |source_index, line| pb::Location { source_index, ranges: vec![range(line)] };
    // The second is in a file that did not come along.
    let locations = pb::Locations { locations: vec![at(0, 1), at(7, 2), at(0, 3)] };
    definition.source =
        Some(pb::Source { locations: [(digest(&op), locations)].into(), infos: vec![info] });
    let graph = Graph::load(&definition, &context()).unwrap();
    let locations = &root(&graph).locations;
    let lines: Vec<i32> = locations.iter().map(|l| l.ranges[0].start_line).collect();
    assert_eq!(lines, [1, 3]);
    assert_eq!(locations[0].file.definition, Some(read_from));
}

#[test]
fn ops_may_come_in_any_order_and_what_nothing_reads_is_left_out() {
    let (a, b) = (source("docker-image://a"), source("docker-image://b"));
    let both = merge(&[&a, &b]);
    let unused = source("docker-image://unused");
    let graph = load(&[&both, &unused, &b, &a, &reading(&[&both])]).unwrap();
    let names: Vec<&str> = graph.vertices().map(|vertex| vertex.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "docker-image://docker.io/library/a:latest",
            "docker-image://docker.io/library/b:latest",
            "merge (2 inputs)"
        ]
    );
}

#[test]
fn what_cannot_be_is_said_in_the_words_clients_know() {
    let image = source("docker-image://alpine");
    let terminal = reading(&[&image]);
    let error = |ops: &[&pb::Op]| load(ops).unwrap_err().to_string();
    assert_eq!(error(&[&terminal]), "invalid LLB with 1 vertexes");
    assert_eq!(error(&[&image, &pb::Op::default()]), "invalid LLB with no inputs on last vertex");
    let missing = error(&[&merge(&[&image]), &terminal]);
    assert!(missing.starts_with("invalid missing input digest sha256:"), "{missing}");
    let mut negative = merge(&[&image]);
    negative.inputs[0].index = -1;
    let negative = error(&[&image, &negative, &reading(&[&negative])]);
    assert!(negative.starts_with("invalid input 0 output index -1"), "{negative}");
    let garbage = pb::Definition {
        def: vec![Bytes::from_static(&[0xff; 9]), terminal.encode_to_vec().into()],
        ..Default::default()
    };
    let garbage = Graph::load(&garbage, &context()).unwrap_err().to_string();
    assert!(garbage.starts_with("failed to parse llb proto op"), "{garbage}");
}

#[test]
fn what_ignores_the_cache_is_another_piece_of_work_and_so_is_what_reads_it() {
    let image = source("docker-image://alpine");
    let both = merge(&[&image, &image]);
    let mut definition = definition(&[&image, &both, &reading(&[&both])]);
    let plain = Graph::load(&definition, &context()).unwrap();
    let ignoring = pb::OpMetadata { ignore_cache: true, ..Default::default() };
    definition.metadata.insert(digest(&image), ignoring);
    let again = Graph::load(&definition, &context()).unwrap();
    assert_eq!(root(&plain).digest, root(&again).digest);
    assert_ne!(root(&plain).id, root(&again).id);
}

#[test]
fn cache_mounts_of_processes_that_ignore_the_cache_begin_empty() {
    let mount = |dest: &str, id: &str| pb::Mount {
        dest: dest.into(),
        input: -1,
        output: -1,
        mount_type: pb::MountType::Cache.into(),
        cache_opt: Some(pb::CacheOpt { id: id.into(), sharing: 0 }),
        ..Default::default()
    };
    let image = source("docker-image://alpine");
    let mut run = reading(&[&image]);
    run.op = Some(pb::op::Op::Exec(pb::ExecOp {
        meta: Some(pb::Meta { args: vec!["true".into()], ..Default::default() }),
        mounts: vec![
            pb::Mount { dest: "/".into(), ..Default::default() },
            mount("/named", "name"),
            mount("/by-path", ""),
        ],
        ..Default::default()
    }));
    let mut definition = definition(&[&image, &run, &reading(&[&run])]);
    let plain = Graph::load(&definition, &context()).unwrap();
    assert_eq!(plain.renewed_cache_mounts().count(), 0);
    let ignoring = pb::OpMetadata { ignore_cache: true, ..Default::default() };
    definition.metadata.insert(digest(&run), ignoring);
    let graph = Graph::load(&definition, &context()).unwrap();
    assert_eq!(graph.renewed_cache_mounts().collect::<Vec<_>>(), ["name", "/by-path"]);
}

/// A chain may be long and a vertex wide: loading is linear and keeps no stack.
#[test]
fn size_alone_is_no_obstacle() {
    let mut chain = vec![source("docker-image://alpine")];
    for _ in 0..30_000 {
        chain.push(merge(&[&chain[chain.len() - 1]]));
    }
    let last = reading(&[&chain[chain.len() - 1]]);
    // The worst order: every op before what it reads.
    let ops: Vec<&pb::Op> = chain.iter().rev().chain([&last]).collect();
    assert_eq!(load(&ops).unwrap().vertices().count(), 30_001);

    let images: Vec<pb::Op> =
        (0..10_000).map(|number| source(&format!("docker-image://i{number}"))).collect();
    let wide = merge(&images.iter().collect::<Vec<_>>());
    let last = reading(&[&wide]);
    let ops: Vec<&pb::Op> = images.iter().chain([&wide, &last]).collect();
    let graph = load(&ops).unwrap();
    assert!(matches!(&root(&graph).op, Op::Merge(inputs) if inputs.len() == 10_000));
}
