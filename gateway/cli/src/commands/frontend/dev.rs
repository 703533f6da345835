//! `frontend dev`: shows what a frontend makes of a file, and then what changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_daemon::Channel;
use kiln_frontend::Frontend;
use kiln_testing::Executable;

use super::snapshot::remark;
use super::{Context, QUICK_PROFILE, cargo};
use crate::args::DevArgs;
use crate::commands::signals::or_interrupted;
use crate::failure;
use crate::frontend_location::FrontendLocation;
use crate::output::{complain, print};
use crate::project::{Build, Cargo, Project};
use crate::question::{Answer, Question};
use crate::watch::{Changed, Watch};

/// Shows the file once, or for as long as nobody ends it.
pub(super) async fn run(context: &Context, args: DevArgs) -> anyhow::Result<()> {
    let workshop = DevFrontend::open(context, &args).await?;
    if !args.watch {
        let frontend = or_interrupted(workshop.build(context)).await??;
        let answer = or_interrupted(workshop.ask(context, &args, &*frontend)).await??;
        remark(&answer);
        return Ok(print(&answer.text()?)?);
    }
    match or_interrupted(watch(context, &args, &workshop)).await {
        Err(error) if error.is_deaf() => Err(error.into()),
        // Being ended is how it ends.
        Err(_) => Ok(()),
        Ok(result) => result,
    }
}

/// Where the frontend comes from.
enum DevFrontend {
    /// It is there.
    Located(FrontendLocation),
    /// It is made here.
    Project { cargo: Cargo, project: Project },
}

impl DevFrontend {
    async fn open(context: &Context, args: &DevArgs) -> anyhow::Result<Self> {
        let location = match &args.frontend {
            Some(name) => FrontendLocation::find(name, Channel::Mainline, &context.environment)?,
            None => FrontendLocation::Project(PathBuf::from(".")),
        };
        let FrontendLocation::Project(directory) = location else {
            return Ok(Self::Located(location));
        };
        let cargo = cargo(context, args.offline, true);
        let project = Project::find(&cargo, &directory, None).await?;
        Ok(Self::Project { cargo, project })
    }

    /// What changes the frontend when it is saved.
    fn sources(&self) -> Vec<PathBuf> {
        match self {
            Self::Located(FrontendLocation::Executable(path)) => vec![path.clone()],
            Self::Located(_) => Vec::new(),
            Self::Project { project, .. } => project.sources.clone(),
        }
    }

    async fn build(&self, _: &Context) -> anyhow::Result<Arc<dyn Frontend>> {
        match self {
            Self::Located(FrontendLocation::Linked(frontend)) => Ok(Arc::clone(frontend)),
            Self::Located(FrontendLocation::Executable(path) | FrontendLocation::Project(path)) => {
                Ok(Arc::new(Executable::new(path)))
            }
            Self::Project { cargo, project } => {
                complain("compiling the frontend; the first time, this takes minutes");
                let build = Build { project, profile: QUICK_PROFILE };
                Ok(Arc::new(Executable::new(cargo.build(&build).await?)))
            }
        }
    }

    async fn ask(
        &self,
        context: &Context,
        args: &DevArgs,
        frontend: &dyn Frontend,
    ) -> anyhow::Result<Answer> {
        let question = Question::decide(&args.file, &args.ask, "", &context.environment)?;
        Ok(question.ask(frontend).await.map_err(|error| error.into_status())?)
    }
}

/// What was shown last.
#[derive(Default)]
struct Shown {
    answer: Option<Answer>,
    note: Option<String>,
}

/// Builds and asks, again whenever something is saved. What is under way then is given up.
async fn watch(context: &Context, args: &DevArgs, workshop: &DevFrontend) -> anyhow::Result<()> {
    let mut watch = Watch::start(&args.file, &workshop.sources())?;
    let mut shown = Shown::default();
    let mut frontend: Option<Arc<dyn Frontend>> = None;
    loop {
        let work = async {
            let ready = match &frontend {
                Some(frontend) => Arc::clone(frontend),
                None => workshop.build(context).await?,
            };
            let answer = workshop.ask(context, args, &*ready).await;
            anyhow::Ok((ready, answer))
        };
        let changed = tokio::select! {
            done = work => {
                match done {
                    Ok((ready, answer)) => {
                        frontend = Some(ready);
                        shown.show(&args.file, answer)?;
                    }
                    Err(error) => complain(&failure::report(&error)),
                }
                watch.next().await?
            }
            changed = watch.next() => changed?,
        };
        if changed == Changed::Frontend {
            frontend = None;
        }
    }
}

impl Shown {
    /// Shows an answer whole the first time, and later what is different.
    fn show(&mut self, file: &Path, answer: anyhow::Result<Answer>) -> anyhow::Result<()> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                complain(&failure::report(&error));
                return Ok(());
            }
        };
        let note = answer.note();
        if note != self.note {
            remark(&answer);
            self.note = note;
        }
        let name = file.display();
        let text = match &self.answer {
            None => format!("{}watching {name}\n", answer.text()?),
            Some(before) => match answer.difference(before)? {
                Some(difference) => difference,
                None => format!("{name}: nothing changed\n"),
            },
        };
        self.answer = Some(answer);
        Ok(print(&text)?)
    }
}
