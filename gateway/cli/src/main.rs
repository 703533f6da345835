//! kiln: the command line, and the daemon it embeds.

mod args;
mod build_command;
mod endpoint;
mod environment;
mod failure;
mod metadata;
mod options;
mod output;
mod pack;
mod progress;
mod source_policy;
mod usage;
mod workers;

fn main() {}
