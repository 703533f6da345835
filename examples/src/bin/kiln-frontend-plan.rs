//! The program of the example in `src/plan.rs`: a plugin, and the entrypoint of an image.

fn main() -> std::process::ExitCode {
    kiln_sdk::frontend::serve::main(kiln_examples::plan::Plans)
}
