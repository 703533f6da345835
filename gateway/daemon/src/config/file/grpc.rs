//! `[grpc]`: where clients connect.

use kiln_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::quantity::Scalar;

/// Where clients connect.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcTable {
    /// `unix://PATH`, `tcp://HOST:PORT`, or `fd://` for a socket that systemd hands over.
    pub address: Option<Vec<Spanned<String>>>,
    /// Where metrics and the state of the daemon are shown over HTTP: `HOST:PORT` or `unix://PATH`.
    #[serde(rename = "debugAddress")]
    pub debug_address: Option<Spanned<String>>,
    /// The owner of Unix sockets, a number.
    pub uid: Option<Spanned<i64>>,
    /// The group of Unix sockets, a number or a name.
    pub gid: Option<Spanned<Scalar>>,
    /// For named pipes of Windows.
    #[serde(rename = "securityDescriptor")]
    pub security_descriptor: Option<String>,
    /// TLS for TCP sockets.
    pub tls: TlsTable,
}

/// TLS for TCP sockets: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsTable {
    /// The certificate of the daemon.
    pub cert: Option<Spanned<String>>,
    /// Its private key.
    pub key: Option<Spanned<String>>,
    /// The authorities that sign the certificates of clients; clients need none without it.
    pub ca: Option<Spanned<String>>,
}
