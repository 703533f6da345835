//! `[registry."…"]`: how a registry is reached.

use kiln_document::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

/// How a registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryTable {
    /// Asked first when images are pulled: `HOST[:PORT][/PATH]`. A mirror may have a table of its
    /// own, under its host and port.
    pub mirrors: Option<Vec<Spanned<String>>>,
    /// Speak plain HTTP. Without it, only to this machine.
    pub http: Option<bool>,
    /// Take any certificate; with `http`, plain HTTP if there is no TLS.
    pub insecure: Option<bool>,
    /// PEM files of authorities to trust besides the system's.
    pub ca: Option<Vec<String>>,
    /// The certificate to show.
    pub keypair: Option<Vec<Spanned<KeyPairTable>>>,
    /// Directories in Docker's layout: `*.crt` are authorities, `X.cert` with `X.key` a certificate.
    pub tlsconfigdir: Option<Vec<String>>,
}

/// A certificate with its key: PEM files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyPairTable {
    /// The private key.
    pub key: String,
    /// The certificate.
    pub cert: String,
}
