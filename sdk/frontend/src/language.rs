//! A build language in a few lines: say what a file means and what it becomes, and get the rest.
//!
//! Whoever implements [`BuildLanguage`] has a [`Frontend`](crate::Frontend): all options, contexts of
//! every kind, one build per platform, warnings and errors with their lines, checks, lists of
//! targets and conversions to LLB are answered for it. A language that wants another course of
//! things implements [`Frontend`](crate::Frontend) itself, out of the same parts.

use async_trait::async_trait;
use kiln_document::{Diagnostic, Source, Span, did_you_mean};
use kiln_llb::{Constraints, Exec, State, caps};
use kiln_oci::{ImageConfig, Platform, quoted};

use crate::base::{Base, base};
use crate::error::range;
use crate::requests::{
    self, Answers, BuildError, ConvertedLlb, LintResults, LintWarning, Outline, Target, TargetList,
};
use crate::{
    Bridge, BuildResult, Contexts, DefinitionFile, Frontend, FrontendError, Location, Parsed,
    PlatformResult, Ref, Settings, Solve, TargetPlatform, build_platforms, forward,
};

/// What callers may require of every language (`frontend.caps`).
pub const LANGUAGE_CAPS: &[&str] = &[
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
    "moby.buildkit.frontend.gitquerystring",
];

/// A build language.
///
/// ```
/// use async_trait::async_trait;
/// use kiln_document::{Diagnostic, Source};
/// use kiln_frontend::{
///     BuildLanguage, FrontendError, Parsed, PlatformResult, Project, TargetPlatform,
/// };
/// use kiln_llb::{Exec, State};
///
/// /// Every line is a command, run on the base image that the first line names.
/// struct Lines;
///
/// #[async_trait]
/// impl BuildLanguage for Lines {
///     type Plan = Vec<String>;
///     const NAME: &'static str = "lines";
///     const FILES: &'static [&'static str] = &["build.lines"];
///
///     fn read(&self, source: &Source) -> Result<Parsed<Self::Plan>, Vec<Diagnostic>> {
///         match source.text().lines().map(str::to_owned).collect::<Vec<_>>() {
///             lines if lines.is_empty() => Err(vec![Diagnostic::error("the file is empty")]),
///             lines => Ok(Parsed::new(lines)),
///         }
///     }
///
///     async fn build(
///         &self,
///         project: &Project<'_, Self::Plan>,
///         target: &TargetPlatform,
///     ) -> Result<PlatformResult, FrontendError> {
///         let base = project.base(&project.plan[0], None, &target.platform).await?;
///         let mut state = base.state(project.name(target, "base"));
///         for line in &project.plan[1..] {
///             let constraints = project.name(target, line);
///             state = state.run(project.exec(Exec::sh(line).with_constraints(constraints))).root();
///         }
///         let config = base.config(&target.platform);
///         Ok(PlatformResult::new(state, &config).based_on(base.image_config()))
///     }
/// }
/// ```
#[async_trait]
pub trait BuildLanguage: Send + Sync {
    /// A file, understood.
    type Plan: Send + Sync;

    /// The language's name, such as `mockerfile`.
    const NAME: &'static str;

    /// Names of the file, the preferred one first.
    const FILES: &'static [&'static str];

    /// Understands a file, and says what is doubtful in it.
    ///
    /// # Errors
    ///
    /// All mistakes of the file.
    fn read(&self, source: &Source) -> Result<Parsed<Self::Plan>, Vec<Diagnostic>>;

    /// What there is to build, for those who ask; by default one thing without a name, hence a target that the
    /// user names does not exist.
    ///
    /// # Errors
    ///
    /// Whatever the user should read.
    fn targets(&self, _: &Project<'_, Self::Plan>) -> Result<Vec<Target>, FrontendError> {
        Ok(vec![Target { default: true, ..Target::default() }])
    }

    /// What the target takes, for those who ask; by default nothing but its name.
    ///
    /// # Errors
    ///
    /// Whatever the user should read, such as that there is no such target.
    fn outline(&self, project: &Project<'_, Self::Plan>) -> Result<Outline, FrontendError> {
        let wanted = project.settings.target.as_str();
        let targets = self.targets(project)?;
        let found = targets.into_iter().find(|target| match wanted {
            "" => target.default,
            wanted => target.name == wanted,
        });
        let found = found.unwrap_or_default();
        Ok(Outline { name: found.name, description: found.description, ..Outline::default() })
    }

    /// Makes the file system and the image of one platform. Several platforms are made at the same
    /// time.
    ///
    /// # Errors
    ///
    /// Whatever the user should read.
    async fn build(
        &self,
        project: &Project<'_, Self::Plan>,
        target: &TargetPlatform,
    ) -> Result<PlatformResult, FrontendError>;
}

/// All that one build is about: the user's file, what it means, and what the user chose.
pub struct Project<'a, Plan> {
    /// The daemon.
    pub bridge: &'a dyn Bridge,
    /// What the user chose.
    pub settings: &'a Settings,
    /// What it is made from.
    pub contexts: &'a Contexts<'a>,
    /// The user's file.
    pub file: &'a DefinitionFile,
    /// Its text.
    pub source: &'a Source,
    /// What it means.
    pub plan: &'a Plan,
}

impl<Plan> std::fmt::Debug for Project<'_, Plan> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Project").field("file", &self.file.name).finish_non_exhaustive()
    }
}

impl<Plan> Project<'_, Plan> {
    /// A base: nothing (`scratch`), the context that the user gives for the name, or the image of a
    /// registry. An error points at `span`.
    ///
    /// # Errors
    ///
    /// If there is no such image or context.
    pub async fn base(
        &self,
        name: &str,
        span: Option<Span>,
        platform: &Platform,
    ) -> Result<Base, FrontendError> {
        let found = base(self.bridge, self.settings, self.contexts, name, platform).await;
        found.map_err(|error| match span {
            Some(span) if !error.has_source() => {
                self.mistake(format!("base image {name} cannot be used: {error}"), span)
            }
            _ => error,
        })
    }

    /// The name of a step, with the platform where there are several.
    pub fn name(&self, target: &TargetPlatform, title: &str) -> Constraints {
        let name = match target.multi {
            true => format!("[{}] {title}", target.platform),
            false => title.to_owned(),
        };
        Constraints::named(name)
            .with_platform(Some(target.platform.clone()))
            .with_ignore_cache(self.settings.no_cache.covers(&self.settings.target))
    }

    /// As [`Project::name`], with the place in the user's file that the step comes from.
    pub fn step(&self, target: &TargetPlatform, title: &str, span: Span) -> Constraints {
        let locations = vec![self.file.location(self.source, span)];
        self.name(target, title).with_locations(locations)
    }

    /// A command with what the user chose for all commands: network, hosts, limits and the like.
    pub fn exec(&self, exec: Exec) -> Exec {
        self.settings.applied_to(exec, self.bridge.info())
    }

    /// The files of the main context; all of them if no paths are given.
    ///
    /// # Errors
    ///
    /// If it cannot be found.
    pub async fn context(&self, paths: Vec<String>) -> Result<State, FrontendError> {
        Ok(self.contexts.main_context().await?.state(paths))
    }

    /// Goes on only if the daemon has an LLB feature, one of [`kiln_llb::caps`], which the file needs
    /// for `what`, such as "secrets in the environment".
    ///
    /// # Errors
    ///
    /// If the daemon says what it can do, and that is not among it.
    pub fn needs(&self, cap: &str, what: &str) -> Result<(), FrontendError> {
        let offered = &self.bridge.info().llb_caps;
        match offered.is_empty() || offered.contains(cap) {
            true => Ok(()),
            false => Err(FrontendError::unsupported_feature(what, cap)),
        }
    }

    /// The state, but only once `others` have been made, such as checks whose files nobody wants.
    /// `marker` names what waits for them. A daemon that has no such op makes them before this
    /// returns.
    ///
    /// # Errors
    ///
    /// If they cannot be made; with a daemon that has the op, the build fails later.
    pub async fn after(
        &self,
        state: &State,
        marker: &str,
        others: &[State],
    ) -> Result<State, FrontendError> {
        let info = self.bridge.info();
        if info.llb_caps.contains(caps::PASSTHROUGH_OP) {
            return Ok(state.requires(marker, others));
        }
        let platform = info.default_platform();
        for other in others {
            let made = PlatformResult::new(other.clone(), &ImageConfig::new(&platform));
            let definition = Some(made.definition(info, &platform)?);
            let request = Solve { definition, evaluate: true, ..Solve::default() };
            self.bridge.solve(request).await?;
        }
        Ok(state.clone())
    }

    /// Another file that the user's names, by its path from there; see
    /// [`Contexts::included_file`]. An error points at `span`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub async fn included(&self, name: &str, span: Span) -> Result<DefinitionFile, FrontendError> {
        let file = self.contexts.included_file(self.file, name).await;
        file.map_err(|error| match error.has_source() {
            true => error,
            false => self.mistake(error.to_string(), span),
        })
    }

    /// Which of these targets the user chose; the first if none.
    ///
    /// # Errors
    ///
    /// If it is none of them.
    pub fn target<'n>(&self, names: &[&'n str]) -> Result<&'n str, FrontendError> {
        let wanted = self.settings.target.as_str();
        let default = names.first().filter(|_| wanted.is_empty());
        if let Some(name) = default.or_else(|| names.iter().find(|name| **name == wanted)) {
            return Ok(name);
        }
        let guess = did_you_mean(wanted, names.iter().copied());
        let guess = guess.map(|guess| format!("; did you mean `{guess}`?")).unwrap_or_default();
        let none = if names.is_empty() { ": the file has no targets" } else { "" };
        let text = format!("target {} does not exist{none}{guess}", quoted(wanted));
        Err(FrontendError::invalid(text))
    }

    /// A place in the file, for answers to sub-requests.
    pub fn place(&self, span: Span) -> Location {
        Location::new([range(self.source, span)])
    }

    /// An error that points at a place in the file.
    pub fn mistake(&self, message: impl Into<String>, span: Span) -> FrontendError {
        FrontendError::diagnostics(self.source, &[Diagnostic::error(message).at(span)])
    }
}

#[async_trait]
impl<L: BuildLanguage> Frontend for L {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        let settings = Settings::read(bridge.info())?;
        // A user may name another frontend for the file, unless this one is it.
        let other = settings.syntax.clone().filter(|_| settings.cmdline.is_none());
        settings.check_caps(LANGUAGE_CAPS, other.is_some())?;
        if let Some(other) = other.filter(|other| !other.is_empty()) {
            let image = other.split_whitespace().next().unwrap_or(&other).to_owned();
            return forward(bridge, &settings, &image, &other).await;
        }
        let contexts = Contexts::new(bridge, &settings);
        let mut names = L::FILES.to_vec();
        // A file that named this language in a syntax directive may have any client's favourite name.
        if settings.cmdline.is_some() {
            names.push("Dockerfile");
        }
        let file = contexts.definition_file(&names, L::NAME).await?;
        let source = file.source()?;
        let read = self.read(&source);
        if let (Err(mistakes), Some(requests::LINT)) = (&read, settings.request.as_deref()) {
            return Ok(unreadable(&file, &source, mistakes).to_result());
        }
        let Parsed { plan, warnings } =
            read.map_err(|mistakes| FrontendError::diagnostics(&source, &mistakes))?;
        let project = Project {
            bridge,
            settings: &settings,
            contexts: &contexts,
            file: &file,
            source: &source,
            plan: &plan,
        };
        if let Some(request) = &settings.request {
            let answers = Asked { language: self, project: &project, warnings: &warnings };
            return requests::answer(request, &answers).await;
        }
        let has_names = || {
            let targets = self.targets(&project)?;
            Ok::<_, FrontendError>(targets.iter().any(|target| !target.name.is_empty()))
        };
        if !settings.target.is_empty() && !has_names()? {
            project.target(&[])?;
        }
        for warning in &warnings {
            // That it cannot be shown is no reason to fail a build.
            drop(bridge.warn(file.warning_of(&source, warning)).await);
        }
        let targets = settings.targets();
        let mut builds = Vec::new();
        for target in &targets {
            let built = self.build(&project, target);
            let labelled = async { built.await?.labelled(&settings.labels) };
            builds.push((target.clone(), labelled));
        }
        build_platforms(bridge, &settings, builds).await
    }
}

/// A language that is asked something else than to build.
struct Asked<'a, L: BuildLanguage> {
    language: &'a L,
    project: &'a Project<'a, L::Plan>,
    warnings: &'a [Diagnostic],
}

#[async_trait]
impl<L: BuildLanguage> Answers for Asked<'_, L> {
    async fn outline(&self) -> Result<Option<Outline>, FrontendError> {
        let mut outline = self.language.outline(self.project)?;
        if outline.sources.is_empty() {
            outline.sources.push(self.project.file.data.clone());
        }
        Ok(Some(outline))
    }

    async fn targets(&self) -> Result<Option<TargetList>, FrontendError> {
        let targets = self.language.targets(self.project)?;
        Ok(Some(TargetList { targets, sources: vec![self.project.file.data.clone()] }))
    }

    async fn lint(&self) -> Result<Option<LintResults>, FrontendError> {
        let project = self.project;
        let warnings = self.warnings.iter().map(|warning| LintWarning {
            rule: ruled::<L>(warning).rule.unwrap_or_default(),
            description: String::new(),
            url: String::new(),
            detail: warning.advice(),
            location: warning.span.map(|span| project.place(span)),
        });
        let (warnings, sources) = (warnings.collect(), vec![project.file.info()]);
        let diagnostics = self.warnings.iter().map(ruled::<L>).collect();
        Ok(Some(LintResults { warnings, sources, build_error: None, diagnostics }))
    }

    async fn convert_llb(&self) -> Result<Option<ConvertedLlb>, FrontendError> {
        let targets = self.project.settings.targets();
        let [target] = &targets[..] else {
            let message = format!("one platform can be converted at a time, not {}", targets.len());
            return Err(FrontendError::invalid(message));
        };
        let made = self.language.build(self.project, target).await?;
        let definition = made.definition(self.project.bridge.info(), &target.platform)?;
        ConvertedLlb::new(&definition).map(Some)
    }
}

/// What is said about a file that has mistakes.
fn unreadable(file: &DefinitionFile, source: &Source, mistakes: &[Diagnostic]) -> LintResults {
    // Whoever asks shows the lines; those of further mistakes are named.
    let messages = mistakes.iter().enumerate().map(|(index, mistake)| match mistake.span {
        Some(span) if index > 0 => {
            format!("line {}: {}", source.position(span.start).line, mistake.advice())
        }
        _ => mistake.advice(),
    });
    let message = messages.collect::<Vec<_>>().join("\n");
    let span = mistakes.iter().find_map(|mistake| mistake.span);
    let location = Some(Location::new(span.map(|span| range(source, span))));
    let build_error = Some(BuildError { message, location });
    let diagnostics = mistakes.to_vec();
    LintResults { warnings: Vec::new(), sources: vec![file.info()], build_error, diagnostics }
}

/// Under the rule that is named after the language, unless it has one of its own.
fn ruled<L: BuildLanguage>(found: &Diagnostic) -> Diagnostic {
    let rule = found.rule.clone().unwrap_or_else(|| L::NAME.to_owned());
    found.clone().rule(rule)
}
