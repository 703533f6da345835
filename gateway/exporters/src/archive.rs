//! Images as a tar to the client: an OCI layout, with the file that `docker load` reads if wanted.
//!
//! Entries are sorted by name and dated 1970, so that the archive of an image is as reproducible
//! as the image.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;
use kiln_oci::{Descriptor, Digest, Index, media_type};
use kiln_store::Blob;
use serde::Serialize;

use crate::assemble::Image;
use crate::json;
use crate::options::Name;
use crate::pipe::PipeWriter;
use crate::tar_stream::{Entry, EntryKind, TarWriter};

/// What containerd calls an image in a layout.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// What OCI calls it.
const OCI_NAME: &str = "org.opencontainers.image.ref.name";

/// The files of an archive, by name.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    files: BTreeMap<String, Content>,
}

#[derive(Debug)]
enum Content {
    Directory,
    Bytes(Bytes),
    Blob(Blob),
}

impl Archive {
    /// The OCI layout of an image with these layers.
    pub(crate) fn layout(image: &Image, names: &[Name], layers: Vec<Blob>) -> Self {
        let mut archive = Self::default();
        archive.add("blobs/".into(), Content::Directory);
        archive.add("blobs/sha256/".into(), Content::Directory);
        for layer in layers {
            archive.add(blob_path(layer.digest()), Content::Blob(layer));
        }
        for document in image.documents() {
            let path = blob_path(&document.descriptor.digest);
            archive.add(path, Content::Bytes(document.bytes.clone()));
        }
        let version = Bytes::from_static(br#"{"imageLayoutVersion":"1.0.0"}"#);
        archive.add("oci-layout".into(), Content::Bytes(version));
        let index = Index {
            schema_version: 2,
            media_type: media_type::OCI_INDEX.into(),
            manifests: named(&image.root, names),
            annotations: BTreeMap::new(),
        };
        archive.add("index.json".into(), Content::Bytes(json::compact(&index).into()));
        archive
    }

    /// The same with `manifest.json`, which older readers need. For images of one platform.
    pub(crate) fn docker(image: &Image, names: &[Name], layers: Vec<Blob>) -> Self {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Entry {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Vec<String>,
        }
        let mut archive = Self::layout(image, names, layers);
        let tags: Vec<String> = names.iter().map(|name| name.reference.familiar()).collect();
        let entry = |image: &crate::assemble::PlatformImage| Entry {
            config: blob_path(&image.config.descriptor.digest),
            repo_tags: (!tags.is_empty()).then(|| tags.clone()),
            layers: image.layers.iter().map(|layer| blob_path(&layer.descriptor.digest)).collect(),
        };
        let entries: Vec<Entry> = image.platforms.iter().map(entry).collect();
        archive.add("manifest.json".into(), Content::Bytes(json::compact(&entries).into()));
        archive
    }

    fn add(&mut self, name: String, content: Content) {
        self.files.insert(name, content);
    }

    /// Writes the tar. Blocks.
    pub(crate) fn write(self, out: &mut PipeWriter) -> io::Result<()> {
        let mut tar = TarWriter::new(out as &mut dyn Write);
        for (name, content) in self.files {
            let file = |size| Entry::new(name.clone(), EntryKind::File(size), 0o444);
            match content {
                Content::Directory => {
                    tar.entry(&Entry::new(name, EntryKind::Directory, 0o755))?;
                }
                Content::Bytes(bytes) => tar.file(&file(bytes.len() as u64), &bytes[..])?,
                Content::Blob(blob) => {
                    let content = blob.open_checked().map_err(io::Error::other)?;
                    tar.file(&file(blob.size()), content)?;
                }
            }
        }
        tar.finish()
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

/// One descriptor per name; a single one if there is none.
fn named(root: &Descriptor, names: &[Name]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![root.clone()];
    }
    let with_name = |name: &Name| {
        let mut descriptor = root.clone();
        let reference = &name.reference;
        let short = match (reference.tag(), reference.digest()) {
            (Some(tag), _) => tag.to_owned(),
            (None, Some(digest)) => format!("@{digest}"),
            (None, None) => String::new(),
        };
        descriptor.annotations.insert(CONTAINERD_NAME.into(), reference.to_string());
        descriptor.annotations.insert(OCI_NAME.into(), short);
        descriptor
    };
    names.iter().map(with_name).collect()
}
