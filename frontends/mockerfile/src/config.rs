//! The config of the image: what the base says, with what the file says on top.

use kiln_sdk::oci::{History, ImageConfig};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::choices::Choices;
use crate::plan::Image;

/// Puts the settings of `image`, whose working directory is `directory`, on top of its base's.
pub(crate) fn apply(config: &mut ImageConfig, image: &Image, directory: &str) {
    let run = &mut config.config;
    for (name, value) in &image.env {
        run.set_env(name, value);
    }
    run.labels.extend(image.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    if image.workdir.is_some() {
        directory.clone_into(&mut run.working_dir);
    }
    if let Some(user) = &image.user {
        run.user.clone_from(user);
    }
    if image.entrypoint.is_some() {
        run.entrypoint.clone_from(&image.entrypoint);
        // The base's arguments were meant for the base's program.
        run.cmd = None;
    }
    if image.cmd.is_some() {
        run.cmd.clone_from(&image.cmd);
    }
}

/// Writes down that a step made a layer.
pub(crate) fn remember(config: &mut ImageConfig, created_by: String, choices: &Choices) {
    let created = choices.epoch.and_then(date);
    config.history.push(History {
        created,
        created_by,
        comment: "mockerfile.v0".to_owned(),
        ..History::default()
    });
}

/// The last touch: the caller's labels, the time, and layers left to whoever exports.
pub(crate) fn finish(config: &mut ImageConfig, choices: &Choices) {
    config.config.labels.extend(choices.labels.clone());
    config.created = choices.epoch.and_then(date);
    config.rootfs.diff_ids.clear();
}

/// A time as image configs write it; none when it lies outside the calendar.
fn date(epoch: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(epoch).ok()?.format(&Rfc3339).ok()
}
