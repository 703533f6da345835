//! The image of a frontend: one layer, a config that starts it, a manifest.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use kiln_oci::{Descriptor, Digest, History, ImageConfig, Manifest, Platform, RootFs, media_type};

use super::layer::{self, LayerFile};
use super::libraries::{Closure, ClosureError};

/// Where the executable is in the image.
const ENTRYPOINT: &str = "/frontend";
const EPOCH: &str = "1970-01-01T00:00:00Z";
const NETWORK_LABEL: &str = "moby.buildkit.frontend.network.none";
const CAPABILITIES_LABEL: &str = "moby.buildkit.frontend.caps";
/// What every frontend written with Kiln's SDK can do.
const SDK_CAPABILITIES: &[&str] = &[
    "moby.buildkit.frontend.inputs",
    "moby.buildkit.frontend.subrequests",
    "moby.buildkit.frontend.contexts",
];

/// How an image is made, beyond its executable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageOptions {
    /// What it is for; the executable's own platform unless given.
    pub platform: Option<Platform>,
    /// Labels besides the frontend's own.
    pub labels: BTreeMap<String, String>,
    /// What the frontend can do; the SDK's capabilities unless given.
    pub capabilities: Option<Vec<String>>,
    /// The frontend may use the network.
    pub network: bool,
    /// Further files: where they go, and where they are.
    pub files: BTreeMap<PathBuf, PathBuf>,
}

/// An image of which nothing is written yet.
#[derive(Debug)]
pub(crate) struct FrontendImage {
    /// The layer.
    pub layer: Blob,
    /// The config.
    pub config: Blob,
    /// The manifest.
    pub manifest: Blob,
}

/// Bytes and what they are.
#[derive(Debug)]
pub(crate) struct Blob {
    /// Type, address and length.
    pub descriptor: Descriptor,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    /// What the executable needs is not there.
    #[error(transparent)]
    Closure(#[from] ClosureError),
    /// The platform that was asked for is not the executable's.
    #[error("{executable} is for {actual}, not for {asked}")]
    Platform {
        /// The executable.
        executable: PathBuf,
        /// Its platform.
        actual: String,
        /// What was asked for.
        asked: String,
    },
    /// A further file cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two files for one place.
    #[error("{0} is taken by the frontend or a library")]
    Occupied(PathBuf),
    /// The layer cannot be made.
    #[error("cannot make the layer")]
    Layer(#[source] io::Error),
    /// A document cannot be encoded.
    #[error("cannot encode the image's documents")]
    Encode(#[from] serde_json::Error),
}

impl Blob {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let digest = Digest::sha256(&bytes);
        Self { descriptor: Descriptor::new(media_type, digest, bytes.len() as u64), bytes }
    }
}

impl FrontendImage {
    /// Makes the image of `executable` with libraries from the machine whose root is `root`.
    ///
    /// # Errors
    ///
    /// If something is missing or cannot be read, or the platform is another.
    pub(crate) fn pack(
        root: &Path,
        executable: &Path,
        options: &ImageOptions,
    ) -> Result<Self, PackError> {
        let closure = Closure::collect(root, executable)?;
        let platform = platform(executable, &closure, options)?;
        let library_path = closure.library_path.clone();
        let layer = layer::build(&layer_files(closure, options)?).map_err(PackError::Layer)?;
        let config = config(&platform, &library_path, &layer.diff_id, options);
        let layer = Blob::new(media_type::OCI_LAYER_GZIP, layer.bytes);
        let config = Blob::new(media_type::OCI_CONFIG, serde_json::to_vec(&config)?);
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config: config.descriptor.clone(),
            layers: vec![layer.descriptor.clone()],
            annotations: BTreeMap::new(),
        };
        let mut manifest = Blob::new(media_type::OCI_MANIFEST, serde_json::to_vec(&manifest)?);
        manifest.descriptor.platform = Some(platform);
        Ok(Self { layer, config, manifest })
    }

    /// The blobs in the order a registry wants them: what is pointed at before what points.
    pub(crate) fn blobs(&self) -> [&Blob; 3] {
        [&self.layer, &self.config, &self.manifest]
    }
}

fn platform(
    executable: &Path,
    closure: &Closure,
    options: &ImageOptions,
) -> Result<Platform, PackError> {
    let architecture = closure.machine.architecture().unwrap_or_default();
    let actual = Platform::new("linux", architecture).normalized();
    let Some(asked) = &options.platform else { return Ok(actual) };
    if (&asked.os, &asked.architecture) != (&actual.os, &actual.architecture) {
        return Err(PackError::Platform {
            executable: executable.to_owned(),
            actual: actual.format(),
            asked: asked.format(),
        });
    }
    Ok(asked.clone())
}

fn layer_files(
    closure: Closure,
    options: &ImageOptions,
) -> Result<BTreeMap<PathBuf, LayerFile>, PackError> {
    let loadable = |bytes| LayerFile { mode: 0o755, bytes };
    let mut files: BTreeMap<PathBuf, LayerFile> =
        closure.files.into_iter().map(|(place, bytes)| (place, loadable(bytes))).collect();
    files.insert(PathBuf::from(ENTRYPOINT), loadable(closure.executable));
    for (place, path) in &options.files {
        let bytes =
            std::fs::read(path).map_err(|source| PackError::File { path: path.clone(), source })?;
        if files.insert(place.clone(), LayerFile { mode: 0o644, bytes }).is_some() {
            return Err(PackError::Occupied(place.clone()));
        }
    }
    Ok(files)
}

fn config(
    platform: &Platform,
    library_path: &[PathBuf],
    diff_id: &Digest,
    options: &ImageOptions,
) -> ImageConfig {
    let mut image = ImageConfig::new(platform);
    image.created = Some(EPOCH.to_owned());
    image.config.entrypoint = Some(vec![ENTRYPOINT.to_owned()]);
    if !library_path.is_empty() {
        let paths: Vec<_> = library_path.iter().map(|path| path.to_string_lossy()).collect();
        image.config.set_env("LD_LIBRARY_PATH", &paths.join(":"));
    }
    let sdk = || SDK_CAPABILITIES.iter().map(ToString::to_string).collect();
    let capabilities = options.capabilities.clone().unwrap_or_else(sdk);
    if !capabilities.is_empty() {
        image.config.labels.insert(CAPABILITIES_LABEL.to_owned(), capabilities.join(","));
    }
    if !options.network {
        image.config.labels.insert(NETWORK_LABEL.to_owned(), "true".to_owned());
    }
    image.config.labels.extend(options.labels.clone());
    image.rootfs = RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id.clone()] };
    image.history = vec![History {
        created: Some(EPOCH.to_owned()),
        created_by: "kiln frontend pack".to_owned(),
        ..History::default()
    }];
    image
}
