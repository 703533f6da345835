//! What may be said about any op: its platform, its name, how it is cached, where it comes from.
//!
//! [`Constraints`] stand in the options of every op and, as defaults, in [`Marshal`](crate::Marshal).
//! Only the platform and the worker filters are part of an op's digest; the rest is metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use kiln_oci::Platform;
use kiln_pb::pb;

use crate::State;

/// The description key under which an op's display name travels.
pub const CUSTOM_NAME: &str = "llb.customname";

/// Properties of one op, or defaults for all ops of a graph.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Constraints {
    /// The platform to run on or fetch for; the marshal default if absent.
    pub platform: Option<Platform>,
    /// The name people see instead of one made from the op.
    pub custom_name: Option<String>,
    /// Free words about the op, by key.
    pub description: BTreeMap<String, String>,
    /// Do not take the result from the cache.
    pub ignore_cache: bool,
    /// Whether the result goes into exported caches; the exporter's choice if absent.
    pub export_cache: Option<bool>,
    /// The group under which progress is shown.
    pub progress_group: Option<ProgressGroup>,
    /// Limits for the processes of an exec.
    pub linux_resources: Option<LinuxResources>,
    /// Filters a worker must match, in containerd's filter syntax.
    pub require: Vec<String>,
    /// Where the op comes from in the user's files.
    pub locations: Vec<SourceLocation>,
    /// The identity of a local source without a session: equal ids share a cache entry.
    pub local_unique_id: Option<String>,
}

crate::setters!(Constraints {
    with_platform(platform: impl Into<Option<Platform>>),
    with_custom_name(custom_name: impl Into<Option<String>>),
    with_description(description: BTreeMap<String, String>),
    with_ignore_cache(ignore_cache: bool),
    with_export_cache(export_cache: impl Into<Option<bool>>),
    with_progress_group(progress_group: impl Into<Option<ProgressGroup>>),
    with_linux_resources(linux_resources: impl Into<Option<LinuxResources>>),
    with_require(require: Vec<String>),
    with_locations(locations: Vec<SourceLocation>),
    with_local_unique_id(local_unique_id: impl Into<Option<String>>),
});

impl Constraints {
    /// Only a display name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { custom_name: Some(name.into()), ..Self::default() }
    }

    /// Only a platform.
    pub fn on(platform: Platform) -> Self {
        Self { platform: Some(platform), ..Self::default() }
    }

    /// These constraints under those of one op: single values give way, lists and words add up.
    #[must_use]
    pub fn merged(&self, over: &Self) -> Self {
        let mut merged = self.clone();
        merged.description.extend(over.description.clone());
        merged.require.extend_from_slice(&over.require);
        merged.locations.extend_from_slice(&over.locations);
        merged.ignore_cache |= over.ignore_cache;
        replace(&mut merged.platform, over.platform.as_ref());
        replace(&mut merged.custom_name, over.custom_name.as_ref());
        replace(&mut merged.export_cache, over.export_cache.as_ref());
        replace(&mut merged.progress_group, over.progress_group.as_ref());
        replace(&mut merged.linux_resources, over.linux_resources.as_ref());
        replace(&mut merged.local_unique_id, over.local_unique_id.as_ref());
        merged
    }

    /// The metadata of an op with these constraints and capabilities.
    pub(crate) fn metadata(&self, caps: &[&str]) -> pb::OpMetadata {
        let mut description = self.description.clone();
        if let Some(name) = &self.custom_name {
            description.insert(CUSTOM_NAME.into(), name.clone());
        }
        pb::OpMetadata {
            ignore_cache: self.ignore_cache,
            description,
            export_cache: self.export_cache.map(|value| pb::ExportCache { value }),
            caps: caps.iter().map(|cap| ((*cap).to_owned(), true)).collect(),
            progress_group: self.progress_group.as_ref().map(ProgressGroup::to_wire),
            linux_resources: self.linux_resources.as_ref().map(LinuxResources::to_wire),
        }
    }
}

fn replace<T: Clone>(value: &mut Option<T>, over: Option<&T>) {
    if over.is_some() {
        *value = over.cloned();
    }
}

/// Ops shown as one in progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgressGroup {
    /// Equal ids are one group.
    pub id: String,
    /// What people see.
    pub name: String,
    /// Gives way to any strong group that the op is also in.
    pub weak: bool,
}

crate::setters!(ProgressGroup {
    with_id(id: impl Into<String>),
    with_name(name: impl Into<String>),
    with_weak(weak: bool),
});

impl ProgressGroup {
    fn to_wire(&self) -> pb::ProgressGroup {
        pb::ProgressGroup { id: self.id.clone(), name: self.name.clone(), weak: self.weak }
    }
}

/// Limits for the processes of an exec. Zero or empty is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinuxResources {
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Memory and swap together, in bytes; -1 is unlimited swap.
    pub memory_swap_bytes: i64,
    /// Relative weight of CPU time.
    pub cpu_shares: u64,
    /// Length of a scheduling period, in microseconds.
    pub cpu_period_micros: u64,
    /// CPU time per period, in microseconds.
    pub cpu_quota_micros: i64,
    /// CPUs to run on, such as `0-3`.
    pub cpuset_cpus: String,
    /// Memory nodes to use, such as `0,1`.
    pub cpuset_mems: String,
}

crate::setters!(LinuxResources {
    with_memory_bytes(memory_bytes: i64),
    with_memory_swap_bytes(memory_swap_bytes: i64),
    with_cpu_shares(cpu_shares: u64),
    with_cpu_period_micros(cpu_period_micros: u64),
    with_cpu_quota_micros(cpu_quota_micros: i64),
    with_cpuset_cpus(cpuset_cpus: impl Into<String>),
    with_cpuset_mems(cpuset_mems: impl Into<String>),
});

impl LinuxResources {
    fn to_wire(&self) -> pb::LinuxResources {
        pb::LinuxResources {
            memory: self.memory_bytes,
            memory_swap: self.memory_swap_bytes,
            cpu_shares: self.cpu_shares,
            cpu_period: self.cpu_period_micros,
            cpu_quota: self.cpu_quota_micros,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
        }
    }
}

/// A file of the user's that ops come from. Cheap to clone; equal files are sent once.
#[derive(Clone, Debug)]
pub struct SourceMap(pub(crate) Arc<SourceFile>);

/// What a [`SourceMap`] holds.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SourceFile {
    /// Its name, as the user knows it.
    pub filename: String,
    /// Its language, such as `Dockerfile`.
    pub language: String,
    /// Its text.
    pub data: Vec<u8>,
    /// The state the file was read from, so that a client can show it again.
    pub state: Option<State>,
}

crate::setters!(SourceFile {
    with_filename(filename: impl Into<String>),
    with_language(language: impl Into<String>),
    with_data(data: Vec<u8>),
    with_state(state: impl Into<Option<State>>),
});

impl SourceMap {
    /// A file with its text.
    pub fn new(
        filename: impl Into<String>,
        language: impl Into<String>,
        data: impl Into<Vec<u8>>,
    ) -> Self {
        let (filename, language, data) = (filename.into(), language.into(), data.into());
        Self(Arc::new(SourceFile { filename, language, data, state: None }))
    }

    /// The file it is about.
    pub fn file(&self) -> &SourceFile {
        &self.0
    }

    /// Some ranges of this file.
    pub fn location(&self, ranges: impl IntoIterator<Item = SourceRange>) -> SourceLocation {
        SourceLocation { map: self.clone(), ranges: ranges.into_iter().collect() }
    }
}

impl From<SourceFile> for SourceMap {
    fn from(file: SourceFile) -> Self {
        Self(Arc::new(file))
    }
}

/// Ranges of one file.
#[derive(Clone, Debug)]
pub struct SourceLocation {
    /// The file.
    pub map: SourceMap,
    /// Where in it.
    pub ranges: Vec<SourceRange>,
}

/// A range of a text: from a position to a position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceRange {
    /// The first position.
    pub start: SourcePosition,
    /// The last position.
    pub end: SourcePosition,
}

impl SourceRange {
    /// Whole lines, counted from one.
    pub fn lines(first: u32, last: u32) -> Self {
        let at = |line: u32| SourcePosition { line: line.cast_signed(), character: 0 };
        Self { start: at(first), end: at(last) }
    }
}

/// A position in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// The line, counted from one.
    pub line: i32,
    /// The character in the line, counted from zero.
    pub character: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ops_own_words_win_over_defaults() {
        let defaults = Constraints {
            description: [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]
                .into(),
            require: vec!["x".into()],
            export_cache: Some(true),
            ..Constraints::default()
        };
        let own = Constraints {
            description: [("b".to_owned(), "3".to_owned())].into(),
            require: vec!["y".into()],
            export_cache: Some(false),
            ..Constraints::named("n")
        };
        let metadata = defaults.merged(&own).metadata(&["c"]);
        let words: Vec<_> = metadata.description.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(words, ["a=1", "b=3", "llb.customname=n"]);
        assert_eq!(metadata.export_cache, Some(pb::ExportCache { value: false }));
        assert_eq!(defaults.merged(&own).require, ["x", "y"]);
    }
}
