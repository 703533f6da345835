//! The program of the example in `src/hardened`: a plugin, and the entrypoint of an image.

fn main() -> std::process::ExitCode {
    kiln_sdk::frontend::serve::main(kiln_examples::hardened::Hardened)
}
