//! What a client offers inside its session: one service per file, each bounded by what was attached.

pub(crate) mod header;

mod auth;
mod content;
mod docker_config;
mod export;
mod local_dirs;
mod secrets;
mod ssh;
mod upload;

pub use auth::Auth;
pub use content::Content;
pub use docker_config::{DockerConfig, DockerConfigError};
pub use export::{DirTarget, ExportTarget, OpenWriter};
pub use local_dirs::LocalDir;
pub use secrets::SecretSource;
pub use upload::Uploads;

pub(crate) use auth::AuthService;
pub(crate) use content::ContentService;
pub(crate) use content::{read_index, tag_index};
pub(crate) use export::ExportService;
pub(crate) use local_dirs::LocalDirsService;
pub(crate) use secrets::SecretsService;
pub(crate) use ssh::SshService;
pub(crate) use upload::UploadService;
