//! What is logged: Kiln's own events, and those of the libraries beneath only for who asks.
//!
//! A level from the command line and the text of `KILND_LOG` come in, a filter goes out. HTTP/2 and
//! HTTP libraries log megabytes a build at their debug level, which would bury what is looked for.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what failed.
    Error,
    /// Only what is wrong.
    Warn,
    /// What a daemon does.
    #[default]
    Info,
    /// What Kiln's own crates do, in detail.
    Debug,
    /// Everything, with the frames of HTTP/2.
    Trace,
}

impl LogLevel {
    /// The level that the value of `--debug` stands for; the flag alone is `debug`.
    ///
    /// # Errors
    ///
    /// If it is none of `true`, `false`, `debug` and `trace`.
    pub fn of_debug_flag(value: &str, otherwise: Self) -> Result<Self, String> {
        match value {
            "debug" | "true" | "1" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            "false" | "0" => Ok(otherwise),
            _ => Err(format!("--debug={value}: expected true, false, debug or trace")),
        }
    }

    /// The filter of this level, or the one that is spelled out in `directives` (`KILND_LOG`).
    ///
    /// # Errors
    ///
    /// If the directives make no sense.
    pub fn filter(self, directives: Option<&str>) -> Result<EnvFilter, ParseError> {
        EnvFilter::builder().parse(directives.unwrap_or(self.directives()))
    }

    /// Targets begin with the name of a crate, and those of Kiln's with `kiln`.
    fn directives(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "warn,kiln=info",
            Self::Debug => "warn,kiln=debug",
            Self::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

    use super::*;

    /// Collects the targets and levels of events.
    struct Seen(Arc<Mutex<Vec<String>>>);

    impl<S: tracing::Subscriber> Layer<S> for Seen {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
            let metadata = event.metadata();
            self.0.lock().unwrap().push(format!("{} {}", metadata.target(), metadata.level()));
        }
    }

    #[track_caller]
    fn check(level: LogLevel, directives: Option<&str>, expected: &[&str]) {
        let seen = Arc::default();
        let filter = level.filter(directives).unwrap();
        let layers = tracing_subscriber::registry().with(filter).with(Seen(Arc::clone(&seen)));
        tracing::subscriber::with_default(layers, || {
            tracing::warn!(target: "h2::proto", "w");
            tracing::debug!(target: "h2::codec", "d");
            tracing::info!(target: "hyper", "i");
            tracing::info!(target: "kiln_daemon", "i");
            tracing::debug!(target: "kiln_store::index", "d");
        });
        assert_eq!(*seen.lock().unwrap(), expected);
    }

    #[test]
    fn debugging_shows_kilns_own_events_and_tracing_all() {
        check(LogLevel::Warn, None, &["h2::proto WARN"]);
        check(LogLevel::Info, None, &["h2::proto WARN", "kiln_daemon INFO"]);
        let own = ["h2::proto WARN", "kiln_daemon INFO", "kiln_store::index DEBUG"];
        check(LogLevel::Debug, None, &own);
        let all = ["h2::proto WARN", "h2::codec DEBUG", "hyper INFO"];
        check(LogLevel::Trace, None, &[&all[..], &own[1..]].concat());
        check(LogLevel::Info, Some("h2=debug"), &["h2::proto WARN", "h2::codec DEBUG"]);
    }

    #[test]
    fn the_debug_flag_is_a_flag_with_an_optional_level() {
        let of = |value| LogLevel::of_debug_flag(value, LogLevel::Info);
        assert_eq!(of("true"), Ok(LogLevel::Debug));
        assert_eq!(of("trace"), Ok(LogLevel::Trace));
        assert_eq!(of("false"), Ok(LogLevel::Info));
        assert!(of("loud").is_err());
    }
}
