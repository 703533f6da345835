//! Checks of what users may wish for: the options of a build.

use std::collections::BTreeSet;

use kiln_oci::Platform;
use serde_json::Value;

use super::checks::{Found, Kit, built, fail, first, graph, none, pass, said, settle, some_of};
use super::graph::{Graph, Vertex};
use super::result::{default_platform, difference, names_platform};
use super::run::Image;

/// The other platform of the daemon.
const OTHER: &str = "linux/arm64";

/// What of a graph must run again, the plain build's own wishes aside.
fn forced(graph: &Graph) -> Vec<&Vertex> {
    graph.work().filter(|vertex| vertex.metadata.ignore_cache).collect()
}

pub(crate) async fn no_cache(kit: &Kit<'_>) -> Found {
    settle(async {
        let (_, plain) = kit.image()?;
        if plain.work().next().is_none() {
            return Err(none("the sample has no steps that could run again"));
        }
        let run = kit.run(kit.order().with("no-cache", "")).await;
        let (_, graph) = first(&run, "with no-cache")?;
        let cached: Vec<String> =
            graph.execs().filter(|exec| !exec.metadata.ignore_cache).map(Vertex::name).collect();
        if !cached.is_empty() {
            return Err(fail(format!(
                "with no-cache, these may still come from the cache: {}",
                some_of(&cached)
            )));
        }
        let execs = graph.execs().count();
        match (execs, forced(&graph).len()) {
            (0, 0) => Err(none("the sample has no commands")),
            (0, steps) => Ok(pass(format!("{steps} steps run again"))),
            (commands, _) => Ok(pass(format!("{commands} commands run again"))),
        }
    })
    .await
}

pub(crate) async fn no_cache_by_name(kit: &Kit<'_>) -> Found {
    settle(async {
        let (_, plain) = kit.image()?;
        if plain.execs().next().is_none() {
            return Err(none("the sample has no commands"));
        }
        let run = kit.run(kit.order().with("no-cache", "kiln-conform-nobody")).await;
        let (_, graph) = first(&run, "with no-cache=kiln-conform-nobody")?;
        if forced(&graph).len() > forced(&plain).len() {
            return Err(fail("no-cache with a name that nothing has makes steps run again"));
        }
        let mut names = kit.targets().await;
        names.extend(kit.sample.options.get("target").cloned());
        for name in &names {
            let run = kit.run(kit.order().with("no-cache", name)).await;
            let (_, graph) = first(&run, &format!("with no-cache={name}"))?;
            if forced(&graph).len() > forced(&plain).len() {
                return Ok(pass(format!("no-cache={name} makes it run again, other names do not")));
            }
        }
        match names.is_empty() {
            true => Err(none("it does not tell names of targets (sub-request frontend.targets)")),
            false => {
                Err(fail(format!("no-cache with {} makes nothing run again", some_of(&names))))
            }
        }
    })
    .await
}

pub(crate) async fn platform(kit: &Kit<'_>) -> Found {
    settle(async {
        let (_, plain) = kit.image()?;
        let order = kit.order().with("platform", OTHER);
        let run = kit.run(order).await;
        let (image, graph) = first(&run, &format!("with platform={OTHER}"))?;
        let wanted = other();
        on_platform(&plain, image, &graph, &wanted)?;
        let mut asked = run.seen.images.iter().filter(|asked| {
            asked.platform.as_ref().is_none_or(|platform| !same(platform, &wanted))
        });
        // What the file itself pins to the builder's platform is asked for in the plain build too.
        let pinned = |reference: &str| kept_platform(&plain, &graph, reference);
        if let Some(asked) = asked.rfind(|asked| !pinned(&asked.reference))
            && !run.seen.images.iter().any(|image| {
                image.reference == asked.reference
                    && image.platform.as_ref().is_some_and(|p| same(p, &wanted))
            })
        {
            let platform =
                asked.platform.as_ref().map_or("no platform".to_owned(), Platform::format);
            return Err(fail(format!(
                "it asks for the config of {} for {platform}, not for {OTHER}",
                asked.reference
            )));
        }
        match graph.ops.iter().any(Vertex::has_platform) {
            true => Ok(pass(format!("everything is for {OTHER}"))),
            false => {
                Ok(pass(format!("the config is for {OTHER}; no image or command depends on it")))
            }
        }
    })
    .await
}

fn other() -> Platform {
    OTHER.parse().unwrap_or_else(|_| Platform::host())
}

fn same(one: &Platform, other: &Platform) -> bool {
    one.os == other.os && one.architecture == other.architecture
}

/// Whether an image of the graph is for the builder's platform although another is asked for.
fn kept_platform(plain: &Graph, graph: &Graph, reference: &str) -> bool {
    let of = |graph: &Graph| -> BTreeSet<String> {
        graph
            .ops
            .iter()
            .filter(|vertex| vertex.source().is_some_and(|s| s.identifier.contains(reference)))
            .map(|vertex| vertex.digest.clone())
            .collect()
    };
    let (before, after) = (of(plain), of(graph));
    !after.is_empty() && before == after && !default_platform_only(plain)
}

/// Whether a graph has just the default platform, so that nothing can be pinned to another.
fn default_platform_only(graph: &Graph) -> bool {
    let execs: Vec<_> = graph.execs().collect();
    execs.is_empty()
}

/// Fails unless an image, its commands and sources are for a platform. A command that stays on the
/// builder's platform is one that the file pins there, as long as not all do.
fn on_platform(
    plain: &Graph,
    image: &Image,
    graph: &Graph,
    wanted: &Platform,
) -> Result<(), Found> {
    let dependent: Vec<&Vertex> = graph.ops.iter().filter(|vertex| vertex.has_platform()).collect();
    let wrong: Vec<&Vertex> = dependent
        .iter()
        .copied()
        .filter(|vertex| vertex.platform().is_none_or(|platform| !same(&platform, wanted)))
        .collect();
    if let Some(nowhere) = wrong.iter().find(|vertex| vertex.op.platform.is_none()) {
        return Err(fail(format!("{} has no platform", nowhere.name())));
    }
    let before: BTreeSet<&str> = plain.ops.iter().map(|vertex| vertex.digest.as_str()).collect();
    let unmoved = |vertex: &&Vertex| before.contains(vertex.digest.as_str());
    let pinned = wrong.iter().filter(|vertex| unmoved(vertex)).count();
    // Steps on the builder's platform are fine in a build that has others; see BUILDPLATFORM.
    if !wrong.is_empty() && (wrong.len() == dependent.len() || pinned < wrong.len()) {
        let names: Vec<String> = wrong.iter().map(|vertex| vertex.name()).collect();
        return Err(fail(format!(
            "with platform={}, these are for another: {}",
            wanted.format(),
            some_of(&names)
        )));
    }
    if let Some(base) = graph.base_image()
        && let Some(base) = wrong
            .iter()
            .find(|vertex| vertex.source().is_some_and(|source| source.identifier.ends_with(base)))
    {
        return Err(fail(format!("the image starts from {} for another platform", base.name())));
    }
    names_platform(&image.config(), wanted)
}

pub(crate) async fn several_platforms(kit: &Kit<'_>) -> Found {
    settle(async {
        let (_, plain) = kit.image()?;
        let platforms = [default_platform(), other()];
        let list = platforms.each_ref().map(Platform::format).join(",");
        let run = kit.run(kit.order().with("platform", &list)).await;
        let done = built(&run, &format!("with platform={list}"))?;
        if !done.by_platform {
            return Err(fail(format!("with platform={list} it returns a single result")));
        }
        let listed = done.metadata.get(kiln_frontend::keys::PLATFORMS);
        let listed =
            listed.ok_or_else(|| fail("several results, but no metadata `refs.platforms`"))?;
        let listed: Value = serde_json::from_slice(listed).unwrap_or_default();
        let entries = listed["Platforms"].as_array().cloned().unwrap_or_default();
        for platform in &platforms {
            let entry = entries.iter().find(|entry| {
                entry["Platform"]["os"] == platform.os.as_str()
                    && entry["Platform"]["architecture"] == platform.architecture.as_str()
            });
            let id = entry.and_then(|entry| entry["ID"].as_str()).ok_or_else(|| {
                fail(format!("`refs.platforms` does not list {}: {listed}", platform.format()))
            })?;
            let image = done.images.iter().find(|image| image.id == id);
            let image = image.ok_or_else(|| {
                fail(format!("there is no result `{id}`, which `refs.platforms` lists"))
            })?;
            if image.config.is_none() {
                return Err(fail(format!("there is no metadata `containerimage.config/{id}`")));
            }
            on_platform(&plain, image, &graph(image)?, platform)?;
        }
        if done.images.len() != platforms.len() {
            return Err(fail(format!("two platforms give {} results", done.images.len())));
        }
        Ok(pass(format!("one result and one config each for {list}")))
    })
    .await
}

pub(crate) async fn build_args(kit: &Kit<'_>) -> Found {
    settle(async {
        let done = kit.done()?;
        let own: Vec<&String> =
            kit.sample.options.keys().filter(|key| key.starts_with("build-arg:")).collect();
        let (run, what) = match own.is_empty() {
            true => {
                let order = kit.order().with("build-arg:KILN_CONFORM", "kiln-conform-value");
                (kit.run(order).await, "with a build argument")
            }
            false => {
                let order = own.iter().fold(kit.order(), |order, key| order.without(key));
                (kit.run(order).await, "without its build arguments")
            }
        };
        let changed = match &run.outcome {
            // A file may need the arguments that its sample has.
            Err(_) if !own.is_empty() => true,
            _ => difference(done, built(&run, what)?).is_some(),
        };
        match (changed, own.is_empty()) {
            (true, _) => Ok(pass("build arguments change what is built")),
            (false, true) => Err(none(
                "the sample takes no build argument; a sample `build-arg` with options in its case.json would tell",
            )),
            (false, false) => Err(fail(format!(
                "the sample's {} change nothing",
                own.iter().map(|key| key.as_str()).collect::<Vec<_>>().join(", ")
            ))),
        }
    }).await
}

pub(crate) async fn labels(kit: &Kit<'_>) -> Found {
    settle(async {
        kit.done()?;
        let run = kit.run(kit.order().with("label:kiln.conform", "a label's value")).await;
        let (image, _) = first(&run, "with a label")?;
        match image.config()["config"]["Labels"]["kiln.conform"].as_str() {
            Some("a label's value") => Ok(pass("the label is in the config")),
            _ => Err(fail("a label of the user is not in the image's config")),
        }
    })
    .await
}

pub(crate) async fn target(kit: &Kit<'_>) -> Found {
    settle(async {
        kit.done()?;
        let names = kit.targets().await;
        for name in &names {
            let run = kit.run(kit.order().with("target", name)).await;
            built(&run, &format!("with target={name}, which it lists"))?;
        }
        let nobody = "kiln-conform-nobody";
        let run = kit.run(kit.order().with("target", nobody)).await;
        match &run.outcome {
            Ok(_) if names.is_empty() => Err(none("the language has no targets")),
            Ok(_) => Err(fail("a target that does not exist is built all the same")),
            Err(wrong) => {
                let message = &said(wrong)?.message;
                match message.contains(nobody) {
                    true => Ok(pass(format!("{} targets; another name is an error", names.len()))),
                    false => Err(fail(format!(
                        "the error about a target that does not exist does not name it: {message}"
                    ))),
                }
            }
        }
    })
    .await
}

pub(crate) async fn resolve_mode(kit: &Kit<'_>) -> Found {
    settle(async {
        kit.done()?;
        if kit.plain.seen.images.is_empty() {
            return Err(none("the sample uses no images"));
        }
        let run = kit.run(kit.order().with("image-resolve-mode", "pull")).await;
        let (_, graph) = first(&run, "with image-resolve-mode=pull")?;
        if let Some(asked) = run.seen.images.iter().find(|asked| asked.mode != "pull") {
            return Err(fail(format!(
                "it asks for {} in mode {:?} instead of \"pull\"",
                asked.reference, asked.mode
            )));
        }
        let image = |vertex: &&Vertex| {
            vertex.source().is_some_and(|source| source.identifier.starts_with("docker-image://"))
        };
        let deaf: Vec<String> = graph
            .ops
            .iter()
            .filter(image)
            .filter(|vertex| {
                let mode = vertex.source().and_then(|source| source.attrs.get("image.resolvemode"));
                mode.map(String::as_str) != Some("pull")
            })
            .map(Vertex::name)
            .collect();
        match deaf.is_empty() {
            true => Ok(pass("every question and every image says `pull`")),
            false => Err(fail(format!("these are not pulled: {}", some_of(&deaf)))),
        }
    })
    .await
}

pub(crate) async fn source_date_epoch(kit: &Kit<'_>) -> Found {
    const SECONDS: &str = "1234567890";
    const TIME: &str = "2009-02-13T23:31:30Z";
    settle(async {
        kit.done()?;
        let run = kit.run(kit.order().with("build-arg:SOURCE_DATE_EPOCH", SECONDS)).await;
        let done = built(&run, "with SOURCE_DATE_EPOCH")?;
        let config = done.images.first().map(Image::config).unwrap_or_default();
        let said = done.metadata.get(kiln_frontend::keys::SOURCE_DATE_EPOCH);
        let times = config["history"].as_array().into_iter().flatten().map(|entry| &entry["created"]);
        let times = times.chain([&config["created"]]).filter_map(Value::as_str);
        // All in UTC and without fractions, or younger by a fraction at most.
        if let Some(younger) = times.into_iter().find(|time| time[..time.len().min(19)] > TIME[..19]) {
            return Err(fail(format!("something in the config is of {younger}, younger than {TIME}")));
        }
        let created = config["created"].as_str();
        match (said.map(|bytes| &bytes[..]), created) {
            (Some(value), _) if value == SECONDS.as_bytes() => Ok(pass("metadata `source.date.epoch`")),
            (None, Some(TIME)) => Ok(pass("the config is of that time")),
            (Some(other), _) => Err(fail(format!("metadata `source.date.epoch` is {:?}", String::from_utf8_lossy(other)))),
            (None, _) => Err(fail("SOURCE_DATE_EPOCH is nowhere: neither metadata `source.date.epoch` nor the config's time")),
        }
    }).await
}

pub(crate) async fn unknown_options(kit: &Kit<'_>) -> Found {
    settle(async {
        let done = kit.done()?;
        let order = kit.order().with("kiln-conform-unknown", "1").with("kiln-conform:a", "");
        let order = order.with("vcs:source", "https://example.com/kiln-conform.git");
        let run = kit.run(order).await;
        match difference(done, built(&run, "with options that it does not know")?) {
            None => Ok(pass("nothing changes")),
            Some(difference) => Err(fail(format!("they change the result: {difference}"))),
        }
    })
    .await
}
