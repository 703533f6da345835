//! The devices that there are: which of them a name means, who may have them, and what they bring.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::edits::Edits;
use crate::grant::Grant;
use crate::names;
use crate::registry::SpecError;
use crate::spec::{Spec, SpecEdits};

/// The annotation of devices that are meant by a word of the operator's choice.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// The annotation of devices that every build may use.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// A device that a step asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// A device (`vendor/class=device`), the first of a kind (`vendor/class`), all of a kind
    /// (`vendor/class=*`) or all of a class that an annotation names.
    pub name: String,
    /// The step runs without it where there is none.
    pub optional: bool,
}

/// Why a step does not get a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// There is none.
    #[error("required device {0:?} is not registered")]
    Missing(String),
    /// The build may not use them.
    #[error(
        "{} requested by the build but not allowed (allow {} with --allow device=NAME)",
        subject(.0), if .0.len() == 1 { "it" } else { "each" }
    )]
    Denied(Vec<String>),
    /// The operator gives none.
    #[error(
        "device {0} is requested by the build but not allowed: the daemon's configuration disables \
         devices (cdi.disabled)"
    )]
    Disabled(String),
    /// Its specification asks for what steps cannot get.
    #[error("device {name} cannot be used: {reason}")]
    Unusable {
        /// The device.
        name: String,
        /// What is in the way.
        reason: String,
    },
}

fn subject(names: &[String]) -> String {
    match names {
        [one] => format!("device {one} is"),
        several => format!("devices {} are", several.join(", ")),
    }
}

/// A device of the host.
#[derive(Clone, Debug)]
pub struct Device {
    /// `vendor/class=device`.
    pub name: String,
    /// What its specification says about it: annotations of the whole, then its own.
    pub annotations: BTreeMap<String, String>,
    /// Every build may use it.
    pub auto_allowed: bool,
    edits: SpecEdits,
    /// What its specification brings, once for all of its devices.
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    edits: SpecEdits,
}

/// The devices of the host at some moment.
#[derive(Clone, Debug, Default)]
pub struct Devices(BTreeMap<String, Device>);

impl Devices {
    /// The devices of specifications with the priorities of their directories.
    pub(crate) fn of(
        specs: Vec<(usize, PathBuf, Spec)>,
        auto_allowed: &[String],
        errors: &mut Vec<SpecError>,
    ) -> Self {
        let mut found: BTreeMap<String, (usize, Device)> = BTreeMap::new();
        let mut conflicts = BTreeSet::new();
        for (priority, path, spec) in specs {
            let shared = Arc::new(Shared { path, edits: spec.container_edits });
            for device in spec.devices {
                let name = format!("{}={}", spec.kind, device.name.0);
                let annotations = spec.annotations.iter().chain(&device.annotations);
                let annotations: BTreeMap<String, String> =
                    annotations.map(|(key, value)| (key.clone(), value.0.clone())).collect();
                let is_named = |allowed: &String| *allowed == name || *allowed == spec.kind;
                let device = Device {
                    auto_allowed: auto_allowed.iter().any(is_named) || says_so(&annotations),
                    name: name.clone(),
                    annotations,
                    edits: device.container_edits,
                    shared: Arc::clone(&shared),
                };
                let other = found.insert(name.clone(), (priority, device));
                if let Some((_, other)) = other.filter(|(other, _)| *other == priority) {
                    let (first, second) = (other.shared.path.clone(), shared.path.clone());
                    errors.push(SpecError::Conflict { name: name.clone(), first, second });
                    conflicts.insert((priority, name));
                }
            }
        }
        for (priority, name) in conflicts {
            if found.get(&name).is_some_and(|(found, _)| *found == priority) {
                found.remove(&name);
            }
        }
        Self(found.into_iter().map(|(name, (_, device))| (name, device)).collect())
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Device> {
        self.0.values()
    }

    /// The names of the devices that a request means; none for an optional one that is not there.
    ///
    /// # Errors
    ///
    /// If there is none that the step can do without.
    pub fn find(&self, request: &Request) -> Result<Vec<String>, DeviceError> {
        let kind = names::kind(&request.name);
        let is_qualified = kind.contains('/') && !kind.starts_with('/');
        let mut of_kind =
            self.0.keys().filter(|name| names::kind(name) == kind && is_qualified).cloned();
        let mut found: Vec<String> = match request.name.split_once('=').map(|(_, name)| name) {
            None | Some("") => of_kind.next().into_iter().collect(),
            Some("*") => of_kind.collect(),
            Some(_) => of_kind.find(|name| *name == request.name).into_iter().collect(),
        };
        if found.is_empty() {
            let is_in = |device: &&Device| device.annotations.get(CLASS) == Some(&request.name);
            found = self.0.values().filter(is_in).map(|device| device.name.clone()).collect();
        }
        match found.is_empty() && !request.optional {
            true => Err(DeviceError::Missing(request.name.clone())),
            false => Ok(found),
        }
    }

    /// What a step may have of what it asks for; what it can do without and is not there is left out.
    ///
    /// # Errors
    ///
    /// If one is missing, or may not be used.
    pub fn grant(
        &self,
        requests: Vec<Request>,
        grant: Option<&Grant>,
    ) -> Result<Vec<Request>, DeviceError> {
        if grant.is_some_and(|grant| grant.all) {
            return Ok(requests);
        }
        let nothing = Grant::default();
        let names = &grant.unwrap_or(&nothing).names;
        let (mut allowed, mut asked) = (Vec::new(), Vec::new());
        for request in requests {
            match names.get(&request.name) {
                Some(Some(name)) => allowed.push(Request { name: name.clone(), ..request }),
                _ => asked.extend(self.find(&request)?),
            }
        }
        if asked.is_empty() {
            return Ok(allowed);
        }
        let mut granted = BTreeSet::new();
        for name in names.iter().filter(|(_, of)| of.is_none()).map(|(name, _)| name) {
            granted.extend(self.find(&Request { name: name.clone(), optional: false })?);
        }
        let may = |name: &String| {
            granted.contains(name) || self.0.get(name).is_some_and(|it| it.auto_allowed)
        };
        let denied = distinct(asked.iter().filter(|name| !may(name)).cloned());
        if !denied.is_empty() {
            return Err(DeviceError::Denied(denied));
        }
        allowed.extend(distinct(asked).into_iter().map(|name| Request { name, optional: false }));
        Ok(allowed)
    }

    /// What a step with these devices gets.
    ///
    /// # Errors
    ///
    /// If one is missing that the step needs, or cannot be used.
    pub fn edits(&self, requests: &[Request]) -> Result<Edits, DeviceError> {
        let mut names = Vec::new();
        for request in requests {
            names.extend(self.find(request)?);
        }
        let (mut edits, mut seen) = (Edits::default(), BTreeSet::new());
        for name in distinct(names) {
            let Some(device) = self.0.get(&name) else { continue };
            let unusable = |reason| DeviceError::Unusable { name: device.name.clone(), reason };
            if seen.insert(&device.shared.path) {
                edits.add(&device.shared.edits).map_err(unusable)?;
            }
            edits.add(&device.edits).map_err(unusable)?;
        }
        Ok(edits)
    }
}

/// Whether annotations say that every build may use a device, as Go reads truths.
fn says_so(annotations: &BTreeMap<String, String>) -> bool {
    let value = annotations.get(AUTO_ALLOW).map(String::as_str);
    matches!(value, Some("1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Each once, in the order in which they came first.
fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.into_iter().filter(|name| seen.insert(name.clone())).collect()
}
