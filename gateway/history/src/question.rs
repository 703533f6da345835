//! What a listener wants to hear of: an id, filters, a limit.
//!
//! Texts come in, records are asked about. A filter is a list of texts of which one must hold; a text
//! is a list of selectors, separated by commas, which must all hold. Beside those of containerd's
//! grammar, over `ref`, `status` and `repository`, there are comparisons: `startedAt` and
//! `completedAt` with a time or an age (`startedAt>1h`), `duration` with a duration.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::SystemTime;

use kiln_filter::{Fields, Filter};
use kiln_pb::control::{BuildHistoryRecord, BuildHistoryRequest};
use prost_types::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::HistoryError;

/// The longest filter, in bytes.
const MAX_FILTER: usize = 16 << 10;
/// How many filters there may be.
const MAX_FILTERS: usize = 256;
/// The code of a build that was cancelled.
const CANCELLED: i32 = 1;

/// What a listener wants to hear of.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Only of this build.
    pub(crate) build: Option<String>,
    /// Of so many of those that have ended, the newest.
    limit: Option<usize>,
    alternatives: Vec<Alternative>,
}

#[derive(Debug)]
struct Alternative {
    comparisons: Vec<Comparison>,
    filter: Filter,
}

#[derive(Debug, PartialEq)]
struct Comparison {
    field: Field,
    operator: Operator,
    /// Seconds since 1970, or nanoseconds of a duration.
    value: i128,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    StartedAt,
    CompletedAt,
    Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    AtLeast,
    AtMost,
    Above,
    Below,
}

/// In the order in which they are looked for.
const OPERATORS: &[(&str, Operator)] = &[
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    (">", Operator::Above),
    ("<", Operator::Below),
];

impl Question {
    /// Understands a request; ages count from `now`.
    pub(crate) fn parse(
        request: &BuildHistoryRequest,
        now: SystemTime,
    ) -> Result<Self, HistoryError> {
        let limit = usize::try_from(request.limit).map_err(|_| HistoryError::Limit(request.limit));
        if request.filter.len() > MAX_FILTERS {
            return Err(HistoryError::Filter(format!("more than {MAX_FILTERS} filters")));
        }
        let alternatives = request.filter.iter().map(|text| Alternative::parse(text, now));
        Ok(Self {
            build: Some(request.r#ref.clone()).filter(|build| !build.is_empty()),
            limit: Some(limit?).filter(|limit| *limit > 0),
            alternatives: alternatives.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a record is asked for.
    pub(crate) fn wants(&self, record: &BuildHistoryRecord) -> bool {
        self.is_about(&record.r#ref)
            && (self.alternatives.is_empty()
                || self.alternatives.iter().any(|alternative| alternative.holds(record)))
    }

    /// Whether a build is asked for, as far as its id says.
    pub(crate) fn is_about(&self, build: &str) -> bool {
        self.build.as_ref().is_none_or(|wanted| wanted == build)
    }

    /// Sorts records, the newest first, and leaves out those beyond the limit.
    pub(crate) fn limit(&self, records: &mut Vec<BuildHistoryRecord>) {
        let created =
            |record: &BuildHistoryRecord| record.created_at.map(|time| (time.seconds, time.nanos));
        records.sort_by_key(|record| Reverse(created(record)));
        records.truncate(self.limit.unwrap_or(usize::MAX));
    }
}

impl Alternative {
    fn parse(text: &str, now: SystemTime) -> Result<Self, HistoryError> {
        if text.len() > MAX_FILTER {
            return Err(HistoryError::Filter(format!("longer than {MAX_FILTER} bytes")));
        }
        let (mut comparisons, mut others) = (Vec::new(), Vec::new());
        for selector in selectors(text) {
            match Comparison::parse(selector, now)? {
                Some(comparison) => comparisons.push(comparison),
                None => others.push(selector),
            }
        }
        let filter = Filter::parse(&[others.join(",")]);
        let filter = filter.map_err(|error| HistoryError::Filter(error.to_string()))?;
        Ok(Self { comparisons, filter })
    }

    fn holds(&self, record: &BuildHistoryRecord) -> bool {
        self.comparisons.iter().all(|comparison| comparison.holds(record))
            && self.filter.matches(&Subject(record))
    }
}

impl Comparison {
    /// The comparison that a selector is, if it is one.
    fn parse(selector: &str, now: SystemTime) -> Result<Option<Self>, HistoryError> {
        let found = OPERATORS.iter().find_map(|(sign, operator)| {
            let (field, value) = selector.split_once(sign)?;
            Some((field.trim(), *operator, value.trim()))
        });
        let Some((field, operator, text)) = found else { return Ok(None) };
        let field = match field {
            "startedAt" => Field::StartedAt,
            "completedAt" => Field::CompletedAt,
            "duration" => Field::Duration,
            _ => return Ok(None),
        };
        let value = match field {
            Field::Duration => nanoseconds(text)
                .ok_or_else(|| HistoryError::Filter(format!("invalid duration `{text}`")))?,
            Field::StartedAt | Field::CompletedAt => moment(text, now).ok_or_else(|| {
                HistoryError::Filter(format!(
                    "invalid time `{text}`: must be an age such as 1h30m, or a time such as \
                     2024-01-31T12:00:00Z"
                ))
            })?,
        };
        Ok(Some(Self { field, operator, value }))
    }

    fn holds(&self, record: &BuildHistoryRecord) -> bool {
        let seconds = |time: Option<Timestamp>| time.map_or(0, |time| i128::from(time.seconds));
        let value = match self.field {
            Field::StartedAt => seconds(record.created_at),
            Field::CompletedAt => seconds(record.completed_at),
            Field::Duration => match (record.created_at, record.completed_at) {
                (Some(created), Some(completed)) => precise(completed) - precise(created),
                _ => 0,
            },
        };
        match self.operator {
            Operator::AtLeast => value >= self.value,
            Operator::AtMost => value <= self.value,
            Operator::Above => value > self.value,
            Operator::Below => value < self.value,
        }
    }
}

/// The parts of a filter between commas that are not in quotes.
fn selectors(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

/// Nanoseconds since 1970.
fn precise(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// Seconds since 1970 of a time, or of an age.
fn moment(text: &str, now: SystemTime) -> Option<i128> {
    if let Some(age) = nanoseconds(text) {
        return Some((precise(now.into()) - age).div_euclid(1_000_000_000));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(i128::from(time.unix_timestamp()))
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `-300ms`, `0`.
fn nanoseconds(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum = 0.0;
    while !rest.is_empty() || sum == 0.0 {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        sum += number * unit(&tail[..end])?;
        rest = &tail[end..];
        if rest.is_empty() {
            break;
        }
    }
    // Beyond what Go's durations hold there is nothing to compare with.
    (sum < 9.2e18).then_some(sign * sum as i128)
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1.0,
        "us" | "µs" | "μs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

/// A record, for filters.
struct Subject<'a>(&'a BuildHistoryRecord);

impl Fields for Subject<'_> {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        let record = self.0;
        match path.first()?.as_str() {
            "ref" => Some(record.r#ref.as_str().into()),
            "status" => Some(status(record).into()),
            "repository" => repository(record).map(Cow::Borrowed),
            _ => None,
        }
    }
}

/// How far a build is.
fn status(record: &BuildHistoryRecord) -> &'static str {
    match (&record.completed_at, &record.error) {
        (None, _) => "running",
        (Some(_), None) => "completed",
        (Some(_), Some(error))
            if error.code == CANCELLED || error.message.contains("context canceled") =>
        {
            "canceled"
        }
        (Some(_), Some(_)) => "error",
    }
}

/// Where the source is from: as the client says, or the context, if it is a repository.
fn repository(record: &BuildHistoryRecord) -> Option<&str> {
    let attributes = &record.frontend_attrs;
    if let Some(source) = attributes.get("vcs:source") {
        return Some(source);
    }
    let context = attributes.get("context")?;
    let address = context.split(['#', '?']).next()?;
    let known = ["http://", "https://", "ssh://", "git://", "git@"];
    known.iter().any(|prefix| address.starts_with(prefix)).then_some(address)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kiln_pb::rpc;

    use super::*;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    fn time(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn records() -> Vec<BuildHistoryRecord> {
        let record = |id: &str, created, completed, error: Option<&str>| BuildHistoryRecord {
            r#ref: id.to_owned(),
            created_at: time(created),
            completed_at: completed,
            error: error.map(|message| rpc::Status {
                code: 2,
                message: message.into(),
                details: vec![],
            }),
            ..BuildHistoryRecord::default()
        };
        let mut records = vec![
            record("old", 900_000, time(900_100), None),
            record("broken", 990_000, time(990_010), Some("exit code: 1")),
            record("gone", 999_000, time(999_900), Some("context canceled")),
            record("now", 999_999, None, None),
        ];
        records[0].frontend_attrs.insert("vcs:source".into(), "https://example.com/a.git".into());
        let context = "https://example.com/b.git#v1:folder";
        records[1].frontend_attrs.insert("context".into(), context.into());
        records[2].frontend_attrs.insert("context".into(), "folder".into());
        records
    }

    fn asked(filters: &[&str], limit: i32) -> Result<Vec<String>, HistoryError> {
        let filter = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let request = BuildHistoryRequest { filter, limit, ..BuildHistoryRequest::default() };
        let question = Question::parse(&request, now())?;
        let mut found = records();
        found.retain(|record| question.wants(record));
        question.limit(&mut found);
        Ok(found.into_iter().map(|record| record.r#ref).collect())
    }

    #[test]
    fn filters_select_and_the_newest_come_first() {
        let stories: &[(&[&str], &[&str])] = &[
            (&[], &["now", "gone", "broken", "old"]),
            (&["ref==old"], &["old"]),
            (&["ref~=^o"], &["old"]),
            (&["status==completed", "status==running"], &["now", "old"]),
            (&["status==error"], &["broken"]),
            (&["status==canceled"], &["gone"]),
            (&["repository==https://example.com/a.git"], &["old"]),
            (&["repository==https://example.com/b.git"], &["broken"]),
            (&["!repository"], &[]),
            (&["startedAt>1h"], &["now", "gone"]),
            (&["startedAt<1h,status==error"], &["broken"]),
            (&["completedAt>=1970-01-12T11:00:10Z"], &["gone", "broken"]),
            (&["duration>1m40s,status!=running"], &["gone"]),
            (&["duration<=1m40s,status!=running"], &["broken", "old"]),
            (&["ref==\"a,b\""], &[]),
        ];
        for (filters, wanted) in stories {
            match asked(filters, 0) {
                Ok(found) => assert_eq!(found, *wanted, "{filters:?}"),
                Err(error) => assert_eq!(*filters, ["!repository"], "{error}"),
            }
        }
        assert_eq!(asked(&["status!=running"], 2).unwrap(), ["gone", "broken"]);
    }

    #[test]
    fn what_is_no_question_is_an_error() {
        for filter in ["duration>soon", "startedAt>", "completedAt<1hour", "=="] {
            assert!(asked(&[filter], 0).is_err(), "{filter}");
        }
        let error = asked(&[], -1).unwrap_err().to_string();
        assert_eq!(error, "invalid limit -1: must not be negative");
        assert!(asked(&["x".repeat(MAX_FILTER + 1).as_str()], 0).is_err());
    }

    #[test]
    fn durations_are_gos() {
        let stories = [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-300ms", Some(-300_000_000)),
            ("0s", Some(0)),
            ("", None),
            ("1", None),
            ("h", None),
            ("1x", None),
            ("1.2.3s", None),
            ("9999999999h", None),
        ];
        for (text, wanted) in stories {
            assert_eq!(nanoseconds(text), wanted, "{text}");
        }
    }
}
