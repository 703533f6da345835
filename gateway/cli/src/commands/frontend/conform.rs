//! `frontend conform`: how a frontend behaves where many go wrong.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kiln_frontend::Frontend;
use kiln_testing::{ConformOptions, Report, Samples};

use super::image_root::ImageRoot;
use super::{Context, located};
use crate::args::{ConformArgs, Format};
use crate::commands::signals::or_interrupted;
use crate::frontend_location::{FrontendLocation, looks_like_image};
use crate::output::{complain, print};
use crate::samples;

/// Asks everything, prints what came of it; a check that failed is an error.
pub(super) async fn run(context: &Context, args: ConformArgs) -> anyhow::Result<()> {
    let samples = samples(context, &args)?;
    let work = async {
        if !looks_like_image(&args.frontend) {
            let frontend = located(context, &args.frontend).await?;
            return anyhow::Ok(examine(&*frontend, &samples).await);
        }
        let image = ImageRoot::fetch(context, &args.frontend).await?;
        complain(
            "note: the image\'s program is run in the image\'s files, without /proc, /dev, a user and a \
             network of its own; builds give it all of that but the network\n",
        );
        Ok(examine(&image.frontend()?, &samples).await)
    };
    let report = or_interrupted(work).await??;
    print(&match args.format {
        Format::Table => format!("{report}\n"),
        Format::Json => format!("{:#}\n", serde_json::to_value(&report)?),
    })?;
    verdict(&report)
}

/// Asks a frontend everything.
pub(super) async fn examine(frontend: &dyn Frontend, samples: &Samples) -> Report {
    kiln_testing::conform(frontend, samples, &ConformOptions::default()).await
}

/// That all checks passed, or how many did not.
pub(super) fn verdict(report: &Report) -> anyhow::Result<()> {
    match report.failed().count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} checks failed", report.checks.len()),
    }
}

/// The samples that were named, or those of the project, or those this program brings along.
fn samples(context: &Context, args: &ConformArgs) -> anyhow::Result<Samples> {
    let named = match (&args.directory, &args.file) {
        (Some(directory), Some(file)) => Some(directory.join(file)),
        (None, file) => file.clone(),
        (directory, None) => directory.clone(),
    };
    if let Some(path) = named {
        return Ok(Samples::load(path)?);
    }
    if let Some(samples) = samples::of(&args.frontend) {
        return Ok(samples);
    }
    match FrontendLocation::find(&args.frontend, Default::default(), &context.environment) {
        Ok(FrontendLocation::Project(directory)) => of_project(&directory),
        _ => bail!(
            "nothing to build with {}: name a file or a directory of samples after it",
            args.frontend
        ),
    }
}

/// The samples of a project.
pub(super) fn of_project(directory: &Path) -> anyhow::Result<Samples> {
    let path: PathBuf = directory.join("samples");
    Samples::load(&path)
        .with_context(|| format!("failed to read the samples of the project in {}", path.display()))
}
