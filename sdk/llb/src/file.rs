//! File actions: directories, files, links, removals and copies, without running anything.
//!
//! A list of [`Action`]s on a state becomes one op. Each action works on the result of the one
//! before; only the last result is an output.

use std::collections::HashMap;

use kiln_pb::pb;
use kiln_pb::pb::file_action::Action as Verb;

use crate::exec::add_input;
use crate::marshal::{Lowered, MarshalError, Marshaller};
use crate::owner::Owner;
use crate::path;
use crate::values::Inherited;
use crate::vertex::{Kind, Output, Port, Vertex};
use crate::{Constraints, FileMode, State, caps};

/// A time that an action gives to what it makes, in nanoseconds since the Unix epoch.
pub type Nanos = i64;

/// One file action. Relative paths start at the working directory of the state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Action {
    /// Makes a directory.
    Mkdir(String, Mkdir),
    /// Writes a file.
    Mkfile(String, Vec<u8>, Mkfile),
    /// Removes a file or directory.
    Rm(String, Rm),
    /// Makes a symbolic link: what it says, where it is. The paths stay as they are written.
    Symlink(String, String, Symlink),
    /// Copies a file or directory: from where, which path, to which path.
    Copy(CopyFrom, String, String, Box<CopyOptions>),
}

impl Action {
    /// Makes a directory.
    pub fn mkdir(path: impl Into<String>, options: Mkdir) -> Self {
        Self::Mkdir(path.into(), options)
    }

    /// Writes a file.
    pub fn mkfile(path: impl Into<String>, data: impl Into<Vec<u8>>, options: Mkfile) -> Self {
        Self::Mkfile(path.into(), data.into(), options)
    }

    /// Removes a file or directory.
    pub fn rm(path: impl Into<String>, options: Rm) -> Self {
        Self::Rm(path.into(), options)
    }

    /// Makes a symbolic link at `new_path` that says `old_path`.
    pub fn symlink(
        old_path: impl Into<String>,
        new_path: impl Into<String>,
        options: Symlink,
    ) -> Self {
        Self::Symlink(old_path.into(), new_path.into(), options)
    }

    /// Copies `src` of another state, or of other actions, to `dest`.
    pub fn copy(
        from: impl Into<CopyFrom>,
        src: impl Into<String>,
        dest: impl Into<String>,
        options: CopyOptions,
    ) -> Self {
        Self::Copy(from.into(), src.into(), dest.into(), Box::new(options))
    }
}

/// Options of a new directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mkdir {
    /// Permissions; only the lower nine bits count.
    pub mode: FileMode,
    /// Make missing parents, and do not mind if it exists.
    pub parents: bool,
    /// Owner; root if absent.
    pub owner: Option<Owner>,
    /// Time of change; the time of the build if absent.
    pub created: Option<Nanos>,
}

crate::setters!(Mkdir {
    with_mode(mode: impl Into<FileMode>),
    with_parents(parents: bool),
    with_owner(owner: impl Into<Option<Owner>>),
    with_created(created: Option<Nanos>),
});

impl Default for Mkdir {
    fn default() -> Self {
        Self { mode: FileMode::new(0o755), parents: false, owner: None, created: None }
    }
}

/// Options of a new file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mkfile {
    /// Permissions; only the lower nine bits count.
    pub mode: FileMode,
    /// Owner; root if absent.
    pub owner: Option<Owner>,
    /// Time of change; the time of the build if absent.
    pub created: Option<Nanos>,
}

crate::setters!(Mkfile {
    with_mode(mode: impl Into<FileMode>),
    with_owner(owner: impl Into<Option<Owner>>),
    with_created(created: Option<Nanos>),
});

impl Default for Mkfile {
    fn default() -> Self {
        Self { mode: FileMode::new(0o644), owner: None, created: None }
    }
}

/// Options of a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rm {
    /// Nothing to remove is no failure.
    pub allow_not_found: bool,
    /// The path is a pattern.
    pub allow_wildcard: bool,
}

crate::setters!(Rm {
    with_allow_not_found(allow_not_found: bool),
    with_allow_wildcard(allow_wildcard: bool),
});

/// Options of a symbolic link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Symlink {
    /// Owner; root if absent.
    pub owner: Option<Owner>,
    /// Time of change; the time of the build if absent.
    pub created: Option<Nanos>,
}

crate::setters!(Symlink {
    with_owner(owner: impl Into<Option<Owner>>),
    with_created(created: Option<Nanos>),
});

/// A worker filter that makes copies which unpack archives unpack zip files too. It is Kiln's: other
/// daemons do not look at it, and copy zip files as they are.
pub const UNPACK_ZIP: &str = "kiln.unpack==zip";

/// Options of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Permissions; those of the source if absent.
    pub mode: Option<CopyMode>,
    /// Owner; that of the source if absent.
    pub owner: Option<Owner>,
    /// Time of change; that of the source if absent.
    pub created: Option<Nanos>,
    /// If the source is a link, copy what it points at.
    pub follow_symlinks: bool,
    /// If the source is a directory, copy what is in it.
    pub dir_contents_only: bool,
    /// Copy only what matches one of these.
    pub include_patterns: Vec<String>,
    /// Leave out what matches one of these.
    pub exclude_patterns: Vec<String>,
    /// Paths that must be there.
    pub required_paths: Vec<String>,
    /// If the source is an archive, unpack it, as Docker's `ADD` does: a tar, however compressed. Zip
    /// files are copied, unless the action's constraints require [`UNPACK_ZIP`].
    pub attempt_unpack: bool,
    /// Make missing parents of the destination.
    pub create_dest_path: bool,
    /// The source is a pattern.
    pub allow_wildcard: bool,
    /// A pattern that matches nothing is no failure.
    pub allow_empty_wildcard: bool,
    /// Replace what is at the destination even if it is of another kind.
    pub always_replace_existing: bool,
}

crate::setters!(CopyOptions {
    with_owner(owner: impl Into<Option<Owner>>),
    with_created(created: Option<Nanos>),
    with_follow_symlinks(follow_symlinks: bool),
    with_dir_contents_only(dir_contents_only: bool),
    with_include_patterns(include_patterns: Vec<String>),
    with_exclude_patterns(exclude_patterns: Vec<String>),
    with_required_paths(required_paths: Vec<String>),
    with_attempt_unpack(attempt_unpack: bool),
    with_create_dest_path(create_dest_path: bool),
    with_allow_wildcard(allow_wildcard: bool),
    with_allow_empty_wildcard(allow_empty_wildcard: bool),
    with_always_replace_existing(always_replace_existing: bool),
});

impl CopyOptions {
    /// The same with this [`mode`](#structfield.mode): `0o644`, or `"u=rwX,go=rX"`.
    #[must_use]
    pub fn with_mode(mut self, mode: impl Into<CopyMode>) -> Self {
        self.mode = Some(mode.into());
        self
    }
}

/// Permissions of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyMode {
    /// Bits, the set-id and sticky bits included.
    Octal(FileMode),
    /// As for chmod, such as `u=rwX,go=rX`.
    Symbolic(String),
}

impl From<FileMode> for CopyMode {
    fn from(mode: FileMode) -> Self {
        Self::Octal(mode)
    }
}

impl From<u32> for CopyMode {
    fn from(bits: u32) -> Self {
        Self::Octal(bits.into())
    }
}

impl From<&str> for CopyMode {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Symbolic(text.into()), Self::Octal)
    }
}

/// Where a copy comes from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CopyFrom {
    /// Another state.
    State(State),
    /// Actions of the same op, on a state of their own.
    Actions(State, Vec<Action>),
}

impl From<State> for CopyFrom {
    fn from(state: State) -> Self {
        Self::State(state)
    }
}

impl From<&State> for CopyFrom {
    fn from(state: &State) -> Self {
        Self::State(state.clone())
    }
}

/// The actions of one op.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FileActions {
    /// In order.
    pub actions: Vec<Action>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(FileActions {
    with_actions(actions: Vec<Action>),
    with_constraints(constraints: Constraints),
});

impl<A: IntoIterator<Item = Action>> From<A> for FileActions {
    fn from(actions: A) -> Self {
        Self { actions: actions.into_iter().collect(), constraints: Constraints::default() }
    }
}

impl From<Action> for FileActions {
    fn from(action: Action) -> Self {
        Self::from([action])
    }
}

impl State {
    /// Changes files.
    ///
    /// ```
    /// use kiln_llb::{Action, CopyOptions, Mkdir, State};
    ///
    /// let tool = State::image("golang:1.25");
    /// let image = State::scratch().file([
    ///     Action::mkdir("/bin", Mkdir::default()),
    ///     Action::copy(&tool, "/out/app", "/bin/app", CopyOptions::default()),
    /// ]);
    /// # assert!(!image.is_scratch());
    /// ```
    pub fn file(&self, actions: impl Into<FileActions>) -> Self {
        let FileActions { actions, constraints } = actions.into();
        let mut plan = Plan::default();
        plan.emit(self, &actions);
        plan.chain(self, actions);
        let kind = Kind::File(FileVertex { steps: plan.steps, numbering: plan.numbering });
        let vertex = Vertex::new(kind, plan.inputs, constraints);
        self.with_output(Some(vertex.plain_output(Port::Index(0))))
    }
}

/// File actions, ready to be lowered.
pub(crate) struct FileVertex {
    steps: Vec<Step>,
    /// Inputs of the vertex in the order in which the op numbers them.
    numbering: Vec<usize>,
}

/// One action with its links to inputs and other steps.
struct Step {
    base: Option<usize>,
    before: Option<usize>,
    values: Inherited,
    does: Does,
}

enum Does {
    Mkdir(String, Mkdir),
    Mkfile(String, Vec<u8>, Mkfile),
    Rm(String, Rm),
    Symlink(String, String, Symlink),
    Copy { from: Origin, values: Inherited, src: String, dest: String, options: Box<CopyOptions> },
}

enum Origin {
    Input(Option<usize>),
    Step(Option<usize>),
}

/// Flattens nested actions into steps.
#[derive(Default)]
struct Plan {
    inputs: Vec<Output>,
    known: HashMap<(usize, Port), usize>,
    numbering: Vec<usize>,
    steps: Vec<Step>,
}

impl Plan {
    /// Lists inputs in the order in which their vertices are emitted: from the last action to the
    /// first, each time the base before the source. The peer walks its chain backwards, and the
    /// order of ops in a definition follows.
    fn emit(&mut self, base: &State, actions: &[Action]) {
        for action in actions.iter().rev() {
            self.index(base);
            match action {
                Action::Copy(CopyFrom::State(source), ..) => drop(self.index(source)),
                Action::Copy(CopyFrom::Actions(base, actions), ..) => self.emit(base, actions),
                _ => {}
            }
        }
    }

    fn index(&mut self, state: &State) -> Option<usize> {
        let output = state.output.as_ref()?;
        let key = match output {
            Output::Of { vertex, port, .. } => {
                (std::sync::Arc::as_ptr(vertex).addr(), port.clone())
            }
            Output::Deferred(deferred) => {
                (std::sync::Arc::as_ptr(deferred).addr(), Port::Missing(usize::MAX))
            }
        };
        let next = self.inputs.len();
        let inputs = &mut self.inputs;
        Some(*self.known.entry(key).or_insert_with(|| {
            inputs.push(output.clone());
            next
        }))
    }

    fn number(&mut self, state: &State) -> Option<usize> {
        let index = self.index(state)?;
        self.numbering.push(index);
        Some(index)
    }

    /// Adds the steps of a chain and returns the last one.
    fn chain(&mut self, base: &State, actions: Vec<Action>) -> Option<usize> {
        let mut before = None;
        for action in actions {
            let input = self.number(base);
            let does = self.does(action);
            self.steps.push(Step { base: input, before, values: base.values.clone(), does });
            before = Some(self.steps.len() - 1);
        }
        before
    }

    fn does(&mut self, action: Action) -> Does {
        match action {
            Action::Mkdir(path, options) => Does::Mkdir(path, options),
            Action::Mkfile(path, data, options) => Does::Mkfile(path, data, options),
            Action::Rm(path, options) => Does::Rm(path, options),
            Action::Symlink(old, new, options) => Does::Symlink(old, new, options),
            Action::Copy(from, src, dest, options) => {
                let (from, values) = match from {
                    CopyFrom::State(state) => {
                        (Origin::Input(self.number(&state)), state.values.clone())
                    }
                    CopyFrom::Actions(base, actions) => {
                        (Origin::Step(self.chain(&base, actions)), base.values.clone())
                    }
                };
                Does::Copy { from, values, src, dest, options }
            }
        }
    }
}

impl FileVertex {
    pub(crate) fn lower(
        &self,
        vertex: &Vertex,
        marshaller: &mut Marshaller<'_>,
    ) -> Result<Lowered, MarshalError> {
        if self.steps.is_empty() {
            return Err(MarshalError::NoActions);
        }
        let mut inputs = Vec::new();
        let mut numbers: Vec<i64> = vec![-1; vertex.inputs.len()];
        for &index in &self.numbering {
            if numbers[index] < 0
                && let Some(input) = marshaller.input(&vertex.inputs[index])?
            {
                numbers[index] = add_input(&mut inputs, input);
            }
        }
        let scope = Scope { inputs: inputs.len(), numbers };
        let last = self.steps.len() - 1;
        let mut actions = Vec::with_capacity(self.steps.len());
        for (n, step) in self.steps.iter().enumerate() {
            let output = if n == last { 0 } else { -1 };
            actions.push(step.lower(&scope, output, marshaller)?);
        }
        Ok(Lowered {
            op: pb::op::Op::File(pb::FileOp { actions }),
            inputs,
            caps: vec![caps::FILE_BASE],
            platform: vertex.constraints.platform.clone(),
            with_platform: false,
        })
    }
}

/// How links become numbers: inputs first, then the results of steps.
struct Scope {
    inputs: usize,
    numbers: Vec<i64>,
}

impl Scope {
    fn input(&self, index: Option<usize>) -> i64 {
        index.map_or(-1, |index| self.numbers[index])
    }

    fn step(&self, step: usize) -> i64 {
        i64::try_from(self.inputs + step).unwrap_or(i64::MAX)
    }
}

impl Step {
    fn lower(
        &self,
        scope: &Scope,
        output: i64,
        marshaller: &mut Marshaller<'_>,
    ) -> Result<pb::FileAction, MarshalError> {
        let base = scope.input(self.base);
        let values = marshaller.values(&self.values)?;
        let absolute = |path: &str| path::absolute(&values.dir, path);
        let mut secondary_input = -1;
        let action = match &self.does {
            Does::Mkdir(path, options) => Verb::Mkdir(pb::FileActionMkDir {
                path: absolute(path),
                mode: bits(options.mode) & 0o777,
                make_parents: options.parents,
                owner: options.owner.as_ref().map(|owner| owner.lower(base)),
                timestamp: options.created.unwrap_or(-1),
            }),
            Does::Mkfile(path, data, options) => Verb::Mkfile(pb::FileActionMkFile {
                path: absolute(path),
                mode: bits(options.mode) & 0o777,
                data: data.clone().into(),
                owner: options.owner.as_ref().map(|owner| owner.lower(base)),
                timestamp: options.created.unwrap_or(-1),
            }),
            Does::Rm(path, options) => Verb::Rm(pb::FileActionRm {
                path: absolute(path),
                allow_not_found: options.allow_not_found,
                allow_wildcard: options.allow_wildcard,
            }),
            Does::Symlink(old, new, options) => Verb::Symlink(pb::FileActionSymlink {
                oldpath: old.clone(),
                newpath: new.clone(),
                owner: options.owner.as_ref().map(|owner| owner.lower(base)),
                timestamp: options.created.unwrap_or(-1),
            }),
            Does::Copy { from, values: there, src, dest, options } => {
                secondary_input = match from {
                    Origin::Input(input) => scope.input(*input),
                    Origin::Step(Some(step)) => scope.step(*step),
                    Origin::Step(None) => return Err(MarshalError::NoActions),
                };
                let src = path::join(&marshaller.values(there)?.dir, src);
                let dest = path::absolute_keeping_slash(&values.dir, dest);
                Verb::Copy(options.lower(src, dest, base))
            }
        };
        let input = self.before.map_or(base, |before| scope.step(before));
        Ok(pb::FileAction { input, secondary_input, output, action: Some(action) })
    }
}

impl CopyOptions {
    fn lower(&self, src: String, dest: String, base: i64) -> pb::FileActionCopy {
        let (mode, mode_str) = match &self.mode {
            None => (-1, String::new()),
            Some(CopyMode::Octal(mode)) => (bits(*mode), String::new()),
            Some(CopyMode::Symbolic(mode)) => (0, mode.clone()),
        };
        pb::FileActionCopy {
            src,
            dest,
            owner: self.owner.as_ref().map(|owner| owner.lower(base)),
            mode,
            follow_symlink: self.follow_symlinks,
            dir_copy_contents: self.dir_contents_only,
            attempt_unpack_docker_compatibility: self.attempt_unpack,
            create_dest_path: self.create_dest_path,
            allow_wildcard: self.allow_wildcard,
            allow_empty_wildcard: self.allow_empty_wildcard,
            timestamp: self.created.unwrap_or(-1),
            include_patterns: self.include_patterns.clone(),
            exclude_patterns: self.exclude_patterns.clone(),
            always_replace_existing_dest_paths: self.always_replace_existing,
            mode_str,
            required_paths: self.required_paths.clone(),
        }
    }
}

fn bits(mode: FileMode) -> i32 {
    mode.bits().cast_signed()
}
