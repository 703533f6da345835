//! `frontend pack` and `push`: an executable, or what a project builds, becomes a gateway.v0 image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kiln_oci::{Platform, Reference};

use super::{Context, project};
use crate::args::{PackArgs, PushArgs};
use crate::commands::signals::or_interrupted;
use crate::embedded;
use crate::options::OptionError;
use crate::output::print;
use crate::pack::{FrontendImage, ImageOptions, ImageSink, PackTarget, RegistrySink};
use crate::project::Build;
use crate::solve_request::docker_config;
use crate::template::default_image;

/// Packs and pushes.
pub(crate) async fn push(context: &Context, args: PushArgs) -> anyhow::Result<()> {
    let PushArgs { name, image } = args;
    run(context, PackArgs { output: "registry".to_owned(), name: Some(name), image }).await
}

/// Packs, writes, and prints the name and digest of the image.
pub(crate) async fn run(context: &Context, args: PackArgs) -> anyhow::Result<()> {
    let (executable, args) = executable(context, args).await?;
    let request = PackRequest::decide(args, context.environment.stdout_terminal)?;
    let image = FrontendImage::pack(Path::new("/"), &executable, &request.options)
        .context("failed to pack")?;
    let digest = image.manifest.descriptor.digest.clone();
    let PackRequest { target, name, .. } = &request;
    if !target.write(&image, name.as_ref()).context("failed to write the image")? {
        let name = name.as_ref().context("the image needs a name: add --name")?;
        sink(context, target)
            .await?
            .put(&image, name)
            .await
            .context("failed to store the image")?;
    }
    let line = match name {
        Some(name) => format!("{name}@{digest}\n"),
        None => format!("{digest}\n"),
    };
    // Standard output may be the image itself.
    match target {
        PackTarget::Stdout => tracing::info!(%digest, "packed"),
        _ => print(&line)?,
    }
    Ok(())
}

/// The executable that is packed, built if it must be. The image of a project has a name by itself.
async fn executable(context: &Context, mut args: PackArgs) -> anyhow::Result<(PathBuf, PackArgs)> {
    if let Some(executable) = &args.image.executable {
        return Ok((executable.clone(), args));
    }
    let (cargo, project) = project(context, &args.image.project).await?;
    if args.name.is_none() && args.output != "registry" {
        args.name = Some(default_image(&project.package.name, &project.package.version));
    }
    // What can be said about the flags is said before anything is compiled.
    PackRequest::decide(args.clone(), context.environment.stdout_terminal)?;
    let build = Build { project: &project, profile: &args.image.profile };
    let executable = or_interrupted(cargo.build(&build)).await??;
    Ok((executable, args))
}

/// What takes images that do not go to this machine's disk.
async fn sink(context: &Context, target: &PackTarget) -> anyhow::Result<Box<dyn ImageSink>> {
    match target {
        PackTarget::Registry => Ok(Box::new(RegistrySink(docker_config(&context.environment)))),
        _ => embedded::image_sink(&context.endpoint).await,
    }
}

/// The arguments, typed.
#[derive(Debug, PartialEq, Eq)]
struct PackRequest {
    target: PackTarget,
    name: Option<Reference>,
    options: ImageOptions,
}

/// Why the arguments make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum PackUsageError {
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error("this output needs a name for the image: add --name")]
    NoName,
    #[error("--name: {0}")]
    Name(#[from] kiln_oci::ReferenceError),
    #[error("--platform: {0}")]
    Platform(#[from] kiln_oci::PlatformError),
}

impl PackRequest {
    fn decide(args: PackArgs, stdout_terminal: bool) -> Result<Self, PackUsageError> {
        let PackArgs { output, name, image: args } = args;
        let target = PackTarget::parse(&output, stdout_terminal)?;
        let name = name.map(|name| name.parse::<Reference>()).transpose()?;
        if target.needs_name() && name.is_none() {
            return Err(PackUsageError::NoName);
        }
        let platform = args.platform.map(|text| text.parse::<Platform>()).transpose()?;
        // A flag without a name says that the frontend can do nothing special.
        let capabilities = (!args.cap.is_empty())
            .then(|| args.cap.into_iter().filter(|name| !name.is_empty()).collect());
        let options = ImageOptions {
            platform: platform.map(Platform::normalized),
            labels: pairs("--label", &args.label)?,
            capabilities,
            network: args.network,
            files: files(&args.file)?,
        };
        Ok(Self { target, name, options })
    }
}

fn pairs(flag: &'static str, texts: &[String]) -> Result<BTreeMap<String, String>, OptionError> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(OptionError::new(flag, text, "should be key=value")),
    };
    texts.iter().map(pair).collect()
}

/// Places in the image must be absolute and plain, as entries of a layer are.
fn files(texts: &[String]) -> Result<BTreeMap<PathBuf, PathBuf>, OptionError> {
    let error = |text: &str| {
        OptionError::new("--file", text, "should be SOURCE=/PLACE/IN/IMAGE, without dots")
    };
    let mut files = BTreeMap::new();
    for text in texts {
        let (source, place) = text.rsplit_once('=').ok_or_else(|| error(text))?;
        let plain = place.starts_with('/')
            && place.len() > 1
            && place.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
        if !plain || source.is_empty() {
            return Err(error(text));
        }
        files.insert(PathBuf::from(place), PathBuf::from(source));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(change: impl FnOnce(&mut PackArgs)) -> Result<PackRequest, PackUsageError> {
        let mut args = PackArgs { output: "out".into(), ..PackArgs::default() };
        change(&mut args);
        PackRequest::decide(args, false)
    }

    #[test]
    fn a_registry_needs_a_name() {
        assert_eq!(decide(|args| args.output = "registry".into()), Err(PackUsageError::NoName));
        assert!(decide(|args| args.name = Some("UPPER".into())).is_err());
        assert!(decide(|args| args.image.platform = Some("linux/a/b/c".into())).is_err());
    }

    #[test]
    fn no_network_and_all_capabilities_unless_told() {
        let options = decide(|_| {}).unwrap().options;
        assert_eq!((options.network, options.capabilities), (false, None));
        let options = decide(|args| args.image.cap = vec![String::new()]).unwrap().options;
        assert_eq!(options.capabilities, Some(Vec::new()));
    }

    #[test]
    fn files_have_plain_places() {
        let files = |text: &str| decide(|args| args.image.file = vec![text.to_owned()]);
        assert!(files("ca.pem=/etc/ssl/ca.pem").is_ok());
        for text in ["ca.pem", "=/x", "x=y", "x=/", "x=/a/../b", "x=/a//b"] {
            assert!(files(text).is_err(), "{text}");
        }
    }
}
