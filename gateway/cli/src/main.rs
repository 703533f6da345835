//! kiln: the command line, and the daemon it embeds.

mod progress;

fn main() {}
