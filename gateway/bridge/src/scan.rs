//! SBOM: an image that scans results and lists what they are made of (`attest:sbom`).
//!
//! Where the image finds what it scans, and where it puts what it found, it reads in its environment: BuildKit's
//! scanner protocol. A result whose frontend already lists what it is made of is left alone.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use kiln_frontend::{Attestation, Bridge as _, BuildResult, ImageConfigRequest, Ref, Solve};
use kiln_llb::{Constraints, Definition, Exec, Image, Marshal, Mount, State};
use kiln_oci::{ImageConfig, Platform, Reference};
use kiln_provenance::SPDX;
use kiln_wire::status::RichStatus;
use tonic::Code;

use crate::BuildBridge;

/// The name of the scan of the result itself.
const CORE: &str = "sbom";
/// Where the scanner finds what it scans.
const SOURCE: &str = "/run/src/core/sbom";
/// Where it puts what it found.
const RESULTS: &str = "/run/out/";

/// An image that scans results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// The image.
    pub image: Reference,
    /// What the user says to it, by name.
    pub parameters: BTreeMap<String, String>,
    /// Whether to ask the registry for it: `default`, `pull` or `local`.
    pub resolve_mode: String,
    /// What was scanned before is not scanned again.
    pub use_cache: bool,
}

/// The image of a scanner, ready to run.
struct Ready<'a> {
    scanner: &'a Scanner,
    reference: String,
    config: ImageConfig,
    platform: Platform,
}

impl BuildBridge {
    /// Adds scans of these file systems, by platform id, to a result that has none. They run when
    /// somebody looks inside.
    ///
    /// # Errors
    ///
    /// If the scanner is not found, or has nothing to run.
    pub fn scan<'a>(
        &'a self,
        scanner: &'a Scanner,
        targets: &'a [(String, Ref)],
        result: &'a mut BuildResult<Ref>,
    ) -> BoxFuture<'a, Result<(), RichStatus>> {
        Box::pin(async move {
            let mut attestations = result.attestations.values().flatten();
            if targets.is_empty() || attestations.any(|other| other.predicate_type == SPDX) {
                return Ok(());
            }
            // The scanner is no material of the result.
            let bridge = self.apart();
            let ready = Ready::find(scanner, &bridge).await?;
            for (id, of) in targets {
                let attestation = ready.scan(&bridge, id, of).await?;
                result.attestations.entry(id.clone()).or_default().push(attestation);
            }
            Ok(())
        })
    }
}

impl<'a> Ready<'a> {
    async fn find(scanner: &'a Scanner, bridge: &BuildBridge) -> Result<Self, RichStatus> {
        let platform = bridge.info().default_platform();
        let request = ImageConfigRequest::default()
            .with_platform(Some(platform.clone()))
            .with_resolve_mode(scanner.resolve_mode.clone());
        let found = bridge.resolve_image(&scanner.image.to_string(), request).await?;
        let invalid = |message: String| RichStatus::new(Code::InvalidArgument, message);
        if let Some(source) = found.non_image {
            return Err(invalid(format!("scanner {} is no image but {source}", scanner.image)));
        }
        let config = serde_json::from_slice(&found.config)
            .map_err(|error| invalid(format!("scanner {}: {error}", scanner.image)))?;
        let ready = Self { scanner, reference: found.reference, config, platform };
        match ready.args().is_empty() {
            true => Err(invalid(format!("scanner {} does not have cmd", scanner.image))),
            false => Ok(ready),
        }
    }

    fn args(&self) -> Vec<String> {
        let config = &self.config.config;
        let entrypoint = config.entrypoint.iter().flatten();
        entrypoint.chain(config.cmd.iter().flatten()).cloned().collect()
    }

    fn env(&self) -> Vec<(String, String)> {
        let own = self.config.config.env.iter().map(|entry| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        });
        let places = [("DESTINATION", RESULTS), ("SOURCE", SOURCE)]
            .map(|(name, value)| (format!("BUILDKIT_SCAN_{name}"), value.to_owned()));
        let parameters = self.scanner.parameters.iter();
        let parameters =
            parameters.map(|(name, value)| (format!("BUILDKIT_SCAN_{name}"), value.clone()));
        own.chain(places).chain(parameters).collect()
    }

    async fn scan(
        &self,
        bridge: &BuildBridge,
        id: &str,
        of: &Ref,
    ) -> Result<Attestation<Ref>, RichStatus> {
        let failed = |error: &dyn std::error::Error| {
            RichStatus::new(Code::Unknown, format!("cannot scan the result for {id}: {error}"))
        };
        let definition = Definition::from((*bridge.lazy(of)?.definition).clone());
        let scanned = State::from_definition(&definition).map_err(|error| failed(&error))?;
        let definition = self
            .state(id, &scanned)
            .marshal(&Marshal::default())
            .map_err(|error| failed(&error))?;
        let solve = Solve::default().with_definition(Some(definition));
        let reference = bridge.solve(solve).await?.into_single();
        let reference = reference.map_err(|error| RichStatus::new(Code::Unknown, error))?;
        let mut attestation = Attestation::bundle(reference, "");
        attestation.predicate_type = SPDX.into();
        attestation.metadata.insert("reason".into(), "sbom".into());
        attestation.metadata.insert("sbom-core".into(), CORE.into());
        Ok(attestation)
    }

    /// The directory with what the scanner found.
    fn state(&self, id: &str, scanned: &State) -> State {
        let source = Image::default().with_constraints(Constraints::on(self.platform.clone()));
        let name = format!("[{id}] generating sbom using {}", self.reference);
        let run = State::image_with(&self.reference, source).run(
            Exec::default()
                .with_args(self.args())
                .with_env(self.env())
                .with_dir(self.config.config.working_dir.clone())
                .with_mounts(vec![
                    Mount::tmpfs("/tmp"),
                    Mount::bind(SOURCE, scanned).readonly(),
                    Mount::bind(RESULTS, &State::scratch()),
                ])
                .with_constraints(
                    Constraints::named(name).with_ignore_cache(!self.scanner.use_cache),
                ),
        );
        run.mount(RESULTS).unwrap_or_default()
    }
}
