//! A registry as a place for packed images.

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use http::HeaderValue;
use kiln_client::Auth;
use kiln_oci::Reference;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, RegistryOperation};

use super::image::FrontendImage;
use super::sink::ImageSink;

/// Pushes to the registry an image's name says, with the logins that Docker keeps.
pub(crate) struct RegistrySink(pub(crate) Option<Auth>);

impl RegistrySink {
    async fn login(&self, name: &Reference) -> anyhow::Result<RegistryAuth> {
        let host = kiln_registry::host_of(name.domain());
        let Some(logins) = &self.0 else { return Ok(RegistryAuth::Anonymous) };
        match logins.login(host).await? {
            None => Ok(RegistryAuth::Anonymous),
            Some((user, _)) if user.is_empty() => bail!(
                "the login for {host} is an identity token, which is not understood here: log in with a user \
                 and a password, or write an archive (--output type=oci,dest=FILE) and push that"
            ),
            Some((user, secret)) => Ok(RegistryAuth::Basic(user, secret)),
        }
    }
}

#[async_trait]
impl ImageSink for RegistrySink {
    async fn put(&self, image: &FrontendImage, name: &Reference) -> anyhow::Result<()> {
        kiln_registry::install_crypto();
        let login = self.login(name).await?;
        let is_plain = kiln_registry::is_this_machine(name.domain());
        let protocol = if is_plain { ClientProtocol::Http } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig { protocol, ..ClientConfig::default() });
        let target: oci_client::Reference = name.to_string().parse()?;
        let allowed = client.auth(&target, &login, RegistryOperation::Push).await;
        allowed.with_context(|| format!("failed to log in to {}", name.domain()))?;
        for blob in [&image.layer, &image.config] {
            let digest = blob.descriptor.digest.as_str();
            if client.blob_exists(&target, digest).await.unwrap_or_default() {
                continue;
            }
            client
                .push_blob(&target, blob.bytes.clone(), digest)
                .await
                .with_context(|| format!("failed to push {digest}"))?;
        }
        let manifest = &image.manifest;
        let media_type = HeaderValue::from_str(&manifest.descriptor.media_type)?;
        client
            .push_manifest_raw(&target, manifest.bytes.clone(), media_type)
            .await
            .with_context(|| format!("failed to push the manifest of {name}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(host: &str, user: &str) -> RegistrySink {
        RegistrySink(Some(Auth::default().with(host, user, "word")))
    }

    #[tokio::test]
    async fn whoever_is_logged_in_with_docker_pushes_as_such() {
        let login = async |host: &str, name: &str| {
            sink(host, "me").login(&name.parse().unwrap()).await.unwrap()
        };
        let me = RegistryAuth::Basic("me".to_owned(), "word".to_owned());
        assert!(login("example.com", "example.com/front:1").await == me);
        assert!(login("registry-1.docker.io", "front").await == me);
        assert!(login("example.com", "example.org/front:1").await == RegistryAuth::Anonymous);
    }

    #[tokio::test]
    async fn an_identity_token_is_refused_by_name() {
        let name = "example.com/front:1".parse().unwrap();
        let error = sink("example.com", "").login(&name).await.unwrap_err().to_string();
        assert!(error.contains("example.com is an identity token"), "{error}");
    }

    #[tokio::test]
    async fn a_registry_that_is_not_there_is_named() {
        let image = FrontendImage::pack(
            std::path::Path::new("/"),
            std::path::Path::new("/bin/true"),
            &super::super::ImageOptions::default(),
        )
        .unwrap();
        let name = "localhost:1/front:v1".parse().unwrap();
        let error = RegistrySink(None).put(&image, &name).await.unwrap_err();
        assert_eq!(error.to_string(), "failed to log in to localhost:1");
    }
}
