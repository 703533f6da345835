//! One action of an image in LLB: what is run or copied, under which name, from which lines.

use kiln_sdk::document::Span;
use kiln_sdk::llb::{
    Action, Constraints, Copy, Exec, FileActions, Http, Mkdir, Mkfile, Mount, Proxy, Sharing,
    SourceMap, SourcePosition, SourceRange, State, UNPACK_ZIP,
};

use crate::actions::{Work, install_script};
use crate::choices::ProxyKind;
use crate::lower::{PlatformResult, Request};
use crate::paths::parent;
use crate::plan::{External, Image, Origin};

/// An image, as its actions see it.
pub(crate) struct Place<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) map: &'a SourceMap,
    /// The build context.
    pub(crate) context: &'a State,
    pub(crate) image: &'a Image,
    /// How many vertices the image has, its base included.
    pub(crate) steps: usize,
}

impl Place<'_> {
    /// Says that a vertex is the `number`th of the image, and from where in the file it comes.
    pub(crate) fn numbered(&self, number: usize, title: &str, span: Span) -> Constraints {
        self.constraints(format!(" {number}/{}", self.steps), title, span)
    }

    fn constraints(&self, number: String, title: &str, span: Span) -> Constraints {
        let platform = self.request.platform;
        let shown =
            if self.request.many_platforms { format!("{platform} ") } else { String::new() };
        Constraints {
            platform: Some(platform.clone()),
            ignore_cache: self.request.choices.no_cache.covers(&self.image.name),
            locations: vec![self.map.location([self.range(span)])],
            ..Constraints::named(format!("[{shown}{}{number}] {title}", self.image.name))
        }
    }

    /// Lines count from one, characters from zero.
    fn range(&self, span: Span) -> SourceRange {
        let position = |offset: usize| {
            let position = self.request.source.position(offset);
            let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            SourcePosition {
                line: number(position.line),
                character: number(position.character - 1),
            }
        };
        SourceRange { start: position(span.start), end: position(span.end) }
    }

    /// Does one thing to what was made so far.
    pub(crate) fn act(&self, made: &mut PlatformResult, work: &Work<'_>, constraints: Constraints) {
        let state = &made.state;
        made.state = match work {
            Work::Key { url, number } => self.key(state, url, *number, constraints),
            Work::Sources { lines } => {
                made.package_sources.extend(lines.iter().map(|line| line.trim().to_owned()));
                self.sources(state, &made.package_sources, constraints)
            }
            Work::Install { names, has_keys } => self.install(made, names, *has_keys, constraints),
            Work::Workdir { path } => {
                let options = Mkdir { parents: true, created: self.time(), ..Mkdir::default() };
                file(state, vec![Action::mkdir(*path, options)], constraints)
            }
            Work::Place { external } => self.external(state, external, constraints),
            Work::Run { command, directory } => {
                let exec = Exec { dir: (*directory).to_owned(), ..Exec::sh(*command) };
                self.run(made, exec, constraints)
            }
            Work::Output { paths } => self.output(state, paths, constraints),
        };
    }

    fn key(&self, state: &State, url: &str, number: usize, constraints: Constraints) -> State {
        let download = Http {
            filename: "key".to_owned(),
            mode: Some(0o644),
            constraints: self.download(url, &constraints),
            ..Http::default()
        };
        let name = format!("/etc/apt/trusted.gpg.d/mockerfile-{}-{number}.asc", self.image.name);
        let copy = Action::copy(State::http(url, download), "/key", name, self.copy());
        file(state, vec![copy], constraints)
    }

    fn sources(&self, state: &State, lines: &[String], constraints: Constraints) -> State {
        const DIRECTORY: &str = "/etc/apt/sources.list.d";
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let directory = Mkdir { parents: true, created: self.time(), ..Mkdir::default() };
        let list = Mkfile { created: self.time(), ..Mkfile::default() };
        let actions = vec![
            Action::mkdir(DIRECTORY, directory),
            Action::mkfile(format!("{DIRECTORY}/mockerfile.list"), text, list),
        ];
        file(state, actions, constraints)
    }

    /// Debian's container images drop every package after it was installed; what does it lies
    /// under a file of ours while apt runs, so that the cache keeps the packages.
    fn install(
        &self,
        made: &PlatformResult,
        names: &[String],
        has_keys: bool,
        constraints: Constraints,
    ) -> State {
        let keep = Mkfile { created: Some(0), ..Mkfile::default() };
        let keep = FileActions {
            actions: vec![Action::mkfile("/keep", "// Packages stay in the cache mount.\n", keep)],
            constraints: Constraints {
                platform: constraints.platform.clone(),
                ..Constraints::named("[internal] keep downloaded packages")
            },
        };
        let keep = State::scratch().file(keep);
        let cache = |path: &str| {
            let platform = self.request.platform;
            Mount::cache(path).id(format!("mockerfile{path}/{platform}")).shared(Sharing::Locked)
        };
        let exec = Exec {
            dir: "/".to_owned(),
            env: vec![("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())],
            mounts: vec![
                cache("/var/cache/apt"),
                cache("/var/lib/apt"),
                Mount::bind("/etc/apt/apt.conf.d/docker-clean", &keep).path("/keep").readonly(),
            ],
            ..Exec::sh(install_script(names, has_keys))
        };
        self.run(made, exec, constraints)
    }

    fn external(&self, state: &State, external: &External, mut constraints: Constraints) -> State {
        if external.is_zip() {
            constraints.require.push(UNPACK_ZIP.to_owned());
        }
        let options = Copy { attempt_unpack: external.unpack, ..self.copy() };
        let copy = match &external.from {
            Origin::Url { url, checksum, file_name } => {
                let download = Http {
                    checksum: checksum.clone(),
                    filename: file_name.clone(),
                    mode: Some(if external.unpack { 0o644 } else { 0o755 }),
                    constraints: self.download(url, &constraints),
                    ..Http::default()
                };
                Action::copy(
                    State::http(url, download),
                    format!("/{file_name}"),
                    &external.to,
                    options,
                )
            }
            Origin::Context(path) => {
                let options = Copy {
                    dir_contents_only: true,
                    follow_symlinks: true,
                    allow_wildcard: is_pattern(path),
                    ..options
                };
                Action::copy(self.context, format!("/{path}"), &external.to, options)
            }
        };
        file(state, vec![copy], constraints)
    }

    fn run(&self, made: &PlatformResult, exec: Exec, constraints: Constraints) -> State {
        let choices = self.request.choices;
        // What the image itself sets is not changed by an argument of the same name.
        let own = |name: &str| made.config.config.env_value(name).is_some();
        let arguments = choices.environment.iter().filter(|(name, _)| !own(name));
        let mut env: Vec<(String, String)> =
            arguments.map(|(name, value)| (name.clone(), value.clone())).collect();
        env.extend(exec.env);
        let exec = Exec { env, proxy: self.proxy(), constraints, ..exec };
        made.state.run(self.request.settings.applied_to(exec, self.request.info)).root()
    }

    fn proxy(&self) -> Option<Proxy> {
        let proxies = &self.request.choices.proxies;
        let of = |kind: ProxyKind| proxies.get(&kind).cloned().unwrap_or_default();
        (!proxies.is_empty()).then(|| Proxy {
            http: of(ProxyKind::Http),
            https: of(ProxyKind::Https),
            ftp: of(ProxyKind::Ftp),
            no_proxy: of(ProxyKind::No),
            all: of(ProxyKind::All),
        })
    }

    fn output(&self, state: &State, paths: &[String], constraints: Constraints) -> State {
        let copies = paths.iter().map(|path| {
            let pattern = is_pattern(path);
            let options =
                Copy { dir_contents_only: !pattern, allow_wildcard: pattern, ..self.copy() };
            // What a pattern matches keeps its names, a path keeps its own.
            let dest = if pattern {
                format!("{}/", parent(path).trim_end_matches('/'))
            } else {
                path.clone()
            };
            Action::copy(state, path, dest, options)
        });
        file(&State::scratch(), copies.collect(), constraints)
    }

    fn copy(&self) -> Copy {
        Copy { create_dest_path: true, created: self.time(), ..Copy::default() }
    }

    /// The name of a download, which is not counted: several vertices may share it.
    fn download(&self, url: &str, of: &Constraints) -> Constraints {
        let title = format!("download {url}");
        let span = Span::default();
        Constraints {
            locations: of.locations.clone(),
            ..self.constraints(String::new(), &title, span)
        }
    }

    /// The time of what is made, in nanoseconds.
    fn time(&self) -> Option<i64> {
        self.request.choices.epoch.map(|seconds| seconds.saturating_mul(1_000_000_000))
    }
}

fn file(state: &State, actions: Vec<Action>, constraints: Constraints) -> State {
    state.file(FileActions { actions, constraints })
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}
