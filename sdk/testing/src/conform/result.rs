//! Checks of what comes of a plain build.

use kiln_llb::encode::Canonical as _;
use kiln_oci::Platform;
use serde_json::Value;

use super::checks::{Found, Kit, advice, built, fail, none, pass, settle, some_of};
use super::fake_daemon::{DEFAULT_PLATFORM, base_config};
use super::graph::{Graph, shortened};
use super::run::Done;
use super::samples::SampleKind;

pub(crate) async fn builds(kit: &Kit<'_>) -> Found {
    if kit.sample.kind == SampleKind::Broken {
        return none("the sample is broken on purpose");
    }
    match &kit.plain.outcome {
        Err(wrong) => fail(format!("{} does not build: {wrong}", kit.sample.file)),
        Ok(done) if !done.strange_refs.is_empty() => fail(format!(
            "it returns results that it was never given: {}",
            done.strange_refs.join(", ")
        )),
        Ok(done) => {
            let steps: usize = done.images.iter().map(|image| image.definition.def.len()).sum();
            pass(format!("{} builds, {} steps", kit.sample.file, steps.saturating_sub(1)))
        }
    }
}

pub(crate) async fn deterministic(kit: &Kit<'_>) -> Found {
    settle(async {
        kit.done()?;
        // Unknown options give the numbers of the options something to shuffle.
        let order = || {
            let order = kit.order().with("kiln-conform-a", "1").with("zz-kiln-conform", "2");
            order.with("build-arg:KILN_CONFORM_X", "3").with("build-arg:KILN_CONFORM_Y", "4")
        };
        let once = kit.run(order()).await;
        let once = built(&once, "with options it need not know")?;
        for turn in 1..kit.terms.repeats {
            let again = kit.run(order()).await;
            let again = built(&again, &format!("run {}", turn + 1))?;
            if let Some(difference) = difference(once, again) {
                return Err(fail(format!("run {} differs from the first: {difference}", turn + 1)));
            }
        }
        Ok(pass(format!("{} runs, one result", kit.terms.repeats)))
    })
    .await
}

/// The first thing in which two results of the same build differ.
pub(crate) fn difference(one: &Done, other: &Done) -> Option<String> {
    for (a, b) in one.images.iter().zip(&other.images) {
        if a.definition != b.definition {
            let said = crate::difference(&a.definition, &b.definition).ok();
            let said = said.filter(|said| !said.is_empty()).map(|said| said.to_string());
            let unsaid = "the graph has other bytes, in what is said about its ops".to_owned();
            return Some(said.map_or(unsaid, |said| shortened(&said)));
        }
    }
    let keys = one.metadata.keys().chain(other.metadata.keys());
    let mut differing = keys.filter(|key| one.metadata.get(*key) != other.metadata.get(*key));
    if let Some(key) = differing.next() {
        return Some(format!("metadata `{key}`"));
    }
    (one != other).then(|| "the platforms of the result".to_owned())
}

pub(crate) async fn canonical(kit: &Kit<'_>) -> Found {
    if kit.sample.kind == SampleKind::Broken {
        return none("the sample is broken on purpose");
    }
    if let Some(complaint) = kit.plain.seen.complaints.iter().find(|c| c.contains("no graph")) {
        return fail(complaint.clone());
    }
    let mut count = 0;
    for definition in &kit.plain.seen.solved {
        let Ok(graph) = Graph::of(definition) else { continue };
        for vertex in &graph.ops {
            count += 1;
            if vertex.op.to_canonical() != vertex.bytes {
                return fail(format!(
                    "{} is not encoded canonically, so that equal steps of other builds are not recognised",
                    vertex.name()
                ));
            }
        }
        let known = |digest: &String| {
            definition.def.iter().any(|op| kiln_oci::Digest::sha256(op).to_string() == *digest)
        };
        if let Some(unknown) = definition.metadata.keys().find(|digest| !known(digest)) {
            return fail(format!("it says something about {unknown}, which is no op of the graph"));
        }
    }
    match count {
        0 => none("it solves nothing"),
        count => pass(format!("{count} ops in {} graphs", kit.plain.seen.solved.len())),
    }
}

pub(crate) async fn image_config(kit: &Kit<'_>) -> Found {
    settle(async {
        let done = kit.done()?;
        let image = done.images.first().ok_or_else(|| fail("it returns nothing"))?;
        if image.config.is_none() {
            return Err(fail("the result has no metadata `containerimage.config`"));
        }
        let config = image.config();
        if !config.is_object() {
            return Err(fail("`containerimage.config` is not a JSON object"));
        }
        let platform = default_platform();
        names_platform(&config, &platform)?;
        Ok(pass(format!("{}/{}", platform.os, platform.architecture)))
    })
    .await
}

pub(crate) fn default_platform() -> Platform {
    DEFAULT_PLATFORM.parse().unwrap_or_else(|_| Platform::host())
}

/// Fails unless a config is for a platform.
pub(crate) fn names_platform(config: &Value, platform: &Platform) -> Result<(), Found> {
    for (field, expected) in [("os", &platform.os), ("architecture", &platform.architecture)] {
        match config[field].as_str() {
            Some(value) if value == expected => {}
            Some(value) => {
                return Err(fail(format!(
                    "the config says {field} {value}, the build is for {expected}"
                )));
            }
            None => return Err(fail(format!("the config does not say its {field}"))),
        }
    }
    Ok(())
}

/// What a language may well set itself, with words for its loss. The value may be another then, but
/// not none.
const CONFIG_FIELDS: &[(&str, &str)] = &[
    ("User", "the user"),
    ("WorkingDir", "the working directory"),
    ("Entrypoint", "the entrypoint"),
    ("ExposedPorts", "the ports"),
    ("Volumes", "the volumes"),
    ("StopSignal", "the stop signal"),
    ("Shell", "the shell"),
    ("Healthcheck", "the health check"),
];

pub(crate) async fn keeps_base_config(kit: &Kit<'_>) -> Found {
    settle(async {
        let (image, base) = on_base(kit)?;
        let config = image.config();
        let (own, base_own) = (&config["config"], &base["config"]);
        let mut lost: Vec<String> = Vec::new();
        let env = own["Env"].as_array().cloned().unwrap_or_default();
        if !env.contains(&base_own["Env"][1]) {
            lost.push("its environment".to_owned());
        }
        if own["Labels"]["kiln.conform.base"] != base_own["Labels"]["kiln.conform.base"] {
            lost.push("its labels".to_owned());
        }
        let absent = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        for (field, words) in CONFIG_FIELDS {
            if absent(&own[*field]) {
                lost.push((*words).to_owned());
            }
        }
        // A new entrypoint makes the base's arguments meaningless.
        if own["Entrypoint"] == base_own["Entrypoint"] && absent(&own["Cmd"]) {
            lost.push("the command".to_owned());
        }
        match lost.is_empty() {
            true => Ok(pass("environment, labels, user, directory, entrypoint and all the rest")),
            false => Err(fail(format!("of the base image's config it loses {}", lost.join(", ")))),
        }
    })
    .await
}

pub(crate) async fn keeps_unknown_config(kit: &Kit<'_>) -> Found {
    settle(async {
        let (image, base) = on_base(kit)?;
        let config = image.config();
        let lost = [
            (
                "kiln.conform.unknown",
                config["kiln.conform.unknown"] == base["kiln.conform.unknown"],
            ),
            (
                "config.KilnConformUnknown",
                config["config"]["KilnConformUnknown"] == base["config"]["KilnConformUnknown"],
            ),
        ];
        let lost: Vec<&str> =
            lost.iter().filter(|(_, kept)| !kept).map(|(field, _)| *field).collect();
        match lost.is_empty() {
            true => Ok(pass("kept at both levels")),
            false => {
                Err(advice(format!("it loses fields that it does not know: {}", lost.join(", "))))
            }
        }
    })
    .await
}

/// The image of the plain build and the config of its base, if it has one.
fn on_base<'k>(kit: &'k Kit<'_>) -> Result<(&'k super::run::Image, Value), Found> {
    let (image, graph) = kit.image()?;
    let base = graph.base_image().ok_or_else(|| {
        none("the sample's image does not start from another; a sample that does would tell")
    })?;
    if image.config.is_none() {
        return Err(fail("the image has no config at all"));
    }
    if kit.plain.seen.images.is_empty() {
        return Err(fail(format!("it never asks for the config of the base image {base}")));
    }
    Ok((image, base_config(&default_platform())))
}

pub(crate) async fn source_maps(kit: &Kit<'_>) -> Found {
    settle(async {
        let (image, graph) = kit.image()?;
        let execs: Vec<_> = graph.execs().collect();
        if execs.is_empty() {
            return Err(none("the sample has no commands"));
        }
        let unplaced: Vec<String> = execs
            .iter()
            .filter(|exec| exec.places.iter().all(|p| p.ranges.is_empty()))
            .map(|e| e.name())
            .collect();
        if !unplaced.is_empty() {
            return Err(fail(format!(
                "{} of {} commands do not say where they come from: {}",
                unplaced.len(),
                execs.len(),
                some_of(&unplaced)
            )));
        }
        let text = kit.sample.text();
        let infos =
            image.definition.source.as_ref().map(|s| s.infos.as_slice()).unwrap_or_default();
        for exec in &execs {
            for place in &exec.places {
                let index = usize::try_from(place.source_index).unwrap_or(usize::MAX);
                let Some(info) = infos.get(index) else {
                    return Err(fail(format!(
                        "{} comes from file {index}, which is not there",
                        exec.name()
                    )));
                };
                // A file may include others, which are the sample's too.
                if info.data != text && !kit.sample.has_file(&info.filename, &info.data) {
                    return Err(fail(format!(
                        "the source map of {} has another text than the user's file",
                        exec.name()
                    )));
                }
                in_file(&info.data, &place.ranges)
                    .map_err(|why| fail(format!("{}: {why}", exec.name())))?;
            }
        }
        Ok(pass(format!("{} commands, each with its lines", execs.len())))
    })
    .await
}

/// Says what is wrong with ranges of a file, if something is.
pub(crate) fn in_file(text: &[u8], ranges: &[kiln_wire::pb::Range]) -> Result<(), String> {
    let lines = text.split(|byte| *byte == b'\n').count();
    for range in ranges {
        let line = |position: &Option<kiln_wire::pb::Position>| {
            position.as_ref().map_or(0, |position| position.line)
        };
        let (start, end) = (line(&range.start), line(&range.end));
        let end = if end == 0 { start } else { end };
        let last = i32::try_from(lines).unwrap_or(i32::MAX);
        if start < 1 || start > last || end < start || end > last.saturating_add(1) {
            return Err(format!(
                "lines {start} to {end} of a file with {lines} lines (lines count from 1)"
            ));
        }
    }
    Ok(())
}
