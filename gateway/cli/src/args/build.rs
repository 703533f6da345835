//! The flags of `build`.

use std::path::PathBuf;

use clap::Args;

/// What to build, with what, and where the result goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct BuildArgs {
    /// Directory, URL, or - for an archive on standard input; what is built
    #[arg(value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Build file; its name also chooses the frontend if none is given
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Frontend: dockerfile.v0, mockerfile.v0, gateway.v0
    #[arg(long, value_name = "NAME")]
    pub frontend: Option<String>,
    /// Option of the frontend; build-arg:NAME without a value is taken from the environment
    #[arg(long, value_name = "KEY=VALUE")]
    pub opt: Vec<String>,
    /// Where the result goes: type=image|oci|docker|local|tar,…; a path alone is a directory
    #[arg(long, short = 'o', value_name = "OUTPUT", allow_hyphen_values = true)]
    pub output: Vec<String>,
    /// Local directory the build may read
    #[arg(long, value_name = "NAME=PATH")]
    pub local: Vec<String>,
    /// OCI layout the build may take images from
    #[arg(long, value_name = "NAME=PATH")]
    pub oci_layout: Vec<String>,
    /// Run every step again
    #[arg(long)]
    pub no_cache: bool,
    /// Where the cache is exported to: type=registry,ref=…
    #[arg(long, value_name = "CACHE")]
    pub export_cache: Vec<String>,
    /// Where cache is imported from: type=registry,ref=…
    #[arg(long, value_name = "CACHE")]
    pub import_cache: Vec<String>,
    /// Steps that must come from the cache, such as 'RUN apt*'; if one runs, why, and exit code 3
    #[arg(long, value_name = "PATTERN")]
    pub expect_cached: Vec<String>,
    /// Secret the build may read: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET")]
    pub secret: Vec<String>,
    /// What the build is allowed beyond the usual: network.host, security.insecure, device
    #[arg(long, value_name = "ENTITLEMENT")]
    pub allow: Vec<String>,
    /// SSH agent or keys the build may use: default or ID=PATH[,PATH…]
    #[arg(long, value_name = "SSH")]
    pub ssh: Vec<String>,
    /// How progress is shown: auto, plain, tty, rawjson or quiet [env: BUILDKIT_PROGRESS]
    #[arg(long, value_name = "MODE")]
    pub progress: Option<String>,
    /// File to write all progress to, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// File to write a page about the build to, whether it goes well or not
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// File to write what the exporters answered to, as JSON
    #[arg(long, value_name = "FILE")]
    pub metadata_file: Option<PathBuf>,
    /// File to write the id of the build to
    #[arg(long, value_name = "FILE")]
    pub ref_file: Option<PathBuf>,
    /// File with a source policy, as JSON
    #[arg(long, value_name = "FILE")]
    pub source_policy_file: Option<PathBuf>,
    /// Send the network of build steps through a proxy that records it
    #[arg(long)]
    pub proxy_network: bool,
    /// TLS of a registry.
    // Brackets would be links in a doc comment.
    #[arg(
        long,
        value_name = "TLS",
        help = "TLS of a registry: host=HOST[,ca=FILE][,cert=FILE,key=FILE][,insecure=true]"
    )]
    pub registry_auth_tlscontext: Vec<String>,
    /// File to write figures about the cache to, as JSON; - for standard output
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub debug_json_cache_metrics: Option<PathBuf>,
}
