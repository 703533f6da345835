//! Secrets of the client, as files in memory for as long as a process needs them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_engine::{ErrorKind, JobContext, OpError};
use kiln_sources::Session as _;
use rustix::mount::{MountFlags, mount};

use crate::containers::Inner;

/// Where secrets are written: a file system in memory, mounted when the first one comes.
#[derive(Debug)]
pub(crate) struct SecretFiles {
    root: PathBuf,
    ready: OnceLock<()>,
    next: AtomicU64,
}

/// A secret as a file; gone when dropped.
#[derive(Debug)]
pub(crate) struct SecretFile(PathBuf);

impl SecretFiles {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, ready: OnceLock::new(), next: AtomicU64::new(0) }
    }

    /// Writes a secret with its owner and permissions.
    pub(crate) fn write(
        &self,
        data: &[u8],
        uid: u32,
        gid: u32,
        mode: u32,
    ) -> io::Result<SecretFile> {
        if self.ready.get().is_none() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
            mount(
                "tmpfs",
                &self.root,
                "tmpfs",
                MountFlags::NOSUID | MountFlags::NODEV,
                Some(c"mode=0700"),
            )?;
            // Two at once mount twice, one over the other, and both work.
            self.ready.get_or_init(|| ());
        }
        let file =
            SecretFile(self.root.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()));
        let mut opened =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.0)?;
        opened.write_all(data)?;
        kiln_store::owner::set_owner(&file.0, uid, gid)?;
        fs::set_permissions(&file.0, fs::Permissions::from_mode(mode))?;
        Ok(file)
    }
}

impl SecretFile {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SecretFile {
    fn drop(&mut self) {
        // Nothing is left to do if it is gone already.
        fs::remove_file(&self.0).ok();
    }
}

/// A secret of the client; `None` if it has none and may have none.
pub(crate) async fn secret(
    machine: &Inner,
    job: &JobContext,
    id: &str,
    optional: bool,
) -> Result<Option<Vec<u8>>, OpError> {
    let found = machine.clients(job).secret(id).await;
    let found =
        found.map_err(|error| OpError::new(ErrorKind::Failed, format!("secret {id}: {error}")))?;
    match found {
        None if !optional => {
            Err(OpError::new(ErrorKind::NotFound, format!("secret {id}: not found")))
        }
        found => Ok(found),
    }
}
