//! Names of LLB features, as they stand in op metadata and in what a daemon advertises.
//!
//! The names are BuildKit's (its typing error in [`SOURCE_HTTP_UIDGID`] included). A [`CapSet`] is
//! what one daemon can do; without one, nothing is assumed. Two names that BuildKit defines but its
//! daemon refuses (`exec.meta.removemountstubs.recursive`, `file.copy.modestring`) are left out.

use std::collections::BTreeSet;
use std::sync::Arc;

macro_rules! capabilities {
    ($($name:ident = $id:literal),* $(,)?) => {
        $(#[doc = concat!("`", $id, "`")] pub const $name: &str = $id;)*
        /// Every LLB feature this crate knows by name.
        pub const ALL: &[&str] = &[$($id),*];
    };
}

capabilities! {
    SOURCE_IMAGE = "source.image",
    SOURCE_IMAGE_RESOLVE_MODE = "source.image.resolvemode",
    SOURCE_IMAGE_LAYER_LIMIT = "source.image.layerlimit",
    SOURCE_IMAGE_CHECKSUM = "source.image.checksum",
    SOURCE_IMAGE_BLOB = "source.imageblob",
    SOURCE_LOCAL = "source.local",
    SOURCE_LOCAL_UNIQUE = "source.local.unique",
    SOURCE_LOCAL_SESSION_ID = "source.local.sessionid",
    SOURCE_LOCAL_INCLUDE_PATTERNS = "source.local.includepatterns",
    SOURCE_LOCAL_FOLLOW_PATHS = "source.local.followpaths",
    SOURCE_LOCAL_EXCLUDE_PATTERNS = "source.local.excludepatterns",
    SOURCE_LOCAL_SHARED_KEY_HINT = "source.local.sharedkeyhint",
    SOURCE_LOCAL_DIFFER = "source.local.differ",
    SOURCE_LOCAL_METADATA_TRANSFER = "source.local.metadatatransfer",
    SOURCE_GIT = "source.git",
    SOURCE_GIT_KEEP_DIR = "source.git.keepgitdir",
    SOURCE_GIT_FULL_URL = "source.git.fullurl",
    SOURCE_GIT_HTTP_AUTH = "source.git.httpauth",
    SOURCE_GIT_KNOWN_SSH_HOSTS = "source.git.knownsshhosts",
    SOURCE_GIT_MOUNT_SSH_SOCK = "source.git.mountsshsock",
    SOURCE_GIT_SUBDIR = "source.git.subdir",
    SOURCE_GIT_CHECKSUM = "source.git.checksum",
    SOURCE_GIT_SKIP_SUBMODULES = "source.git.skipsubmodules",
    SOURCE_GIT_SIGNATURE_VERIFY = "source.git.signatureverify",
    SOURCE_GIT_MTIME = "source.git.mtime",
    SOURCE_GIT_FETCH_BY_COMMIT = "source.git.fetchbycommit",
    SOURCE_GIT_BUNDLE = "source.git.bundle",
    SOURCE_GIT_CHECKOUT_BUNDLE = "source.git.checkoutbundle",
    SOURCE_HTTP = "source.http",
    SOURCE_HTTP_AUTH = "source.http.auth",
    SOURCE_HTTP_CHECKSUM = "source.http.checksum",
    SOURCE_HTTP_PERM = "source.http.perm",
    SOURCE_HTTP_HEADER = "source.http.header",
    SOURCE_HTTP_SIGNATURE_VERIFY = "source.http.signatureverify",
    SOURCE_HTTP_UIDGID = "soruce.http.uidgid",
    SOURCE_OCI_LAYOUT = "source.ocilayout",
    BUILD_OP_FILENAME = "source.buildop.llbfilename",
    EXEC_META_BASE = "exec.meta.base",
    EXEC_META_CGROUP_PARENT = "exec.meta.cgroup.parent",
    EXEC_META_NETWORK = "exec.meta.network",
    EXEC_META_NETWORK_PROXY = "exec.meta.network.proxy",
    EXEC_META_PROXY = "exec.meta.proxyenv",
    EXEC_META_SECURITY = "exec.meta.security",
    EXEC_META_SECURITY_DEVICES = "exec.meta.security.devices.v1",
    EXEC_META_SETS_DEFAULT_PATH = "exec.meta.setsdefaultpath",
    EXEC_META_ULIMIT = "exec.meta.ulimit",
    EXEC_META_CDI = "exec.meta.cdi",
    EXEC_META_LINUX_RESOURCES = "exec.meta.linux.resources",
    EXEC_CGROUP = "exec.cgroup",
    EXEC_SECRET_ENV = "exec.secretenv",
    EXEC_VALID_EXIT_CODE = "exec.validexitcode",
    EXEC_MOUNT_BIND = "exec.mount.bind",
    EXEC_MOUNT_BIND_NO_OUTPUT = "exec.mount.bind.readwrite-nooutput",
    EXEC_MOUNT_CACHE = "exec.mount.cache",
    EXEC_MOUNT_CACHE_SHARING = "exec.mount.cache.sharing",
    EXEC_MOUNT_CONTENT_CACHE = "exec.mount.cache.content",
    EXEC_MOUNT_SELECTOR = "exec.mount.selector",
    EXEC_MOUNT_TMPFS = "exec.mount.tmpfs",
    EXEC_MOUNT_TMPFS_SIZE = "exec.mount.tmpfs.size",
    EXEC_MOUNT_SECRET = "exec.mount.secret",
    EXEC_MOUNT_SSH = "exec.mount.ssh",
    FILE_BASE = "file.base",
    FILE_RM_WILDCARD = "file.rm.wildcard",
    FILE_RM_NO_FOLLOW_SYMLINK = "file.rm.nofollowsymlink",
    FILE_COPY_INCLUDE_EXCLUDE = "file.copy.includeexcludepatterns",
    FILE_COPY_REQUIRED_PATHS = "file.copy.requiredpaths",
    FILE_COPY_ALWAYS_REPLACE = "file.copy.alwaysreplaceexistingdestpaths",
    FILE_SYMLINK_CREATE = "file.symlink.create",
    CONSTRAINTS = "constraints",
    PLATFORM = "platform",
    META_IGNORE_CACHE = "meta.ignorecache",
    META_DESCRIPTION = "meta.description",
    META_EXPORT_CACHE = "meta.exportcache",
    MERGE_OP = "mergeop",
    DIFF_OP = "diffop",
    PASSTHROUGH_OP = "passthroughop",
}

/// The features one daemon has. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapSet(Arc<BTreeSet<String>>);

impl CapSet {
    /// Every feature this crate knows.
    pub fn all() -> Self {
        ALL.iter().copied().collect()
    }

    /// The same set without one feature.
    #[must_use]
    pub fn without(mut self, id: &str) -> Self {
        Arc::make_mut(&mut self.0).remove(id);
        self
    }

    /// Whether the daemon has a feature.
    pub fn supports(&self, id: &str) -> bool {
        self.0.contains(id)
    }
}

impl<S: Into<String>> FromIterator<S> for CapSet {
    fn from_iter<I: IntoIterator<Item = S>>(ids: I) -> Self {
        Self(Arc::new(ids.into_iter().map(Into::into).collect()))
    }
}
