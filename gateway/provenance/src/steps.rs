//! A definition as numbered steps, inputs before those that read them.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use kiln_pb::gojson::Json as _;
use kiln_pb::pb;
use prost::Message as _;
use serde::Serialize;
use serde_json::Value;

use crate::without_credentials;

/// A definition as numbered steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildConfig {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    llb_definition: Vec<Step>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest_mapping: BTreeMap<String, String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Step {
    id: String,
    op: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<String>,
}

/// Why a definition has no steps.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// An op that does not decode.
    #[error("an op of the definition does not decode")]
    Decode(#[from] prost::DecodeError),
    /// An input that is not there.
    #[error("the definition lacks its input {0}")]
    Missing(String),
    /// An op whose JSON is none.
    #[error("an op of the definition has no JSON")]
    Json(#[from] serde_json::Error),
}

/// What means something in one session only.
const SESSION_ATTRIBUTES: &[&str] = &["local.session", "local.unique"];

impl BuildConfig {
    /// The steps of a definition.
    ///
    /// # Errors
    ///
    /// [`StepError`] if it is none.
    pub fn new(definition: &pb::Definition) -> Result<Self, StepError> {
        let mut ops = BTreeMap::new();
        let mut last = None;
        for bytes in &definition.def {
            let digest = Digest::sha256(bytes).to_string();
            let mut op = pb::Op::decode(bytes.clone())?;
            clean(&mut op);
            ops.insert(digest.clone(), op);
            last = Some(digest);
        }
        let Some(last) = last else { return Ok(Self::default()) };
        let order = order(&ops, &last)?;
        let mut config = Self::default();
        for (number, digest) in order.iter().enumerate() {
            config.digest_mapping.insert(digest.clone(), format!("step{number}"));
        }
        for digest in &order {
            let op = ops.remove(digest).ok_or_else(|| StepError::Missing(digest.clone()))?;
            let step = config.step(digest, op)?;
            config.llb_definition.push(step);
        }
        Ok(config)
    }

    fn step(&self, digest: &str, mut op: pb::Op) -> Result<Step, StepError> {
        let inputs = std::mem::take(&mut op.inputs);
        let name = |digest: &str| self.digest_mapping.get(digest).cloned().unwrap_or_default();
        let inputs = inputs.iter().map(|input| format!("{}:{}", name(&input.digest), input.index));
        Ok(Step {
            id: name(digest),
            inputs: inputs.collect(),
            op: serde_json::from_str(&op.to_json())?,
        })
    }

    /// The name of a step, such as `step3`.
    pub fn name(&self, digest: &str) -> Option<&str> {
        self.digest_mapping.get(digest).map(String::as_str)
    }
}

/// Takes out what means something in one session only, and credentials in addresses.
fn clean(op: &mut pb::Op) {
    let hide = |text: &mut String| *text = without_credentials(std::mem::take(text));
    match &mut op.op {
        Some(pb::op::Op::Source(source)) => {
            source.attrs.retain(|name, _| !SESSION_ATTRIBUTES.contains(&name.as_str()));
            hide(&mut source.identifier);
            source.attrs.values_mut().for_each(hide);
        }
        Some(pb::op::Op::Exec(exec)) => {
            let proxy = exec.meta.as_mut().and_then(|meta| meta.proxy_env.as_mut());
            if let Some(proxy) = proxy {
                let pb::ProxyEnv { http_proxy, https_proxy, ftp_proxy, no_proxy: _, all_proxy } =
                    proxy;
                [http_proxy, https_proxy, ftp_proxy, all_proxy].into_iter().for_each(hide);
            }
        }
        _ => {}
    }
}

/// The digests on the way to an op, inputs first. Without recursion: how deep it goes is the client's
/// to say.
fn order(ops: &BTreeMap<String, pb::Op>, last: &str) -> Result<Vec<String>, StepError> {
    let mut order = Vec::new();
    let mut seen = std::collections::BTreeSet::from([last.to_owned()]);
    let mut way = vec![(last.to_owned(), 0)];
    while let Some((digest, next)) = way.last_mut() {
        let op = ops.get(digest).ok_or_else(|| StepError::Missing(digest.clone()))?;
        match op.inputs.get(*next) {
            Some(input) => {
                *next += 1;
                if seen.insert(input.digest.clone()) {
                    way.push((input.digest.clone(), 0));
                }
            }
            None => {
                order.push(digest.clone());
                way.pop();
            }
        }
    }
    Ok(order)
}
