//! Build plans, as tools write them that look at a source tree and know what to do with it: JSON
//! with steps, where each gets its files, and what of them is deployed.
//!
//! ```json
//! {
//!   "caches": {"npm": {"directory": "/root/.npm"}},
//!   "secrets": ["NPM_TOKEN"],
//!   "steps": [
//!     {"name": "install", "inputs": [{"image": "node:22"}, {"local": true, "include": ["package.json"]}],
//!      "commands": [{"cmd": "npm ci"}], "caches": ["npm"], "secrets": ["NPM_TOKEN"]},
//!     {"name": "build", "inputs": [{"step": "install"}, {"local": true, "exclude": ["node_modules"]}],
//!      "commands": [{"path": "node_modules/.bin"}, {"cmd": "vite build"}]}
//!   ],
//!   "deploy": {"base": {"image": "node:22-slim"}, "inputs": [{"step": "build", "include": ["dist"]}],
//!              "startCommand": "node dist/server.js"}
//! }
//! ```
//!
//! Steps that do not need each other run at the same time, and what is deployed of each is a layer
//! of its own.

use std::collections::{BTreeMap, BTreeSet};

use kiln_sdk::document::{Language, Limits, Source, did_you_mean, parse};
use kiln_sdk::frontend::requests::Target;
use kiln_sdk::frontend::{BuildLanguage, PlatformResult, Project, TargetPlatform};
use kiln_sdk::llb::{FileActions, caps};
use kiln_sdk::prelude::*;
use schemars::JsonSchema;
use serde::Deserialize;

/// Where the source tree is in every step.
const APP: &str = "/app";
/// The target that is the image.
const DEPLOY: &str = "deploy";

/// A plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The schema, for editors.
    #[serde(rename = "$schema", default)]
    _schema: Option<String>,
    /// The image of the frontend, for clients that look for it here.
    #[serde(rename = "syntax", default)]
    _syntax: Option<String>,
    /// What is done, in any order.
    steps: Vec<Spanned<Step>>,
    /// Directories that outlive the build.
    #[serde(default)]
    caches: BTreeMap<String, Cache>,
    /// Names of secrets that steps may use.
    #[serde(default)]
    secrets: Vec<String>,
    /// The image.
    deploy: Spanned<Deploy>,
}

/// A step: commands on files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The name by which others take its files.
    name: String,
    /// Its files, laid over each other. The first is taken whole.
    #[schemars(length(min = 1))]
    inputs: Vec<Spanned<Input>>,
    /// What is run, in order.
    #[serde(default)]
    commands: Vec<Spanned<Command>>,
    /// Caches that commands see.
    #[serde(default)]
    caches: Vec<Spanned<String>>,
    /// Secrets that commands find in their environment; `*` is all.
    #[serde(default)]
    secrets: Vec<Spanned<String>>,
    /// The rest of their environment.
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

/// Files of a step, an image or the source tree.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Input {
    /// The step.
    step: Option<String>,
    /// The image.
    image: Option<String>,
    /// The source tree.
    local: bool,
    /// The paths that are taken: `.` is the directory of the application.
    include: Vec<String>,
    /// Patterns of what is left out.
    exclude: Vec<String>,
}

/// A command: exactly one of its keys that do something is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Command {
    /// Runs a shell command.
    cmd: Option<String>,
    /// What is shown for it.
    custom_name: Option<String>,
    /// Finds programs in this directory from here on.
    path: Option<String>,
    /// Writes a file.
    file: Option<String>,
    /// What is in it.
    content: String,
}

/// A directory that outlives the build.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Where commands see it.
    directory: String,
    /// Who may use it at once.
    #[serde(rename = "type", default)]
    kind: CacheKind,
}

/// Who may use a cache at once.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// Everybody.
    #[default]
    Shared,
    /// One; the others wait.
    Locked,
}

/// The image.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Deploy {
    /// What it starts from.
    base: Spanned<Input>,
    /// What is laid over that.
    #[serde(default)]
    inputs: Vec<Spanned<Input>>,
    /// The shell command that the image runs.
    start_command: Option<String>,
    /// Its environment.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    /// Where it finds programs first.
    #[serde(default)]
    paths: Vec<String>,
}

impl Plan {
    /// What a step, or the image, takes files from.
    fn inputs(&self) -> impl Iterator<Item = &Spanned<Input>> {
        let deploy = [&self.deploy.base].into_iter().chain(&self.deploy.inputs);
        self.steps.iter().flat_map(|step| &step.inputs).chain(deploy)
    }

    /// The steps in an order in which each comes after those it takes files from, or those that can
    /// be put into none.
    fn order(&self) -> Result<Vec<&Spanned<Step>>, Vec<&Spanned<Step>>> {
        let (mut ready, mut names) = (Vec::new(), BTreeSet::new());
        let mut left: Vec<_> = self.steps.iter().collect();
        while !left.is_empty() {
            let waits = |step: &&Spanned<Step>| {
                let needed = step.inputs.iter().filter_map(|input| input.step.as_deref());
                needed.into_iter().any(|name| !names.contains(name))
            };
            let (later, now): (Vec<_>, Vec<_>) = left.into_iter().partition(waits);
            if now.is_empty() {
                return Err(later);
            }
            names.extend(now.iter().map(|step| step.name.as_str()));
            (ready, left) = (ready.into_iter().chain(now).collect(), later);
        }
        Ok(ready)
    }

    fn mistakes(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut names = BTreeSet::from([DEPLOY]);
        for step in &self.steps {
            if !names.insert(&step.name) {
                let message = format!("there already is a step `{}`", step.name);
                found.push(Diagnostic::error(message).at(step.span));
            }
            let caches = step.caches.iter().filter(|name| !self.caches.contains_key(&name.value));
            found.extend(caches.map(|name| unknown("cache", name, name.span, self.caches.keys())));
            let all = |name: &Spanned<String>| name.value == "*" || self.secrets.contains(name);
            let secrets = step.secrets.iter().filter(|name| !all(name));
            found.extend(secrets.map(|name| unknown("secret", name, name.span, &self.secrets)));
            for command in &step.commands {
                let Command { cmd, path, file, .. } = &command.value;
                if [cmd, path, file].into_iter().flatten().count() != 1 {
                    let mistake =
                        Diagnostic::error("a command has one of `cmd`, `path` and `file`");
                    found.push(mistake.at(command.span));
                }
            }
        }
        let steps = || self.steps.iter().map(|step| &step.name);
        for input in self.inputs() {
            let given = [input.step.is_some(), input.image.is_some(), input.local];
            if given.into_iter().filter(|given| *given).count() != 1 {
                let mistake =
                    Diagnostic::error("files come from one `step`, one `image` or `local`");
                found.push(mistake.at(input.span));
            }
            let name = input.step.as_ref().filter(|name| steps().all(|step| step != *name));
            found.extend(name.map(|name| unknown("step", name, input.span, steps())));
        }
        let firsts = self.steps.iter().filter_map(|step| step.inputs.first());
        for first in firsts.chain([&self.deploy.base]) {
            if first.local || !first.include.is_empty() || !first.exclude.is_empty() {
                let mistake =
                    Diagnostic::error("the first files are those of a whole step or image");
                found.push(mistake.at(first.span).hint("take some of them in a later input"));
            }
        }
        if found.is_empty()
            && let Err(steps) = self.order()
        {
            let mistake = |step: &&Spanned<Step>| {
                let message = format!("step `{}` needs, in the end, itself", step.name);
                Diagnostic::error(message).at(step.span)
            };
            found.extend(steps.iter().map(mistake));
        }
        found.sort_by_key(|mistake| mistake.span);
        found
    }
}

/// The mistake of a name that there is not.
fn unknown<'a>(
    what: &str,
    name: &str,
    span: Span,
    known: impl IntoIterator<Item = &'a String>,
) -> Diagnostic {
    let mistake = Diagnostic::error(format!("there is no {what} `{name}`")).at(span);
    match did_you_mean(name, known.into_iter().map(String::as_str)) {
        Some(guess) => mistake.label(format!("did you mean `{guess}`?")),
        None => mistake,
    }
}

/// The language.
#[derive(Clone, Copy, Debug)]
pub struct Plans;

#[async_trait]
impl BuildLanguage for Plans {
    type Plan = Plan;
    const NAME: &'static str = "plan";
    const FILES: &'static [&'static str] = &["plan.json"];

    fn read(&self, source: &Source) -> Result<Parsed<Plan>, Vec<Diagnostic>> {
        let plan: Plan = parse(source, Language::Json, &Limits::default())?;
        let mistakes = plan.mistakes();
        if mistakes.is_empty() { Ok(Parsed::new(plan)) } else { Err(mistakes) }
    }

    fn targets(&self, project: &Project<'_, Plan>) -> Result<Vec<Target>, FrontendError> {
        let target = |name: &str| Target::default().with_name(name);
        let deploy = target(DEPLOY).with_default(true);
        let steps = project.plan.steps.iter().map(|step| target(&step.name));
        Ok([deploy].into_iter().chain(steps).collect())
    }

    async fn build(
        &self,
        project: &Project<'_, Plan>,
        target: &TargetPlatform,
    ) -> Result<PlatformResult, FrontendError> {
        let plan = project.plan;
        let names = plan.steps.iter().map(|step| step.name.as_str());
        let wanted = project.target(&[DEPLOY].into_iter().chain(names).collect::<Vec<_>>())?;
        let context = project.contexts.main_context().await?.state(plan.local_paths());
        if plan.steps.iter().any(|step| !step.secrets.is_empty()) {
            project.needs(caps::EXEC_SECRET_ENV, "secrets in the environment")?;
        }
        let mut build = Build { project, target, context, made: BTreeMap::new() };
        for step in plan.order().unwrap_or_default() {
            let made = build.step(step).await?;
            if step.name == wanted {
                return build.image(made);
            }
            build.made.insert(&step.name, made);
        }
        let deploy = &plan.deploy;
        let base = build.whole(&deploy.base, DEPLOY).await?;
        let mut layers = vec![base.state.clone()];
        for input in &deploy.inputs {
            layers.push(build.over(&State::scratch(), input, DEPLOY).await?);
        }
        build.image(Files {
            state: State::merge_with(&layers, build.named(DEPLOY, "deploy")),
            ..base
        })
    }
}

/// A file system, and what its image says of itself.
#[derive(Clone)]
struct Files {
    state: State,
    config: ImageConfig,
    base: Option<ImageConfig>,
}

/// One platform of a plan.
struct Build<'a> {
    project: &'a Project<'a, Plan>,
    target: &'a TargetPlatform,
    context: State,
    made: BTreeMap<&'a str, Files>,
}

impl Build<'_> {
    async fn step(&self, step: &Spanned<Step>) -> Result<Files, FrontendError> {
        let mut files = match step.inputs.first() {
            Some(first) => self.whole(first, &step.name).await?,
            None => return Err(self.project.mistake("the step has no files", step.span)),
        };
        let mut state = files.state.with_dir(APP);
        for input in step.inputs.iter().skip(1) {
            state = self.over(&state, input, &step.name).await?;
        }
        for (name, value) in &step.variables {
            state = state.with_env(name, value);
        }
        for command in &step.commands {
            let at = |title: &str| {
                self.named(&step.name, command.custom_name.as_deref().unwrap_or(title))
                    .with_locations(self.project.step(self.target, title, command.span).locations)
            };
            let Command { cmd, path, file, content, .. } = &command.value;
            if let Some(line) = cmd {
                let exec = self.exec(step, line).with_constraints(at(line));
                state = state.run(self.project.exec(exec)).root();
            }
            if let Some(path) = path {
                files.config.config.prepend_path(&in_app(path));
                let path = files.config.config.env_value("PATH").unwrap_or_default();
                state = state.with_env("PATH", path);
            }
            if let Some(path) = file {
                let place = in_app(path);
                let parents = Mkdir::default().with_parents(true);
                let directory = place.rsplit_once('/').map_or("/", |(above, _)| above);
                let actions = vec![
                    Action::mkdir(directory, parents),
                    Action::mkfile(&place, content.clone(), Mkfile::default()),
                ];
                let constraints = at(&format!("write {path}"));
                state = state.file(FileActions::from(actions).with_constraints(constraints));
            }
        }
        Ok(Files { state, ..files })
    }

    /// A shell command with the caches and secrets of its step.
    fn exec(&self, step: &Step, line: &str) -> Exec {
        let plan = self.project.plan;
        let prefix = self.project.settings.build_args.get("cache-key");
        let mounts = step.caches.iter().filter_map(|name| {
            let cache = plan.caches.get(&name.value)?;
            let id = prefix.map_or_else(|| name.value.clone(), |key| format!("{key}-{name}"));
            let sharing = match cache.kind {
                CacheKind::Shared => Sharing::Shared,
                CacheKind::Locked => Sharing::Locked,
            };
            Some(Mount::cache(&cache.directory).id(id).shared(sharing))
        });
        let used =
            |name: &&String| step.secrets.iter().any(|s| s.value == "*" || s.value == **name);
        let secrets = plan.secrets.iter().filter(used).map(|name| Secret::env(name, name));
        Exec::sh(line).with_mounts(mounts.collect()).with_secrets(secrets.collect())
    }

    /// All files of a step or image.
    async fn whole(&self, input: &Spanned<Input>, of: &str) -> Result<Files, FrontendError> {
        if let Some(files) = input.step.as_deref().and_then(|name| self.made.get(name)) {
            return Ok(files.clone());
        }
        let image = input.image.as_deref().unwrap_or("scratch");
        let base = self.project.base(image, Some(input.span), &self.target.platform).await?;
        Ok(Files {
            state: base.state(self.named(of, &format!("image {image}"))),
            config: base.config(&self.target.platform),
            base: base.image_config().cloned(),
        })
    }

    /// Some files, laid over a state.
    async fn over(
        &self,
        below: &State,
        input: &Spanned<Input>,
        of: &str,
    ) -> Result<State, FrontendError> {
        let from = match input.local {
            true => self.context.clone(),
            false => self.whole(input, of).await?.state,
        };
        let actions = input.paths().map(|path| {
            let place = in_app(path);
            // The source tree is there what the application's directory is in steps.
            let below = place.strip_prefix(APP).filter(|_| input.local);
            let source =
                below.map_or(place.as_str(), |path| if path.is_empty() { "/" } else { path });
            let source = source.to_owned();
            let copy = CopyOptions::default()
                .with_exclude_patterns(input.exclude.clone())
                .with_dir_contents_only(true)
                .with_create_dest_path(true);
            Action::copy(&from, source, place, copy)
        });
        let constraints = self
            .named(of, &format!("copy {}", input.paths().collect::<Vec<_>>().join(" ")))
            .with_locations(self.project.step(self.target, "", input.span).locations);
        Ok(below.file(FileActions::from(actions).with_constraints(constraints)))
    }

    fn image(&self, files: Files) -> Result<PlatformResult, FrontendError> {
        let Deploy { start_command, variables, paths, .. } = &self.project.plan.deploy.value;
        let mut config = files.config;
        config.config.working_dir = APP.into();
        for (name, value) in variables {
            config.config.set_env(name, value);
        }
        for path in paths.iter().rev() {
            config.config.prepend_path(&in_app(path));
        }
        if let Some(line) = start_command {
            config.config.entrypoint = Some(vec!["/bin/sh".into(), "-c".into()]);
            config.config.cmd = Some(vec![line.clone()]);
        }
        config.config.labels.extend(self.project.settings.labels.clone());
        let epoch = self.project.bridge.info().options.source_date_epoch()?;
        Ok(PlatformResult::new(files.state, &config).based_on(files.base.as_ref()).at(epoch))
    }

    /// What is said about something that belongs to a step.
    fn named(&self, step: &str, title: &str) -> Constraints {
        let ignore_cache = self.project.settings.no_cache.covers(step);
        let title = format!("[{step}] {title}");
        self.project.name(self.target, &title).with_ignore_cache(ignore_cache)
    }
}

impl Input {
    /// The paths that are taken.
    fn paths(&self) -> impl Iterator<Item = &str> {
        let all = self.include.is_empty().then_some(".");
        self.include.iter().map(String::as_str).chain(all)
    }
}

impl Plan {
    /// What is needed of the source tree; all of it if nothing.
    fn local_paths(&self) -> Vec<String> {
        let local = self.inputs().filter(|input| input.local);
        let paths: Vec<&str> = local.flat_map(|input| input.value.paths()).collect();
        match paths.contains(&".") {
            true => Vec::new(),
            false => paths.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A path of the plan in the file system.
fn in_app(path: &str) -> String {
    match path.trim_end_matches("/.") {
        "." => APP.to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("{APP}/{path}"),
    }
}
