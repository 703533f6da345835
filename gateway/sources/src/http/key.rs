//! Keys of a file: for the cache, and for what is remembered about its URL.

use std::time::SystemTime;

use kiln_graph::HttpSource;
use kiln_keys::source::{HttpKey, SourceKey};
use kiln_oci::Digest;

/// The cache key.
pub(crate) fn key(
    source: &HttpSource,
    filename: &str,
    checksum: &Digest,
    last_modified: Option<SystemTime>,
) -> SourceKey {
    let key = HttpKey {
        filename,
        perm: source.perm.unwrap_or(0),
        uid: source.uid,
        gid: source.gid,
        checksum,
        last_modified: &last_modified.map(httpdate::fmt_http_date).unwrap_or_default(),
        auth_header_secret: &source.auth_header_secret,
        accept: &source.accept,
        user_agent: &source.user_agent,
    };
    key.key()
}

/// Under what an answer is remembered: everything that makes the result another one.
pub(crate) fn memory_key(source: &HttpSource) -> String {
    let parts = (
        &source.url,
        &source.filename,
        (source.perm, source.uid, source.gid),
        &source.auth_header_secret,
        (&source.accept, &source.user_agent),
    );
    Digest::sha256(serde_json::to_vec(&parts).unwrap_or_default()).to_string()
}
