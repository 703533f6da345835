//! `--registry-auth-tlscontext`: how registries are spoken to when tokens are fetched.

use std::path::PathBuf;

use super::{Fields, OptionError};

/// The TLS of one registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryTls {
    /// The registry, as in references.
    pub host: String,
    /// Its certificate authority.
    pub ca: Option<PathBuf>,
    /// This client's certificate and key.
    pub keypair: Option<(PathBuf, PathBuf)>,
    /// Certificates are not checked.
    pub insecure: bool,
}

impl RegistryTls {
    /// Reads one option.
    ///
    /// # Errors
    ///
    /// If the host is missing, a certificate has no key, or a field is unknown.
    pub(crate) fn parse(text: &str) -> Result<Self, OptionError> {
        let mut fields = Fields::parse("--registry-auth-tlscontext", text)?;
        let host = fields.require("host")?;
        let ca = fields.take("ca").map(PathBuf::from);
        let keypair = match (fields.take("cert"), fields.take("key")) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            _ => return Err(fields.error("cert and key come together")),
        };
        let insecure = fields.take_bool("insecure")?.unwrap_or(false);
        fields.done()?;
        Ok(Self { host, ca, keypair, insecure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_key() {
        let tls = RegistryTls::parse("host=h:5000,ca=c,cert=a,key=b").unwrap();
        assert_eq!(tls.keypair, Some(("a".into(), "b".into())));
        assert!(RegistryTls::parse("host=h,cert=a").is_err());
        assert!(RegistryTls::parse("ca=a").is_err());
    }
}
