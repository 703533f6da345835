//! `frontend new`: writes the project of a new frontend.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::args::NewArgs;
use crate::output::print;
use crate::template::{FileFormat, FrontendName, NewProject, Sdk};

/// Writes the files, and says what to do with them.
pub(super) fn run(args: &NewArgs) -> anyhow::Result<()> {
    let name: FrontendName = args.name.parse()?;
    let sdk = match &args.sdk {
        Some(text) => Sdk::parse(text)?,
        None => Sdk::of_this_program(),
    };
    let directory = args.path.clone().unwrap_or_else(|| PathBuf::from(name.as_str()));
    let project = NewProject { format: FileFormat::hinted_by(&name), name, sdk };
    write(&project, &directory)?;
    Ok(print(&next_steps(&project, &directory))?)
}

fn write(project: &NewProject, directory: &Path) -> anyhow::Result<()> {
    if !is_free(directory).with_context(|| format!("failed to look at {}", directory.display()))? {
        bail!("{} is not empty: choose another place with --path", directory.display());
    }
    for (path, text) in project.files() {
        let path = directory.join(path);
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    // The dependencies that the SDK is tested with, so that a new project starts with those.
    if let Some(lock) = project.sdk.lock_file() {
        let copy = directory.join("Cargo.lock");
        std::fs::copy(&lock, &copy)
            .with_context(|| format!("failed to copy {} to {}", lock.display(), copy.display()))?;
    }
    Ok(())
}

/// Whether nothing is there that would be in the way.
fn is_free(directory: &Path) -> io::Result<bool> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(error),
    }
}

fn next_steps(project: &NewProject, directory: &Path) -> String {
    let (place, image, file) = (directory.display(), project.name.image(), project.build_file());
    format!(
        "wrote {place}\n\n\
         next:\n  \
         cd {place}\n  \
         cargo test\n  \
         kiln frontend dev samples/hello/{file}\n  \
         kiln frontend pack\n  \
         kiln build --frontend=gateway.v0 --opt source={image} \\\n    \
         --opt filename={file} samples/hello --output type=local,dest=out\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(path: &Path) -> anyhow::Result<()> {
        let args = NewArgs {
            name: "toml-lang".to_owned(),
            path: Some(path.to_owned()),
            sdk: Some("0.1.0".to_owned()),
        };
        run(&args)
    }

    #[test]
    fn nothing_that_was_there_is_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("there");
        new(&place).unwrap();
        assert!(place.join("samples/hello/toml-lang.toml").is_file());
        std::fs::write(place.join("src/lib.rs"), "mine").unwrap();
        let error = new(&place).unwrap_err().to_string();
        assert!(error.ends_with("is not empty: choose another place with --path"), "{error}");
        assert_eq!(std::fs::read_to_string(place.join("src/lib.rs")).unwrap(), "mine");
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(new(&file).is_err());
    }
}
