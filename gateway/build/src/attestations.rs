//! Which attestations a client asks for: `attest:provenance` and `attest:sbom`.

use std::collections::BTreeMap;

use kiln_bridge::{Notice, Scanner};
use kiln_frontend::{AttestError, Attests, Options, attests};
use kiln_oci::{Reference, ReferenceError};
use kiln_provenance::{OptionError, ProvenanceOptions};

/// What is to be said about a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attestations {
    /// Where it comes from.
    pub(crate) provenance: Option<ProvenanceOptions>,
    /// What it is made of, unless its frontend says so.
    pub(crate) scanner: Option<Scanner>,
}

/// Why a request for attestations makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttestationError {
    #[error(transparent)]
    Attests(#[from] AttestError),
    #[error(transparent)]
    Provenance(#[from] OptionError),
    #[error("sbom generator cannot be empty")]
    NoGenerator,
    #[error("failed to parse sbom generator {name}: {}", error.docker_text())]
    Generator { name: String, error: ReferenceError },
}

impl Attestations {
    /// What the options of a frontend ask for.
    ///
    /// # Errors
    ///
    /// What makes no sense in it.
    pub(crate) fn of(options: &BTreeMap<String, String>) -> Result<Self, AttestationError> {
        let asked: Attests = attests(&Options(options.clone()))?;
        let provenance = asked.get("provenance").map(ProvenanceOptions::parse).transpose()?;
        let scanner = asked.get("sbom").map(|attrs| scanner(attrs, options)).transpose()?;
        Ok(Self { provenance: provenance.flatten(), scanner: scanner.flatten() })
    }
}

impl Attestations {
    /// What is done without, for the client to see.
    pub(crate) fn notices(&self) -> Option<Notice> {
        let captures = self.provenance.as_ref().is_some_and(|options| options.capture_usage);
        captures.then(|| Notice {
            step: "attest:provenance".into(),
            short: "capture-usage has no effect: what steps take is not measured".into(),
            detail: "provenance says everything else; leave capture-usage out".into(),
        })
    }
}

fn scanner(
    attributes: &BTreeMap<String, String>,
    options: &BTreeMap<String, String>,
) -> Result<Option<Scanner>, AttestationError> {
    let mut parameters = attributes.clone();
    let disabled = parameters.remove("disabled").and_then(|value| kiln_frontend::boolean(&value));
    if disabled == Some(true) {
        return Ok(None);
    }
    let name = parameters.remove("generator").unwrap_or_default();
    if name.is_empty() {
        return Err(AttestationError::NoGenerator);
    }
    let image: Reference = match name.parse() {
        Ok(image) => image,
        Err(error) => return Err(AttestationError::Generator { name, error }),
    };
    let resolve_mode = options.get("image-resolve-mode").cloned().unwrap_or_default();
    // Without a list of stages nothing at all is to be taken from the cache.
    let use_cache = options.get("no-cache").is_none_or(|stages| !stages.is_empty());
    Ok(Some(Scanner { image, parameters, resolve_mode, use_cache }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Attestations, AttestationError> {
        let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Attestations::of(&options.collect())
    }

    #[test]
    fn attestations_are_asked_for_in_both_spellings() {
        for name in ["attest:provenance", "build-arg:BUILDKIT_ATTEST_PROVENANCE"] {
            let asked = of(&[(name, "mode=min,inline-only=true")]).unwrap().provenance.unwrap();
            assert!(asked.inline_only, "{name}");
            assert_eq!(of(&[(name, "disabled=true")]).unwrap().provenance, None);
        }
        for name in ["attest:sbom", "build-arg:BUILDKIT_ATTEST_SBOM"] {
            let asked = of(&[(name, "generator=example.com/a,X=y"), ("no-cache", "")]).unwrap();
            let scanner = asked.scanner.unwrap();
            assert_eq!(scanner.image.to_string(), "example.com/a:latest");
            assert_eq!(scanner.parameters, [("X".to_owned(), "y".to_owned())].into());
            assert!(!scanner.use_cache);
        }
        assert_eq!(of(&[]).unwrap(), Attestations::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (name, value, words) in [
            ("attest:sbom", "generator=", "sbom generator cannot be empty"),
            ("attest:sbom", "generator=A", "failed to parse sbom generator A"),
            ("attest:provenance", "version=v3", "invalid provenance SLSA version: v3"),
            ("attest:provenance", "mode=all", "invalid mode \"all\""),
            ("attest:horoscope", "", "unknown attestation type \"horoscope\""),
        ] {
            let error = of(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
