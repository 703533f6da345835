//! Builds for every platform that is asked for, and puts the results together.

use futures::future::join_all;
use kiln_sdk::frontend::{BuildResult, PlatformEntry, Ref, Refs, Solve, keys};
use kiln_sdk::llb::Definition;
use kiln_sdk::oci::Platform;
use serde::Serialize;

use super::Source;
use super::scan::Scanner;
use super::world::World;
use crate::lint::Linter;
use crate::lower::{Failure, File, Lowered};

/// What was made for one platform.
struct PlatformResult {
    entry: PlatformEntry,
    /// Its image config, as it travels.
    config: Vec<u8>,
    /// The config of the image it starts from, if it does.
    base_config: Option<Vec<u8>>,
    reference: Option<Ref>,
    lowered: Lowered,
    /// The graph, if it is needed once more.
    definition: Option<Definition>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PlatformList<'a> {
    platforms: &'a [PlatformEntry],
}

/// Builds a file.
pub(super) async fn build(
    world: &World<'_>,
    source: &Source<'_>,
    lint: &mut Linter,
) -> Result<BuildResult<Ref>, Failure> {
    let scanner = match &world.settings.sbom {
        Some(scanner) => Some(Scanner::find(world, scanner).await?),
        None => None,
    };
    let file = source.read(lint)?;
    let platforms: Vec<Option<Platform>> = match world.settings.target_platforms.as_slice() {
        [] => vec![None],
        platforms => platforms.iter().cloned().map(Some).collect(),
    };
    // The same warnings for every platform would say nothing new.
    let mut others: Vec<Linter> = (1..platforms.len()).map(|_| Linter::silent()).collect();
    let linters = std::iter::once(lint).chain(others.iter_mut());
    let builds = platforms.iter().zip(linters);
    let scans = scanner.is_some();
    let builds =
        builds.map(|(platform, lint)| one(world, source, &file, platform.clone(), scans, lint));
    let made: Vec<PlatformResult> = join_all(builds).await.into_iter().collect::<Result<_, _>>()?;
    let mut result = assemble(&made, world.settings.multi_platform);
    if let Some(scanner) = scanner {
        for made in &made {
            let id = &made.entry.id;
            let built = made.definition.as_ref();
            let attestation = scanner.scan(world, id, &made.lowered, built).await?;
            result.attestations.entry(id.clone()).or_default().push(attestation);
        }
    }
    Ok(result)
}

/// Builds for one platform.
async fn one(
    world: &World<'_>,
    source: &Source<'_>,
    file: &File,
    platform: Option<Platform>,
    scans: bool,
    lint: &mut Linter,
) -> Result<PlatformResult, Failure> {
    let wanted = platform.clone().unwrap_or_else(Platform::host).normalized();
    let lowering = world.lower(file, source.channel, platform, false, lint).await?;
    let lowered = lowering.lowered();
    let definition = lowered.state.marshal(&lowered.marshal(&world.caps)).map_err(|error| {
        Failure::new(error.to_string()).context("failed to marshal LLB definition")
    })?;
    let kept = scans.then(|| definition.clone());
    let reference = if definition.is_empty() {
        None
    } else {
        let request = Solve::default()
            .with_definition(Some(definition))
            .with_cache_imports(world.settings.cache_imports.clone());
        let result = world.bridge.solve(request).await?;
        result.into_single().map_err(Failure::new)?
    };
    let config = lowered.image.to_json();
    let config = config.map_err(|error| unwritable("failed to marshal image config", &error))?;
    let base_config = lowered.base_image.as_ref().map(|base| base.to_json()).transpose();
    let base_config =
        base_config.map_err(|error| unwritable("failed to marshal source image config", &error))?;
    let id = wanted.format_all();
    let platform = extended(wanted, &lowered.image.platform());
    let entry = PlatformEntry { id, platform };
    Ok(PlatformResult { entry, config, base_config, reference, lowered, definition: kept })
}

/// A config that JSON has no spelling for.
fn unwritable(what: &str, error: &serde_json::Error) -> Failure {
    Failure::new(error.to_string()).context(what)
}

/// Windows images are for one version of the system, which only the base knows.
fn extended(mut platform: Platform, image: &Platform) -> Platform {
    if platform.os == "windows" && image.os == platform.os {
        if platform.os_version.is_empty() {
            platform.os_version.clone_from(&image.os_version);
        }
        if platform.os_features.is_empty() {
            platform.os_features.clone_from(&image.os_features);
        }
    }
    platform.normalized()
}

/// The result, with a config and a time for each platform.
fn assemble(made: &[PlatformResult], many: bool) -> BuildResult<Ref> {
    let mut result = BuildResult::single(None);
    for made in made {
        let key = |key: &str| match many {
            true => format!("{key}/{}", made.entry.id),
            false => key.to_owned(),
        };
        let lowered = &made.lowered;
        let metadata = &mut result.metadata;
        metadata.insert(key(keys::IMAGE_CONFIG), made.config.clone().into());
        if let Some(base) = &made.base_config {
            metadata.insert(key(keys::BASE_CONFIG), base.clone().into());
        }
        if let Some(epoch) = lowered.epoch {
            metadata.insert(key(keys::SOURCE_DATE_EPOCH), epoch.to_string().into());
        }
    }
    let refs = made.iter().map(|made| (made.entry.id.clone(), made.reference.clone()));
    result.refs = match many {
        true => Refs::ByPlatform(refs.collect()),
        false => Refs::Single(made.last().and_then(|made| made.reference.clone())),
    };
    let entries: Vec<PlatformEntry> = made.iter().map(|made| made.entry.clone()).collect();
    // The list is made of strings, so it can always be written.
    let list = serde_json::to_vec(&PlatformList { platforms: &entries }).unwrap_or_default();
    result.metadata.insert(keys::PLATFORMS.to_owned(), list.into());
    result
}
