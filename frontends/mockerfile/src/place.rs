//! One action of an image in LLB: what is run or copied, under which name, from which lines.

use kiln_sdk::document::Span;
use kiln_sdk::llb::{
    Action, Constraints, CopyOptions, Exec, FileActions, Http, Mkdir, Mkfile, Mount, Proxy,
    Sharing, SourceMap, SourcePosition, SourceRange, State, UNPACK_ZIP,
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
        Constraints::named(format!("[{shown}{}{number}] {title}", self.image.name))
            .with_platform(Some(platform.clone()))
            .with_ignore_cache(self.request.choices.no_cache.covers(&self.image.name))
            .with_locations(vec![self.map.location([self.range(span)])])
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
                let options = Mkdir::default().with_parents(true).with_created(self.time());
                file(state, vec![Action::mkdir(*path, options)], constraints)
            }
            Work::Place { external } => self.external(state, external, constraints),
            Work::Run { command, directory } => {
                let exec = Exec::sh(*command).with_dir((*directory).to_owned());
                self.run(made, exec, constraints)
            }
            Work::Output { paths } => self.output(state, paths, constraints),
        };
    }

    fn key(&self, state: &State, url: &str, number: usize, constraints: Constraints) -> State {
        let download = Http::default()
            .with_filename("key".to_owned())
            .with_mode(0o644)
            .with_constraints(self.download(url, &constraints));
        let name = format!("/etc/apt/trusted.gpg.d/mockerfile-{}-{number}.asc", self.image.name);
        let copy = Action::copy(State::http(url, download), "/key", name, self.copy());
        file(state, vec![copy], constraints)
    }

    fn sources(&self, state: &State, lines: &[String], constraints: Constraints) -> State {
        const DIRECTORY: &str = "/etc/apt/sources.list.d";
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let directory = Mkdir::default().with_parents(true).with_created(self.time());
        let list = Mkfile::default().with_created(self.time());
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
        let keep = Mkfile::default().with_created(Some(0));
        let keep = FileActions::from(vec![Action::mkfile(
            "/keep",
            "// Packages stay in the cache mount.\n",
            keep,
        )])
        .with_constraints(
            Constraints::named("[internal] keep downloaded packages")
                .with_platform(constraints.platform.clone()),
        );
        let keep = State::scratch().file(keep);
        let cache = |path: &str| {
            let platform = self.request.platform;
            Mount::cache(path).id(format!("mockerfile{path}/{platform}")).shared(Sharing::Locked)
        };
        let exec = Exec::sh(install_script(names, has_keys))
            .with_dir("/".to_owned())
            .with_env(vec![("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())])
            .with_mounts(vec![
                cache("/var/cache/apt"),
                cache("/var/lib/apt"),
                Mount::bind("/etc/apt/apt.conf.d/docker-clean", &keep).path("/keep").readonly(),
            ]);
        self.run(made, exec, constraints)
    }

    fn external(&self, state: &State, external: &External, mut constraints: Constraints) -> State {
        if external.is_zip() {
            constraints.require.push(UNPACK_ZIP.to_owned());
        }
        let options = self.copy().with_attempt_unpack(external.unpack);
        let copy = match &external.from {
            Origin::Url { url, checksum, file_name } => {
                let download = Http::default()
                    .with_checksum(checksum.clone())
                    .with_filename(file_name.clone())
                    .with_mode(if external.unpack { 0o644 } else { 0o755 })
                    .with_constraints(self.download(url, &constraints));
                Action::copy(
                    State::http(url, download),
                    format!("/{file_name}"),
                    &external.to,
                    options,
                )
            }
            Origin::Context(path) => {
                let options = options
                    .with_dir_contents_only(true)
                    .with_follow_symlinks(true)
                    .with_allow_wildcard(is_pattern(path));
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
        env.extend(exec.env.iter().cloned());
        let exec = exec.with_env(env).with_proxy(self.proxy()).with_constraints(constraints);
        made.state.run(self.request.settings.applied_to(exec, self.request.info)).root()
    }

    fn proxy(&self) -> Option<Proxy> {
        let proxies = &self.request.choices.proxies;
        let of = |kind: ProxyKind| proxies.get(&kind).cloned().unwrap_or_default();
        (!proxies.is_empty()).then(|| {
            Proxy::default()
                .with_http(of(ProxyKind::Http))
                .with_https(of(ProxyKind::Https))
                .with_ftp(of(ProxyKind::Ftp))
                .with_no_proxy(of(ProxyKind::No))
                .with_all(of(ProxyKind::All))
        })
    }

    fn output(&self, state: &State, paths: &[String], constraints: Constraints) -> State {
        let copies = paths.iter().map(|path| {
            let pattern = is_pattern(path);
            let options = self.copy().with_dir_contents_only(!pattern).with_allow_wildcard(pattern);
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

    fn copy(&self) -> CopyOptions {
        CopyOptions::default().with_create_dest_path(true).with_created(self.time())
    }

    /// The name of a download, which is not counted: several vertices may share it.
    fn download(&self, url: &str, of: &Constraints) -> Constraints {
        let title = format!("download {url}");
        let span = Span::default();
        self.constraints(String::new(), &title, span).with_locations(of.locations.clone())
    }

    /// The time of what is made, in nanoseconds.
    fn time(&self) -> Option<i64> {
        self.request.choices.epoch.map(|seconds| seconds.saturating_mul(1_000_000_000))
    }
}

fn file(state: &State, actions: Vec<Action>, constraints: Constraints) -> State {
    state.file(FileActions::from(actions).with_constraints(constraints))
}

fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}
