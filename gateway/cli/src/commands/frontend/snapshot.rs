//! `frontend snapshot` and `graph`, and `debug llb`: what a frontend makes of a file.

use std::path::Path;

use anyhow::Context as _;

use super::{Context, located};
use crate::args::{AskArgs, Drawing, GraphArgs, LlbArgs, LlbFormat, SnapshotArgs};
use crate::build_command::frontend_for;
use crate::output::{complain, print, print_bytes};
use crate::question::{Answer, Question};

/// `frontend snapshot`.
pub(super) async fn run(context: &Context, args: SnapshotArgs) -> anyhow::Result<()> {
    let SnapshotArgs { frontend, file, ask, format } = args;
    show(
        context,
        &Shown { frontend: frontend.as_deref(), file: &file, ask: &ask, session: "" },
        format,
    )
    .await
}

/// `frontend graph`.
pub(super) async fn graph(context: &Context, args: GraphArgs) -> anyhow::Result<()> {
    let GraphArgs { frontend, file, ask, format } = args;
    let format = match format {
        Drawing::Dot => LlbFormat::Dot,
        Drawing::Svg => LlbFormat::Svg,
    };
    show(
        context,
        &Shown { frontend: frontend.as_deref(), file: &file, ask: &ask, session: "" },
        format,
    )
    .await
}

/// `debug llb`.
pub(in crate::commands) async fn debug_llb(context: &Context, args: LlbArgs) -> anyhow::Result<()> {
    let LlbArgs { frontend, file, ask, session, format } = args;
    let shown = Shown { frontend: Some(&frontend), file: &file, ask: &ask, session: &session };
    show(context, &shown, format).await
}

/// What is shown.
struct Shown<'a> {
    frontend: Option<&'a str>,
    file: &'a Path,
    ask: &'a AskArgs,
    session: &'a str,
}

async fn show(context: &Context, shown: &Shown<'_>, format: LlbFormat) -> anyhow::Result<()> {
    let Shown { frontend, file, ask, session } = shown;
    let name = match frontend {
        Some(name) => name,
        None => frontend_for(file).with_context(|| {
            format!("no frontend is known for {}: name one before the file", file.display())
        })?,
    };
    let question = Question::decide(file, ask, session, &context.environment)?;
    let frontend = located(context, name).await?;
    if format == LlbFormat::Json {
        let json = question.ask_for_json(&*frontend).await;
        let failed = json["build"]["status"] == "error";
        print(&format!("{json:#}\n"))?;
        anyhow::ensure!(
            !failed,
            "{}",
            json["build"]["error"]["message"].as_str().unwrap_or_default()
        );
        return Ok(());
    }
    let answer = question.ask(&*frontend).await.map_err(|error| error.into_status())?;
    remark(&answer);
    match format {
        LlbFormat::Binary => print_bytes(&answer.binary()?)?,
        LlbFormat::Dot => print(&answer.dot()?)?,
        LlbFormat::Svg => print(&answer.svg()?)?,
        LlbFormat::Text | LlbFormat::Json => print(&answer.text()?)?,
    }
    Ok(())
}

/// Says on standard error what is no part of the graph.
pub(super) fn remark(answer: &Answer) {
    for warning in &answer.warnings {
        complain(&format!("warning: {warning}\n"));
    }
    if let Some(note) = answer.note() {
        complain(&format!("{note}\n"));
    }
}
