//! The images of a store by name: a small index beside the store's own.
//!
//! Names and descriptors come in, images that can be read without a registry go out. An entry is a
//! file `images/<hash of the name>.json` with the manifests inside; its layers are refs that are
//! kept in the store, where pruning finds them like everything else. An entry whose layers were
//! pruned is as good as absent.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use kiln_oci::{Descriptor, Digest, Platform, Reference};
use kiln_registry::{Documents, RegistryError};
use kiln_store::{Blob, Kind, LayerBlob, PruneOptions, RecordInfo, Ref, Requester, Store};
use serde::{Deserialize, Serialize};

use crate::assemble::{Image, PlatformImage};
use crate::error::NameError;

/// The images of a store.
#[derive(Clone, Debug)]
pub struct Images {
    store: Store,
}

/// An image that was found by its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamedImage {
    /// Its name, normalised.
    pub name: String,
    /// The index or manifest the name points to.
    pub descriptor: Descriptor,
    /// The platforms there are.
    pub platforms: Vec<NamedPlatform>,
    /// Indexes, manifests and configs, which are JSON, by digest.
    documents: BTreeMap<String, String>,
    /// When the name was given to it last, in milliseconds since 1970.
    #[serde(default)]
    since: u64,
}

/// The image of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPlatform {
    /// The platform.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Digest,
    /// The id of the ref in the store that has its files; `None` if it has no layers.
    pub files: Option<String>,
}

impl Images {
    /// The images of a store.
    pub fn of(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Finds an image by name, if all of it is still there.
    ///
    /// A reference with a digest means that image of the repository, whatever tag either has.
    /// Reads one small file, or all of them for a digest without a tag. The refs are looked up,
    /// which counts as a use of them.
    pub fn find(&self, reference: &Reference) -> Option<NamedImage> {
        let fits = |image: &NamedImage| {
            let wanted = reference.digest();
            wanted.is_none_or(|digest| image.descriptor.digest == *digest)
                && image.refs(&self.store).is_some()
        };
        let named = |name: &str| read(&self.path(name)).ok().filter(fits);
        if let Some(image) = named(&reference.to_string()) {
            return Some(image);
        }
        reference.digest()?;
        let repository = reference.name();
        if let Some(image) = reference.tag().and_then(|tag| named(&format!("{repository}:{tag}"))) {
            return Some(image);
        }
        let of_repository = |name: &str| {
            name.strip_prefix(&repository).is_some_and(|rest| rest.starts_with([':', '@']))
        };
        let mut images = self.entries().into_iter();
        images.find(|image| of_repository(&image.name) && fits(image))
    }

    /// Every image that is still there, by name.
    pub fn list(&self) -> Vec<NamedImage> {
        let mut images = self.entries();
        images.retain(|image| image.refs(&self.store).is_some());
        images
    }

    /// Every entry by name, also of images that are no longer there.
    fn entries(&self) -> Vec<NamedImage> {
        let entries = fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let mut images: Vec<NamedImage> =
            entries.filter_map(|entry| read(&entry.path()).ok()).collect();
        images.sort_by(|a, b| a.name.cmp(&b.name));
        images
    }

    /// Adds an image of one platform that was made elsewhere, under a name. Its layers are stored
    /// as blobs already, and are unpacked and kept here. What had the name before loses it.
    ///
    /// # Errors
    ///
    /// [`NameError::Parts`] if the parts do not belong together, and what the store says.
    pub fn add<'a>(
        &'a self,
        reference: &'a Reference,
        manifest: Bytes,
        config: Bytes,
        layers: &'a [Blob],
    ) -> BoxFuture<'a, Result<Digest, NameError>> {
        Box::pin(async move {
            let mut image = Image::of_parts(manifest, config, layers)?;
            for platform in
                image.platforms.iter_mut().filter(|platform| !platform.layers.is_empty())
            {
                platform.files = Some(self.unpack(platform).await?);
            }
            self.put(reference, &image, Some(&Requester::nobody())).await?;
            Ok(image.root.digest)
        })
    }

    /// Gives an image a name, and keeps its layers. What had the name before loses it.
    ///
    /// Layers that are elsewhere are fetched for `requester`; without one they stay there, and the name
    /// is not found until they have come.
    pub(crate) async fn put(
        &self,
        reference: &Reference,
        image: &Image,
        requester: Option<&Requester>,
    ) -> Result<(), NameError> {
        let name = reference.to_string();
        let path = self.path(&name);
        let before = read(&path).ok();
        if let Some(before) = &before
            && before.descriptor.digest == image.root.digest
            && before.refs(&self.store).is_some()
        {
            // It has the name already, but now it has it as the latest that has.
            self.write(&path, &NamedImage { since: now(), ..before.clone() })?;
            return Ok(());
        }
        let mut platforms = Vec::new();
        for platform in &image.platforms {
            platforms.push(NamedPlatform {
                platform: platform.platform.clone(),
                manifest: platform.manifest.descriptor.digest.clone(),
                files: self.keep(&name, platform, requester).await?,
            });
        }
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        let documents = image
            .documents()
            .map(|document| (document.descriptor.digest.to_string(), text(&document.bytes)));
        let documents = documents.collect();
        let (descriptor, since) = (image.root.clone(), now());
        let entry = NamedImage { name, descriptor, platforms, documents, since };
        self.write(&path, &entry)?;
        self.forget(before).await;
        Ok(())
    }

    /// Keeps the layers under an id of their own, because the same files may be kept for other
    /// reasons too.
    async fn keep(
        &self,
        name: &str,
        image: &PlatformImage,
        requester: Option<&Requester>,
    ) -> Result<Option<String>, NameError> {
        let Some(files) = &image.files else { return Ok(None) };
        if let Some(requester) = requester {
            files.files(requester).await?;
        }
        let own: Vec<&Digest> = image.layers.iter().map(|layer| &layer.descriptor.digest).collect();
        let noted = |(layer, blob): (&std::sync::Arc<kiln_store::Layer>, &&Digest)| {
            layer.blobs().iter().any(|descriptor| descriptor.digest == **blob)
        };
        let kept = match files.layers().iter().zip(&own).all(noted) {
            true => {
                let requester = Requester::nobody();
                self.store.merge(std::slice::from_ref(files), &requester).await?
            }
            // Blobs with other times than the files have: they need layers of their own.
            false => self.unpack(image).await?,
        };
        let info = RecordInfo { kind: Kind::Image, description: format!("image {name}") };
        kept.keep(info).await?;
        Ok(Some(kept.id().to_owned()))
    }

    async fn unpack(&self, image: &PlatformImage) -> Result<Ref, NameError> {
        let mut files = self.store.merge(&[], &Requester::nobody()).await?;
        for layer in &image.layers {
            let blob =
                LayerBlob { descriptor: layer.descriptor.clone(), diff_id: layer.diff_id.clone() };
            files = self.store.apply(Some(&files), &blob).await?;
        }
        Ok(files)
    }

    /// Lets go of the layers that an overwritten entry kept.
    async fn forget(&self, before: Option<NamedImage>) {
        let ids = before.into_iter().flat_map(|image| image.platforms);
        for id in ids.filter_map(|platform| platform.files) {
            let options = PruneOptions {
                all: true,
                filter: vec![format!("id=={id}")],
                ..PruneOptions::default()
            };
            if let Err(error) = self.store.prune(options, &mut |_| {}).await {
                tracing::warn!(id, %error, "layers of a renamed image stay until they are pruned");
            }
        }
    }

    fn write(&self, path: &PathBuf, entry: &NamedImage) -> Result<(), NameError> {
        let bytes = serde_json::to_vec(entry).map_err(io::Error::from)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.directory())?;
        // Renamed into place, so that a reader never sees half of it. The name is this thread's.
        let mut temporary = tempfile::NamedTempFile::new_in(self.directory())?;
        io::Write::write_all(&mut temporary, &bytes)?;
        temporary.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    fn directory(&self) -> PathBuf {
        self.store.root().join("images")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(format!("{}.json", Digest::sha256(name).hex()))
    }
}

fn read(path: &PathBuf) -> io::Result<NamedImage> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl NamedImage {
    /// When it was given its name last.
    pub fn since(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.since)
    }

    /// A manifest, index or config of the image.
    pub fn document_bytes(&self, digest: &Digest) -> Option<Bytes> {
        self.documents.get(digest.as_str()).map(|text| Bytes::from(text.clone()))
    }

    /// The files of every platform, if all are still in the store; `None` for one without layers.
    pub fn refs(&self, store: &Store) -> Option<Vec<(Platform, Option<Ref>)>> {
        let load = |platform: &NamedPlatform| {
            let files = match &platform.files {
                Some(id) => Some(store.load(id).ok()?),
                None => None,
            };
            Some((platform.platform.clone(), files))
        };
        self.platforms.iter().map(load).collect()
    }
}

#[async_trait]
impl Documents for NamedImage {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        self.document_bytes(&descriptor.digest).ok_or_else(|| RegistryError::Document {
            subject: self.name.clone(),
            what: format!("{} is not part of the image in the store", descriptor.digest),
        })
    }
}
