//! Checks of how a frontend behaves towards the daemon and other builds.

use std::collections::BTreeMap;
use std::time::Duration;

use kiln_wire::pb::op::Op as Kind;
use kiln_wire::status::RichStatus;
use prost::Message as _;
use tonic::Code;

use super::checks::{Found, Kit, built, fail, none, pass, settle, some_of, strings};
use super::fake_daemon::{Age, SESSION};
use super::graph::Graph;
use super::run::{Done, Run, Wrong};
use super::samples::SampleKind;

pub(crate) async fn offered_features(kit: &Kit<'_>) -> Found {
    settle(async {
        kit.done()?;
        unoffered(&kit.plain, kiln_wire::caps::LLB)?;
        let run = kit.run(kit.order().by(Age::Old)).await;
        unoffered(&run, super::fake_daemon::OLD_LLB)?;
        match &run.outcome {
            Ok(_) => Ok(pass("it builds with an old daemon")),
            Err(Wrong::Said(status)) if refuses(status) => {
                Ok(pass(format!("it says what an old daemon lacks: {}", status.message)))
            }
            Err(wrong) => Err(fail(format!("with an old daemon: {wrong}"))),
        }
    })
    .await
}

/// Whether an error says that the daemon cannot do what the file needs.
fn refuses(status: &RichStatus) -> bool {
    status.code == Code::Unimplemented
        && (status.message.contains("capabilit") || status.message.contains("support"))
}

/// Fails if a build uses what its daemon does not offer.
fn unoffered(run: &Run, offered: &[&str]) -> Result<(), Found> {
    if let Some(complaint) = run.seen.complaints.iter().find(|c| c.contains("does not offer")) {
        return Err(fail(complaint.clone()));
    }
    for definition in &run.seen.solved {
        let Ok(graph) = Graph::of(definition) else { continue };
        for vertex in &graph.ops {
            let needs = match &vertex.op.op {
                Some(Kind::Merge(_)) => Some("mergeop"),
                Some(Kind::Diff(_)) => Some("diffop"),
                Some(Kind::Build(_)) => Some("build.op"),
                Some(Kind::Passthrough(_)) => Some("passthroughop"),
                _ => None,
            };
            let said = vertex.metadata.caps.iter().filter(|(_, needed)| **needed);
            let said = said.map(|(cap, _)| cap.as_str());
            if let Some(cap) = said.chain(needs).find(|cap| !offered.contains(cap)) {
                let message =
                    format!("{} needs `{cap}`, which the daemon does not offer", vertex.name());
                return Err(fail(message));
            }
        }
    }
    Ok(())
}

pub(crate) async fn declared_files(kit: &Kit<'_>) -> Found {
    settle(async {
        if kit.sample.kind == SampleKind::Broken {
            return Err(none("the sample is broken on purpose"));
        }
        if let Some(wanted) = kit.plain.seen.undeclared.first() {
            return Err(fail(format!("it wants {wanted}")));
        }
        kit.done()?;
        let locals = kit.plain.seen.solved.iter().flat_map(|definition| &definition.def).count();
        Ok(pass(format!("in {locals} ops, nothing but what is declared")))
    })
    .await
}

pub(crate) async fn no_secrets(kit: &Kit<'_>) -> Found {
    const SECRET: &str = "kilnconformpassword";
    settle(async {
        kit.done()?;
        let proxy = format!("http://user:{SECRET}@proxy.example:3128");
        let order = kit.order().with("build-arg:HTTP_PROXY", &proxy);
        let order = order.with("build-arg:https_proxy", &proxy).with("kiln-conform", SECRET);
        let run = kit.run(order).await;
        let done = built(&run, "with proxies")?;
        let found = traces(&run, done, SECRET, |vertex| {
            if let Some(Kind::Exec(exec)) = &mut vertex.op
                && let Some(meta) = &mut exec.meta
            {
                meta.proxy_env = None;
            }
        });
        match found.is_empty() {
            true => Ok(pass("proxies with a password leave no trace")),
            false => Err(fail(format!("the password of a proxy is in {}", some_of(&found)))),
        }
    })
    .await
}

pub(crate) async fn no_session(kit: &Kit<'_>) -> Found {
    settle(async {
        let done = kit.done()?;
        let found = traces(&kit.plain, done, SESSION, |op| {
            if let Some(Kind::Source(source)) = &mut op.op {
                // That is what these are for.
                for attr in ["local.session", "oci.session"] {
                    source.attrs.remove(attr);
                }
            }
        });
        match found.is_empty() {
            true => Ok(pass("only local sources name the session")),
            false => Err(fail(format!("the id of the session is in {}", some_of(&found)))),
        }
    })
    .await
}

/// Where a text is in what a build solved and returned, apart from where it may be.
fn traces(run: &Run, done: &Done, text: &str, allowed: fn(&mut kiln_wire::pb::Op)) -> Vec<String> {
    let mut found = Vec::new();
    for definition in &run.seen.solved {
        let Ok(graph) = Graph::of(definition) else { continue };
        for vertex in graph.ops {
            let name = vertex.name();
            let mut op = vertex.op;
            allowed(&mut op);
            let metadata = vertex.metadata.encode_to_vec();
            let bytes = [op.encode_to_vec(), metadata].concat();
            if contains(&bytes, text) && !found.contains(&name) {
                found.push(name);
            }
        }
    }
    for (key, value) in &done.metadata {
        if !contains(value, text) {
            continue;
        }
        let json: serde_json::Value = serde_json::from_slice(value).unwrap_or_default();
        let mut places = BTreeMap::new();
        strings(&json, "", &mut places);
        let place =
            places.iter().find(|(_, value)| value.contains(text)).map(|(path, _)| path.as_str());
        found.push(format!("metadata `{key}{}`", place.unwrap_or_default()));
    }
    found
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

pub(crate) async fn quick(kit: &Kit<'_>) -> Found {
    settle(async {
        kit.done()?;
        let mut times: Vec<Duration> = vec![kit.plain.took];
        for _ in 0..2 {
            times.push(kit.run(kit.order()).await.took);
        }
        times.sort();
        let usual = times[times.len() / 2];
        let said = format!("{:.0} ms", usual.as_secs_f64() * 1000.0);
        match usual <= kit.terms.quick {
            true => Ok(pass(said)),
            false => Err(fail(format!(
                "a build of the sample takes {said}, more than {} s",
                kit.terms.quick.as_secs_f32()
            ))),
        }
    })
    .await
}
