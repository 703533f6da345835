//! Compiles the messages of `schemas/buildkit/*.proto` with protox, so that no protoc is needed.

use std::error::Error;
use std::path::Path;

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
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        // Maps as BuildKit's clients need them.
        .prost_path("crate::codec")
        .compile_fds(descriptors)?;
    Ok(())
}
