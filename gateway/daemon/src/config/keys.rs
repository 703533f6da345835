//! What becomes of every key of the configuration file.
//!
//! One row per key, which the reader, the flags and the tests all go by: a key is honoured, or it
//! means nothing here and the log says so, or it is refused with what to do instead. When something
//! new can be honoured, its row changes here and its value is used in [`super::checked`].

/// A key and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The path of the key with dots between its parts; `*` is a name of the user's choice.
    pub path: &'static [&'static str],
    /// What becomes of its value.
    pub treatment: Treatment,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// The daemon does what it says.
    Honoured,
    /// It changes nothing here, for this reason, which is logged once.
    Idle(&'static str),
    /// It is an error to ask for it: why, and what to do instead. `false`, `0` and nothing ask for
    /// nothing.
    Refused(&'static str),
    /// These values are errors, the others are honoured.
    RefusedValues(&'static [(&'static str, &'static str)]),
}

use Treatment::{Honoured, Idle, Refused, RefusedValues};

macro_rules! keys {
    ($($($part:literal)/+ => $treatment:expr;)*) => {
        &[$(Key { path: &[$($part),+], treatment: $treatment }),*]
    };
}

const NO_CONTAINERD: &str = "there is no containerd worker";
const NO_TRACES: &str = "steps have nowhere to send traces yet";
const NO_GHA: &str = "nothing of cache.gha is verified unless `required` is set";
const GHACACHE: &str = "BuildKit's daemon does not read it either; it is called `cache.gha`";

/// Every key, in the order of [`super::ConfigFile`].
pub const KEYS: &[Key] = keys! {
    "debug" => Honoured;
    "trace" => Honoured;
    "root" => Honoured;
    "insecure-entitlements" => Honoured;
    "proxyNetwork" => Honoured;
    "provenanceEnvDir" => Honoured;
    "log"/"format" => Honoured;
    "log"/"level" => Honoured;
    "grpc"/"address" => Honoured;
    "grpc"/"debugAddress" => Honoured;
    "grpc"/"uid" => Honoured;
    "grpc"/"gid" => Honoured;
    "grpc"/"securityDescriptor" => Refused("named pipes are Windows'; use uid and gid");
    "grpc"/"tls"/"cert" => Honoured;
    "grpc"/"tls"/"key" => Honoured;
    "grpc"/"tls"/"ca" => Honoured;
    "otel"/"socketPath" => Idle(NO_TRACES);
    "cdi"/"disabled" => Honoured;
    "cdi"/"specDirs" => Honoured;
    "cdi"/"autoAllowed" => Honoured;
    "dns"/"nameservers" => Honoured;
    "dns"/"options" => Honoured;
    "dns"/"searchDomains" => Honoured;
    "history"/"maxAge" => Honoured;
    "history"/"maxEntries" => Honoured;
    "worker"/"oci"/"enabled" => RefusedValues(&[(
        "false",
        "there is no other worker; `binary` names an OCI runtime that runs steps instead of Kiln",
    )]);
    "worker"/"oci"/"labels"/"*" => Honoured;
    "worker"/"oci"/"platforms" => Honoured;
    "worker"/"oci"/"snapshotter" => RefusedValues(&[
        ("native", "layers are always overlays; leave it out"),
        ("fuse-overlayfs", "layers are overlays of the kernel, also without root; leave it out"),
        ("stargz", "layers are pulled as a whole; leave it out"),
        ("overlaybd", "layers are pulled as a whole; leave it out"),
    ]);
    "worker"/"oci"/"proxySnapshotterPath" => Refused(
        "layers are always overlays of the daemon's own; leave it out",
    );
    "worker"/"oci"/"stargzSnapshotter"/"*" => Idle("there is no stargz snapshotter");
    "worker"/"oci"/"rootless" => Honoured;
    "worker"/"oci"/"noProcessSandbox" => Refused(
        "steps always have processes of their own; in a container, let it have an unmasked /proc \
         (docker run --security-opt systempaths=unconfined)",
    );
    "worker"/"oci"/"gc" => Honoured;
    "worker"/"oci"/"gckeepstorage" => Honoured;
    "worker"/"oci"/"reservedSpace" => Honoured;
    "worker"/"oci"/"maxUsedSpace" => Honoured;
    "worker"/"oci"/"minFreeSpace" => Honoured;
    "worker"/"oci"/"gcpolicy"/"all" => Honoured;
    "worker"/"oci"/"gcpolicy"/"filters" => Honoured;
    "worker"/"oci"/"gcpolicy"/"keepDuration" => Honoured;
    "worker"/"oci"/"gcpolicy"/"keepBytes" => Honoured;
    "worker"/"oci"/"gcpolicy"/"reservedSpace" => Honoured;
    "worker"/"oci"/"gcpolicy"/"maxUsedSpace" => Honoured;
    "worker"/"oci"/"gcpolicy"/"minFreeSpace" => Honoured;
    "worker"/"oci"/"networkMode" => Honoured;
    "worker"/"oci"/"cniConfigPath" => Honoured;
    "worker"/"oci"/"cniBinaryPath" => Honoured;
    "worker"/"oci"/"cniPoolSize" => Honoured;
    "worker"/"oci"/"bridgeName" => Honoured;
    "worker"/"oci"/"bridgeSubnet" => Honoured;
    "worker"/"oci"/"userRemapUnsupported" => Refused(
        "steps run with the ids of the daemon; start the daemon as another user for other ids",
    );
    "worker"/"oci"/"binary" => Honoured;
    "worker"/"oci"/"defaultCgroupParent" => Honoured;
    "worker"/"oci"/"apparmor-profile" => Refused(
        "no AppArmor profile is applied to steps, which have seccomp and fewer capabilities; leave it out",
    );
    "worker"/"oci"/"selinux" => Refused("steps are not labelled for SELinux; leave it out");
    "worker"/"oci"/"max-parallelism" => Honoured;
    "worker"/"containerd"/"enabled" => RefusedValues(&[(
        "true",
        "Kiln does not use containerd; leave it out, steps are run without one",
    )]);
    "worker"/"containerd"/"address" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"labels"/"*" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"platforms" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"namespace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"runtime"/"name" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"runtime"/"path" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"runtime"/"options"/"*" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"snapshotter" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gc" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gckeepstorage" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"reservedSpace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"maxUsedSpace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"minFreeSpace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"all" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"filters" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"keepDuration" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"keepBytes" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"reservedSpace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"maxUsedSpace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"gcpolicy"/"minFreeSpace" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"networkMode" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"cniConfigPath" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"cniBinaryPath" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"cniPoolSize" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"bridgeName" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"bridgeSubnet" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"defaultCgroupParent" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"apparmor-profile" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"selinux" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"max-parallelism" => Idle(NO_CONTAINERD);
    "worker"/"containerd"/"rootless" => Idle(NO_CONTAINERD);
    "registry"/"*"/"mirrors" => Honoured;
    "registry"/"*"/"http" => Honoured;
    "registry"/"*"/"insecure" => Honoured;
    "registry"/"*"/"ca" => Honoured;
    "registry"/"*"/"keypair"/"key" => Honoured;
    "registry"/"*"/"keypair"/"cert" => Honoured;
    "registry"/"*"/"tlsconfigdir" => Honoured;
    "frontend"/"dockerfile.v0"/"enabled" => Honoured;
    "frontend"/"mockerfile.v0"/"enabled" => Honoured;
    "frontend"/"gateway.v0"/"enabled" => Honoured;
    "frontend"/"gateway.v0"/"allowedRepositories" => Honoured;
    "system"/"platformsCacheMaxAge" => Honoured;
    "system"/"maxRegistryConcurrency" => Honoured;
    "cache"/"gha"/"sign"/"command" => Refused(
        "no command signs what is exported to the cache of GitHub Actions; leave it out, `sign-key` of the \
         export signs it",
    );
    "cache"/"gha"/"verify"/"required" => Refused(
        "signatures of sigstore are not verified; kiln.cacheSigners says whose signatures caches need",
    );
    "cache"/"gha"/"verify"/"policy"/"*" => Idle(NO_GHA);
    "ghacache"/"*" => Idle(GHACACHE);
    "kiln"/"allowPlainTCP" => Honoured;
    "kiln"/"pluginPath" => Honoured;
    "kiln"/"unconfinedPlugins" => Honoured;
    "kiln"/"emulators" => Honoured;
    "kiln"/"pullFrontends" => Honoured;
    "kiln"/"stopTimeout" => Honoured;
    "kiln"/"stepStopTimeout" => Honoured;
    "kiln"/"interruptedCaches" => Honoured;
    "kiln"/"cacheSigners"/"caches" => Honoured;
    "kiln"/"cacheSigners"/"keyFiles" => Honoured;
    "kiln"/"cacheSigners"/"unsigned" => Honoured;
};

/// The row of a key; names of the user's choice match `*`, and what is below a free-form table
/// belongs to it.
pub(super) fn find(path: &[&str]) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.is(path))
}

impl Key {
    /// Whether a path is that of this key.
    pub fn is(&self, path: &[&str]) -> bool {
        let free = self.path.last() == Some(&"*");
        let fits = |(part, name): (&&str, &&str)| *part == "*" || part == name;
        (self.path.len() == path.len() || free && self.path.len() <= path.len())
            && self.path.iter().zip(path).all(fits)
    }
}

/// The parts that may follow a path.
pub(super) fn below<'a>(path: &'a [&str]) -> impl Iterator<Item = &'static str> + 'a {
    KEYS.iter().filter_map(move |key| {
        let fits = |(part, name): (&&str, &&str)| *part == "*" || part == name;
        let above = key.path.get(..path.len())?;
        let next = *key.path.get(path.len())?;
        (above.iter().zip(path).all(fits)).then_some(next)
    })
}
