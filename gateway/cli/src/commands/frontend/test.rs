//! `frontend test`: the project's own tests, and the conformance kit on what the project builds.

use kiln_testing::{Executable, Samples};

use super::conform::{examine, of_project, verdict};
use super::{Context, QUICK_PROFILE, project};
use crate::args::TestArgs;
use crate::commands::signals::or_interrupted;
use crate::output::print;
use crate::project::Build;

/// Runs both; the kit only examines what passes its own tests.
pub(super) async fn run(context: &Context, args: TestArgs) -> anyhow::Result<()> {
    let (cargo, project) = project(context, &args.project).await?;
    or_interrupted(cargo.test(&project, &args.arguments)).await??;
    if args.no_conform {
        return Ok(());
    }
    let samples = match &args.file {
        Some(file) => Samples::load(file)?,
        None => of_project(&project.directory)?,
    };
    let build = Build { project: &project, profile: QUICK_PROFILE };
    let executable = or_interrupted(cargo.build(&build)).await??;
    let report = or_interrupted(examine(&Executable::new(executable), &samples)).await?;
    print(&format!("{report}\n"))?;
    verdict(&report)
}
