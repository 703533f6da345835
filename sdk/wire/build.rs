//! Compiles the services of `schemas/buildkit/*.proto`; their messages are those of `kiln-pb`.

use std::error::Error;
use std::path::Path;

/// Packages of the schemas, and where their messages are.
const PACKAGES: &[(&str, &str)] = &[
    (".pb", "pb"),
    (".errdefs", "errdefs"),
    (".fsutil.types", "filetree"),
    (".google.rpc", "rpc"),
    (".containerd.services.content.v1", "content"),
    (".moby.buildkit.secrets.v1", "secrets"),
    (".moby.buildkit.v1", "control"),
    (".moby.buildkit.v1.apicaps", "apicaps"),
    (".moby.buildkit.v1.frontend", "gateway"),
    (".moby.buildkit.v1.sourcepolicy", "sourcepolicy"),
    (".moby.buildkit.v1.types", "types"),
    (".moby.filesync.v1", "session_files"),
    (".moby.sshforward.v1", "sshforward"),
    (".moby.upload.v1", "upload"),
];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("not started by cargo")?;
    let schemas = Path::new(&manifest).join("../../schemas/buildkit");
    println!("cargo::rerun-if-changed={}", schemas.display());
    let mut files: Vec<_> = std::fs::read_dir(&schemas)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = protox::compile(files, [schemas])?;
    let builder =
        tonic_prost_build::configure().generate_default_stubs(true).emit_rerun_if_changed(false);
    PACKAGES
        .iter()
        .fold(builder, |builder, (package, module)| {
            builder.extern_path(*package, format!("::kiln_pb::{module}"))
        })
        .compile_fds(descriptors)?;
    Ok(())
}
