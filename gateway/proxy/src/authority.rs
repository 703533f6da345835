//! The authority whose word steps take for who a server is.
//!
//! It is made anew by every daemon and never leaves its memory but for its certificate. Certificates of
//! servers are made when a step asks for the server, and remembered for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// How long the authority is good; daemons are started anew more often.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long the certificate of a server is good.
const SERVER_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// A certificate is made anew when it is good for no longer than that.
const RENEWED_BEFORE: Duration = Duration::from_secs(60 * 60);
/// Clocks of steps may be behind.
const BEFORE_NOW: Duration = Duration::from_secs(60 * 60);
/// How many servers are remembered.
const MAX_SERVERS: usize = 1024;
/// Longer names are no names.
const MAX_NAME_BYTES: usize = 253;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// It cannot be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// It cannot be used.
    #[error("cannot use a certificate")]
    Tls(#[from] rustls::Error),
    /// A server has no name that could be in one.
    #[error("a server cannot be called {0:?}")]
    Name(String),
}

/// See the module.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// All servers have the same key, which is this daemon's.
    key: KeyPair,
    servers: Mutex<IndexMap<String, Server>>,
}

struct Server {
    config: Arc<ServerConfig>,
    good_until: SystemTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority that is good from now on.
    ///
    /// # Errors
    ///
    /// If there is no randomness.
    pub fn new(now: SystemTime) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Kiln proxy of steps");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        (params.not_before, params.not_after) = life(now, AUTHORITY_LIFE);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self { issuer, key: KeyPair::generate()?, servers: Mutex::default() })
    }

    /// Its certificate, as PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// What a server of this name needs to speak TLS.
    ///
    /// # Errors
    ///
    /// If the name is none.
    pub fn server(&self, name: &str, now: SystemTime) -> Result<Arc<ServerConfig>, AuthorityError> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(name)
            && server.good_until > now
        {
            return Ok(Arc::clone(&server.config));
        }
        let config = Arc::new(self.make(name, now)?);
        servers.shift_remove(name);
        if servers.len() >= MAX_SERVERS {
            servers.shift_remove_index(0);
        }
        let good_until = now + SERVER_LIFE - RENEWED_BEFORE;
        servers.insert(name.to_owned(), Server { config: Arc::clone(&config), good_until });
        Ok(config)
    }

    fn make(&self, name: &str, now: SystemTime) -> Result<ServerConfig, AuthorityError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(AuthorityError::Name(name.chars().take(MAX_NAME_BYTES).collect()));
        }
        // An address is told from a name by its form.
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        // Common names are short.
        params
            .distinguished_name
            .push(DnType::CommonName, name.chars().take(64).collect::<String>());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = life(now, SERVER_LIFE);
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn life(now: SystemTime, life: Duration) -> (time::OffsetDateTime, time::OffsetDateTime) {
    ((now - BEFORE_NOW).into(), (now + life).into())
}
