//! The Dockerfile frontend as a program: an image's entrypoint, or a plugin of the daemon.

fn main() -> std::process::ExitCode {
    kiln_sdk::frontend::serve::main(kiln_dockerfile::Dockerfile::mainline())
}
