//! A registry as a place for packed images.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use kiln_client::Auth;
use kiln_oci::Reference;
use kiln_registry::{
    Credential, Credentials, CredentialsError, Hosts, Options, Registry, Token, TokenRequest,
};

use super::image::FrontendImage;
use super::sink::ImageSink;

/// The logins that Docker keeps, as those of whoever runs this program.
pub(crate) struct DockerLogins(pub(crate) Auth);

#[async_trait]
impl Credentials for DockerLogins {
    fn identity(&self) -> &'static str {
        "docker"
    }

    async fn credentials(&self, host: &str) -> Result<Option<Credential>, CredentialsError> {
        let login = self.0.login(host).await?;
        Ok(login.map(|(username, secret)| Credential { username, secret }))
    }

    async fn fetch_token(&self, _: &TokenRequest) -> Result<Option<Token>, CredentialsError> {
        Ok(None)
    }
}

/// Pushes to the registry an image's name says.
pub(crate) struct RegistrySink {
    registry: Registry,
    credentials: Arc<dyn Credentials>,
}

impl RegistrySink {
    /// A sink that pushes in the name of `credentials`.
    pub(crate) fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self { registry: Registry::new(Hosts::default(), Options::default()), credentials }
    }
}

#[async_trait]
impl ImageSink for RegistrySink {
    async fn put(&self, image: &FrontendImage, name: &Reference) -> anyhow::Result<()> {
        let credentials = self.credentials.as_ref();
        for blob in [&image.layer, &image.config] {
            let body = Arc::new(Bytes::copy_from_slice(&blob.bytes));
            self.registry
                .push_blob(name, &blob.descriptor, body, &[], credentials)
                .await
                .with_context(|| format!("failed to push {}", blob.descriptor.digest))?;
        }
        let manifest = &image.manifest;
        let bytes = Bytes::copy_from_slice(&manifest.bytes);
        self.registry
            .push_manifest(name, &manifest.descriptor.media_type, bytes, credentials)
            .await
            .with_context(|| format!("failed to push the manifest of {name}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kiln_registry::NoCredentials;

    use super::*;

    #[tokio::test]
    async fn whoever_is_logged_in_with_docker_pushes_as_such() {
        let logins = DockerLogins(Auth::default().with("example.com", "me", "word"));
        let login = logins.credentials("example.com").await.unwrap().unwrap();
        assert_eq!((login.username.as_str(), login.secret.as_str()), ("me", "word"));
        assert!(logins.credentials("example.org").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_registry_that_is_not_there_is_an_error_about_the_blob() {
        let image = FrontendImage::pack(
            std::path::Path::new("/"),
            std::path::Path::new("/bin/true"),
            &super::super::ImageOptions::default(),
        )
        .unwrap();
        let options = Options { retry_delays: Vec::new(), ..Options::default() };
        let sink = RegistrySink {
            registry: Registry::new(Hosts::default(), options),
            credentials: Arc::new(NoCredentials),
        };
        let name = "localhost:1/front:v1".parse().unwrap();
        let error = sink.put(&image, &name).await.unwrap_err();
        assert!(error.to_string().contains("failed to push sha256:"), "{error}");
    }
}
