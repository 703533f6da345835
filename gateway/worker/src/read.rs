//! Looking into a result: files, directories and attributes, by paths that stay inside it.

use std::fs::{self, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kiln_engine::{ErrorKind, OpError};
use kiln_filesync::glob::Glob;
use kiln_store::Ref;

use crate::scope;
use crate::worker::{blocking, failed};

/// The largest piece of a file that is read at once, in bytes; more does not fit into a message.
const MAX_READ: u64 = 15 << 20;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileStat {
    /// Its name, or the path that was asked for.
    pub path: String,
    /// POSIX `st_mode`.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its length in bytes; 0 for a directory.
    pub size: u64,
    /// When it was changed, in nanoseconds since 1970.
    pub modified: i64,
    /// Where it points, if it is a symbolic link.
    pub target: String,
}

/// Reads a file, or `length` bytes of it from `offset` on.
///
/// # Errors
///
/// If there is no such file, it is not a regular one, or it is too large to be read at once.
pub async fn read_file(
    of: &Ref,
    path: &str,
    range: Option<(u64, u64)>,
) -> Result<Vec<u8>, OpError> {
    let path = path.to_owned();
    within(of, path, move |root, path| {
        let found = scope::resolve(root, path, true)?;
        let metadata = fs::metadata(&found)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut file = fs::File::open(found)?;
        let (offset, length) = range.unwrap_or((0, 0));
        let length = if length == 0 { metadata.len().saturating_sub(offset) } else { length };
        if length > MAX_READ {
            return Err(io::Error::other(format!(
                "{length} bytes are too many to be read at once"
            )));
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut data = Vec::new();
        file.take(length).read_to_end(&mut data)?;
        Ok(data)
    })
    .await
}

/// Lists a directory, one level; an empty pattern fits everything.
///
/// # Errors
///
/// If there is no such directory.
pub async fn read_dir(of: &Ref, path: &str, pattern: &str) -> Result<Vec<FileStat>, OpError> {
    let pattern = pattern.to_owned();
    within(of, path.to_owned(), move |root, path| {
        let glob = match pattern.as_str() {
            "" => None,
            pattern => {
                Some(Glob::parse(pattern).map_err(|error| io::Error::other(error.to_string()))?)
            }
        };
        let mut list = Vec::new();
        for entry in fs::read_dir(scope::resolve(root, path, true)?)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if glob.as_ref().is_none_or(|glob| glob.matches(&name)) {
                list.push(stat(&entry.path(), name, &fs::symlink_metadata(entry.path())?)?);
            }
        }
        list.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(list)
    })
    .await
}

/// Looks at a path; symbolic links are followed.
///
/// # Errors
///
/// If there is nothing at the path.
pub async fn stat_file(of: &Ref, path: &str) -> Result<FileStat, OpError> {
    within(of, path.to_owned(), |root, path| {
        let found = scope::resolve(root, path, true)?;
        stat(&found, path.to_owned(), &fs::symlink_metadata(&found)?)
    })
    .await
}

async fn within<T: Send + 'static>(
    of: &Ref,
    path: String,
    look: impl FnOnce(&Path, &str) -> io::Result<T> + Send + 'static,
) -> Result<T, OpError> {
    let mounted = of.mount().await.map_err(|error| failed(&error))?;
    blocking(move || {
        look(mounted.path(), &path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                OpError::new(ErrorKind::NotFound, format!("{path}: no such file or directory"))
            }
            _ => OpError::new(ErrorKind::Failed, format!("{path}: {error}")),
        })
    })
    .await
}

fn stat(path: &Path, name: String, metadata: &Metadata) -> io::Result<FileStat> {
    let (uid, gid) = kiln_store::owner::owner_of(path, metadata);
    let target = if metadata.is_symlink() {
        fs::read_link(path)?.to_string_lossy().into_owned()
    } else {
        String::new()
    };
    // What a directory takes on disk is no property of it.
    let size = if metadata.is_dir() { 0 } else { metadata.size() };
    Ok(FileStat {
        path: name,
        mode: metadata.mode(),
        uid,
        gid,
        size,
        modified: metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec()),
        target,
    })
}
