//! A build as the user asked for it: typed, complete and decided.
//!
//! [`BuildArgs`] and the [`Environment`] come in, a [`BuildCommand`] goes out; the disk is asked only
//! which build files exist, and what a context without one is. Nothing is opened and nothing is sent here; see `commands::build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::args::{BuildArgs, Program};
use crate::environment::Environment;
use crate::options::{
    CacheOption, Direction, Export, ImageOutputs, OptionError, RegistryTls, Secret, Ssh,
    UnknownOption, build_options, exports, misspelt_local, named_contexts, named_paths,
    unknown_options,
};
use crate::progress::{Mode, ModeError};
use crate::step_pattern::StepPattern;

/// Frontends by the build files they read, the first that exists chosen.
const BUILD_FILES: &[(&str, &str)] = &[
    ("Dockerfile", "dockerfile.v0"),
    ("dockerfile", "dockerfile.v0"),
    ("Containerfile", "dockerfile.v0"),
    ("Mockerfile.yaml", "mockerfile.v0"),
    ("Mockerfile", "mockerfile.v0"),
];

const URL_SCHEMES: &[&str] = &["http://", "https://", "git://", "ssh://", "git@", "github.com/"];

/// A build that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildCommand {
    /// What is built.
    pub input: Input,
    /// The context, an archive or a build file, is on standard input.
    pub context_on_stdin: bool,
    /// The build file is on standard input, and gets this name.
    pub file_on_stdin: Option<String>,
    /// Directories the build may read.
    pub locals: BTreeMap<String, PathBuf>,
    /// OCI layouts the build may take images from.
    pub oci_layouts: BTreeMap<String, PathBuf>,
    /// Every step runs again.
    pub no_cache: bool,
    /// Where the result goes.
    pub exports: Vec<Export>,
    /// Where the cache goes.
    pub cache_exports: Vec<CacheOption>,
    /// Where cache comes from.
    pub cache_imports: Vec<CacheOption>,
    /// Steps that must come from the cache.
    pub expect_cached: Vec<StepPattern>,
    /// What the build may read and nobody else.
    pub secrets: Vec<Secret>,
    /// Agents the build may use.
    pub ssh: Vec<Ssh>,
    /// What the build is allowed beyond the usual.
    pub entitlements: Vec<String>,
    /// TLS of registries.
    pub registry_tls: Vec<RegistryTls>,
    /// Build steps reach the network through a proxy that records it.
    pub proxy_network: bool,
    /// How progress is shown.
    pub progress: Mode,
    /// The digest of the image is printed.
    pub prints_digest: bool,
    /// What the user should know of what was asked, in sentences.
    pub notes: Vec<String>,
    /// What is written beside the result.
    pub files: SideFiles,
}

/// What is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// What a frontend makes of its options.
    Frontend {
        /// The frontend.
        name: String,
        /// Its options.
        options: BTreeMap<String, String>,
    },
    /// The definition on standard input.
    Definition,
}

/// Files that are written or read beside the result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SideFiles {
    /// All progress, as JSON lines.
    pub trace: Option<PathBuf>,
    /// A page about the build.
    pub report: Option<PathBuf>,
    /// What the exporters answered.
    pub metadata: Option<PathBuf>,
    /// The id of the build.
    pub build_id: Option<PathBuf>,
    /// The digest of the image.
    pub image_digest: Option<PathBuf>,
    /// The source policy, which is read.
    pub source_policy: Option<PathBuf>,
    /// Figures about the cache.
    pub cache_metrics: Option<PathBuf>,
}

/// Why there is nothing to build.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BuildUsageError {
    /// An option cannot be understood.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The mode of progress cannot be understood.
    #[error(transparent)]
    Progress(#[from] ModeError),
    /// Nothing says what to build.
    #[error(
        "nothing to build: name a directory, choose a frontend with --frontend, \
         or pipe an LLB definition to standard input"
    )]
    NoInput,
    /// The directory holds no build file.
    #[error(
        "no build file in {directory}: looked for {looked_for}; \
         name one with --file or choose a frontend with --frontend"
    )]
    NoBuildFile {
        /// The directory.
        directory: PathBuf,
        /// The names.
        looked_for: String,
    },
    /// There is no such directory.
    #[error("{}: there is no such directory", .0.display())]
    NoDirectory(PathBuf),
    /// A file where a directory belongs.
    #[error(
        "{file} is a file, and what is built is a directory: -f {file} names a build file, and `kiln build - < {file}` reads an archive",
        file = .0.display()
    )]
    FileAsContext(PathBuf),
    /// There is no such build file.
    #[error("{}: there is no such build file", .0.display())]
    NoFile(PathBuf),
    /// A flag of `docker build` that is something else here.
    #[error("{0} is not there: {1}")]
    Elsewhere(&'static str, &'static str),
    /// One stream cannot be two files.
    #[error("the context and the build file cannot both be standard input")]
    TwoFromStdin,
    /// The frontend reads no such option, and there is one that is nearly called like that.
    #[error("--opt {key}: {frontend} has no option of this name, did you mean {meant}?")]
    UnknownOption {
        /// The option.
        key: String,
        /// The frontend.
        frontend: String,
        /// What it was meant to be.
        meant: String,
    },
    /// The frontend reads no such directory, and there is one that is nearly called like that.
    #[error("--local {name}: {frontend} reads no directory of this name, did you mean {meant}?")]
    UnknownLocal {
        /// Its name.
        name: String,
        /// The frontend.
        frontend: String,
        /// What it was meant to be.
        meant: &'static str,
    },
    /// A file was named, but no frontend reads files of such names.
    #[error(
        "no frontend is known for {file}: choose one with --frontend (dockerfile.v0 does as its # syntax= line says)"
    )]
    UnknownBuildFile {
        /// The file.
        file: PathBuf,
    },
}

impl BuildCommand {
    /// Decides what is to be built; `exists` tells whether a file is there.
    ///
    /// # Errors
    ///
    /// If an option is wrong, or nothing says what to build.
    pub(crate) fn decide(
        args: BuildArgs,
        environment: &Environment,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<Self, BuildUsageError> {
        if let Some((flag, instead)) = args.elsewhere() {
            return Err(BuildUsageError::Elsewhere(flag, instead));
        }
        let mut options = build_options(&args, environment)?;
        let mut locals = named_paths("--local", &args.local)?;
        named_contexts(&args.build_context, &mut options, &mut locals)?;
        let place = Place::of(&args)?;
        place.describe(&mut options, &mut locals);
        let frontend = match (args.frontend.clone().filter(|name| !name.is_empty()), &place) {
            (Some(name), _) => Some(name),
            (None, Place::Nowhere) => None,
            (None, place) => Some(place.frontend(exists, &mut options)?),
        };
        if frontend.is_none() && environment.stdin_terminal {
            return Err(BuildUsageError::NoInput);
        }
        let mut notes = Vec::new();
        // Scripts of BuildKit's may give what only some other frontend reads.
        if let (Some(frontend), Program::Kiln) = (&frontend, environment.program) {
            notes = check_options(frontend, &options)?;
            let names = locals.keys().map(String::as_str);
            if let Some((name, meant)) = misspelt_local(frontend, &options, names) {
                return Err(BuildUsageError::UnknownLocal {
                    name: name.to_owned(),
                    frontend: frontend.clone(),
                    meant,
                });
            }
        }
        let file_on_stdin = match (&place, &frontend) {
            (Place::Somewhere { file: BuildFile::Stdin, .. }, Some(frontend)) => {
                Some(file_name(frontend, &mut options))
            }
            _ => None,
        };
        if args.no_cache && frontend.is_some() {
            options.insert("no-cache".to_owned(), String::new());
        }
        let mut entitlements: Vec<String> =
            args.allow.iter().flat_map(|text| entitlements(text)).collect();
        // As with `docker build`, who asks for it is allowed it.
        if args.network.as_deref() == Some("host") {
            entitlements.push("network.host".to_owned());
        }
        let quiet = args.quiet.then_some("quiet");
        let progress = args.progress.as_deref().or(environment.get("BUILDKIT_PROGRESS"));
        let progress = quiet.or(progress);
        let progress = progress.unwrap_or("").parse()?;
        let caches = |direction, texts: &[String]| {
            parse_each(texts, |text| CacheOption::parse(direction, text, environment))
        };
        let outputs = ImageOutputs {
            outputs: &args.output,
            tags: &args.tag,
            push: args.push,
            load: args.load,
        };
        let exports = exports(outputs, environment.stdout_terminal)?;
        if let Some(tag) = args.tag.first()
            && !exports.iter().any(|export| export.kind.is_image())
        {
            notes.push(format!("--tag {tag} is not used: no output is an image"));
        }
        Ok(Self {
            input: match frontend {
                Some(name) => Input::Frontend { name, options },
                None => Input::Definition,
            },
            context_on_stdin: place.is_stdin(),
            file_on_stdin,
            locals,
            oci_layouts: named_paths("--oci-layout", &args.oci_layout)?,
            no_cache: args.no_cache,
            exports,
            cache_exports: caches(Direction::Export, &args.export_cache)?,
            cache_imports: caches(Direction::Import, &args.import_cache)?,
            expect_cached: args.expect_cached.iter().map(|text| StepPattern::new(text)).collect(),
            secrets: parse_each(&args.secret, |text| Secret::parse(text, environment))?,
            ssh: parse_each(&args.ssh, Ssh::parse)?,
            entitlements,
            registry_tls: parse_each(&args.registry_auth_tlscontext, RegistryTls::parse)?,
            proxy_network: args.proxy_network,
            progress,
            prints_digest: args.quiet,
            notes,
            files: SideFiles {
                trace: args.trace,
                report: args.report,
                metadata: args.metadata_file,
                build_id: args.ref_file,
                image_digest: args.iidfile,
                source_policy: args.source_policy_file,
                cache_metrics: args.debug_json_cache_metrics,
            },
        })
    }
}

/// What one `--allow` asks for: several are separated by commas, but those of a device are its own.
fn entitlements(text: &str) -> Vec<String> {
    match text.starts_with("device=") {
        true => vec![text.to_owned()],
        false => text.split(',').map(str::to_owned).collect(),
    }
}

/// Refuses options that are nearly those of the frontend; of others says that they are passed on.
fn check_options(
    frontend: &str,
    options: &BTreeMap<String, String>,
) -> Result<Vec<String>, BuildUsageError> {
    let mut notes = Vec::new();
    for UnknownOption { key, meant } in unknown_options(frontend, options) {
        match meant {
            Some(meant) => {
                let frontend = frontend.to_owned();
                return Err(BuildUsageError::UnknownOption { key, frontend, meant });
            }
            None => notes.push(format!(
                "--opt {key}: {frontend} has no option of this name; only a frontend that \
                 # syntax= names in the build file may read it"
            )),
        }
    }
    Ok(notes)
}

/// The name of a build file that has none, as the frontend looks for it.
fn file_name(frontend: &str, options: &mut BTreeMap<String, String>) -> String {
    if let Some(name) = options.get("filename") {
        return name.clone();
    }
    let known = BUILD_FILES.iter().find(|(_, of)| *of == frontend);
    let name = known.map_or("Dockerfile", |(name, _)| *name).to_owned();
    if name != "Dockerfile" {
        options.insert("filename".to_owned(), name.clone());
    }
    name
}

/// Where a build is.
enum Place {
    /// The user did not say.
    Nowhere,
    /// There, with this build file.
    Somewhere { context: Where, file: BuildFile },
}

/// Where the context of a build is.
enum Where {
    /// In a local directory.
    Directory(PathBuf),
    /// On standard input: an archive, perhaps with a certain build file in it, or a build file alone.
    Stdin,
    /// Somewhere the daemon fetches it from.
    Url(String),
}

/// Which build file.
enum BuildFile {
    /// The one that lies in the context.
    Usual,
    /// This one.
    Named(PathBuf),
    /// What comes from standard input.
    Stdin,
}

impl Place {
    fn of(args: &BuildArgs) -> Result<Self, BuildUsageError> {
        let file = match &args.file {
            None => BuildFile::Usual,
            Some(path) if path == Path::new("-") => BuildFile::Stdin,
            Some(path) => BuildFile::Named(path.clone()),
        };
        let is_url = |text: &str| URL_SCHEMES.iter().any(|scheme| text.starts_with(scheme));
        let (context, file) = match (args.context.as_deref(), file) {
            (Some("-"), BuildFile::Stdin) => return Err(BuildUsageError::TwoFromStdin),
            (Some("-"), file) => (Where::Stdin, file),
            (Some(url), file) if is_url(url) => (Where::Url(url.to_owned()), file),
            (Some(path), file) => (Where::Directory(path.into()), file),
            // Without a context, a build file alone is built where it lies.
            (None, BuildFile::Named(path)) => {
                (Where::Directory(directory_of(&path)), BuildFile::Named(path))
            }
            (None, BuildFile::Stdin) => (Where::Stdin, BuildFile::Usual),
            (None, BuildFile::Usual) => return Ok(Self::Nowhere),
        };
        Ok(Self::Somewhere { context, file })
    }

    fn is_stdin(&self) -> bool {
        matches!(self, Self::Somewhere { context: Where::Stdin, .. })
    }

    /// Tells the frontend where it is; what the user said with `--opt` and `--local` holds.
    fn describe(
        &self,
        options: &mut BTreeMap<String, String>,
        locals: &mut BTreeMap<String, PathBuf>,
    ) {
        let Self::Somewhere { context, file } = self else { return };
        let mut option = |key: &str, value: String| {
            options.entry(key.to_owned()).or_insert(value);
        };
        let mut local = |name: &str, path: PathBuf| {
            locals.entry(name.to_owned()).or_insert(path);
        };
        match context {
            Where::Stdin => {}
            Where::Url(url) => option("context", url.clone()),
            Where::Directory(path) => local("context", path.clone()),
        }
        match (file, context) {
            (BuildFile::Usual, Where::Directory(path)) => local("dockerfile", path.clone()),
            (BuildFile::Usual, Where::Url(_) | Where::Stdin) => {}
            (BuildFile::Named(file), Where::Directory(_)) => {
                local("dockerfile", directory_of(file));
                if let Some(name) = file.file_name() {
                    option("filename", name.to_string_lossy().into_owned());
                }
            }
            (BuildFile::Named(file), Where::Url(_) | Where::Stdin) => {
                option("filename", file.to_string_lossy().into_owned());
            }
            // It is given as a directory of its own, once it was read.
            (BuildFile::Stdin, Where::Url(_)) => option("dockerfilekey", "dockerfile".to_owned()),
            (BuildFile::Stdin, Where::Directory(_) | Where::Stdin) => {}
        }
    }

    /// The frontend for the build file that was named, or that lies in the directory.
    fn frontend(
        &self,
        exists: &dyn Fn(&Path) -> bool,
        options: &mut BTreeMap<String, String>,
    ) -> Result<String, BuildUsageError> {
        let named = options.get("filename").map(PathBuf::from);
        match (named, self) {
            (Some(file), _) => self.frontend_of(file, exists),
            (
                None,
                Self::Somewhere { context: Where::Directory(context), file: BuildFile::Usual },
            ) => {
                let found = BUILD_FILES.iter().find(|(name, _)| exists(&context.join(name)));
                let Some((name, frontend)) = found else {
                    if exists(context) {
                        return Err(BuildUsageError::FileAsContext(context.clone()));
                    }
                    if context != Path::new(".") && !context.is_dir() {
                        return Err(BuildUsageError::NoDirectory(context.clone()));
                    }
                    let names: Vec<&str> = BUILD_FILES.iter().map(|(name, _)| *name).collect();
                    return Err(BuildUsageError::NoBuildFile {
                        directory: context.clone(),
                        looked_for: names.join(", "),
                    });
                };
                // Frontends know their own default.
                if *name != "Dockerfile" {
                    options.insert("filename".to_owned(), (*name).to_owned());
                }
                Ok((*frontend).to_owned())
            }
            (None, _) => Ok("dockerfile.v0".to_owned()),
        }
    }
}

impl Place {
    /// The frontend of a file that was named. As with `docker build`, one of whatever name is a Dockerfile,
    /// unless its name says that it is something else.
    fn frontend_of(
        &self,
        file: PathBuf,
        exists: &dyn Fn(&Path) -> bool,
    ) -> Result<String, BuildUsageError> {
        if let Some(frontend) = frontend_for(&file) {
            return Ok(frontend.to_owned());
        }
        if let Self::Somewhere { context: Where::Directory(_), file: BuildFile::Named(path) } = self
            && !exists(path)
        {
            return Err(BuildUsageError::NoFile(path.clone()));
        }
        let extension = file.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("yaml" | "yml" | "toml" | "json") => {
                Err(BuildUsageError::UnknownBuildFile { file })
            }
            _ => Ok("dockerfile.v0".to_owned()),
        }
    }
}

/// The frontend whose build file's name is in the name: `Dockerfile.dev`, `web.Dockerfile`.
pub(crate) fn frontend_for(file: &Path) -> Option<&'static str> {
    let name = file.file_name()?.to_string_lossy().to_lowercase();
    let stem = |known: &str| known.split('.').next().unwrap_or(known).to_lowercase();
    BUILD_FILES.iter().find(|(known, _)| name.contains(&stem(known))).map(|(_, frontend)| *frontend)
}

/// The directory a file lies in.
pub(crate) fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn parse_each<T>(
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, OptionError>,
) -> Result<Vec<T>, OptionError> {
    texts.iter().map(|text| parse(text)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    fn decide(line: &str, files: &[&str]) -> Result<BuildCommand, BuildUsageError> {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let Some(Command::Build(args)) = cli.command else { panic!("not a build: {line}") };
        let environment = Environment::with(&[("HTTP_PROXY", "p")]);
        BuildCommand::decide(*args, &environment, &|path| {
            files.iter().any(|f| path == Path::new(f))
        })
    }

    fn decided(line: &str, files: &[&str]) -> String {
        match decide(line, files) {
            Ok(BuildCommand { input, locals, .. }) => format!("{input:?} {locals:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_directory_is_built_by_the_frontend_of_its_build_file() {
        insta::assert_snapshot!(
            decided("kiln build src", &["src/Dockerfile", "src/Mockerfile.yaml"]),
            @r#"Frontend { name: "dockerfile.v0", options: {} } {"context": "src", "dockerfile": "src"}"#
        );
        insta::assert_snapshot!(
            decided("kiln build .", &["./Mockerfile.yaml"]),
            @r#"Frontend { name: "mockerfile.v0", options: {"filename": "Mockerfile.yaml"} } {"context": ".", "dockerfile": "."}"#
        );
        insta::assert_snapshot!(
            decided("kiln build .", &[]),
            @"no build file in .: looked for Dockerfile, dockerfile, Containerfile, Mockerfile.yaml, Mockerfile; name one with --file or choose a frontend with --frontend"
        );
        insta::assert_snapshot!(
            decided("kiln b . -f sub/web.Dockerfile", &[]),
            @r#"Frontend { name: "dockerfile.v0", options: {"filename": "web.Dockerfile"} } {"context": ".", "dockerfile": "sub"}"#
        );
        insta::assert_snapshot!(
            decided("kiln build -f Mockerfile.dev.yaml", &[]),
            @r#"Frontend { name: "mockerfile.v0", options: {"filename": "Mockerfile.dev.yaml"} } {"context": ".", "dockerfile": "."}"#
        );
        insta::assert_snapshot!(
            decided("kiln build . -f build.toml", &["build.toml"]),
            @"no frontend is known for build.toml: choose one with --frontend (dockerfile.v0 does as its # syntax= line says)"
        );
        insta::assert_snapshot!(
            decided("kiln build - -f ci/Dockerfile", &[]),
            @r#"Frontend { name: "dockerfile.v0", options: {"filename": "ci/Dockerfile"} } {}"#
        );
        insta::assert_snapshot!(
            decided("kiln build https://host/repo.git#main -f ci/Dockerfile", &[]),
            @r#"Frontend { name: "dockerfile.v0", options: {"context": "https://host/repo.git#main", "filename": "ci/Dockerfile"} } {}"#
        );
    }

    #[test]
    fn the_build_file_may_come_from_standard_input() {
        let check = |line: &str, expected: &str| {
            let text = match decide(line, &["./Mockerfile.yaml"]) {
                Ok(BuildCommand { input, locals, context_on_stdin, file_on_stdin, .. }) => {
                    format!("{input:?} {locals:?} {context_on_stdin} {file_on_stdin:?}")
                }
                Err(error) => error.to_string(),
            };
            assert_eq!(text, expected, "{line}");
        };
        check(
            "kiln build -f - .",
            r#"Frontend { name: "dockerfile.v0", options: {} } {"context": "."} false Some("Dockerfile")"#,
        );
        check(
            "kiln build -f - . --frontend mockerfile.v0",
            r#"Frontend { name: "mockerfile.v0", options: {"filename": "Mockerfile.yaml"} } {"context": "."} false Some("Mockerfile.yaml")"#,
        );
        check("kiln build -f -", r#"Frontend { name: "dockerfile.v0", options: {} } {} true None"#);
        check(
            "kiln build -f - https://host/repo.git",
            r#"Frontend { name: "dockerfile.v0", options: {"context": "https://host/repo.git", "dockerfilekey": "dockerfile"} } {} false Some("Dockerfile")"#,
        );
        check("kiln build -f - -", "the context and the build file cannot both be standard input");
    }

    #[test]
    fn options_that_nobody_reads_are_refused_or_noted() {
        insta::assert_snapshot!(
            decided("kiln build . --opt tagret=x", &["./Dockerfile"]),
            @"--opt tagret: dockerfile.v0 has no option of this name, did you mean target?"
        );
        let notes = |line: &str| decide(line, &["./Dockerfile"]).unwrap().notes;
        assert!(notes("kiln build . --opt moon=full")[0].starts_with("--opt moon: dockerfile.v0"));
        assert_eq!(notes("kiln build . -t x"), [""; 0]);
        assert_eq!(
            notes("kiln build . -t x -o out"),
            ["--tag x is not used: no output is an image"]
        );
        assert_eq!(notes("kiln build . --frontend other --opt tagret=x"), [""; 0]);
        let args = BuildArgs {
            frontend: Some("dockerfile.v0".into()),
            opt: vec!["tagret=x".into()],
            ..BuildArgs::default()
        };
        let buildctl = Environment { program: Program::Buildctl, ..Environment::default() };
        assert_eq!(BuildCommand::decide(args, &buildctl, &|_| false).unwrap().notes, [""; 0]);
    }

    #[test]
    fn a_frontend_that_was_named_is_not_second_guessed() {
        insta::assert_snapshot!(
            decided(
                "kiln build --frontend gateway.v0 --opt source=x/y --opt build-arg:HTTP_PROXY --no-cache",
                &[]
            ),
            @r#"Frontend { name: "gateway.v0", options: {"build-arg:HTTP_PROXY": "p", "no-cache": "", "source": "x/y"} } {}"#
        );
        insta::assert_snapshot!(
            decided(
                "kiln build --frontend=dockerfile.v0 --local context=. --local dockerfile=d",
                &[]
            ),
            @r#"Frontend { name: "dockerfile.v0", options: {} } {"context": ".", "dockerfile": "d"}"#
        );
        insta::assert_snapshot!(
            decided("kiln build . --frontend x --local dockerfile=elsewhere", &[]),
            @r#"Frontend { name: "x", options: {} } {"context": ".", "dockerfile": "elsewhere"}"#
        );
    }

    #[test]
    fn without_a_frontend_standard_input_is_built_unless_it_is_a_terminal() {
        insta::assert_snapshot!(
            decided("kiln build --local src=.", &[]),
            @r#"Definition {"src": "."}"#
        );
        let terminal = Environment { stdin_terminal: true, ..Environment::default() };
        let decided = BuildCommand::decide(BuildArgs::default(), &terminal, &|_| false);
        assert_eq!(decided, Err(BuildUsageError::NoInput));
    }

    #[test]
    fn files_of_any_name_are_dockerfiles_and_what_is_not_there_is_called_that() {
        insta::assert_snapshot!(
            decided("kiln build -f my.build .", &["my.build"]),
            @r#"Frontend { name: "dockerfile.v0", options: {"filename": "my.build"} } {"context": ".", "dockerfile": "."}"#
        );
        insta::assert_snapshot!(
            decided("kiln build -f nofile .", &["./Dockerfile"]),
            @"nofile: there is no such build file"
        );
        insta::assert_snapshot!(
            decided("kiln build nodir", &[]),
            @"nodir: there is no such directory"
        );
        insta::assert_snapshot!(
            decided("kiln build --check .", &["./Dockerfile"]),
            @"--check is not there: `kiln lint FILE` says what is wrong with a build file"
        );
        insta::assert_snapshot!(
            decided("kiln build --annotation a=b .", &["./Dockerfile"]),
            @"--annotation is not there: say --output type=…,annotation.KEY=VALUE"
        );
    }

    #[test]
    fn what_docker_build_sets_for_all_steps_are_options_of_the_frontend() {
        insta::assert_snapshot!(
            decided(
                "kiln build --network host --add-host db:10.0.0.7 --add-host six=::1 --shm-size 64m --ulimit nofile=10:20 --no-cache-filter a,b --provenance mode=max --sbom true .",
                &["./Dockerfile"],
            ),
            @r#"Frontend { name: "dockerfile.v0", options: {"add-hosts": "db=10.0.0.7,six=::1", "attest:provenance": "mode=max", "attest:sbom": "", "force-network-mode": "host", "no-cache": "a,b", "shm-size": "67108864", "ulimit": "nofile=10:20"} } {"context": ".", "dockerfile": "."}"#
        );
        let host = decide("kiln build --network host .", &["./Dockerfile"]).unwrap();
        assert_eq!(host.entitlements, ["network.host"]);
        let line =
            "kiln build --allow network.host,security.insecure --allow device=a/b=c,alias=d .";
        let allowed = decide(line, &["./Dockerfile"]).unwrap();
        let expected = ["network.host", "security.insecure", "device=a/b=c,alias=d"];
        assert_eq!(allowed.entitlements, expected);
        let none = decided(
            "kiln build --attest type=sbom --sbom false --provenance=false .",
            &["./Dockerfile"],
        );
        assert!(!none.contains("attest"), "{none}");
        for wrong in ["--network bridge", "--add-host db", "--shm-size big", "--attest sbom"] {
            let said = decided(&format!("kiln build {wrong} ."), &["./Dockerfile"]);
            assert!(said.contains("should be"), "{wrong}: {said}");
        }
    }

    #[test]
    fn all_flags_of_buildctl_are_understood() {
        let command = decide(
            "kiln --addr unix:///x --debug build --frontend f --output type=image,name=n \
             -o type=local,dest=d --export-cache type=inline --import-cache r --secret id=a,src=b \
             --allow network.host --ssh default --progress plain --trace t --metadata-file m \
             --ref-file r --source-policy-file s --oci-layout l=p --proxy-network \
             --registry-auth-tlscontext host=h,insecure=true --debug-json-cache-metrics -",
            &[],
        )
        .unwrap();
        insta::assert_debug_snapshot!(command, @r#"
        BuildCommand {
            input: Frontend {
                name: "f",
                options: {},
            },
            context_on_stdin: false,
            file_on_stdin: None,
            locals: {},
            oci_layouts: {
                "l": "p",
            },
            no_cache: false,
            exports: [
                Export {
                    kind: Image,
                    attrs: {
                        "name": "n",
                    },
                    dest: Nothing,
                },
                Export {
                    kind: Local,
                    attrs: {},
                    dest: Directory(
                        "d",
                    ),
                },
            ],
            cache_exports: [
                CacheOption {
                    kind: "inline",
                    attrs: {
                        "mode": "min",
                    },
                    keys: [],
                },
            ],
            cache_imports: [
                CacheOption {
                    kind: "registry",
                    attrs: {
                        "ref": "r",
                    },
                    keys: [],
                },
            ],
            expect_cached: [],
            secrets: [
                Secret {
                    id: "a",
                    source: File(
                        "b",
                    ),
                },
            ],
            ssh: [
                Ssh {
                    id: "default",
                    paths: [],
                    raw: false,
                },
            ],
            entitlements: [
                "network.host",
            ],
            registry_tls: [
                RegistryTls {
                    host: "h",
                    ca: None,
                    keypair: None,
                    insecure: true,
                },
            ],
            proxy_network: true,
            progress: Plain,
            prints_digest: false,
            notes: [],
            files: SideFiles {
                trace: Some(
                    "t",
                ),
                report: None,
                metadata: Some(
                    "m",
                ),
                build_id: Some(
                    "r",
                ),
                image_digest: None,
                source_policy: Some(
                    "s",
                ),
                cache_metrics: Some(
                    "-",
                ),
            },
        }
        "#);
    }

    #[test]
    fn wrong_options_are_named() {
        insta::assert_snapshot!(
            decided("kiln build --frontend f -o type=local", &[]),
            @r#"--output "type=local": output directory is required for local exporter: add dest=PATH"#
        );
        insta::assert_snapshot!(
            decided("kiln build --frontend f --progress loud", &[]),
            @r#"invalid progress mode "loud": use auto, plain, tty, rawjson or quiet"#
        );
        insta::assert_snapshot!(
            decided("kiln build --frontend f --opt target", &[]),
            @r#"--opt "target": should be key=value"#
        );
    }
}
