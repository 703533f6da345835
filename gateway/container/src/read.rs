//! Looking into a result: files, directories and attributes, by paths that stay inside it.

use std::fs::{self, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use kiln_engine::{ErrorKind, OpError};
use kiln_filesync::glob::Glob;
use kiln_store::{Files, Mounted};

use crate::error::{blocking, failed};
use crate::scope;

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
pub fn read_file<'a>(
    of: &'a Files,
    path: &'a str,
    range: Option<(u64, u64)>,
) -> BoxFuture<'a, Result<Vec<u8>, OpError>> {
    Box::pin(async move { file_in(Place::of(of).await?, path, range).await })
}

/// As [`read_file`], in any place.
pub(crate) async fn file_in(
    place: Place,
    path: &str,
    range: Option<(u64, u64)>,
) -> Result<Vec<u8>, OpError> {
    within(place, path.to_owned(), move |found| {
        let metadata = fs::metadata(found)?;
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
pub fn read_dir<'a>(
    of: &'a Files,
    path: &'a str,
    pattern: &'a str,
) -> BoxFuture<'a, Result<Vec<FileStat>, OpError>> {
    Box::pin(async move { dir_in(Place::of(of).await?, path, pattern).await })
}

/// As [`read_dir`], in any place.
pub(crate) async fn dir_in(
    place: Place,
    path: &str,
    pattern: &str,
) -> Result<Vec<FileStat>, OpError> {
    let pattern = pattern.to_owned();
    within(place, path.to_owned(), move |found| {
        let glob = match pattern.as_str() {
            "" => None,
            pattern => {
                Some(Glob::parse(pattern).map_err(|error| io::Error::other(error.to_string()))?)
            }
        };
        let mut list = Vec::new();
        for entry in fs::read_dir(found)? {
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
pub fn stat_file<'a>(of: &'a Files, path: &'a str) -> BoxFuture<'a, Result<FileStat, OpError>> {
    Box::pin(async move { stat_in(Place::of(of).await?, path).await })
}

/// As [`stat_file`], in any place.
pub(crate) async fn stat_in(place: Place, path: &str) -> Result<FileStat, OpError> {
    // The name alone, as in a list of a directory.
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    within(place, path.to_owned(), move |found| stat(found, name, &fs::metadata(found)?)).await
}

/// Where files are looked for.
pub(crate) enum Place {
    /// What does not change.
    Still(Mounted),
    /// What processes may change meanwhile, links that lead out of it included.
    Changing(Mounted),
    /// Likewise, in a directory that something else holds.
    Directory(PathBuf),
}

impl Place {
    async fn of(result: &Files) -> Result<Self, OpError> {
        result.mount().await.map(Self::Still).map_err(|error| failed(&error))
    }

    /// Does something with the file at a path, which cannot be exchanged meanwhile.
    fn look<T>(&self, path: &str, look: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let root = match self {
            Self::Still(mounted) => return look(&scope::resolve(mounted.path(), path, true)?),
            Self::Changing(mounted) => mounted.path(),
            Self::Directory(path) => path,
        };
        let opened = scope::open(root, path)?;
        look(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())))
    }
}

async fn within<T: Send + 'static>(
    place: Place,
    path: String,
    look: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<T, OpError> {
    blocking(move || {
        place.look(&path, look).map_err(|error| match error.kind() {
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
