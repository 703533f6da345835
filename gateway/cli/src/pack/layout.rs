//! An image as an OCI layout: a directory that may hold others, or a tar of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use kiln_oci::{Descriptor, Index, Reference, media_type};

use super::image::FrontendImage;

const MARKER: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const TAG_ANNOTATION: &str = "org.opencontainers.image.ref.name";
const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// An index longer than this is none.
const MAX_INDEX_BYTES: u64 = 4 << 20;

/// Adds the image to the layout in `directory`, which is made if it is not there. An image that had the
/// same name is no longer listed.
///
/// # Errors
///
/// If the directory cannot be written, or holds an index that cannot be read.
pub(crate) fn write_directory(
    directory: &Path,
    image: &FrontendImage,
    name: Option<&Reference>,
) -> io::Result<()> {
    let mut index = read_index(&directory.join("index.json"))?;
    let entry = entry(image, name);
    let replaced = |other: &Descriptor| {
        let tag = |descriptor: &Descriptor| descriptor.annotations.get(TAG_ANNOTATION).cloned();
        let full = |descriptor: &Descriptor| descriptor.annotations.get(NAME_ANNOTATION).cloned();
        (tag(other), full(other)) == (tag(&entry), full(&entry))
            && (name.is_some() || other.digest == entry.digest)
    };
    index.manifests.retain(|other| !replaced(other));
    index.manifests.push(entry);

    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    for blob in image.blobs() {
        write_whole(&blobs, blob.descriptor.digest.hex(), &blob.bytes)?;
    }
    write_whole(directory, "oci-layout", MARKER)?;
    // Last, so that whoever reads the index finds what it lists.
    write_whole(directory, "index.json", &serde_json::to_vec(&index)?)
}

/// Writes the image as a tar of a layout; the same bytes for the same image.
///
/// # Errors
///
/// If `writer` fails.
pub(crate) fn write_tar(
    writer: impl Write,
    image: &FrontendImage,
    name: Option<&Reference>,
) -> io::Result<()> {
    let mut index = empty_index();
    index.manifests.push(entry(image, name));
    let index = serde_json::to_vec(&index)?;
    let mut files: BTreeMap<String, &[u8]> = BTreeMap::from([
        ("index.json".to_owned(), index.as_slice()),
        ("oci-layout".to_owned(), MARKER),
    ]);
    for blob in image.blobs() {
        files.insert(format!("blobs/sha256/{}", blob.descriptor.digest.hex()), &blob.bytes);
    }
    let mut tar = tar::Builder::new(writer);
    for directory in ["blobs/", "blobs/sha256/"] {
        tar.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), directory, io::empty())?;
    }
    for (path, bytes) in files {
        let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)?;
    }
    tar.into_inner()?.flush()
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn entry(image: &FrontendImage, name: Option<&Reference>) -> Descriptor {
    let mut entry = image.manifest.descriptor.clone();
    if let Some(name) = name {
        entry.annotations.insert(NAME_ANNOTATION.to_owned(), name.to_string());
        let tag = name.tag().unwrap_or("latest");
        entry.annotations.insert(TAG_ANNOTATION.to_owned(), tag.to_owned());
    }
    entry
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

fn read_index(path: &Path) -> io::Result<Index> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(empty_index()),
        Err(error) => Err(error),
        Ok(metadata) if metadata.len() > MAX_INDEX_BYTES => {
            Err(io::Error::other("the layout's index.json is too large"))
        }
        Ok(_) => Ok(serde_json::from_slice(&std::fs::read(path)?)?),
    }
}

/// Readers see the old file or the new one, never a part.
fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".{name}.{}", std::process::id()));
    std::fs::write(&temporary, bytes)?;
    std::fs::rename(&temporary, directory.join(name))
}
