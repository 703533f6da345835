//! `frontend replay`: a frontend answers a recorded case.

use kiln_daemon::Channel;
use kiln_testing::{Case, CaseError};

use super::{Context, seated_in};
use crate::args::ReplayArgs;
use crate::failure::Unusable;
use crate::output::print;

/// Prints the answer; a different one than is expected is an error with the differences.
pub(super) async fn run(context: &Context, args: ReplayArgs) -> anyhow::Result<()> {
    let (case, expected) = load(&args).map_err(Unusable::new)?;
    let channel = match case.channel.as_str() {
        "" | "mainline" => Channel::Mainline,
        "labs" => Channel::Labs,
        other => {
            let text =
                format!("{}: channel {other:?} is none: mainline or labs", case.dir.display());
            return Err(Unusable::new(std::io::Error::other(text)).into());
        }
    };
    let frontend = seated_in(context, &args.frontend, channel).await.map_err(Unusable::of)?;
    let answer = kiln_testing::replay(&*frontend, &case).await.map_err(Unusable::new)?;
    print(&format!("{answer:#}\n"))?;
    let Some(expected) = expected else { return Ok(()) };
    let mismatches = kiln_testing::compare(&expected, &answer);
    if mismatches.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = mismatches.iter().map(|mismatch| format!("\n  {mismatch}")).collect();
    anyhow::bail!("the answer to {} is not the expected one:{}", case.name, lines.concat())
}

fn load(args: &ReplayArgs) -> Result<(Case, Option<serde_json::Value>), CaseError> {
    let case = Case::load(&args.directory)?;
    let expected = case.expected()?;
    Ok((case, expected))
}
