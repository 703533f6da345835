//! `prune`: removes what nobody uses.

use std::time::SystemTime;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use kiln_wire::proto::control::{PruneRequest, UsageRecord};

use super::Context;
use crate::args::{Format, PruneArgs};
use crate::options::{OptionError, duration, megabytes};
use crate::output::print;
use crate::usage::{as_json, as_list, as_table, total};

/// Asks, and prints what was removed.
pub(crate) async fn run(context: &Context, args: PruneArgs) -> anyhow::Result<()> {
    let request = request(&args)?;
    let client = context.connect_to_ask().await?;
    let mut removed = client.prune(request).await.context("failed to prune")?;
    let mut records: Vec<UsageRecord> = Vec::new();
    while let Some(record) = removed.try_next().await.context("failed to prune")? {
        records.push(record);
    }
    let text = match (args.format, args.verbose) {
        (Format::Json, _) => as_json(&records),
        (Format::Table, true) => as_list(&records) + &total(&records),
        (Format::Table, false) => {
            as_table(&records, SystemTime::now(), context.environment.program) + &total(&records)
        }
    };
    Ok(print(&text)?)
}

fn request(args: &PruneArgs) -> Result<PruneRequest, OptionError> {
    let size = |flag, text: &Option<String>| match text {
        Some(text) => megabytes(flag, text),
        None => Ok(0),
    };
    let keep = match &args.keep_duration {
        Some(text) => duration("--keep-duration", text)?,
        None => std::time::Duration::ZERO,
    };
    Ok(PruneRequest {
        filter: args.filter.clone(),
        all: args.all,
        keep_duration: i64::try_from(keep.as_nanos()).unwrap_or(i64::MAX),
        reserved_space: size("--keep-storage-min", &args.keep_storage_min)?,
        max_used_space: size("--keep-storage", &args.keep_storage)?,
        min_free_space: size("--free-storage", &args.free_storage)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_the_request() {
        let text = |text: &str| Some(text.to_owned());
        let args = PruneArgs {
            all: true,
            keep_duration: text("48h"),
            keep_storage: text("100"),
            free_storage: text("2GB"),
            ..PruneArgs::default()
        };
        let expected = PruneRequest {
            all: true,
            keep_duration: 172_800_000_000_000,
            max_used_space: 100_000_000,
            min_free_space: 2_000_000_000,
            ..PruneRequest::default()
        };
        assert_eq!(request(&args), Ok(expected));
        let wrong = PruneArgs { keep_duration: text("soon"), ..PruneArgs::default() };
        assert!(request(&wrong).is_err());
    }
}
