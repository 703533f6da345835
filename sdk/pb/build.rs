//! Compiles the messages of `schemas/*/*.proto` with protox, so that no protoc is needed.

use std::error::Error;
use std::path::Path;

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
    let descriptors = protox::compile(files, folders)?;
    prost_build::Config::new()
        .btree_map(["."])
        .bytes(["."])
        // Maps as BuildKit's clients need them.
        .prost_path("crate::codec")
        .compile_fds(descriptors)?;
    Ok(())
}
