//! `attest:sbom`: an image that scans the result, and perhaps more, and lists what it is made of.

use kiln_sdk::frontend::{Attestation, ImageConfigRequest, Ref, SbomScanner, Solve};
use kiln_sdk::llb::{
    Action, Constraints, Definition, Exec, FileActions, Image as ImageSource, Marshal, Mkdir,
    Mount, State,
};
use kiln_sdk::oci::{ImageConfig, Platform};

use super::world::World;
use crate::lower::{Failure, Lowered};

/// The name of the scan of the result itself.
const CORE: &str = "sbom";
/// Where the scanner finds what it scans.
const SOURCES: &str = "/run/src";
/// Where it puts what it found.
const RESULTS: &str = "/run/out/";

/// A scanner, ready to run.
pub(super) struct Scanner {
    reference: String,
    config: ImageConfig,
    parameters: Vec<(String, String)>,
    platform: Platform,
}

impl Scanner {
    /// Finds the image of a scanner.
    pub(super) async fn find(world: &World<'_>, scanner: &SbomScanner) -> Result<Self, Failure> {
        let platform = world.settings.build_platform.clone();
        let request =
            ImageConfigRequest::default().with_platform(Some(platform.clone())).with_resolve_mode(
                world
                    .bridge
                    .info()
                    .options
                    .get("image-resolve-mode")
                    .unwrap_or_default()
                    .to_owned(),
            );
        let name = &scanner.image;
        let found = world.bridge.resolve_image(name, request).await.map_err(|error| {
            error.context(format!("failed to resolve source metadata for {name}"))
        })?;
        if let Some(source) = &found.non_image {
            let message =
                format!("ref mutated by policy to non-image: docker-image://{name} -> {source}");
            return Err(Failure::new(message));
        }
        let config: ImageConfig = serde_json::from_slice(&found.config)
            .map_err(|error| Failure::new(error.to_string()))?;
        let scanner = Self {
            reference: found.reference,
            config,
            parameters: scanner
                .parameters
                .iter()
                .map(|(name, value)| (format!("BUILDKIT_SCAN_{name}"), value.clone()))
                .collect(),
            platform,
        };
        if scanner.args().is_empty() {
            let message = format!("scanner {} does not have cmd", scanner.reference);
            return Err(Failure::new(message));
        }
        Ok(scanner)
    }

    fn args(&self) -> Vec<String> {
        let config = &self.config.config;
        let mut args = config.entrypoint.clone().unwrap_or_default();
        args.extend(config.cmd.clone().unwrap_or_default());
        args
    }

    fn env(&self, extras: bool) -> Vec<(String, String)> {
        let own = self.config.config.env.iter().map(|entry| {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            (name.to_owned(), value.to_owned())
        });
        let mut env: Vec<(String, String)> = own.collect();
        env.push(("BUILDKIT_SCAN_DESTINATION".into(), RESULTS.into()));
        env.push(("BUILDKIT_SCAN_SOURCE".into(), format!("{SOURCES}/core/{CORE}")));
        if extras {
            env.push(("BUILDKIT_SCAN_SOURCE_EXTRAS".into(), format!("{SOURCES}/extras")));
        }
        env.extend(self.parameters.iter().cloned());
        env
    }

    /// Scans what was made for one platform.
    pub(super) async fn scan(
        &self,
        world: &World<'_>,
        id: &str,
        lowered: &Lowered,
        built: Option<&Definition>,
    ) -> Result<Attestation<Ref>, Failure> {
        let state = self.state(id, lowered);
        let mut definition =
            state.marshal(&Marshal::default()).map_err(|error| Failure::new(error.to_string()))?;
        // Steps that are scanned say of themselves what they say in the graph of the build.
        if let Some(built) = built {
            definition.add_capabilities_of(built);
        }
        let request = Solve::default().with_definition(Some(definition));
        let result = world.bridge.solve(request).await?;
        let reference = result.into_single().map_err(Failure::new)?;
        let mut attestation = Attestation::bundle(reference, "");
        attestation.predicate_type = "https://spdx.dev/Document".into();
        attestation.metadata.insert("reason".into(), "sbom".into());
        attestation.metadata.insert("sbom-core".into(), CORE.into());
        Ok(attestation)
    }

    /// The file system with what the scanner found.
    fn state(&self, id: &str, lowered: &Lowered) -> State {
        let source =
            ImageSource::default().with_constraints(Constraints::on(self.platform.clone()));
        let image = State::image_with(&self.reference, source);
        let mut mounts = vec![self.tmp(&image)];
        mounts.push(Mount::bind(format!("{SOURCES}/core/{CORE}"), &lowered.state).readonly());
        for (name, extra) in &lowered.extras {
            mounts.push(Mount::bind(format!("{SOURCES}/extras/{CORE}-{name}"), extra).readonly());
        }
        mounts.push(Mount::bind(RESULTS, &State::scratch()));
        let name = format!("[{id}] generating sbom using {}", self.reference);
        let run = image.run(
            Exec::default()
                .with_args(self.args())
                .with_env(self.env(!lowered.extras.is_empty()))
                .with_dir(self.config.config.working_dir.clone())
                .with_mounts(mounts)
                .with_constraints(Constraints::named(name).with_ignore_cache(lowered.ignore_cache)),
        );
        run.mount(RESULTS).unwrap_or_default()
    }

    fn tmp(&self, image: &State) -> Mount {
        if self.platform.os != "windows" {
            return Mount::tmpfs("/tmp");
        }
        let options = Mkdir::default().with_mode(0o777).with_parents(true);
        let made = image.file(FileActions::from(Action::mkdir("/tmp", options)));
        Mount::bind("/tmp", &made).path("/tmp").with_no_output(true)
    }
}
