//! `frontend`: what makers of build languages need.

mod conform;
mod dev;
mod image_root;
mod new;
mod pack;
mod replay;
mod snapshot;
mod test;

pub(super) use snapshot::debug_llb;

use std::path::Path;
use std::sync::Arc;

use kiln_daemon::Channel;
use kiln_frontend::Frontend;
use kiln_testing::Executable;

use super::Context;
use super::signals::or_interrupted;
use crate::args::{FrontendCommand, ProjectArgs};
use crate::frontend_location::FrontendLocation;
use crate::project::{Build, Cargo, Project};

/// The profile of builds whose result is tried at once.
const QUICK_PROFILE: &str = "dev";

/// Does one command of `frontend`.
pub(super) async fn run(context: &Context, command: FrontendCommand) -> anyhow::Result<()> {
    match command {
        FrontendCommand::New(args) => new::run(&args),
        FrontendCommand::Test(args) => test::run(context, args).await,
        FrontendCommand::Pack(args) => pack::run(context, args).await,
        FrontendCommand::Push(args) => pack::push(context, args).await,
        FrontendCommand::Conform(args) => conform::run(context, args).await,
        FrontendCommand::Snapshot(args) => snapshot::run(context, args).await,
        FrontendCommand::Graph(args) => snapshot::graph(context, args).await,
        FrontendCommand::Replay(args) => replay::run(context, args).await,
        FrontendCommand::Dev(args) => dev::run(context, args).await,
    }
}

/// Cargo, as the environment names it.
fn cargo(context: &Context, offline: bool, quiet: bool) -> Cargo {
    let program = context.environment.get_nonempty("CARGO").unwrap_or("cargo");
    Cargo { program: program.into(), offline, quiet }
}

/// Finds the project that the arguments name, and what builds it.
async fn project(context: &Context, args: &ProjectArgs) -> anyhow::Result<(Cargo, Project)> {
    let cargo = cargo(context, args.offline, false);
    let start = args.project.as_deref().unwrap_or(Path::new("."));
    let project = Project::find(&cargo, start, args.bin.as_deref()).await?;
    Ok((cargo, project))
}

/// The frontend of a name or path, ready to be called; a project is built first.
pub(super) async fn located(context: &Context, name: &str) -> anyhow::Result<Arc<dyn Frontend>> {
    seated_in(context, name, Channel::Mainline).await
}

/// As [`located`], with the features of a channel.
async fn seated_in(
    context: &Context,
    name: &str,
    channel: Channel,
) -> anyhow::Result<Arc<dyn Frontend>> {
    match FrontendLocation::find(name, channel, &context.environment)? {
        FrontendLocation::Linked(frontend) => Ok(frontend),
        FrontendLocation::Executable(path) => Ok(Arc::new(Executable::new(path))),
        FrontendLocation::Project(directory) => {
            let cargo = cargo(context, false, true);
            let project = Project::find(&cargo, &directory, None).await?;
            let build = Build { project: &project, profile: QUICK_PROFILE };
            let path = or_interrupted(cargo.build(&build)).await??;
            Ok(Arc::new(Executable::new(path)))
        }
    }
}
