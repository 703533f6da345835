//! `why`: asks the daemon why the steps of a build ran, and shows what it answers.

use std::time::SystemTime;

use anyhow::{anyhow, bail};
use kiln_client::Client;
use kiln_why::Explanation;
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::explain::WhyRequest;
use kiln_wire::proto::explain::explain_client::ExplainClient;
use kiln_wire::status::RichStatus;
use tonic::Code;

use super::Context;
use crate::args::{Format, WhyArgs};
use crate::environment::Environment;
use crate::output::print;
use crate::progress::Palette;
use crate::step_pattern::StepPattern;
use crate::why;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhyError {
    /// The daemon does not know such a build.
    #[error("{0}; `kiln history ls` shows all")]
    NoBuild(String),
    /// The daemon is another one.
    #[error(
        "this daemon cannot say why a step ran: it is not Kiln's, or older, and records no cache keys"
    )]
    Unsupported,
    /// The daemon cannot say.
    #[error("failed to ask why steps ran")]
    Status(#[source] RichStatus),
    /// The answer is none.
    #[error("the daemon's explanation cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// Asks and prints.
pub(crate) async fn run(context: &Context, args: WhyArgs) -> anyhow::Result<()> {
    let client = context.connect_to_ask().await?;
    let (build, step) = (args.build.as_deref().unwrap_or_default(), args.step.as_deref());
    let (mut explanation, step) = match (explain(&client, build).await, step) {
        (Ok(explanation), step) => (explanation, step),
        (Err(WhyError::NoBuild(reason)), step) if !build.is_empty() => {
            let full = super::history::full_id(&client, build).await?;
            match (full, step) {
                (Some(full), step) => (explain(&client, &full).await?, step),
                // What is no build is a step of the last one.
                (None, None) => {
                    let Ok(explanation) = explain(&client, "").await else { bail!(reason) };
                    (explanation, Some(build))
                }
                (None, Some(_)) => bail!(reason),
            }
        }
        (Err(error), _) => return Err(error.into()),
    };
    if let Some(step) = step {
        let pattern = StepPattern::new(step);
        explanation.steps.retain(|explained| {
            let digest = explained.digest.as_str();
            pattern.finds(&explained.name)
                || digest.starts_with(step)
                || (step.len() >= 7 && explained.digest.hex().starts_with(step))
        });
        if explanation.steps.is_empty() {
            return Err(anyhow!(
                "no step that is called {step:?} ran in build {}: it came from the cache, or there is \
                 none; `kiln history logs {0}` shows all steps",
                explanation.build
            ));
        }
    }
    Ok(print(&match args.format {
        Format::Json => serde_json::to_string_pretty(&explanation)? + "\n",
        Format::Table => {
            let terminal = context.environment.stdout_terminal;
            why::as_text(&explanation, SystemTime::now(), &palette(&context.environment, terminal))
        }
    })?)
}

/// The colours for a stream that is a terminal or not.
pub(crate) fn palette(environment: &Environment, is_terminal: bool) -> Palette {
    if !is_terminal {
        return Palette::MONOCHROME;
    }
    let colours = environment.get("BUILDKIT_COLORS");
    Palette::from_environment(colours, environment.get("NO_COLOR")).0
}

/// Why the steps of a build ran; an empty id is the last build that has ended.
///
/// # Errors
///
/// [`WhyError`].
pub(crate) async fn explain(client: &Client, build: &str) -> Result<Explanation, WhyError> {
    let mut service =
        ExplainClient::new(client.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let answer = service.why(WhyRequest { build: build.to_owned() }).await;
    let answer = answer.map_err(|status| match status.code() {
        Code::Unimplemented => WhyError::Unsupported,
        Code::NotFound => WhyError::NoBuild(status.message().to_owned()),
        _ => WhyError::Status(RichStatus::from_status(&status)),
    })?;
    serde_json::from_slice(&answer.into_inner().explanation).map_err(WhyError::Answer)
}

/// What is said about steps that were expected in the cache.
///
/// # Errors
///
/// [`WhyError`].
pub(crate) async fn causes(
    context: &Context,
    client: &Client,
    build: &str,
    steps: &[kiln_oci::Digest],
) -> Result<String, WhyError> {
    let mut explanation = explain(client, build).await?;
    explanation.steps.retain(|step| steps.contains(&step.digest));
    let palette = palette(&context.environment, context.environment.stderr_terminal);
    Ok(why::steps_as_text(&explanation, SystemTime::now(), &palette))
}
