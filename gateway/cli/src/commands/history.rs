//! `history`: builds that run, and those that the daemon remembers.

use std::time::SystemTime;

use anyhow::{Context as _, anyhow};
use futures::TryStreamExt as _;
use kiln_client::Client;
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::control::{
    BuildHistoryRecord, BuildHistoryRequest, UpdateBuildHistoryRequest,
};
use kiln_wire::status::RichStatus;
use tonic::transport::Channel;

use super::Context;
use crate::args::{Format, HistoryCommand};
use crate::output::print;
use crate::progress::Log;
use crate::records;

/// Does one command of `history`.
pub(crate) async fn run(context: &Context, command: HistoryCommand) -> anyhow::Result<()> {
    let client = context.connect().await?;
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
        HistoryCommand::Logs(args) => logs(&client, &args.build).await,
        HistoryCommand::Inspect(args) => {
            let record = record(&client, &args.build).await?;
            Ok(print(&format!("{:#}\n", records::json_of(&record)))?)
        }
        HistoryCommand::Rm(args) => forget(&client, args.builds).await,
    }
}

/// Prints the progress of a build until there is no more.
async fn logs(client: &Client, build: &str) -> anyhow::Result<()> {
    let record = record(client, build).await?;
    let mut messages = client.status(build).await.context("failed to read the progress")?;
    let mut log = Log::of(&record);
    while let Some(message) = messages.try_next().await.context("failed to read the progress")? {
        print(&log.message(message))?;
    }
    Ok(print(&log.end())?)
}

async fn forget(client: &Client, builds: Vec<String>) -> anyhow::Result<()> {
    for build in builds {
        let request =
            UpdateBuildHistoryRequest { r#ref: build.clone(), delete: true, ..Default::default() };
        let forgotten = control(client).update_build_history(request).await;
        forgotten
            .map_err(|status| RichStatus::from_status(&status))
            .with_context(|| format!("failed to forget build {build}"))?;
    }
    Ok(())
}

async fn record(client: &Client, build: &str) -> anyhow::Result<BuildHistoryRecord> {
    let request = BuildHistoryRequest { r#ref: build.to_owned(), ..BuildHistoryRequest::default() };
    let found = ask(client, request).await?.pop();
    found.ok_or_else(|| anyhow!("the daemon knows no build {build}; `kiln history ls` shows all"))
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
