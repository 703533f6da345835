//! How old a source is: the time of its commit, or of the file behind its URL.
//!
//! This is what `SOURCE_DATE_EPOCH=context` and names of contexts stand for.

use kiln_llb::{Constraints, Definition, State};
use kiln_wire::pb;

use super::{Contexts, archive, marshal};
use crate::convert::source_from_wire;
use crate::{FrontendError, SourceIdentifier, SourceRequest};

/// When a source was changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Seconds since 1970.
    pub seconds: i64,
    /// How far the clock on the wall was ahead of UTC there, in seconds.
    pub offset_seconds: i32,
}

impl Age {
    fn utc(seconds: i64) -> Self {
        Self { seconds, offset_seconds: 0 }
    }
}

impl Contexts<'_> {
    /// When a source was changed last. Nothing if the state is not just one
    /// git repository or file behind a URL, or if nobody knows.
    ///
    /// `log_name` is the name of the vertex that shows the question.
    ///
    /// # Errors
    ///
    /// The daemon's, or that a commit is malformed.
    pub async fn age(&self, state: &State, log_name: &str) -> Result<Option<Age>, FrontendError> {
        let definition = marshal(self.bridge.info(), state)?;
        let Some(source) = only_source(&definition)? else { return Ok(None) };
        let request = SourceRequest {
            log_name: log_name.to_owned(),
            git_object: source.identifier.starts_with("git://"),
            ..SourceRequest::default()
        };
        let meta = self.bridge.resolve_source(source.clone(), request).await?;
        if let Some(git) = meta.git.filter(|git| !git.commit_object.is_empty()) {
            return commit_time(&git.commit_object).map(Some);
        }
        if let Some(time) = meta.http.and_then(|http| http.last_modified) {
            return Ok(Some(Age::utc(time.seconds)));
        }
        let url = ["http://", "https://"].iter().any(|s| source.identifier.starts_with(s));
        let file = source.attrs.get("http.filename").filter(|file| url && !file.is_empty());
        match file.cloned() {
            Some(file) => self.age_of_archive(source, &file).await,
            None => Ok(None),
        }
    }

    async fn age_of_archive(
        &self,
        source: SourceIdentifier,
        file: &str,
    ) -> Result<Option<Age>, FrontendError> {
        let http = kiln_llb::Http::default()
            .with_filename(file.to_owned())
            .with_checksum(source.attrs.get("http.checksum").and_then(|text| text.parse().ok()))
            .with_constraints(Constraints::default());
        let state = State::http(&source.identifier, http);
        let definition = marshal(self.bridge.info(), &state)?;
        // The peer asks for the file in the barest of words.
        let head = definition.head().ok().flatten();
        let mut message = kiln_llb::wire::to_message(definition);
        if let Some(said) = head.and_then(|(source, _)| message.metadata.get_mut(&source)) {
            said.caps.clear();
        }
        let definition = kiln_llb::wire::from_message(message);
        let Some(found) = self.load(&definition, false).await? else { return Ok(None) };
        let bytes = self.bridge.read_file(&found, file, None).await?;
        Ok(archive::youngest(&bytes)?.map(Age::utc))
    }
}

/// The source of a graph that has just one.
fn only_source(definition: &Definition) -> Result<Option<SourceIdentifier>, FrontendError> {
    let mut found = None;
    for op in kiln_llb::wire::ops(definition) {
        let (_, op) = op.map_err(|error| FrontendError::unknown(error.to_string()))?;
        if let Some(pb::op::Op::Source(source)) = op.op
            && found.replace(source_from_wire(source)).is_some()
        {
            return Ok(None);
        }
    }
    Ok(found)
}

/// When a commit was committed.
fn commit_time(object: &[u8]) -> Result<Age, FrontendError> {
    let text = String::from_utf8_lossy(object);
    let headers = text.lines().take_while(|line| !line.is_empty());
    let line = headers.filter_map(|line| line.strip_prefix("committer ")).next();
    let missing = || FrontendError::unknown("invalid commit object: missing committer header");
    // `Name <address> seconds zone`
    let mut words = line.ok_or_else(missing)?.rsplit(' ');
    let offset_seconds = words.next().and_then(zone).unwrap_or(0);
    let seconds = words.next().and_then(|seconds| seconds.parse().ok()).ok_or_else(missing)?;
    Ok(Age { seconds, offset_seconds })
}

/// A zone such as `+0130`, in seconds.
fn zone(text: &str) -> Option<i32> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.split_at_checked(2).filter(|(_, minutes)| minutes.len() == 2)?;
    let number = |text: &str| text.parse::<u8>().ok().map(i32::from);
    Some(sign * (number(digits.0)? * 3600 + number(digits.1)? * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_tells_when_it_was_committed() {
        let commit = b"tree 1\nauthor A <a@b> 5 +0000\ncommitter B C <b@c> 1700000000 -0700\n\nx\n";
        let want = Age { seconds: 1_700_000_000, offset_seconds: -7 * 3600 };
        assert_eq!(commit_time(commit).unwrap(), want);
        assert!(commit_time(b"tree 1\n\ncommitter B <b> 5 +0000\n").is_err());
    }
}
