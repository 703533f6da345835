//! What an attestation says of a build, as far as a page shows it: what was used, and which lines of
//! which file a step comes from.
//!
//! JSON of SLSA provenance comes in, of either version, alone or in an in-toto statement. It is what a
//! daemon says, so nothing of it is taken for granted: what is not there is not shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// No more materials are read, and no more places of a step.
const MAX_MATERIALS: usize = 2000;
const MAX_PLACES: usize = 20;

/// An attestation of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Provenance {
    /// The predicate type.
    pub(crate) kind: String,
    /// The digest of the document in the daemon's content store.
    pub(crate) digest: String,
    /// How long it is, in bytes.
    pub(crate) size: i64,
    /// Of a result for this platform, where there are several.
    pub(crate) platform: Option<String>,
    /// What was used, with its digests.
    pub(super) materials: Vec<Material>,
    /// Where steps come from, by their digests.
    pub(super) places: BTreeMap<String, Vec<Place>>,
    /// The files that places are in.
    pub(super) files: Vec<SourceFile>,
}

/// An image, repository or file that was used.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Material {
    pub(super) uri: String,
    pub(super) digest: String,
}

/// Lines of a file, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Which of [`Provenance::files`].
    pub(super) file: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// A file that a build was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceFile {
    pub(super) name: String,
    pub(super) text: String,
}

impl Provenance {
    /// An attestation of which only the address is known: its predicate type, digest and size, and the
    /// platform of the result that it is about.
    pub(crate) fn new(kind: &str, digest: &str, size: i64, platform: Option<&str>) -> Self {
        let (kind, digest) = (kind.to_owned(), digest.to_owned());
        Self { kind, digest, size, platform: platform.map(str::to_owned), ..Self::default() }
    }

    /// Adds what a document says; nothing, if it is not provenance.
    pub(crate) fn read(mut self, document: &[u8]) -> Self {
        let Ok(document) = serde_json::from_slice::<Value>(document) else { return self };
        let predicate = document.get("predicate").unwrap_or(&document);
        let first = |paths: [&str; 2]| paths.iter().find_map(|path| predicate.pointer(path));
        let materials = first(["/buildDefinition/resolvedDependencies", "/materials"]);
        let materials = materials.and_then(Value::as_array).into_iter().flatten();
        self.materials = materials.take(MAX_MATERIALS).filter_map(material).collect();
        let config = first(["/buildDefinition/internalParameters/buildConfig", "/buildConfig"]);
        let source = first([
            "/runDetails/metadata/buildkit_metadata/source",
            "/metadata/https:~1~1mobyproject.org~1buildkit@v1#metadata/source",
        ]);
        if let (Some(config), Some(source)) = (config, source) {
            self.read_places(config, source);
        }
        self
    }

    fn read_places(&mut self, config: &Value, source: &Value) {
        let files = source.get("infos").and_then(Value::as_array).into_iter().flatten();
        self.files = files
            .map(|file| SourceFile {
                name: text(file, "filename"),
                text: STANDARD
                    .decode(text(file, "data"))
                    .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                    .unwrap_or_default(),
            })
            .collect();
        let names = config.get("digestMapping").and_then(Value::as_object).into_iter().flatten();
        for (digest, name) in names {
            let found = name.as_str().and_then(|name| source.get("locations")?.get(name));
            let found = found.and_then(|found| found.get("locations")?.as_array());
            let places: Vec<Place> =
                found.into_iter().flatten().flat_map(places).take(MAX_PLACES).collect();
            if !places.is_empty() {
                self.places.insert(digest.clone(), places);
            }
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn material(value: &Value) -> Option<Material> {
    let digests = value.get("digest").and_then(Value::as_object).into_iter().flatten();
    let digests = digests.filter_map(|(name, hex)| Some(format!("{name}:{}", hex.as_str()?)));
    let digest = digests.collect::<Vec<_>>().join(" ");
    let uri = value.get("uri").or_else(|| value.get("name"))?.as_str()?.to_owned();
    Some(Material { uri, digest })
}

/// The ranges of a location; numbers that are zero are left out of the JSON of messages.
fn places(location: &Value) -> impl Iterator<Item = Place> {
    let number = |value: Option<&Value>| {
        let number = value.and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
        number.unwrap_or(0)
    };
    let file = number(location.get("sourceIndex"));
    let ranges = location.get("ranges").and_then(Value::as_array).into_iter().flatten();
    ranges.filter_map(move |range| {
        let line = |name| number(range.get(name).and_then(|position| position.get("line")));
        let first = line("start");
        (first > 0).then(|| Place { file, first, last: line("end").max(first) })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: &Value) -> Provenance {
        Provenance::default().read(&serde_json::to_vec(document).unwrap())
    }

    #[test]
    fn both_versions_say_what_was_used_and_where_steps_come_from() {
        let materials = json!([{"uri": "pkg:docker/a@1", "digest": {"sha256": "ab"}}, {"no": 1}]);
        let config = json!({"digestMapping": {"sha256:1": "step0", "sha256:2": "step1"}});
        let source = json!({
            "infos": [{"filename": "Dockerfile", "data": STANDARD.encode("FROM a\n")}],
            "locations": {"step0": {"locations": [
                {"ranges": [{"start": {"line": 1}, "end": {"line": 1}}, {"start": {}}]},
            ]}},
        });
        let v1 = json!({"predicate": {
            "buildDefinition": {
                "resolvedDependencies": materials,
                "internalParameters": {"buildConfig": config},
            },
            "runDetails": {"metadata": {"buildkit_metadata": {"source": source}}},
        }});
        let v02 = json!({
            "materials": materials,
            "buildConfig": config,
            "metadata": {"https://mobyproject.org/buildkit@v1#metadata": {"source": source}},
        });
        let read = [read(&v1), read(&v02)];
        assert_eq!(read[0], read[1]);
        let material = Material { uri: "pkg:docker/a@1".into(), digest: "sha256:ab".into() };
        assert_eq!(read[0].materials, [material]);
        assert_eq!(read[0].places["sha256:1"], [Place { file: 0, first: 1, last: 1 }]);
        assert_eq!(read[0].places.len(), 1);
        assert_eq!(read[0].files[0].text, "FROM a\n");
    }

    #[test]
    fn what_is_no_provenance_says_nothing() {
        assert_eq!(Provenance::default().read(b"\xff{"), Provenance::default());
        assert_eq!(read(&json!([1])), Provenance::default());
        assert_eq!(read(&json!({"materials": 7, "buildConfig": []})), Provenance::default());
    }
}
