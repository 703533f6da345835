//! Annotations that a client or a frontend asked for: `annotation[-where][[platform]].key`.
//!
//! Attribute names come in, a table by place and platform goes out. Where the text does not fit
//! the grammar it is not an annotation, and stays metadata.

use std::collections::BTreeMap;

use kiln_oci::Platform;

use crate::OptionError;

/// Where in an image an annotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In each manifest.
    Manifest,
    /// In the index, next to the manifest's descriptor.
    ManifestDescriptor,
    /// In the index.
    Index,
    /// In what points to the index.
    IndexDescriptor,
}

const PLACES: &[(&str, Place)] = &[
    ("manifest", Place::Manifest),
    ("manifest-descriptor", Place::ManifestDescriptor),
    ("index", Place::Index),
    ("index-descriptor", Place::IndexDescriptor),
];

/// Annotations by place; those for all platforms have no platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(BTreeMap<(Place, Option<String>), BTreeMap<String, String>>);

impl Annotations {
    /// Takes an attribute if it is an annotation, and tells whether it was.
    ///
    /// # Errors
    ///
    /// If it names a place or a platform that does not exist.
    pub fn take(&mut self, attribute: &str, value: &str) -> Result<bool, OptionError> {
        let Some(name) = AnnotationName::parse(attribute)? else { return Ok(false) };
        let entry = self.0.entry((name.place, name.platform)).or_default();
        entry.insert(name.key.to_owned(), value.to_owned());
        Ok(true)
    }

    /// Adds the others; where both have a key, theirs counts.
    pub fn merge(&mut self, others: Self) {
        for (place, annotations) in others.0 {
            self.0.entry(place).or_default().extend(annotations);
        }
    }

    /// The annotations of a place: those for all platforms, and those for this one.
    pub fn at(&self, place: Place, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let mut all = self.0.get(&(place, None)).cloned().unwrap_or_default();
        if let Some(platform) = platform {
            let own = self.0.get(&(place, Some(platform.format())));
            all.extend(own.cloned().unwrap_or_default());
        }
        all
    }

    /// Whether some can stand only in an index.
    pub fn need_index(&self) -> bool {
        self.0.keys().any(|(place, _)| *place != Place::Manifest)
    }
}

struct AnnotationName<'a> {
    place: Place,
    platform: Option<String>,
    key: &'a str,
}

impl<'a> AnnotationName<'a> {
    fn parse(attribute: &'a str) -> Result<Option<Self>, OptionError> {
        let Some(rest) = attribute.strip_prefix("annotation") else { return Ok(None) };
        if !rest.starts_with(['-', '[', '.']) {
            return Ok(None);
        }
        let end = rest.find(['[', '.']).unwrap_or(rest.len());
        let (place, rest) = rest.split_at(end);
        let (platform, rest) = match rest.strip_prefix('[') {
            Some(inner) => match inner.split_once(']') {
                Some((platform, rest)) => (Some(platform), rest),
                None => return Ok(None),
            },
            None => (None, rest),
        };
        let Some(key) = rest.strip_prefix('.').filter(|key| !key.is_empty()) else {
            return Ok(None);
        };
        let bad = |problem: String| OptionError::Annotation {
            attribute: attribute.chars().take(200).collect(),
            problem,
        };
        let place = match place.strip_prefix('-') {
            None => Place::Manifest,
            Some(word) => PLACES
                .iter()
                .find(|(name, _)| *name == word)
                .map(|(_, place)| *place)
                .ok_or_else(|| bad(format!("unrecognized annotation type {word}")))?,
        };
        let platform = platform
            .map(|text| text.parse::<Platform>().map(|platform| platform.format()))
            .transpose()
            .map_err(|error| bad(error.to_string()))?;
        Ok(Some(Self { place, platform, key }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(attributes: &[&str]) -> Annotations {
        let mut annotations = Annotations::default();
        for attribute in attributes {
            assert_eq!(annotations.take(attribute, attribute), Ok(true), "{attribute}");
        }
        annotations
    }

    #[test]
    fn annotations_go_where_their_name_says() {
        let all = taken(&[
            "annotation.a",
            "annotation-index.org.example",
            "annotation-manifest[linux/x86_64].b",
            "annotation-manifest-descriptor.c",
        ]);
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let arm64: Platform = "linux/arm64".parse().unwrap();
        let keys = |place, platform| all.at(place, platform).into_keys().collect::<Vec<_>>();
        assert_eq!(keys(Place::Manifest, Some(&amd64)), ["a", "b"]);
        assert_eq!(keys(Place::Manifest, Some(&arm64)), ["a"]);
        assert_eq!(keys(Place::Index, None), ["org.example"]);
        assert!(all.need_index());
        assert!(!taken(&["annotation.a"]).need_index());
    }

    #[test]
    fn other_attributes_are_left_alone_and_unknown_places_refused() {
        let mut annotations = Annotations::default();
        for attribute in ["annotations.x", "annotation.", "annotation", "annotation[linux.x"] {
            assert_eq!(annotations.take(attribute, ""), Ok(false), "{attribute}");
        }
        assert!(annotations.take("annotation-layer.x", "").is_err());
        assert!(annotations.take("annotation[toaster].x", "").is_err());
    }
}
