//! `lsp`: an editor at the other end of standard input and output.

use std::io::{BufReader, stdin, stdout};
use std::path::Path;

use anyhow::Context as _;
use kiln_daemon::{LINKED, editing};
use kiln_editor::{Described, Language, Server, serve};

use crate::args::LspArgs;
use crate::options::OptionError;

/// Bytes of the largest schema.
const MAX_SCHEMA_BYTES: u64 = 16 << 20;

/// Answers the editor until it leaves.
pub(super) fn run(args: &LspArgs) -> anyhow::Result<()> {
    let mut languages: Vec<Box<dyn Language>> =
        args.schema.iter().map(|text| described(text)).collect::<anyhow::Result<_>>()?;
    languages.extend(LINKED.iter().filter_map(|name| editing(name)));
    let mut server = Server::new(languages);
    serve(&mut server, &mut BufReader::new(stdin().lock()), &mut stdout().lock())?;
    anyhow::ensure!(!server.was_abandoned(), "the editor left without saying so");
    Ok(())
}

/// Reads `FILE=SCHEMA`.
fn described(text: &str) -> anyhow::Result<Box<dyn Language>> {
    let wrong = || OptionError::new("--schema", text, "should be FILE=SCHEMA.json");
    let (file, path) = text.split_once('=').ok_or_else(wrong)?;
    let read = |path: &Path| {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(MAX_SCHEMA_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let bytes = read(Path::new(path)).with_context(|| format!("cannot read {path}"))?;
    let schema = serde_json::from_slice(&bytes).with_context(|| format!("{path} is not JSON"))?;
    let stem = file.split('.').next().unwrap_or(file);
    Ok(Box::new(Described::new(stem, &[file], schema)))
}
