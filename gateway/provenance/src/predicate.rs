//! SLSA provenance, in both forms.

use std::collections::BTreeMap;

use kiln_oci::{Descriptor, Platform};
use kiln_pb::gojson::Json as _;
use kiln_pb::pb;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::request::commit_digest;
use crate::{
    BuildConfig, Mode, NetworkGap, PackageKind, ProvenanceOptions, Request, Requested, StepError,
    Used, UsedBlob, Version, package_url, qualifier,
};

/// What the build type of SLSA 1 is described by.
const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// The build type of SLSA 0.2.
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";

/// The layers of outputs of steps, `step3:0`, each as one or several lists.
pub type Layers = BTreeMap<String, Vec<Vec<Descriptor>>>;

/// The run of a build.
#[derive(Clone, Debug)]
pub struct Run {
    /// When it began.
    pub started: OffsetDateTime,
    /// When it ended.
    pub finished: OffsetDateTime,
    /// Names it.
    pub invocation: String,
    /// The machine.
    pub platform: Platform,
    /// The version of the Dockerfile frontend that is linked in.
    pub dockerfile: String,
    /// What the operator adds to what is said about the machine.
    pub custom: BTreeMap<String, Value>,
    /// The behaviour that was asked for.
    pub compatibility: Option<i64>,
}

/// The provenance of one result.
#[derive(Clone, Debug)]
pub struct Predicate {
    version: Version,
    builder: String,
    reproducible: bool,
    materials: Vec<Material>,
    requested: Requested,
    complete: Complete,
    hermetic: bool,
    /// What is not known of what passed a proxy; `None` if there was none.
    network: Option<Vec<NetworkGap>>,
    vcs: BTreeMap<String, String>,
    emulated: BTreeMap<String, String>,
    config: Option<BuildConfig>,
    source: Option<Source>,
}

#[derive(Clone, Debug)]
struct Complete {
    request: bool,
    materials: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Material {
    uri: String,
    digest: BTreeMap<String, String>,
}

/// The files that a graph was read from, and where in them its steps are.
#[derive(Clone, Debug, Serialize)]
struct Source {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    locations: BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    infos: Vec<SourceFile>,
}

#[derive(Clone, Debug, Serialize)]
struct SourceFile {
    #[serde(skip_serializing_if = "String::is_empty")]
    filename: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    language: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    data: Value,
    #[serde(flatten)]
    config: BuildConfig,
}

impl Predicate {
    /// The provenance of a result: what was asked for and what was used; the definition it was built
    /// from if that is to be said ([`Mode::Max`]).
    ///
    /// # Errors
    ///
    /// If the definition is none.
    pub fn new(
        request: Request,
        used: &Used,
        definition: Option<&pb::Definition>,
        options: &ProvenanceOptions,
    ) -> Result<Self, StepError> {
        let mut requested = request.requested(used);
        let vcs = requested.request.take_vcs();
        requested.request.add_used(used);
        let is_scrubbed = options.mode == Mode::Min && requested.request.scrub();
        let complete = Complete {
            request: !requested.request.frontend.is_empty() && !is_scrubbed,
            materials: used.is_complete(),
        };
        let mut predicate = Self {
            version: options.version,
            builder: options.builder.clone(),
            reproducible: options.reproducible,
            materials: materials(used),
            hermetic: complete.materials && !used.network,
            network: used.proxied.then(|| used.network_gaps.clone()),
            requested,
            complete,
            vcs,
            emulated: used.emulated.clone(),
            config: None,
            source: None,
        };
        if let (Mode::Max, Some(definition)) = (options.mode, definition) {
            let config = BuildConfig::new(definition)?;
            predicate.source = source(definition, &config)?;
            predicate.config = Some(config);
        }
        Ok(predicate)
    }

    /// The predicate type.
    pub fn predicate_type(&self) -> &'static str {
        self.version.predicate_type()
    }

    /// The name of a step of the definition by its digest; `None` if the definition is not said.
    pub fn step(&self, digest: &str) -> Option<&str> {
        self.config.as_ref()?.name(digest)
    }

    /// The document.
    pub fn document(&self, run: &Run, layers: &Layers) -> Value {
        match self.version {
            Version::V1 => self.v1(run, layers),
            Version::V02 => self.v02(run, layers),
        }
    }

    fn v1(&self, run: &Run, layers: &Layers) -> Value {
        let mut definition = Object::default();
        definition.put("buildType", BUILD_TYPE);
        definition.unless_empty("resolvedDependencies", &self.materials);
        definition.put(
            "externalParameters",
            json!({
                "configSource": self.requested.config_source,
                "request": self.request(run),
            }),
        );
        let mut internal = self.machine(run, "builderPlatform");
        internal.some("buildConfig", self.config.as_ref());
        definition.put("internalParameters", internal.0);
        let mut metadata = Object::default();
        metadata.put("invocationId", &run.invocation);
        metadata.put("startedOn", text(run.started));
        metadata.put("finishedOn", text(run.finished));
        metadata.put("buildkit_metadata", self.metadata(layers));
        metadata.flag("buildkit_hermetic", self.hermetic);
        metadata.put(
            "buildkit_completeness",
            json!({
                "request": self.complete.request,
                "resolvedDependencies": self.complete.materials,
            }),
        );
        metadata.flag("buildkit_reproducible", self.reproducible);
        json!({
            "buildDefinition": definition.0,
            "runDetails": { "builder": { "id": self.builder }, "metadata": metadata.0 },
        })
    }

    fn v02(&self, run: &Run, layers: &Layers) -> Value {
        let mut source = Object::default();
        let config_source = &self.requested.config_source;
        source.unless_empty("uri", &config_source.uri);
        source.unless_empty("digest", &config_source.digest);
        source.unless_empty("entryPoint", &config_source.path);
        let mut metadata = Object::default();
        metadata.put("buildInvocationID", &run.invocation);
        metadata.put("buildStartedOn", text(run.started));
        metadata.put("buildFinishedOn", text(run.finished));
        metadata.put(
            "completeness",
            json!({
                "parameters": self.complete.request,
                "environment": true,
                "materials": self.complete.materials,
            }),
        );
        metadata.put("reproducible", self.reproducible);
        metadata.put("https://mobyproject.org/buildkit@v1#metadata", self.metadata(layers));
        metadata.flag("https://mobyproject.org/buildkit@v1#hermetic", self.hermetic);
        let mut document = Object::default();
        document.put("builder", json!({ "id": self.builder }));
        document.put("buildType", BUILD_TYPE_02);
        document.unless_empty("materials", &self.materials);
        document.put(
            "invocation",
            json!({
                "configSource": source.0,
                "parameters": self.request(run),
                "environment": self.machine(run, "platform").0,
            }),
        );
        document.some("buildConfig", self.config.as_ref());
        document.put("metadata", metadata.0);
        Value::Object(document.0)
    }

    fn request(&self, run: &Run) -> Request {
        let mut request = self.requested.request.clone();
        request.compatibility_version = run.compatibility;
        request
    }

    /// What is said about the machine. What the operator adds replaces nothing.
    fn machine(&self, run: &Run, platform: &str) -> Object {
        let mut machine = Object(run.custom.clone().into_iter().collect());
        machine.put(platform, run.platform.clone().normalized().format());
        // Nobody has a word for it; readers of either form take what they do not know.
        machine.unless_empty("emulated", &self.emulated);
        if self.requested.request.frontend == "dockerfile.v0" {
            machine.unless_empty("dockerfileVersion", &run.dockerfile);
        }
        machine
    }

    fn metadata(&self, layers: &Layers) -> Map<String, Value> {
        let mut metadata = Object::default();
        metadata.unless_empty("vcs", &self.vcs);
        metadata.some("source", self.source.as_ref());
        metadata.unless_empty("layers", layers);
        if let Some(gaps) = &self.network {
            let mut network = Object::default();
            network.put("mode", "proxy");
            if !gaps.is_empty() {
                network.put("proxy", json!({ "incomplete": gaps }));
            }
            metadata.put("network", network.0);
        }
        metadata.0
    }
}

fn source(definition: &pb::Definition, config: &BuildConfig) -> Result<Option<Source>, StepError> {
    let source = definition.source.as_ref().filter(|source| !source.infos.is_empty());
    let Some(source) = source else { return Ok(None) };
    let infos = source.infos.iter().map(|info| {
        let config = info.definition.as_ref().map(BuildConfig::new).transpose()?;
        // Its bytes as text that stands for them.
        let mut text: Value = serde_json::from_str(&info.to_json())?;
        let data = text.get_mut("data").map(Value::take).unwrap_or_default();
        let (filename, language) = (info.filename.clone(), info.language.clone());
        Ok(SourceFile { filename, language, data, config: config.unwrap_or_default() })
    });
    let infos = infos.collect::<Result<Vec<_>, StepError>>()?;
    let mut locations = BTreeMap::new();
    for (digest, found) in &source.locations {
        if let Some(step) = config.name(digest) {
            locations.insert(step.to_owned(), serde_json::from_str(&found.to_json())?);
        }
    }
    Ok(Some(Source { locations, infos }))
}

fn materials(used: &Used) -> Vec<Material> {
    let images = used.images.iter().map(|image| {
        let kind = if image.local { PackageKind::Oci } else { PackageKind::Docker };
        Material {
            uri: package_url(kind, &image.reference, image.platform.as_ref()),
            digest: digests(&image.digest),
        }
    });
    let blobs = used.blobs.iter().map(|blob| blob_material(blob, "blob", None));
    let git = used.git.iter().flat_map(|git| {
        let bundle = git.bundle.as_ref();
        let bundle = bundle.map(|bundle| blob_material(bundle, "bundle", Some(&git.url)));
        let repository = Material { uri: git.url.clone(), digest: commit_digest(&git.commit) };
        std::iter::once(repository).chain(bundle)
    });
    let files = used
        .files
        .iter()
        .map(|file| Material { uri: file.url.clone(), digest: digests(&file.digest) });
    images.chain(blobs).chain(git).chain(files).collect()
}

/// A single blob, with what it is and the repository that it holds a part of.
fn blob_material(blob: &UsedBlob, is: &str, repository: Option<&str>) -> Material {
    let kind = if blob.local { PackageKind::Oci } else { PackageKind::Docker };
    let mut uri = package_url(kind, &blob.reference, None);
    // Its digest is a qualifier already.
    uri.push_str(&format!("&ref_type={is}"));
    if let Some(repository) = repository {
        uri.push_str(&format!("&vcs_url={}", qualifier(repository)));
    }
    let digest = blob.reference.digest().map(digests).unwrap_or_default();
    Material { uri, digest }
}

fn digests(digest: &kiln_oci::Digest) -> BTreeMap<String, String> {
    [(digest.algorithm().to_owned(), digest.hex().to_owned())].into()
}

fn text(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

/// A JSON object under construction.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: impl Serialize) {
        // Maps here have text keys, so everything has a JSON form.
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
    }

    fn some(&mut self, name: &str, value: Option<impl Serialize>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.some(name, value.then_some(true));
    }

    /// A text, list or map that has something in it.
    fn unless_empty(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).unwrap_or_default();
        let is_empty = match &value {
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.0.insert(name.to_owned(), value);
        }
    }
}
