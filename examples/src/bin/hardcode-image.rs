//! Prints the LLB of an image that is written down in this program.
//!
//! A base image (the first argument, else Ubuntu 22.04) gets a file of the local directory
//! `context` (the second argument, else `README.md`), an environment and a command's result:
//!
//! ```text
//! hardcode-image | kiln debug dump-llb
//! hardcode-image | kiln build --local context=. --output type=tar,dest=out.tar
//! ```

use std::error::Error;
use std::io::Write as _;

use kiln_sdk::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| "docker.io/library/ubuntu:22.04".into());
    let file = arguments.next().unwrap_or_else(|| "README.md".into());

    // Commands inherit what is said here: environment and working directory.
    let system = State::image(&base)
        .with_env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .with_env("GREETING", "hello from LLB")
        .with_dir("/app");

    // Only the file that is copied is transferred from the client.
    let context = State::local(
        "context",
        Local::default()
            .with_include_patterns(vec![file.clone()])
            .with_constraints(Constraints::named(format!("load {file} from the client"))),
    );
    let with_file = system.file([
        Action::mkdir("/app", Mkdir::default().with_parents(true)),
        Action::copy(&context, format!("/{file}"), "/app/file", CopyOptions::default()),
    ]);

    // The command sees the file; what it writes is part of the image.
    let built = with_file.run(
        Exec::sh("echo \"$GREETING\" > greeting && wc -l file >> greeting")
            .with_constraints(Constraints::named(format!("count the lines of {file}"))),
    );

    let definition = built.root().marshal(&Marshal::default())?;
    std::io::stdout().write_all(&definition.to_bytes())?;
    Ok(())
}
