//! The checks, one row each, and what they all start from.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use kiln_frontend::Frontend;

use super::graph::Graph;
use super::run::{Done, Image, Order, Run, Wrong};
use super::samples::{Sample, SampleKind};
use super::{ConformOptions, conduct, mistakes, options, requests, result};

/// One thing that is asked of a frontend.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) asks: &'static str,
    pub(crate) read: &'static str,
    pub(crate) run: for<'a> fn(&'a Kit<'a>) -> BoxFuture<'a, Found>,
}

/// What a check found with one sample.
#[derive(Debug)]
pub(crate) enum Found {
    Pass(String),
    Fail(String),
    Advice(String),
    NotApplicable(String),
}

/// Ends a check that found nothing wrong.
pub(crate) fn pass(detail: impl Into<String>) -> Found {
    Found::Pass(detail.into())
}

/// Ends a check that found something wrong.
pub(crate) fn fail(detail: impl Into<String>) -> Found {
    Found::Fail(detail.into())
}

/// Ends a check that found something that BuildKit's own frontend has not, either.
pub(crate) fn advice(detail: impl Into<String>) -> Found {
    Found::Advice(detail.into())
}

/// Ends a check that had nothing to look at.
pub(crate) fn none(detail: impl Into<String>) -> Found {
    Found::NotApplicable(detail.into())
}

macro_rules! checks {
    ($($name:literal: $function:path, $asks:literal, $read:literal;)*) => {
        &[$(Check {
            name: $name,
            asks: $asks,
            read: $read,
            run: |kit| Box::pin($function(kit)),
        }),*]
    };
}

/// All checks, in the order of the report.
pub(crate) const CHECKS: &[Check] = checks![
    "builds": result::builds,
        "a valid file builds",
        "kiln_frontend::Frontend";
    "deterministic": result::deterministic,
        "the same build gives the same graph and config every time, whatever the order of the options",
        "kiln_llb::State::marshal; BuildKit caches by the digest of each op";
    "canonical": result::canonical,
        "graphs are whole, and each op is encoded in the one canonical way",
        "kiln_llb::encode";
    "image-config": result::image_config,
        "the image has a config that names its os and architecture",
        "kiln_frontend::keys::IMAGE_CONFIG; OCI image-spec, config.md";
    "keeps-base-config": result::keeps_base_config,
        "what the base image says about itself is kept unless the file says otherwise",
        "kiln_frontend::base_image";
    "keeps-unknown-config": result::keeps_unknown_config,
        "fields of the base image's config that the language does not know are kept",
        "kiln_oci::ImageConfig::other";
    "source-maps": result::source_maps,
        "each command says which lines of the user's file it comes from",
        "kiln_llb::SourceMap; pb.Source in BuildKit's ops.proto";
    "no-cache": options::no_cache,
        "`--no-cache` runs every command again",
        "kiln_frontend::NoCache; OpMetadata.ignore_cache";
    "no-cache-by-name": options::no_cache_by_name,
        "`--no-cache-filter NAME` runs the commands of that stage or image again, and no others",
        "kiln_frontend::NoCache::covers";
    "platform": options::platform,
        "`--platform` is on every image and command, in every question for a config, and in the config",
        "kiln_llb::Constraints::on; option `platform`";
    "several-platforms": options::several_platforms,
        "several platforms give one result and one config each, and a list of them",
        "kiln_frontend::build_platforms; metadata `refs.platforms`";
    "build-args": options::build_args,
        "`--build-arg` reaches what is built",
        "kiln_frontend::Options::build_args";
    "labels": options::labels,
        "`--label` is in the image's config",
        "kiln_frontend::Options::labels";
    "target": options::target,
        "`--target` names what there is; any other name is an error that repeats it",
        "kiln_frontend::Options::target";
    "resolve-mode": options::resolve_mode,
        "`--pull` asks the registry although the image is there",
        "option `image-resolve-mode`; attribute `image.resolvemode`";
    "source-date-epoch": options::source_date_epoch,
        "SOURCE_DATE_EPOCH is the time of the image, and nothing in it is younger",
        "kiln_frontend::keys::SOURCE_DATE_EPOCH; https://reproducible-builds.org/docs/source-date-epoch/";
    "unknown-options": options::unknown_options,
        "options that it does not know change nothing",
        "kiln_frontend::Options";
    "broken-input": mistakes::broken_input,
        "a file with a mistake is an error that points at the file and the line",
        "kiln_frontend::FrontendError::diagnostics; errdefs.Source";
    "survives-anything": mistakes::survives_anything,
        "no file makes it crash or hang",
        "kiln_document::Limits";
    "missing-file": mistakes::missing_file,
        "a file that is not there is an error with the file's name",
        "kiln_frontend::Contexts::definition_file";
    "describe": requests::describe,
        "it tells which sub-requests it answers",
        "sub-request `frontend.subrequests.describe`";
    "unknown-request": requests::unknown_request,
        "a sub-request it does not know is the typed error for that, never a build",
        "errdefs.Subrequest, code Unimplemented; kiln_wire::status::Detail::Subrequest";
    "offered-features": conduct::offered_features,
        "it uses no feature that the daemon does not offer, and works with an old daemon",
        "kiln_frontend::BuildInfo::llb_caps; kiln_llb::CapSet";
    "declared-files": conduct::declared_files,
        "it reads only files that its local sources declare",
        "kiln_llb::Local::follow_paths";
    "no-secrets": conduct::no_secrets,
        "credentials in proxy options stay out of everything but the proxy settings of commands",
        "kiln_llb::Proxy";
    "no-session": conduct::no_session,
        "the session's id is in nothing but local sources",
        "kiln_frontend::BuildInfo::local_session";
    "quick": conduct::quick,
        "it answers quickly",
        "kiln_testing::ConformOptions::quick";
];

/// A frontend, one sample, and the plain build of it that everything is compared with.
pub(crate) struct Kit<'a> {
    pub(crate) frontend: &'a dyn Frontend,
    pub(crate) sample: &'a Sample,
    pub(crate) terms: &'a ConformOptions,
    pub(crate) plain: Run,
}

impl<'a> Kit<'a> {
    /// Builds the sample once.
    pub(crate) async fn new(
        frontend: &'a dyn Frontend,
        sample: &'a Sample,
        terms: &'a ConformOptions,
    ) -> Self {
        let plain = Order::plain(sample).run(frontend, terms.limit).await;
        Self { frontend, sample, terms, plain }
    }

    /// The sample as it is, to be ordered with other options.
    pub(crate) fn order(&self) -> Order<'a> {
        Order::plain(self.sample)
    }

    /// Has an order built.
    pub(crate) async fn run(&self, order: Order<'_>) -> Run {
        order.run(self.frontend, self.terms.limit).await
    }

    /// What the plain build returned; otherwise the check has nothing to start from.
    pub(crate) fn done(&self) -> Result<&Done, Found> {
        match (self.sample.kind, &self.plain.outcome) {
            (SampleKind::Broken, _) => Err(none("the sample is broken on purpose")),
            (_, Ok(done)) => Ok(done),
            (_, Err(_)) => Err(none("the sample does not build")),
        }
    }

    /// The only image of the plain build, and its graph.
    pub(crate) fn image(&self) -> Result<(&Image, Graph), Found> {
        let image = self.done()?.images.first().ok_or_else(|| none("nothing is built"))?;
        let graph = graph(image)?;
        Ok((image, graph))
    }

    /// The names that `--target` takes, as far as the frontend tells.
    pub(crate) async fn targets(&self) -> Vec<String> {
        let order = self.order().with("requestid", "frontend.targets");
        let Ok(done) = self.run(order).await.outcome else { return Vec::new() };
        let json = done.metadata.get("result.json").cloned().unwrap_or_default();
        let list: serde_json::Value = serde_json::from_slice(&json).unwrap_or_default();
        let targets = list["targets"].as_array().into_iter().flatten();
        targets.filter_map(|target| target["name"].as_str().map(str::to_owned)).collect()
    }
}

/// The graph of an image that was returned.
pub(crate) fn graph(image: &Image) -> Result<Graph, Found> {
    Graph::of(&image.definition).map_err(|error| none(format!("its graph cannot be read: {error}")))
}

/// The result of a build that is to work, or the failure of the check.
pub(crate) fn built<'r>(run: &'r Run, what: &str) -> Result<&'r Done, Found> {
    run.outcome.as_ref().map_err(|wrong| fail(format!("{what}: {wrong}")))
}

/// The first image of a build that is to work, and its graph.
pub(crate) fn first<'r>(run: &'r Run, what: &str) -> Result<(&'r Image, Graph), Found> {
    let image = built(run, what)?
        .images
        .first()
        .ok_or_else(|| fail(format!("{what}: it builds nothing")))?;
    Ok((image, graph(image)?))
}

/// Ends a check with what a fallible part of it found.
pub(crate) async fn settle(found: impl Future<Output = Result<Found, Found>>) -> Found {
    found.await.unwrap_or_else(|found| found)
}

/// Up to three of many things, in a sentence.
pub(crate) fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// Whether an error is the frontend's own words, and if not, what it is instead.
pub(crate) fn said(wrong: &Wrong) -> Result<&kiln_wire::status::RichStatus, Found> {
    match wrong {
        Wrong::Said(status) => Ok(status),
        other => Err(fail(other.to_string())),
    }
}

/// The string values and keys of JSON, with the path to each.
pub(crate) fn strings(value: &serde_json::Value, path: &str, found: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::String(text) => {
            found.insert(path.to_owned(), text.clone());
        }
        serde_json::Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                strings(value, &format!("{path}[{index}]"), found);
            }
        }
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                strings(value, &format!("{path}.{key}"), found);
            }
        }
        _ => {}
    }
}
