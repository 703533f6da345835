//! Single files over HTTP (`http://`, `https://`).

use kiln_oci::Digest;

use super::{SourceVertex, owner, permissions};
use crate::{Constraints, FileMode, State, caps};

/// Options of [`State::http`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Http {
    /// The digest the content must have.
    pub checksum: Option<Digest>,
    /// The name of the file in the result; the URL's last part if empty.
    pub filename: String,
    /// Permissions of the file.
    pub mode: Option<FileMode>,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
    /// The secret that holds the `Authorization` header.
    pub auth_header_secret: String,
    /// Headers of the request.
    pub header: Option<HttpHeader>,
    /// The signature the content must have.
    pub signature: Option<HttpSignature>,
    /// What is said about the op.
    pub constraints: Constraints,
}

crate::setters!(Http {
    with_checksum(checksum: impl Into<Option<Digest>>),
    with_filename(filename: impl Into<String>),
    with_uid(uid: u32),
    with_gid(gid: u32),
    with_auth_header_secret(auth_header_secret: impl Into<String>),
    with_header(header: impl Into<Option<HttpHeader>>),
    with_signature(signature: impl Into<Option<HttpSignature>>),
    with_constraints(constraints: Constraints),
});

impl Http {
    /// The same with this [`mode`](#structfield.mode).
    #[must_use]
    pub fn with_mode(mut self, mode: impl Into<FileMode>) -> Self {
        self.mode = Some(mode.into());
        self
    }
}

/// Headers of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpHeader {
    /// `Accept`.
    pub accept: String,
    /// `User-Agent`.
    pub user_agent: String,
}

crate::setters!(HttpHeader {
    with_accept(accept: impl Into<String>),
    with_user_agent(user_agent: impl Into<String>),
});

/// A detached signature and the key it must be made with, both armoured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpSignature {
    /// The public key.
    pub public_key: String,
    /// The signature.
    pub signature: String,
}

crate::setters!(HttpSignature {
    with_public_key(public_key: impl Into<String>),
    with_signature(signature: impl Into<String>),
});

impl State {
    /// A directory with one file, downloaded from a URL.
    pub fn http(url: &str, http: Http) -> Self {
        let mut source = SourceVertex::new(caps::SOURCE_HTTP);
        source.identifier = url.into();
        let checksum = http.checksum.as_ref().map(Digest::to_string).unwrap_or_default();
        source.set_capable("http.checksum", checksum, caps::SOURCE_HTTP_CHECKSUM);
        source.set("http.filename", http.filename);
        source.set_capable("http.perm", permissions(http.mode), caps::SOURCE_HTTP_PERM);
        source.set_capable("http.uid", owner(http.uid), caps::SOURCE_HTTP_UIDGID);
        source.set_capable("http.gid", owner(http.gid), caps::SOURCE_HTTP_UIDGID);
        source.set_capable(
            "http.authheadersecret",
            http.auth_header_secret,
            caps::SOURCE_HTTP_AUTH,
        );
        if let Some(header) = http.header {
            source.caps.push(caps::SOURCE_HTTP_HEADER);
            source.set("http.header.accept", header.accept);
            source.set("http.header.user-agent", header.user_agent);
        }
        if let Some(signature) = http.signature {
            source.caps.push(caps::SOURCE_HTTP_SIGNATURE_VERIFY);
            source.set("http.sig.pubkey", signature.public_key);
            source.set("http.sig.signature", signature.signature);
        }
        source.state(http.constraints)
    }
}
