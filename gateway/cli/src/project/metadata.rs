//! What `cargo metadata` says about a project, and which program of it is the frontend.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{CargoError, Project};

/// Names of programs that are frontends start with this.
const PREFIX: &str = "kiln-frontend-";

/// A package of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Why there is no project, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// No `Cargo.toml`.
    #[error(
        "no project: there is no Cargo.toml in {0} or above; begin one with `kiln frontend new NAME`, \
         or name a frontend's executable"
    )]
    None(PathBuf),
    /// Cargo cannot be run, or says no.
    #[error(transparent)]
    Cargo(#[from] CargoError),
    /// What cargo says is not what it should say.
    #[error("cargo's description of {directory} cannot be read")]
    Description {
        /// The project.
        directory: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// No program.
    #[error("{0} has no program: a frontend's project needs a src/main.rs")]
    NoProgram(PathBuf),
    /// No program of this name.
    #[error("{directory} has no program `{name}`: it has {programs}")]
    NoSuchProgram {
        /// The project.
        directory: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        programs: String,
    },
    /// Several programs.
    #[error("{directory} has several programs ({programs}): choose one with --bin")]
    Several {
        /// The project.
        directory: PathBuf,
        /// What there is.
        programs: String,
    },
}

/// The parts of cargo's description that matter here.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Debug, Deserialize)]
struct MetadataPackage {
    name: String,
    version: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
    #[serde(default)]
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
}

impl Metadata {
    /// Reads what cargo wrote.
    pub(super) fn parse(directory: &Path, json: &[u8]) -> Result<Self, ProjectError> {
        let description =
            |source| ProjectError::Description { directory: directory.into(), source };
        serde_json::from_slice(json).map_err(description)
    }
}

/// Chooses the frontend's program among those of the packages.
pub(super) fn choose(
    metadata: &Metadata,
    directory: &Path,
    bin: Option<&str>,
) -> Result<Project, ProjectError> {
    let manifest = directory.join("Cargo.toml");
    let here = |package: &&MetadataPackage| same_file(&package.manifest_path, &manifest);
    let packages: Vec<_> = match metadata.packages.iter().find(here) {
        Some(package) => vec![package],
        // The root of a workspace that is no package itself.
        None => metadata.packages.iter().collect(),
    };
    let programs: Vec<(&MetadataPackage, &str)> = packages
        .iter()
        .flat_map(|package| {
            let programs = package.targets.iter().filter(|t| t.kind.iter().any(|k| k == "bin"));
            programs.map(|target| (*package, target.name.as_str()))
        })
        .collect();
    let (package, program) = one(&programs, directory, bin)?;
    let mut sources: Vec<PathBuf> = vec![directory.to_owned()];
    sources.extend(package.dependencies.iter().filter_map(|dependency| dependency.path.clone()));
    Ok(Project {
        directory: directory.to_owned(),
        package: Package { name: package.name.clone(), version: package.version.clone() },
        program: program.to_owned(),
        sources,
    })
}

fn one<'a>(
    programs: &[(&'a MetadataPackage, &'a str)],
    directory: &Path,
    bin: Option<&str>,
) -> Result<(&'a MetadataPackage, &'a str), ProjectError> {
    let names = || programs.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
    if let Some(bin) = bin {
        let found = programs.iter().find(|(_, name)| *name == bin);
        return found.copied().ok_or_else(|| ProjectError::NoSuchProgram {
            directory: directory.to_owned(),
            name: bin.to_owned(),
            programs: names(),
        });
    }
    let frontends: Vec<_> =
        programs.iter().filter(|(_, name)| name.starts_with(PREFIX)).copied().collect();
    match (programs, frontends.as_slice()) {
        ([], _) => Err(ProjectError::NoProgram(directory.to_owned())),
        ([program], _) | (_, [program]) => Ok(*program),
        _ => Err(ProjectError::Several { directory: directory.to_owned(), programs: names() }),
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
