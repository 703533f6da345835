//! Local directories the daemon may read, by name.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use kiln_filesync::send::MapStat;
use kiln_filesync::{Filter, OnProgress, Root, SendOptions};
use kiln_oci::Digest;
use kiln_wire::proto::filetree::Packet;
use kiln_wire::proto::session_files::file_sync_server::FileSync;
use tonic::codegen::BoxStream;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use crate::attach::export::with_work;
use crate::attach::header;

/// In the answer: which directory this is, so that the daemon need not doubt what it has of it.
const DIRECTORY_ID: &str = "kiln-directory-id";

/// A directory, and what is said about what is in it.
#[derive(Debug, Clone, Default)]
pub struct LocalDir {
    /// Where it is.
    pub path: PathBuf,
    /// Changes entries before they are sent.
    pub map: Option<MapStat>,
    /// Hears how much of it was sent.
    pub progress: OnProgress,
}

impl<P: Into<PathBuf>> From<P> for LocalDir {
    fn from(path: P) -> Self {
        Self { path: path.into(), ..Self::default() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LocalDirsService(pub(crate) Arc<BTreeMap<String, LocalDir>>);

impl LocalDirsService {
    pub(crate) const METHODS: &[&str] = &["/moby.filesync.v1.FileSync/DiffCopy"];

    fn not_there(&self, name: &str) -> String {
        let names: Vec<String> = self.0.keys().map(|name| format!("{name:?}")).collect();
        format!("no local directory is named {name:?}, there is {}", names.join(", "))
    }
}

#[tonic::async_trait]
impl FileSync for LocalDirsService {
    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<BoxStream<Packet>>, Status> {
        let metadata = request.metadata();
        let name = header::first(metadata, "dir-name")?;
        let filter = Filter {
            include: header::all(metadata, "include-patterns")?,
            exclude: header::all(metadata, "exclude-patterns")?,
            follow_paths: header::all(metadata, "followpaths")?,
        };
        let directory =
            self.0.get(&name).ok_or_else(|| Status::not_found(self.not_there(&name)))?;
        let root =
            Root::open(&directory.path).map_err(|error| Status::not_found(with_cause(&error)))?;
        let LocalDir { map, progress, .. } = directory.clone();
        // Who owns the files here means nothing at the daemon, and would change the build's result.
        let options = SendOptions { filter, reset_owner: true, map, progress };
        let (packets, outgoing) = kiln_filesync::outgoing();
        let incoming = request.into_inner();
        let directory = directory_id(&directory.path);
        let send = async move {
            kiln_filesync::send(root, options, incoming, packets)
                .await
                .map(drop)
                .map_err(|error| Status::aborted(with_cause(&error)))
        };
        let mut response = Response::new(with_work(outgoing, send));
        if let Some(id) = directory.and_then(|id| MetadataValue::try_from(id).ok()) {
            response.metadata_mut().insert(DIRECTORY_ID, id);
        }
        Ok(response)
    }
}

/// Tells a directory from all others, on this machine and elsewhere: two that have files of the same
/// names, sizes and times are not the same. `None` where the system does not say enough.
fn directory_id(path: &Path) -> Option<String> {
    // Made by the kernel when the machine started; it is no file that says anything about its user.
    let machine = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let metadata = std::fs::metadata(path).ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    // Some file systems do not note it; those that use numbers of inodes again do.
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let text = format!("{machine} {device} {inode} {}", born.unwrap_or_default().as_nanos());
    Some(Digest::sha256(text).hex().to_owned())
}

/// An error and what is beneath it, in one line.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
