//! `debug`: workers, the daemon's version, and what is in an LLB definition.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use kiln_llb::Definition;

use super::Context;
use super::frontend::debug_llb;
use crate::args::{DebugCommand, DumpLlbArgs, Format, InfoArgs, WorkersArgs};
use crate::output::print;
use crate::workers;

/// A definition larger than this is none, in bytes.
const MAX_DEFINITION_BYTES: u64 = 64 << 20;

/// Does one command of `debug`.
pub(crate) async fn run(context: &Context, command: DebugCommand) -> anyhow::Result<()> {
    match command {
        DebugCommand::DumpLlb(args) => dump_llb(context, &args),
        DebugCommand::Llb(args) => debug_llb(context, args).await,
        DebugCommand::Workers(args) => list_workers(context, args).await,
        DebugCommand::Info(args) => info(context, args).await,
    }
}

async fn list_workers(context: &Context, args: WorkersArgs) -> anyhow::Result<()> {
    let client = context.connect_to_ask().await?;
    let records = client.list_workers(args.filter).await.context("failed to list workers")?;
    let text = match (args.format, args.verbose) {
        (Format::Json, _) => workers::as_json(&records),
        (Format::Table, true) => workers::as_list(&records),
        (Format::Table, false) => workers::as_table(&records),
    };
    Ok(print(&text)?)
}

async fn info(context: &Context, args: InfoArgs) -> anyhow::Result<()> {
    let version = context.connect_to_ask().await?.info().await.context("failed to call info")?;
    let text = match args.format {
        Format::Json => format!(
            "{}\n",
            serde_json::json!({
                "buildkitVersion": workers::version_json(&version),
            })
        ),
        Format::Table => workers::version_text(&version),
    };
    Ok(print(&text)?)
}

fn dump_llb(context: &Context, args: &DumpLlbArgs) -> anyhow::Result<()> {
    let file = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let definition = match file {
        Some(path) => {
            let file = std::fs::File::open(path)
                .with_context(|| format!("failed to open {}", path.display()))?;
            read_definition(file)?
        }
        None if context.environment.stdin_terminal => {
            bail!("no definition: name a file, or pipe one to standard input")
        }
        None => read_definition(std::io::stdin().lock())?,
    };
    let text = match (args.dot, args.svg) {
        (true, _) => definition.to_dot()?,
        (false, true) => kiln_testing::svg(&definition)?,
        (false, false) => definition.to_json()?,
    };
    Ok(print(&text)?)
}

/// Reads a definition that came over a pipe.
///
/// # Errors
///
/// If it cannot be read, is too large, or is none.
pub(crate) fn read_definition(reader: impl std::io::Read) -> anyhow::Result<Definition> {
    let mut bytes = Vec::new();
    reader
        .take(MAX_DEFINITION_BYTES + 1)
        .read_to_end(&mut bytes)
        .context("failed to read the definition")?;
    if bytes.len() as u64 > MAX_DEFINITION_BYTES {
        bail!("the definition is larger than {MAX_DEFINITION_BYTES} bytes");
    }
    if bytes.is_empty() {
        bail!(
            "nothing to build: name a directory (`kiln build .`), choose a frontend with --frontend, or pipe an \
             LLB definition to standard input, which is empty"
        );
    }
    Definition::from_bytes(&bytes).context("failed to parse the definition")
}
