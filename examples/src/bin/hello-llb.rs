//! The smallest graph with something in it: prints the LLB of an image with one file.
//!
//! ```text
//! hello-llb | kiln debug dump-llb
//! hello-llb | kiln build --output type=local,dest=out
//! ```

use std::io::Write as _;

use kiln_sdk::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let hello = Action::mkfile("/hello", b"hello, LLB\n".as_slice(), Mkfile::default());
    let definition = State::scratch().file(hello).marshal(&Marshal::default())?;
    std::io::stdout().write_all(&definition.to_bytes())?;
    Ok(())
}
