//! A connection to a daemon, and the calls that are not builds.

use std::io;

use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use hyper_util::rt::TokioIo;
use kiln_wire::MAX_MESSAGE_BYTES;
use kiln_wire::channel::{self, Io};
use kiln_wire::proto::control::control_client::ControlClient;
use kiln_wire::proto::control::{
    DiskUsageRequest, InfoRequest, ListWorkersRequest, PruneRequest, StatusRequest, StatusResponse,
    UsageRecord,
};
use kiln_wire::proto::types::{BuildkitVersion, WorkerRecord};
use kiln_wire::status::RichStatus;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::address::{Address, AddressError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody answers there.
    #[error("cannot connect to the build daemon at {address}; is it running?")]
    Unreachable {
        /// The address.
        address: String,
        /// What the system says.
        source: tonic::transport::Error,
    },
    /// The socket is there, but not for this user.
    #[error(
        "this user may not use the build daemon at {address}, only root and the socket's group may"
    )]
    Forbidden {
        /// The address.
        address: String,
        /// What the system says.
        source: tonic::transport::Error,
    },
}

impl ConnectError {
    fn new(address: String, source: tonic::transport::Error) -> Self {
        let first: &dyn std::error::Error = &source;
        let denied = std::iter::successors(Some(first), |error| error.source())
            .filter_map(|error| error.downcast_ref::<io::Error>())
            .any(|error| error.kind() == io::ErrorKind::PermissionDenied);
        match denied {
            true => Self::Forbidden { address, source },
            false => Self::Unreachable { address, source },
        }
    }
}

/// A connection to a daemon; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to an address such as `unix:///run/kiln/kilnd.sock`.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(address: &str) -> Result<Self, ConnectError> {
        let address: Address = address.parse()?;
        let connected = match &address {
            Address::Tcp(host) => match Endpoint::from_shared(format!("http://{host}")) {
                Ok(endpoint) => channel::bounded(endpoint).connect().await,
                Err(_) => return Err(AddressError(address.to_string()).into()),
            },
            Address::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_| {
                    let path = path.clone();
                    async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
                });
                channel::bounded(Endpoint::from_static("http://localhost"))
                    .connect_with_connector(connector)
                    .await
            }
        };
        match connected {
            Ok(channel) => Ok(Self { channel }),
            Err(source) => Err(ConnectError::new(address.to_string(), source)),
        }
    }

    /// Connects over a byte stream whose other end a daemon serves, such as one in this process.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Unreachable`] if the stream is closed.
    pub async fn from_io(io: impl Io) -> Result<Self, ConnectError> {
        let connected = channel::connect(io).await;
        let channel = connected.map_err(|source| ConnectError::Unreachable {
            address: "this process".into(),
            source,
        })?;
        Ok(Self { channel })
    }

    /// The connection itself, for services this type does not know.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// What the daemon is.
    ///
    /// # Errors
    ///
    /// What the daemon says.
    pub async fn info(&self) -> Result<BuildkitVersion, RichStatus> {
        let answer = self.control().info(InfoRequest {}).await.map_err(|status| said(&status))?;
        Ok(answer.into_inner().buildkit_version.unwrap_or_default())
    }

    /// The daemon's workers, the default one first.
    ///
    /// # Errors
    ///
    /// What the daemon says.
    pub async fn list_workers(&self, filter: Vec<String>) -> Result<Vec<WorkerRecord>, RichStatus> {
        let request = ListWorkersRequest { filter };
        let answer = self.control().list_workers(request).await.map_err(|status| said(&status))?;
        Ok(answer.into_inner().record)
    }

    /// What takes room in the build cache.
    ///
    /// # Errors
    ///
    /// What the daemon says.
    pub async fn disk_usage(
        &self,
        request: DiskUsageRequest,
    ) -> Result<Vec<UsageRecord>, RichStatus> {
        let answer = self.control().disk_usage(request).await.map_err(|status| said(&status))?;
        Ok(answer.into_inner().record)
    }

    /// Prunes the build cache; yields what was deleted while it is.
    ///
    /// # Errors
    ///
    /// What the daemon says.
    pub async fn prune(
        &self,
        request: PruneRequest,
    ) -> Result<BoxStream<'static, Result<UsageRecord, RichStatus>>, RichStatus> {
        let answer = self.control().prune(request).await.map_err(|status| said(&status))?;
        Ok(answer.into_inner().map_err(|status| said(&status)).boxed())
    }

    /// Follows the progress of a build, running or recorded.
    ///
    /// # Errors
    ///
    /// What the daemon says.
    pub async fn status(
        &self,
        build: &str,
    ) -> Result<BoxStream<'static, Result<StatusResponse, RichStatus>>, RichStatus> {
        let request = StatusRequest { r#ref: build.to_owned() };
        let answer = self.control().status(request).await.map_err(|status| said(&status))?;
        Ok(answer.into_inner().map_err(|status| said(&status)).boxed())
    }
}

pub(crate) fn said(status: &tonic::Status) -> RichStatus {
    RichStatus::from_status(status)
}
