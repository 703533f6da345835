//! Keys of a file: for the cache, and for what is remembered about its URL.

use std::time::SystemTime;

use kiln_graph::HttpSource;
use kiln_oci::Digest;
use serde::Serialize;

/// A header of the user, as it stands in keys.
#[derive(Serialize)]
struct Field<'a> {
    #[serde(rename = "Name")]
    name: &'static str,
    #[serde(rename = "Value")]
    value: &'a str,
}

fn fields(source: &HttpSource) -> Vec<Field<'_>> {
    let accept = Field { name: "Accept", value: &source.accept };
    let user_agent = Field { name: "User-Agent", value: &source.user_agent };
    [accept, user_agent].into_iter().filter(|field| !field.value.is_empty()).collect()
}

/// The cache key: BuildKit's JSON, field by field.
pub(crate) fn key_digest(
    source: &HttpSource,
    filename: &str,
    checksum: &Digest,
    last_modified: Option<SystemTime>,
) -> Digest {
    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Key<'a> {
        filename: &'a str,
        perm: u32,
        #[serde(rename = "UID")]
        uid: u32,
        #[serde(rename = "GID")]
        gid: u32,
        checksum: &'a Digest,
        #[serde(skip_serializing_if = "String::is_empty")]
        last_mod_time: String,
        #[serde(skip_serializing_if = "str::is_empty")]
        auth_header_secret: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        header: Vec<Field<'a>>,
    }
    let key = Key {
        filename,
        perm: source.perm.unwrap_or(0),
        uid: source.uid,
        gid: source.gid,
        checksum,
        last_mod_time: last_modified.map(httpdate::fmt_http_date).unwrap_or_default(),
        auth_header_secret: &source.auth_header_secret,
        header: fields(source),
    };
    Digest::sha256(crate::gojson::to_string(&key))
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
