//! What `kilnd` is told on its command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use kiln_daemon::LogLevel;

/// A build daemon that speaks BuildKit's Control API.
#[derive(Debug, Parser)]
#[command(version, about, args_override_self = true)]
pub(crate) struct Arguments {
    /// Where to listen: unix:///PATH or tcp://HOST:PORT; may be given several times.
    #[arg(long = "addr", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<String>,
    /// The group, by name or number, that may use the Unix sockets.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Where to keep state.
    #[arg(long)]
    pub(crate) root: Option<PathBuf>,
    /// Log more; --debug=trace logs HTTP/2, too.
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true,
          default_missing_value = "debug", value_parser = log_level)]
    pub(crate) debug: Option<LogLevel>,
    /// Run processes with this OCI runtime instead of Kiln's own executor.
    #[arg(long, value_name = "BINARY")]
    pub(crate) oci_worker_binary: Option<PathBuf>,
    /// Processes that run at the same time.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) oci_max_parallelism: Option<usize>,
    /// Let builds ask for this: network.host or security.insecure.
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow_insecure_entitlement: Vec<String>,
    /// A directory with frontend plugins; may be given several times.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) plugin_path: Vec<PathBuf>,
    /// Run plugins as plain processes of this machine, with all that this daemon may do.
    #[arg(long)]
    pub(crate) unconfined_plugins: bool,
    /// Pull the images of frontends, also where one that is linked in stands for them.
    #[arg(long)]
    pub(crate) pull_frontends: bool,
    /// How long running builds may go on once the daemon is told to stop.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) stop_timeout: Duration,
    /// How long a cancelled step may take to end after SIGTERM, before SIGKILL.
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    pub(crate) step_stop_timeout: Duration,
    /// What becomes of a cache mount whose step was killed.
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    pub(crate) interrupted_caches: InterruptedCaches,
}

/// What becomes of a cache mount whose step was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InterruptedCaches {
    /// The next step gets it as it is.
    Keep,
    /// The next step begins with an empty one.
    Discard,
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    LogLevel::of_debug_flag(text, LogLevel::Info)
}

const UNITS: &[(&str, f64)] = &[("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("", 1.0)];

/// A duration such as `500ms`, `5s` or `2m`; a number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("`{text}` is no duration, such as 500ms, 5s or 2m");
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = UNITS.iter().find(|(unit, _)| *unit == &text[digits.len()..]);
    let (number, (_, factor)) = digits.parse::<f64>().ok().zip(unit).ok_or_else(error)?;
    Duration::try_from_secs_f64(number * factor).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Arguments {
        Arguments::try_parse_from(["kilnd"].iter().chain(words)).unwrap()
    }

    #[test]
    fn debug_is_a_flag_that_may_name_a_level() {
        assert_eq!(parsed(&[]).debug, None);
        assert_eq!(parsed(&["--debug", "--group=0"]).debug, Some(LogLevel::Debug));
        assert_eq!(parsed(&["--debug=trace"]).debug, Some(LogLevel::Trace));
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for nonsense in ["", "s", "-1s", "5d", "1e999s"] {
            assert!(duration(nonsense).is_err(), "{nonsense}");
        }
    }
}
