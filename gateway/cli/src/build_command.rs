//! A build as the user asked for it: typed, complete and decided.
//!
//! [`BuildArgs`] and the [`Environment`] come in, a [`BuildCommand`] goes out; the disk is asked only
//! which build files exist. Nothing is opened and nothing is sent here; see `commands::build`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::args::BuildArgs;
use crate::environment::Environment;
use crate::options::{
    CacheOption, Direction, Export, OptionError, RegistryTls, Secret, Ssh, frontend_options,
    named_paths,
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
    /// A file was named, but no frontend reads files of such names.
    #[error("no frontend is known for {file}: choose one with --frontend")]
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
        let mut options = frontend_options(&args.opt, environment)?;
        let mut locals = named_paths("--local", &args.local)?;
        let place = Place::of(&args);
        place.describe(&mut options, &mut locals);
        let frontend = match (args.frontend.filter(|name| !name.is_empty()), &place) {
            (Some(name), _) => Some(name),
            (None, Place::Nowhere) => None,
            (None, place) => Some(place.frontend(exists, &mut options)?),
        };
        if frontend.is_none() && environment.stdin_terminal {
            return Err(BuildUsageError::NoInput);
        }
        if args.no_cache && frontend.is_some() {
            options.insert("no-cache".to_owned(), String::new());
        }
        let progress = args.progress.as_deref().or(environment.get("BUILDKIT_PROGRESS"));
        let progress = progress.unwrap_or("").parse()?;
        let caches = |direction, texts: &[String]| {
            parse_each(texts, |text| CacheOption::parse(direction, text, environment))
        };
        Ok(Self {
            input: match frontend {
                Some(name) => Input::Frontend { name, options },
                None => Input::Definition,
            },
            context_on_stdin: matches!(place, Place::Stdin { .. }),
            locals,
            oci_layouts: named_paths("--oci-layout", &args.oci_layout)?,
            no_cache: args.no_cache,
            exports: Export::parse_all(&args.output, environment.stdout_terminal)?,
            cache_exports: caches(Direction::Export, &args.export_cache)?,
            cache_imports: caches(Direction::Import, &args.import_cache)?,
            expect_cached: args.expect_cached.iter().map(|text| StepPattern::new(text)).collect(),
            secrets: parse_each(&args.secret, |text| Secret::parse(text, environment))?,
            ssh: parse_each(&args.ssh, Ssh::parse)?,
            entitlements: args.allow,
            registry_tls: parse_each(&args.registry_auth_tlscontext, RegistryTls::parse)?,
            proxy_network: args.proxy_network,
            progress,
            files: SideFiles {
                trace: args.trace,
                report: args.report,
                metadata: args.metadata_file,
                build_id: args.ref_file,
                source_policy: args.source_policy_file,
                cache_metrics: args.debug_json_cache_metrics,
            },
        })
    }
}

/// Where the context of a build is.
enum Place {
    /// The user did not say.
    Nowhere,
    /// In a local directory, perhaps with a certain build file.
    Directory { context: PathBuf, file: Option<PathBuf> },
    /// On standard input: an archive, perhaps with a certain build file in it, or a build file alone.
    Stdin { file: Option<PathBuf> },
    /// Somewhere the daemon fetches it from.
    Url { url: String, file: Option<PathBuf> },
}

impl Place {
    fn of(args: &BuildArgs) -> Self {
        let file = args.file.clone();
        match (&args.context, &file) {
            (Some(context), _) if context == "-" => Self::Stdin { file },
            (Some(url), _) if URL_SCHEMES.iter().any(|scheme| url.starts_with(scheme)) => {
                Self::Url { url: url.clone(), file }
            }
            (Some(context), _) => Self::Directory { context: context.into(), file },
            // Without a frontend, a build file alone is built where it lies.
            (None, Some(path)) => Self::Directory { context: directory_of(path), file },
            (None, None) => Self::Nowhere,
        }
    }

    /// Tells the frontend where it is; what the user said with `--opt` and `--local` holds.
    fn describe(
        &self,
        options: &mut BTreeMap<String, String>,
        locals: &mut BTreeMap<String, PathBuf>,
    ) {
        let (file, context) = match self {
            Self::Nowhere => return,
            Self::Stdin { file } => (file, None),
            Self::Url { url, file } => {
                options.entry("context".to_owned()).or_insert_with(|| url.clone());
                (file, None)
            }
            Self::Directory { context, file } => (file, Some(context)),
        };
        if let Some(context) = context {
            locals.entry("context".to_owned()).or_insert_with(|| context.clone());
        }
        match (file, context) {
            (Some(file), Some(_)) => {
                locals.entry("dockerfile".to_owned()).or_insert_with(|| directory_of(file));
                if let Some(name) = file.file_name() {
                    let name = name.to_string_lossy().into_owned();
                    options.entry("filename".to_owned()).or_insert(name);
                }
            }
            (Some(file), None) => {
                let name = file.to_string_lossy().into_owned();
                options.entry("filename".to_owned()).or_insert(name);
            }
            (None, Some(context)) => {
                locals.entry("dockerfile".to_owned()).or_insert_with(|| context.clone());
            }
            (None, None) => {}
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
            (Some(file), _) => match frontend_for(&file) {
                Some(frontend) => Ok(frontend.to_owned()),
                None => Err(BuildUsageError::UnknownBuildFile { file }),
            },
            (None, Self::Directory { context, .. }) => {
                let found = BUILD_FILES.iter().find(|(name, _)| exists(&context.join(name)));
                let Some((name, frontend)) = found else {
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
    use expect_test::{Expect, expect};

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

    fn check(line: &str, files: &[&str], expected: Expect) {
        let text = match decide(line, files) {
            Ok(BuildCommand { input, locals, .. }) => format!("{input:?} {locals:?}"),
            Err(error) => error.to_string(),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn a_directory_is_built_by_the_frontend_of_its_build_file() {
        check(
            "kiln build src",
            &["src/Dockerfile", "src/Mockerfile.yaml"],
            expect![[
                r#"Frontend { name: "dockerfile.v0", options: {} } {"context": "src", "dockerfile": "src"}"#
            ]],
        );
        check(
            "kiln build .",
            &["./Mockerfile.yaml"],
            expect![[
                r#"Frontend { name: "mockerfile.v0", options: {"filename": "Mockerfile.yaml"} } {"context": ".", "dockerfile": "."}"#
            ]],
        );
        check(
            "kiln build .",
            &[],
            expect![
                "no build file in .: looked for Dockerfile, dockerfile, Containerfile, Mockerfile.yaml, Mockerfile; name one with --file or choose a frontend with --frontend"
            ],
        );
        check(
            "kiln b . -f sub/web.Dockerfile",
            &[],
            expect![[
                r#"Frontend { name: "dockerfile.v0", options: {"filename": "web.Dockerfile"} } {"context": ".", "dockerfile": "sub"}"#
            ]],
        );
        check(
            "kiln build -f Mockerfile.dev.yaml",
            &[],
            expect![[
                r#"Frontend { name: "mockerfile.v0", options: {"filename": "Mockerfile.dev.yaml"} } {"context": ".", "dockerfile": "."}"#
            ]],
        );
        check(
            "kiln build . -f build.toml",
            &[],
            expect!["no frontend is known for build.toml: choose one with --frontend"],
        );
        check(
            "kiln build - -f ci/Dockerfile",
            &[],
            expect![[
                r#"Frontend { name: "dockerfile.v0", options: {"filename": "ci/Dockerfile"} } {}"#
            ]],
        );
        check(
            "kiln build https://host/repo.git#main -f ci/Dockerfile",
            &[],
            expect![[
                r#"Frontend { name: "dockerfile.v0", options: {"context": "https://host/repo.git#main", "filename": "ci/Dockerfile"} } {}"#
            ]],
        );
    }

    #[test]
    fn a_frontend_that_was_named_is_not_second_guessed() {
        check(
            "kiln build --frontend gateway.v0 --opt source=x/y --opt build-arg:HTTP_PROXY --no-cache",
            &[],
            expect![[
                r#"Frontend { name: "gateway.v0", options: {"build-arg:HTTP_PROXY": "p", "no-cache": "", "source": "x/y"} } {}"#
            ]],
        );
        check(
            "kiln build --frontend=dockerfile.v0 --local context=. --local dockerfile=d",
            &[],
            expect![[
                r#"Frontend { name: "dockerfile.v0", options: {} } {"context": ".", "dockerfile": "d"}"#
            ]],
        );
        check(
            "kiln build . --frontend x --local dockerfile=elsewhere",
            &[],
            expect![[
                r#"Frontend { name: "x", options: {} } {"context": ".", "dockerfile": "elsewhere"}"#
            ]],
        );
    }

    #[test]
    fn without_a_frontend_standard_input_is_built_unless_it_is_a_terminal() {
        check("kiln build --local src=.", &[], expect![[r#"Definition {"src": "."}"#]]);
        let terminal = Environment { stdin_terminal: true, ..Environment::default() };
        let decided = BuildCommand::decide(BuildArgs::default(), &terminal, &|_| false);
        assert_eq!(decided, Err(BuildUsageError::NoInput));
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
        expect![[r#"
            BuildCommand {
                input: Frontend {
                    name: "f",
                    options: {},
                },
                context_on_stdin: false,
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
                    },
                ],
                cache_imports: [
                    CacheOption {
                        kind: "registry",
                        attrs: {
                            "ref": "r",
                        },
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
                    source_policy: Some(
                        "s",
                    ),
                    cache_metrics: Some(
                        "-",
                    ),
                },
            }"#]]
        .assert_eq(&format!("{command:#?}"));
    }

    #[test]
    fn wrong_options_are_named() {
        check(
            "kiln build --frontend f -o type=local",
            &[],
            expect![[
                r#"--output "type=local": output directory is required for local exporter: add dest=PATH"#
            ]],
        );
        check(
            "kiln build --frontend f --progress loud",
            &[],
            expect![[r#"invalid progress mode "loud": use auto, plain, tty, rawjson or quiet"#]],
        );
        check(
            "kiln build --frontend f --opt target",
            &[],
            expect![[r#"--opt "target": should be key=value"#]],
        );
    }
}
