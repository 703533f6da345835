//! Prints the LLB of an archive: files of the local directory `context`, on nothing.
//!
//! There is no system underneath, so no command can run; file actions need none.
//!
//! ```text
//! hardcode-scratch | kiln debug dump-llb
//! hardcode-scratch | kiln build --local context=. --output type=tar,dest=out.tar
//! ```

use std::error::Error;
use std::io::Write as _;

use kiln_sdk::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let context =
        State::local("context", Local::default().with_exclude_patterns(vec![".git".into()]));

    // Each action works on the result of the one before; together they are one op.
    let contents = CopyOptions::default().with_dir_contents_only(true);
    let packed = State::scratch().file([
        Action::mkdir("/pack", Mkdir::default()),
        Action::copy(&context, "/", "/pack/", contents),
        Action::mkfile("/pack/VERSION", "1.0.0\n", Mkfile::default()),
        Action::symlink("pack/VERSION", "/VERSION", Symlink::default()),
    ]);

    let definition = packed.marshal(&Marshal::default())?;
    std::io::stdout().write_all(&definition.to_bytes())?;
    Ok(())
}
