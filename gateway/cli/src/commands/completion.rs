//! `completion` and `manual`: what a package installs beside the programs.

use anyhow::Context as _;

use crate::args::{CompletionArgs, ManualArgs};
use crate::completion::script;
use crate::manual::pages;
use crate::output::print_bytes;

/// Prints the script.
pub(super) fn completion(args: CompletionArgs) -> anyhow::Result<()> {
    Ok(print_bytes(&script(args.shell, args.program))?)
}

/// Writes the pages.
pub(super) fn manual(args: &ManualArgs) -> anyhow::Result<()> {
    let directory = &args.directory;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("failed to make {}", directory.display()))?;
    for page in pages()? {
        let path = directory.join(&page.name);
        std::fs::write(&path, &page.text)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}
