//! `history`: builds that run, and those that the daemon remembers.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use anyhow::{Context as _, anyhow, bail};
use futures::TryStreamExt as _;
use kiln_client::Client;
use kiln_progress::wire::system_time;
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::control::{
    BuildHistoryRecord, BuildHistoryRequest, UpdateBuildHistoryRequest,
};
use kiln_wire::status::RichStatus;
use tonic::transport::Channel;

use super::Context;
use super::report;
use crate::args::{Format, HistoryCommand, HistoryOpenArgs};
use crate::output::print;
use crate::page;
use crate::progress::Log;
use crate::records;

/// What is shorter is not taken for the beginning of a build's id.
const SHORTEST_ID: usize = 4;

/// Does one command of `history`.
pub(crate) async fn run(context: &Context, command: HistoryCommand) -> anyhow::Result<()> {
    let client = context.connect_to_ask().await?;
    match command {
        HistoryCommand::Ls(args) => {
            let request = BuildHistoryRequest {
                filter: args.filter,
                limit: args.limit,
                ..BuildHistoryRequest::default()
            };
            let records = ask(&client, request).await?;
            Ok(print(&match args.format {
                Format::Json => records::as_json(&records),
                Format::Table => records::as_table(&records, SystemTime::now()),
            })?)
        }
        HistoryCommand::Logs(args) => logs(&client, args.build.as_deref()).await,
        HistoryCommand::Inspect(args) => {
            let record = record(&client, args.build.as_deref()).await?;
            Ok(print(&format!("{:#}\n", records::json_of(&record)))?)
        }
        HistoryCommand::Open(args) => open(context, &client, args).await,
        HistoryCommand::Rm(args) => forget(&client, args.builds).await,
    }
}

/// Prints the progress of a build until there is no more.
async fn logs(client: &Client, build: Option<&str>) -> anyhow::Result<()> {
    let record = record(client, build).await?;
    let mut messages = client.status(&record.r#ref).await.context("failed to read the progress")?;
    let mut log = Log::of(&record);
    while let Some(message) = messages.try_next().await.context("failed to read the progress")? {
        print(&log.message(message))?;
    }
    Ok(print(&log.end())?)
}

async fn forget(client: &Client, builds: Vec<String>) -> anyhow::Result<()> {
    let ids = ids(client).await?;
    for build in builds {
        let build = begun(&ids, &build)?.unwrap_or(build);
        let request =
            UpdateBuildHistoryRequest { r#ref: build.clone(), delete: true, ..Default::default() };
        let forgotten = control(client).update_build_history(request).await;
        forgotten
            .map_err(|status| RichStatus::from_status(&status))
            .with_context(|| format!("failed to forget build {build}"))?;
    }
    Ok(())
}

/// Writes a page about a build, and shows it to who sits at a terminal.
async fn open(context: &Context, client: &Client, args: HistoryOpenArgs) -> anyhow::Result<()> {
    let record = record(client, args.build.as_deref()).await?;
    let page = page::document(&report::gather(client, record).await);
    let path = match args.output {
        Some(path) if path == Path::new("-") => return Ok(print(&page)?),
        Some(path) => {
            std::fs::write(&path, &page)
                .with_context(|| format!("failed to write {}", path.display()))?;
            path
        }
        None => temporary(page.as_bytes()).context("failed to write a temporary file")?,
    };
    let viewer = !args.print && context.environment.stdout_terminal;
    if viewer && show(&path).await {
        return Ok(());
    }
    Ok(print(&format!("{}\n", path.display()))?)
}

/// A file that only this user can read, under a name that nobody could know before.
fn temporary(page: &[u8]) -> anyhow::Result<PathBuf> {
    let mut file = tempfile::Builder::new().prefix("kiln-build-").suffix(".html").tempfile()?;
    file.write_all(page)?;
    Ok(file.keep()?.1)
}

/// Has the desktop show a file. Returns whether there is one that does.
async fn show(path: &Path) -> bool {
    let mut viewer = tokio::process::Command::new("xdg-open");
    viewer.arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    viewer.status().await.is_ok_and(|status| status.success())
}

/// A build, or the newest: one that runs before one that has ended.
async fn record(client: &Client, build: Option<&str>) -> anyhow::Result<BuildHistoryRecord> {
    let about = |build: Option<&str>| BuildHistoryRequest {
        r#ref: build.unwrap_or_default().to_owned(),
        ..Default::default()
    };
    let mut records = ask(client, about(build)).await?;
    if let (Some(build), true) = (build, records.is_empty())
        && let Some(full) = full_id(client, build).await?
    {
        records = ask(client, about(Some(&full))).await?;
    }
    let began = |record: &BuildHistoryRecord| record.created_at.map(system_time);
    let newest = records.into_iter().max_by_key(began);
    newest.ok_or_else(|| match build {
        Some(build) => anyhow!("the daemon knows no build {build}; `kiln history ls` shows all"),
        None => anyhow!("the daemon remembers no build"),
    })
}

/// The id of the only build whose id begins like this; none if there is none.
///
/// # Errors
///
/// If there are several, or the daemon does not say.
pub(super) async fn full_id(client: &Client, beginning: &str) -> anyhow::Result<Option<String>> {
    begun(&ids(client).await?, beginning)
}

/// The ids of all builds, each once.
async fn ids(client: &Client) -> anyhow::Result<BTreeSet<String>> {
    let records = ask(client, BuildHistoryRequest::default()).await?;
    Ok(records.into_iter().map(|record| record.r#ref).collect())
}

/// The only one of these ids that begins like this, or is this.
fn begun(ids: &BTreeSet<String>, beginning: &str) -> anyhow::Result<Option<String>> {
    if beginning.len() < SHORTEST_ID || ids.contains(beginning) {
        return Ok(ids.get(beginning).cloned());
    }
    let begun: Vec<&String> = ids.iter().filter(|id| id.starts_with(beginning)).collect();
    match begun.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some((*id).clone())),
        several => {
            let names = several.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(", ");
            bail!("{} builds begin with {beginning}: {names}", several.len())
        }
    }
}

/// The record of a build that this program has just asked for.
///
/// # Errors
///
/// If the daemon remembers no builds.
pub(super) async fn record_of(client: &Client, build: &str) -> anyhow::Result<BuildHistoryRecord> {
    record(client, Some(build)).await
}

async fn ask(
    client: &Client,
    request: BuildHistoryRequest,
) -> anyhow::Result<Vec<BuildHistoryRecord>> {
    let request = BuildHistoryRequest { early_exit: true, ..request };
    let asked = async {
        let events = control(client).listen_build_history(request).await?.into_inner();
        events.try_collect::<Vec<_>>().await
    };
    let events = asked.await.map_err(|status| RichStatus::from_status(&status));
    let events = events.context("failed to read the history")?;
    Ok(events.into_iter().filter_map(|event| event.record).collect())
}

fn control(client: &Client) -> ControlClient<Channel> {
    ControlClient::new(client.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}
