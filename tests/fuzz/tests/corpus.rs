//! Every input that was kept, and what is left of it when it is cut off, through its target.

use std::path::Path;

use kiln_fuzz::TARGETS;

#[test]
#[expect(clippy::print_stdout, reason = "a test says how much it did")]
fn no_input_that_was_kept_does_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for target in TARGETS {
        let directory = corpus.join(target.name);
        let entries = std::fs::read_dir(&directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut count = 0;
        for entry in entries {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            (target.run)(&bytes);
            for length in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                (target.run)(&bytes[..length]);
            }
            count += 1;
        }
        assert!(count > 0, "{} has no corpus", target.name);
        println!("{}: {count} inputs", target.name);
    }
}
