//! kiln: the command line, and the daemon it embeds.
fn main() {}
