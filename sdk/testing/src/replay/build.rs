//! The answer to a plain build.

use kiln_frontend::{
    Attestation, AttestationKind, BuildResult, FrontendError, Ref, Refs, Warning, keys,
};
use kiln_llb::{Definition, DefinitionError};
use kiln_oci::{Digest, Platform};
use serde_json::{Map, Value, json};

use super::{error, forwarded, sort_ties};
use crate::fixture::{Asked, AskedResolve, AskedSolve, Forward, metadata};
use crate::render;

/// Everything that `build` has.
pub(super) fn answer(result: Result<BuildResult<Ref>, FrontendError>, asked: &Asked) -> Value {
    let mut answer = Map::new();
    let mut set = |key: &str, value: Value| {
        let empty = matches!(&value, Value::Array(items) if items.is_empty())
            || matches!(&value, Value::Object(items) if items.is_empty());
        if !empty {
            answer.insert(key.to_owned(), value);
        }
    };
    if let Some(call) = forwarded(asked) {
        set("status", "forward".into());
        set("forward", forward(call));
        set("loads", loads(asked, None));
        return Value::Object(answer);
    }
    set("resolves", sorted(asked.resolves.iter().map(resolve)));
    set("warnings", warnings(&asked.warnings));
    set("loads", loads(asked, result.as_ref().ok()));
    match result {
        Err(failure) => {
            set("status", "error".into());
            set("error", error(&failure));
        }
        Ok(result) => {
            set("status", "ok".into());
            set("multi_platform", matches!(result.refs, Refs::ByPlatform(_)).into());
            if let Some(list) = result.metadata.get(keys::PLATFORMS) {
                set("platforms", json_or_text(list));
            }
            set("results", results(&result, asked));
            set("attestations", attestations(&result, asked));
        }
    }
    Value::Object(answer)
}

/// A call of a frontend.
fn forward(forward: &Forward) -> Value {
    let mut answer = json!({"frontend": forward.frontend, "opts": forward.options});
    if !forward.inputs.is_empty() {
        let digest =
            |definition: &Definition| Value::from(Digest::sha256(definition.to_bytes()).as_str());
        let inputs = forward.inputs.iter().map(|(name, input)| (name.clone(), digest(input)));
        answer["inputs_sha256"] = inputs.collect::<Map<_, _>>().into();
    }
    answer
}

/// A question to the resolvers.
fn resolve(resolve: &AskedResolve) -> Value {
    match resolve {
        AskedResolve::Image { reference, platform, resolve_mode, log_name, layout } => {
            let platform = platform.as_ref().map(Platform::format_all).unwrap_or_default();
            let mut answer = json!({"ref": reference, "platform": platform, "log_name": log_name});
            match layout {
                None => {
                    answer["kind"] = "image".into();
                    answer["resolve_mode"] = resolve_mode.as_str().into();
                }
                Some(layout) => {
                    answer["kind"] = "oci-layout".into();
                    answer["store"] =
                        json!({"session_id": layout.session_id, "store_id": layout.store_id});
                }
            }
            answer
        }
        AskedResolve::Source { identifier, attrs, log_name, git_object } => {
            let mut answer =
                json!({"kind": "source", "identifier": identifier, "log_name": log_name});
            if !attrs.is_empty() {
                answer["attrs"] = json!(attrs);
            }
            if *git_object {
                answer["git_return_object"] = true.into();
            }
            answer
        }
    }
}

fn warnings(warnings: &[Warning]) -> Value {
    let mut warnings: Vec<&Warning> = warnings.iter().collect();
    let rule = |warning: &Warning| warning.short.split(": ").next().map(str::to_owned);
    sort_ties(
        &mut warnings,
        |a, b| rule(a) == rule(b) && a.ranges == b.ranges,
        |warning| warning.short.clone(),
    );
    let render = |warning: &Warning| {
        json!({
            "short": warning.short,
            "detail": warning.detail,
            "url": warning.url,
            "level": warning.level,
            "filename": warning.info.as_ref().map(|info| info.filename()).unwrap_or_default(),
            "ranges": render::ranges(&warning.ranges.iter().copied().map(Into::into).collect::<Vec<_>>()),
            "vertex": warning.vertex,
        })
    };
    warnings.into_iter().map(render).collect()
}

/// The graphs that were solved and are not part of the result.
fn loads(asked: &Asked, result: Option<&BuildResult<Ref>>) -> Value {
    let held: Vec<&AskedSolve> = result
        .into_iter()
        .flat_map(BuildResult::held)
        .filter_map(|reference| asked.solve(reference))
        .collect();
    let loads = asked.solves.iter().filter(|solve| !held.iter().any(|h| std::ptr::eq(*h, *solve)));
    let render = |solve: &AskedSolve| {
        let mut load = definition(&solve.definition);
        let mut reads = solve.reads.clone();
        reads.sort();
        reads.dedup();
        let reads = if reads.is_empty() { Value::Null } else { reads.into() };
        load.insert("reads".into(), reads);
        if solve.evaluate {
            load.insert("evaluate".into(), true.into());
        }
        Value::Object(load)
    };
    sorted(loads.map(render))
}

fn results(result: &BuildResult<Ref>, asked: &Asked) -> Value {
    let one = |(id, of): (Option<&str>, Option<&Ref>)| {
        let nothing = AskedSolve::default();
        let solve = of.and_then(|of| asked.solve(of)).unwrap_or(&nothing);
        let mut answer = definition(&solve.definition);
        let mut set = |key: &str, value: Value| {
            answer.insert(key.to_owned(), value);
        };
        set("id", id.unwrap_or_default().into());
        if let Some(source) = &solve.definition.source {
            set("source", render::source(source));
        }
        if let Some(config) = metadata(result, keys::IMAGE_CONFIG, id) {
            set("image_config", json_or_text(config));
            set("image_config_raw", String::from_utf8_lossy(config).into());
        }
        if let Some(config) = metadata(result, keys::BASE_CONFIG, id) {
            set("base_image_config", json_or_text(config));
        }
        if let Some(epoch) = metadata(result, keys::SOURCE_DATE_EPOCH, id) {
            set("epoch", String::from_utf8_lossy(epoch).into());
        }
        if !solve.cache_imports.is_empty() {
            let imports = solve.cache_imports.iter();
            let imports = imports.map(|i| json!({"Type": i.kind, "Attrs": i.attrs}));
            set("cache_imports", imports.collect());
        }
        Value::Object(answer)
    };
    result.iter().map(one).collect()
}

fn attestations(result: &BuildResult<Ref>, asked: &Asked) -> Value {
    let one = |attestation: &Attestation<Ref>| {
        let graph = attestation.reference.as_ref().and_then(|of| asked.graph(of));
        let text = |bytes: &bytes::Bytes| Value::from(String::from_utf8_lossy(bytes));
        let metadata = attestation.metadata.iter().map(|(key, value)| (key.clone(), text(value)));
        json!({
            "kind": match attestation.kind {
                AttestationKind::InToto => "InToto",
                AttestationKind::Bundle => "Bundle",
            },
            "path": attestation.path,
            "predicate_type": attestation.predicate_type,
            "metadata": metadata.collect::<Map<_, _>>(),
            "definition": graph.map(definition),
        })
    };
    let all = result.attestations.iter().filter(|(_, list)| !list.is_empty());
    let all = all.map(|(id, list)| (id.clone(), list.iter().map(one).collect()));
    Value::Object(all.collect())
}

/// A definition as it is rendered; one that does not decode shows why.
fn definition(definition: &Definition) -> Map<String, Value> {
    render::definition(definition).unwrap_or_else(|error: DefinitionError| {
        let digest = Digest::sha256(definition.to_bytes());
        let invalid = json!({
            "ops": [],
            "terminal": null,
            "definition_sha256": digest.as_str(),
            "invalid": error.to_string(),
        });
        invalid.as_object().cloned().unwrap_or_default()
    })
}

/// In the order of their JSON text, nothing twice.
fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut texts: Vec<(String, Value)> = values.map(|v| (v.to_string(), v)).collect();
    texts.sort_by(|a, b| a.0.cmp(&b.0));
    texts.dedup_by(|a, b| a.0 == b.0);
    texts.into_iter().map(|(_, value)| value).collect()
}

/// JSON as a value; what is not JSON as a text.
pub(super) fn json_or_text(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}
