//! What the client library is asked for: a decided build as its request and its session.
//!
//! A [`BuildCommand`] comes in, [`SolveOptions`] and a [`Session`] go out. The disk is only asked
//! whether what the user named is there; reading and writing happen when the daemon asks.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use kiln_client::{
    Auth, CacheEntry, Content, DirTarget, Export, ExportTarget, LocalDir, SecretSource, Session,
    SolveOptions, What,
};
use kiln_llb::Definition;
use kiln_oci::Digest;
use kiln_wire::pb;
use tokio::process::ChildStdin;

use crate::build_command::{BuildCommand, directory_of};
use crate::environment::Environment;
use crate::options::{self, CacheOption, Dest, Direction, ExportKind, Ssh};

/// What is built, read.
#[derive(Debug)]
pub(crate) enum BuildInput {
    /// A frontend and its options.
    Frontend {
        /// The frontend.
        name: String,
        /// Its options.
        options: BTreeMap<String, String>,
    },
    /// A graph.
    Definition(Definition),
}

/// Something the user named is not there, or not what it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// A local directory.
    #[error("{flag} {name}={path}: {reason}", path = .path.display())]
    Directory {
        /// The flag.
        flag: &'static str,
        /// The directory's name.
        name: String,
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file with a key of a cache.
    #[error("{flag} {attribute}={path}: {reason}", path = .path.display())]
    Key {
        /// The flag.
        flag: &'static str,
        /// The attribute.
        attribute: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A secret's file.
    #[error("secret {id}: failed to stat {path}", path = .path.display())]
    Secret {
        /// The secret.
        id: String,
        /// Its file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No agent.
    #[error(
        "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set, or name one with --ssh {0}=PATH"
    )]
    NoAgent(String),
    /// A key where an agent should be.
    #[error(
        "--ssh {id}={path}: not a socket; add the key to an agent with ssh-add and use --ssh {id}",
        path = .path.display()
    )]
    NotAnAgent {
        /// The agent's id.
        id: String,
        /// What was named.
        path: PathBuf,
    },
    /// An archive's file.
    #[error("destination file {path:?} is a directory")]
    ArchiveIsDirectory {
        /// The path.
        path: PathBuf,
    },
    /// An archive's file, whose directory is not there.
    #[error("--output dest={file}: there is no directory {directory}", file = .file.display(), directory = .directory.display())]
    NoDirectory {
        /// The file.
        file: PathBuf,
        /// Where it would be.
        directory: PathBuf,
    },
    /// A directory that is something else.
    #[error("--output dest={path}: not a directory", path = .0.display())]
    NotADirectory(PathBuf),
}

/// The request for a build, without its source policy; `load` takes what is to be loaded.
///
/// # Errors
///
/// If an output cannot go where the user wants it.
pub(crate) fn solve_options(
    command: &BuildCommand,
    input: BuildInput,
    mut load: Option<ChildStdin>,
) -> Result<SolveOptions, RequestError> {
    let (what, frontend_attrs) = match input {
        BuildInput::Frontend { name, options } => {
            (What::Frontend { name, inputs: BTreeMap::new() }, options)
        }
        BuildInput::Definition(mut definition) => {
            if command.no_cache {
                ignore_cache(&mut definition);
            }
            (What::Definition(Box::new(definition)), BTreeMap::new())
        }
    };
    let exports = command.exports.iter().map(|one| export(one, &mut load));
    Ok(SolveOptions::default()
        .with_what(what)
        .with_frontend_attrs(frontend_attrs)
        .with_exports(exports.collect::<Result<_, _>>()?)
        .with_cache_imports(caches(Direction::Import, &command.cache_imports)?)
        .with_cache_exports(caches(Direction::Export, &command.cache_exports)?)
        .with_entitlements(command.entitlements.clone())
        .with_proxy_network(command.proxy_network))
}

/// The caches as the daemon is told of them, with the keys that are in files.
fn caches(direction: Direction, caches: &[CacheOption]) -> Result<Vec<CacheEntry>, RequestError> {
    let entry = |cache: &CacheOption| {
        let CacheOption { kind, mut attrs, keys } = cache.clone();
        if !keys.is_empty() {
            let read = keys.into_iter().map(|path| read_key(direction, path));
            let texts: Vec<String> = read.collect::<Result<_, _>>()?;
            attrs.insert(direction.key().to_owned(), texts.join("\n"));
        }
        Ok(CacheEntry::default().with_kind(kind).with_attrs(attrs))
    };
    caches.iter().map(entry).collect()
}

/// The text of a file with keys. What is wrong with a key is said by who understands it; what could be
/// sent in its place by mistake is not sent.
fn read_key(direction: Direction, path: PathBuf) -> Result<String, RequestError> {
    let (flag, attribute) = (direction.flag(), direction.key());
    let failed = |reason: String| RequestError::Key { flag, attribute, path: path.clone(), reason };
    let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    match direction {
        Direction::Import if text.contains("PRIVATE KEY") => Err(failed(
            "it is a private key, which stays with who signs; name its .pub file".into(),
        )),
        _ => Ok(text),
    }
}

/// Whether a build asks for signatures of caches.
pub(crate) fn asks_for_signatures(command: &BuildCommand) -> bool {
    command.cache_exports.iter().chain(&command.cache_imports).any(|cache| !cache.keys.is_empty())
}

/// Marks every op, so that each runs again.
fn ignore_cache(definition: &mut Definition) {
    let digests: Vec<String> =
        definition.def.iter().map(|bytes| Digest::sha256(bytes).to_string()).collect();
    for digest in digests {
        let metadata: &mut pb::OpMetadata = definition.metadata.entry(digest).or_default();
        metadata.ignore_cache = true;
    }
}

fn export(export: &options::Export, load: &mut Option<ChildStdin>) -> Result<Export, RequestError> {
    check_place(&export.dest)?;
    let archive = matches!(export.kind, ExportKind::Oci | ExportKind::Docker);
    let target = match &export.dest {
        Dest::Nothing => None,
        Dest::Stdout => Some(ExportTarget::writer(tokio::io::stdout())),
        Dest::Directory(path) if archive => Some(ExportTarget::Layout(path.clone())),
        Dest::Directory(path) => Some(ExportTarget::Directory(DirTarget {
            path: path.clone(),
            delete: export.attrs.get("mode").is_some_and(|mode| mode == "delete"),
            ..DirTarget::default()
        })),
        Dest::File(path) => Some(ExportTarget::file(path)),
        Dest::Load => load.take().map(ExportTarget::writer),
    };
    Ok(Export::default()
        .with_kind(export.kind.as_str().to_owned())
        .with_attrs(export.attrs.clone())
        .with_target(target))
}

/// Finds out before the build what cannot be written after it.
fn check_place(dest: &Dest) -> Result<(), RequestError> {
    match dest {
        Dest::File(path) if path.is_dir() => {
            Err(RequestError::ArchiveIsDirectory { path: path.clone() })
        }
        Dest::File(path) => {
            let directory = directory_of(path);
            match directory.is_dir() {
                true => Ok(()),
                false => Err(RequestError::NoDirectory { file: path.clone(), directory }),
            }
        }
        Dest::Directory(path) if path.exists() && !path.is_dir() => {
            Err(RequestError::NotADirectory(path.clone()))
        }
        Dest::Directory(_) | Dest::Nothing | Dest::Stdout | Dest::Load => Ok(()),
    }
}

/// What the daemon may ask this side for.
///
/// # Errors
///
/// If a directory, a secret's file or an agent is not there.
pub(crate) fn session(
    command: &BuildCommand,
    environment: &Environment,
) -> Result<Session, RequestError> {
    let mut session = Session::default();
    for (name, path) in &command.locals {
        check_directory("--local", name, path)?;
        session.local_dirs.insert(name.clone(), LocalDir::from(path));
    }
    session.auth = docker_config(environment);
    session.shared_key = shared_key(&command.locals, environment);
    for (name, path) in &command.oci_layouts {
        check_directory("--oci-layout", name, path)?;
        session.content.insert(format!("oci:{name}"), Content::read_only(path));
    }
    for secret in &command.secrets {
        let source = secret_source(secret, environment)?;
        session.secrets.insert(secret.id.clone(), source);
    }
    for ssh in &command.ssh {
        session.ssh.insert(ssh.id.clone(), agent(ssh, environment)?);
    }
    Ok(session)
}

fn check_directory(flag: &'static str, name: &str, path: &Path) -> Result<(), RequestError> {
    let reason = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "not a directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(RequestError::Directory { flag, name: name.to_owned(), path: path.to_owned(), reason })
}

/// The same for builds of the same directories on this machine, so that only changes are sent.
fn shared_key(locals: &BTreeMap<String, PathBuf>, environment: &Environment) -> String {
    let host = environment.get_nonempty("HOSTNAME").unwrap_or("localhost").to_owned();
    let paths = locals.iter().map(|(name, path)| {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        format!("\0{name}={}", path.display())
    });
    Digest::sha256(host + &paths.collect::<String>()).hex().to_owned()
}

fn secret_source(
    secret: &options::Secret,
    environment: &Environment,
) -> Result<SecretSource, RequestError> {
    match &secret.source {
        options::SecretSource::Variable(name) => {
            let value = environment.get(name);
            if value.is_none() {
                tracing::warn!(secret = %secret.id, variable = %name, "the variable is not set; the secret is empty");
            }
            Ok(SecretSource::Value(value.unwrap_or_default().as_bytes().to_vec()))
        }
        options::SecretSource::File(path) => match std::fs::metadata(path) {
            Ok(_) => Ok(SecretSource::File(path.clone())),
            Err(source) => {
                Err(RequestError::Secret { id: secret.id.clone(), path: path.clone(), source })
            }
        },
    }
}

fn agent(ssh: &Ssh, environment: &Environment) -> Result<PathBuf, RequestError> {
    let named = ssh.paths.first().cloned();
    let path = named.or_else(|| environment.get_nonempty("SSH_AUTH_SOCK").map(PathBuf::from));
    let path = path.ok_or_else(|| RequestError::NoAgent(ssh.id.clone()))?;
    let socket = std::fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if socket { Ok(path) } else { Err(RequestError::NotAnAgent { id: ssh.id.clone(), path }) }
}

/// Where Docker keeps credentials.
pub(crate) fn docker_config(environment: &Environment) -> Option<Auth> {
    let directory = environment.get_nonempty("DOCKER_CONFIG").map(PathBuf::from);
    let home = || environment.get_nonempty("HOME").map(|home| Path::new(home).join(".docker"));
    Some(Auth::docker_config(directory.or_else(home)?.join("config.json")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::BuildArgs;

    fn command(change: impl FnOnce(&mut BuildArgs)) -> BuildCommand {
        let mut args = BuildArgs { frontend: Some("f".into()), ..BuildArgs::default() };
        change(&mut args);
        BuildCommand::decide(args, &Environment::default(), &|_| false).unwrap()
    }

    #[test]
    fn outputs_get_the_targets_of_their_kind() {
        let directory = tempfile::tempdir().unwrap();
        let here = directory.path().display().to_string();
        let target = |output: String| {
            let command = command(|args| args.output = vec![output]);
            let input = BuildInput::Frontend { name: "f".into(), options: BTreeMap::new() };
            let options = solve_options(&command, input, None);
            options.map(|options| format!("{:?}", options.exports[0].target))
        };
        assert_eq!(target("type=image".into()).unwrap(), "None");
        assert!(target("type=oci,dest=x.tar".into()).unwrap().contains("Archive"));
        assert!(target("type=oci,tar=false,dest=x".into()).unwrap().contains("Layout"));
        assert!(target("type=local,dest=x,mode=delete".into()).unwrap().contains("delete: true"));
        let error = target(format!("type=tar,dest={here}")).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        let error = target("type=oci,dest=/no/such/place/x.tar".into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--output dest=/no/such/place/x.tar: there is no directory /no/such/place"
        );
        let error = target("type=local,dest=/etc/passwd".into()).unwrap_err();
        assert_eq!(error.to_string(), "--output dest=/etc/passwd: not a directory");
    }

    #[test]
    fn without_the_cache_every_op_is_marked() {
        let mut definition =
            Definition { def: vec!["a".into(), "b".into()], ..Definition::default() };
        ignore_cache(&mut definition);
        assert_eq!(definition.metadata.values().filter(|op| op.ignore_cache).count(), 2);
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = |change: fn(&mut BuildArgs)| {
            session(&command(change), &Environment::default()).unwrap_err().to_string()
        };
        let missing = error(|args| args.local = vec!["src=/nonexistent".into()]);
        assert!(missing.starts_with("--local src=/nonexistent: "), "{missing}");
        assert!(
            error(|args| args.secret = vec!["id=a,src=/nonexistent".into()]).contains("secret a")
        );
        assert!(error(|args| args.ssh = vec!["default".into()]).contains("SSH_AUTH_SOCK"));
        assert!(error(|args| args.ssh = vec!["default=/etc/passwd".into()]).contains("ssh-add"));
    }

    #[test]
    fn a_session_offers_what_was_named_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        let command = command(|args| {
            args.local = vec![format!("context={path}")];
            args.oci_layout = vec![format!("base={path}")];
            args.secret = vec!["id=token,env=TOKEN".into()];
        });
        let environment = Environment::with(&[("TOKEN", "x"), ("HOME", "/h")]);
        let session = session(&command, &environment).unwrap();
        assert_eq!(session.local_dirs.keys().collect::<Vec<_>>(), ["context"]);
        assert_eq!(session.content.keys().collect::<Vec<_>>(), ["oci:base"]);
        assert_eq!(session.secrets["token"], SecretSource::Value(b"x".to_vec()));
        assert!(session.auth.is_some());
        assert!(!session.shared_key.is_empty());
    }
}
