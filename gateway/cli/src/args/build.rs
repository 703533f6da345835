//! The flags of `build`: those of `buildctl`, and beside them those of `docker build`.

use std::path::PathBuf;

use clap::Args;

const WHAT: &str = "What is built";
const RESULT: &str = "Where the result goes";
const CACHE: &str = "Cache";
const STEPS: &str = "What steps may use";
const RECORDS: &str = "Progress and records";

/// What to build, with what, and where the result goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct BuildArgs {
    /// Directory, URL, or - for an archive or a build file on standard input; what is built
    #[arg(value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Build file, - for standard input; its name also chooses the frontend if none is given
    #[arg(long, short = 'f', value_name = "FILE", help_heading = WHAT, allow_hyphen_values = true)]
    pub file: Option<PathBuf>,
    /// Frontend: dockerfile.v0, mockerfile.v0, gateway.v0
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    pub frontend: Option<String>,
    /// Target (stage, image) of the build file that is built
    #[arg(long, value_name = "TARGET", help_heading = WHAT)]
    pub target: Option<String>,
    /// Platform that is built for, such as linux/arm64; several are separated by commas
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',', help_heading = WHAT)]
    pub platform: Vec<String>,
    /// Argument of the build file; without a value it is taken from the environment
    #[arg(long, value_name = "NAME[=VALUE]", help_heading = WHAT)]
    pub build_arg: Vec<String>,
    /// Label of the image
    #[arg(long, value_name = "KEY=VALUE", help_heading = WHAT)]
    pub label: Vec<String>,
    /// Any option of the frontend; build-arg:NAME without a value is taken from the environment
    #[arg(long, value_name = "KEY=VALUE", help_heading = WHAT)]
    pub opt: Vec<String>,
    /// Further context by name: a directory, URL or image (docker-image://REFERENCE)
    #[arg(long, value_name = "NAME=CONTEXT", help_heading = WHAT)]
    pub build_context: Vec<String>,
    /// Local directory the build may read
    #[arg(long, value_name = "NAME=PATH", help_heading = WHAT)]
    pub local: Vec<String>,
    /// OCI layout the build may take images from
    #[arg(long, value_name = "NAME=PATH", help_heading = WHAT)]
    pub oci_layout: Vec<String>,
    /// Ask registries for newer images, also where the store has one of the name
    #[arg(long, help_heading = WHAT)]
    pub pull: bool,
    /// Name of the image; without an output it is kept in the store
    #[arg(long, short = 't', value_name = "NAME", help_heading = RESULT)]
    pub tag: Vec<String>,
    /// Where the result goes: type=image|oci|docker|local|tar,…; a path alone is a directory
    #[arg(
        long,
        short = 'o',
        value_name = "OUTPUT",
        allow_hyphen_values = true,
        help_heading = RESULT
    )]
    pub output: Vec<String>,
    /// What is said about the result: type=provenance|sbom, and attributes of it
    #[arg(long, value_name = "ATTESTATION", help_heading = RESULT)]
    pub attest: Vec<String>,
    /// Short for --attest type=provenance: true, false or its attributes
    #[arg(long, value_name = "ATTRIBUTES", help_heading = RESULT)]
    pub provenance: Option<String>,
    /// Short for --attest type=sbom: true, false or its attributes
    #[arg(long, value_name = "ATTRIBUTES", help_heading = RESULT)]
    pub sbom: Option<String>,
    /// Push the image to its registry; short for --output type=image,push=true
    #[arg(long, help_heading = RESULT)]
    pub push: bool,
    /// Load the image into Docker or Podman
    #[arg(long, help_heading = RESULT)]
    pub load: bool,
    /// Run every step again
    #[arg(long, help_heading = CACHE)]
    pub no_cache: bool,
    /// Stages whose steps run again, separated by commas
    #[arg(long, value_name = "STAGE", value_delimiter = ',', help_heading = CACHE)]
    pub no_cache_filter: Vec<String>,
    /// Where the cache is exported to: type=registry,ref=…
    #[arg(long, value_name = "CACHE", visible_alias = "cache-to", help_heading = CACHE)]
    pub export_cache: Vec<String>,
    /// Where cache is imported from: type=registry,ref=…
    #[arg(long, value_name = "CACHE", visible_alias = "cache-from", help_heading = CACHE)]
    pub import_cache: Vec<String>,
    /// Steps that must come from the cache, such as 'RUN apt*'; if one runs, why, and exit code 3
    #[arg(long, value_name = "PATTERN", help_heading = CACHE)]
    pub expect_cached: Vec<String>,
    /// Secret the build may read: id=ID[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET", help_heading = STEPS)]
    pub secret: Vec<String>,
    /// SSH agent the build may use, by its socket: default or ID=PATH
    #[arg(long, value_name = "SSH", help_heading = STEPS)]
    pub ssh: Vec<String>,
    /// Network of all steps: default, none or host
    #[arg(long, value_name = "MODE", help_heading = STEPS)]
    pub network: Option<String>,
    /// Host that steps know by this name
    #[arg(long, value_name = "NAME:ADDRESS", help_heading = STEPS)]
    pub add_host: Vec<String>,
    /// Size of /dev/shm, such as 64m
    #[arg(long, value_name = "SIZE", help_heading = STEPS)]
    pub shm_size: Option<String>,
    /// Limit of each step
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = STEPS)]
    pub ulimit: Vec<String>,
    /// What the build is allowed beyond the usual: network.host, security.insecure, device
    #[arg(long, value_name = "ENTITLEMENT", help_heading = STEPS)]
    pub allow: Vec<String>,
    /// Send the network of build steps through a proxy that records it
    #[arg(long, help_heading = STEPS)]
    pub proxy_network: bool,
    /// File with a source policy, as JSON
    #[arg(long, value_name = "FILE", help_heading = STEPS)]
    pub source_policy_file: Option<PathBuf>,
    /// TLS of a registry.
    // Brackets would be links in a doc comment.
    #[arg(
        long,
        value_name = "TLS",
        help = "TLS of a registry: host=HOST[,ca=FILE][,cert=FILE,key=FILE][,insecure=true]",
        help_heading = STEPS
    )]
    pub registry_auth_tlscontext: Vec<String>,
    /// How progress is shown: auto, plain, tty, rawjson or quiet [env: BUILDKIT_PROGRESS]
    #[arg(long, value_name = "MODE", help_heading = RECORDS)]
    pub progress: Option<String>,
    /// Show no progress, and print the digest of the image
    #[arg(long, short = 'q', conflicts_with = "progress", help_heading = RECORDS)]
    pub quiet: bool,
    /// File to write what the exporters answered to, as JSON
    #[arg(long, value_name = "FILE", help_heading = RECORDS)]
    pub metadata_file: Option<PathBuf>,
    /// File to write a page about the build to, whether it goes well or not
    #[arg(long, value_name = "FILE", help_heading = RECORDS)]
    pub report: Option<PathBuf>,
    /// File to write all progress to, as JSON lines
    #[arg(long, value_name = "FILE", help_heading = RECORDS)]
    pub trace: Option<PathBuf>,
    /// File to write the id of the build to
    #[arg(long, value_name = "FILE", help_heading = RECORDS)]
    pub ref_file: Option<PathBuf>,
    /// File to write the digest of the image to
    #[arg(long, value_name = "FILE", help_heading = RECORDS)]
    pub iidfile: Option<PathBuf>,
    // Flags of `docker build` that are something else here.
    #[arg(long, hide = true)]
    pub check: bool,
    #[arg(long, hide = true)]
    pub call: Option<String>,
    #[arg(long, hide = true)]
    pub annotation: Vec<String>,
    #[arg(long, hide = true)]
    pub builder: Option<String>,
    /// File to write figures about the cache to, as JSON; - for standard output
    #[arg(long, value_name = "FILE", allow_hyphen_values = true, help_heading = RECORDS)]
    pub debug_json_cache_metrics: Option<PathBuf>,
}

impl BuildArgs {
    /// A flag of `docker build` that was given and is not there, and what there is instead.
    pub(crate) fn elsewhere(&self) -> Option<(&'static str, &'static str)> {
        let flags = [
            (self.check, "--check", "`kiln lint FILE` says what is wrong with a build file"),
            (
                self.call.is_some(),
                "--call",
                "`kiln lint FILE` says what is wrong with a build file",
            ),
            (
                !self.annotation.is_empty(),
                "--annotation",
                "say --output type=…,annotation.KEY=VALUE",
            ),
            (self.builder.is_some(), "--builder", "say --addr ADDRESS for a daemon"),
        ];
        flags.into_iter().find(|(is_given, ..)| *is_given).map(|(_, flag, instead)| (flag, instead))
    }
}
