//! Limits on processes: `ulimit`, memory, CPU time and the sets of CPUs.
//!
//! Text comes in, the values of LLB go out, with the error texts of BuildKit.

use kiln_llb::{LinuxResources, Ulimit};
use kiln_oci::{excerpt, quoted};

use super::Options;
use super::fields::{FieldsError, fields};
use super::words::{NumberError, integer, unsigned};

/// Limits that `ulimit` may name.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The largest number of a CPU or memory node.
const MAX_CPU: u64 = 8192;

/// Why a text is no limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UlimitError {
    /// The list is none.
    #[error(transparent)]
    Fields(#[from] FieldsError),
    /// There is no `=`.
    #[error("invalid ulimit argument: {0}")]
    NoValue(String),
    /// Nobody knows such a limit.
    #[error("invalid ulimit type: {0}")]
    Name(String),
    /// A value is no number.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// There are more than two values.
    #[error("too many limit value arguments - {0}, can only have up to two, `soft[:hard]`")]
    TooMany(String),
    /// The soft limit is unlimited, the hard one is not.
    #[error(
        "ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {0}"
    )]
    SoftUnlimited(i64),
    /// The soft limit is above the hard one.
    #[error("ulimit soft limit must be less than or equal to hard limit: {0} > {1}")]
    SoftAbove(i64, i64),
}

/// Reads one limit: `name=soft[:hard]`.
///
/// # Errors
///
/// [`UlimitError`].
pub fn ulimit(text: &str) -> Result<Ulimit, UlimitError> {
    let (name, values) = text.split_once('=').ok_or_else(|| UlimitError::NoValue(excerpt(text)))?;
    if !ULIMITS.contains(&name) {
        return Err(UlimitError::Name(excerpt(name)));
    }
    let list: Vec<&str> = values.split(':').take(3).collect();
    let (soft, hard) = match list[..] {
        [both] => (integer(both)?, integer(both)?),
        [soft, hard] => {
            let hard = integer(hard)?;
            (integer(soft)?, hard)
        }
        _ => return Err(UlimitError::TooMany(excerpt(values))),
    };
    match hard {
        -1 => {}
        hard if soft == -1 => return Err(UlimitError::SoftUnlimited(hard)),
        hard if soft > hard => return Err(UlimitError::SoftAbove(soft, hard)),
        _ => {}
    }
    Ok(Ulimit::default().with_name(name.to_owned()).with_soft(soft).with_hard(hard))
}

/// Reads a comma list of limits.
pub(super) fn ulimits(list: &str) -> Result<Vec<Ulimit>, UlimitError> {
    if list.is_empty() {
        return Ok(Vec::new());
    }
    fields(list)?.iter().map(|field| ulimit(field)).collect()
}

/// Why a text is no set of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CpuSetError {
    /// A part is no number.
    #[error("invalid cpuset element {}", quoted(.0))]
    Element(String),
    /// A number is too large.
    #[error("cpuset element {} exceeds maximum {MAX_CPU}", quoted(.0))]
    ElementTooLarge(String),
    /// A part is no range.
    #[error("invalid cpuset range {}", quoted(.0))]
    Range(String),
    /// A range ends too high.
    #[error("cpuset range {} exceeds maximum {MAX_CPU}", quoted(.0))]
    RangeTooLarge(String),
}

/// Checks a set of CPUs or memory nodes, such as `0-3,5`.
///
/// # Errors
///
/// [`CpuSetError`] for the first part that is wrong.
pub fn check_cpu_set(text: &str) -> Result<(), CpuSetError> {
    // Signs are allowed, but nothing below zero is.
    let number = |text: &str| integer(text).ok().and_then(|number| u64::try_from(number).ok());
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((low, high)) = part.split_once('-') else {
            match number(part) {
                None => return Err(CpuSetError::Element(excerpt(part))),
                Some(cpu) if cpu > MAX_CPU => {
                    return Err(CpuSetError::ElementTooLarge(excerpt(part)));
                }
                Some(_) => continue,
            }
        };
        match (number(low.trim()), number(high.trim())) {
            (Some(low), Some(high)) if low <= high && high <= MAX_CPU => {}
            (Some(low), Some(high)) if low <= high => {
                return Err(CpuSetError::RangeTooLarge(excerpt(part)));
            }
            _ => return Err(CpuSetError::Range(excerpt(part))),
        }
    }
    Ok(())
}

/// Why an option about memory or CPU time makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// It is no number.
    #[error("invalid {key} value: {value}: {error}")]
    Number {
        /// The option.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        error: NumberError,
    },
    /// It is a number outside what is allowed.
    #[error("invalid {key} value: {value}: {allowed}")]
    Range {
        /// The option.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// It is no set of CPUs.
    #[error("invalid {key} value: {value}: {error}")]
    CpuSet {
        /// The option.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        error: CpuSetError,
    },
}

/// Reads all options about memory and CPU time; nothing if there are none.
pub(super) fn linux_resources(options: &Options) -> Result<Option<LinuxResources>, ResourceError> {
    let signed = |key: &'static str, allowed: &'static str, fine: fn(i64) -> bool| {
        let Some(value) = options.given(key) else { return Ok(0) };
        let wrong = |error| ResourceError::Number { key, value: value.into(), error };
        match integer(value).map_err(wrong)? {
            number if fine(number) => Ok(number),
            _ => Err(ResourceError::Range { key, value: value.into(), allowed }),
        }
    };
    let positive = |key: &'static str| {
        let Some(value) = options.given(key) else { return Ok(0) };
        let wrong = |error| ResourceError::Number { key, value: value.into(), error };
        match unsigned(value).map_err(wrong)? {
            0 => Err(ResourceError::Range { key, value: value.into(), allowed: "must be > 0" }),
            number => Ok(number),
        }
    };
    let set = |key: &'static str| {
        let Some(value) = options.given(key) else { return Ok(String::new()) };
        let wrong = |error| ResourceError::CpuSet { key, value: value.into(), error };
        check_cpu_set(value).map(|()| value.to_owned()).map_err(wrong)
    };
    let swap = "must be -1 (unlimited) or > 0";
    let resources = LinuxResources::default()
        .with_memory_bytes(signed("memory", "must be > 0", |n| n > 0)?)
        .with_memory_swap_bytes(signed("memswap", swap, |n| n == -1 || n > 0)?)
        .with_cpu_shares(positive("cpushares")?)
        .with_cpu_period_micros(positive("cpuperiod")?)
        .with_cpu_quota_micros(signed("cpuquota", "must be > 0", |n| n > 0)?)
        .with_cpuset_cpus(set("cpusetcpus")?)
        .with_cpuset_mems(set("cpusetmems")?);
    Ok((resources != LinuxResources::default()).then_some(resources))
}
