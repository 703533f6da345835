//! `COPY`, and what it shares with `ADD`: one file op that puts files of several sources in place.

use kiln_sdk::llb::{
    Action, Constraints, CopyMode, CopyOptions, FileActions, Mkfile, Owner, ProgressGroup, State,
    caps,
};
use kiln_sdk::oci::Platform;

use super::failure::Failure;
use super::history::Leaves;
use super::node::{Node, use_path};
use super::run::INLINE_DOCUMENT;
use super::steps::{Scope, values};
use super::{names, paths};
use crate::dockerignore::Dockerignore;
use crate::instruction::{Copy, InlineFile, Sources};
use crate::lint::Violation;
use crate::remote;
use crate::values::FileMode;

/// What is copied, with all variables known.
pub(super) struct Plan<'p> {
    /// The operating system of the image.
    pub(super) os: String,
    /// `COPY` or `ADD`.
    pub(super) keyword: &'static str,
    pub(super) sources: Sources,
    /// What local paths are in.
    pub(super) from: State,
    pub(super) chown: String,
    pub(super) chmod: String,
    pub(super) link: bool,
    pub(super) parents: bool,
    pub(super) excludes: &'p [String],
    /// Local files are unpacked if they are archives.
    pub(super) unpack: bool,
    /// What the ignore file says, if local paths are in the context.
    pub(super) ignored: Option<&'p Dockerignore>,
}

/// One source, as actions want it.
pub(super) struct Piece {
    pub(super) state: State,
    pub(super) path: String,
    pub(super) options: CopyOptions,
}

/// What holds for every source of a plan.
pub(super) struct Options {
    destination: String,
    defaults: CopyOptions,
}

impl Plan<'_> {
    /// What holds for every source.
    ///
    /// # Errors
    ///
    /// If the destination or the mode is none.
    pub(super) fn options(&self, node: &Node) -> Result<Options, Failure> {
        let directory = &values(&node.state)?.dir;
        let destination = destination(directory, &self.sources.destination, &self.os)?;
        let mut defaults = CopyOptions::default()
            .with_owner((!self.chown.is_empty()).then(|| Owner::parse(&self.chown)))
            .with_exclude_patterns(self.excludes.to_vec())
            .with_create_dest_path(true);
        defaults.mode = mode(&self.chmod)?;
        Ok(Options { destination, defaults })
    }
}

impl Scope<'_> {
    pub(super) fn copy(&mut self, node: &mut Node, copy: &Copy) -> Result<(), Failure> {
        let chown = self.word(node, &copy.chown)?;
        let chmod = self.word(node, &copy.chmod)?;
        let sources = self.expand_sources(node, &copy.sources)?;
        let mut from = self.context.clone();
        let mut ignored = self.ignored;
        let mut used = self.context_paths.clone();
        if let Some(taken) = self.sources.first() {
            if !taken.lowered {
                let (stage, own) =
                    (crate::quoting::quote(&copy.from), crate::quoting::quote(&node.label));
                return Err(Failure::new(format!(
                    "cannot copy from stage {stage}, it needs to be defined before current stage {own}"
                )));
            }
            from = taken.state.clone();
            used = taken.paths.clone();
            ignored = None;
        }
        let plan = Plan {
            os: node.os().to_owned(),
            keyword: "COPY",
            sources,
            from,
            chown,
            chmod,
            link: copy.link,
            parents: copy.parents,
            excludes: &copy.excludes,
            unpack: false,
            ignored,
        };
        let options = plan.options(node)?;
        self.place(node, &plan, options, |scope, _, plan, path| {
            if remote::git(path)?.is_some() {
                return Err(Failure::new("source can't be a git ref for COPY"));
            }
            if remote::is_http(path) {
                return Err(Failure::new("source can't be a URL for COPY"));
            }
            scope.local(plan, path)
        })?;
        for path in &plan.sources.paths {
            use_path(&used, &paths::join(&["/", path]));
        }
        Ok(())
    }

    /// Paths, contents and destination with their variables.
    pub(super) fn expand_sources(
        &mut self,
        node: &Node,
        sources: &Sources,
    ) -> Result<Sources, Failure> {
        let paths = self.words(node, &sources.paths)?;
        let destination = self.word(node, &sources.destination)?;
        let mut inline = sources.inline.clone();
        for file in inline.iter_mut().filter(|file| file.expand) {
            file.content = self.content(node, &file.content)?;
        }
        Ok(Sources { paths, inline, destination })
    }

    /// Puts everything in place. `piece` says what a path is.
    pub(super) fn place(
        &mut self,
        node: &mut Node,
        plan: &Plan<'_>,
        Options { destination, defaults }: Options,
        mut piece: impl FnMut(&mut Self, &str, &Plan<'_>, &str) -> Result<Piece, Failure>,
    ) -> Result<(), Failure> {
        let os = node.os().to_owned();
        let base = node.state.clone();
        let text = names::shown(&self.step.instruction.code, self.expander, &node.variables());
        let platform = self.shown_platform(node);
        let name = names::step(node, &text, platform.as_ref());
        let mut history = history(plan);
        let mut actions = Vec::new();
        for path in &plan.sources.paths {
            history.extend([" ", path.as_str()]);
            let Piece { state, path, options } = piece(self, &name, plan, path)?;
            let mut options = options
                .with_owner(defaults.owner.clone())
                .with_exclude_patterns(defaults.exclude_patterns.clone())
                .with_create_dest_path(true);
            options.mode.clone_from(&defaults.mode);
            actions.push(Action::copy(state, path, destination.as_str(), options));
        }
        for file in &plan.sources.inline {
            history.extend([" <<", file.name.as_str()]);
            let (state, path) = inline(file, &node.runs_on(), &os)?;
            actions.push(Action::copy(state, path, destination.as_str(), defaults.clone()));
        }
        history.extend([" ", plan.sources.destination.as_str()]);
        let constraints = Constraints::named(name)
            .with_ignore_cache(node.ignore_cache)
            .with_locations(self.location());
        // A link keeps no permissions of what it lies on, so --chmod needs the real thing.
        if plan.link && plan.chmod.is_empty() && self.capable(caps::MERGE_OP) {
            self.link(node, &base, &text, platform.as_ref(), actions, constraints)?;
        } else {
            node.state = base.file(FileActions::from(actions).with_constraints(constraints));
        }
        node.image.remember(history, Leaves::Step, self.time);
        Ok(())
    }

    /// Makes a layer of its own and lays it over the state: it need not be made again when what is
    /// below changes.
    fn link(
        &self,
        node: &mut Node,
        base: &State,
        text: &str,
        platform: Option<&Platform>,
        actions: Vec<Action>,
        constraints: Constraints,
    ) -> Result<(), Failure> {
        // Both vertices are one step.
        node.steps_named = node.steps_named.saturating_sub(1);
        let group = ProgressGroup::default()
            .with_id(self.group(node))
            .with_name(names::step(node, text, platform))
            .with_weak(true);
        node.steps_named = node.steps_named.saturating_sub(1);
        let linked = names::step(node, &format!("LINK {text}"), platform);
        let layer = State::scratch().file(
            FileActions::from(actions).with_constraints(
                constraints
                    .clone()
                    .with_platform(Some(node.runs_on()))
                    .with_progress_group(Some(group.clone())),
            ),
        );
        let merged = State::merge_with(
            &[base.clone(), layer],
            constraints
                .with_custom_name(Some(linked))
                .with_progress_group(Some(group.with_weak(false))),
        );
        // Only the file system is another; what commands inherit stays.
        node.state = merged.with_values_of(base).with_dir(&values(base)?.dir);
        Ok(())
    }

    /// An id that no other step of the build has.
    fn group(&self, node: &Node) -> String {
        let platform = self.request.platform.as_ref().map(Platform::format_all);
        let platform = platform.unwrap_or_default();
        let line = self.lines().first;
        format!("dockerfile:{platform}:{}:{line}:{}", self.id.0, node.image.history.len())
    }

    /// A path of the context, a stage or an image.
    pub(super) fn local(&mut self, plan: &Plan<'_>, path: &str) -> Result<Piece, Failure> {
        self.report_ignored(plan, path);
        let os = plan.os.as_str();
        let mut include_patterns = Vec::new();
        let mut required_paths = Vec::new();
        let mut source = path;
        if plan.parents {
            let (pivot, pattern) = path.split_once("/./").unwrap_or(("/", path));
            source = pivot;
            let pattern = normal(pattern, os)?;
            include_patterns.push(pattern.strip_prefix('/').unwrap_or(&pattern).to_owned());
            if !has_wildcard(source) && !has_wildcard(&pattern) {
                required_paths.push(normal(&paths::join(&[source, &pattern]), os)?);
            }
        }
        Ok(Piece {
            state: plan.from.clone(),
            path: normal(source, os)?,
            options: CopyOptions::default()
                .with_follow_symlinks(true)
                .with_dir_contents_only(true)
                .with_include_patterns(include_patterns)
                .with_required_paths(required_paths)
                .with_attempt_unpack(plan.unpack)
                .with_allow_wildcard(true)
                .with_allow_empty_wildcard(true),
        })
    }

    /// Tells of a path that the ignore file keeps out of the context.
    fn report_ignored(&mut self, plan: &Plan<'_>, path: &str) {
        // An exception below an ignored directory cannot be told from here.
        let Some(ignored) = plan.ignored.filter(|ignored| !ignored.has_exclusions()) else {
            return;
        };
        let path = paths::clean(path);
        if matches!(path.as_str(), "." | "/") && !ignored.covers_root() {
            return;
        }
        if ignored.covers(&path) {
            let instruction = if plan.keyword == "ADD" { "Add" } else { "Copy" };
            self.report(&Violation::CopyIgnoredFile { instruction, path });
        }
    }
}

/// A file whose content stands in the Dockerfile, and its path.
fn inline(file: &InlineFile, platform: &Platform, os: &str) -> Result<(State, String), Failure> {
    let path = paths::without_drive(&file.name, os, false)
        .map_err(|error| format!("removing drive letter: {error}"))?;
    let options = Mkfile::default().with_mode(0o644);
    let state = State::scratch().file(
        FileActions::from(vec![Action::mkfile(path.as_str(), file.content.as_str(), options)])
            .with_constraints(
                Constraints::named(INLINE_DOCUMENT).with_platform(Some(platform.clone())),
            ),
    );
    Ok((state, paths::to_slash(&path, os)))
}

/// The destination seen from the working directory, with a slash at the end if it had one.
fn destination(directory: &str, path: &str, os: &str) -> Result<String, Failure> {
    let path = paths::without_drive(path, os, true)
        .map_err(|error| format!("removing drive letter: {error}"))?;
    let from = if paths::is_absolute(&path, os) { "/" } else { directory };
    let path = if matches!(path.as_str(), "." | "") { "./" } else { &path };
    Ok(paths::normalize(from, path, os, true)?)
}

fn normal(path: &str, os: &str) -> Result<String, Failure> {
    paths::normalize("/", path, os, false)
        .map_err(|error| Failure::new(format!("removing drive letter: {error}")))
}

fn mode(chmod: &str) -> Result<Option<CopyMode>, Failure> {
    if chmod.is_empty() {
        return Ok(None);
    }
    Ok(Some(match FileMode::parse(chmod)? {
        FileMode::Octal(bits) => CopyMode::Octal(bits.into()),
        FileMode::Symbolic(text) => CopyMode::Symbolic(text),
    }))
}

/// The beginning of the instruction as histories have it.
fn history(plan: &Plan<'_>) -> String {
    let mut text = plan.keyword.to_owned();
    if plan.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [(" --chown=", &plan.chown), (" --chmod=", &plan.chmod)] {
        if !value.is_empty() {
            text.push_str(flag);
            text.push_str(value);
        }
    }
    text
}

/// Whether a path is a pattern.
fn has_wildcard(path: &str) -> bool {
    let mut characters = path.chars();
    while let Some(c) = characters.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    false
}
