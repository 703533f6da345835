//! Compiles `schemas/buildkit/*.proto` with protox, so that no protoc is needed on the machine.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/buildkit");
    println!("cargo::rerun-if-changed={}", schemas.display());
    let mut files: Vec<_> = std::fs::read_dir(&schemas)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = protox::compile(files, [schemas])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        .generate_default_stubs(true)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
