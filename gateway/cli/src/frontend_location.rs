//! Where a frontend is: linked in, an executable, or a project that has yet to be built.
//!
//! A name or path comes in, a [`FrontendLocation`] goes out. The disk is asked what exists; nothing is started.
//! The daemon has a registry of its own; this is for what is done without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_daemon::{Channel, LINKED, linked};
use kiln_document::did_you_mean;
use kiln_frontend::Frontend;

use crate::environment::Environment;

/// The name of a frontend's executable is this and the frontend's name.
const EXECUTABLE_PREFIX: &str = "kiln-frontend-";

/// A frontend, found.
#[derive(Clone)]
pub(crate) enum FrontendLocation {
    /// In this program.
    Linked(Arc<dyn Frontend>),
    /// A program that speaks the gateway protocol.
    Executable(PathBuf),
    /// A cargo project, by its directory.
    Project(PathBuf),
}

/// There is no frontend of this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "frontend `{name}` not found{meant}: it is not built in ({built_in}), there is no \
     `{EXECUTABLE_PREFIX}{stem}` on the path, and no such file or directory",
    built_in = LINKED.join(", "),
    meant = did_you_mean(name, LINKED.iter().copied())
        .map_or_else(String::new, |meant| format!(", did you mean `{meant}`?"))
)]
pub(crate) struct UnknownFrontend {
    name: String,
    stem: String,
}

impl FrontendLocation {
    /// Finds a frontend: one that is linked in, `kiln-frontend-NAME` on the path, or the path of an
    /// executable or of a project's directory.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(crate) fn find(
        name: &str,
        channel: Channel,
        environment: &Environment,
    ) -> Result<Self, UnknownFrontend> {
        if let Some(frontend) = linked(name, channel) {
            return Ok(Self::Linked(frontend));
        }
        let stem = stem(name);
        let plain = !name.contains('/') && !matches!(name, "" | "." | "..");
        let program = format!("{EXECUTABLE_PREFIX}{stem}");
        let on_path = || {
            let places = environment.programs().map(|directory| directory.join(&program));
            places.into_iter().find(|path| path.is_file())
        };
        plain
            .then(on_path)
            .flatten()
            .map(Self::Executable)
            .or_else(|| Self::at(Path::new(name)))
            .ok_or_else(|| UnknownFrontend { name: name.to_owned(), stem: stem.to_owned() })
    }

    /// The frontend at a path.
    fn at(path: &Path) -> Option<Self> {
        // A program is started by its path, never looked for.
        let path = std::path::absolute(path).ok()?;
        if path.join("Cargo.toml").is_file() {
            return Some(Self::Project(path));
        }
        path.is_file().then_some(Self::Executable(path))
    }
}

/// Whether a name is an image's: nothing on this machine has it, and it has a tag, a digest or a
/// repository in it.
pub(crate) fn looks_like_image(name: &str) -> bool {
    let plain = !name.contains(['/', ':', '@']);
    !plain && !name.starts_with(['.', '/']) && !Path::new(name).exists()
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".v0").unwrap_or(name)
}

impl std::fmt::Debug for FrontendLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Linked(_) => f.write_str("Linked"),
            Self::Executable(path) => f.debug_tuple("Executable").field(path).finish(),
            Self::Project(path) => f.debug_tuple("Project").field(path).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, path: &Path) -> Result<FrontendLocation, UnknownFrontend> {
        let path = path.display().to_string();
        FrontendLocation::find(name, Channel::Mainline, &Environment::with(&[("PATH", &path)]))
    }

    #[test]
    fn names_are_linked_in_or_on_the_path_and_paths_are_paths() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path();
        std::fs::write(here.join("kiln-frontend-toml"), "").unwrap();
        std::fs::create_dir(here.join("project")).unwrap();
        std::fs::write(here.join("project/Cargo.toml"), "").unwrap();
        let shown = |name: &str| format!("{:?}", find(name, here).unwrap());
        assert_eq!(shown("mockerfile"), "Linked");
        assert_eq!(shown("mockerfile.v0"), "Linked");
        let toml = here.join("kiln-frontend-toml");
        for name in ["toml", "toml.v0", toml.to_str().unwrap()] {
            assert_eq!(shown(name), format!("Executable({toml:?})"));
        }
        let project = here.join("project");
        assert_eq!(shown(project.to_str().unwrap()), format!("Project({project:?})"));
    }

    #[test]
    fn a_name_nobody_has_is_said_with_where_it_was_looked_for() {
        let error = find("nobody.v0", Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("frontend `nobody.v0` not found"), "{error}");
        assert!(error.contains("mockerfile.v0"), "{error}");
        assert!(error.contains("no `kiln-frontend-nobody` on the path"), "{error}");
    }
}
