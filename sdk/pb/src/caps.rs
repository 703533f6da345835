//! Capability names: what a daemon can do, as `Ping` tells frontends and clients.
//!
//! Two tables, one row per capability this daemon really has. The names are BuildKit's, its typing
//! error in `soruce.http.uidgid` included, because that is what the far side looks for.

use crate::apicaps::ApiCap;

/// LLB features (`solver/pb/caps.go`).
pub const LLB: &[&str] = &[
    "source.image",
    "source.image.resolvemode",
    "source.image.checksum",
    "source.image.layerlimit",
    "source.local",
    "source.local.unique",
    "source.local.sessionid",
    "source.local.includepatterns",
    "source.local.followpaths",
    "source.local.excludepatterns",
    "source.local.sharedkeyhint",
    "source.local.differ",
    "source.git",
    "source.git.keepgitdir",
    "source.git.fullurl",
    "source.git.httpauth",
    "source.git.knownsshhosts",
    "source.git.mountsshsock",
    "source.git.subdir",
    "source.git.checksum",
    "source.git.skipsubmodules",
    "source.git.mtime",
    "source.http",
    "source.http.auth",
    "source.http.checksum",
    "source.http.perm",
    "source.http.header",
    "soruce.http.uidgid",
    "source.ocilayout",
    "passthroughop",
    "exec.meta.base",
    "exec.meta.cdi",
    "exec.meta.cgroup.parent",
    "exec.meta.network",
    "exec.meta.network.proxy",
    "exec.meta.proxyenv",
    "exec.meta.security",
    "exec.meta.setsdefaultpath",
    "exec.meta.ulimit",
    "exec.meta.linux.resources",
    "exec.cgroup",
    "exec.secretenv",
    "exec.validexitcode",
    "exec.mount.bind",
    "exec.mount.bind.readwrite-nooutput",
    "exec.mount.cache",
    "exec.mount.cache.sharing",
    "exec.mount.selector",
    "exec.mount.tmpfs",
    "exec.mount.tmpfs.size",
    "exec.mount.secret",
    "exec.mount.ssh",
    "exec.mount.cache.content",
    "file.base",
    "file.rm.wildcard",
    "file.rm.nofollowsymlink",
    "file.copy.includeexcludepatterns",
    "file.copy.requiredpaths",
    "file.copy.alwaysreplaceexistingdestpaths",
    "file.symlink.create",
    "constraints",
    "platform",
    "meta.ignorecache",
    "meta.description",
    "meta.exportcache",
    "mergeop",
    "diffop",
    "exporter.image.annotations",
    "exporter.image.attestations",
    "exporter.multiple",
    "exporter.session",
    "exporter.sourcedateepoch",
    "source.policy",
    "source.policy.session",
    "gc.freespacefilter",
    "history.filter",
];

/// Features of the gateway service (`frontend/gateway/pb/caps.go`).
pub const GATEWAY: &[&str] = &[
    "solve.base",
    "resolveimage",
    "resolveimage.resolvemode",
    "readfile",
    "return",
    "returnmap",
    "readdir",
    "statfile",
    "proto.refarray",
    "reference.output",
    "frontend.inputs",
    "gateway.solve.metadata",
    "frontend.caps",
    "gateway.solve.evaluate",
    "gateway.exec",
    "gateway.exec.extrahosts",
    "gateway.exec.filesystem",
    "gateway.exec.secretenv",
    "gateway.exec.signals",
    "gateway.evaluate",
    "gateway.warnings",
    "importcaches",
    "reference.attestations",
    "source.metaresolver",
    "source.metaresolver.image.attestations",
    SESSIONS_APART,
];

/// Kiln's own: directories of different clients are different work although their LLB is the same,
/// so a frontend need not write the session into it.
pub const SESSIONS_APART: &str = "kiln.sessions.apart";

/// A table as it travels in `Pong`.
pub fn advertise(table: &[&str]) -> Vec<ApiCap> {
    table
        .iter()
        .map(|id| ApiCap { id: (*id).to_owned(), enabled: true, ..ApiCap::default() })
        .collect()
}
