//! Logins at Amazon and Azure: from attributes, or found where the daemon runs.
//!
//! Where to look and how to ask is known by `object_store`; here is said with which variables, and
//! through which connections. Logins that expire are renewed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::azure::{AzureAccessKey, AzureConfigKey, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{
    ClientOptions, CredentialProvider, HttpClient, HttpConnector, HttpError, HttpErrorKind,
    HttpRequest, HttpResponse, HttpService,
};
use object_store::{RetryConfig, StaticCredentialProvider};

use super::environment::CloudEnvironment;
use super::http::Connections;
use super::secret::Secret;
use crate::origin::Cause;

/// A login at Amazon.
pub(crate) type AwsLogin = Arc<dyn CredentialProvider<Credential = AwsCredential>>;

/// A login at Azure.
pub(crate) type AzureLogin = Arc<dyn CredentialProvider<Credential = AzureCredential>>;

/// Variables of logins at Amazon, as its programs have them.
const AWS_VARIABLES: &[(&str, AmazonS3ConfigKey)] = &[
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
];

/// Variables of logins at Azure, as its programs have them.
const AZURE_VARIABLES: &[(&str, AzureConfigKey)] = &[
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
    ("AZURE_AUTHORITY_HOST", AzureConfigKey::AuthorityHost),
    ("AZURE_FEDERATED_TOKEN_FILE", AzureConfigKey::FederatedTokenFile),
    ("MSI_ENDPOINT", AzureConfigKey::MsiEndpoint),
    ("IDENTITY_ENDPOINT", AzureConfigKey::MsiEndpoint),
];

/// A key of Amazon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AwsKey {
    pub(crate) id: Secret,
    pub(crate) secret: Secret,
    pub(crate) session: Option<Secret>,
}

impl AwsKey {
    fn login(&self) -> AwsLogin {
        Arc::new(StaticCredentialProvider::new(AwsCredential {
            key_id: self.id.reveal().to_owned(),
            secret_key: self.secret.reveal().to_owned(),
            token: self.session.as_ref().map(|token| token.reveal().to_owned()),
        }))
    }
}

/// The login of a key, or the one that is found where the daemon runs: variables, a profile, a role of
/// the pod, of the task or of the machine.
pub(crate) fn aws(
    key: Option<&AwsKey>,
    region: &str,
    environment: &CloudEnvironment,
    connections: &Arc<Connections>,
) -> Result<AwsLogin, Cause> {
    if let Some(key) = key {
        return Ok(key.login());
    }
    let of_variables = environment.get("AWS_ACCESS_KEY_ID").is_some()
        || environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some();
    if !of_variables && let Some(key) = profile(environment)? {
        return Ok(key.login());
    }
    let builder = AmazonS3Builder::new()
        .with_bucket_name("bucket")
        .with_region(region)
        .with_retry(few())
        .with_http_connector(Connector(Arc::clone(connections)));
    let given = AWS_VARIABLES.iter().filter_map(|(name, key)| Some((key, environment.get(name)?)));
    let builder = given.fold(builder, |builder, (key, value)| builder.with_config(*key, value));
    Ok(Arc::clone(builder.build()?.credentials()))
}

/// The login of an account key, or the one that is found where the daemon runs: variables, a role of
/// the pod or of the machine.
pub(crate) fn azure(
    account: &str,
    key: Option<&Secret>,
    environment: &CloudEnvironment,
    connections: &Arc<Connections>,
) -> Result<AzureLogin, Cause> {
    if let Some(key) = key {
        // What is wrong with the key may show some of it.
        let key = AzureAccessKey::try_new(key.reveal());
        let key = key.map_err(|_| Cause::from("secret_access_key is no base64"))?;
        return Ok(Arc::new(StaticCredentialProvider::new(AzureCredential::AccessKey(key))));
    }
    let builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name("container")
        .with_retry(few())
        .with_http_connector(Connector(Arc::clone(connections)));
    let given =
        AZURE_VARIABLES.iter().filter_map(|(name, key)| Some((key, environment.get(name)?)));
    let builder = given.fold(builder, |builder, (key, value)| builder.with_config(*key, value));
    Ok(Arc::clone(builder.build()?.credentials()))
}

/// Who has no login is told so before long.
fn few() -> RetryConfig {
    RetryConfig { max_retries: 1, retry_timeout: Duration::from_secs(10), ..RetryConfig::default() }
}

/// The key of the profile that is chosen, in the file of Amazon's programs; `None` without one.
fn profile(environment: &CloudEnvironment) -> Result<Option<AwsKey>, Cause> {
    let chosen = environment.get("AWS_PROFILE");
    let file = environment.get("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let home = || Some(PathBuf::from(environment.get("HOME")?).join(".aws/credentials"));
    let Some(file) = file.or_else(home) else { return Ok(None) };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(_) if chosen.is_none() => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", file.display()).into()),
    };
    let name = chosen.unwrap_or("default");
    let found = key_of_profile(&text, name);
    match (found, chosen) {
        (None, Some(name)) => {
            let file = file.display();
            let what = format!(
                "profile {name} has no key in {file}; profiles that name a role, a process or a \
                 single sign-on are not supported, give access_key_id and secret_access_key"
            );
            Err(what.into())
        }
        (found, _) => Ok(found),
    }
}

fn key_of_profile(text: &str, name: &str) -> Option<AwsKey> {
    let lines = text.lines().map(str::trim);
    let mut is_inside = false;
    let (mut id, mut secret, mut session) = (None, None, None);
    for line in lines.filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_inside = section.trim() == name;
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| is_inside) else { continue };
        let value = Some(Secret::new(value.trim()));
        match key.trim() {
            "aws_access_key_id" => id = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => session = value,
            _ => {}
        }
    }
    Some(AwsKey { id: id?, secret: secret?, session })
}

/// Our own connections, for those who look for logins.
#[derive(Debug)]
struct Connector(Arc<Connections>);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(Arc::clone(&self.0))))
    }
}

#[derive(Debug)]
struct Service(Arc<Connections>);

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = request.uri().to_string().parse();
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let client = self.0.to(&url);
        let client = client.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        match tokio::time::timeout(ANSWER, HttpService::call(client, request)).await {
            Ok(answer) => answer,
            Err(late) => Err(HttpError::new(HttpErrorKind::Timeout, late)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_has_its_key_in_the_file_of_amazons_programs() {
        let text = "# mine\n[default]\naws_access_key_id=A\naws_secret_access_key = B\n\n\
                    [ci]\naws_access_key_id = C\naws_secret_access_key = D\naws_session_token=E\n\
                    [sso]\nsso_start_url = x\n";
        let key = |name| key_of_profile(text, name);
        let shown = |key: Option<AwsKey>| {
            key.map(|key| {
                let session = key.session.map(|token| token.reveal().to_owned());
                (key.id.reveal().to_owned(), key.secret.reveal().to_owned(), session)
            })
        };
        assert_eq!(shown(key("default")), Some(("A".into(), "B".into(), None)));
        assert_eq!(shown(key("ci")), Some(("C".into(), "D".into(), Some("E".into()))));
        assert_eq!((key("sso"), key("none")), (None, None));
    }
}
