//! Compiles the services of `schemas/*/*.proto`; their messages are those of `kiln-pb`.

use std::error::Error;
use std::path::Path;

/// Packages of the schemas, and where their messages are.
const PACKAGES: &[(&str, &str)] = &[
    (".pb", "pb"),
    (".errdefs", "errdefs"),
    (".fsutil.types", "filetree"),
    (".google.rpc", "rpc"),
    (".kiln.explain.v1", "explain"),
    (".containerd.services.content.v1", "content"),
    (".moby.buildkit.secrets.v1", "secrets"),
    (".moby.buildkit.v1", "control"),
    (".moby.buildkit.v1.apicaps", "apicaps"),
    (".moby.buildkit.v1.frontend", "gateway"),
    (".moby.buildkit.v1.sourcepolicy", "sourcepolicy"),
    (".moby.buildkit.v1.sourcepolicy.policysession", "policysession"),
    (".moby.buildkit.v1.types", "types"),
    (".moby.exporter.v1", "session_exporter"),
    (".moby.filesync.v1", "session_files"),
    (".moby.sshforward.v1", "sshforward"),
    (".moby.upload.v1", "upload"),
    (".opentelemetry.proto.collector.trace.v1", "trace_service"),
    (".opentelemetry.proto.common.v1", "trace_values"),
    (".opentelemetry.proto.resource.v1", "trace_resource"),
    (".opentelemetry.proto.trace.v1", "trace"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("not started by cargo")?;
    // A link to those of the workspace, so that they are in the package.
    let schemas = Path::new(&manifest).join("schemas");
    let folders = ["buildkit", "kiln", "opentelemetry"].map(|folder| schemas.join(folder));
    let mut files = Vec::new();
    for folder in &folders {
        println!("cargo::rerun-if-changed={}", folder.display());
        for entry in std::fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    // For reflection, which needs no comments.
    let mut compiler = protox::Compiler::new(&folders)?;
    compiler.include_imports(true).open_files(&files)?;
    let out = std::env::var_os("OUT_DIR").ok_or("not started by cargo")?;
    std::fs::write(Path::new(&out).join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    let descriptors = protox::compile(files, folders)?;
    let builder = tonic_prost_build::configure()
        .build_server(std::env::var_os("CARGO_FEATURE_SERVER").is_some())
        .generate_default_stubs(true)
        .emit_rerun_if_changed(false);
    PACKAGES
        .iter()
        .fold(builder, |builder, (package, module)| {
            builder.extern_path(*package, format!("::kiln_pb::{module}"))
        })
        .compile_fds(descriptors)?;
    Ok(())
}
