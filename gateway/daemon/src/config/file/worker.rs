//! `[worker.oci]` and `[worker.containerd]`: what runs steps, and how much is kept of what they make.
//!
//! The keys of the two overlap and are written out twice: values know their place in the file only
//! where serde need not copy them first.

use std::collections::BTreeMap;

use kiln_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::quantity::Scalar;

/// What runs steps.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerTable {
    /// Kiln's executor, or an OCI runtime.
    pub oci: OciTable,
    /// A containerd, which Kiln does not use.
    pub containerd: ContainerdTable,
}

/// How steps are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkModeName {
    /// By CNI plugins where these are configured, else by a bridge where the daemon may make one, else
    /// the network of the machine.
    #[default]
    Auto,
    /// The network of the machine.
    Host,
    /// A bridge that the daemon makes.
    Bridge,
    /// What CNI plugins make.
    Cni,
    /// Nothing but a loopback.
    None,
}

/// How layers are laid over one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotterName {
    /// The best there is.
    Auto,
    /// The kernel's overlay file system.
    Overlayfs,
    /// Copies.
    Native,
    /// An overlay file system outside of the kernel.
    FuseOverlayfs,
    /// Layers that are fetched when they are read.
    Stargz,
    /// Layers as block devices.
    Overlaybd,
}

/// Kiln's executor, or an OCI runtime.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OciTable {
    /// Whether there is this worker. There is no other.
    pub enabled: Option<bool>,
    /// Labels of the worker.
    pub labels: BTreeMap<String, String>,
    /// Platforms that the worker says it runs; found out if there are none.
    pub platforms: Option<Vec<Spanned<String>>>,
    /// How layers are laid over one another.
    pub snapshotter: Option<SnapshotterName>,
    /// The socket of a snapshotter elsewhere.
    #[serde(rename = "proxySnapshotterPath")]
    pub proxy_snapshotter_path: Option<String>,
    /// For the snapshotter `stargz`.
    #[serde(rename = "stargzSnapshotter")]
    pub stargz_snapshotter: BTreeMap<String, serde_json::Value>,
    /// Whether the daemon runs in a user namespace. Kiln sees that by itself.
    pub rootless: Option<Spanned<bool>>,
    /// Run steps among the processes of the daemon.
    #[serde(rename = "noProcessSandbox")]
    pub no_process_sandbox: Option<bool>,
    /// Collect what is not used, by the policies below.
    pub gc: Option<bool>,
    /// The older name of `reservedSpace`.
    pub gckeepstorage: Option<Spanned<Scalar>>,
    /// What may stay in any case: bytes, a size such as `10GB`, or a part of the disk such as `10%`.
    #[serde(rename = "reservedSpace")]
    pub reserved_space: Option<Spanned<Scalar>>,
    /// What all may take together: every byte of the state directory, at every moment.
    #[serde(rename = "maxUsedSpace")]
    pub max_used_space: Option<Spanned<Scalar>>,
    /// What has to be free on the disk, at every moment.
    #[serde(rename = "minFreeSpace")]
    pub min_free_space: Option<Spanned<Scalar>>,
    /// What is collected, in this order; BuildKit's policies if there are none.
    pub gcpolicy: Option<Vec<GcPolicyTable>>,
    /// How steps are connected.
    #[serde(rename = "networkMode")]
    pub network_mode: Option<NetworkModeName>,
    /// The file that says which CNI plugins make a network.
    #[serde(rename = "cniConfigPath")]
    pub cni_config_path: Option<String>,
    /// The directory of CNI plugins.
    #[serde(rename = "cniBinaryPath")]
    pub cni_binary_path: Option<String>,
    /// How many networks are made ahead.
    #[serde(rename = "cniPoolSize")]
    pub cni_pool_size: Option<Spanned<i64>>,
    /// The name of the bridge.
    #[serde(rename = "bridgeName")]
    pub bridge_name: Option<String>,
    /// The addresses behind the bridge.
    #[serde(rename = "bridgeSubnet")]
    pub bridge_subnet: Option<Spanned<String>>,
    /// An experiment of BuildKit's.
    #[serde(rename = "userRemapUnsupported")]
    pub user_remap_unsupported: Option<String>,
    /// An OCI runtime, such as `runc` or `crun`. Without one, Kiln runs steps itself.
    pub binary: Option<String>,
    /// The cgroup under which those of steps are made.
    #[serde(rename = "defaultCgroupParent")]
    pub default_cgroup_parent: Option<Spanned<String>>,
    /// The AppArmor profile of steps.
    #[serde(rename = "apparmor-profile")]
    pub apparmor_profile: Option<String>,
    /// Label steps for SELinux.
    pub selinux: Option<bool>,
    /// Steps at the same time. 0 is no limit.
    #[serde(rename = "max-parallelism")]
    pub max_parallelism: Option<Spanned<i64>>,
}

/// A containerd, which Kiln does not use: its keys are read and have no effect.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerdTable {
    /// Whether there is this worker. There is not.
    pub enabled: Option<bool>,
    /// The socket of containerd.
    pub address: Option<String>,
    /// Labels of the worker.
    pub labels: BTreeMap<String, String>,
    /// Platforms of the worker.
    pub platforms: Option<Vec<String>>,
    /// The namespace in containerd.
    pub namespace: Option<String>,
    /// The runtime that containerd uses.
    pub runtime: RuntimeTable,
    /// The snapshotter that containerd uses.
    pub snapshotter: Option<String>,
    /// Collect what is not used.
    pub gc: Option<bool>,
    /// The older name of `reservedSpace`.
    pub gckeepstorage: Option<Scalar>,
    /// What may stay in any case.
    #[serde(rename = "reservedSpace")]
    pub reserved_space: Option<Scalar>,
    /// What all may take together.
    #[serde(rename = "maxUsedSpace")]
    pub max_used_space: Option<Scalar>,
    /// What should be free on the disk.
    #[serde(rename = "minFreeSpace")]
    pub min_free_space: Option<Scalar>,
    /// What is collected, in this order.
    pub gcpolicy: Option<Vec<GcPolicyTable>>,
    /// How steps are connected.
    #[serde(rename = "networkMode")]
    pub network_mode: Option<NetworkModeName>,
    /// The file that says which CNI plugins make a network.
    #[serde(rename = "cniConfigPath")]
    pub cni_config_path: Option<String>,
    /// The directory of CNI plugins.
    #[serde(rename = "cniBinaryPath")]
    pub cni_binary_path: Option<String>,
    /// How many networks are made ahead.
    #[serde(rename = "cniPoolSize")]
    pub cni_pool_size: Option<i64>,
    /// The name of the bridge.
    #[serde(rename = "bridgeName")]
    pub bridge_name: Option<String>,
    /// The addresses behind the bridge.
    #[serde(rename = "bridgeSubnet")]
    pub bridge_subnet: Option<String>,
    /// The cgroup under which those of steps are made.
    #[serde(rename = "defaultCgroupParent")]
    pub default_cgroup_parent: Option<String>,
    /// The AppArmor profile of steps.
    #[serde(rename = "apparmor-profile")]
    pub apparmor_profile: Option<String>,
    /// Label steps for SELinux.
    pub selinux: Option<bool>,
    /// Steps at the same time.
    #[serde(rename = "max-parallelism")]
    pub max_parallelism: Option<i64>,
    /// Whether containerd runs in a user namespace.
    pub rootless: Option<bool>,
}

/// The runtime that containerd uses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeTable {
    /// Its name.
    pub name: Option<String>,
    /// Its shim.
    pub path: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, serde_json::Value>,
}

/// A policy of collection.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GcPolicyTable {
    /// Collect internal records and images of frontends, too.
    pub all: Option<bool>,
    /// Collect only what one of these matches, in containerd's grammar.
    pub filters: Option<Vec<Spanned<String>>>,
    /// Collect only what was not used for so long: seconds, or a duration such as `48h`.
    #[serde(rename = "keepDuration")]
    pub keep_duration: Option<Spanned<Scalar>>,
    /// The older name of `reservedSpace`.
    #[serde(rename = "keepBytes")]
    pub keep_bytes: Option<Spanned<Scalar>>,
    /// What may stay in any case: bytes, a size such as `10GB`, or a part of the disk such as `10%`.
    #[serde(rename = "reservedSpace")]
    pub reserved_space: Option<Spanned<Scalar>>,
    /// What all may take together: every byte of the state directory, at every moment, if there are
    /// neither filters nor a duration.
    #[serde(rename = "maxUsedSpace")]
    pub max_used_space: Option<Spanned<Scalar>>,
    /// What has to be free on the disk, at every moment, if there are neither filters nor a duration.
    #[serde(rename = "minFreeSpace")]
    pub min_free_space: Option<Spanned<Scalar>>,
}
